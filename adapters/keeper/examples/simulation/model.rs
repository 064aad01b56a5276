//! A keeper and a fleet of grants in one thread and without a store: every decision is the shipped one (the kernel's `step`, and the
//! keeper's `schedule`, `limit` and `hold`), and what is written anew is the loop round them, as in `keep_alive.rs`.
//!
//! Nobody asks for these grants: all that happens is what the keeper does by itself. Users consent when they connect, and again within
//! the half year in which they are warned of the hard end.
#![allow(dead_code, unreachable_pub)] // each program uses its own part

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use evergrant::phase::{Call, Event, Hint, Issued, Outcome, Proof, Refusal, Rotation, Step, Tell, step};
use evergrant::{Phase, Policy, Provider, Reason, Time};
use evergrant_keeper::hold::{Hold, Leave, Seen};
use evergrant_keeper::limit::{Limit, Load, Ticket};
use evergrant_keeper::{Options, schedule};

pub const BASE: Time = Time::from_unix(1_800_000_000);
pub const DAY: u32 = 86_400;
/// What Intuit answers, in seconds: 101 days.
const REFRESH_FOR: u32 = 8_726_400;
const POLICY: Policy = Provider::INTUIT_SANDBOX.policy;

/// What the authority does while it is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 503, at once.
    Errors,
    /// Nothing, until the keeper gives up.
    Silence,
    /// `invalid_grant`, to everybody (REF-4).
    Refused,
}

/// When the authority is out, in seconds from the start.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    pub kind: Kind,
    pub begins: u32,
    pub lasts: u32,
}

impl Outage {
    fn is_on(&self, second: u32) -> bool {
        (self.begins..self.ends()).contains(&second)
    }

    pub const fn ends(&self) -> u32 {
        self.begins + self.lasts
    }
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Plan {
    pub grants: u32,
    pub seconds: u32,
    pub outage: Option<Outage>,
    pub options: Options,
    /// How long the authority takes.
    pub answer_ms: u32,
    /// All grants are connected within so many seconds: the worst case, as all age together.
    pub connected_within: u32,
    pub seed: u64,
}

/// Requests by the second in which they left.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    pub requests: u64,
    pub days: Vec<u32>,
    windows: [Window; 3],
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    at: u32,
    count: u32,
    /// The most in one window, and which it was.
    peak: (u32, u32),
}

const WINDOWS: [u32; 3] = [1, 60, 3_600];

impl Meter {
    /// In the order of time.
    pub fn sent(&mut self, second: u32) {
        self.requests += 1;
        let day = (second / DAY) as usize;
        if self.days.len() <= day {
            self.days.resize(day + 1, 0);
        }
        self.days[day] += 1;
        for (window, length) in self.windows.iter_mut().zip(WINDOWS) {
            if window.at != second / length {
                (window.at, window.count) = (second / length, 0);
            }
            window.count += 1;
            if window.count > window.peak.0 {
                window.peak = (window.count, window.at * length);
            }
        }
    }

    /// The most in a second, a minute and an hour, each with the second in which that began.
    pub fn peaks(&self) -> [(u32, u32); 3] {
        self.windows.map(|window| window.peak)
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub all: Meter,
    pub in_outage: Meter,
    /// In the day after the outage.
    pub after: Meter,
    pub refreshed: u64,
    pub consents: u64,
    /// The refresh token's age: what no grant may die of.
    pub died_of_age: u64,
    /// Those of them that ended after the outage: a better order might have kept them.
    pub died_after_the_outage: u64,
    pub died_at_the_hard_end: u64,
    pub died_otherwise: u64,
    /// Refresh tokens that were sent after the authority had let them die: never, or the kernel's own judgment was wrong.
    pub sent_too_late: u64,
    /// The least that a refresh token had left when it was replaced, in seconds; of those that the hard end did not cut short.
    pub least_left: u32,
    /// From the outage's end until nothing was due and nothing was open, in seconds.
    pub caught_up: Option<u32>,
    /// Bytes that the simulation itself takes for each grant.
    pub bytes: usize,
}

struct Flight {
    ticket: Ticket,
    id: u32,
    call: Call,
    refused: bool,
    outcome: Outcome,
}

struct World<'p> {
    plan: &'p Plan,
    now_ms: u64,
    phases: Vec<Phase>,
    /// When each row is due, in Unix seconds: what else stands in the queue is out of date.
    due: Vec<u32>,
    queue: BinaryHeap<Reverse<(u32, u32)>>,
    /// What is due, by when it ends, with the moment at which it was due.
    backlog: BinaryHeap<Reverse<(u64, u32, u32)>>,
    users: BinaryHeap<Reverse<(u32, u32)>>,
    /// The authority's own record of when the refresh token dies, and the grant.
    dies: Vec<(u32, u32)>,
    limit: Limit,
    hold: Hold,
    seen: Seen,
    /// Grants whose last refresh did not bring tokens.
    open: u64,
    draws: u64,
    report: Report,
}

/// Lives it through.
pub fn run(plan: &Plan) -> Report {
    let mut world = World::new(plan);
    let end_ms = u64::from(plan.seconds) * 1_000;
    while world.now_ms < end_ms {
        world.users();
        let busy = world.pass();
        world.look_whether_caught_up();
        if !busy {
            let wake = u64::from(plan.options.wake_seconds) * 1_000;
            let drawn = world.draw(wake / 2);
            world.now_ms += (wake - drawn).max(1_000);
        }
    }
    world.report
}

impl<'p> World<'p> {
    fn new(plan: &'p Plan) -> Self {
        let count = plan.grants as usize;
        let users = (0..plan.grants).map(|id| {
            let at = u64::from(plan.connected_within) * u64::from(id) / u64::from(plan.grants.max(1));
            Reverse((u32::try_from(at).unwrap_or(u32::MAX), id))
        });
        let bytes = size_of::<Phase>() + 3 * size_of::<u32>() + 2 * size_of::<(u32, u32)>();
        Self {
            plan,
            now_ms: 0,
            phases: vec![Phase::NEW; count],
            due: vec![0; count],
            queue: BinaryHeap::with_capacity(count),
            backlog: BinaryHeap::new(),
            users: users.collect(),
            dies: vec![(0, 0); count],
            limit: Limit::new(plan.options.bounds),
            hold: Hold::default(),
            seen: Seen::default(),
            open: 0,
            draws: plan.seed,
            report: Report { least_left: u32::MAX, bytes, ..Report::default() },
        }
    }

    fn second(&self) -> u32 {
        u32::try_from(self.now_ms / 1_000).unwrap_or(u32::MAX)
    }

    fn now(&self) -> Time {
        BASE.plus(self.second())
    }

    fn draw(&mut self, most: u64) -> u64 {
        self.draws = self.draws.wrapping_add(1);
        mix(self.draws) % (most + 1)
    }

    // -------------------------------------------------------------------------------------------- the users

    /// Whoever consents up to now does so.
    fn users(&mut self) {
        while let Some(&Reverse((at, id))) = self.users.peek()
            && at <= self.second()
        {
            self.users.pop();
            self.consent(id);
            // Some day between the first warning and the last.
            let days = POLICY.hard_for / DAY;
            let ahead = 1 + u32::try_from(self.draw(178)).unwrap_or_default();
            self.users.push(Reverse((self.second() + (days - ahead) * DAY, id)));
        }
    }

    fn consent(&mut self, id: u32) {
        self.report.consents += 1;
        self.take(id, Event::Ask);
        let call = self.take(id, Event::Callback(Proof::Stored)).and_then(|step| step.effects.send);
        let hard_end = self.second() + POLICY.hard_for;
        let outcome = Outcome::Tokens(self.issue(id, hard_end));
        self.take(id, Event::Answer { call: call.expect("a consent is exchanged"), outcome });
        self.write(id);
    }

    // ---------------------------------------------------------------------------------------- the authority

    /// New tokens, with what the authority says of their lives.
    fn issue(&mut self, id: u32, hard_end: u32) -> Issued {
        let hard_for = hard_end.saturating_sub(self.second()).max(1);
        let refresh_for = REFRESH_FOR.min(hard_for);
        self.dies[id as usize] = (self.second() + refresh_for, hard_end);
        Issued { access_for: 3_600, refresh_for, hard_for, refresh: Rotation::New }
    }

    /// What it makes of a refresh that leaves now, and how long that takes, in milliseconds.
    fn answer(&mut self, id: u32) -> (Outcome, u64) {
        let (second, takes) = (self.second(), u64::from(self.plan.answer_ms));
        if let Some(outage) = self.plan.outage.filter(|outage| outage.is_on(second)) {
            return match outage.kind {
                Kind::Errors => (Outcome::NoVerdict { retry_after: 0 }, takes),
                Kind::Silence => {
                    (Outcome::NoAnswer, u64::try_from(self.plan.options.call.as_millis()).unwrap_or(takes))
                }
                Kind::Refused => (Outcome::Refused(Refusal::InvalidGrant), takes),
            };
        }
        let (rolling, hard) = self.dies[id as usize];
        if second >= rolling.min(hard) {
            self.report.sent_too_late += 1;
            return (Outcome::Refused(Refusal::InvalidGrant), takes);
        }
        if rolling < hard {
            self.report.least_left = self.report.least_left.min(rolling - second);
        }
        (Outcome::Tokens(self.issue(id, hard)), takes)
    }

    // ------------------------------------------------------------------------------------------- the keeper

    /// One look at what is due, as `keep_alive::pass`; says whether there is more.
    fn pass(&mut self) -> bool {
        let own = (self.limit.at_once() as usize * 2).max(16);
        let mut batch = Vec::with_capacity(own);
        let now = self.now();
        self.fill_backlog();
        while batch.len() < own
            && let Some(Reverse((_, at, id))) = self.backlog.pop()
        {
            if self.due[id as usize] == at {
                let urgency = schedule::urgency(&POLICY, &self.phases[id as usize], now, false);
                batch.push((urgency, batch.len(), id));
            }
        }
        let more = batch.len() >= own;
        let any = !batch.is_empty();
        batch.sort_unstable();
        let mut flights = Vec::new();
        for (.., id) in batch {
            let ticket = loop {
                match self.limit.begin() {
                    Some(ticket) => break ticket,
                    None => self.land_first(&mut flights),
                }
            };
            self.attempt(id, ticket, &mut flights);
        }
        while !flights.is_empty() {
            self.land_first(&mut flights);
        }
        any && more && self.hold.since().is_none()
    }

    /// As the vault's `claim_due`: of all that is due the nearest end comes first.
    fn fill_backlog(&mut self) {
        let now = self.now().unix();
        while let Some(&Reverse((at, id))) = self.queue.peek()
            && u64::from(at) <= now
        {
            self.queue.pop();
            if self.due[id as usize] == at {
                let end = schedule::ends_at(&POLICY, &self.phases[id as usize]).map_or(0, Time::unix);
                self.backlog.push(Reverse((end, at, id)));
            }
        }
    }

    /// As `refresh::attempt` does for a row that is due, up to the request.
    fn attempt(&mut self, id: u32, ticket: Ticket, flights: &mut Vec<(u64, Flight)>) {
        let (now, phase) = (self.now(), self.phases[id as usize]);
        let due_at = Time::from_unix(self.due[id as usize].into());
        if schedule::only_warns(&POLICY, &phase, due_at, now, self.seed(id)) {
            self.limit.end(ticket, Load::Unknown);
            return self.write(id);
        }
        let end = phase.usable().map_or(Time::END, |held| held.end());
        if phase.doubt.not_before <= now {
            match self.hold.leave(u64::from(id), end, now, &self.plan.options.rule) {
                Leave::Free => {}
                Leave::Probe => {
                    let hold = std::mem::take(&mut self.hold);
                    self.hold = hold.probed(u64::from(id), now, &self.plan.options.rule);
                }
                Leave::Wait(_) => {
                    // The lease goes back, and the row stays due.
                    self.limit.end(ticket, Load::Unknown);
                    self.queue.push(Reverse((self.due[id as usize], id)));
                    return;
                }
            }
        }
        let ticked = self.take(id, Event::Tick);
        let idle = ticked.is_some_and(|step| step.effects.store.is_none()) && phase.usable().is_some();
        let taken = if idle { self.take(id, Event::Refresh) } else { ticked };
        let Some(call) = taken.and_then(|step| step.effects.send) else {
            self.limit.end(ticket, Load::Unknown);
            return self.write(id);
        };
        let second = self.second();
        self.report.all.sent(second);
        if let Some(outage) = self.plan.outage {
            if outage.is_on(second) {
                self.report.in_outage.sent(second);
            } else if (outage.ends()..outage.ends() + DAY).contains(&second) {
                self.report.after.sent(second);
            }
        }
        let (outcome, takes) = self.answer(id);
        let refused = matches!(outcome, Outcome::Refused(Refusal::InvalidGrant));
        flights.push((self.now_ms + takes, Flight { ticket, id, call, refused, outcome }));
    }

    /// The answer that comes first is taken in, as in `refresh::carry_out`.
    fn land_first(&mut self, flights: &mut Vec<(u64, Flight)>) {
        let first =
            (0..flights.len()).min_by_key(|at| flights[*at].0).expect("whoever has room left has sent");
        let (at, flight) = flights.remove(first);
        self.now_ms = self.now_ms.max(at);
        let (now, rule) = (self.now(), self.plan.options.rule);
        let (grant, mut outcome) = (u64::from(flight.id), flight.outcome);
        let mut load = Load::Fine;
        match outcome {
            Outcome::Tokens(_) => {
                self.seen.good(now, &rule);
                self.hold = Hold::default();
                self.report.refreshed += 1;
            }
            _ if flight.refused => {
                self.seen.refused(grant, now, &rule);
                let share = self.seen.is_share(now, &rule);
                self.hold = std::mem::take(&mut self.hold).refused(grant, now, share, &rule);
                if self.hold.since().is_some() {
                    let retry_after = self.hold.probe_at().since(now).max(1);
                    outcome = Outcome::NoVerdict { retry_after };
                }
            }
            _ => load = Load::Over,
        }
        self.take(flight.id, Event::Answer { call: flight.call, outcome });
        self.limit.end(flight.ticket, load);
        self.write(flight.id);
    }

    /// One step of the kernel, and the store's word that it is durable.
    fn take(&mut self, id: u32, event: Event) -> Option<Step> {
        let was_open = is_open(&self.phases[id as usize]);
        let taken = step(&POLICY, &self.phases[id as usize], self.now(), event).ok()?;
        self.open = self.open + u64::from(is_open(&taken.phase)) - u64::from(was_open);
        self.phases[id as usize] = taken.phase;
        if let Some(revision) = taken.effects.store
            && let Ok(saved) = step(&POLICY, &taken.phase, self.now(), Event::Saved { revision })
        {
            self.phases[id as usize] = saved.phase;
        }
        match taken.effects.tell {
            Some(Tell::Closed(Reason::Expired)) => {
                self.report.died_of_age += 1;
                let outlived = |outage: Outage| self.dies[id as usize].0 >= outage.ends();
                self.report.died_after_the_outage += u64::from(self.plan.outage.is_some_and(outlived));
            }
            Some(Tell::Closed(Reason::HardEnd)) => self.report.died_at_the_hard_end += 1,
            Some(Tell::Closed(_)) => self.report.died_otherwise += 1,
            _ => {}
        }
        Some(taken)
    }

    /// The row's next moment.
    fn write(&mut self, id: u32) {
        let due = schedule::due_at(&POLICY, &self.phases[id as usize], self.now(), self.seed(id));
        let due = due.map_or(u32::MAX, |at| u32::try_from(at.unix()).unwrap_or(u32::MAX));
        self.due[id as usize] = due;
        if due != u32::MAX {
            self.queue.push(Reverse((due, id)));
        }
    }

    fn seed(&self, id: u32) -> u64 {
        mix(u64::from(id) ^ self.plan.seed)
    }

    fn look_whether_caught_up(&mut self) {
        let Some(outage) = self.plan.outage else { return };
        let (second, now) = (self.second(), self.now().unix());
        let is_due = |first: &Reverse<(u32, u32)>| u64::from(first.0.0) <= now;
        if self.report.caught_up.is_none()
            && second >= outage.ends()
            && self.open == 0
            && self.backlog.is_empty()
            && !self.queue.peek().is_some_and(is_due)
        {
            self.report.caught_up = Some(second - outage.ends());
        }
    }
}

fn is_open(phase: &Phase) -> bool {
    let doubt = &phase.doubt;
    let doubted = doubt.tries > 0
        || doubt.refusals > 0
        || doubt.hint != Hint::None
        || doubt.lost_since() != Time::UNSET;
    doubted && phase.usable().is_some()
}

/// SplitMix64's finisher.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
