//! The clock: put back, put ahead, never set, at the ends of what a number can hold.

use evergrant::phase::{Grant, step};
use evergrant::{Due, Input, Policy, Provider, Purpose, Reason, Scopes, Tell, Time};
use faq::checks;
use faq::phases::{events, phases};
use faq::world::{Clock, DAY, HOUR, MODELS, REDIRECT, REFRESH_LIFE, START, World, approve};
use proptest::prelude::*;

const POLICIES: [Policy; 2] = [Provider::INTUIT_SANDBOX.policy, Provider::STRICT.policy];

/// Moments at which something tips over, and the ends.
const MOMENTS: [u64; 17] = [
    0,
    1,
    Time::EARLIEST.unix() - 1,
    Time::EARLIEST.unix(),
    START - REFRESH_LIFE,
    START - DAY,
    START - 901,
    START - 900,
    START - 1,
    START,
    START + 1,
    START + HOUR,
    START + DAY,
    START + REFRESH_LIFE,
    u32::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

/// No panic, whatever the clock shows, in every phase and for every event; and what follows leads on.
#[test]
fn every_cell_at_every_moment() {
    for policy in POLICIES {
        for (name, phase) in phases() {
            for (label, event) in events() {
                for at in MOMENTS {
                    let now = Time::from_unix(at);
                    let Ok(taken) = step(&policy, &phase, now, event) else { continue };
                    let _ = (taken.phase.due(&policy), taken.phase.restored().due(&policy));
                    let handed = taken.phase.usable().is_some_and(|held| held.access_left(now) > 0);
                    assert!(!handed || now.is_set(), "{name}, {label}: handed out without a clock");
                }
            }
        }
    }
}

proptest! {
    /// Whole sessions under a clock that jumps anywhere: no panic, nothing dead is handed out by a clock that is right.
    #[test]
    fn a_clock_that_jumps_anywhere(
        model in prop::sample::select(MODELS.to_vec()),
        jumps in prop::collection::vec((prop::sample::select(MOMENTS.to_vec()), 0_usize..6), 1..30),
    ) {
        let mut world = World::linked(model);
        for (at, what) in jumps {
            world.set_clock(Clock::Stopped(at));
            match what {
                0 => drop(world.tick()),
                1 => drop(world.demand()),
                2 => drop(world.ask(REDIRECT, Scopes::OPENID)),
                3 => drop(world.input("disconnected", Input::Disconnected)),
                4 => world.crash(),
                _ => drop(world.call_api()),
            }
            let early = Time::from_unix(at).is_set() || world.access().is_none();
            prop_assert!(early, "handed out by a clock that was never set");
        }
        for (name, check) in checks::ALL {
            prop_assert!(check(&world).is_ok(), "{name}: {:?}", check(&world));
        }
    }

    /// Never set: nothing is handed out, sent or declared dead; and once it is set all is as it was.
    #[test]
    fn a_clock_that_was_never_set(model in prop::sample::select(MODELS.to_vec()), shows in 0..Time::EARLIEST.unix()) {
        let mut world = World::linked(model);
        let before = world.record();
        world.set_clock(Clock::Stopped(shows));
        prop_assert_eq!(world.access(), None);
        for input in [Input::Tick, Input::Demand, Input::Refresh, Input::Revoke, Input::Disconnected] {
            let refused = world.input("any", input);
            prop_assert_eq!(refused, Err(evergrant::Error::Refused(evergrant::Refused::ClockUnset)));
        }
        prop_assert_eq!(world.record(), before);
        world.set_clock(Clock::Right);
        prop_assert!(world.access().is_some());
    }

    /// Put ahead past the end, and put right: what died by the clock alone lives again.
    #[test]
    fn a_grant_that_a_wrong_clock_ended_revives(
        model in prop::sample::select(MODELS.to_vec()),
        ahead in REFRESH_LIFE..(9 * 365 * DAY),
        crash: bool,
        by_demand: bool,
    ) {
        let mut world = World::linked(model);
        world.set_clock(Clock::Off(i64::try_from(ahead).unwrap()));
        if by_demand {
            prop_assert_eq!(world.demand(), None);
        } else {
            world.settle();
        }
        let closed = matches!(
            world.session.phase().grant,
            Grant::Closed { reason: Reason::Expired | Reason::HardEnd, .. }
        );
        prop_assert!(closed);
        if crash {
            world.crash();
        }
        world.set_clock(Clock::Right);
        if by_demand {
            prop_assert!(world.demand().is_some());
        } else {
            let _ = world.tick().unwrap();
            prop_assert_eq!(world.told().last(), Some(Tell::Revived));
            world.wait(60);
            prop_assert!(world.demand().is_some());
        }
    }

    /// Put back: an access token whose age is not known is not handed out, and a refresh finds out. (By more than a refresh
    /// token lives, nobody can tell it from one that has died of age.)
    #[test]
    fn put_back(model in prop::sample::select(MODELS.to_vec()), back in 1_u64..(80 * DAY), after in 0_u64..HOUR) {
        let mut world = World::linked(model);
        world.wait(after);
        world.set_clock(Clock::Off(-i64::try_from(back).unwrap()));
        if back > after {
            prop_assert_eq!(world.access(), None, "issued in the future");
        }
        let token = world.demand();
        prop_assert!(token.is_some());
        world.set_clock(Clock::Right);
        world.live(2 * DAY);
        prop_assert!(world.demand().is_some());
    }

    /// A consent that was begun under another clock ends all the same, and another can be asked for.
    #[test]
    fn a_consent_over_a_jump(ahead in 0_u64..(400 * DAY), back: bool) {
        let mut world = World::new(MODELS[0]);
        let sign = if back { -1 } else { 1 };
        world.set_clock(Clock::Off(i64::try_from(ahead).unwrap() * sign));
        let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
        world.set_clock(Clock::Right);
        let answered = world.decide(&url, approve()).unwrap();
        let _ = world.callback(&answered);
        world.live(2 * HOUR);
        if world.demand().is_none() {
            world.link(Scopes::ACCOUNTING);
        }
        prop_assert!(world.demand().is_some());
    }
}

/// A call that was sent under a clock that was years ahead is not waited for until then: the next look gives it up.
#[test]
fn a_call_of_the_future_is_given_up() {
    for model in MODELS {
        let mut world = World::linked(model);
        world.set_clock(Clock::Off(40 * 86_400));
        world.faults.push_back(faq::world::Fault::Silent(false));
        let _ = world.input("demand", Input::Demand);
        world.set_clock(Clock::Right);
        let Due::Tick(at) = world.session.due(&world.app) else { panic!("nothing is due") };
        assert!(at > world.now());
        world.wait(HOUR);
        let _ = world.tick().unwrap();
        assert!(matches!(world.told().last(), Some(Tell::AnswerLost { .. })));
        world.wait(HOUR);
        assert!(world.demand().is_some());
        assert_eq!(world.sent(Purpose::Refresh).count(), 2);
    }
}
