//! An episode: one grant's life, a step at a time.
//!
//! The workers are processes of their own, and between two gates they run as they like. At each gate they stand still until the
//! harness lets them go on, so which of them runs when, and what meets what, follows from the script alone. (Kills *between*
//! gates are the exception: they come after so many real microseconds.) Time is the harness's: nothing sleeps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use evergrant::{App, Provider, SignedAsk, Time, signed_url};
use evergrant_emulator::authority::{
    Authority, AuthorizeRequest, Config, Decision, Environment, Fingerprint, Keys, TokenAnswer, TokenGrant,
    TokenRequest,
};

use crate::app::{CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, SCOPE};
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
/// A client that asks to be woken more often than this in an episode is not woken any more.
const TICKS_MOST: u32 = 3_000;
/// When clients give a call up. Whoever stands still longer with its request at the authority is told nothing.
const CALL_SECONDS: u64 = 30;
/// An authority that has taken a request in works on it this late at the latest, whether or not anybody waits.
const LATE_WORK_SECONDS: u64 = 120;

/// What came of an episode.
#[derive(Debug)]
pub struct Outcome {
    /// Of the grant.
    pub verdict: Verdict,
    /// Refreshes that the authority judged.
    pub refreshes: u64,
    /// Of those, refused.
    pub refused: u64,
    /// Kills carried out.
    pub kills: u64,
    /// Harms that struck.
    pub struck: u64,
    /// Consents that had to be given again, because the first brought nothing to anybody.
    pub consents: u64,
    /// Access tokens that were handed out while the authority did not take them (any more).
    pub dead_handed_out: u64,
    /// What happened, a line each; empty unless it was asked for.
    pub trace: Vec<String>,
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
    CallbackAgain(usize),
    Tick,
    /// The authority works on a request that nobody waits for any more.
    LateWork(usize),
    /// Something ends by itself.
    Mark,
}

/// What a worker is at.
struct Op {
    number: u64,
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
    /// A refresh token that came to it, and the chances that it had since.
    fresh: Option<String>,
}

pub(crate) struct Episode<'f> {
    fleet: &'f mut Fleet,
    script: &'f Script,
    authority: Authority,
    grant: usize,
    realm: String,
    query: String,
    now: u64,
    timers: BinaryHeap<Reverse<(u64, u64, Timer)>>,
    posts: Vec<Post>,
    book: Book,
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
    last: Option<Result<String, String>>,
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
        let post = |_| Post { state: State::Idle, op: None, skew: 0, cut_until: 0, fresh: None };
        let posts = (0..fleet.size()).map(post).collect();
        let outcome = Outcome {
            verdict: Verdict::Kept,
            refreshes: 0,
            refused: 0,
            kills: 0,
            struck: 0,
            consents: 0,
            dead_handed_out: 0,
            trace: Vec::new(),
        };
        let episode = Self {
            fleet,
            script,
            authority,
            grant: 0,
            realm: format!("9{realm:015}"),
            query: String::new(),
            now: START,
            timers: BinaryHeap::new(),
            posts,
            book: Book::default(),
            late: Vec::new(),
            tick_at: None,
            ticks: 0,
            wakes: false,
            store_down_until: 0,
            done_fail: false,
            outage: None,
            sequence: 0,
            last: None,
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
        let kept = self.run_until(at)? && self.calm()?;
        self.outcome.verdict =
            if kept { Verdict::Kept } else { self.book.verdict(self.now, &self.authority, self.grant) };
        let verdict = self.outcome.verdict;
        self.trace(|| format!("the grant: {}", verdict.name()));
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

    // -------------------------------------------------------------------------------------------------------- time

    fn at(&mut self, at: u64, timer: Timer) {
        self.sequence += 1;
        self.timers.push(Reverse((at, self.sequence, timer)));
    }

    /// Carries out all that is due by then. `false` where the grant is dead at the authority.
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

    /// Dead at the authority, and nobody brings it back.
    fn is_over(&self) -> bool {
        let on_its_way = self.posts.iter().any(|post| post.fresh.is_some());
        self.book.ever_held()
            && !on_its_way
            && self.authority.grant(self.now, self.grant).is_some_and(|grant| !grant.is_alive())
    }

    fn pass(&mut self, to: u64) {
        if to > self.now {
            let somebody = !self.is_store_down() && self.outage.is_none() && {
                let runs = |post: &Post| {
                    matches!(post.state, State::Idle | State::Sleeping) && post.cut_until <= self.now
                };
                self.posts.iter().any(runs)
            };
            self.book.pass(self.now, to, somebody);
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
                        return self.ask(worker, "tick", Vec::new());
                    }
                }
                Ok(())
            }
            Timer::Race(first) => self.ask((first + 1) % self.posts.len(), "use", Vec::new()),
            Timer::CallbackAgain(first) => self.ask((first + 1) % self.posts.len(), "callback", Vec::new()),
            Timer::Tick => self.tick(),
            Timer::LateWork(number) => {
                if let Some((worker, request)) = self.late.get(number).cloned() {
                    let _ = self.work(worker, &request);
                }
                Ok(())
            }
            Timer::Mark => Ok(()),
        }
    }

    // ------------------------------------------------------------------------------------------------------- asking

    fn step(&mut self, number: usize) -> Result<(), String> {
        let script = self.script;
        let Some(step) = script.steps.get(number) else { return Ok(()) };
        let harms = script.at(number);
        for harm in &harms {
            self.disturb(step.worker, *harm);
        }
        if self.book.ever_held() {
            return self.ask(step.worker, "use", harms);
        }
        // Nobody has a token of it: the user connects (again).
        if self.posts.iter().any(|post| post.fresh.is_some() || post.op.is_some()) {
            return Ok(());
        }
        self.consent()?;
        self.ask(step.worker, "callback", harms)
    }

    /// Harms that do not wait for a gate.
    fn disturb(&mut self, worker: usize, harm: Kind) {
        match harm {
            Kind::Outage { seconds, how } => {
                self.outage = Some((self.now + seconds, how));
                self.at(self.now + seconds, Timer::Mark);
            }
            Kind::Cut { seconds } => {
                self.posts[worker].cut_until = self.now + seconds;
                self.at(self.now + seconds, Timer::Mark);
            }
            Kind::Skew { seconds } => self.posts[worker].skew = seconds,
            _ => return,
        }
        self.outcome.struck += 1;
        self.trace(|| format!("worker {worker}: {harm}"));
    }

    /// The user consents, and the browser is on its way back.
    fn consent(&mut self) -> Result<(), String> {
        let provider = Provider::INTUIT_SANDBOX;
        let app = App::new(&provider, crate::worker::keys()).map_err(|error| error.to_string())?;
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
        let decision = Decision::Approve { realm: self.realm.clone() };
        let callback =
            self.authority.authorize(self.now, &request, decision).map_err(|error| error.to_string())?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        callback.parameters().into_iter().for_each(|(name, value)| {
            query.append_pair(name, value);
        });
        self.query = query.finish();
        self.grant = self.authority.grants(self.now).len().saturating_sub(1);
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
        if self.tick_at != Some(self.now) || self.ticks >= TICKS_MOST {
            return Ok(());
        }
        self.tick_at = None;
        if !self.posts.iter().any(|post| matches!(post.state, State::Idle)) {
            self.sweep_by(self.now + SWEEP_SECONDS);
            return Ok(());
        }
        self.ticks += 1;
        let worker = self.ticks as usize % self.posts.len();
        self.ask(worker, "tick", Vec::new())
    }

    /// Asks a worker, or the next one that is idle.
    fn ask(&mut self, worker: usize, verb: &str, harms: Vec<Kind>) -> Result<(), String> {
        let count = self.posts.len();
        let is_idle = |worker: &usize| matches!(self.posts[*worker].state, State::Idle);
        let Some(worker) = (0..count).map(|next| (worker + next) % count).find(is_idle) else {
            self.trace(|| format!("nobody is there to be asked ({verb})"));
            return Ok(());
        };
        self.trace(|| format!("worker {worker}: {verb}"));
        self.sequence += 1;
        self.posts[worker].op =
            Some(Op { number: self.sequence, harms, gates: 0, requests: 0, kill_soon: None });
        let query = if verb == "callback" { self.query.as_str() } else { "" };
        let line = format!("{verb} {} {} {query}", self.told(worker), self.realm);
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
                    self.at(self.now + 1, Timer::CallbackAgain(worker));
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
        if self.posts[worker].op.is_some() {
            self.book.unanswered(self.now);
            self.sweep_by(self.now + SWEEP_SECONDS);
        }
        self.posts[worker] = Post {
            state: State::Dead,
            op: None,
            fresh: None,
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
                self.book.unanswered(self.now);
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
        let (verb, row) = what.split_once(' ')?;
        if word == "fail" {
            return None;
        }
        let done = match verb {
            "get" => tables.get(&self.realm).map(|row| row.map_or_else(String::new, |row| row.refresh)),
            "put" => {
                let row = crate::worker::Row { refresh: row.to_owned(), ..crate::worker::Row::default() };
                tables.put(&self.realm, &row).map(|()| String::new())
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
        if post.op.as_ref().is_none_or(|op| op.kill_soon.is_none())
            && let Some(token) = post.fresh.take()
        {
            self.book.hold(token);
            self.book.review(self.now, &self.authority);
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
                self.book.unanswered(self.now);
                self.trace(|| format!("worker {worker}: its request does not arrive"));
            }
            Some((_, Outage::Closed)) => {
                self.book.unanswered(self.now);
                self.trace(|| format!("worker {worker}: the authority closes the connection"));
            }
            Some((_, Outage::InvalidGrant)) => {
                self.trace(|| format!("worker {worker}: is told invalid_grant, by an outage"));
                request.refuse();
            }
            Some((_, Outage::Unavailable)) => {
                self.trace(|| format!("worker {worker}: is told 503"));
                request.unavailable();
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
        self.book.review(self.now, &self.authority);
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
            self.book.unanswered(self.now);
        }
        match harm {
            Some(Kind::AnswerTorn) => request.tear(answer),
            Some(_) => drop(request),
            None => {
                if request.answer(answer)
                    && let Ok(tokens) = answer
                {
                    self.posts[worker].fresh = Some(tokens.refresh_token.clone());
                }
            }
        }
    }

    // --------------------------------------------------------------------------------------------------------- ends

    fn finish(&mut self, worker: usize, line: &str) -> Result<(), String> {
        self.had_a_chance(worker);
        let own = self.now.saturating_add_signed(self.posts[worker].skew);
        self.posts[worker].op = None;
        self.posts[worker].state = State::Idle;
        let mut words = line.splitn(3, ' ');
        let (word, second, third) =
            (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
        let due = if word == "ok" { third } else { second };
        if word == "ok" && second == "-" {
            self.trace(|| format!("worker {worker}: has looked"));
        } else if word == "ok" {
            let lives = self.is_alive(second);
            self.outcome.dead_handed_out += u64::from(!lives);
            self.last = Some(if lives { Ok(second.to_owned()) } else { Err("a dead token".into()) });
        } else {
            self.last = Some(Err(third.to_owned()));
        }
        if second != "-" || word != "ok" {
            let said = self.last.clone();
            self.trace(|| match said {
                Some(Ok(_)) => format!("worker {worker}: has a token"),
                other => {
                    format!("worker {worker}: has none: {}", other.and_then(Result::err).unwrap_or_default())
                }
            });
        }
        if let Ok(due) = due.parse::<u64>() {
            let at = self.now + due.saturating_sub(own).max(1);
            self.wakes = true;
            self.tick_at = Some(at);
            self.at(at, Timer::Tick);
        }
        Ok(())
    }

    fn is_alive(&self, fingerprint: &str) -> bool {
        let grant = self.authority.grant(self.now, self.grant);
        let is_it = |own: &Fingerprint| own.to_string() == fingerprint;
        grant.is_some_and(|grant| grant.access_tokens.iter().any(|token| is_it(&token.fingerprint)))
    }

    /// All harm is over. Whether the client comes by a token, and an hour later by another one.
    fn calm(&mut self) -> Result<bool, String> {
        self.trace(|| "all harm is over".into());
        self.store_down_until = 0;
        self.outage = None;
        for worker in 0..self.posts.len() {
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
        let mut first: Option<String> = None;
        for (number, wait) in CALM.into_iter().enumerate() {
            let wait = if first.is_some() { wait.max(3_700) } else { wait };
            if !self.run_until(self.now + wait)? {
                return Ok(false);
            }
            self.last = None;
            if !self.book.ever_held() && self.posts.iter().all(|post| post.op.is_none()) {
                return Ok(false);
            }
            self.ask(number % self.posts.len(), "use", Vec::new())?;
            // It may wait for a lease, or for the next try.
            if !self.run_until(self.now + 600)? {
                return Ok(false);
            }
            match (self.last.take(), &first) {
                (Some(Ok(token)), Some(before)) if token != *before => return Ok(true),
                (Some(Ok(token)), None) => first = Some(token),
                _ => {}
            }
        }
        Ok(false)
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
