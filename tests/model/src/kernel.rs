//! The kernel alone, exhaustively: every event on every phase that can be reached, over a clock that moves to one second
//! before, at and after every boundary, back, far forward, and to "never set".
//!
//! The search is breadth first and has no bound but the space itself. The space is finite because phases are folded
//! ([`space::fold`]): times count from now and are rounded down to the nearest of a fixed list of distances, which holds the
//! three seconds round each number that the kernel compares with; counters keep their distance to the newest, up to three.
//! Within a class one distance stands for all. A folded phase is a phase like any other, so what a check finds is real.
//!
//! Each change is stored at once. That loses nothing: the search shows on every edge that a phase which could not be
//! stored steps exactly as the stored one does ([`checks::edge`]), and a crash before the store is a restart of the phase
//! before.

pub mod checks;
pub mod scenarios;
pub mod space;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use evergrant::phase::{Event, Outcome, Purpose, Refusal, Rotation, Step, step};
use evergrant::{Phase, Policy, Time};

use space::NOW;

/// What is searched.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The numbers of the authority.
    pub policy: Policy,
    /// Lifetimes that answers bring: access token, refresh token, hard end.
    pub lifetimes: Vec<(u32, u32, u32)>,
    /// Consents beside the grant, with their callbacks and exchanges; else one that is done with is where it begins.
    pub consents: bool,
    /// Signed states as well.
    pub signed: bool,
    /// Answers of a call that another has followed.
    pub late: bool,
    /// Signs from outside: 401, disconnect redirect.
    pub signs: bool,
    /// Tokens of writers that were fenced out.
    pub candidates: bool,
    /// The user revokes.
    pub revoke: bool,
    /// How the clock goes wrong.
    pub wrong_clock: Wrong,
    /// Every class of the clock; else the ends of lifetimes are seen from one second before, at and after them only.
    pub fine: bool,
}

/// How a clock goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It does not.
    Never,
    /// It steps back by a second or an hour.
    Little,
    /// It also steps back by two days and by 400, and six years forward; it is lost, and set again.
    Far,
}

/// A folded phase, and what an onlooker remembers of how it came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The phase. Now is always [`NOW`].
    pub phase: Phase,
    /// The clock is set.
    pub clock: bool,
    /// What the onlooker remembers.
    pub seen: Seen,
}

/// What an onlooker remembers who does not trust the phase: it sees calls go out and answers come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The code in hand may have reached the authority.
    pub code_sent: bool,
    /// When the first refresh was sent of which it is not known what became.
    pub unanswered: Option<Time>,
    /// The same of the candidates.
    pub others: [Option<Time>; 2],
    /// Rounds of `invalid_grant` since tokens came, up to 15.
    pub rounds: u8,
    /// The latest call that may have left, and whether its grant was replaced since.
    pub last: Option<(Purpose, bool)>,
    /// The call before it.
    pub before: Option<(Purpose, bool)>,
}

impl Seen {
    /// The next candidate is in front, and the one that was is the last.
    pub(crate) fn turn(&mut self, candidates: u8) {
        let ring = &mut [self.unanswered, self.others[0], self.others[1]];
        ring[..=usize::from(candidates)].rotate_left(1);
        (self.unanswered, self.others) = (ring[0], [ring[1], ring[2]]);
    }
}

/// A way from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// An event.
    Event(Event),
    /// The clock shows this.
    Clock(Time),
    /// The clock is lost, or set again.
    Switch,
    /// The program ends, and the stored phase is read back.
    Restart,
}

/// What a search saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// States.
    pub states: usize,
    /// Edges, refused events included.
    pub edges: u64,
    /// Events that were refused.
    pub refused: u64,
    /// Length of the longest shortest way.
    pub depth: u32,
    /// The most ticks that any state needed to come to tokens or to a named user.
    pub most_ticks: u32,
    /// Ends of grants, by reason, in the order of [`checks::REASONS`].
    pub ends: [u64; 8],
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { states, edges, refused, depth, most_ticks, ends } = self;
        write!(
            f,
            "states={states} edges={edges} refused={refused} depth={depth} most_ticks={most_ticks} ends={ends:?}"
        )
    }
}

/// Searches a scenario whole.
///
/// # Errors
/// The first property that does not hold, with the way to it.
pub fn search(scenario: &Scenario) -> Result<Report, String> {
    let mut report = Report::default();
    let mut space = Space::default();
    for (which, state) in starts(scenario).into_iter().enumerate() {
        space.put(state, u32::MAX, which, 0);
    }
    let mut acts = Vec::new();
    while let Some((state, at, depth)) = space.open.pop_front() {
        report.depth = report.depth.max(depth);
        let found = checks::state(scenario, &state).and_then(|ticks| {
            report.most_ticks = report.most_ticks.max(ticks);
            acts.clear();
            space::acts(scenario, &state, &mut acts);
            for (index, act) in acts.iter().enumerate() {
                report.edges += 1;
                match next(scenario, &state, *act).map_err(|wrong| format!("{act:?}: {wrong}"))? {
                    None => report.refused += 1,
                    Some(after) => {
                        checks::count_end(&state, &after, &mut report.ends);
                        space.put(after, at, index, depth + 1);
                    }
                }
            }
            Ok(())
        });
        if let Err(wrong) = found {
            return Err(format!("{}\n{wrong}\n{}", scenario.name, space.way(scenario, at)));
        }
    }
    report.states = space.ways.len();
    Ok(report)
}

/// What is known of the space. Whole are only the states that have still to be looked at: of the others a fingerprint, and
/// the way that leads there first, so that tens of millions fit into memory.
#[derive(Default)]
struct Space {
    known: HashSet<u64, BuildHasherDefault<Same>>,
    /// Of each state the one before it, and which of that one's acts leads here; of a start nothing, and which it is.
    ways: Vec<(u32, u16)>,
    /// A state, its number, and the length of its way.
    open: VecDeque<(State, u32, u32)>,
}

impl Space {
    fn put(&mut self, state: State, before: u32, act: usize, depth: u32) {
        if self.known.insert(print(&state)) {
            let number = u32::try_from(self.ways.len()).expect("fewer states than four thousand million");
            self.ways.push((before, u16::try_from(act).expect("a state has fewer acts")));
            self.open.push_back((state, number, depth));
        }
    }

    /// The way to a state, gone anew, for whoever reads a counterexample.
    fn way(&self, scenario: &Scenario, at: u32) -> String {
        let mut acts = Vec::new();
        let mut before = at;
        while let Some((earlier, act)) = usize::try_from(before).ok().and_then(|at| self.ways.get(at)) {
            acts.push(usize::from(*act));
            before = *earlier;
        }
        let mut steps = Vec::new();
        let mut state = acts.pop().and_then(|start| starts(scenario).get(start).copied());
        while let Some(now) = state {
            steps.push(format!("  {:?} clock={} {:?}", now.phase, now.clock, now.seen));
            let mut choice = Vec::new();
            space::acts(scenario, &now, &mut choice);
            let act = acts.pop().and_then(|act| choice.get(act).copied());
            state = act.and_then(|act| next(scenario, &now, act).ok().flatten());
        }
        steps.join("\n")
    }
}

fn starts(scenario: &Scenario) -> Vec<State> {
    let new = State { phase: Phase::NEW, clock: true, seen: Seen::default() };
    if scenario.consents {
        return vec![space::fold(scenario, new, NOW)];
    }
    // A consent that brought tokens, by hand: asked, called back, exchanged.
    let mut linked = Vec::new();
    for &(access_for, refresh_for, hard_for) in &scenario.lifetimes {
        let mut state = new;
        for event in [
            Event::Ask,
            Event::Callback(evergrant::phase::Proof::Stored),
            Event::Answer {
                call: evergrant::Call { number: 1, generation: 0, purpose: Purpose::Exchange },
                outcome: Outcome::Tokens(evergrant::phase::Issued {
                    access_for,
                    refresh_for,
                    hard_for,
                    refresh: Rotation::New,
                }),
            },
        ] {
            let step = step(&scenario.policy, &state.phase, NOW, event).expect("a consent goes through");
            state.seen = observe(scenario, &state, &event, &step);
            state.phase = saved(step.phase);
        }
        linked.push(space::fold(scenario, state, NOW));
    }
    linked.dedup();
    linked
}

/// The state after an act; `None` where the event was refused.
///
/// # Errors
/// A property that the edge breaks.
pub fn next(scenario: &Scenario, state: &State, act: Act) -> Result<Option<State>, String> {
    let after = match act {
        Act::Clock(now) => return Ok(Some(space::fold(scenario, *state, now))),
        Act::Switch => State { clock: !state.clock, ..*state },
        Act::Restart => restarted(state),
        Act::Event(event) => {
            let now = if state.clock { NOW } else { Time::UNSET };
            let taken = step(&scenario.policy, &state.phase, now, event);
            checks::edge(scenario, state, now, &event, &taken)?;
            match taken {
                Err(_) => return Ok(None),
                Ok(step) => State {
                    seen: observe(scenario, state, &event, &step),
                    phase: saved(step.phase),
                    ..*state
                },
            }
        }
    };
    Ok(Some(space::fold(scenario, after, NOW)))
}

/// The phase, its record durable.
pub(crate) fn saved(phase: Phase) -> Phase {
    Phase { unsaved: false, ..phase }
}

/// What was in flight may have left, and its answer will be nobody's.
fn restarted(state: &State) -> State {
    let mut seen = state.seen;
    if let evergrant::phase::Grant::Refreshing { sent_at, .. } = state.phase.grant {
        seen.unanswered = seen.unanswered.or(Some(sent_at));
    }
    State { phase: state.phase.restored(), seen, ..*state }
}

/// What the onlooker remembers after a step.
fn observe(scenario: &Scenario, state: &State, event: &Event, step: &Step) -> Seen {
    use evergrant::phase::{Bytes, Grant, Tell};
    let mut seen = state.seen;
    if let Event::Answer { call, outcome } = event {
        let current = call.number == state.phase.calls;
        match (call.purpose, outcome) {
            // It provably never left, so nothing else can come of it.
            (purpose, Outcome::NotSent) if current => {
                seen.code_sent &= purpose != Purpose::Exchange;
                seen.last = None;
            }
            (_, Outcome::Refused(Refusal::InvalidGrant))
                if state.clock
                    && step.effects.tell != Some(Tell::NextCandidate)
                    && matches!(state.phase.grant, Grant::Refreshing { .. }) =>
            {
                seen.rounds = (seen.rounds + 1).min(15);
            }
            _ => {}
        }
    }
    // The wait for an answer is over, and it did not come.
    if let Some(Tell::AnswerLost { .. }) = step.effects.tell
        && let Grant::Refreshing { sent_at, .. } = state.phase.grant
    {
        seen.unanswered = seen.unanswered.or(Some(sent_at));
    }
    if step.bytes == Bytes::TakeCode {
        seen.code_sent = false;
    }
    let candidates = state.phase.held.candidates;
    match step.bytes {
        Bytes::NextCandidate { steps } => (0..steps).for_each(|_| seen.turn(candidates)),
        // The new token is in front, and the one that was is the last candidate.
        Bytes::TakeFront => {
            let at = usize::from(candidates.min(1));
            seen.others[at] = seen.unanswered.take();
        }
        Bytes::TakeTokens => {
            (seen.unanswered, seen.others, seen.rounds) = (None, [None; 2], 0);
        }
        _ => {}
    }
    // What was brought may have been sent by whoever brings it.
    if let Event::Candidate { lost_since, .. } = event {
        let since = Some(*lost_since).filter(|since| *since != Time::UNSET);
        match step.bytes {
            Bytes::TakeCandidate => seen.others[usize::from(candidates)] = since,
            Bytes::TakeFront | Bytes::TakeTokens => seen.unanswered = since,
            _ => {}
        }
    }
    if step.phase.generation != state.phase.generation {
        seen.last = seen.last.map(|(purpose, _)| (purpose, true));
        seen.before = seen.before.map(|(purpose, _)| (purpose, true));
    }
    if let Some(call) = step.effects.send {
        seen.code_sent |= call.purpose == Purpose::Exchange;
        seen.before = seen.last.filter(|_| scenario.late);
        seen.last = Some((call.purpose, false));
    }
    seen
}

fn print(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
