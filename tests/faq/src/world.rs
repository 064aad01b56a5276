//! The world: a session or two of them, the authority, a store, a clock that jumps, and a log of everything.
//!
//! One process acts at a time. Where there is a second one ([`crate::fleet`]) it sleeps meanwhile, wherever it was stopped.

use std::collections::{BTreeSet, VecDeque};

use evergrant::phase::{Consent, Grant, Issued, Refused};
use evergrant::{
    App, Ask, Call, ClientSecret, Due, Effects, Error, Input, Keys, Phase, Provider, Purpose, Received,
    Record, Scopes, Session, StateKey, Tell, Time, api,
};
use evergrant_emulator::authority::{
    Authority, AuthorizeError, Config, Decision, Environment, Keys as TheirKeys, Lengths, Policy,
};
use serde_json::Value;

use crate::bridge::{self, Letter, Reply};
use crate::fleet::{Fleet, Merge, Stage};

/// The session under test: small buffers, so that a step is quick; the same code.
pub type Life = Session<128, 64, 64>;

/// When a world begins.
pub const START: u64 = 1_800_000_000;
/// A minute.
pub const MINUTE: u64 = 60;
/// An hour.
pub const HOUR: u64 = 3_600;
/// A day.
pub const DAY: u64 = 86_400;
/// What the authority says of a refresh token's life (wire-facts C4).
pub const REFRESH_LIFE: u64 = 8_726_400;
/// The app's own redirect URI.
pub const REDIRECT: &str = "https://app.example/callback";
/// A second one, such as a tool's (RED-5).
pub const TOOL: &str = "https://tool.example:8443/oauth2/callback/";
/// The company.
pub const REALM: &str = "9341453000000001";
/// The sandbox client.
pub const CLIENT: &str = "sandbox-client";
const SECRET: &str = "sandbox-canary-secret";
const STATE_KEY: &[u8] = b"a key that signs states, 32 bytes or more";

/// The app's sandbox keys.
pub const KEYS: Keys<'static> = Keys {
    client_id: CLIENT,
    client_secret: ClientSecret::new(SECRET),
    redirect_uris: &[REDIRECT, TOOL],
    further_scopes: &["payroll.compensation.read"],
    state_key: Some(StateKey::new(STATE_KEY)),
};

/// The app's production keys.
pub const PRODUCTION_KEYS: Keys<'static> =
    Keys { client_id: "production-client", client_secret: ClientSecret::new("production-secret"), ..KEYS };

/// The three ways in which Intuit's documents describe rotation (wire-facts C1, C2).
pub const MODELS: [Policy; 3] = [Policy::GRACE, Policy::STICKY, Policy::HARD];

/// The app in the sandbox.
#[must_use]
pub fn sandbox() -> App<'static> {
    App::new(&Provider::INTUIT_SANDBOX, KEYS).expect("good keys")
}

/// The app in production.
#[must_use]
pub fn production() -> App<'static> {
    App::new(&Provider::INTUIT_PRODUCTION, PRODUCTION_KEYS).expect("good keys")
}

/// What goes wrong with one request and its answer.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// No connection: it provably never left.
    NotSent,
    /// It was lost on the way there; the client is told at once that no answer came.
    LostBefore,
    /// The authority did its work; the answer was lost, and the client is told at once.
    LostAfter,
    /// Nothing comes back, and nobody says so: the clock must. `true`: the authority did its work.
    Silent(bool),
    /// As [`Fault::LostAfter`], but the answer turns up so many seconds later.
    Late(u64),
    /// The answer takes so many seconds.
    Slow(u64),
    /// The answer arrives twice.
    AnswerTwice,
    /// Something on the way sends the request twice; both answers arrive, in this order.
    RequestTwice,
    /// As [`Fault::RequestTwice`], with the answers in the other order.
    RequestTwiceTurned,
    /// The body breaks off after so many thousandths.
    Truncated(u16),
    /// The authority is down and answers with this status and a page; it does nothing.
    Status(u16),
    /// An outage that answers `invalid_grant`.
    InvalidGrant,
    /// The store fails so many times from the moment in which the request has left.
    StoreFails(u32),
    /// The answer's JSON is changed on the way.
    Edit(fn(&mut Value)),
}

/// A trouble at the authority that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Requests are lost.
    Lost,
    /// 503.
    Unavailable,
    /// `invalid_grant` for everything.
    InvalidGrant,
}

/// What the client's clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time.
    Right,
    /// The time, and so many seconds more (or less).
    Off(i64),
    /// It was never set.
    Unset,
    /// It stands still at this moment.
    Stopped(u64),
}

/// Something that happened. Times are Unix seconds of the true clock, `clock` is what the client's clock showed.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The session was told something.
    Step(Box<Step>),
    /// A request left.
    Sent(Box<Sent>),
    /// An answer arrived, and is handed to the session next.
    Arrived {
        /// To which call.
        call: Call,
        /// What it is.
        reply: Reply,
        /// Its access and refresh token.
        tokens: Option<(String, String)>,
    },
    /// An access token was handed out.
    Handed {
        /// When.
        at: u64,
        /// What the client's clock showed.
        clock: Time,
        /// The token.
        token: String,
        /// The record that its process has read or written last.
        stored: Option<String>,
        /// Whether the authority's API would have taken it.
        works: bool,
    },
    /// The store took a record.
    Stored {
        /// Its revision.
        revision: u32,
        /// The refresh tokens in it.
        held: Vec<String>,
    },
    /// A record that the store did not take is kept elsewhere.
    Spilled {
        /// The refresh tokens in it.
        held: Vec<String>,
    },
    /// The store refused one.
    StoreFailed,
    /// The process died, and began anew from the store.
    Died,
    /// A second process begins, from the store; the one in its place is gone.
    Begins {
        /// Its number.
        process: u32,
    },
    /// From here on this process acts, and these are the refresh tokens that it holds.
    Acts {
        /// Its number.
        process: u32,
        /// The current one first.
        held: Vec<String>,
    },
    /// The store refused a record: something was written that its writer does not know.
    FencedOut,
    /// A session took in the stored record.
    Merge(Box<Merge>),
    /// The client's clock was tampered with.
    ClockSet,
    /// The session asked to be woken, was woken, and nothing came of it.
    BusyLoop(Phase),
    /// The user ended the grant at the authority.
    UserDisconnected,
}

/// One call of [`Session::handle`].
#[derive(Clone, Debug)]
pub struct Step {
    /// When.
    pub at: u64,
    /// What the client's clock showed.
    pub clock: Time,
    /// The input's name.
    pub name: &'static str,
    /// The call that it answers.
    pub answers: Option<Call>,
    /// Before.
    pub before: Phase,
    /// After.
    pub after: Phase,
    /// What came of it.
    pub outcome: Result<Effects, Error>,
    /// Refresh tokens held afterwards.
    pub held: Vec<String>,
    /// It was refused and changed something all the same.
    pub impure: bool,
    /// A secret stood in something that was rendered.
    pub leaked: Option<String>,
}

/// A request that left.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub at: u64,
    /// What the client's clock showed.
    pub clock: Time,
    /// When it was decided on, which is what the kernel counts from: a process may be stopped before it sends.
    pub decided: Time,
    /// The call.
    pub call: Call,
    /// The code or token in it.
    pub secret: String,
    /// The whole request.
    pub letter: Letter,
    /// Whether it reached the authority.
    pub reached: bool,
}

/// The durable side: record bytes, and switches that make it fail.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// What was stored last.
    pub text: Option<String>,
    /// How many of the next writes fail.
    pub fail: u32,
}

/// An answer that is under way, to a process.
pub(crate) struct Delivery {
    pub(crate) at: u64,
    pub(crate) process: u32,
    pub(crate) call: Call,
    pub(crate) reply: Reply,
}

/// See the module's text.
pub struct World {
    /// The app.
    pub app: App<'static>,
    /// The authority.
    pub intuit: Authority,
    /// The session.
    pub session: Life,
    /// The store.
    pub store: Store,
    /// Everything that happened.
    pub log: Vec<Entry>,
    /// The true time, Unix seconds.
    pub time: u64,
    /// What goes wrong with the next requests, one each.
    pub faults: VecDeque<Fault>,
    /// What goes wrong with all of them.
    pub outage: Option<Outage>,
    /// Callbacks that the browser has brought, oldest first.
    pub callbacks: Vec<String>,
    /// The process dies at the so-manieth seam from here.
    pub dies_in: Option<u32>,
    /// What must never be rendered: keys, codes and tokens.
    pub secrets: BTreeSet<String>,
    pub(crate) fleet: Fleet,
    clock: Clock,
    pub(crate) late: Vec<Delivery>,
    random: u64,
    pub(crate) deaths: u32,
}

impl World {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(model: Policy) -> Self {
        Self::with(model, |_| {})
    }

    /// The same, with changes to what the authority is set up with.
    #[must_use]
    pub fn with(model: Policy, change: impl FnOnce(&mut Config)) -> Self {
        let keys = [
            TheirKeys::new(Environment::Sandbox, CLIENT, SECRET, [REDIRECT, TOOL]),
            TheirKeys::new(Environment::Production, "production-client", "production-secret", [REDIRECT]),
        ];
        let mut config = Config::new(keys).with_policy(model);
        config.lengths = Lengths::SHORT;
        change(&mut config);
        let app = sandbox();
        Self {
            session: Session::new(&app),
            app,
            intuit: Authority::new(config, 7).expect("a good configuration"),
            store: Store::default(),
            log: Vec::new(),
            time: START,
            faults: VecDeque::new(),
            outage: None,
            callbacks: Vec::new(),
            dies_in: None,
            secrets: BTreeSet::from([SECRET.into(), String::from_utf8_lossy(STATE_KEY).into_owned()]),
            fleet: Fleet::default(),
            clock: Clock::Right,
            late: Vec::new(),
            random: 1,
            deaths: 0,
        }
    }

    /// A world in which a consent for accounting has brought tokens.
    #[must_use]
    pub fn linked(model: Policy) -> Self {
        let mut world = Self::new(model);
        world.link(Scopes::ACCOUNTING);
        world
    }

    // ---------------------------------------------------------------------------------------------------- time

    /// What the client's clock shows.
    #[must_use]
    pub fn now(&self) -> Time {
        match self.clock {
            Clock::Right => Time::from_unix(self.time),
            Clock::Off(by) => Time::from_unix(self.time.saturating_add_signed(by)),
            Clock::Unset => Time::UNSET,
            Clock::Stopped(at) => Time::from_unix(at),
        }
    }

    /// Sets the client's clock.
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        self.log.push(Entry::ClockSet);
    }

    /// Lets time pass. Answers that were under way arrive; the session is told of nothing else.
    pub fn wait(&mut self, seconds: u64) {
        let until = self.time.saturating_add(seconds);
        while let Some(at) = self.late.iter().map(|delivery| delivery.at).min().filter(|at| *at <= until) {
            self.time = self.time.max(at);
            let index = self.late.iter().position(|delivery| delivery.at == at).unwrap_or_default();
            let Delivery { process, call, reply, .. } = self.late.swap_remove(index);
            self.deliver(process, call, &reply);
        }
        self.time = until;
    }

    /// Carries out what is due now. More than a few ticks without a step forward are a busy loop.
    pub fn settle(&mut self) {
        for _ in 0..20 {
            if !self.now().is_set() {
                // Nothing is judged without a clock.
                return;
            }
            match self.session.due(&self.app) {
                // It is tried again, but not at once.
                Due::Store if self.store.fail > 0 || self.is_locked_out() => {
                    let _ = self.tick();
                    return;
                }
                Due::Tick(at) if at > self.now() => return,
                Due::Consent => return,
                Due::Store | Due::Tick(_) => {
                    let (before, deaths) = (*self.session.phase(), self.deaths);
                    let _ = self.tick();
                    if self.sleeps() {
                        return;
                    }
                    if *self.session.phase() == before && self.deaths == deaths {
                        return self.log.push(Entry::BusyLoop(before));
                    }
                }
            }
        }
        self.log.push(Entry::BusyLoop(*self.session.phase()));
    }

    /// Lets time pass as a program does that sleeps until what is due, and wakes up once a day at least, as `Due` asks for
    /// (it says an hour, but lives are long). After 300 deadlines (an outage of weeks, tried every quarter of an hour) it
    /// sleeps through to the end.
    pub fn live(&mut self, seconds: u64) {
        let until = self.time.saturating_add(seconds);
        let mut deadlines = 0;
        while deadlines < 300 {
            self.settle();
            if self.sleeps() {
                return;
            }
            let ahead = match self.session.due(&self.app) {
                Due::Tick(at) => at.unix().saturating_sub(self.now().unix()).max(1),
                Due::Store => 60,
                Due::Consent => u64::MAX,
            };
            deadlines += u32::from(ahead < DAY);
            let due = self.time.saturating_add(ahead.min(DAY));
            if due >= until {
                break;
            }
            self.wait(due.saturating_sub(self.time));
            self.look();
        }
        self.wait(until.saturating_sub(self.time));
        self.look();
        self.settle();
    }

    /// A waking that nothing was due for.
    fn look(&mut self) {
        if self.now().is_set() && matches!(self.session.due(&self.app), Due::Tick(at) if at > self.now()) {
            let _ = self.tick();
        }
    }

    // ----------------------------------------------------------------------------------------------- the driver

    /// Hands an input to the session, and carries out what it asks for: store, send, and hand in the answer.
    ///
    /// # Errors
    /// What the session refused.
    pub fn input(&mut self, name: &'static str, input: Input<'_>) -> Result<Effects, Error> {
        let effects = self.handle(name, input)?;
        self.carry(effects);
        Ok(effects)
    }

    fn carry(&mut self, effects: Effects) {
        self.carry_from(effects, Stage::Store);
    }

    /// Goes on from that stage. Before each the process may die, or be stopped for a while.
    pub(crate) fn carry_from(&mut self, mut effects: Effects, mut stage: Stage) {
        loop {
            if self.dies() {
                return;
            }
            if self.is_stopped() {
                return self.fall_asleep(effects, stage);
            }
            stage = match (stage, effects.send) {
                (Stage::Store, _) if !self.stored(effects) => return,
                (Stage::Store, _) => Stage::Send,
                (Stage::Send, None) => return,
                (Stage::Send, Some(call)) => match self.send(call) {
                    Some(received) => Stage::Answer(call, received),
                    None => return,
                },
                (Stage::Answer(call, received), _) => {
                    let next = match &received {
                        None => self.handle("answer", Input::Answer(call, Received::NoAnswer)),
                        Some(reply) => self.hand_in(call, reply),
                    };
                    match next {
                        Ok(next) => effects = next,
                        Err(_) => return,
                    }
                    Stage::Store
                }
            };
        }
    }

    /// Stores what is to be stored; where that fails, the request that hangs on it never leaves.
    fn stored(&mut self, effects: Effects) -> bool {
        if effects.store.is_none() || self.write(effects.send.is_some()) {
            return true;
        }
        if let Some(call) = effects.send
            && self.session.phase().in_flight() == Some(call)
            && let Ok(next) = self.handle("answer", Input::Answer(call, Received::NotSent))
            && next.store.is_some()
        {
            self.save();
        }
        self.catch_up();
        false
    }

    /// Writes the record; says whether the store took it.
    pub fn save(&mut self) -> bool {
        self.write(false)
    }

    /// The same. With a request that hangs on it, the store's lease is taken in the same step.
    pub(crate) fn write(&mut self, sends: bool) -> bool {
        if self.store.fail > 0 || self.is_locked_out() {
            self.store.fail = self.store.fail.saturating_sub(1);
            self.log.push(Entry::StoreFailed);
            self.spill();
            return false;
        }
        if self.is_fenced_out() {
            self.log.push(Entry::FencedOut);
            return false;
        }
        let text = self.record();
        let revision = self.session.phase().revision;
        self.log.push(Entry::Stored { revision, held: tokens_in(&text) });
        self.store.text = Some(text);
        self.wrote(sends);
        if self.dies() {
            return false;
        }
        self.handle("saved", Input::Saved(revision)).is_ok()
    }

    /// The session's record as text.
    #[must_use]
    pub fn record(&self) -> String {
        text(&self.session.record(&self.app))
    }

    /// The process dies and begins anew from the store.
    pub fn crash(&mut self) {
        self.dies_in = None;
        self.deaths += 1;
        self.log.push(Entry::Died);
        self.session = match &self.store.text {
            None => Session::new(&self.app),
            Some(text) => restore(&self.app, text),
        };
        self.began();
    }

    fn dies(&mut self) -> bool {
        match self.dies_in {
            Some(0) => {
                self.crash();
                true
            }
            Some(seams) => {
                self.dies_in = Some(seams - 1);
                false
            }
            None => false,
        }
    }

    pub(crate) fn handle(&mut self, name: &'static str, input: Input<'_>) -> Result<Effects, Error> {
        let before = *self.session.phase();
        let fingerprint = self.fingerprint();
        let answers = if let Input::Answer(call, _) = input { Some(call) } else { None };
        let now = self.now();
        let outcome = self.session.handle(&self.app, now, input);
        let after = *self.session.phase();
        let step = Step {
            at: self.time,
            clock: now,
            name,
            answers,
            before,
            after,
            outcome,
            held: self.held(),
            impure: outcome.is_err() && fingerprint != self.fingerprint(),
            leaked: self.leak(&outcome),
        };
        self.log.push(Entry::Step(Box::new(step)));
        self.fleet.note(&outcome);
        outcome
    }

    /// All that can be seen of the session.
    pub(crate) fn fingerprint(&self) -> (Phase, String, Option<Letter>) {
        let letter = self.session.phase().in_flight().and_then(|call| self.letter(call).ok());
        (*self.session.phase(), self.record(), letter)
    }

    /// The secret that stands in something rendered (I6).
    pub(crate) fn leak<E: core::error::Error>(&self, outcome: &Result<Effects, E>) -> Option<String> {
        let mut text = format!("{:?} {outcome:?} {:?}", self.session, self.session.record(&self.app));
        if let Err(error) = outcome {
            text += &error.to_string();
        }
        self.secrets.iter().find(|secret| text.contains(secret.as_str())).cloned()
    }

    // ------------------------------------------------------------------------------------------------- the wire

    /// The request of a call, as it would be sent.
    ///
    /// # Errors
    /// The session does not give it.
    pub fn letter(&self, call: Call) -> Result<Letter, Error> {
        let request = self.session.request(&self.app, call)?;
        let mut buffer = vec![0; request.length()];
        Ok(Letter::of(&request.write(&mut buffer)?))
    }

    /// Sends a call. `None`: nothing comes back and nobody says so; `Some(None)`: no answer.
    fn send(&mut self, call: Call) -> Option<Option<Reply>> {
        let letter = self
            .letter(call)
            .unwrap_or_else(|error| panic!("a call that was just stored cannot be sent: {error}"));
        let outage = self.outage.map(|outage| match outage {
            Outage::Lost => Fault::LostBefore,
            Outage::Unavailable => Fault::Status(503),
            Outage::InvalidGrant => Fault::InvalidGrant,
        });
        let fault = outage.or_else(|| self.faults.pop_front());
        if let Some(Fault::NotSent) = fault {
            let next = self.handle("answer", Input::Answer(call, Received::NotSent));
            if let Ok(effects) = next {
                self.carry(effects);
            }
            return None;
        }
        let reached = !matches!(
            fault,
            Some(Fault::LostBefore | Fault::Silent(false) | Fault::Status(_) | Fault::InvalidGrant)
        );
        let secret = letter.secret();
        assert!(!secret.is_empty(), "a request without a code or a token: {}", letter.url);
        self.secrets.insert(secret.clone());
        self.log.push(Entry::Sent(Box::new(Sent {
            at: self.time,
            clock: self.now(),
            decided: self.decided(),
            call,
            secret,
            letter: letter.clone(),
            reached,
        })));
        self.answer(call, &letter, fault)
    }

    /// When the call in flight was decided on.
    fn decided(&self) -> Time {
        let phase = self.session.phase();
        match (phase.consent, phase.grant) {
            (Consent::Exchanging { sent_at, .. }, _)
            | (_, Grant::Refreshing { sent_at, .. } | Grant::Revoking { sent_at, .. }) => sent_at,
            _ => self.now(),
        }
    }

    fn answer(&mut self, call: Call, letter: &Letter, fault: Option<Fault>) -> Option<Option<Reply>> {
        Some(match fault {
            None => Some(self.work(letter)),
            Some(Fault::NotSent | Fault::LostBefore) => None,
            Some(Fault::StoreFails(times)) => {
                self.store.fail = times;
                Some(self.work(letter))
            }
            Some(Fault::LostAfter) => {
                self.work(letter);
                None
            }
            Some(Fault::Silent(worked)) => {
                if worked {
                    self.work(letter);
                }
                return None;
            }
            Some(Fault::Late(seconds)) => {
                let reply = self.work(letter);
                self.later(seconds, call, reply);
                None
            }
            Some(Fault::Slow(seconds)) => {
                let reply = self.work(letter);
                self.time = self.time.saturating_add(seconds);
                Some(reply)
            }
            Some(Fault::AnswerTwice) => {
                let reply = self.work(letter);
                self.later(1, call, reply.clone());
                Some(reply)
            }
            Some(Fault::RequestTwice) => {
                let (first, second) = (self.work(letter), self.work(letter));
                self.later(1, call, second);
                Some(first)
            }
            Some(Fault::RequestTwiceTurned) => {
                let (first, second) = (self.work(letter), self.work(letter));
                self.later(1, call, first);
                Some(second)
            }
            Some(Fault::Truncated(thousandths)) => {
                let mut reply = self.work(letter);
                reply.body.truncate(reply.body.len() * usize::from(thousandths) / 1_000);
                Some(reply)
            }
            Some(Fault::Status(status)) => Some(Reply::new(status, "<html>Please try again later.</html>")),
            Some(Fault::InvalidGrant) => Some(Reply::new(400, r#"{"error":"invalid_grant"}"#)),
            Some(Fault::Edit(edit)) => {
                let reply = self.work(letter);
                let mut body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
                edit(&mut body);
                Some(Reply::new(reply.status, body.to_string()))
            }
        })
    }

    /// The authority does what it is asked.
    fn work(&mut self, letter: &Letter) -> Reply {
        let reply = bridge::carry_out(&mut self.intuit, self.time, letter)
            .unwrap_or_else(|wrong| panic!("the session sent what no authority knows: {wrong}"));
        if let Some((access, refresh)) = reply.tokens() {
            self.secrets.extend([access, refresh]);
        }
        reply
    }

    fn hand_in(&mut self, call: Call, reply: &Reply) -> Result<Effects, Error> {
        let entry = Entry::Arrived { call, reply: reply.clone(), tokens: reply.tokens() };
        self.log.push(entry);
        let received = Received::Answer {
            status: reply.status,
            retry_after: None,
            correlation: Some("1-faq"),
            body: &reply.body,
        };
        let outcome = self.handle("answer", Input::Answer(call, received));
        if let Err(Error::Refused(Refused::CandidatesFull | Refused::ClockUnset)) = outcome {
            // What the refusal asks for: the answer is kept, and handed in again.
            self.later(HOUR, call, reply.clone());
        }
        outcome
    }

    fn later(&mut self, seconds: u64, call: Call, reply: Reply) {
        let (at, process) = (self.time.saturating_add(seconds), self.fleet.acts);
        self.late.push(Delivery { at, process, call, reply });
    }

    /// Hands in an answer that comes when nobody waits for it, and carries out what follows.
    pub fn arrive(&mut self, call: Call, reply: &Reply) {
        if let Ok(effects) = self.hand_in(call, reply) {
            self.carry(effects);
        }
    }

    // ---------------------------------------------------------------------------------------------- what happens

    /// Time has passed.
    ///
    /// # Errors
    /// What the session refused.
    pub fn tick(&mut self) -> Result<Effects, Error> {
        self.input("tick", Input::Tick)
    }

    /// Somebody needs an access token: what a program does that wants one now.
    pub fn demand(&mut self) -> Option<String> {
        let _ = self.input("demand", Input::Demand);
        self.access()
    }

    /// The access token, where the session hands one out.
    pub fn access(&mut self) -> Option<String> {
        let token = self.session.access_token(self.now())?.expose().to_owned();
        self.log.push(Entry::Handed {
            at: self.time,
            clock: self.now(),
            token: token.clone(),
            stored: self.read_last(),
            works: self.intuit.access_token_works(self.time, &token),
        });
        Some(token)
    }

    /// 64 bytes that no other consent gets.
    pub fn random(&mut self) -> [u8; 64] {
        let mut bytes = [0; 64];
        for chunk in bytes.chunks_mut(8) {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&(self.random ^ (self.random >> 29)).to_be_bytes());
        }
        bytes
    }

    /// A consent is asked for; the address that the user is sent to.
    ///
    /// # Errors
    /// What the session refused.
    pub fn ask(&mut self, redirect_uri: &'static str, scopes: Scopes) -> Result<String, Error> {
        let random = self.random();
        let _ = self.input("ask", Input::Ask(Ask { redirect_uri, scopes, random }))?;
        self.url()
    }

    /// The address that the user is sent to.
    ///
    /// # Errors
    /// What the session refused.
    pub fn url(&self) -> Result<String, Error> {
        let mut buffer = [0; 1_024];
        Ok(self.session.authorization_url(&self.app, &mut buffer)?.to_owned())
    }

    /// The user goes to that address and decides; where the browser is sent back to.
    ///
    /// # Errors
    /// The authority shows a page and sends nobody back.
    pub fn decide(&mut self, url: &str, decision: Decision) -> Result<String, AuthorizeError> {
        let callback = self.intuit.authorize(self.time, &bridge::browse(url), decision)?;
        self.secrets.extend(callback.code().map(String::from));
        let back = bridge::callback_url(&callback);
        self.callbacks.push(back.clone());
        Ok(back)
    }

    /// The browser is sent back.
    ///
    /// # Errors
    /// What the session refused.
    pub fn callback(&mut self, text: &str) -> Result<Effects, Error> {
        self.input("callback", Input::Callback { text, binding: &[] })
    }

    /// A consent from beginning to end.
    ///
    /// # Panics
    /// Something on the way was refused.
    pub fn link(&mut self, scopes: Scopes) {
        let url = self.ask(REDIRECT, scopes).expect("a consent can be asked for");
        let back = self.decide(&url, approve()).expect("the authority knows the app");
        let _ = self.callback(&back).expect("the callback is ours");
    }

    /// The API is asked with the access token that is handed out now; what it means is handed in.
    pub fn call_api(&mut self) -> Option<u16> {
        let token = self.session.access_token(self.now())?;
        let (serial, text) = (token.serial(), token.expose().to_owned());
        let realm = self.session.realm().to_owned();
        let reply = bridge::call_api(&mut self.intuit, self.time, &text, &realm);
        let meaning = api::judge(reply.status, &reply.body);
        let _ = self.input("api", Input::Api { serial, meaning });
        Some(reply.status)
    }

    /// The user disconnects at the authority; nobody tells the app.
    pub fn disconnect(&mut self) {
        self.intuit.disconnect(self.time, REALM);
        self.log.push(Entry::UserDisconnected);
    }

    // -------------------------------------------------------------------------------------------- what is there

    /// The refresh tokens that the session holds: the current one first.
    #[must_use]
    pub fn held(&self) -> Vec<String> {
        tokens_in(&self.record())
    }

    /// The current refresh token.
    #[must_use]
    pub fn refresh_token(&self) -> String {
        self.held().into_iter().next().unwrap_or_default()
    }

    /// Requests of that purpose that left, in order.
    pub fn sent(&self, purpose: Purpose) -> impl Iterator<Item = &Sent> {
        self.log.iter().filter_map(move |entry| match entry {
            Entry::Sent(sent) if sent.call.purpose == purpose => Some(&**sent),
            _ => None,
        })
    }

    /// All that was told.
    pub fn told(&self) -> impl Iterator<Item = Tell> {
        self.log.iter().filter_map(|entry| match entry {
            Entry::Step(step) => step.outcome.ok()?.tell,
            _ => None,
        })
    }

    /// Whether any refresh token that is held works at the authority now.
    #[must_use]
    pub fn could_live(&self) -> bool {
        let works = |token: &String| {
            self.intuit.refresh_token_state(self.time, token).is_some_and(|state| state.works())
        };
        self.held().iter().any(works)
    }
}

/// The user says yes.
#[must_use]
pub fn approve() -> Decision {
    Decision::Approve { realm: REALM.into() }
}

/// A record as it is stored.
///
/// # Panics
/// It is larger than any session's.
#[must_use]
pub fn text(record: &Record<'_>) -> String {
    let mut buffer = [0; 16_000];
    let text = record.write(&mut buffer).expect("a record has an end");
    String::from_utf8(text.to_vec()).expect("a record is text")
}

/// A session read back from its record.
///
/// # Panics
/// The record is none.
#[must_use]
pub fn restore(app: &App<'static>, text: &str) -> Life {
    let record = Record::read(text.as_bytes()).expect("what was written can be read");
    Session::restore(app, &record).expect("what was stored can be restored")
}

/// The refresh tokens in a record: the current one first, then the candidates.
#[must_use]
pub fn tokens_in(record: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(record).unwrap_or(Value::Null);
    ["t", "c", "d"]
        .iter()
        .filter_map(|name| value[name].as_str())
        .filter(|token| !token.is_empty())
        .map(String::from)
        .collect()
}

/// The access token in a record; empty where there is none.
#[must_use]
pub fn access_in(record: &str) -> String {
    let value: Value = serde_json::from_str(record).unwrap_or(Value::Null);
    value["a"].as_str().unwrap_or_default().into()
}

/// Lifetimes as an answer would bring them.
#[must_use]
pub fn lifetimes(access_for: u32, refresh_for: u32) -> Issued {
    Issued { access_for, refresh_for, hard_for: 0, refresh: evergrant::phase::Rotation::New }
}
