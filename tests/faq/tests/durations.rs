//! How long do tokens live?

use evergrant::{Due, Error, Provider, Purpose, Reason, Refused, Tell};
use evergrant_emulator::authority::{Lifetimes, Policy};
use faq::world::{DAY, Entry, Fault, HOUR, MODELS, REFRESH_LIFE, START, World};
use proptest::prelude::*;

fn model() -> impl Strategy<Value = Policy> {
    prop::sample::select(MODELS.to_vec())
}

/// A world whose authority issues tokens of these lifetimes.
fn world_with(model: Policy, access_token: u64, refresh_token: u64) -> World {
    let mut world = World::with(model, |config| {
        config.lifetimes = Lifetimes { access_token, refresh_token, ..Lifetimes::default() };
    });
    world.link(evergrant::Scopes::ACCOUNTING);
    world
}

mod dur_1 {
    use super::*;

    proptest! {
        /// Without the rule a dead access token would be handed out, and the API would refuse it.
        #[test]
        fn it_is_handed_out_until_its_last_second(model in model(), life in 1_u64..80_000, after in 0_u64..100_000) {
            let mut world = world_with(model, life, REFRESH_LIFE);
            world.wait(after);
            prop_assert_eq!(world.access().is_some(), after < life);
            let Some(Entry::Handed { works, .. }) = world.log.last() else { return Ok(()) };
            prop_assert!(works);
        }

        /// However slow the answer was: it counts from when it was asked for.
        #[test]
        fn a_slow_answer_makes_no_token_younger(model in model(), slow in 0_u64..600) {
            let mut world = World::linked(model);
            world.wait(HOUR);
            world.faults.push_back(Fault::Slow(slow));
            prop_assert!(world.demand().is_some());
            world.wait(HOUR - slow);
            prop_assert_eq!(world.access(), None);
        }
    }

    /// The figure of the FAQ where the answer does not say, and the answer's where it does.
    #[test]
    fn an_hour_unless_the_answer_says_otherwise() {
        for model in MODELS {
            let mut world = World::linked(model);
            world
                .faults
                .push_back(Fault::Edit(|body| drop(body.as_object_mut().unwrap().remove("expires_in"))));
            world.wait(HOUR);
            assert!(world.demand().is_some());
            world.wait(3_599);
            assert!(world.access().is_some());
            world.wait(1);
            assert!(world.access().is_none());
        }
    }
}

mod dur_2 {
    use super::*;

    proptest! {
        /// Without the rule the rejected token would be handed out again, and rejected again.
        #[test]
        fn a_rejected_token_is_not_handed_out_again(model in model(), after in 61_u64..3_599) {
            let mut world = World::linked(model);
            let old = world.access().unwrap();
            world.wait(after);
            // The API rejects it, though it should be good: whatever the reason, it is not used again.
            let serial = world.session.access_token(world.now()).unwrap().serial();
            let meaning = evergrant::api::judge(401, br#"{"fault":{"error":[{"code":"3200"}]}}"#);
            let effects = world.input("api", evergrant::Input::Api { serial, meaning }).unwrap();
            prop_assert!(effects.send.is_some(), "a refresh follows");
            let new = world.access();
            prop_assert!(new.is_some() && new != Some(old));
        }

        /// A 401 that was under way while a refresh came says nothing of the new token.
        #[test]
        fn a_late_rejection_of_an_old_token_costs_nothing(model in model()) {
            let mut world = World::linked(model);
            let serial = world.session.access_token(world.now()).unwrap().serial();
            world.wait(HOUR);
            let new = world.demand();
            let meaning = evergrant::api::Meaning::TokenExpired;
            let refused = world.input("api", evergrant::Input::Api { serial, meaning });
            prop_assert_eq!(refused, Err(Error::Refused(Refused::OtherToken)));
            prop_assert_eq!(world.access(), new);
        }
    }

    /// Expired in truth: the API says so, a refresh follows, the next request is served.
    #[test]
    fn the_api_is_believed() {
        for model in MODELS {
            let mut world = World::linked(model);
            world.wait(HOUR - 1);
            world.set_clock(faq::world::Clock::Off(-600));
            world.wait(1);
            assert_eq!(world.call_api(), Some(401));
            assert_eq!(world.call_api(), Some(200));
        }
    }
}

mod dur_3 {
    use super::*;

    proptest! {
        /// Without the rule the end would be guessed: too early, and a good grant is given up; too late, and it dies.
        #[test]
        fn the_answers_figure_rules(model in model(), life in (2 * DAY)..(400 * DAY)) {
            let world = world_with(model, 3_600, life);
            let held = world.session.phase().usable().unwrap();
            prop_assert_eq!(held.rolling_end().unix(), START + life);
        }
    }

    #[test]
    fn a_hundred_days_where_the_answer_does_not_say() {
        assert_eq!(Provider::INTUIT_PRODUCTION.policy.refresh_for, 100 * 86_400);
        for model in MODELS {
            let mut world = World::new(model);
            world.faults.push_back(Fault::Edit(|body| {
                drop(body.as_object_mut().unwrap().remove("x_refresh_token_expires_in"));
            }));
            world.link(evergrant::Scopes::ACCOUNTING);
            let held = world.session.phase().usable().unwrap();
            assert_eq!(held.rolling_end().unix(), START + 100 * DAY);
        }
    }

    /// A number as text counts; what is no lifetime costs neither the tokens nor the default.
    #[test]
    fn absurd_figures_cost_nothing() {
        for edit in [
            (|body| body["x_refresh_token_expires_in"] = "8640000".into()) as fn(&mut serde_json::Value),
            |body| body["x_refresh_token_expires_in"] = (-1).into(),
            |body| body["x_refresh_token_expires_in"] = 0.into(),
            |body| body["x_refresh_token_expires_in"] = "soon".into(),
            |body| body["x_refresh_token_expires_in"] = serde_json::Value::Null,
        ] {
            let mut world = World::new(MODELS[0]);
            world.faults.push_back(Fault::Edit(edit));
            world.link(evergrant::Scopes::ACCOUNTING);
            let held = world.session.phase().usable().unwrap();
            assert_eq!(held.rolling_end().unix(), START + 8_640_000);
            assert!(world.access().is_some());
        }
    }
}

mod dur_4 {
    use super::*;

    proptest! {
        /// Without the rule a refresh would send a token that the authority has replaced.
        #[test]
        fn each_refresh_sends_what_the_latest_answer_brought(
            model in model(),
            waits in prop::collection::vec(HOUR..(20 * DAY), 1..12),
        ) {
            let mut world = World::linked(model);
            for wait in waits {
                world.wait(wait);
                prop_assert!(world.demand().is_some());
            }
            let mut latest = None;
            for entry in &world.log {
                match entry {
                    Entry::Arrived { tokens: Some((_, refresh)), .. } => latest = Some(refresh.clone()),
                    Entry::Sent(sent) if sent.call.purpose == Purpose::Refresh => {
                        prop_assert_eq!(Some(&sent.secret), latest.as_ref());
                    }
                    _ => {}
                }
            }
        }

        /// Also after a restart between any two of them.
        #[test]
        fn a_restart_does_not_bring_an_old_one_back(model in model(), waits in prop::collection::vec(HOUR..(20 * DAY), 1..8)) {
            let mut world = World::linked(model);
            for wait in waits {
                world.wait(wait);
                world.crash();
                let before = world.refresh_token();
                prop_assert!(world.demand().is_some());
                let sent = world.sent(Purpose::Refresh).last().unwrap();
                prop_assert_eq!(&sent.secret, &before);
            }
        }
    }
}

mod dur_5 {
    use super::*;

    proptest! {
        /// Without the rule a grant in use would die a hundred days after its consent.
        #[test]
        fn a_new_token_begins_a_new_life(after in (2 * DAY)..(99 * DAY)) {
            for model in MODELS {
                let mut world = World::linked(model);
                world.wait(after);
                prop_assert!(world.demand().is_some());
                let held = world.session.phase().usable().unwrap();
                prop_assert_eq!(held.rolling_end().unix(), START + after + REFRESH_LIFE);
            }
        }

        /// And the same token keeps the end that it had (wire-facts C3).
        #[test]
        fn the_same_token_keeps_its_end(after in HOUR..(DAY - 1)) {
            let mut world = World::linked(Policy::STICKY);
            world.wait(after);
            prop_assert!(world.demand().is_some());
            let held = world.session.phase().usable().unwrap();
            prop_assert_eq!(held.rolling_end().unix(), START + REFRESH_LIFE);
        }
    }
}

mod dur_6 {
    use super::*;

    proptest! {
        /// Without the rule dead tokens would be sent, and the user would not be told that he is needed.
        #[test]
        fn an_expired_token_is_not_sent(model in model(), life in (2 * DAY)..(200 * DAY), over in 0_u64..(400 * DAY), ticks: bool) {
            let mut world = world_with(model, 3_600, life);
            world.wait(life + over);
            let told = if ticks { world.tick() } else { world.input("demand", evergrant::Input::Demand) };
            prop_assert_eq!(told.unwrap().tell, Some(Tell::Closed(Reason::Expired)));
            prop_assert_eq!(world.demand(), None);
            prop_assert_eq!(world.sent(Purpose::Refresh).count(), 0);
            prop_assert_eq!(world.session.due(&world.app), Due::Consent);
        }

        /// A second before the end it is still sent.
        #[test]
        fn until_its_last_second_it_is(model in model(), life in (2 * DAY)..(200 * DAY)) {
            let mut world = world_with(model, 3_600, life);
            world.wait(life - 1);
            prop_assert!(world.demand().is_some());
        }
    }
}

mod dur_7 {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

        /// Without the rule a grant would wear out: hundreds of refreshes, each before the end, over years.
        #[test]
        fn any_number_of_refreshes(model in model(), waits in prop::collection::vec(HOUR..(9 * DAY), 350)) {
            let mut world = World::linked(model);
            let mut refreshed = 0_usize;
            for wait in waits {
                if world.time + wait > START + 4 * 365 * DAY {
                    break;
                }
                world.wait(wait);
                prop_assert!(world.demand().is_some(), "after {refreshed} refreshes");
                refreshed += 1;
            }
            prop_assert_eq!(world.sent(Purpose::Refresh).count(), refreshed);
        }
    }

    /// An authority whose grants never end: the counters do not either, short of 2^32 calls.
    #[test]
    fn ten_years_of_renewal_with_nobody_asking() {
        for model in MODELS {
            let mut world = World::with(model, |config| config.lifetimes.grant = 40 * 365 * DAY);
            world.link(evergrant::Scopes::ACCOUNTING);
            for _ in 0..10 {
                world.live(365 * DAY);
                assert!(world.demand().is_some());
            }
        }
    }
}

mod dur_8 {
    use super::*;

    proptest! {
        /// Without the rule a grant that nobody asks for would die of age.
        #[test]
        fn it_is_renewed_ahead_of_its_end(model in model(), days in 101_u64..700, life in (30 * DAY)..(200 * DAY)) {
            let mut world = world_with(model, 3_600, life);
            let Due::Tick(at) = world.session.due(&world.app) else { panic!("nothing is due") };
            let end = world.session.phase().usable().unwrap().rolling_end();
            prop_assert!(at < end, "ahead of the end");
            prop_assert!(end.since(at) >= 86_400, "and not in the last moment");
            world.live(days * DAY);
            prop_assert!(world.session.phase().usable().is_some());
            prop_assert!(world.demand().is_some());
        }

        /// The deadline survives a restart, being a function of what is stored.
        #[test]
        fn the_deadline_survives_a_restart(model in model(), after in 0..(80 * DAY)) {
            let mut world = World::linked(model);
            world.wait(after);
            let due = world.session.due(&world.app);
            world.crash();
            prop_assert_eq!(world.session.due(&world.app), due);
        }
    }
}
