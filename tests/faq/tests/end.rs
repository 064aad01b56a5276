//! How does a grant end?

use evergrant::phase::Grant;
use evergrant::{Due, Error, Input, Purpose, Reason, Refused, Scopes};
use evergrant_emulator::authority::{EndReason, Policy};
use faq::world::{DAY, Entry, Fault, HOUR, MODELS, Outage, REFRESH_LIFE, World};
use proptest::prelude::*;

fn model() -> impl Strategy<Value = Policy> {
    prop::sample::select(MODELS.to_vec())
}

fn reason(world: &World) -> Option<Reason> {
    match world.session.phase().grant {
        Grant::Closed { reason, .. } => Some(reason),
        _ => None,
    }
}

mod rev_1 {
    use super::*;

    const TROUBLES: [Fault; 7] = [
        Fault::NotSent,
        Fault::LostBefore,
        Fault::LostAfter,
        Fault::Silent(true),
        Fault::Status(503),
        Fault::Status(429),
        Fault::InvalidGrant,
    ];

    proptest! {
        /// Without the rule an authority that does not answer would keep a user connected who has left.
        #[test]
        fn it_is_revoked_here_whatever_the_answer(
            model in model(),
            troubles in prop::collection::vec(0..TROUBLES.len(), 0..4),
            crash: bool,
        ) {
            let mut world = World::linked(model);
            let token = world.refresh_token();
            world.faults.extend(troubles.iter().map(|index| TROUBLES[*index]));
            let _ = world.input("revoke", Input::Revoke).unwrap();
            prop_assert_eq!(world.access(), None);
            if crash {
                world.crash();
            }
            for _ in 0..8 {
                world.live(HOUR);
                prop_assert_eq!(world.demand(), None, "it never comes back to life");
                prop_assert_eq!(world.sent(Purpose::Refresh).count(), 0);
            }
            prop_assert_eq!(reason(&world), Some(Reason::Revoked));
            // What went out carried the refresh token, and the authority has seen it.
            prop_assert!(world.sent(Purpose::Revoke).all(|sent| sent.secret == token));
            let confirmed = troubles.iter().any(|index| matches!(TROUBLES[*index], Fault::InvalidGrant));
            let end = world.intuit.grants(world.time)[0].end.map(|end| end.reason);
            prop_assert!(confirmed || end == Some(EndReason::Revoked));
        }

        /// An answer that was not got is tried again, and given up after a while.
        #[test]
        fn it_is_tried_again(model in model()) {
            let mut world = World::linked(model);
            world.outage = Some(Outage::Lost);
            let _ = world.input("revoke", Input::Revoke).unwrap();
            world.live(DAY);
            let tries = usize::from(world.app.provider().policy.revoke_tries);
            prop_assert_eq!(world.sent(Purpose::Revoke).count(), tries);
            prop_assert_eq!(reason(&world), Some(Reason::RevokeUnanswered));
            prop_assert_eq!(world.session.due(&world.app), Due::Consent);
        }
    }
}

mod rev_2 {
    use super::*;

    proptest! {
        /// Without the rule the app would call in vain for days, and the user would not know why.
        #[test]
        fn a_rejected_token_and_a_refused_refresh(model in model(), after in 120_u64..3_500) {
            let mut world = World::linked(model);
            world.wait(after);
            world.disconnect();
            prop_assert_eq!(world.call_api(), Some(401));
            prop_assert_eq!(world.access(), None);
            world.live(8 * HOUR);
            prop_assert_eq!(reason(&world), Some(Reason::Disconnected));
            prop_assert!(world.sent(Purpose::Refresh).count() <= 2);
        }

        /// The disconnect redirect: at once, where it is true.
        #[test]
        fn the_redirect_is_followed_by_a_look(model in model(), after in 120_u64..(50 * DAY)) {
            let mut world = World::linked(model);
            world.wait(after);
            world.disconnect();
            let effects = world.input("disconnected", Input::Disconnected).unwrap();
            prop_assert!(effects.send.is_some());
            world.live(8 * HOUR);
            prop_assert_eq!(reason(&world), Some(Reason::Disconnected));
        }

        /// And a false one costs a refresh, and no grant: anybody can call that address.
        #[test]
        fn a_forged_redirect_costs_no_grant(model in model(), after in 0_u64..(50 * DAY), times in 1_usize..20) {
            let mut world = World::linked(model);
            world.wait(after);
            for _ in 0..times {
                let _ = world.input("disconnected", Input::Disconnected);
                world.live(5);
            }
            prop_assert!(world.sent(Purpose::Refresh).count() <= 4, "no flood of refreshes");
            world.live(HOUR);
            prop_assert!(world.demand().is_some());
            prop_assert_eq!(reason(&world), None);
        }
    }

    /// Nobody says anything: the next refresh tells.
    #[test]
    fn at_the_next_refresh() {
        for model in MODELS {
            let mut world = World::linked(model);
            world.disconnect();
            world.wait(HOUR);
            assert_eq!(world.demand(), None);
            assert_eq!(world.call_api(), None);
            world.live(10 * DAY);
            assert_eq!(reason(&world), Some(Reason::Refused));
        }
    }
}

mod rev_3 {
    use super::*;

    /// A world whose grant ended, each in its own way.
    fn ended(model: Policy, way: usize) -> World {
        let mut world = World::linked(model);
        match way {
            0 => world.wait(REFRESH_LIFE),
            1 => drop(world.input("revoke", Input::Revoke)),
            2 => {
                world.wait(HOUR);
                world.disconnect();
                let _ = world.input("disconnected", Input::Disconnected);
            }
            3 => {
                world.wait(HOUR);
                world.disconnect();
            }
            _ => {
                world.wait(2 * DAY);
                world.faults.push_back(Fault::LostAfter);
                let _ = world.demand();
                world.outage = Some(Outage::Lost);
            }
        }
        world.settle();
        if way > 1 {
            let _ = world.demand();
            world.live(10 * DAY);
        }
        world.outage = None;
        world
    }

    proptest! {
        /// Without the rule a dead grant would be asked again and again, or come back by itself.
        #[test]
        fn only_a_consent_leads_on(model in model(), way in 0_usize..5, later in 0..(300 * DAY)) {
            let mut world = ended(model, way);
            let end = reason(&world);
            prop_assert!(end.is_some(), "{:?}", world.session.phase());
            let sent = world.log.iter().filter(|entry| matches!(entry, Entry::Sent(_))).count();
            world.wait(later);
            prop_assert_eq!(world.session.due(&world.app), Due::Consent);
            for input in [Input::Tick, Input::Demand, Input::Refresh, Input::Disconnected] {
                let outcome = world.input("any", input);
                let refused = matches!(outcome, Err(Error::Refused(Refused::Ended(_))));
                prop_assert!(refused || outcome == Ok(evergrant::Effects::default()), "{outcome:?}");
            }
            prop_assert_eq!(world.access(), None);
            world.crash();
            prop_assert_eq!(reason(&world), end);
            prop_assert_eq!(world.log.iter().filter(|entry| matches!(entry, Entry::Sent(_))).count(), sent);
            world.link(Scopes::ACCOUNTING);
            prop_assert!(world.access().is_some());
            prop_assert_eq!(reason(&world), None);
        }
    }
}
