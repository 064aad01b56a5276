//! What searches have found in the kernel, each by the shortest way to it.

use evergrant::phase::{
    Bytes, Doubt, Event, Grant, Held, Issued, Outcome, Proof, Refusal, Rotation, Step, step,
};
use evergrant::{Call, Due, FOREVER, Phase, Policy, Provider, Reason, Refused, Tell, Time};

const INTUIT: Policy = Provider::INTUIT_SANDBOX.policy;
const STRICT: Policy = Provider::STRICT.policy;
const NOW: Time = Time::from_unix(1_800_000_000);
const DAY: u32 = 86_400;
const HELD: Held = Held {
    issued_at: NOW,
    access_for: 3_600,
    refresh_for: 100 * DAY,
    hard_for: FOREVER,
    serial: 1,
    candidates: 0,
};
const ISSUED: Issued =
    Issued { access_for: 3_600, refresh_for: 100 * DAY, hard_for: 0, refresh: Rotation::New };
const REFUSED: Outcome = Outcome::Refused(Refusal::InvalidGrant);

fn linked(held: Held) -> Phase {
    Phase { grant: Grant::Linked, held, calls: 1, generation: 1, ..Phase::NEW }
}

/// A step, its record stored.
fn go(policy: &Policy, phase: Phase, now: Time, event: Event) -> Step {
    let step = step(policy, &phase, now, event).unwrap();
    Step { phase: Phase { unsaved: false, ..step.phase }, ..step }
}

fn sent(policy: &Policy, phase: Phase, now: Time) -> (Phase, Call) {
    let step = go(policy, phase, now, Event::Refresh);
    (step.phase, step.effects.send.unwrap())
}

/// I8: while an exchange is in flight no refresh can be sent, so it is not due either.
#[test]
fn what_waits_for_a_call_is_not_due_before_its_end() {
    let rejected = linked(Held { access_for: 0, ..HELD });
    let asked = go(&INTUIT, rejected, NOW, Event::Ask).phase;
    let exchanging = go(&INTUIT, asked, NOW, Event::Callback(Proof::Stored)).phase;
    assert_eq!(exchanging.due(&INTUIT), Due::Tick(NOW.plus(INTUIT.call_for)));

    // The other way round: an exchange that has not left, and a refresh that has.
    let call = exchanging.in_flight().unwrap();
    let event = Event::Answer { call, outcome: Outcome::NotSent };
    let unsent = go(&INTUIT, exchanging, NOW, event).phase;
    let (refreshing, _) = sent(&INTUIT, unsent, NOW);
    assert_eq!(refreshing.due(&INTUIT), Due::Tick(NOW.plus(INTUIT.call_for)));
}

/// I2: an end that only a wrong clock has seen does not make a lost answer forgotten.
#[test]
fn a_grant_that_lives_again_remembers_the_answer_it_has_lost() {
    let (phase, call) = sent(&STRICT, linked(HELD), NOW);
    let lost = go(&STRICT, phase, NOW, Event::Answer { call, outcome: Outcome::NoAnswer }).phase;
    let ahead = go(&STRICT, lost, NOW.plus(101 * DAY), Event::Tick);
    assert_eq!(ahead.effects.tell, Some(Tell::Closed(Reason::Expired)));
    let again = go(&STRICT, ahead.phase, NOW, Event::Refresh);
    assert_eq!(again.effects.tell, Some(Tell::Closed(Reason::AnswerLost)));
    assert_eq!(again.effects.send, None);
}

/// L1: nor does a clock that was ahead for a while end a grant whose answer may still be asked for.
#[test]
fn an_end_for_a_lost_answer_is_undone_where_the_clock_was_wrong() {
    let (phase, call) = sent(&INTUIT, linked(HELD), NOW);
    let lost = go(&INTUIT, phase, NOW, Event::Answer { call, outcome: Outcome::NoAnswer }).phase;
    let ahead = go(&INTUIT, lost, NOW.plus(2 * DAY), Event::Tick);
    assert_eq!(ahead.effects.tell, Some(Tell::Closed(Reason::AnswerLost)));
    assert!(go(&INTUIT, ahead.phase, NOW.plus(60), Event::Refresh).effects.send.is_some());
    let late = step(&INTUIT, &ahead.phase, NOW.plus(2 * DAY), Event::Refresh);
    assert_eq!(late, Err(Refused::Ended(Reason::AnswerLost)));
}

/// DUR-6: a candidate is not sent after the end that came while the one before it was in flight.
#[test]
fn no_candidate_is_sent_after_the_end() {
    let (phase, call) = sent(&INTUIT, linked(Held { candidates: 1, ..HELD }), NOW.plus(100 * DAY - 1));
    let step = go(&INTUIT, phase, NOW.plus(100 * DAY), Event::Answer { call, outcome: REFUSED });
    assert_eq!(step.effects.tell, Some(Tell::Closed(Reason::Expired)));
    assert_eq!(step.effects.send, None);
}

/// I4: without a clock no grant is declared dead, and nothing is sent.
#[test]
fn a_refusal_without_a_clock_is_asked_again() {
    for candidates in [0, 1] {
        let (phase, call) = sent(&STRICT, linked(Held { candidates, ..HELD }), NOW);
        let step = go(&STRICT, phase, Time::UNSET, Event::Answer { call, outcome: REFUSED });
        assert_eq!(step.effects.send, None);
        assert_eq!(step.phase.grant, Grant::Linked);
    }
}

/// I5: tokens that come after the hard end are kept as well, for the clock may be wrong.
#[test]
fn tokens_after_the_hard_end_are_kept() {
    let closed = go(&INTUIT, linked(Held { hard_for: DAY, ..HELD }), NOW.plus(DAY), Event::Tick).phase;
    let candidate = Event::Candidate { issued_at: NOW, lost_since: Time::UNSET, issued: ISSUED };
    assert_eq!(go(&INTUIT, closed, NOW.plus(DAY), candidate).bytes, Bytes::TakeFront);
}

/// REF-4: a token that comes after an end by the clock has never been refused.
#[test]
fn a_candidate_after_an_end_by_the_clock_is_not_suspect() {
    let closed = go(&INTUIT, linked(HELD), NOW.plus(100 * DAY), Event::Tick).phase;
    let issued_at = NOW.plus(99 * DAY);
    let candidate = Event::Candidate { issued_at, lost_since: Time::UNSET, issued: ISSUED };
    let step = go(&INTUIT, closed, NOW.plus(100 * DAY), candidate);
    assert_eq!((step.phase.grant, step.phase.doubt), (Grant::Linked, Doubt::NONE));
}

/// L1, STA-4: where the token in front may not be sent again, a candidate is tried before the end, and that one alone.
#[test]
fn a_candidate_is_tried_before_a_lost_answer_ends_the_grant() {
    let doubt = Doubt { lost: [NOW, Time::UNSET, Time::UNSET], tries: 3, ..Doubt::NONE };
    let held = Held { candidates: 1, ..HELD };
    let phase = Phase { grant: Grant::Uncertain, doubt, ..linked(held) };
    let later = NOW.plus(DAY);
    let tried = go(&INTUIT, phase, later, Event::Tick);
    assert_eq!(tried.bytes, Bytes::NextCandidate { steps: 1 });
    let call = tried.effects.send.unwrap();
    let refused = go(&INTUIT, tried.phase, later, Event::Answer { call, outcome: REFUSED });
    let Some(Tell::Suspect { retry_at }) = refused.effects.tell else { panic!("{:?}", refused.effects) };
    let again = go(&INTUIT, refused.phase, retry_at, Event::Tick);
    assert_eq!((again.bytes, again.effects.send.is_some()), (Bytes::Keep, true));
    // Where no token may be sent twice, and one refusal is final, the candidate has one try.
    let tried = go(&STRICT, phase, later, Event::Tick);
    let call = tried.effects.send.unwrap();
    let closed = go(&STRICT, tried.phase, later, Event::Answer { call, outcome: REFUSED });
    assert_eq!(closed.effects.tell, Some(Tell::Closed(Reason::Refused)));
}

/// I5: a 401 that makes the next candidate go out moves the bytes with the phase.
#[test]
fn a_rejected_token_does_not_hold_back_the_bytes_of_a_candidate() {
    let doubt = Doubt { lost: [NOW, Time::UNSET, Time::UNSET], tries: 1, ..Doubt::NONE };
    let held = Held { candidates: 1, issued_at: NOW.plus(DAY), ..HELD };
    let phase = Phase { grant: Grant::Uncertain, doubt, ..linked(held) };
    let step = go(&INTUIT, phase, NOW.plus(DAY + 60), Event::Unauthorized { serial: 1 });
    assert!(step.effects.send.is_some());
    assert_eq!(step.bytes, Bytes::NextCandidate { steps: 1 });
}

/// I2: a grant that lives again waits for the exchange that its end has led to.
#[test]
fn a_grant_that_lives_again_is_not_refreshed_beside_an_exchange() {
    let late = NOW.plus(100 * DAY);
    let closed = go(&INTUIT, linked(HELD), late, Event::Tick).phase;
    let asked = go(&INTUIT, closed, late, Event::Ask).phase;
    let exchanging = go(&INTUIT, asked, late, Event::Callback(Proof::Stored)).phase;
    // The clock is put right.
    let again = step(&INTUIT, &exchanging, late.minus(1), Event::Demand);
    assert_eq!(again, Err(Refused::Busy { until: late.plus(INTUIT.call_for) }));
}

/// I2: a token that another process has sent without an answer keeps its time when it is brought here.
#[test]
fn a_token_that_is_brought_does_not_forget_the_answer_it_has_lost() {
    let lost_since = NOW.plus(1);
    let candidate = Event::Candidate { issued_at: NOW, lost_since, issued: ISSUED };
    let kept = go(&INTUIT, linked(HELD), NOW.plus(2), candidate).phase;
    assert_eq!(kept.doubt.lost, [Time::UNSET, lost_since, Time::UNSET]);
    // In time it is sent, after that it is not.
    for (later, tried) in [(DAY - 60, true), (DAY, false)] {
        let (phase, call) = sent(&INTUIT, kept, lost_since.plus(later));
        let refused = go(&INTUIT, phase, lost_since.plus(later), Event::Answer { call, outcome: REFUSED });
        assert_eq!(refused.effects.tell == Some(Tell::NextCandidate), tried, "{later}");
    }
}

/// STA-4: a request that was held up may reach the authority behind the one that overtook it. Its tokens went to nobody, and
/// the one that is held is stale since then: it is renewed while it can still be sent.
#[test]
fn tokens_that_overtook_a_lost_request_are_renewed_soon() {
    let (phase, call) = sent(&INTUIT, linked(HELD), NOW);
    let lost = go(&INTUIT, phase, NOW, Event::Answer { call, outcome: Outcome::NoAnswer }).phase;
    let later = NOW.plus(60);
    let (phase, call) = sent(&INTUIT, lost, later);
    let settled = go(&INTUIT, phase, later, Event::Answer { call, outcome: Outcome::Tokens(ISSUED) }).phase;
    let due = later.plus(INTUIT.replay_for / 4);
    assert_eq!((settled.grant, settled.due(&INTUIT)), (Grant::Linked, Due::Tick(due)));
    assert_eq!(go(&INTUIT, settled, due.minus(1), Event::Tick).effects.send, None);
    let call = go(&INTUIT, settled, due, Event::Tick).effects.send.unwrap();
    let again = go(&INTUIT, settled, due, Event::Tick).phase;
    let calm = go(&INTUIT, again, due, Event::Answer { call, outcome: Outcome::Tokens(ISSUED) }).phase;
    assert_eq!(calm.doubt, Doubt::NONE, "once");

    // A renewal that comes sooner, as by a process whose clock is behind, may itself be ahead of the request that was held up.
    let soon = later.plus(INTUIT.replay_for / 4 - 1);
    let (phase, call) = sent(&INTUIT, settled, soon);
    let kept = go(&INTUIT, phase, soon, Event::Answer { call, outcome: Outcome::Tokens(ISSUED) }).phase;
    assert_eq!(kept.due(&INTUIT), Due::Tick(soon.plus(INTUIT.replay_for / 4)));
}
