//! How is a grant refreshed?

use evergrant::diagnosis::{Kind, Surroundings, Weight};
use evergrant::phase::Grant;
use evergrant::{Error, Input, Purpose, Reason, Record, Refused, Tell};
use evergrant_emulator::authority::Policy;
use faq::checks;
use faq::script::Script;
use faq::world::{DAY, Entry, Fault, HOUR, MODELS, Outage, REFRESH_LIFE, World, access_in, tokens_in};
use proptest::prelude::*;

fn model() -> impl Strategy<Value = Policy> {
    prop::sample::select(MODELS.to_vec())
}

mod ref_1 {
    use super::*;

    proptest! {
        /// Without the rule a crash would lose what was handed out already, and the grant with it.
        #[test]
        fn both_are_stored_before_either_is_used(model in model(), fails in 1_u32..6, after in HOUR..(90 * DAY), at_link: bool) {
            let mut world = if at_link { World::new(model) } else { World::linked(model) };
            if at_link {
                let url = world.ask(faq::world::REDIRECT, evergrant::Scopes::ACCOUNTING).unwrap();
                let back = world.decide(&url, faq::world::approve()).unwrap();
                // The intent is stored, the answer is not.
                fail_after_the_answer(&mut world, fails);
                let _ = world.callback(&back);
            } else {
                world.wait(after);
                fail_after_the_answer(&mut world, fails);
                let _ = world.input("demand", Input::Demand);
            }
            prop_assert_eq!(world.access(), None, "in memory, and not durable");
            let before = world.session.phase().in_flight();
            prop_assert_eq!(before, None);
            world.store.fail = 0;
            world.live(120);
            let token = world.demand();
            prop_assert!(token.is_some());
            let stored = world.store.text.clone().unwrap();
            prop_assert_eq!(Some(access_in(&stored)), token);
            prop_assert_eq!(tokens_in(&stored), world.held());
            prop_assert!(checks::i3(&world).is_ok());
        }

        /// In whole lives.
        #[test]
        fn in_whole_lives(first: u8, pairs in prop::collection::vec(any::<[u8; 2]>(), 0..50)) {
            let mut bytes = vec![first];
            bytes.extend(pairs.concat());
            let mut world = Script::from_bytes(&bytes).run();
            let _ = world.demand();
            prop_assert!(checks::i3(&world).is_ok(), "{:?}", checks::i3(&world));
        }
    }

    /// The store takes the intent and fails from then on: the fault lies between.
    fn fail_after_the_answer(world: &mut World, fails: u32) {
        world.faults.push_back(Fault::StoreFails(fails));
    }

    /// Nothing is sent before its intent is stored.
    #[test]
    fn nothing_is_sent_on_a_store_that_fails() {
        for model in MODELS {
            let mut world = World::linked(model);
            world.wait(HOUR);
            world.store.fail = 3;
            let _ = world.input("demand", Input::Demand);
            assert_eq!(world.sent(Purpose::Refresh).count(), 0);
            world.live(120);
            assert!(world.demand().is_some());
        }
    }
}

mod ref_2 {
    use super::*;

    proptest! {
        /// Without the rule two refreshes would race, and the loser would hold a stale token.
        #[test]
        fn one_at_a_time(model in model(), reached: bool, asks in prop::collection::vec((0_u64..59, 0_usize..5), 1..12)) {
            let mut world = World::linked(model);
            world.wait(HOUR);
            world.faults.push_back(Fault::Silent(reached));
            let _ = world.input("demand", Input::Demand);
            let sent = world.sent(Purpose::Refresh).count();
            let began = world.time;
            for (wait, kind) in asks {
                if world.time + wait >= began + 60 {
                    break;
                }
                world.wait(wait);
                let serial = world.session.phase().usable().unwrap().serial;
                let meaning = evergrant::api::Meaning::TokenExpired;
                let inputs =
                    [Input::Demand, Input::Refresh, Input::Tick, Input::Disconnected, Input::Api { serial, meaning }];
                let _ = world.input("any", inputs[kind]);
                prop_assert_eq!(world.sent(Purpose::Refresh).count(), sent, "a second one left");
            }
            let busy = world.input("refresh", Input::Refresh);
            prop_assert!(matches!(busy, Err(Error::Refused(Refused::Busy { .. }))), "{busy:?}");
        }

        /// In whole lives, crashes included.
        #[test]
        fn in_whole_lives(first in 0_u8..64, pairs in prop::collection::vec(any::<[u8; 2]>(), 0..50)) {
            let mut bytes = vec![first];
            bytes.extend(pairs.concat());
            let world = Script::from_bytes(&bytes).run();
            prop_assert!(checks::i2(&world).is_ok(), "{:?}", checks::i2(&world));
        }
    }

    /// Also where the grant had ended by a clock that was wrong, and has been put right since.
    #[test]
    fn a_revived_grant_waits_for_the_exchange_as_well() {
        let mut world = World::linked(MODELS[0]);
        world.set_clock(faq::world::Clock::Off(200 * 86_400));
        world.settle();
        world.set_clock(faq::world::Clock::Right);
        let url = world.ask(faq::world::REDIRECT, evergrant::Scopes::PAYMENT).unwrap();
        let back = world.decide(&url, faq::world::approve()).unwrap();
        world.faults.push_back(Fault::Silent(false));
        let _ = world.callback(&back).unwrap();
        let busy = world.input("refresh", Input::Refresh);
        let held_up = matches!(busy, Err(Error::Refused(Refused::Busy { .. })));
        assert!(held_up, "{busy:?}");
    }

    /// An exchange in flight holds a refresh up as well, and nobody is woken for nothing meanwhile.
    #[test]
    fn an_exchange_and_a_refresh_never_cross() {
        for model in MODELS {
            let mut world = World::linked(model);
            let url = world.ask(faq::world::REDIRECT, evergrant::Scopes::PAYMENT).unwrap();
            let back = world.decide(&url, faq::world::approve()).unwrap();
            world.faults.extend([Fault::LostBefore, Fault::Silent(false)]);
            world.wait(HOUR - 1);
            let _ = world.input("refresh", Input::Refresh);
            let _ = world.callback(&back).unwrap();
            world.wait(30);
            world.settle();
            assert_eq!(world.sent(Purpose::Refresh).count(), 1);
            assert!(checks::i8(&world).is_ok(), "{:?}", checks::i8(&world));
            world.live(120);
            assert!(world.demand().is_some());
        }
    }
}

mod ref_3 {
    use super::*;

    proptest! {
        /// Without the rule a process would send its copy of a token that another has replaced in the store.
        #[test]
        fn a_newer_record_is_adopted_and_an_older_one_is_not(model in model(), waits in prop::collection::vec((DAY + 1)..(20 * DAY), 1..4)) {
            let mut world = World::linked(model);
            let ours = world.store.text.clone().unwrap();
            let mut slow = faq::world::restore(&world.app, &ours);
            for wait in waits {
                world.wait(wait);
                prop_assert!(world.demand().is_some());
            }
            let newer = world.store.text.clone().unwrap();
            let app = world.app;
            let record = Record::read(newer.as_bytes()).unwrap();
            prop_assert_eq!(slow.adopt(&app, &record), Ok(true));
            let adopted = faq::world::text(&slow.record(&app));
            prop_assert_eq!(&adopted, &newer);
            // The other way round: an old snapshot never takes the place of what is newer.
            let old = Record::read(ours.as_bytes()).unwrap();
            prop_assert_eq!(slow.adopt(&app, &old), Ok(false));
            prop_assert_eq!(faq::world::text(&slow.record(&app)), adopted);
            prop_assert!(old.revision() < record.revision(), "a store can tell them apart");
        }

        /// `invalid_grant` for a copy: told as suspect, read again, adopted, and alive.
        #[test]
        fn a_refusal_is_checked_against_the_store_before_it_is_believed(after in (DAY + 1)..(20 * DAY)) {
            let mut world = World::linked(Policy::HARD);
            let copy = world.store.text.clone().unwrap();
            world.wait(after);
            prop_assert!(world.demand().is_some());
            let newer = world.store.text.clone().unwrap();
            world.session = faq::world::restore(&world.app, &copy);
            world.wait(HOUR);
            let _ = world.input("demand", Input::Demand);
            let suspect = matches!(world.told().last(), Some(Tell::Suspect { .. }));
            prop_assert!(suspect, "{:?}", world.told().last());
            let app = world.app;
            let record = Record::read(newer.as_bytes()).unwrap();
            world.session.adopt(&app, &record).ok();
            let lives = world.held() == tokens_in(&newer) || world.session.phase().revision >= record.revision();
            prop_assert!(lives);
        }
    }
}

mod ref_4 {
    use super::*;

    proptest! {
        /// Without the rule one spurious `invalid_grant` would end a good grant.
        #[test]
        fn an_outage_that_says_invalid_grant_is_survived(model in model(), after in HOUR..(60 * DAY), hours in 1_u64..40) {
            let mut world = World::linked(model);
            world.wait(after);
            let held = world.held();
            world.outage = Some(Outage::InvalidGrant);
            prop_assert_eq!(world.demand(), None);
            world.live(hours * HOUR);
            prop_assert_eq!(&world.held(), &held, "the tokens are kept");
            let suspect = matches!(world.session.phase().grant, Grant::Suspect);
            prop_assert!(suspect);
            world.outage = None;
            world.live(13 * HOUR);
            prop_assert!(world.demand().is_some(), "alive again");
        }

        /// It waits longer each time, and does not hammer.
        #[test]
        fn it_looks_again_at_spaced_times(model in model()) {
            let mut world = World::linked(model);
            world.wait(HOUR);
            world.outage = Some(Outage::InvalidGrant);
            let _ = world.demand();
            world.live(12 * HOUR);
            let times: Vec<u64> = world.sent(Purpose::Refresh).map(|sent| sent.at).collect();
            prop_assert!(times.len() >= 3);
            let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            prop_assert!(gaps.iter().all(|gap| *gap >= 60));
            prop_assert!(gaps.windows(2).all(|pair| pair[1] >= pair[0]), "{gaps:?}");
        }
    }

    /// Confirmed many times over, it is believed; and even then the bytes stay.
    #[test]
    fn a_confirmed_death_ends_it() {
        for model in MODELS {
            let mut world = World::linked(model);
            world.wait(HOUR);
            world.disconnect();
            assert_eq!(world.demand(), None);
            let held = world.held();
            world.live(10 * DAY);
            let ended = matches!(world.session.phase().grant, Grant::Closed { reason: Reason::Refused, .. });
            assert!(ended, "{:?}", world.session.phase());
            assert_eq!(world.held(), held, "no error path deletes token bytes (I4)");
            assert_eq!(
                world.sent(Purpose::Refresh).count(),
                usize::from(world.app.provider().policy.refusals)
            );
        }
    }

    /// Other errors say nothing of the grant at all.
    #[test]
    fn the_apps_own_fault_is_not_the_grants() {
        for error in ["invalid_client", "invalid_request", "unauthorized_client"] {
            let mut world = World::linked(MODELS[0]);
            world.wait(HOUR);
            let call = open_call(&mut world);
            let body = format!(r#"{{"error":"{error}"}}"#);
            world.arrive(call, &faq::bridge::Reply::new(400, body));
            assert!(matches!(world.told().last(), Some(Tell::AppAtFault { .. })), "{error}");
            assert!(matches!(world.session.phase().grant, Grant::Linked));
        }
        let mut world = World::linked(MODELS[0]);
        world.wait(HOUR);
        let call = open_call(&mut world);
        let body = r#"{"error":"invalid_grant","error_description":"Incorrect Token type or clientID"}"#;
        world.arrive(call, &faq::bridge::Reply::new(400, body));
        assert!(matches!(world.told().last(), Some(Tell::AppAtFault { .. })));
    }

    fn open_call(world: &mut World) -> evergrant::Call {
        world.faults.push_back(Fault::Silent(false));
        let _ = world.input("demand", Input::Demand);
        world.session.phase().in_flight().expect("a refresh is in flight")
    }
}

mod ref_5 {
    use super::*;

    fn first(world: &World, around: Surroundings) -> (Kind, Weight) {
        let diagnosis = world.session.diagnosis(world.now(), around).expect("it is explained");
        assert_eq!(diagnosis.causes().count(), 6);
        let cause = diagnosis.causes().next().unwrap();
        (cause.kind, cause.weight)
    }

    /// Without the rule all six would look alike, as they do on the wire.
    #[test]
    fn what_is_known_comes_first() {
        for model in MODELS {
            let nothing = Surroundings::default();
            // Expired by the clock.
            let mut world = World::linked(model);
            world.wait(REFRESH_LIFE);
            let _ = world.tick();
            assert_eq!(first(&world, nothing), (Kind::Expired, Weight::Likely));
            // Not the latest token: an answer is missing.
            let mut world = World::linked(model);
            world.wait(2 * DAY);
            world.faults.extend([Fault::LostAfter, Fault::InvalidGrant]);
            let _ = world.demand();
            world.live(30);
            assert_eq!(first(&world, nothing), (Kind::NotLatest, Weight::Likely));
            // An outage: others are refused as well.
            let mut world = World::linked(model);
            world.wait(HOUR);
            world.faults.push_back(Fault::InvalidGrant);
            let _ = world.demand();
            let others = Surroundings { others_refused: Some(40), ..nothing };
            assert_eq!(first(&world, others), (Kind::Outage, Weight::Likely));
            // A cached value: the store has a newer one.
            let newer = Surroundings { store_is_newer: Some(true), ..nothing };
            assert_eq!(first(&world, newer), (Kind::Cached, Weight::Likely));
            // Revoked: the disconnect redirect came.
            let _ = world.input("disconnected", Input::Disconnected);
            assert_eq!(first(&world, nothing), (Kind::Revoked, Weight::Likely));
        }
    }

    /// Where nothing is known, the FAQ's own order.
    #[test]
    fn in_the_faqs_order_among_equals() {
        let mut world = World::linked(MODELS[0]);
        world.wait(HOUR);
        world.faults.push_back(Fault::InvalidGrant);
        let _ = world.demand();
        let diagnosis = world.session.diagnosis(world.now(), Surroundings::default()).unwrap();
        let order: Vec<Kind> = diagnosis.causes().map(|cause| cause.kind).collect();
        assert_eq!(
            order,
            [Kind::NotLatest, Kind::Outage, Kind::Cached, Kind::Revoked, Kind::Expired, Kind::ExchangedTwice]
        );
    }
}

mod ref_6 {
    use super::*;

    proptest! {
        /// Without the rule a dead token would be kept, and sent one day.
        #[test]
        fn nothing_of_it_is_kept(model in model(), later in 0..(200 * DAY), unanswered: bool) {
            let mut world = World::linked(model);
            let held = world.held();
            if unanswered {
                world.outage = Some(Outage::Lost);
            }
            let _ = world.input("revoke", Input::Revoke).unwrap();
            world.live(DAY);
            world.outage = None;
            let ended = matches!(
                world.session.phase().grant,
                Grant::Closed { reason: Reason::Revoked | Reason::RevokeUnanswered, .. }
            );
            prop_assert!(ended, "{:?}", world.session.phase());
            prop_assert!(!world.record().contains(&held[0]));
            let sent = world.log.iter().filter(|entry| matches!(entry, Entry::Sent(_))).count();
            world.live(later);
            for input in [Input::Tick, Input::Demand, Input::Refresh, Input::Disconnected, Input::Revoke] {
                let _ = world.input("any", input);
            }
            world.crash();
            let _ = world.demand();
            prop_assert_eq!(world.log.iter().filter(|entry| matches!(entry, Entry::Sent(_))).count(), sent);
            prop_assert_eq!(world.sent(Purpose::Refresh).count(), 0);
        }
    }
}
