//! A fleet round the kernel, searched with `stateright`: workers that share one row of a store with leases, and the
//! authority itself, under each of its policies.
//!
//! A worker is the kernel with the token values that its phase speaks of, moved as [`Bytes`] says. The row is what the vault
//! promises of one: a claim takes the lease, raises the epoch and writes the intent in one step, a commit is guarded by the
//! epoch, a lease runs out by itself. Between any two steps a worker may die, an answer be lost before or after the
//! authority's work, or come late and twice, the store fail, the clock step back.
//!
//! **L1, exactly.** A run has lost its grant needlessly when an edge closes the row's phase, nobody revoked or disconnected, and
//! a token value that the row has at that moment would still be answered with tokens. It is excused where a request has been
//! unanswered for as long as the replay policy allows, for then no client may ask again (I2); since when is kept by the
//! row's onlooker, not read from the phase. A value that reached no store (its answer was lost for good, or came to a worker
//! that died before it was durable) is not in the row, so no client could have kept it. One that waits in a worker's memory
//! or spill file does not count either: it is merged yet, and revives the grant.

use evergrant::phase::{
    Bytes, Consent, Event, Grant, Held, Issued, Outcome, Proof, Refusal, Rotation, Step, step,
};
use evergrant::{Call, FOREVER, Phase, Policy, Provider, Purpose, Reason, Time};
use evergrant_emulator::authority::{
    Authority, AuthorizeRequest, ClientAuth, Config, Decision, Environment, Keys, Lengths, TokenRequest,
};
use stateright::{Model, Property};

const START: u64 = 1_800_000_000;
const REDIRECT: &str = "https://app.example/cb";
const LEASE: u64 = 90;
const POLICY: Policy = Policy { refusals: 2, ..Provider::INTUIT_SANDBOX.policy };

/// What is searched.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The authority's habits.
    pub rotation: evergrant_emulator::authority::Policy,
    /// How many workers.
    pub workers: usize,
    /// How many things may go wrong in a run.
    pub faults: u8,
    /// How many requests may be written in a run.
    pub requests: u8,
    /// How often the clock may be moved in a run.
    pub moves: u8,
    /// It begins with the callback of a first consent, which comes twice, to any worker.
    pub consent: bool,
}

/// Where everything stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    now: u64,
    authority: Authority,
    row: Row,
    workers: Vec<Worker>,
    faults: u8,
    requests: u8,
    moves: u8,
    /// The code of a consent, and how often its callback has come.
    callback: Option<(String, u8)>,
    /// What an edge found broken.
    broken: Option<&'static str>,
}

/// A phase with the values that it speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Purse {
    phase: Phase,
    /// In a worker's memory only: no record has it.
    code: Option<String>,
    refresh: String,
    candidates: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Row {
    purse: Purse,
    epoch: u32,
    /// Whose, and until when.
    lease: Option<(usize, u64)>,
    /// When the first request was claimed that no commit has answered.
    unanswered: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Worker {
    /// The session in memory while the worker is at it, and the epoch of its claim.
    at: Option<(Purse, u32)>,
    /// An answer on its way to it, and what it answers.
    reply: Option<(Call, Reply)>,
    /// It has been waited for, and given up.
    given_up: bool,
    /// Tokens that the store has not taken, kept in a file.
    spill: Vec<String>,
    /// The result has still to be committed.
    uncommitted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Tokens { refresh: String, lives: u32 },
    Refused,
}

/// What can happen next; the number is a worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Reads the row, claims it, writes the intent.
    Claim(usize),
    /// The callback comes.
    Callback(usize),
    /// The request arrives at the authority, and its answer is on its way.
    Arrives(usize),
    /// The request provably never left.
    NeverLeft(usize),
    /// The worker gives up waiting; the answer may still come.
    GivesUp(usize),
    /// The answer comes.
    Comes(usize),
    /// The answer is lost for good.
    Lost(usize),
    /// The result is committed, or merged where the epoch is another's.
    Commit(usize),
    /// The store fails at the commit: the tokens go into the spill file.
    StoreFails(usize),
    /// What is in the spill file is merged.
    Merge(usize),
    /// The worker dies.
    Dies(usize),
    /// The clock moves on by so many seconds.
    Later(u32),
    /// The clock steps back by an hour.
    Back,
}

impl Purse {
    fn take(&mut self, after: &Step, incoming: Option<&str>) {
        self.phase = Phase { unsaved: false, ..after.phase };
        match after.bytes {
            Bytes::TakeTokens => {
                self.code = None;
                if let Some(new) = incoming {
                    self.refresh = new.into();
                }
                self.candidates.clear();
            }
            Bytes::TakeCode => self.code = incoming.map(String::from),
            Bytes::DropCode => self.code = None,
            Bytes::TakeCandidate => self.candidates.extend(incoming.map(String::from)),
            Bytes::TakeFront => {
                if let Some(new) = incoming {
                    self.candidates.push(std::mem::replace(&mut self.refresh, new.into()));
                }
            }
            Bytes::NextCandidate { steps } => {
                for _ in 0..steps {
                    let next = self.candidates.remove(0);
                    self.candidates.push(std::mem::replace(&mut self.refresh, next));
                }
            }
            Bytes::Forget => {
                self.refresh.clear();
                self.candidates.clear();
            }
            Bytes::Keep | Bytes::DropAccess | Bytes::KeepRefresh => {}
        }
    }

    fn values(&self) -> impl Iterator<Item = &String> {
        self.candidates.iter().chain([&self.refresh])
    }

    fn knows(&self, value: &str) -> bool {
        self.values().any(|own| own == value)
    }

    fn issued(&self, value: &str, lives: u32) -> Issued {
        let refresh = if self.knows(value) { Rotation::Same } else { Rotation::New };
        Issued { access_for: 3_600, refresh_for: lives, hard_for: 0, refresh }
    }
}

impl World {
    fn time(&self) -> Time {
        Time::from_unix(self.now)
    }

    fn leased(&self) -> bool {
        self.row.lease.is_some_and(|(_, until)| self.now < until)
    }

    fn breaks(&mut self, what: &'static str) {
        self.broken.get_or_insert(what);
    }

    /// Steps 3 and 4 of the fleet protocol: judge what was read, then claim, with the intent.
    fn claim(&mut self, who: usize, event: Event, code: Option<&str>) -> Option<()> {
        let mut purse = self.row.purse.clone();
        purse.phase = purse.phase.restored();
        let after = step(&POLICY, &purse.phase, self.time(), event).ok()?;
        purse.take(&after, code);
        self.row.epoch += 1;
        self.row.purse = Purse { code: None, ..purse.clone() };
        if after.effects.send.is_some() {
            self.row.lease = Some((who, self.now + LEASE));
            if code.is_none() {
                self.row.unanswered.get_or_insert(self.now);
            }
            self.workers[who].at = Some((purse, self.row.epoch));
        }
        Some(())
    }

    fn arrives(&mut self, who: usize) -> Option<()> {
        let (purse, _) = self.workers[who].at.clone()?;
        let call = purse.phase.in_flight()?;
        let client = ClientAuth::basic("client", "secret");
        let request = match call.purpose {
            Purpose::Exchange => TokenRequest::exchange(client, purse.code?, REDIRECT),
            Purpose::Refresh | Purpose::Revoke => TokenRequest::refresh(client, purse.refresh),
        };
        let answer = self.authority.token(self.now, &request);
        let reply = match answer {
            Ok(tokens) => Reply::Tokens {
                refresh: tokens.refresh_token,
                lives: u32::try_from(tokens.refresh_token_expires_in).unwrap_or(u32::MAX),
            },
            Err(_) => Reply::Refused,
        };
        self.workers[who].reply = Some((call, reply));
        self.requests += 1;
        // I2: with its lease alive, nobody else's request is out.
        let live = self.workers.iter().filter(|worker| worker.reply.is_some() && !worker.given_up).count();
        if live > 1 && self.leased() {
            let holders = self.workers.iter().filter(|worker| {
                worker.reply.is_some()
                    && !worker.given_up
                    && worker.at.as_ref().is_some_and(|(_, epoch)| *epoch == self.row.epoch)
            });
            if holders.count() > 1 {
                self.breaks("I2: two requests under one lease");
            }
        }
        Some(())
    }

    /// An answer, or what stands for one, meets the worker's session.
    fn answered(&mut self, who: usize, call: Call, reply: Option<Reply>, not_sent: bool) -> Option<()> {
        let now = self.time();
        let (mut purse, epoch) = self.workers[who].at.clone()?;
        let (outcome, value) = match &reply {
            Some(Reply::Tokens { refresh, lives }) => {
                (Outcome::Tokens(purse.issued(refresh, *lives)), Some(refresh.clone()))
            }
            Some(Reply::Refused) => (Outcome::Refused(Refusal::InvalidGrant), None),
            None if not_sent => (Outcome::NotSent, None),
            None => (Outcome::NoAnswer, None),
        };
        let after = step(&POLICY, &purse.phase, now, Event::Answer { call, outcome }).ok()?;
        purse.take(&after, value.as_deref());
        if let Some(value) = &value
            && !purse.knows(value)
        {
            self.breaks("I5: tokens that arrived were dropped");
        }
        let worker = &mut self.workers[who];
        worker.at = Some((purse, epoch));
        worker.uncommitted = true;
        Some(())
    }

    fn commit(&mut self, who: usize) -> Option<()> {
        let (purse, epoch) = self.workers[who].at.clone()?;
        self.workers[who].uncommitted = false;
        if epoch == self.row.epoch {
            self.row.purse = Purse { code: None, ..purse.clone() };
            // Answered, whatever it was; a refusal beside an answer that is still missing is none.
            if let Grant::Linked | Grant::Suspect = purse.phase.grant
                && purse.phase.doubt.lost_since() == Time::UNSET
            {
                self.row.unanswered = None;
            }
            // A candidate that is to be sent next needs the lease still.
            if purse.phase.in_flight().is_none() {
                self.row.lease = None;
                self.finished(who);
            } else {
                self.row.lease = Some((who, self.now + LEASE));
            }
        } else {
            let fresh: Vec<String> =
                purse.values().filter(|value| !self.row.purse.knows(value)).cloned().collect();
            self.workers[who].spill.extend(fresh);
            self.finished(who);
        }
        Some(())
    }

    /// A late answer may still come, so it is not taken from it.
    fn finished(&mut self, who: usize) {
        if self.workers[who].reply.is_none() {
            self.workers[who].at = None;
            self.workers[who].given_up = false;
        }
    }

    /// The tokens that the store never saw, as candidates of what it has (STA-3).
    fn merge(&mut self, who: usize) -> Option<()> {
        let value = self.workers[who].spill.first()?.clone();
        if !self.row.purse.knows(&value) {
            let mut purse = self.row.purse.clone();
            purse.phase = purse.phase.restored();
            let issued = purse.issued(&value, 8_726_400);
            let event = Event::Candidate { issued_at: self.time(), lost_since: Time::UNSET, issued };
            let after = step(&POLICY, &purse.phase, self.time(), event).ok()?;
            purse.take(&after, Some(&value));
            if !purse.knows(&value) {
                self.breaks("I5: a candidate was dropped");
            }
            self.row.purse = purse;
            self.row.epoch += 1;
        }
        self.workers[who].spill.remove(0);
        Some(())
    }

    /// See the module's text.
    fn lost_needlessly(&self) -> bool {
        let Grant::Closed { reason, .. } = self.row.purse.phase.grant else { return false };
        if matches!(reason, Reason::Revoked | Reason::RevokeUnanswered) {
            return false;
        }
        let excused = self
            .row
            .unanswered
            .is_some_and(|since| self.now.saturating_sub(since) >= POLICY.replay_for.into());
        let works = |value: &String| {
            self.authority.refresh_token_state(self.now, value).is_some_and(|state| state.works())
        };
        // What is in a spill file or on its way is merged yet, and revives the grant: only the row counts.
        !excused && self.row.purse.values().any(works)
    }
}

impl Fleet {
    /// One linked grant, one second old; or a consent whose callback is about to come.
    ///
    /// # Panics
    /// The authority refuses its own consent.
    fn start(&self) -> World {
        let keys = Keys::new(Environment::Sandbox, "client", "secret", [REDIRECT]);
        let mut config = Config::new([keys]).with_policy(self.rotation);
        config.lengths = Lengths::SHORT;
        let mut authority = Authority::new(config, 7).expect("a good configuration");
        let request = AuthorizeRequest {
            client_id: "client".into(),
            redirect_uri: REDIRECT.into(),
            response_type: "code".into(),
            scope: "com.intuit.quickbooks.accounting".into(),
            state: Some("unguessable".into()),
            ..AuthorizeRequest::default()
        };
        let decision = Decision::Approve { realm: "9341453000000001".into() };
        let callback = authority.authorize(START, &request, decision).expect("consent");
        let code = callback.code().expect("a code").to_owned();
        if self.consent {
            let consent = Consent::Pending { until: Time::from_unix(START).plus(POLICY.consent_for) };
            let phase = Phase { consent, ..Phase::NEW };
            return self.world(authority, phase, String::new(), Some((code, 0)));
        }
        let client = ClientAuth::basic("client", "secret");
        let tokens = authority
            .token(START, &TokenRequest::exchange(client, code, REDIRECT))
            .expect("the first exchange succeeds");
        let held = Held {
            issued_at: Time::from_unix(START),
            access_for: 3_600,
            refresh_for: 8_726_400,
            hard_for: FOREVER,
            serial: 1,
            candidates: 0,
        };
        let phase = Phase {
            consent: Consent::None,
            grant: Grant::Linked,
            held,
            calls: 1,
            generation: 1,
            ..Phase::NEW
        };
        self.world(authority, phase, tokens.refresh_token, None)
    }

    fn world(
        &self,
        authority: Authority,
        phase: Phase,
        refresh: String,
        callback: Option<(String, u8)>,
    ) -> World {
        let purse = Purse { phase, code: None, refresh, candidates: Vec::new() };
        World {
            now: START + 1,
            authority,
            row: Row { purse, epoch: 1, lease: None, unanswered: None },
            workers: vec![Worker::default(); self.workers],
            faults: 0,
            requests: 0,
            moves: 0,
            callback,
            broken: None,
        }
    }
}

impl Model for Fleet {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![self.start()]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        let faulty = world.faults < self.faults;
        for (who, worker) in world.workers.iter().enumerate() {
            let waits = worker.at.as_ref().is_some_and(|(purse, _)| purse.phase.in_flight().is_some());
            if worker.at.is_none() && !world.leased() && world.requests < self.requests {
                acts.push(Act::Claim(who));
            }
            if worker.at.is_none()
                && !world.leased()
                && world.callback.as_ref().is_some_and(|(_, times)| *times < 2)
            {
                acts.push(Act::Callback(who));
            }
            if waits && worker.reply.is_none() && !worker.uncommitted && world.requests < self.requests {
                acts.push(Act::Arrives(who));
                if faulty {
                    acts.push(Act::NeverLeft(who));
                }
            }
            if worker.reply.is_some() {
                acts.push(Act::Comes(who));
                if faulty {
                    acts.push(Act::Lost(who));
                    if waits && !worker.given_up {
                        acts.push(Act::GivesUp(who));
                    }
                }
            }
            if worker.uncommitted {
                acts.push(Act::Commit(who));
                if faulty {
                    acts.push(Act::StoreFails(who));
                }
            }
            if !worker.spill.is_empty() && !world.leased() {
                acts.push(Act::Merge(who));
            }
            if faulty && (worker.at.is_some() || worker.reply.is_some()) {
                acts.push(Act::Dies(who));
            }
        }
        if world.moves < self.moves {
            acts.extend([60, 120, 86_400].map(Act::Later));
            if faulty {
                acts.push(Act::Back);
            }
        }
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        let fault = match act {
            Act::Claim(who) => {
                next.claim(who, Event::Refresh, None)?;
                false
            }
            Act::Callback(who) => {
                let (code, times) = next.callback.as_mut()?;
                *times += 1;
                let code = code.clone();
                // Refused, it has come all the same.
                let _ = next.claim(who, Event::Callback(Proof::Stored), Some(&code));
                false
            }
            Act::Arrives(who) => {
                next.arrives(who)?;
                false
            }
            Act::NeverLeft(who) => {
                let call = next.workers[who].at.as_ref()?.0.phase.in_flight()?;
                next.answered(who, call, None, true)?;
                true
            }
            Act::GivesUp(who) => {
                let call = next.workers[who].at.as_ref()?.0.phase.in_flight()?;
                next.answered(who, call, None, false)?;
                next.workers[who].given_up = true;
                true
            }
            Act::Comes(who) => {
                let (call, reply) = next.workers[who].reply.take()?;
                // Nothing new in it, or no session to meet: it is spent all the same.
                let _ = next.answered(who, call, Some(reply), false);
                next.workers[who].given_up = false;
                if !next.workers[who].uncommitted {
                    next.finished(who);
                }
                false
            }
            Act::Lost(who) => {
                let (call, _) = next.workers[who].reply.take()?;
                let _ = next.answered(who, call, None, false);
                if !next.workers[who].uncommitted {
                    next.finished(who);
                }
                true
            }
            Act::Commit(who) => {
                next.commit(who)?;
                false
            }
            Act::StoreFails(who) => {
                let (purse, _) = next.workers[who].at.clone()?;
                let fresh = purse.values().filter(|value| !next.row.purse.knows(value)).cloned();
                let fresh: Vec<String> =
                    fresh.filter(|value| !next.workers[who].spill.contains(value)).collect();
                next.workers[who].spill.extend(fresh);
                next.workers[who].uncommitted = false;
                next.workers[who].at = None;
                next.workers[who].reply = None;
                true
            }
            Act::Merge(who) => {
                next.merge(who)?;
                false
            }
            Act::Dies(who) => {
                let spill = std::mem::take(&mut next.workers[who].spill);
                next.workers[who] = Worker { spill, ..Worker::default() };
                true
            }
            Act::Later(seconds) => {
                next.now += u64::from(seconds);
                next.moves += 1;
                false
            }
            Act::Back => {
                next.now -= 3_600;
                next.moves += 1;
                true
            }
        };
        next.faults += u8::from(fault);
        let closed = |world: &World| matches!(world.row.purse.phase.grant, Grant::Closed { .. });
        if !closed(world) && closed(&next) && next.lost_needlessly() {
            next.breaks("L1: a grant that could be kept was given up");
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("I2, I5, L1: no edge breaks one", |_, world: &World| world.broken.is_none()),
            Property::always("I1: no code is used twice", |_, world: &World| {
                use evergrant_emulator::authority::CodeState;
                world.authority.grants(world.now).iter().all(|grant| grant.code != CodeState::UsedTwice)
            }),
        ];
        // That the search gets where it should, and does not hold for want of ways.
        if self.consent {
            properties.push(Property::sometimes("a consent succeeds", |_, world: &World| {
                matches!(world.row.purse.phase.grant, Grant::Linked)
            }));
        } else {
            properties.push(Property::sometimes("an answer is lost", |_, world: &World| {
                matches!(world.row.purse.phase.grant, Grant::Uncertain)
            }));
            properties.push(Property::sometimes("a writer is fenced out, and merged", |_, world: &World| {
                !world.row.purse.candidates.is_empty()
            }));
        }
        properties
    }
}

/// Small enough for every run.
#[must_use]
pub fn short() -> Vec<(&'static str, Fleet)> {
    let mut all = sized(2, 2, 2, 2);
    all.push(consent(2, 2));
    all
}

fn consent(workers: usize, faults: u8) -> (&'static str, Fleet) {
    let rotation = evergrant_emulator::authority::Policy::GRACE;
    ("callback-twice", Fleet { rotation, workers, faults, requests: 3, moves: 2, consent: true })
}

/// All.
#[must_use]
pub fn deep() -> Vec<(&'static str, Fleet)> {
    let mut all = sized(2, 2, 3, 2);
    all.extend(sized(3, 2, 2, 2));
    all.push(consent(3, 3));
    all
}

fn sized(workers: usize, faults: u8, requests: u8, moves: u8) -> Vec<(&'static str, Fleet)> {
    use evergrant_emulator::authority::Policy as Theirs;
    [
        ("grace", Theirs::GRACE),
        ("sticky", Theirs::STICKY),
        ("hard", Theirs::HARD),
        ("sticky-hard", Theirs::STICKY_HARD),
    ]
    .map(|(name, rotation)| (name, Fleet { rotation, workers, faults, requests, moves, consent: false }))
    .to_vec()
}

/// Searches one, breadth first; the line that reports it, or the way to what is broken.
///
/// # Errors
/// A property does not hold.
pub fn search(name: &str, fleet: &Fleet) -> Result<String, String> {
    use stateright::Checker;
    let clock = std::time::Instant::now();
    let Fleet { workers, faults, requests, moves, .. } = *fleet;
    let checker = fleet.clone().checker().spawn_bfs().join();
    let mut broken = Vec::new();
    for property in fleet.properties() {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            (stateright::Expectation::Always, Some(path)) => {
                let end = path.last_state().broken;
                broken.push(format!("{}: {end:?} by {:?}", property.name, path.into_actions()));
            }
            (stateright::Expectation::Sometimes, None) => broken.push(format!("{}: never", property.name)),
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
