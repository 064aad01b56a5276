//! A fleet of real sessions, searched with `stateright`: workers that share one row of a store with leases, and the authority
//! itself, under each of its policies.
//!
//! A worker is an [`evergrant::Session`] (`fleet/memory.rs`), driven as the keeper drives one; the row is the bytes of its record,
//! with what the vault promises: a claim takes the lease, raises the epoch and writes the intent in one step, a commit is
//! guarded by the epoch, a lease runs out by itself, and who was fenced out merges. What goes to the authority are requests
//! as the session writes them, and what comes back are bodies. Between any two steps (claim, send, arrive, answer, commit)
//! a worker may die; a request may never leave, be held up, be lost, or be carried out after its worker has given up or
//! died; an answer be lost, or come late, or twice; the store may fail, and the clock of the fleet step back.
//!
//! An onlooker (`fleet/world.rs`) judges every edge by the bytes, by what the authority knows, and by what it saw itself of requests
//! and refusals. Where a phase is asked, it is for what a session says of itself.
//!
//! | | Broken where |
//! | --- | --- |
//! | I1 | the authority sees a code twice, or a request leaves whose intent is not in the row |
//! | I2 | a request leaves while another worker's is out and its time is not over; or without candidates and 24 hours or more after the first request that no commit has answered |
//! | I3 | a session hands out an access token that is not in the record that it read or wrote last, or not with its refresh token |
//! | I4 | a row closes on fewer refusals than the policy asks for and with no answer missing for 24 hours; or its tokens are gone |
//! | I5 | a refresh token that arrived is not in the session after it; one that the authority issued last is in the row and not in what is written over it, unless tokens are brought home and what is there has been unanswered for 24 hours; a merge drops one of its own side, or of the row's where it does not say that those may not be sent any more; a record reads back differently |
//! | I7 | what a session refuses changes its record or its request |
//! | I8 | at what a session says is due, a tick changes nothing; or the user is named and may not be asked |
//!
//! **L1, exactly.** A run has lost its grant needlessly when a write closes the row, or leaves it closed where tokens were
//! brought home, and a refresh token in that row would be answered with tokens by the authority at that moment. Nobody
//! revokes or disconnects here. It is excused where a request has been unanswered for as long as the replay policy allows,
//! for then no client may ask again (I2): the onlooker counts from the first claim of a refresh that no commit has answered
//! since. A token that reached no store (its answer was lost for good, or came to a worker that died before it was durable)
//! is not in the row, so no client could have kept it. One that waits in a worker's memory or spill file does not count
//! before it is brought home, which revives the grant.

mod memory;
mod world;

use std::time::Instant;

use evergrant::phase::Grant;
use evergrant_emulator::authority::{
    Authority, CodeState, Config, Decision, Environment, Keys, Lengths, Policy,
};
use faq::bridge::{browse, callback_url, carry_out};
use faq::world::tokens_in;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

use memory::{Memory, REDIRECT, Told, phase_of};
pub use world::World;

const START: u64 = 1_800_000_000;

/// What is searched.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The authority's habits.
    pub rotation: Policy,
    /// How many workers.
    pub workers: usize,
    /// How many things may go wrong in a run.
    pub faults: u8,
    /// How many requests may be sent in a run.
    pub requests: u8,
    /// How often the clock may be moved in a run.
    pub moves: u8,
    /// It begins with the callback of a first consent, which comes twice, to any worker.
    pub consent: bool,
    /// A store that does not hold to this: then something must break.
    pub without: Option<Promise>,
}

/// What the vault promises of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// A claim writes the intent in the same step.
    Intent,
    /// A claim takes the lease, and while it is held nobody else claims.
    Lease,
    /// A commit is guarded by the epoch of its claim.
    Epoch,
}

/// What can happen next; the number is a worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Reads the row, claims it, writes the intent.
    Claim(usize),
    /// The callback comes.
    Callback(usize),
    /// The request leaves.
    Sends(usize),
    /// The request provably never leaves.
    NeverLeft(usize),
    /// The request arrives at the authority, and its answer is on its way.
    Arrives(usize),
    /// A request arrives that its worker has given up or died over.
    Straggles(usize),
    /// The worker gives up waiting; the answer may still come.
    GivesUp(usize),
    /// The answer comes.
    Comes(usize),
    /// The answer is copied on its way.
    Copied(usize),
    /// Request or answer is lost for good.
    Lost(usize),
    /// The result is committed, or merged where the epoch is another's.
    Commit(usize),
    /// The store fails at the commit: tokens go into the spill file.
    StoreFails(usize),
    /// What is in the spill file is merged.
    Merge(usize),
    /// The worker dies.
    Dies(usize),
    /// The clock moves on by so many seconds.
    Later(u32),
    /// The clock of the fleet steps back by an hour.
    Back,
}

impl Act {
    /// Whether it counts against [`Fleet::faults`].
    fn is_fault(self, world: &World) -> bool {
        match self {
            // With too little left of its lease, nothing is sent.
            Self::NeverLeft(who) => world.may_send(who),
            Self::GivesUp(_)
            | Self::Copied(_)
            | Self::Lost(_)
            | Self::StoreFails(_)
            | Self::Dies(_)
            | Self::Back => true,
            Self::Claim(_)
            | Self::Callback(_)
            | Self::Sends(_)
            | Self::Arrives(_)
            | Self::Straggles(_)
            | Self::Comes(_)
            | Self::Commit(_)
            | Self::Merge(_)
            | Self::Later(_) => false,
        }
    }
}

impl Fleet {
    /// One linked grant, one second old; or a consent whose callback is about to come.
    ///
    /// # Panics
    /// The authority refuses the consent, or the session its answer.
    fn start(&self) -> World {
        let keys = Keys::new(Environment::Sandbox, "client", "secret", [REDIRECT]);
        let mut config = Config::new([keys]).with_policy(self.rotation);
        config.lengths = Lengths::SHORT;
        let mut authority = Authority::new(config, 7).expect("a good configuration");
        let mut memory = Memory::new();
        tell(&mut memory, Told::Ask);
        let url = memory.url().expect("a consent is pending");
        let decision = Decision::Approve { realm: "9341453000000001".into() };
        let callback = authority.authorize(START, &browse(&url), decision).expect("consent");
        let callback = callback_url(&callback).into();
        if self.consent {
            let mut world = self.world(authority, &memory);
            world.callback = Some((callback, 0));
            return world;
        }
        tell(&mut memory, Told::Callback(callback));
        let call = memory.phase().in_flight().expect("an exchange");
        let letter = memory.letter(call).expect("its intent is stored");
        let reply = carry_out(&mut authority, START, &letter).expect("an exchange");
        tell(&mut memory, Told::Answer(call, reply.into()));
        self.world(authority, &memory)
    }

    fn world(&self, authority: Authority, memory: &Memory) -> World {
        let world = World::new(authority, memory.record().clone(), self.workers, START + 1);
        World { without: self.without, ..world }
    }

    fn acts_of(&self, world: &World, who: usize, acts: &mut Vec<Act>) {
        let worker = &world.workers[who];
        let (idle, leased) = (worker.at.is_none(), world.leased());
        let waits = worker.at.as_ref().is_some_and(|memory| memory.phase().in_flight().is_some());
        let nothing_out = worker.letter.is_none() && worker.reply.is_none();
        if idle && !leased && world.requests < self.requests {
            acts.push(Act::Claim(who));
        }
        if idle && !leased && world.callback.as_ref().is_some_and(|(_, times)| *times < 2) {
            acts.push(Act::Callback(who));
        }
        if waits && nothing_out && !worker.uncommitted {
            if world.requests < self.requests && world.may_send(who) {
                acts.push(Act::Sends(who));
            }
            acts.push(Act::NeverLeft(who));
        }
        if worker.letter.is_some() {
            acts.push(Act::Arrives(who));
        }
        if worker.straggler.is_some() {
            acts.push(Act::Straggles(who));
        }
        if worker.reply.is_some() {
            acts.extend([Act::Comes(who), Act::Copied(who)]);
        }
        if !nothing_out {
            acts.push(Act::Lost(who));
            if waits && !worker.given_up {
                acts.push(Act::GivesUp(who));
            }
        }
        if worker.uncommitted {
            acts.extend([Act::Commit(who), Act::StoreFails(who)]);
        }
        if !worker.spill.is_empty() && !leased {
            acts.push(Act::Merge(who));
        }
        if !idle || worker.reply.is_some() {
            acts.push(Act::Dies(who));
        }
    }
}

fn tell(memory: &mut Memory, told: Told) {
    let revision = memory.tell(START, told).effects.expect("it is taken").store.expect("it is to be stored");
    let _ = memory.tell(START, Told::Saved(revision)).effects.expect("it is stored");
}

impl Model for Fleet {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![self.start()]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        (0..world.workers.len()).for_each(|who| self.acts_of(world, who, acts));
        if world.moves < self.moves {
            acts.extend([60, 120, 86_400].map(Act::Later));
            acts.push(Act::Back);
        }
        acts.retain(|act| !act.is_fault(world) || world.faults < self.faults);
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        next.act(act)?;
        next.faults += u8::from(act.is_fault(world));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("I1 to I5, I7, I8, L1: no edge breaks one", |_, world: &World| {
                world.broken.is_none()
            }),
            Property::always("I1: no code is used twice", |_, world: &World| {
                world.authority.grants(world.now).iter().all(|grant| grant.code != CodeState::UsedTwice)
            }),
        ];
        // That the search gets where it should, and does not hold for want of ways.
        if self.consent {
            properties.push(Property::sometimes("a consent succeeds", |_, world: &World| {
                matches!(phase_of(&world.row.record).grant, Grant::Linked)
            }));
        } else {
            properties.push(Property::sometimes("an answer is lost", |_, world: &World| {
                matches!(phase_of(&world.row.record).grant, Grant::Uncertain)
            }));
            properties.push(Property::sometimes("a writer is fenced out, and merged", |_, world: &World| {
                tokens_in(&world.row.record).len() > 1
            }));
        }
        properties
    }
}

/// Small enough for every run.
#[must_use]
pub fn short() -> Vec<(&'static str, Fleet)> {
    vec![
        linked("grace", 2, 3, 3, 1),
        // Four requests: a candidate is kept by two, refused is the one in front by the third.
        linked("hard", 2, 2, 4, 1),
        // A value that stays for a day and a write that comes too late are two moves of the clock.
        linked("sticky", 2, 1, 2, 2),
        linked("sticky-hard", 2, 1, 2, 2),
        consent(2, 3, 3, 1),
    ]
}

/// All.
#[must_use]
pub fn deep() -> Vec<(&'static str, Fleet)> {
    let mut all = Vec::new();
    for name in ["grace", "sticky", "hard", "sticky-hard"] {
        all.extend([linked(name, 2, 2, 2, 2), linked(name, 2, 2, 3, 2), linked(name, 3, 1, 2, 2)]);
    }
    all.extend([consent(2, 2, 3, 2), consent(3, 2, 2, 1)]);
    all
}

fn linked(name: &'static str, workers: usize, faults: u8, requests: u8, moves: u8) -> (&'static str, Fleet) {
    let rotation = Policy::named(name).expect("a policy of the emulator's");
    (name, Fleet { rotation, workers, faults, requests, moves, consent: false, without: None })
}

fn consent(workers: usize, faults: u8, requests: u8, moves: u8) -> (&'static str, Fleet) {
    let rotation = Policy::GRACE;
    ("callback-twice", Fleet { rotation, workers, faults, requests, moves, consent: true, without: None })
}

/// Searches one, breadth first; the line that reports it, or the way to what is broken.
///
/// # Errors
/// A property does not hold.
pub fn search(name: &str, fleet: &Fleet) -> Result<String, String> {
    let clock = Instant::now();
    let Fleet { workers, faults, requests, moves, .. } = *fleet;
    let checker = fleet.clone().checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut broken = Vec::new();
    for property in fleet.properties() {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            (Expectation::Always, Some(path)) => {
                let end = path.last_state().broken;
                broken.push(format!("{}: {end:?} by {:?}", property.name, path.into_actions()));
            }
            (Expectation::Sometimes, None) => broken.push(format!("{}: never", property.name)),
            _ => {}
        }
    }
    let line = format!(
        "engine=stateright authority={name} workers={workers} faults={faults} requests={requests} moves={moves} \
         states={} unique={} depth={} seconds={:.1}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        clock.elapsed().as_secs_f64()
    );
    if broken.is_empty() { Ok(line) } else { Err(format!("{line}\n{}", broken.join("\n"))) }
}
