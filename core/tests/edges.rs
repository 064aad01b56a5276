//! The edges of single conditions in the kernel: one moment before, at and after.

use evergrant::phase::{Event, Grant, Held, step};
use evergrant::{Due, FOREVER, Phase, Policy, Provider, Time};

const INTUIT: Policy = Provider::INTUIT_SANDBOX.policy;
const NOW: Time = Time::from_unix(1_800_000_000);
const HELD: Held = Held {
    issued_at: NOW,
    access_for: 3_600,
    refresh_for: 8_640_000,
    hard_for: FOREVER,
    serial: 1,
    candidates: 0,
};

/// A step, its record stored.
fn go(phase: Phase, now: Time, event: Event) -> Phase {
    Phase { unsaved: false, ..step(&INTUIT, &phase, now, event).unwrap().phase }
}

/// DUR-1: not before its issue, not after its end, and never by a clock that was not set.
#[test]
fn an_access_token_has_life_from_its_issue_to_its_end() {
    for (now, left) in [
        (NOW.minus(1), 0),
        (NOW, 3_600),
        (NOW.plus(3_599), 1),
        (NOW.plus(3_600), 0),
        (Time::UNSET, 0),
        (Time::EARLIEST.minus(1), 0),
        (Time::END, 0),
    ] {
        assert_eq!(HELD.access_left(now), left, "{now:?}");
    }
    // Even where it was issued by a clock that was not set either.
    let unset = Held { issued_at: Time::UNSET, access_for: FOREVER, refresh_for: FOREVER, ..HELD };
    assert_eq!(unset.access_left(Time::UNSET.plus(1)), 0);
    // USE-3: it dies with the refresh token.
    let short = Held { refresh_for: 60, ..HELD };
    assert_eq!([59, 60].map(|later| short.access_left(NOW.plus(later)) > 0), [true, false]);
}

/// STA-4: whatever was to be waited for, a crash ends the wait for an answer that nobody will get: it is asked again at once.
#[test]
fn what_was_in_flight_at_a_crash_is_asked_again_at_once() {
    let linked = Phase { grant: Grant::Linked, held: HELD, calls: 1, generation: 1, ..Phase::NEW };
    let refreshing = go(linked, NOW.plus(10), Event::Refresh);
    let rejected = go(refreshing, NOW.plus(10), Event::Unauthorized { serial: 1 });
    assert_eq!(rejected.doubt.not_before, NOW.plus(60), "paced while the answer may yet come");
    let restored = rejected.restored();
    assert_eq!((restored.grant, restored.due(&INTUIT)), (Grant::Uncertain, Due::Tick(Time::UNSET)));
    let tick = step(&INTUIT, &restored, NOW.plus(11), Event::Tick).unwrap();
    assert!(tick.effects.send.is_some());
}
