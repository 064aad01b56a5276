//! What is each token for?

use evergrant::{Purpose, Reason, Request};
use evergrant_emulator::authority::{Lifetimes, Policy};
use faq::bridge::Letter;
use faq::script::Script;
use faq::world::{Entry, Fault, HOUR, MODELS, World};
use proptest::prelude::*;

fn model() -> impl Strategy<Value = Policy> {
    prop::sample::select(MODELS.to_vec())
}

mod use_1 {
    use super::*;

    proptest! {
        /// Without the rule a token would stand in an address, and so in logs, histories and referrers.
        #[test]
        fn it_stands_in_the_header_and_nowhere_else(model in model(), path in "/[a-z0-9/]{0,40}") {
            let mut world = World::linked(model);
            let text = world.access().unwrap();
            let token = world.session.access_token(world.now()).unwrap();
            for request in [Request::api(&world.app, token, &path), Request::userinfo(&world.app, token)] {
                let request = request.unwrap();
                let mut buffer = vec![0; request.length()];
                let letter = Letter::of(&request.write(&mut buffer).unwrap());
                let bearer = format!("Bearer {text}");
                prop_assert_eq!(letter.header("authorization"), Some(bearer.as_str()));
                prop_assert!(!letter.url.contains(&text) && !letter.body.contains(&text));
                let headers = letter.headers.iter().filter(|(_, value)| value.contains(&text)).count();
                prop_assert_eq!(headers, 1);
                let shown = format!("{request:?} {token:?}");
                prop_assert!(!shown.contains(&text));
            }
        }
    }

    /// The API takes it there; each request carries it.
    #[test]
    fn each_request_carries_it() {
        for model in MODELS {
            let mut world = World::linked(model);
            assert_eq!(world.call_api(), Some(200));
            assert_eq!(world.call_api(), Some(200));
            let mut buffer = [0; 64];
            let token = world.session.access_token(world.now()).unwrap();
            assert_eq!(token.authorization(&mut buffer).unwrap(), format!("Bearer {}", token.expose()));
        }
    }
}

mod use_2 {
    use super::*;

    proptest! {
        /// Without the rule a token that is good for a hundred days would go where one of an hour belongs. That no other
        /// request can be made with it at all is a test of the compiler's: see the crate's text.
        #[test]
        fn it_goes_to_two_endpoints_in_the_body(first in 0_u8..64, pairs in prop::collection::vec(any::<[u8; 2]>(), 0..40)) {
            let mut bytes = vec![first];
            bytes.extend(pairs.concat());
            let mut world = Script::from_bytes(&bytes).run();
            let _ = world.demand();
            let _ = world.input("revoke", evergrant::Input::Revoke);
            let provider = world.app.provider();
            for entry in &world.log {
                let Entry::Sent(sent) = entry else { continue };
                let endpoint = match sent.call.purpose {
                    Purpose::Exchange | Purpose::Refresh => provider.token_endpoint,
                    Purpose::Revoke => provider.revocation_endpoint,
                };
                prop_assert_eq!(&sent.letter.url, endpoint);
                prop_assert!(!sent.letter.headers.iter().any(|(_, value)| value.contains(&sent.secret)));
            }
        }

        /// An API request holds no refresh token.
        #[test]
        fn no_api_request_holds_it(model in model(), path in "/[a-z0-9/]{0,40}") {
            let world = World::linked(model);
            let token = world.session.access_token(world.now()).unwrap();
            let request = Request::api(&world.app, token, &path).unwrap();
            let mut buffer = vec![0; request.length()];
            let letter = Letter::of(&request.write(&mut buffer).unwrap());
            let whole = format!("{letter:?}");
            prop_assert!(!whole.contains(&world.refresh_token()));
        }
    }
}

mod use_3 {
    use super::*;

    proptest! {
        /// Without the rule an access token would outlive the grant that it came from.
        #[test]
        fn not_after_the_refresh_tokens_end(model in model(), life in 60_u64..3_500, after in 0_u64..4_000) {
            let mut world = World::with(model, |config| {
                config.lifetimes = Lifetimes { refresh_token: life, ..Lifetimes::default() };
            });
            world.link(evergrant::Scopes::ACCOUNTING);
            world.wait(after);
            prop_assert_eq!(world.access().is_some(), after < life);
        }

        /// From the moment in which the app revokes, whatever the answer.
        #[test]
        fn not_after_a_revocation(model in model(), kind in 0_usize..4) {
            let fault = [None, Some(Fault::LostBefore), Some(Fault::Status(503)), Some(Fault::NotSent)][kind];
            let mut world = World::linked(model);
            world.faults.extend(fault);
            let _ = world.input("revoke", evergrant::Input::Revoke).unwrap();
            prop_assert_eq!(world.access(), None);
            world.crash();
            prop_assert_eq!(world.access(), None);
            prop_assert_eq!(world.demand(), None);
        }

        /// From the moment in which the exchange is seen to be poisoned.
        #[test]
        fn not_after_a_poisoned_exchange(model in model(), turned: bool) {
            let mut world = World::new(model);
            world.faults.push_back(if turned { Fault::RequestTwiceTurned } else { Fault::RequestTwice });
            world.link(evergrant::Scopes::ACCOUNTING);
            world.wait(1);
            prop_assert_eq!(world.access(), None);
            world.wait(HOUR / 2);
            prop_assert_eq!(world.demand(), None);
        }
    }

    /// After an end of any kind nothing is handed out.
    #[test]
    fn not_after_any_end() {
        for model in MODELS {
            let mut world = World::linked(model);
            world.disconnect();
            let _ = world.input("disconnected", evergrant::Input::Disconnected).unwrap();
            world.live(8 * HOUR);
            let phase = *world.session.phase();
            let closed =
                matches!(phase.grant, evergrant::phase::Grant::Closed { reason: Reason::Disconnected, .. });
            assert!(closed, "{phase:?}");
            assert_eq!(world.demand(), None);
        }
    }
}
