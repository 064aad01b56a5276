//! How is a code exchanged?

use std::collections::BTreeSet;

use evergrant::diagnosis::{Fact, Kind, Surroundings, Weight};
use evergrant::phase::{Consent, Grant};
use evergrant::{Due, Purpose, Reason, Scopes, Tell};
use evergrant_emulator::authority::{
    Cause, ClientAuth, CodeState, Decision, EndReason, ErrorCode, Policy, TokenRequest,
};
use faq::checks;
use faq::script::Script;
use faq::world::{CLIENT, DAY, Fault, HOUR, MODELS, REALM, REDIRECT, World, approve};
use proptest::prelude::*;

fn model() -> impl Strategy<Value = Policy> {
    prop::sample::select(MODELS.to_vec())
}

/// What can become of an exchange without a verdict on it.
const UNKNOWN: [Fault; 7] = [
    Fault::LostBefore,
    Fault::LostAfter,
    Fault::Silent(false),
    Fault::Silent(true),
    Fault::Status(503),
    Fault::Status(200),
    Fault::Truncated(100),
];

/// A world in which the callback is about to arrive.
fn about_to_exchange(model: Policy) -> (World, String) {
    let mut world = World::new(model);
    let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
    let back = world.decide(&url, approve()).unwrap();
    (world, back)
}

mod exc_1 {
    use super::*;

    proptest! {
        /// Without the rule a code would be sent twice, and the authority would revoke what the first one brought.
        #[test]
        fn whatever_happens(
            model in model(),
            fault in prop::option::of(0..UNKNOWN.len()),
            crash_at in prop::option::of(0_u32..8),
            again in prop::collection::vec((0_u64..(2 * HOUR), any::<bool>()), 0..5),
        ) {
            let (mut world, back) = about_to_exchange(model);
            world.faults.extend(fault.map(|index| UNKNOWN[index]));
            world.dies_in = crash_at;
            let _ = world.callback(&back);
            for (wait, crash) in again {
                world.live(wait);
                if crash {
                    world.crash();
                }
                let _ = world.callback(&back);
            }
            prop_assert!(checks::i1(&world).is_ok(), "{:?}", checks::i1(&world));
            prop_assert!(world.sent(Purpose::Exchange).count() <= 1);
            let view = &world.intuit.grants(world.time)[0];
            prop_assert!(view.code != CodeState::UsedTwice);
        }

        /// In whole lives, whatever comes between.
        #[test]
        fn in_whole_lives(first: u8, pairs in prop::collection::vec(any::<[u8; 2]>(), 0..50)) {
            let mut bytes = vec![first];
            bytes.extend(pairs.concat());
            let world = Script::from_bytes(&bytes).run();
            let codes: Vec<_> = world.sent(Purpose::Exchange).map(|sent| sent.secret.clone()).collect();
            prop_assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
        }
    }

    /// A second process that was restored from the same record before the callback came: the store lets one of them in.
    #[test]
    fn a_second_process_is_held_up_by_the_store() {
        let (mut world, back) = about_to_exchange(MODELS[0]);
        let stored = world.store.text.clone().unwrap();
        let _ = world.callback(&back).unwrap();
        let mut second = faq::world::restore(&world.app, &stored);
        let (app, now) = (world.app, world.now());
        let effects =
            second.handle(&app, now, evergrant::Input::Callback { text: &back, binding: &[] }).unwrap();
        // Its intent has a revision that the store has seen: the write is refused, and without it nothing is sent.
        assert!(effects.store.unwrap() <= world.session.phase().revision);
        let call = effects.send.unwrap();
        assert_eq!(second.request(&app, call).err(), Some(evergrant::Error::NotSaved));
    }

    /// The one case in which it is tried again: it provably never left.
    #[test]
    fn what_never_left_may_leave() {
        for model in MODELS {
            let (mut world, back) = about_to_exchange(model);
            world.faults.extend([Fault::NotSent, Fault::NotSent]);
            let _ = world.callback(&back).unwrap();
            assert_eq!(world.access(), None);
            world.live(60);
            assert!(world.access().is_some());
            assert_eq!(world.sent(Purpose::Exchange).count(), 1);
        }
    }

    /// Also where a late answer to a refresh of the grant in place comes between: the code is still there to be sent.
    #[test]
    fn a_late_refresh_answer_leaves_the_code_alone() {
        let mut world = World::linked(Policy::GRACE);
        world.wait(HOUR);
        world.faults.extend([Fault::Late(2), Fault::NotSent]);
        let _ = world.demand();
        let url = world.ask(REDIRECT, Scopes::PAYMENT).unwrap();
        let back = world.decide(&url, approve()).unwrap();
        let code = evergrant::Callback::parse(&back, "realmId").unwrap().code.unwrap();
        let code: String = code.decode().map(char::from).collect();
        let _ = world.callback(&back).unwrap();
        world.wait(2);
        world.live(60);
        assert_eq!(world.sent(Purpose::Exchange).last().unwrap().secret, code);
        assert_eq!(world.session.scopes(), Scopes::PAYMENT);
    }
}

/// Binds the authority: tested on it, and on what the session makes of it.
mod exc_2 {
    use super::*;

    proptest! {
        #[test]
        fn the_second_exchange_revokes_what_the_first_brought(
            model in model(),
            refreshes in 0_usize..5,
            later in 0..(90 * DAY),
            other_address: bool,
        ) {
            let mut world = World::new(model);
            world.link(Scopes::ACCOUNTING);
            for _ in 0..refreshes {
                world.wait(DAY);
                prop_assert!(world.demand().is_some());
            }
            world.wait(later.min(80 * DAY));
            let code = world.sent(Purpose::Exchange).next().unwrap().secret.clone();
            let app = ClientAuth::basic(CLIENT, "sandbox-canary-secret");
            let uri = if other_address { "https://tool.example:8443/oauth2/callback/" } else { REDIRECT };
            prop_assert!(world.could_live());
            let error = world.intuit.token(world.time, &TokenRequest::exchange(app, code, uri)).unwrap_err();
            prop_assert_eq!((error.code, error.cause), (ErrorCode::InvalidGrant, Cause::CodeUsed));
            let view = &world.intuit.grants(world.time)[0];
            prop_assert_eq!(view.code, CodeState::UsedTwice);
            prop_assert_eq!(view.end.map(|end| end.reason), Some(EndReason::CodeUsedTwice));
            prop_assert!(!world.could_live(), "every refresh token of it is dead");
            // The session's view: the next refresh is refused, and nothing is handed out once that is seen.
            world.wait(HOUR);
            prop_assert_eq!(world.demand(), None);
        }
    }
}

mod exc_3 {
    use super::*;

    proptest! {
        /// Without the rule a client that does not know would try again, and poison what it had.
        #[test]
        fn it_is_not_repeated_and_a_new_consent_leads_on(
            model in model(),
            fault in 0..UNKNOWN.len(),
            wait in 0..(3 * HOUR),
            crash: bool,
        ) {
            let (mut world, back) = about_to_exchange(model);
            world.faults.push_back(UNKNOWN[fault]);
            let _ = world.callback(&back);
            if crash {
                world.crash();
            }
            world.live(wait.max(120));
            prop_assert_eq!(world.sent(Purpose::Exchange).count(), 1);
            prop_assert!(world.callback(&back).is_err());
            prop_assert_eq!(world.demand(), None);
            prop_assert_eq!(world.session.due(&world.app), Due::Consent);
            world.link(Scopes::ACCOUNTING);
            prop_assert!(world.access().is_some());
            prop_assert_eq!(world.sent(Purpose::Exchange).count(), 2);
        }

        /// Only its late answer can still bring the tokens.
        #[test]
        fn a_late_answer_still_links(model in model(), late in 1_u64..600) {
            let (mut world, back) = about_to_exchange(model);
            world.faults.push_back(Fault::Late(late));
            let _ = world.callback(&back);
            prop_assert!(world.told().any(|tell| tell == Tell::ExchangeLost));
            world.wait(late);
            prop_assert!(world.demand().is_some());
            prop_assert_eq!(world.session.realm(), REALM);
        }
    }
}

mod exc_4 {
    use super::*;

    /// Without the rule the user of this library would read `invalid_grant`, and know nothing.
    #[test]
    fn most_likely_cause_first() {
        for model in MODELS {
            let (mut world, back) = about_to_exchange(model);
            world.faults.push_back(Fault::InvalidGrant);
            let _ = world.callback(&back).unwrap();
            let diagnosis = world
                .session
                .diagnosis(world.now(), Surroundings::default())
                .expect("an exchange that was refused is explained");
            let order: Vec<Kind> = diagnosis.causes().map(|cause| cause.kind).collect();
            // What this library makes impossible comes last, each group in the FAQ's order.
            assert_eq!(
                order,
                [
                    Kind::RedirectUriDiffers,
                    Kind::OtherEnvironment,
                    Kind::CodeUsedBefore,
                    Kind::CodeExpired,
                    Kind::RedirectUriHasQuery,
                    Kind::OtherCodeParameter,
                ]
            );
            for cause in diagnosis.causes() {
                let by_construction = cause.fact == Fact::ByConstruction;
                assert!(!by_construction || cause.weight == Weight::Unlikely);
                assert!(!cause.kind.way_out().is_empty() && cause.to_string().contains(cause.kind.way_out()));
            }
        }
    }

    /// The grant in place is not blamed for it, and a good exchange is not explained.
    #[test]
    fn only_what_was_refused_is_explained() {
        let world = World::linked(MODELS[0]);
        assert!(matches!(world.session.phase().consent, Consent::None));
        let mut world = World::new(MODELS[0]);
        let none = world.session.diagnosis(world.now(), Surroundings::default());
        assert_eq!(none, None);
        let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
        let back = world.decide(&url, Decision::Deny).unwrap();
        let _ = world.callback(&back).unwrap();
        assert_eq!(world.session.diagnosis(world.now(), Surroundings::default()), None);
    }
}

mod exc_5 {
    use super::*;

    proptest! {
        /// Without the rule a poisoned grant would look like an outage for days.
        #[test]
        fn the_next_refreshes_confirm_it_and_the_session_begins_anew(model in model(), turned: bool) {
            let mut world = World::new(model);
            world.faults.push_back(if turned { Fault::RequestTwiceTurned } else { Fault::RequestTwice });
            world.link(Scopes::ACCOUNTING);
            world.wait(1);
            prop_assert!(turned || world.told().any(|tell| tell == Tell::Poisoned));
            prop_assert!(!world.could_live());
            world.live(2 * HOUR);
            let poisoned = matches!(world.session.phase().grant, Grant::Closed { reason: Reason::Poisoned, .. });
            prop_assert!(poisoned, "{:?}", world.session.phase());
            prop_assert_eq!(world.session.due(&world.app), Due::Consent);
            world.link(Scopes::ACCOUNTING);
            prop_assert!(world.access().is_some());
        }
    }

    /// The refusal of the next refresh is explained by it.
    #[test]
    fn it_is_explained() {
        let mut world = World::new(MODELS[0]);
        world.faults.push_back(Fault::RequestTwice);
        world.link(Scopes::ACCOUNTING);
        world.wait(1);
        world.settle();
        let diagnosis = world.session.diagnosis(world.now(), Surroundings::default()).unwrap();
        let first = diagnosis.causes().next().unwrap();
        assert_eq!((first.kind, first.weight), (Kind::ExchangedTwice, Weight::Likely));
    }
}
