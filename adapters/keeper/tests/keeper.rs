//! The keeper on a paused clock: what would cost a grant elsewhere, one test each.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::*;
use evergrant::Reason;
use evergrant_emulator::authority::Policy as Rotation;
use evergrant_keeper::{Bounds, Error, Keeper};
use evergrant_vault::{Keyring, Keys as VaultKeys, Spill, Store, SystemEntropy};

async fn all<T: Send + 'static>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

fn ask(
    keeper: &Keeper,
    realm: &str,
) -> tokio::task::JoinHandle<Result<evergrant_keeper::AccessToken, Error>> {
    let (keeper, realm) = (keeper.clone(), realm.to_owned());
    tokio::spawn(async move { keeper.access_token(&realm).await })
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_share_one_refresh_and_fresh_tokens_touch_no_store() {
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    let keeper = keeper(&world, store.clone());
    connect(&world, &keeper, &realm(1)).await;
    seconds(3_600).await;
    let before = world.refreshes().len();
    let reads = store.reads.load(Ordering::SeqCst);
    let tokens = all((0..1_000).map(|_| ask(&keeper, &realm(1))).collect()).await;
    assert_eq!(world.refreshes().len(), before + 1);
    assert!(store.reads.load(Ordering::SeqCst) - reads < 10, "the store is read for one of them");
    assert!(tokens.iter().all(|token| world.works(token.as_ref().unwrap().expose())));

    let reads = store.reads.load(Ordering::SeqCst);
    store.down.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        keeper.access_token(&realm(1)).await.unwrap();
    }
    assert_eq!(store.reads.load(Ordering::SeqCst), reads);
}

#[tokio::test(start_paused = true)]
async fn callers_that_go_away_cancel_nothing() {
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    let keeper = keeper(&world, store);
    connect(&world, &keeper, &realm(1)).await;
    seconds(3_600).await;
    let asked = tokio::time::timeout(Duration::from_millis(100), keeper.access_token(&realm(1))).await;
    assert!(asked.is_err(), "the answer takes 300 ms");
    seconds(1).await;
    assert_eq!(world.refreshes().len(), 1);
    let token = keeper.access_token(&realm(1)).await.unwrap();
    assert!(world.works(token.expose()));
    assert_eq!(world.refreshes().len(), 1, "the refresh went on without its caller");
}

#[tokio::test(start_paused = true)]
async fn ahead_of_the_end_the_old_token_is_served_while_the_new_one_is_fetched() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store);
    connect(&world, &keeper, &realm(1)).await;
    let first = keeper.access_token(&realm(1)).await.unwrap();
    seconds(2_950).await;
    let served = keeper.access_token(&realm(1)).await.unwrap();
    assert_eq!(served.id(), first.id());
    seconds(1).await;
    assert_eq!(world.refreshes().len(), 1);
    assert_ne!(keeper.access_token(&realm(1)).await.unwrap().id(), first.id());
}

#[tokio::test(start_paused = true)]
async fn two_keepers_on_one_store_refresh_once_and_both_serve_the_result() {
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    let one = keeper(&world, store.another());
    let other = keeper(&world, store.another());
    connect(&world, &one, &realm(1)).await;
    seconds(3_600).await;
    let tokens =
        all((0..100).map(|at| ask(if at % 2 == 0 { &one } else { &other }, &realm(1))).collect()).await;
    assert_eq!(world.refreshes().len(), 1);
    let ids: std::collections::HashSet<_> = tokens.into_iter().map(|token| token.unwrap().id()).collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_with_the_same_token_and_the_caller_only_waits() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store);
    connect(&world, &keeper, &realm(1)).await;
    seconds(3_600).await;
    let mut lost = false;
    world.harm(move |_| if std::mem::replace(&mut lost, true) { Harm::None } else { Harm::LostAfter });
    let token = keeper.access_token(&realm(1)).await.unwrap();
    assert!(world.works(token.expose()));
    let refreshes = world.refreshes();
    assert_eq!(refreshes.len(), 2);
    assert_eq!(refreshes[0].secret, refreshes[1].secret);
}

#[tokio::test(start_paused = true)]
async fn a_late_401_of_an_old_token_throws_no_new_one_away() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store);
    connect(&world, &keeper, &realm(1)).await;
    let old = keeper.access_token(&realm(1)).await.unwrap();
    seconds(3_600).await;
    let new = keeper.access_token(&realm(1)).await.unwrap();
    assert_eq!(world.refreshes().len(), 1);
    for _ in 0..5 {
        assert_eq!(keeper.rejected(&realm(1), &old).await.unwrap().id(), new.id());
    }
    assert_eq!(world.refreshes().len(), 1);

    seconds(120).await;
    let rejected = all((0..50)
        .map(|_| {
            let (keeper, new) = (keeper.clone(), new.clone());
            tokio::spawn(async move { keeper.rejected(&realm(1), &new).await.unwrap().id() })
        })
        .collect())
    .await;
    assert_eq!(world.refreshes().len(), 2, "fifty 401s of one token are one refresh");
    assert!(rejected.iter().all(|id| *id != new.id() && *id == rejected[0]));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_after_the_rotation_costs_nothing_not_even_with_the_process() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    Keyring::create_file(&key, &mut SystemEntropy).unwrap();
    let spill = || Spill::open(&home.path().join("spill"), VaultKeys::File(&key)).unwrap();
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    let first = builder(&world, store.another()).spill(spill()).start().unwrap();
    connect(&world, &first, &realm(1)).await;
    seconds(3_600).await;

    let down = Arc::clone(&store.down);
    world.harm(move |_| {
        down.store(true, Ordering::SeqCst);
        Harm::None
    });
    let asked = first.access_token(&realm(1)).await;
    assert!(matches!(asked, Err(Error::NotStored(_))), "{asked:?}");
    let status = first.status();
    assert_eq!((status.ready, status.unstored), (false, 1));
    assert!(
        matches!(first.access_token(&realm(1)).await, Err(Error::NotStored(_))),
        "nothing is handed out (I3)"
    );
    assert_eq!(spill().list().unwrap().len(), 1);
    first.shutdown().await;
    drop(first);

    // The token that the store has is dead; the one that lives is in the spill folder alone.
    store.down.store(false, Ordering::SeqCst);
    let second = builder(&world, store.another()).spill(spill()).start().unwrap();
    seconds(60).await;
    assert_eq!(second.status().unstored, 0);
    assert!(spill().list().unwrap().is_empty());
    let token = second.access_token(&realm(1)).await.unwrap();
    assert!(world.works(token.expose()));
    assert_eq!(world.refreshes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_did_not_take_is_stored_as_soon_as_it_can_be() {
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    let keeper = keeper(&world, store.clone());
    connect(&world, &keeper, &realm(1)).await;
    seconds(3_600).await;
    let down = Arc::clone(&store.down);
    world.harm(move |_| {
        down.store(true, Ordering::SeqCst);
        Harm::None
    });
    assert!(keeper.access_token(&realm(1)).await.is_err());
    seconds(600).await;
    assert!(keeper.access_token(&realm(1)).await.is_err());
    store.down.store(false, Ordering::SeqCst);
    seconds(120).await;
    assert!(keeper.status().ready);
    assert!(world.works(keeper.access_token(&realm(1)).await.unwrap().expose()));
    assert_eq!(world.refreshes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_token_of_a_writer_that_was_fenced_out_saves_the_grant() {
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    // One process's way to the store breaks after its request has left, for longer than its lease.
    let mut own = store.another();
    own.down = Arc::default();
    let slow = keeper(&world, own.clone());
    connect(&world, &slow, &realm(1)).await;
    seconds(3_600).await;
    let (down, mut first) = (Arc::clone(&own.down), true);
    world.harm(move |_| {
        if std::mem::replace(&mut first, false) {
            down.store(true, Ordering::SeqCst);
        }
        Harm::None
    });
    assert!(matches!(slow.access_token(&realm(1)).await, Err(Error::NotStored(_))));
    seconds(200).await;
    // Another one takes over with the token that the store has, which is dead: the living one is in the slow one's memory.
    let other = keeper(&world, store.another());
    assert!(other.access_token(&realm(1)).await.is_err());
    own.down.store(false, Ordering::SeqCst);
    seconds(600).await;
    assert_eq!(slow.status().unstored, 0);
    for keeper in [&other, &slow] {
        let token = keeper.access_token(&realm(1)).await.unwrap();
        assert!(world.works(token.expose()));
    }
}

/// REF-2: whoever stood still since its claim may have been overtaken.
#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_between_claim_and_send_sends_nothing() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store.clone());
    connect(&world, &keeper, &realm(1)).await;
    seconds(3_600).await;
    let claims = Arc::new(AtomicU64::new(0));
    let (asleep, count) = (Arc::clone(&world), Arc::clone(&claims));
    store.after_claim(move || {
        // 44 of its 90 seconds are left: enough for the request's 40, and not for what is kept beside them.
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            asleep.jumped.fetch_add(46, Ordering::SeqCst);
        }
        false
    });
    let token = keeper.access_token(&realm(1)).await.unwrap();
    assert!(world.works(token.expose()));
    assert_eq!((claims.load(Ordering::SeqCst), world.refreshes().len()), (2, 1));
}

/// The claim is carried out, its answer is lost, and the store is away for longer than a token may be sent again (STA-4).
fn loses_the_claim_and_the_store(store: &Shaky) {
    let down = Arc::clone(&store.down);
    store.after_claim(move || !down.swap(true, Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_outcome_is_unknown_counts_as_not_sent_however_long_the_store_is_away() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store.clone());
    connect(&world, &keeper, &realm(1)).await;
    seconds(3_600).await;
    loses_the_claim_and_the_store(&store);
    let asked = keeper.access_token(&realm(1)).await;
    assert!(matches!(asked, Err(Error::Store(_))), "{asked:?}");
    seconds(3 * DAY).await;
    assert_eq!((world.refreshes().len(), keeper.status().refreshing), (0, 1));
    store.after_claim(|| false);
    store.down.store(false, Ordering::SeqCst);
    seconds(300).await;
    let token = keeper.access_token(&realm(1)).await.unwrap();
    assert!(world.works(token.expose()));
    assert_eq!((world.refreshes().len(), keeper.status().refreshing), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_another_process_ended_for_a_call_that_was_never_sent_lives_again() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let mut own = store.another();
    own.down = Arc::default();
    let cut_off = keeper(&world, own.clone());
    connect(&world, &cut_off, &realm(1)).await;
    seconds(3_600).await;
    loses_the_claim_and_the_store(&own);
    assert!(cut_off.access_token(&realm(1)).await.is_err());
    seconds(2 * DAY).await;
    own.after_claim(|| false);
    let other = keeper(&world, store.another());
    let ended = other.access_token(&realm(1)).await;
    assert!(matches!(ended, Err(Error::ConsentNeeded { reason: Reason::AnswerLost })), "{ended:?}");
    own.down.store(false, Ordering::SeqCst);
    seconds(300).await;
    assert!(world.works(other.access_token(&realm(1)).await.unwrap().expose()));
}

/// STA-4: what is known of a call outlives the process that knows it, as tokens do.
async fn a_word_outlives_its_process(harm: impl FnOnce(&World, &Shaky)) {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    Keyring::create_file(&key, &mut SystemEntropy).unwrap();
    let spill = || Spill::open(&home.path().join("spill"), VaultKeys::File(&key)).unwrap();
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let first = builder(&world, store.another()).spill(spill()).start().unwrap();
    connect(&world, &first, &realm(1)).await;
    seconds(3_600).await;
    harm(&world, &store);
    assert!(first.access_token(&realm(1)).await.is_err());
    seconds(DAY / 2).await;
    assert_eq!((spill().list().unwrap().len(), first.status().unstored), (1, 1));
    first.shutdown().await;
    drop(first);

    // The store comes back only when the token may not be sent again, as far as it knows.
    seconds(2 * DAY).await;
    world.harm(|_| Harm::None);
    store.after_claim(|| false);
    store.down.store(false, Ordering::SeqCst);
    let second = builder(&world, store.another()).spill(spill()).start().unwrap();
    seconds(300).await;
    let token = second.access_token(&realm(1)).await.unwrap();
    assert!(world.works(token.expose()));
    assert!(spill().list().unwrap().is_empty());
    assert_eq!(second.status().unstored, 0);
}

#[tokio::test(start_paused = true)]
async fn that_nothing_was_sent_is_known_after_the_process_that_knew_it() {
    a_word_outlives_its_process(|_, store| loses_the_claim_and_the_store(store)).await;
}

#[tokio::test(start_paused = true)]
async fn that_a_request_was_answered_is_known_after_the_process_that_knew_it() {
    a_word_outlives_its_process(|world, store| {
        let down = Arc::clone(&store.down);
        world.harm(move |_| {
            down.store(true, Ordering::SeqCst);
            Harm::Status(503)
        });
    })
    .await;
}

/// I5: a process that stood still with its request on the wire may have been overtaken, and may end before it has merged.
#[tokio::test(start_paused = true)]
async fn tokens_that_come_when_the_lease_has_run_out_are_spilled_before_they_are_stored() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    Keyring::create_file(&key, &mut SystemEntropy).unwrap();
    let folder = home.path().join("spill");
    let spill = move || Spill::open(&folder, VaultKeys::File(&key)).unwrap();
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    let keeper = builder(&world, store.clone()).spill(spill()).start().unwrap();
    connect(&world, &keeper, &realm(1)).await;
    for (stood_still, spilled) in [(0, 0), (91, 1)] {
        seconds(3_600).await;
        let asleep = Arc::clone(&world);
        world.harm(move |_| {
            asleep.jumped.fetch_add(stood_still, Ordering::SeqCst);
            Harm::None
        });
        let seen = Arc::new(AtomicU64::new(9));
        let (count, look) = (Arc::clone(&seen), spill.clone());
        store.before_commit(move || count.store(look().list().unwrap().len() as u64, Ordering::SeqCst));
        let token = keeper.access_token(&realm(1)).await.unwrap();
        assert!(world.works(token.expose()));
        assert_eq!((seen.load(Ordering::SeqCst), spill().list().unwrap().len()), (spilled, 0));
    }
}

/// STA-4: a token whose answer was lost may be sent again for a day, and no hold lasts longer than that.
#[tokio::test(start_paused = true)]
async fn a_hold_lets_go_of_grants_that_a_lost_answer_ends_before_their_tokens() {
    const GRANTS: u64 = 4;
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store);
    for number in 0..GRANTS {
        connect(&world, &keeper, &realm(number)).await;
    }
    seconds(3_600).await;
    // Another one first each time.
    let everybody = async |round: u64| {
        for asked in (0..GRANTS).map(|number| ask(&keeper, &realm((round + number) % GRANTS))) {
            drop(asked.await);
        }
    };
    world.harm(|_| Harm::LostBefore);
    everybody(0).await;
    world.harm(|_| Harm::Refused);
    for round in 0..8 {
        seconds(900).await;
        everybody(round).await;
    }
    assert!(keeper.status().held_since.is_some());
    // Every probe goes out from a process that reaches nobody: what comes alone is lost, and what comes with others arrives.
    let (clock, mut last) = (Arc::clone(&world), evergrant::Time::UNSET);
    world.harm(move |_| {
        let now = clock.time();
        let alone = now.since(last) > 300;
        last = now;
        if alone { Harm::LostBefore } else { Harm::None }
    });
    for round in 0..4 * 24 {
        seconds(900).await;
        everybody(round).await;
    }
    assert_eq!(keeper.status().held_since, None);
    for number in 0..GRANTS {
        assert!(world.works(keeper.access_token(&realm(number)).await.unwrap().expose()), "{number}");
    }
}

/// REF-3: two processes in the same second write the same intent to the letter. The one whose claim failed must not take the other's
/// for its own, and call what that one has sent unsent.
#[tokio::test(start_paused = true)]
async fn an_intent_of_another_process_is_never_taken_back() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let [mut own, mut others] = [store.another(), store.another()];
    for store in [&mut own, &mut others] {
        store.down = Arc::default();
        store.before_claim = Arc::new(std::sync::Mutex::new(Box::new(|| false)));
    }
    let mut options = options();
    options.keep_alive = false;
    let start = |store: &Shaky| builder(&world, store.clone()).options(options.clone()).start().unwrap();
    let (one, other) = (start(&own), start(&others));
    connect(&world, &one, &realm(1)).await;
    seconds(3_600).await;
    // The first one's claim is lost on the way, and its store is away from then on.
    let down = Arc::clone(&own.down);
    own.before_claim(move || !down.swap(true, Ordering::SeqCst));
    let asked = ask(&one, &realm(1));
    while !own.down.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    // In the same second the other one sends, and dies with the answer on its way.
    let down = Arc::clone(&others.down);
    world.harm(move |_| {
        down.store(true, Ordering::SeqCst);
        Harm::LostAfter
    });
    assert!(other.access_token(&realm(1)).await.is_err());
    assert!(asked.await.unwrap().is_err());
    assert_eq!(world.refreshes().len(), 1);
    let intent = || store.store.inner().load(&name(&realm(1))).unwrap().unwrap().record.expose().to_vec();
    let before = intent();
    // The lease has run out, and the first one's store is back. The next request is not answered.
    seconds(120).await;
    world.harm(|_| Harm::Status(503));
    own.before_claim(|| false);
    own.down.store(false, Ordering::SeqCst);
    seconds(60).await;
    drop(one.access_token(&realm(1)).await);
    let after = intent();
    let lost = |record: &[u8]| evergrant::Record::read(record).unwrap().phase().doubt.lost_since();
    assert!(before != after, "it went on");
    assert_ne!(lost(&after), evergrant::Time::UNSET, "and knows that a request was not answered");
}

/// An answer without tokens is a word as well: without it the call counts as lost.
#[tokio::test(start_paused = true)]
async fn an_answer_without_tokens_is_stored_however_long_the_store_is_away() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store.clone());
    connect(&world, &keeper, &realm(1)).await;
    seconds(3_600).await;
    let down = Arc::clone(&store.down);
    world.harm(move |_| {
        down.store(true, Ordering::SeqCst);
        Harm::Status(503)
    });
    assert!(keeper.access_token(&realm(1)).await.is_err());
    seconds(2 * DAY).await;
    world.harm(|_| Harm::None);
    store.down.store(false, Ordering::SeqCst);
    seconds(3_600).await;
    assert!(world.works(keeper.access_token(&realm(1)).await.unwrap().expose()));
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_refuses_everybody_ends_no_grant() {
    const GRANTS: u64 = 20;
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let mut options = options();
    options.wake_seconds = 900;
    let start = |store| builder(&world, store).options(options.clone()).start().unwrap();
    let (one, other) = (start(store.another()), start(store.another()));
    for number in 0..GRANTS {
        connect(&world, &one, &realm(number)).await;
    }
    seconds(3_600).await;
    world.harm(|_| Harm::Refused);
    let begun = world.refreshes().len();
    // Four days: more than the ten refusals of a grant that was alone would take.
    for round in 0..4 * 24 {
        for number in 0..GRANTS {
            drop(ask(if (round + number) % 2 == 0 { &one } else { &other }, &realm(number)));
        }
        seconds(3_600).await;
    }
    let asked = world.refreshes().len() - begun;
    assert!(one.status().held_since.is_some() && other.status().held_since.is_some());
    assert!(asked < 600, "{asked} requests in an outage of four days");
    for number in 0..GRANTS {
        let record = store.store.inner().load(&name(&realm(number))).unwrap().unwrap().record;
        let text = String::from_utf8(record.expose().to_vec()).unwrap();
        let record = evergrant::Record::read(text.as_bytes()).unwrap();
        assert!(record.phase().usable().is_some(), "{:?}", record.phase());
    }
    world.harm(|_| Harm::None);
    seconds(7_200).await;
    for number in 0..GRANTS {
        drop(ask(&one, &realm(number)));
        seconds(60).await;
    }
    for number in 0..GRANTS {
        let token = one.access_token(&realm(number)).await.unwrap();
        assert!(world.works(token.expose()), "{number}");
    }
    assert_eq!(one.status().held_since, None);
}

#[tokio::test(start_paused = true)]
async fn one_dead_grant_ends_while_the_others_work() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let mut options = options();
    options.wake_seconds = 900;
    let keeper = builder(&world, store).options(options).start().unwrap();
    for number in 0..5 {
        connect(&world, &keeper, &realm(number)).await;
    }
    world.authority.lock().unwrap().disconnect(world.time().unix(), &realm(0));
    for _ in 0..4 * 24 {
        seconds(3_600).await;
        for number in 0..5 {
            drop(keeper.access_token(&realm(number)).await);
        }
    }
    assert!(matches!(keeper.access_token(&realm(0)).await, Err(Error::ConsentNeeded { .. })));
    assert!(keeper.access_token(&realm(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_for_a_year_and_no_grant_dies() {
    const GRANTS: u64 = 50;
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let mut options = options();
    options.wake_seconds = 3_600;
    let keeper = builder(&world, store).options(options).start().unwrap();
    for number in 0..GRANTS {
        connect(&world, &keeper, &realm(number)).await;
    }
    seconds(365 * DAY).await;
    let refreshes = world.refreshes();
    for number in 0..GRANTS {
        let token = keeper.access_token(&realm(number)).await.unwrap();
        assert!(world.works(token.expose()));
    }
    let each = refreshes.len() as u64 / GRANTS;
    assert!((4..=7).contains(&each), "{each} refreshes of each grant in a year");
    let days: std::collections::HashSet<u64> = refreshes.iter().map(|sent| sent.at.unix() / DAY).collect();
    assert!(days.len() > 60, "spread over {} days", days.len());
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_comes_to_two_processes_is_exchanged_once_and_both_are_told_the_same() {
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    let keepers = [keeper(&world, store.another()), keeper(&world, store.another())];
    let url = keepers[0].connect(&CONSENT).unwrap();
    let callback = world.consent(&url, &realm(1));
    let tasks = (0..20)
        .map(|at| {
            let (keeper, callback) = (keepers[at % 2].clone(), callback.clone());
            tokio::spawn(async move { keeper.callback(&callback, b"cookie").await.unwrap() })
        })
        .collect();
    let linked = all(tasks).await;
    assert_eq!(world.exchanges(), 1);
    assert!(linked.iter().all(|linked| linked.realm == realm(1)));
    assert_eq!(linked.iter().filter(|linked| linked.first).count(), 1);
    // And long after.
    assert!(!keepers[1].callback(&callback, b"cookie").await.unwrap().first);
    assert_eq!(world.exchanges(), 1);
    assert!(world.works(keepers[1].access_token(&realm(1)).await.unwrap().expose()));
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_believed_with_its_state_and_its_browser_alone() {
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    let keeper = keeper(&world, store);
    let callback = world.consent(&keeper.connect(&CONSENT).unwrap(), &realm(1));
    assert!(keeper.callback(&callback, b"another cookie").await.is_err());
    assert!(keeper.callback(&callback.replace("state=s", "state=t"), b"cookie").await.is_err());
    assert_eq!(world.exchanges(), 0);
    assert!(keeper.callback(&callback, b"cookie").await.is_ok());
    // The same state with another code.
    let forged = callback.replace("code=", "code=x");
    assert!(keeper.callback(&forged, b"cookie").await.is_err());
    assert_eq!(world.exchanges(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_never_left_is_tried_again_and_one_without_an_answer_is_not() {
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    let keeper = keeper(&world, store);
    let callback = world.consent(&keeper.connect(&CONSENT).unwrap(), &realm(1));
    let mut tries = 0;
    world.harm(move |_| {
        tries += 1;
        if tries < 3 { Harm::NotSent } else { Harm::None }
    });
    assert!(keeper.callback(&callback, b"cookie").await.is_ok());
    let callback = world.consent(&keeper.connect(&CONSENT).unwrap(), &realm(2));
    world.harm(|_| Harm::LostBefore);
    for _ in 0..3 {
        let told = keeper.callback(&callback, b"cookie").await;
        assert!(matches!(told, Err(Error::ExchangeFailed { refused: false })), "{told:?}");
    }
    assert_eq!(world.exchanges(), 2);
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_what_is_under_way_end_and_begins_nothing() {
    let (world, store) = (World::new(Rotation::HARD), Shaky::new());
    let mut options = options();
    options.bounds = Bounds { least: 1, first: 1, most: 1 };
    let keeper = builder(&world, store.another()).options(options).start().unwrap();
    connect(&world, &keeper, &realm(1)).await;
    connect(&world, &keeper, &realm(2)).await;
    seconds(3_600).await;
    *world.takes.lock().unwrap() = Duration::from_secs(20);
    let asked = ask(&keeper, &realm(1));
    while world.refreshes().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let waiting = ask(&keeper, &realm(2));
    while keeper.status().waiting == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    keeper.shutdown().await;
    assert!(matches!(waiting.await.unwrap(), Err(Error::ShuttingDown)), "it had not begun");
    assert!(world.works(asked.await.unwrap().unwrap().expose()));
    assert!(matches!(keeper.access_token(&realm(2)).await, Err(Error::ShuttingDown)));
    assert_eq!(world.refreshes().len(), 1);
    assert!(!keeper.status().ready);
    let next = common::keeper(&world, store.another());
    assert!(world.works(next.access_token(&realm(1)).await.unwrap().expose()));
    assert_eq!(world.refreshes().len(), 1, "what the first one brought is stored");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_given_up_is_handed_out_no_more_and_the_authority_is_told() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store);
    connect(&world, &keeper, &realm(1)).await;
    let token = keeper.access_token(&realm(1)).await.unwrap();
    keeper.revoke(&realm(1)).await.unwrap();
    assert!(!world.works(token.expose()));
    assert!(matches!(keeper.access_token(&realm(1)).await, Err(Error::ConsentNeeded { .. })));

    connect(&world, &keeper, &realm(2)).await;
    seconds(3_600).await;
    let asked = ask(&keeper, &realm(2));
    tokio::time::sleep(Duration::from_millis(100)).await;
    keeper.revoke(&realm(2)).await.unwrap();
    let token = asked.await.unwrap().unwrap();
    assert!(
        !world.works(token.expose()),
        "it waits for the refresh that is under way, and then gives up its result"
    );
    assert!(matches!(keeper.access_token(&realm(2)).await, Err(Error::ConsentNeeded { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_limit_gives_way_to_an_overloaded_authority_and_grows_again() {
    const GRANTS: u64 = 60;
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store);
    for number in 0..GRANTS {
        connect(&world, &keeper, &realm(number)).await;
    }
    seconds(3_600).await;
    world.harm(|_| Harm::Status(503));
    all((0..GRANTS).map(|number| ask(&keeper, &realm(number))).collect()).await;
    assert_eq!(keeper.status().at_once, 1);
    world.harm(|_| Harm::None);
    for _ in 0..40 {
        seconds(3_600).await;
        all((0..GRANTS).map(|number| ask(&keeper, &realm(number))).collect()).await;
    }
    assert!(keeper.status().at_once > 8, "{:?}", keeper.status());
}

#[tokio::test(start_paused = true)]
async fn the_stores_clock_is_the_one_that_counts() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store.clone());
    connect(&world, &keeper, &realm(1)).await;
    // This machine falls back by two hours: by its own clock the token would be good for far too long.
    world.jumped.store(-7_200, Ordering::SeqCst);
    store.ahead.store(7_200, Ordering::SeqCst);
    seconds(120).await;
    assert_eq!(keeper.status().clock_offset_seconds, 7_200);
    assert!(keeper.access_token(&realm(1)).await.is_ok());
    assert_eq!(world.refreshes().len(), 0, "no early death");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_what_is_not_there_is_told_from_memory_for_a_while() {
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store.clone());
    assert!(matches!(keeper.access_token(&realm(9)).await, Err(Error::NotConnected)));
    let reads = store.reads.load(Ordering::SeqCst);
    for _ in 0..100 {
        assert!(matches!(keeper.access_token(&realm(9)).await, Err(Error::NotConnected)));
    }
    assert_eq!(store.reads.load(Ordering::SeqCst), reads);
    connect(&world, &keeper, &realm(9)).await;
    assert!(keeper.access_token(&realm(9)).await.is_ok(), "a consent is heard of at once");
}
