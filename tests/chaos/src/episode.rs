//! An episode: a grant's life, or that of several in one store, a step at a time.
//!
//! The workers are processes of their own, and between two gates they run as they like. At each gate they stand still until the
//! harness lets them go on, so which of them runs when, and what meets what, follows from the script alone. (Kills *between*
//! gates are the exception: they come after so many real microseconds.) Time is the harness's: nothing sleeps.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use evergrant::{App, Provider, SignedAsk, Time, signed_url};
use evergrant_emulator::authority::{
    Authority, AuthorizeRequest, Config, Decision, Environment, Fingerprint, Keys, TokenAnswer, TokenGrant,
    TokenRequest,
};

use crate::app::{CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, SCOPE, keys};
use crate::book::{Book, Verdict};
use crate::fleet::{Event, Fleet};
use crate::script::{Kind, Outage, Script};
use crate::wire::Request;

/// When every episode begins.
const START: u64 = 1_800_000_000;
/// After the last harm a token is asked for this often, so many seconds apart. The core's longest pause is 12 hours.
const CALM: [u64; 9] = [300, 3_600, 7_200, 14_400, 28_800, 43_200, 43_200, 86_400, 86_400];
/// How often workers look for what a dead one has left.
const SWEEP_SECONDS: u64 = 300;
/// Whoever asks to be woken more often than this in an episode does nothing else any more (I8).
const TICKS_MOST: u32 = 20_000;
/// When clients give a call up. Whoever stands still longer with its request at the authority is told nothing.
const CALL_SECONDS: u64 = 30;
/// An authority that has taken a request in works on it this late at the latest, whether or not anybody waits.
const LATE_WORK_SECONDS: u64 = 120;

/// What came of an episode.
#[derive(Debug)]
pub struct Outcome {
    /// What became of each grant.
    pub verdicts: Vec<Verdict>,
    /// Refreshes that the authority judged.
    pub refreshes: u64,
    /// Of those, refused.
    pub refused: u64,
    /// Kills carried out.
    pub kills: u64,
    /// Harms that struck.
    pub struck: u64,
    /// Consents; more than grants where the first one brought nothing to anybody.
    pub consents: u64,
    /// Times that many refusals were taken for an outage, and all grants held.
    pub holds: u64,
    /// Access tokens that were handed out while the authority did not take them (any more).
    pub dead_handed_out: u64,
    /// What happened, a line each; empty unless it was asked for.
    pub trace: Vec<String>,
}

impl Outcome {
    /// What became of the grant, or the worst of it where there are several.
    pub fn verdict(&self) -> Verdict {
        self.verdicts.iter().copied().max().unwrap_or(Verdict::Kept)
    }
}

/// Where a worker stands.
enum State {
    Idle,
    /// Waits until its own time, or for a stall's end.
    Sleeping,
    Stalled(Box<At>),
    Dead,
}

/// A gate.
enum At {
    /// Before or after a verb of the store; of the node worker with what it wants of the store.
    Store(String),
    /// A request has arrived.
    Arrived(Box<Request>),
    /// It was worked on.
    Answered(Box<Request>, TokenAnswer),
    /// It has waited for an answer for as long as it does.
    GivenUp(Box<Request>),
    /// It waits.
    Sleep(u64),
}

/// What the harness does at a moment that it knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Step(usize),
    /// A sleeper wakes, or a stall ends; with the operation that it belongs to.
    Wake(usize, u64),
    Respawn(usize),
    /// Another worker is asked while the first stands still.
    Race(usize),
    /// Likewise, with the callback of that grant.
    CallbackAgain(usize, usize),
    Tick,
    /// A worker reaches the authority again.
    Joined(usize),
    /// The authority works on a request that nobody waits for any more.
    LateWork(usize),
    /// Something ends by itself.
    Mark,
}

/// What a worker is at.
struct Op {
    number: u64,
    /// The grants that it is about.
    grants: Vec<usize>,
    harms: Vec<Kind>,
    gates: u32,
    requests: u32,
    kill_soon: Option<u64>,
}

struct Post {
    state: State,
    op: Option<Op>,
    skew: i64,
    cut_until: u64,
    /// Refresh tokens that came to it, and of which grants they are; it has had no chance yet to keep them.
    fresh: Vec<(usize, String)>,
}

/// One of the grants.
#[derive(Default)]
struct Grant {
    realm: String,
    /// Its number at the authority.
    number: usize,
    /// The redirect of its consent.
    query: String,
    book: Book,
    /// What was said last of its access token.
    last: Option<Result<String, String>>,
}

pub(crate) struct Episode<'f> {
    fleet: &'f mut Fleet,
    script: &'f Script,
    authority: Authority,
    grants: Vec<Grant>,
    /// Whose a code is, or a refresh token.
    whose: HashMap<String, usize>,
    now: u64,
    timers: BinaryHeap<Reverse<(u64, u64, Timer)>>,
    posts: Vec<Post>,
    /// Requests that are worked on late, and whose they were.
    late: Vec<(usize, TokenRequest)>,
    tick_at: Option<u64>,
    ticks: u32,
    /// The client asks to be woken.
    wakes: bool,
    store_down_until: u64,
    done_fail: bool,
    outage: Option<(u64, Outage)>,
    sequence: u64,
    /// Since when there was a hold, each time.
    holds: BTreeSet<String>,
    outcome: Outcome,
    traced: bool,
}

impl<'f> Episode<'f> {
    /// `realm` must be new to the store.
    pub(crate) fn new(
        fleet: &'f mut Fleet,
        script: &'f Script,
        realm: u64,
        traced: bool,
    ) -> Result<Self, String> {
        let keys = Keys::new(Environment::Sandbox, CLIENT_ID, CLIENT_SECRET, [REDIRECT_URI]);
        let config = Config::new([keys]).with_policy(script.rotation());
        let authority =
            Authority::new(config, script.seed ^ script.number).map_err(|error| error.to_string())?;
        let post = |_| Post { state: State::Idle, op: None, skew: 0, cut_until: 0, fresh: Vec::new() };
        let posts = (0..fleet.size()).map(post).collect();
        let outcome = Outcome {
            verdicts: Vec::new(),
            refreshes: 0,
            refused: 0,
            kills: 0,
            struck: 0,
            consents: 0,
            holds: 0,
            dead_handed_out: 0,
            trace: Vec::new(),
        };
        let episode = Self {
            fleet,
            script,
            authority,
            grants: (0..script.grants as u64)
                .map(|grant| Grant { realm: format!("9{realm:012}{grant:03}"), ..Grant::default() })
                .collect(),
            whose: HashMap::new(),
            now: START,
            timers: BinaryHeap::new(),
            posts,
            late: Vec::new(),
            tick_at: None,
            ticks: 0,
            wakes: false,
            store_down_until: 0,
            done_fail: false,
            outage: None,
            sequence: 0,
            holds: BTreeSet::new(),
            outcome,
            traced,
        };
        episode.fleet.begin()?;
        Ok(episode)
    }

    /// Lives the whole of it.
    pub(crate) fn run(mut self) -> Result<Outcome, String> {
        let mut at = START;
        for (number, step) in self.script.steps.iter().enumerate() {
            at += step.after;
            self.at(at, Timer::Step(number));
        }
        let kept = if self.run_until(at)? { self.calm()? } else { vec![false; self.grants.len()] };
        for (number, kept) in kept.into_iter().enumerate() {
            let grant = &self.grants[number];
            let verdict = if kept {
                Verdict::Kept
            } else {
                grant.book.verdict(self.now, &self.authority, grant.number)
            };
            self.outcome.verdicts.push(verdict);
            let whose = self.named(number);
            self.trace(|| format!("the grant{whose}: {}", verdict.name()));
        }
        self.outcome.holds = self.holds.len() as u64;
        // Whoever is still at work on this grant would take the next one's lines for its own.
        for worker in 0..self.posts.len() {
            if !matches!(self.posts[worker].state, State::Idle) {
                self.fleet.kill(worker)?;
            }
        }
        Ok(self.outcome)
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.traced {
            let elapsed = self.now - START;
            let (days, rest) = (elapsed / 86_400, elapsed % 86_400);
            let (hours, minutes, seconds) = (rest / 3_600, rest / 60 % 60, rest % 60);
            self.outcome.trace.push(format!("{days:>3}d {hours:02}:{minutes:02}:{seconds:02}  {}", line()));
        }
    }

    /// Which of several, for whoever reads.
    fn named(&self, grant: usize) -> String {
        if self.grants.len() > 1 { format!(" {grant}") } else { String::new() }
    }

    // -------------------------------------------------------------------------------------------------------- time

    fn at(&mut self, at: u64, timer: Timer) {
        self.sequence += 1;
        self.timers.push(Reverse((at, self.sequence, timer)));
    }

    /// Carries out all that is due by then. `false` where every grant is dead at the authority.
    fn run_until(&mut self, end: u64) -> Result<bool, String> {
        while let Some(Reverse((at, _, _))) = self.timers.peek().copied()
            && at <= end
        {
            let Some(Reverse((at, _, timer))) = self.timers.pop() else { break };
            self.pass(at);
            self.fire(timer)?;
            if self.is_over() {
                return Ok(false);
            }
        }
        self.pass(end);
        Ok(true)
    }

    fn is_over(&self) -> bool {
        (0..self.grants.len()).all(|grant| self.is_dead(grant))
    }

    /// Dead at the authority, and nobody brings it back.
    fn is_dead(&self, grant: usize) -> bool {
        let Grant { book, number, .. } = &self.grants[grant];
        book.ever_held()
            && !self.is_on_its_way(grant)
            && self.authority.grant(self.now, *number).is_some_and(|grant| !grant.is_alive())
    }

    fn is_on_its_way(&self, grant: usize) -> bool {
        self.posts.iter().any(|post| post.fresh.iter().any(|(whose, _)| *whose == grant))
    }

    fn pass(&mut self, to: u64) {
        if to > self.now {
            let somebody = !self.is_store_down() && self.outage.is_none() && {
                let runs = |post: &Post| {
                    matches!(post.state, State::Idle | State::Sleeping) && post.cut_until <= self.now
                };
                self.posts.iter().any(runs)
            };
            self.grants.iter_mut().for_each(|grant| grant.book.pass(self.now, to, somebody));
            self.now = to;
        }
        if self.outage.is_some_and(|(until, _)| until <= self.now) {
            self.outage = None;
        }
    }

    fn is_store_down(&self) -> bool {
        self.store_down_until > self.now
    }

    fn fire(&mut self, timer: Timer) -> Result<(), String> {
        match timer {
            Timer::Step(number) => self.step(number),
            Timer::Wake(worker, op) => {
                let is_it = self.posts[worker].op.as_ref().is_some_and(|current| current.number == op);
                match std::mem::replace(&mut self.posts[worker].state, State::Idle) {
                    State::Stalled(at) if is_it => self.go_on(worker, *at),
                    State::Sleeping if is_it => self.go_on(worker, At::Sleep(0)),
                    other => {
                        self.posts[worker].state = other;
                        Ok(())
                    }
                }
            }
            Timer::Respawn(worker) => {
                if !self.fleet.is_alive(worker) {
                    self.trace(|| format!("worker {worker} is started again"));
                    self.fleet.spawn(worker)?;
                    self.posts[worker].state = State::Idle;
                    if self.wakes && self.fleet.looks_when_it_starts() {
                        return self.ask(worker, "tick", self.all(), Vec::new());
                    }
                }
                Ok(())
            }
            Timer::Race(first) => self.ask((first + 1) % self.posts.len(), "use", self.all(), Vec::new()),
            Timer::CallbackAgain(first, grant) => {
                self.ask((first + 1) % self.posts.len(), "callback", vec![grant], Vec::new())
            }
            Timer::Tick => self.tick(),
            Timer::LateWork(number) => {
                if let Some((worker, request)) = self.late.get(number).cloned() {
                    let _ = self.work(worker, &request);
                }
                Ok(())
            }
            Timer::Joined(worker) if self.posts[worker].cut_until <= self.now => {
                self.fleet.link(worker, true)
            }
            Timer::Joined(_) | Timer::Mark => Ok(()),
        }
    }

    // ------------------------------------------------------------------------------------------------------- asking

    fn step(&mut self, number: usize) -> Result<(), String> {
        let script = self.script;
        let Some(step) = script.steps.get(number) else { return Ok(()) };
        let mut harms = script.at(number);
        for harm in &harms {
            self.disturb(step.worker, *harm)?;
        }
        let is_used = self.grants.iter().any(|grant| grant.book.ever_held());
        if is_used {
            self.ask(step.worker, "use", self.all(), std::mem::take(&mut harms))?;
        }
        for grant in 0..self.grants.len() {
            if self.needs_a_consent(grant) {
                self.consent(grant)?;
                self.ask(step.worker, "callback", vec![grant], std::mem::take(&mut harms))?;
            }
        }
        Ok(())
    }

    fn all(&self) -> Vec<usize> {
        (0..self.grants.len()).collect()
    }

    /// Nobody has a token of it, or is about to: the user connects (again).
    fn needs_a_consent(&self, grant: usize) -> bool {
        let is_at_work = |post: &Post| post.op.as_ref().is_some_and(|op| op.grants.contains(&grant));
        !self.grants[grant].book.ever_held()
            && !self.is_on_its_way(grant)
            && !self.posts.iter().any(is_at_work)
    }

    /// Harms that do not wait for a gate.
    fn disturb(&mut self, worker: usize, harm: Kind) -> Result<(), String> {
        match harm {
            Kind::Outage { seconds, how } => {
                self.outage = Some((self.now + seconds, how));
                self.at(self.now + seconds, Timer::Mark);
            }
            Kind::Cut { seconds } => {
                self.fleet.link(worker, false)?;
                self.posts[worker].cut_until = self.now + seconds;
                self.at(self.now + seconds, Timer::Joined(worker));
            }
            Kind::Skew { seconds } => self.posts[worker].skew = seconds,
            _ => return Ok(()),
        }
        self.outcome.struck += 1;
        self.trace(|| format!("worker {worker}: {harm}"));
        Ok(())
    }

    /// The user consents, and the browser is on its way back.
    fn consent(&mut self, grant: usize) -> Result<(), String> {
        let provider = Provider::INTUIT_SANDBOX;
        let app = App::new(&provider, keys()).map_err(|error| error.to_string())?;
        let mut random = [0; 16];
        let draw = (self.script.seed, self.script.number, self.outcome.consents);
        random[..8].copy_from_slice(&(draw.0 ^ draw.1.rotate_left(32)).to_be_bytes());
        random[8..].copy_from_slice(&draw.2.to_be_bytes());
        let scopes = app.scopes([SCOPE]).map_err(str::to_owned)?;
        let ask = SignedAsk { redirect_uri: REDIRECT_URI, scopes, binding: &[], carry: &[], random };
        let mut buffer = [0; 2_048];
        let url = signed_url(&app, Time::from_unix(self.now), &ask, &mut buffer);
        let url = url.map_err(|error| error.to_string())?;
        let pairs = form_urlencoded::parse(url.split_once('?').map_or("", |(_, query)| query).as_bytes());
        let state = pairs.into_owned().find(|(name, _)| name == "state").map(|(_, state)| state);
        let request = AuthorizeRequest {
            client_id: CLIENT_ID.into(),
            redirect_uri: REDIRECT_URI.into(),
            response_type: "code".into(),
            scope: SCOPE.into(),
            state,
            ..AuthorizeRequest::default()
        };
        let decision = Decision::Approve { realm: self.grants[grant].realm.clone() };
        let callback =
            self.authority.authorize(self.now, &request, decision).map_err(|error| error.to_string())?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in callback.parameters() {
            query.append_pair(name, value);
            if name == "code" {
                self.whose.insert(value.to_owned(), grant);
            }
        }
        self.grants[grant].query = query.finish();
        self.grants[grant].number = self.authority.grants(self.now).len().saturating_sub(1);
        self.outcome.consents += 1;
        Ok(())
    }

    /// A worker that says when it wants to be woken is woken then. One that died, or stands still, left that in the store, where the others' sweep
    /// finds it.
    fn sweep_by(&mut self, at: u64) {
        if self.wakes && self.tick_at.is_none_or(|own| own > at || own <= self.now) {
            self.tick_at = Some(at);
            self.at(at, Timer::Tick);
        }
    }

    fn tick(&mut self) -> Result<(), String> {
        if self.tick_at != Some(self.now) {
            return Ok(());
        }
        if self.ticks >= TICKS_MOST {
            return Err(format!("a worker asks to be woken for ever, the {TICKS_MOST}th time now"));
        }
        self.tick_at = None;
        if !self.posts.iter().any(|post| matches!(post.state, State::Idle)) {
            self.sweep_by(self.now + SWEEP_SECONDS);
            return Ok(());
        }
        self.ticks += 1;
        let worker = self.ticks as usize % self.posts.len();
        self.ask(worker, "tick", self.all(), Vec::new())
    }

    /// Asks a worker, or the next one that is idle.
    fn ask(&mut self, worker: usize, verb: &str, grants: Vec<usize>, harms: Vec<Kind>) -> Result<(), String> {
        let count = self.posts.len();
        let is_idle = |worker: &usize| matches!(self.posts[*worker].state, State::Idle);
        let Some(worker) = (0..count).map(|next| (worker + next) % count).find(is_idle) else {
            self.trace(|| format!("nobody is there to be asked ({verb})"));
            return Ok(());
        };
        self.trace(|| format!("worker {worker}: {verb}"));
        self.sequence += 1;
        let query = match grants[..] {
            [grant] if verb == "callback" => self.grants[grant].query.as_str(),
            _ => "",
        };
        let realms: Vec<&str> = self.grants.iter().map(|grant| grant.realm.as_str()).collect();
        let (realms, query) = (realms.join(","), query.to_owned());
        self.posts[worker].op =
            Some(Op { number: self.sequence, grants, harms, gates: 0, requests: 0, kill_soon: None });
        let line = format!("{verb} {} {realms} {query}", self.told(worker));
        self.fleet.say(worker, &line);
        self.follow(worker)
    }

    /// The time as that worker is told it, whether it is to stop at gates, and whether the store is down.
    fn told(&self, worker: usize) -> String {
        let post = &self.posts[worker];
        let has_harms = post.op.as_ref().is_some_and(|op| !op.harms.is_empty());
        let gated = if self.is_store_down() { 2 } else { u8::from(has_harms) };
        format!("{} {} {gated}", self.now, self.now.saturating_add_signed(post.skew))
    }

    // ---------------------------------------------------------------------------------------------------- following

    /// Lets a worker run until it is done, waits, stands still or is dead.
    fn follow(&mut self, worker: usize) -> Result<(), String> {
        loop {
            if let Some(micros) = self.posts[worker].op.as_mut().and_then(|op| op.kill_soon.take()) {
                std::thread::sleep(Duration::from_micros(micros));
                return self.killed(worker);
            }
            let at = match self.fleet.wait(worker)? {
                Event::Died => return Err("a worker ended by itself; its own words are above".into()),
                Event::Request(request) => At::Arrived(Box::new(request)),
                Event::Line(line) => match line.split_once(' ').unwrap_or((line.as_str(), "")) {
                    ("gate", what) => At::Store(what.into()),
                    ("sleep", seconds) => At::Sleep(seconds.parse().unwrap_or(1)),
                    ("hold", since) => {
                        self.trace(|| {
                            format!("worker {worker}: takes many refusals for an outage ({since})")
                        });
                        self.holds.insert(since.to_owned());
                        continue;
                    }
                    ("ok" | "err", _) => return self.finish(worker, &line),
                    _ => return Err(format!("a worker says {line:?}, which nobody understands")),
                },
            };
            if !self.at_gate(worker, at)? {
                return Ok(());
            }
        }
    }

    /// A stall is over.
    fn go_on(&mut self, worker: usize, at: At) -> Result<(), String> {
        if self.let_go(worker, at)? { self.follow(worker) } else { Ok(()) }
    }

    /// What happens at a gate; `false` where the worker does not run on.
    fn at_gate(&mut self, worker: usize, at: At) -> Result<bool, String> {
        let post = &mut self.posts[worker];
        let Some(op) = &mut post.op else { return Err("a worker is at work and was not asked".into()) };
        let gate = op.gates;
        op.gates += 1;
        let strikes = |harm: &Kind| {
            matches!(harm, Kind::Kill { gate: own, .. } | Kind::Stall { gate: own, .. } | Kind::StoreDown { gate: own, .. }
                | Kind::CallbackTwice { gate: own } if *own == gate)
        };
        let struck: Vec<Kind> = op.harms.extract_if(.., |harm| strikes(harm)).collect();
        self.outcome.struck += struck.len() as u64;
        let mut stall = None;
        if struck.is_empty() {
            self.trace(|| format!("worker {worker}, gate {gate} ({})", at.name()));
        }
        for harm in struck {
            self.trace(|| format!("worker {worker}, gate {gate} ({}): {harm}", at.name()));
            match harm {
                Kind::StoreDown { seconds, done, .. } => {
                    self.store_down_until = self.now + seconds;
                    self.done_fail = done;
                    self.at(self.now + seconds, Timer::Mark);
                }
                Kind::Kill { micros, down, fleet, .. } => {
                    self.plan_return(worker, down);
                    if fleet {
                        for other in (0..self.posts.len()).filter(|other| *other != worker) {
                            self.killed(other)?;
                            self.plan_return(other, down);
                        }
                    }
                    if micros == 0 {
                        self.killed(worker)?;
                        return Ok(false);
                    }
                    if let Some(op) = &mut self.posts[worker].op {
                        op.kill_soon = Some(micros);
                    }
                }
                Kind::Stall { seconds, race, .. } => {
                    stall = Some(seconds);
                    if race {
                        self.at(self.now + seconds.min(2), Timer::Race(worker));
                    }
                }
                Kind::CallbackTwice { .. } => {
                    stall = Some(2);
                    let grants = self.posts[worker].op.as_ref().map_or(&[][..], |op| &op.grants[..]);
                    if let Some(grant) = grants.first().copied() {
                        self.at(self.now + 1, Timer::CallbackAgain(worker, grant));
                    }
                }
                _ => {}
            }
        }
        match (stall, at) {
            (None, at) => self.let_go(worker, at),
            (Some(seconds), At::Arrived(request)) if seconds > CALL_SECONDS => {
                self.late.push((worker, request.token.clone()));
                self.at(self.now + seconds.min(LATE_WORK_SECONDS), Timer::LateWork(self.late.len() - 1));
                self.stand(worker, CALL_SECONDS, State::Stalled(Box::new(At::GivenUp(request))));
                Ok(false)
            }
            (Some(seconds), at) => {
                self.stand(worker, seconds, State::Stalled(Box::new(at)));
                self.sweep_by(self.now + SWEEP_SECONDS);
                Ok(false)
            }
        }
    }

    fn stand(&mut self, worker: usize, seconds: u64, state: State) {
        let op = self.posts[worker].op.as_ref().map_or(0, |op| op.number);
        self.posts[worker].state = state;
        self.at(self.now + seconds, Timer::Wake(worker, op));
    }

    fn plan_return(&mut self, worker: usize, down: u64) {
        self.at(self.now + down, Timer::Respawn(worker));
    }

    fn killed(&mut self, worker: usize) -> Result<(), String> {
        self.fleet.kill(worker)?;
        self.outcome.kills += 1;
        if let Some(op) = self.posts[worker].op.take() {
            op.grants.iter().for_each(|grant| self.grants[*grant].book.unanswered(self.now));
            self.sweep_by(self.now + SWEEP_SECONDS);
        }
        self.posts[worker] = Post {
            state: State::Dead,
            op: None,
            fresh: Vec::new(),
            skew: self.posts[worker].skew,
            cut_until: self.posts[worker].cut_until,
        };
        // What it had sent off is worked on all the same; the answer has nowhere to go.
        while let Some(request) = self.fleet.left_behind() {
            let _ = self.work(request.worker, &request.token);
        }
        Ok(())
    }

    /// Lets a worker through a gate; `false` where it does not run on.
    fn let_go(&mut self, worker: usize, at: At) -> Result<bool, String> {
        match at {
            At::Sleep(0) => self.answer_gate(worker, "go", None),
            At::Sleep(seconds) => {
                self.stand(worker, seconds, State::Sleeping);
                return Ok(false);
            }
            At::Store(what) => self.store_gate(worker, &what),
            At::GivenUp(request) => {
                self.unanswered(&request);
                self.trace(|| {
                    format!("worker {worker}: has waited for {CALL_SECONDS} s, and gives the call up")
                });
                drop(request);
            }
            At::Arrived(request) => return self.arrived(worker, request),
            At::Answered(request, answer) => self.answered(worker, *request, &answer),
        }
        Ok(true)
    }

    fn store_gate(&mut self, worker: usize, what: &str) {
        let word = match (self.is_store_down(), std::mem::take(&mut self.done_fail)) {
            (true, true) => "done-fail",
            (true, false) => "fail",
            (false, _) => "go",
        };
        self.answer_gate(worker, word, Some(what));
    }

    fn answer_gate(&mut self, worker: usize, word: &str, what: Option<&str>) {
        self.had_a_chance(worker);
        let mut word = word.to_owned();
        let found = what.and_then(|what| self.store_for_node(&mut word, what)).unwrap_or_default();
        let line = format!("{word} {} {found}", self.told(worker));
        self.fleet.say(worker, &line);
    }

    /// The node worker has no driver: the harness carries out its verbs.
    fn store_for_node(&mut self, word: &mut String, what: &str) -> Option<String> {
        let tables = self.fleet.tables.as_ref()?;
        let realm = &self.grants.first()?.realm;
        let (verb, row) = what.split_once(' ')?;
        if word == "fail" {
            return None;
        }
        let done = match verb {
            "get" => tables.get(realm).map(|row| row.map_or_else(String::new, |row| row.refresh)),
            "put" => {
                let row = crate::worker::Row { refresh: row.to_owned(), ..crate::worker::Row::default() };
                tables.put(realm, &row).map(|()| String::new())
            }
            _ => return None,
        };
        if done.is_err() || word == "done-fail" {
            *word = "fail".into();
        }
        done.ok()
    }

    /// It was let go with a token in hand. Where it is killed in the next moment it may not have got anywhere.
    fn had_a_chance(&mut self, worker: usize) {
        let post = &mut self.posts[worker];
        if post.op.as_ref().is_some_and(|op| op.kill_soon.is_some()) {
            return;
        }
        for (grant, token) in std::mem::take(&mut post.fresh) {
            let book = &mut self.grants[grant].book;
            book.hold(token);
            book.review(self.now, &self.authority);
        }
    }

    /// Whose grant a request is about. One that nobody was given is about none.
    fn grant_of(&self, request: &TokenRequest) -> Option<usize> {
        let (TokenGrant::RefreshToken { refresh_token: sent }
        | TokenGrant::AuthorizationCode { code: sent, .. }) = &request.grant;
        self.whose.get(sent).copied()
    }

    fn unanswered(&mut self, request: &Request) {
        if let Some(grant) = self.grant_of(&request.token) {
            self.grants[grant].book.unanswered(self.now);
        }
    }

    // ------------------------------------------------------------------------------------------------ the authority

    fn arrived(&mut self, worker: usize, request: Box<Request>) -> Result<bool, String> {
        let post = &mut self.posts[worker];
        let cut = post.cut_until > self.now;
        if let Some(op) = &mut post.op {
            op.requests += 1;
        }
        let first = post.op.as_ref().is_some_and(|op| op.requests == 1);
        let unworked = Kind::AnswerLost { worked: false };
        let lost = first && post.op.as_ref().is_some_and(|op| op.harms.contains(&unworked));
        self.outcome.struck += u64::from(lost);
        match self.outage {
            _ if lost || cut => {
                self.unanswered(&request);
                self.trace(|| format!("worker {worker}: its request does not arrive"));
            }
            Some((_, Outage::Closed)) => {
                self.unanswered(&request);
                self.trace(|| format!("worker {worker}: the authority closes the connection"));
            }
            Some((_, Outage::InvalidGrant)) => {
                self.trace(|| format!("worker {worker}: is told invalid_grant, by an outage"));
                request.refuse(&self.told(worker));
            }
            Some((_, Outage::Unavailable)) => {
                self.trace(|| format!("worker {worker}: is told 503"));
                request.unavailable(&self.told(worker));
            }
            None => {
                let answer = self.work(worker, &request.token);
                return self.at_gate(worker, At::Answered(request, answer));
            }
        }
        Ok(true)
    }

    fn work(&mut self, worker: usize, request: &TokenRequest) -> TokenAnswer {
        let answer = self.authority.token(self.now, request);
        let sent = match &request.grant {
            TokenGrant::RefreshToken { refresh_token } => Some(short(refresh_token)),
            TokenGrant::AuthorizationCode { .. } => None,
        };
        if sent.is_some() {
            self.outcome.refreshes += 1;
            self.outcome.refused += u64::from(answer.is_err());
        }
        if let Some(grant) = self.grant_of(request) {
            if let Ok(tokens) = &answer {
                self.whose.insert(tokens.refresh_token.clone(), grant);
            }
            self.grants[grant].book.review(self.now, &self.authority);
        }
        let what = match &answer {
            Ok(tokens) => format!("is given {}", short(&tokens.refresh_token)),
            Err(error) => format!("is refused ({:?})", error.cause),
        };
        let sent = sent.unwrap_or_else(|| "the code".into());
        self.trace(|| format!("worker {worker}: with {sent} {what}"));
        answer
    }

    fn answered(&mut self, worker: usize, request: Request, answer: &TokenAnswer) {
        let post = &mut self.posts[worker];
        let mut harm = None;
        if let Some(op) = &mut post.op
            && op.requests == 1
        {
            let loses = |kind: &Kind| matches!(kind, Kind::AnswerLost { worked: true } | Kind::AnswerTorn);
            harm = op.harms.extract_if(.., |kind| loses(kind)).next();
        }
        if let Some(harm) = harm {
            self.outcome.struck += 1;
            self.trace(|| format!("worker {worker}: {harm}"));
        }
        if harm.is_some() {
            self.unanswered(&request);
        }
        match harm {
            Some(Kind::AnswerTorn) => request.tear(answer, &self.told(worker)),
            Some(_) => drop(request),
            None => {
                let grant = self.grant_of(&request.token);
                if request.answer(answer, &self.told(worker))
                    && let (Ok(tokens), Some(grant)) = (answer, grant)
                {
                    self.posts[worker].fresh.push((grant, tokens.refresh_token.clone()));
                }
            }
        }
    }

    // --------------------------------------------------------------------------------------------------------- ends

    fn finish(&mut self, worker: usize, line: &str) -> Result<(), String> {
        self.had_a_chance(worker);
        let own = self.now.saturating_add_signed(self.posts[worker].skew);
        let grants = self.posts[worker].op.take().map(|op| op.grants).unwrap_or_default();
        self.posts[worker].state = State::Idle;
        let mut words = line.splitn(3, ' ');
        let (word, second, third) =
            (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
        let due = if word == "ok" { third } else { second };
        if word == "ok" && second == "-" {
            self.trace(|| format!("worker {worker}: has looked"));
        } else if word == "ok" {
            for (grant, said) in grants.into_iter().zip(second.split(',')) {
                let said = said.strip_prefix('!').map_or(Ok(said), Err);
                self.said(worker, grant, said.map(str::to_owned).map_err(str::to_owned));
            }
        } else {
            grants.into_iter().for_each(|grant| self.said(worker, grant, Err(third.to_owned())));
        }
        if let Ok(due) = due.parse::<u64>() {
            let at = self.now + due.saturating_sub(own).max(1);
            self.wakes = true;
            self.tick_at = Some(at);
            self.at(at, Timer::Tick);
        }
        Ok(())
    }

    fn said(&mut self, worker: usize, grant: usize, said: Result<String, String>) {
        let said = said.and_then(|token| {
            let lives = self.is_alive(grant, &token);
            self.outcome.dead_handed_out += u64::from(!lives);
            if lives { Ok(token) } else { Err("a dead token".into()) }
        });
        let whose = self.named(grant);
        self.trace(|| match &said {
            Ok(_) => format!("worker {worker}: has a token{whose}"),
            Err(why) => format!("worker {worker}: has none{whose}: {why}"),
        });
        self.grants[grant].last = Some(said);
    }

    fn is_alive(&self, grant: usize, fingerprint: &str) -> bool {
        let grant = self.authority.grant(self.now, self.grants[grant].number);
        let is_it = |own: &Fingerprint| own.to_string() == fingerprint;
        grant.is_some_and(|grant| grant.access_tokens.iter().any(|token| is_it(&token.fingerprint)))
    }

    /// All harm is over. Whether the client comes by a token of each grant, and an hour later by another one.
    fn calm(&mut self) -> Result<Vec<bool>, String> {
        self.trace(|| "all harm is over".into());
        self.store_down_until = 0;
        self.outage = None;
        for worker in 0..self.posts.len() {
            self.fleet.link(worker, true)?;
            let post = &mut self.posts[worker];
            (post.skew, post.cut_until) = (0, 0);
            if let Some(op) = &mut post.op {
                op.harms.clear();
            }
            if let Some(op) = &post.op {
                let number = op.number;
                self.at(self.now, Timer::Wake(worker, number));
            } else if matches!(post.state, State::Dead) {
                self.at(self.now, Timer::Respawn(worker));
            }
        }
        let mut first: Vec<Option<String>> = vec![None; self.grants.len()];
        let mut kept = vec![false; self.grants.len()];
        for (number, wait) in CALM.into_iter().enumerate() {
            let wait = if first.iter().any(Option::is_some) { wait.max(3_700) } else { wait };
            if !self.run_until(self.now + wait)? {
                break;
            }
            self.grants.iter_mut().for_each(|grant| grant.last = None);
            let is_idle = self.posts.iter().all(|post| post.op.is_none());
            if is_idle && !self.grants.iter().any(|grant| grant.book.ever_held()) {
                break;
            }
            self.ask(number % self.posts.len(), "use", self.all(), Vec::new())?;
            // It may wait for a lease, or for the next try.
            if !self.run_until(self.now + 600)? {
                break;
            }
            for (number, grant) in self.grants.iter_mut().enumerate() {
                match (grant.last.take(), &first[number]) {
                    (Some(Ok(token)), Some(before)) => kept[number] |= token != *before,
                    (Some(Ok(token)), None) => first[number] = Some(token),
                    _ => {}
                }
            }
            if kept.iter().all(|kept| *kept) {
                break;
            }
        }
        Ok(kept)
    }
}

impl At {
    fn name(&self) -> &str {
        match self {
            Self::Store(what) => what,
            Self::Arrived(_) | Self::GivenUp(_) => "request",
            Self::Answered(..) => "answer",
            Self::Sleep(_) => "sleep",
        }
    }
}

/// Enough of a token to follow it in a trace.
fn short(token: &str) -> String {
    token.chars().take(9).collect()
}
