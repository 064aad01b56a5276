//! What is a stale refresh token?

use evergrant::{Purpose, Reason, Tell};
use evergrant_emulator::authority::{Cause, ClientAuth, Policy, RefreshState, TokenRequest};
use faq::world::{CLIENT, DAY, Fault, HOUR, MODELS, Outage, World};
use proptest::prelude::*;

fn model() -> impl Strategy<Value = Policy> {
    prop::sample::select(MODELS.to_vec())
}

mod sta_1 {
    use super::*;

    proptest! {
        /// Without the rule an old token would be kept beside the new one, to be mixed up with it one day.
        #[test]
        fn a_new_token_leaves_nothing_of_the_old_one(model in model(), after in (DAY + 1)..(90 * DAY)) {
            let mut world = World::linked(model);
            let old = world.refresh_token();
            world.wait(after);
            prop_assert!(world.demand().is_some());
            prop_assert_eq!(world.held().len(), 1);
            prop_assert_ne!(&world.held()[0], &old);
            prop_assert!(!world.record().contains(&old), "the record holds it still");
            let state = world.intuit.refresh_token_state(world.time, &old).unwrap();
            let current = matches!(state, RefreshState::Current { .. });
            prop_assert!(!current);
        }
    }
}

/// Binds the authority: tested on it, and on what the session makes of it.
mod sta_2 {
    use super::*;

    fn refresh(world: &mut World, token: &str) -> Result<(), Cause> {
        let request = TokenRequest::refresh(ClientAuth::basic(CLIENT, "sandbox-canary-secret"), token);
        world.intuit.token(world.time, &request).map(drop).map_err(|error| error.cause)
    }

    proptest! {
        /// A stale token works for a day at most, and never past its own end.
        #[test]
        fn a_day_at_most(after in (DAY + 1)..(101 * DAY), later in 0..(2 * DAY)) {
            for model in MODELS {
                let mut world = World::linked(model);
                let old = world.refresh_token();
                let end = world.session.phase().usable().unwrap().rolling_end().unix();
                world.wait(after.min(end - faq::world::START - 1));
                prop_assert!(world.demand().is_some());
                let stale_since = world.time;
                world.wait(later);
                let grace = if model == Policy::HARD { 0 } else { DAY };
                let dies = (stale_since + grace).min(end);
                let worked = refresh(&mut world, &old);
                prop_assert_eq!(worked.is_ok(), world.time < dies, "{:?} {}", worked, world.time - stale_since);
            }
        }

        /// The session's own replay never reaches past that day, so it never relies on more than the authority gives.
        #[test]
        fn the_sessions_patience_is_no_longer_than_the_grace(after in (DAY + 1)..(80 * DAY)) {
            for model in MODELS {
                let mut world = World::linked(model);
                world.wait(after);
                world.faults.push_back(Fault::LostAfter);
                prop_assert_eq!(world.demand(), None);
                let lost = world.sent(Purpose::Refresh).last().unwrap().at;
                world.outage = Some(Outage::Lost);
                world.live(3 * DAY);
                let last = world.sent(Purpose::Refresh).last().unwrap().at;
                prop_assert!(last < lost + DAY, "sent again {} s later", last - lost);
            }
        }
    }
}

mod sta_3 {
    use super::*;

    proptest! {
        /// Without the rule a token that is known to be old would be sent, and the authority would take it for theft.
        #[test]
        fn what_is_known_to_be_stale_is_not_sent(
            model in model(),
            waits in prop::collection::vec((DAY + 1)..(30 * DAY), 2..8),
            lost in prop::collection::vec(any::<bool>(), 8),
        ) {
            let mut world = World::linked(model);
            let mut replaced: Vec<String> = Vec::new();
            for (wait, lost) in waits.iter().zip(lost) {
                world.wait(*wait);
                let before = world.refresh_token();
                // Where rotation is hard, a lost answer ends the grant: that is another rule's.
                if lost && model != Policy::HARD {
                    world.faults.push_back(Fault::LostAfter);
                }
                let sent = world.sent(Purpose::Refresh).count();
                let _ = world.demand();
                world.live(2 * HOUR);
                let _ = world.demand();
                let again = world.sent(Purpose::Refresh).skip(sent).any(|sent| replaced.contains(&sent.secret));
                prop_assert!(!again, "a stale token was sent");
                if !world.held().contains(&before) {
                    replaced.push(before);
                }
            }
        }
    }

    /// Two tokens of which nobody knows which is newer are both kept, until one of them has been refreshed.
    #[test]
    fn candidates_are_settled_by_a_refresh() {
        for model in MODELS {
            let (mut world, ours, theirs) = fenced_out(model, true);
            assert_eq!(world.held().len(), if ours == theirs { 1 } else { 2 }, "both are candidates");
            assert!(world.held().contains(&ours) && world.held().contains(&theirs));
            world.live(2 * HOUR);
            assert!(world.demand().is_some());
            assert_eq!(world.held().len(), 1, "one has been refreshed: the other is stale");
            let current = world.refresh_token();
            let stale = [ours, theirs].into_iter().find(|token| *token != current);
            let settled = world.sent(Purpose::Refresh).count();
            world.live(10 * DAY);
            assert!(world.demand().is_some());
            let again =
                world.sent(Purpose::Refresh).skip(settled).any(|sent| Some(&sent.secret) == stale.as_ref());
            assert!(!again, "{model:?}");
        }
    }

    /// The current one is refused, the candidate works: it is tried in the same round.
    #[test]
    fn a_candidate_is_tried_when_the_current_one_is_refused() {
        let (mut world, _, _) = fenced_out(Policy::HARD, false);
        world.wait(2 * HOUR);
        assert!(world.demand().is_some());
        assert!(world.told().any(|tell| tell == Tell::NextCandidate));
    }

    /// Two processes refresh one after the other, without the store between them: the second is fenced out, and merges.
    fn fenced_out(model: Policy, both_refresh: bool) -> (World, String, String) {
        let mut world = World::linked(model);
        let stored = world.store.text.clone().unwrap();
        world.wait(DAY + HOUR);
        assert!(world.demand().is_some());
        let ours = world.refresh_token();
        // The other one began from the same record, and its write came first.
        let theirs = tokens_of_another(&mut world, &stored, both_refresh);
        let record = evergrant::Record::read(theirs.0.as_bytes()).unwrap();
        let (app, now) = (world.app, world.now());
        let effects = world.session.merge(&app, now, &record).unwrap();
        if effects.store.is_some() {
            assert!(world.save());
        }
        (world, ours, theirs.1)
    }

    /// Another process, which began from the same record and never saw what this one stored: its record and its token.
    fn tokens_of_another(world: &mut World, stored: &str, refreshes: bool) -> (String, String) {
        let mut other = World::new(Policy::GRACE);
        other.time = world.time;
        other.session = faq::world::restore(&world.app, stored);
        other.store.text = Some(stored.into());
        std::mem::swap(&mut other.intuit, &mut world.intuit);
        if refreshes {
            let _ = other.demand();
        }
        std::mem::swap(&mut other.intuit, &mut world.intuit);
        (other.store.text.clone().unwrap_or_default(), other.refresh_token())
    }
}

mod sta_4 {
    use super::*;

    proptest! {
        /// Without the rule one lost answer would sever the grant, though the authority would have taken the token again.
        #[test]
        fn a_lost_answer_is_asked_for_again(after in (DAY + 1)..(90 * DAY), crash: bool, outage in 0..(20 * HOUR)) {
            // Under hard rotation the token is dead at once, and nobody can recover it.
            for model in [Policy::GRACE, Policy::STICKY] {
                let mut world = World::linked(model);
                world.wait(after);
                let token = world.refresh_token();
                world.faults.push_back(if crash { Fault::Silent(true) } else { Fault::LostAfter });
                prop_assert_eq!(world.demand(), None);
                if crash {
                    world.crash();
                }
                world.outage = Some(Outage::Lost);
                world.live(outage);
                world.outage = None;
                world.live(2 * HOUR);
                prop_assert!(world.demand().is_some(), "recovered");
                let secrets: Vec<_> = world.sent(Purpose::Refresh).map(|sent| sent.secret.clone()).collect();
                prop_assert!(secrets.iter().filter(|secret| **secret == token).count() >= 2);
            }
        }

        /// After that day it must not: it may have become somebody else's.
        #[test]
        fn not_after_a_day(model in model(), after in (DAY + 1)..(60 * DAY), more in 0..(30 * DAY), demand: bool) {
            let mut world = World::linked(model);
            world.wait(after);
            world.faults.push_back(Fault::LostAfter);
            prop_assert_eq!(world.demand(), None);
            let sent = world.sent(Purpose::Refresh).count();
            world.wait(DAY + more);
            if demand {
                prop_assert_eq!(world.demand(), None);
            } else {
                world.settle();
            }
            prop_assert_eq!(world.sent(Purpose::Refresh).count(), sent);
            prop_assert!(world.told().any(|tell| tell == Tell::Closed(Reason::AnswerLost)));
            prop_assert_eq!(world.session.due(&world.app), evergrant::Due::Consent);
            prop_assert!(!world.held().is_empty(), "the bytes stay (I4)");
        }
    }

    /// The answer turns up after all: nothing was lost.
    #[test]
    fn a_late_answer_is_taken() {
        for model in MODELS {
            for late in [30, HOUR, 2 * DAY, 40 * DAY] {
                let mut world = World::linked(model);
                world.wait(2 * DAY);
                world.faults.push_back(Fault::Late(late));
                assert_eq!(world.demand(), None);
                world.outage = Some(Outage::Lost);
                world.wait(late);
                world.outage = None;
                world.live(2 * HOUR);
                assert!(world.demand().is_some(), "{model:?} {late}");
            }
        }
    }
}

mod sta_5 {
    use super::*;

    proptest! {
        /// Without the rule an authority that keeps the value would look like an error, or like a stale token.
        #[test]
        fn same_or_new_the_user_signs_in_once(model in model(), waits in prop::collection::vec(HOUR..(3 * DAY), 1..20)) {
            let mut world = World::linked(model);
            for wait in waits {
                let before = world.refresh_token();
                world.wait(wait);
                prop_assert!(world.demand().is_some());
                let rotation = match world.refresh_token() == before {
                    true => evergrant::phase::Rotation::Same,
                    false => evergrant::phase::Rotation::New,
                };
                let told = world.told().last();
                prop_assert_eq!(told, Some(Tell::Refreshed(rotation)));
                prop_assert_eq!(world.held().len(), 1);
            }
            prop_assert_eq!(world.callbacks.len(), 1, "one consent");
        }
    }

    /// An answer that brings no refresh token at all means the one that is held, and never an empty one.
    #[test]
    fn no_refresh_token_in_the_answer_is_the_same_one() {
        for empty in [
            (|body| drop(body.as_object_mut().unwrap().remove("refresh_token")))
                as fn(&mut serde_json::Value),
            |body| body["refresh_token"] = "".into(),
            |body| body["refresh_token"] = serde_json::Value::Null,
        ] {
            let mut world = World::linked(Policy::STICKY);
            let before = world.refresh_token();
            world.wait(HOUR);
            world.faults.push_back(Fault::Edit(empty));
            assert!(world.demand().is_some());
            assert_eq!(world.refresh_token(), before);
        }
    }
}
