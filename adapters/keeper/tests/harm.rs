//! Harm by a seed, on a paused clock: answers lost before and after the work, outages, stores that are away before and after the send,
//! processes that end and begin again. Whoever asks afterwards gets a token that works.
//!
//! And all the while: a request leaves only once its intent is durable (I1, REF-2), no token is on the wire twice at a time (I2), what is
//! handed out is durable (I3) and works, and nobody is told that a grant has ended (I4). The end alone would forgive much: within its
//! grace the authority takes a token that should not have been sent any more.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use evergrant::{Record, phase::Grant};
use evergrant_emulator::authority::Policy as Rotation;
use evergrant_keeper::{AccessToken, Error, Keeper};
use evergrant_vault::{Keyring, Keys as VaultKeys, Spill, Store, SystemEntropy};

/// xorshift: the same seed, the same harm.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

struct Process {
    keeper: Keeper,
    down: Arc<AtomicBool>,
    up_at: u64,
}

const GRANTS: u64 = 6;
const PROCESSES: usize = 3;

/// A 401 and two refusals that follow it are taken for a disconnect, as they mostly are: no client could tell. So a life has spurious
/// refusals, or spurious 401s.
async fn life(seed: u64) {
    let spurious = seed.is_multiple_of(2);
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    Keyring::create_file(&key, &mut SystemEntropy).unwrap();
    // Where the old token dies at once, a lost answer is a lost grant whoever asks; what the store did not take must not be.
    let hard = seed.is_multiple_of(3);
    let policy = if hard { Rotation::HARD } else { Rotation::GRACE };
    let (world, store) = (World::new(policy), Shaky::new());
    let start = |number: usize| {
        let mut own = store.another();
        own.down = Arc::default();
        let spill = Spill::open(&home.path().join(number.to_string()), VaultKeys::File(&key)).unwrap();
        let mut options = options();
        options.seed = Some(seed + number as u64);
        options.wake_seconds = 300;
        let keeper = builder(&world, own.clone()).spill(spill).options(options).start().unwrap();
        Process { keeper, down: own.down, up_at: 0 }
    };
    let mut processes: Vec<Process> = (0..PROCESSES).map(start).collect();
    for number in 0..GRANTS {
        connect(&world, &processes[0].keeper, &realm(number)).await;
    }
    let mut dice = Dice(seed * 2_654_435_761 + 1);
    let mut harming = Dice(seed + 77);
    let (watching, rows) = (Arc::clone(&world), store.clone());
    // A store that goes away while a request is on the wire: what comes back finds it gone.
    let downs =
        Arc::new(Mutex::new(processes.iter().map(|process| Arc::clone(&process.down)).collect::<Vec<_>>()));
    let cut = Arc::clone(&downs);
    world.harm(move |letter| {
        if !is_intended(&rows, letter) {
            watching.wrong(format!("sent without an intent at {}", watching.time().unix()));
        }
        if harming.roll(20) == 0 {
            let at = harming.roll(PROCESSES as u64) as usize;
            cut.lock().unwrap()[at].store(true, Ordering::SeqCst);
        }
        match harming.roll(100) {
            0..=5 if !hard => Harm::LostAfter,
            6..=9 => Harm::LostBefore,
            10..=14 => Harm::Status(503),
            15..=17 => Harm::NotSent,
            18 if spurious => Harm::Refused,
            _ => Harm::None,
        }
    });
    for step in 0..1_500_u64 {
        for process in &mut processes {
            if step >= process.up_at && dice.roll(3) > 0 {
                process.down.store(false, Ordering::SeqCst);
            }
        }
        let at = dice.roll(PROCESSES as u64) as usize;
        match dice.roll(40) {
            0 | 1 => {
                processes[at].down.store(true, Ordering::SeqCst);
                processes[at].up_at = step + 1 + dice.roll(4);
            }
            // It ends while its store may be away: what it holds is in its spill folder.
            2 => {
                processes[at].keeper.shutdown().await;
                processes[at] = start(at);
                downs.lock().unwrap()[at] = Arc::clone(&processes[at].down);
            }
            _ => {}
        }
        for number in 0..GRANTS {
            let keeper = processes[dice.roll(PROCESSES as u64) as usize].keeper.clone();
            let token = !spurious && dice.roll(50) == 0;
            let (world, store) = (Arc::clone(&world), store.clone());
            tokio::spawn(async move {
                let asked = keeper.access_token(&realm(number)).await;
                judge(&world, &store, number, hard, &asked);
                if let (Ok(token), true) = (asked, token) {
                    let again = keeper.rejected(&realm(number), &token).await;
                    judge(&world, &store, number, hard, &again);
                }
            });
        }
        tokio::time::sleep(std::time::Duration::from_secs(60 + dice.roll(600))).await;
    }
    world.harm(|_| Harm::None);
    processes.iter().for_each(|process| process.down.store(false, Ordering::SeqCst));
    seconds(3 * DAY).await;
    for number in 0..GRANTS {
        for process in &processes {
            let token = process.keeper.access_token(&realm(number)).await;
            let token = token.unwrap_or_else(|error| panic!("seed {seed}, grant {number}: {error}"));
            assert!(world.works(token.expose()), "seed {seed}, grant {number}");
        }
    }
    assert!(processes.iter().all(|process| process.keeper.status().ready), "seed {seed}");
    let wrongs = world.wrongs.lock().unwrap();
    assert!(wrongs.is_empty(), "seed {seed}: {wrongs:#?}");
}

/// Whether the row that holds what is sent says so.
fn is_intended(store: &Shaky, letter: &faq::bridge::Letter) -> bool {
    let secret = letter.secret();
    if letter.field("grant_type").as_deref() != Some("refresh_token") {
        return true;
    }
    (0..GRANTS).any(|number| {
        let Ok(Some(row)) = store.store.inner().load(&name(&realm(number))) else { return false };
        let record = Record::read(row.record.expose()).unwrap();
        let holds = row.record.expose().windows(secret.len()).any(|part| part == secret.as_bytes());
        holds && matches!(record.phase().grant, Grant::Refreshing { .. })
    })
}

/// What may be told to whoever asks, in the middle of it. Where the old token dies at once, the new one may be in another process that is
/// cut off from the store: then a grant seems to have ended until that one is back.
fn judge(world: &World, store: &Shaky, number: u64, hard: bool, told: &Result<AccessToken, Error>) {
    match told {
        Ok(token) if !world.works(token.expose()) => {
            world.wrong(format!("grant {number}: a token that does not work"))
        }
        Ok(token) if !store.holds(&name(&realm(number)), token.expose()) => {
            world.wrong(format!("grant {number}: a token that is not durable"));
        }
        Err(error @ (Error::ConsentNeeded { .. } | Error::NotConnected)) if !hard => {
            world.wrong(format!("grant {number}: {error}"));
        }
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn no_seed_of_harm_costs_a_grant() {
    let seeds = std::env::var("KEEPER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for seed in 1..=seeds {
        life(seed).await;
    }
}
