//! What must hold in every state and on every edge.

use evergrant::phase::{
    Bytes, CANDIDATES, Consent, Doubt, Effects, Event, Grant, Held, Hint, Outcome, Purpose, Reason, Refusal,
    Rotation, Step, Tell, step,
};
use evergrant::{Due, Phase, Refused, Time};

use super::space::NOW;
use super::{Scenario, State, saved};

/// The reasons, in the order in which a report counts them.
pub const REASONS: [Reason; 8] = [
    Reason::Expired,
    Reason::HardEnd,
    Reason::Refused,
    Reason::AnswerLost,
    Reason::Disconnected,
    Reason::Poisoned,
    Reason::Revoked,
    Reason::RevokeUnanswered,
];

/// Ticks in a row, at most, from any phase to tokens or to a named user: ten rounds of refusals, or a day of replays at
/// their pace for each of three tokens, each with its time-out, and what a consent beside it adds.
const TICKS_MOST: u32 = 1_200;

type Checked = Result<(), String>;

fn holds(condition: bool, what: &str) -> Checked {
    if condition { Ok(()) } else { Err(what.into()) }
}

/// Counts an end.
pub fn count_end(before: &State, after: &State, ends: &mut [u64; 8]) {
    if let Some(reason) = end(&before.phase, &after.phase)
        && let Some(count) = REASONS.iter().position(|known| *known == reason).and_then(|at| ends.get_mut(at))
    {
        *count += 1;
    }
}

fn end(before: &Phase, after: &Phase) -> Option<Reason> {
    match (before.grant, after.grant) {
        (Grant::Closed { reason: old, .. }, Grant::Closed { reason, .. }) if old == reason => None,
        (_, Grant::Closed { reason, .. }) => Some(reason),
        _ => None,
    }
}

/// Everything about one event on one phase.
///
/// # Errors
/// The invariant that it breaks.
pub fn edge(
    scenario: &Scenario,
    state: &State,
    now: Time,
    event: &Event,
    taken: &Result<Step, Refused>,
) -> Checked {
    unsaved_steps_alike(scenario, state, now, event, taken)?;
    match taken {
        Err(refused) => refused_tokens(state, event, *refused),
        Ok(step) => {
            stored_first(state, event, step)?;
            sends(scenario, state, event, step)?;
            ends(scenario, state, event, step)?;
            bytes(state, event, step)?;
            held_is_sound(&step.phase)
        }
    }
}

/// I3, I7: a phase whose record could not be stored steps as the stored one does, asks for the store again, and a refusal is
/// the same refusal.
fn unsaved_steps_alike(
    scenario: &Scenario,
    state: &State,
    now: Time,
    event: &Event,
    taken: &Result<Step, Refused>,
) -> Checked {
    if matches!(event, Event::Saved { .. }) {
        return Ok(());
    }
    let unsaved = Phase { unsaved: true, ..state.phase };
    match (step(&scenario.policy, &unsaved, now, *event), taken) {
        (Err(one), Err(other)) => holds(one == *other, "I7: unsaved, it is refused otherwise"),
        (Ok(one), Ok(other)) => {
            holds(one.effects.store == Some(one.phase.revision), "I3: the store is not asked for again")?;
            holds(one.phase.unsaved, "I3: a step made a phase durable")?;
            let same = saved(one.phase) == saved(other.phase) && one.bytes == other.bytes;
            holds(same && one.effects.send == other.effects.send, "I3: unsaved, it steps otherwise")
        }
        _ => Err("I7: unsaved, it is refused otherwise".into()),
    }
}

/// I3: a changed phase is stored, under a higher revision, before anything follows from it.
fn stored_first(state: &State, event: &Event, step: &Step) -> Checked {
    let Step { phase, effects: Effects { store, send, .. }, bytes } = step;
    if let Event::Saved { .. } = event {
        return holds(*phase == saved(state.phase), "Saved changes nothing but itself");
    }
    let changed = saved(*phase) != Phase { revision: phase.revision, ..state.phase };
    if changed {
        holds(*store == Some(phase.revision), "I3: a change without a store")?;
        holds(phase.unsaved && phase.revision == state.phase.revision + 1, "I3: the change has no revision")
    } else {
        holds(store.is_none() && !phase.unsaved, "a store of nothing new")?;
        // An access token that is gone already may be wiped again.
        let gone = state.phase.usable().is_none_or(|held| held.access_for == 0);
        let idle = *bytes == Bytes::Keep || (*bytes == Bytes::DropAccess && gone);
        holds(send.is_none() && idle, "I1, I2: something follows from no change")
    }
}

/// I1, I2: what is sent, and what is in flight.
fn sends(scenario: &Scenario, state: &State, event: &Event, step: &Step) -> Checked {
    let exchanging = matches!(step.phase.consent, Consent::Exchanging { .. });
    let in_flight = matches!(step.phase.grant, Grant::Refreshing { .. } | Grant::Revoking { .. });
    holds(!(exchanging && in_flight), "I2: two calls in flight")?;
    let Some(call) = step.effects.send else { return Ok(()) };
    holds(step.phase.in_flight() == Some(call), "I2: what is sent is not what is waited for")?;
    holds(state.clock, "something is sent without a clock")?;
    holds(call.number == state.phase.calls + 1, "a call has no number of its own")?;
    let answered = matches!(event, Event::Answer { call, .. } if state.phase.in_flight() == Some(*call));
    holds(state.phase.in_flight().is_none() || answered, "I2: sent while a call is in flight")?;
    match call.purpose {
        Purpose::Exchange => {
            let new_code = matches!(event, Event::Callback(_));
            holds(new_code || !state.seen.code_sent, "I1: a code is sent twice")
        }
        Purpose::Refresh => {
            let mut seen = state.seen;
            if let Bytes::NextCandidate { steps } = step.bytes {
                let candidates = ending(&state.phase).map_or(0, |held| held.candidates);
                (0..steps).for_each(|_| seen.turn(candidates));
            }
            let replayed = seen.unanswered.map(|since| NOW.since(since));
            let allowed = replayed.is_none_or(|age| age < scenario.policy.replay_for);
            holds(allowed, "I2: a refresh token is sent outside the replay policy")?;
            let held = step.phase.usable().ok_or("a refresh of nothing")?;
            holds(NOW < held.end(), "DUR-6: a refresh token is sent after its end")
        }
        Purpose::Revoke => Ok(()),
    }
}

/// I4: a grant ends by a confirmed verdict, by the clock, or by the user.
fn ends(scenario: &Scenario, state: &State, event: &Event, step: &Step) -> Checked {
    let by_user = matches!(state.phase.grant, Grant::Revoking { .. } | Grant::Unrevoked { .. });
    if matches!(step.phase.grant, Grant::Revoking { .. } | Grant::Unrevoked { .. }) && !by_user {
        holds(*event == Event::Revoke, "I4: revoked, and nobody asked for it")?;
    }
    let Some(reason) = end(&state.phase, &step.phase) else { return Ok(()) };
    holds(step.effects.tell == Some(Tell::Closed(reason)), "an end that nobody is told of")?;
    if let Some(held) = ending(&state.phase)
        && !matches!(reason, Reason::Revoked | Reason::RevokeUnanswered)
    {
        holds(step.bytes == Bytes::DropAccess, "I4: an end took the refresh token's bytes")?;
        let refused = matches!(
            event,
            Event::Answer { call, outcome: Outcome::Refused(Refusal::InvalidGrant) }
                if state.phase.in_flight() == Some(*call)
        );
        let rounds = state.seen.rounds + u8::from(refused);
        let tokens = [state.seen.unanswered, state.seen.others[0], state.seen.others[1]];
        let over =
            |since: &Option<Time>| since.is_some_and(|since| NOW.since(since) >= scenario.policy.replay_for);
        let window_over = tokens.iter().take(1 + usize::from(held.candidates)).all(over);
        let hinted = state.phase.doubt.hint != Hint::None;
        let enough = rounds >= scenario.policy.refusals || (hinted && rounds >= 2);
        let confirmed = refused && (enough || window_over);
        holds(state.clock, "a grant ended without a clock")?;
        return match reason {
            Reason::Expired => holds(NOW >= held.rolling_end(), "I4: expired before its end"),
            Reason::HardEnd => holds(NOW >= held.hard_end(), "I4: the hard end before its time"),
            Reason::Refused => holds(confirmed, "I4: ended by a refusal that nothing confirmed"),
            Reason::AnswerLost => {
                holds(confirmed || window_over, "I4: ended for a lost answer that could be asked for again")
            }
            Reason::Disconnected | Reason::Poisoned => {
                holds(hinted && confirmed, "I4: ended by a hint that nothing confirmed")
            }
            Reason::Revoked | Reason::RevokeUnanswered => Ok(()),
        };
    }
    let revocation = by_user || *event == Event::Revoke;
    holds(revocation, "I4: ended, and nobody asked for it")
}

/// What is held, and can still end by itself: also what an end by the clock has left, which lives again where the clock
/// is put right.
pub(crate) fn ending(phase: &Phase) -> Option<Held> {
    match phase.grant {
        Grant::Closed { reason: Reason::Expired | Reason::HardEnd | Reason::AnswerLost } => Some(phase.held),
        _ => phase.usable().copied(),
    }
}

/// I4, I5: which bytes go, and which stay.
fn bytes(state: &State, event: &Event, step: &Step) -> Checked {
    let revoking = matches!(state.phase.grant, Grant::Revoking { .. } | Grant::Unrevoked { .. });
    match step.bytes {
        Bytes::Forget => {
            let user = revoking || *event == Event::Revoke;
            holds(user, "I4: token bytes are wiped, and nobody asked for it")?;
        }
        Bytes::KeepRefresh => holds(*event == Event::Revoke, "I4: tokens are wiped without a revocation")?,
        Bytes::TakeCode => holds(matches!(event, Event::Callback(_)), "a code from nowhere")?,
        Bytes::TakeTokens | Bytes::TakeCandidate | Bytes::TakeFront => {
            let brought = tokens(event).is_some() || matches!(event, Event::Candidate { .. });
            holds(brought, "tokens from nowhere")?;
        }
        Bytes::NextCandidate { .. } => {
            let held = ending(&state.phase).map_or(0, |held| held.candidates);
            holds(held > 0, "a candidate is tried that is not held")?;
        }
        Bytes::Keep | Bytes::DropCode | Bytes::DropAccess => {}
    }
    if let (Some((purpose, _)), false) = (tokens(event), revoking) {
        let taken = matches!(step.bytes, Bytes::TakeTokens | Bytes::TakeCandidate | Bytes::TakeFront);
        holds(taken || purpose == Purpose::Revoke, "I5: tokens were accepted and not taken")?;
    }
    if let Event::Candidate { .. } = event {
        let taken = matches!(step.bytes, Bytes::TakeTokens | Bytes::TakeCandidate | Bytes::TakeFront);
        holds(taken, "I5: a candidate was accepted and not taken")?;
    }
    Ok(())
}

/// Tokens that an answer brings, and to what.
fn tokens(event: &Event) -> Option<(Purpose, Rotation)> {
    match event {
        Event::Answer { call, outcome: Outcome::Tokens(issued) } => Some((call.purpose, issued.refresh)),
        _ => None,
    }
}

/// I5: tokens are turned away only where they bring nothing that is not held, belong to a grant that was replaced or ended
/// for good, or where there is no room (then they are handed in again).
fn refused_tokens(state: &State, event: &Event, refused: Refused) -> Checked {
    let brought = match event {
        Event::Answer { call, outcome: Outcome::Tokens(issued) } => {
            Some((call.purpose, call.generation, issued.refresh))
        }
        Event::Candidate { issued, .. } => Some((Purpose::Refresh, state.phase.generation, issued.refresh)),
        _ => None,
    };
    let Some((purpose, generation, rotation)) = brought else { return Ok(()) };
    // Candidates can be handed in again; an answer only while somebody knows what time it is.
    if refused == Refused::ClockUnset {
        // Without a clock an answer is taken in by the latest time that the phase knows of; where it knows of none,
        // nothing is judged, and the answer can be handed in again.
        let candidate = matches!(event, Event::Candidate { .. });
        return holds(candidate || knows_no_time(&state.phase), "I5: tokens were lost with the clock");
    }
    let ended = matches!(
        state.phase.grant,
        Grant::Unlinked
            | Grant::Revoking { .. }
            | Grant::Unrevoked { .. }
            | Grant::Closed { reason: Reason::Revoked | Reason::RevokeUnanswered, .. }
    );
    let room = state.phase.held.candidates < CANDIDATES;
    let excused = match purpose {
        Purpose::Refresh => {
            rotation == Rotation::Same
                || generation != state.phase.generation
                || ended
                || (!room && refused == Refused::CandidatesFull)
        }
        // A consent that was asked for since, or has succeeded, replaces whatever an earlier one would have brought.
        Purpose::Exchange => !matches!(
            state.phase.consent,
            Consent::Exchanging { call, .. } | Consent::Over { call, .. } if Some(call) == called(event)
        ),
        Purpose::Revoke => true,
    };
    holds(excused, "I5: tokens that arrived were dropped")
}

fn knows_no_time(phase: &Phase) -> bool {
    let grant = matches!(phase.grant, Grant::Unlinked | Grant::Unrevoked { .. })
        || matches!(phase.grant, Grant::Closed { .. } if !phase.held.issued_at.is_set());
    grant && !matches!(phase.consent, Consent::Exchanging { .. })
}

fn called(event: &Event) -> Option<u32> {
    match event {
        Event::Answer { call, .. } => Some(call.number),
        _ => None,
    }
}

/// What no phase says.
fn held_is_sound(phase: &Phase) -> Checked {
    let Phase { held, doubt, .. } = phase;
    holds(held.candidates <= CANDIDATES, "more candidates than there is room for")?;
    match phase.grant {
        Grant::Refreshing { untried, call, .. } => {
            holds(untried <= held.candidates, "a candidate is to be tried that is not held")?;
            holds(call == phase.calls, "what is waited for is not the latest call")
        }
        Grant::Closed { .. } => holds(held.access_for == 0, "USE-3: access outlives the grant"),
        Grant::Unlinked | Grant::Revoking { .. } | Grant::Unrevoked { .. } => {
            let nothing = (*held, *doubt) == (Held::NOTHING, Doubt::NONE);
            holds(nothing, "something is known of tokens that are not held")
        }
        Grant::Linked => holds(doubt.refusals == 0 && doubt.lost_since() == Time::UNSET, "linked, in doubt"),
        Grant::Uncertain => {
            holds(doubt.refusals == 0 && doubt.lost_since() != Time::UNSET, "uncertain of nothing")
        }
        Grant::Suspect => holds(doubt.refusals > 0, "suspected of nothing"),
    }
}

/// I8: something is due or somebody is named, and whoever acts on what is due comes to tokens or to the user. Says in how
/// many ticks at most.
///
/// # Errors
/// A busy loop, or no end.
pub fn state(scenario: &Scenario, state: &State) -> Result<u32, String> {
    if !state.clock {
        return Ok(0);
    }
    let mut most = 0;
    for reply in [
        Some(Outcome::Refused(Refusal::InvalidGrant)),
        None,
        Some(Outcome::Tokens(evergrant::phase::Issued {
            access_for: 3_600,
            refresh_for: 0,
            hard_for: 0,
            refresh: Rotation::Same,
        })),
    ] {
        let ticks = live(scenario, state.phase, NOW, reply);
        most = most.max(ticks.map_err(|wrong| format!("with {reply:?} to every request: {wrong}"))?);
    }
    Ok(most)
}

/// Lives by what is due alone, every request answered alike, or never.
fn live(scenario: &Scenario, mut phase: Phase, mut now: Time, reply: Option<Outcome>) -> Result<u32, String> {
    let policy = &scenario.policy;
    let mut ticks = 0;
    loop {
        if ticks > TICKS_MOST {
            return Err(format!("I8: no end in {TICKS_MOST} ticks, at {phase:?}"));
        }
        // One that was in flight already may be answered as well.
        if let (Some(call), Some(outcome)) = (phase.in_flight(), reply) {
            let event = Event::Answer { call, outcome };
            let step = step(policy, &phase, now, event).map_err(|refused| format!("I8: {refused:?}"))?;
            if step.bytes == Bytes::TakeTokens {
                return Ok(ticks);
            }
            phase = saved(step.phase);
            continue;
        }
        let Due::Tick(at) = phase.due(policy) else { return Ok(ticks) };
        now = now.max(at);
        ticks += 1;
        let after = step(policy, &phase, now, Event::Tick).map_err(|refused| format!("I8: {refused:?}"))?;
        if saved(after.phase) == phase {
            return Err(format!(
                "I8: busy loop: nothing moves at what was due, {:?} after now, {phase:?}",
                now.since(NOW)
            ));
        }
        phase = saved(after.phase);
    }
}
