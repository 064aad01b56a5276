//! How is a callback known to be ours?

use std::collections::BTreeSet;

use evergrant::{
    App, Callback, CallbackError, ClientSecret, Error, Input, Keys, Provider, Purpose, Refused, Scopes,
    Signed, SignedAsk, StateKey, Time, signed_url,
};
use evergrant_emulator::authority::{Decision, Policy};
use faq::bridge;
use faq::world::{HOUR, KEYS, Life, MODELS, REALM, REDIRECT, START, World, approve, sandbox};
use proptest::prelude::*;

fn model() -> impl Strategy<Value = Policy> {
    prop::sample::select(MODELS.to_vec())
}

fn state_of(url: &str) -> String {
    bridge::browse(url).state.unwrap()
}

fn signed(random: [u8; 16]) -> SignedAsk<'static> {
    SignedAsk {
        redirect_uri: REDIRECT,
        scopes: Scopes::ACCOUNTING,
        random,
        carry: b"cart 7",
        binding: b"cookie",
    }
}

fn signed_state(app: &App<'_>, at: u64, ask: &SignedAsk<'_>) -> String {
    let mut buffer = [0; 1_024];
    state_of(signed_url(app, Time::from_unix(at), ask, &mut buffer).unwrap())
}

fn answered(state: &str) -> String {
    format!("{REDIRECT}?code=abc&state={state}&realmId={REALM}")
}

mod csr_1 {
    use super::*;

    proptest! {
        /// Without the rule one consent's callback would fit another.
        #[test]
        fn every_request_has_a_state_of_its_own(randoms in prop::collection::btree_set(any::<[u8; 32]>(), 2..20)) {
            let app = sandbox();
            let mut states = BTreeSet::new();
            for half in &randoms {
                let mut random = [0; 64];
                random[..32].copy_from_slice(half);
                let mut world = World::new(MODELS[0]);
                let ask = evergrant::Ask { redirect_uri: REDIRECT, scopes: Scopes::OPENID, random };
                let _ = world.input("ask", Input::Ask(ask)).unwrap();
                states.insert(state_of(&world.url().unwrap()));
            }
            prop_assert_eq!(states.len(), randoms.len());
            let first = signed_state(&app, START, &signed([1; 16]));
            prop_assert_ne!(first, signed_state(&app, START, &signed([2; 16])));
        }
    }

    /// The authority wants one, and gives it back.
    #[test]
    fn the_authority_brings_it_back() {
        for model in MODELS {
            let mut world = World::new(model);
            let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
            let back = world.decide(&url, approve()).unwrap();
            let callback = Callback::parse(&back, "realmId").unwrap();
            assert!(callback.state.unwrap().is(&state_of(&url)));
        }
    }

    /// A second request supersedes the first, whose callback fits nothing any more.
    #[test]
    fn the_first_requests_callback_fits_nothing_after_a_second() {
        let mut world = World::new(MODELS[0]);
        let first = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
        let second = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
        let old = world.decide(&first, approve()).unwrap();
        assert_eq!(world.callback(&old), Err(Error::Callback(CallbackError::StateMismatch)));
        let new = world.decide(&second, approve()).unwrap();
        assert!(world.callback(&new).is_ok());
    }
}

/// That the comparison takes the same time whatever differs is not tested: it is made by a crate that promises it.
mod csr_2 {
    use super::*;

    proptest! {
        /// Without the rule an attacker's code would be exchanged into the victim's session.
        #[test]
        fn another_state_is_refused(model in model(), at in 0_usize..43, flip in 1_u8..64, cut in 0_usize..43) {
            let mut world = World::new(model);
            let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
            let state = state_of(&url);
            let mut bytes = state.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' + flip % 26 { b'_' } else { b'A' + flip % 26 };
            let other = String::from_utf8(bytes).unwrap();
            for wrong in [other.as_str(), &state[..cut], &format!("{state}A"), ""] {
                let refused = world.callback(&answered(wrong));
                prop_assert_eq!(refused, Err(Error::Callback(CallbackError::StateMismatch)));
            }
            prop_assert_eq!(world.sent(Purpose::Exchange).count(), 0);
        }

        /// Once: the same callback again is known, and changes nothing, before and after a restart.
        #[test]
        fn it_is_accepted_once(model in model(), crash: bool, later in 0..(2 * HOUR)) {
            let mut world = World::linked(model);
            let back = world.callbacks[0].clone();
            world.wait(later);
            if crash {
                world.crash();
            }
            let before = world.record();
            prop_assert!(world.callback(&back).is_err());
            prop_assert_eq!(world.record(), before);
            prop_assert_eq!(world.sent(Purpose::Exchange).count(), 1);
        }

        /// Only while it is pending.
        #[test]
        fn not_after_its_end(model in model(), later in HOUR..(48 * HOUR)) {
            let mut world = World::new(model);
            let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
            world.wait(later);
            let back = world.decide(&url, approve()).unwrap();
            let refused = world.callback(&back);
            prop_assert_eq!(refused, Err(Error::Refused(Refused::ConsentExpired)));
        }
    }

    #[test]
    fn none_is_pending_so_none_is_accepted() {
        let mut world = World::new(MODELS[0]);
        assert_eq!(world.callback(&answered(&"A".repeat(43))), Err(Error::Refused(Refused::NoConsent)));
        let without = format!("{REDIRECT}?code=abc&realmId={REALM}");
        world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
        assert_eq!(world.callback(&without), Err(Error::Callback(CallbackError::NoState)));
    }
}

mod csr_3 {
    use super::*;

    proptest! {
        /// Without the rule a `state` could be guessed.
        #[test]
        fn it_is_long_and_each_random_bit_is_in_it(random: [u8; 32], bit in 0_usize..256) {
            let state = |random: [u8; 32]| {
                let mut world = World::new(MODELS[0]);
                let mut both = [0; 64];
                both[..32].copy_from_slice(&random);
                let ask = evergrant::Ask { redirect_uri: REDIRECT, scopes: Scopes::OPENID, random: both };
                let _ = world.input("ask", Input::Ask(ask)).unwrap();
                state_of(&world.url().unwrap())
            };
            let one = state(random);
            prop_assert!(one.len() >= 30, "{} characters", one.len());
            prop_assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
            let mut other = random;
            other[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(one, state(other), "bit {} does not count", bit);
        }
    }
}

mod csr_4 {
    use super::*;

    proptest! {
        /// Without the rule a state could be made by anybody, or moved to another browser.
        #[test]
        fn any_change_makes_it_another(random: [u8; 16], at: prop::sample::Index, other_binding in "[a-z]{0,10}") {
            let app = sandbox();
            let state = signed_state(&app, START, &signed(random));
            let opened = Signed::open(&app, &state, b"cookie").unwrap();
            prop_assert_eq!(opened.carry(), b"cart 7");
            prop_assume!(other_binding != "cookie");
            prop_assert!(Signed::open(&app, &state, other_binding.as_bytes()).is_err(), "bound to the browser");
            let mut bytes = state.into_bytes();
            // The last character may hold spare bits alone; all before it count.
            let index = 2 + at.index(bytes.len() - 3);
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).unwrap();
            prop_assert!(Signed::open(&app, &forged, b"cookie").is_err());
        }

        /// The key stays on the back end: another key makes other states, and a weak one is refused.
        #[test]
        fn another_key_is_nothing(key in prop::collection::vec(any::<u8>(), 0..80)) {
            let keys = Keys { state_key: Some(StateKey::new(&key)), ..KEYS };
            let app = App::new(&Provider::INTUIT_SANDBOX, keys);
            prop_assert_eq!(app.is_ok(), key.len() >= 32);
            let Ok(app) = app else { return Ok(()) };
            let state = signed_state(&app, START, &signed([1; 16]));
            prop_assert!(Signed::open(&sandbox(), &state, b"cookie").is_err());
        }

        /// Nothing is stored for it; it is accepted until it expires, and once.
        #[test]
        fn it_expires_and_is_used_once(after in 0_u64..(3 * HOUR)) {
            let app = sandbox();
            let state = signed_state(&app, START, &signed([1; 16]));
            let mut session = Life::new(&app);
            let now = Time::from_unix(START + after);
            let text = answered(&state);
            let input = Input::Callback { text: &text, binding: b"cookie" };
            let accepted = session.handle(&app, now, input);
            prop_assert_eq!(accepted.is_ok(), after < HOUR, "{:?}", accepted);
            if accepted.is_ok() {
                prop_assert!(session.handle(&app, now, input).is_err());
            }
        }
    }

    /// The whole way with the authority: a consent that nobody stored.
    #[test]
    fn a_consent_with_nothing_stored() {
        for model in MODELS {
            let mut world = World::new(model);
            let mut buffer = [0; 1_024];
            let url = signed_url(&world.app, world.now(), &signed([4; 16]), &mut buffer).unwrap().to_owned();
            let back = world.decide(&url, approve()).unwrap();
            world.wait(60);
            let _ = world.input("callback", Input::Callback { text: &back, binding: b"cookie" }).unwrap();
            assert!(world.access().is_some());
            assert_eq!(world.session.scopes(), Scopes::ACCOUNTING);
            let again = world.input("callback", Input::Callback { text: &back, binding: b"cookie" });
            assert_eq!(again, Err(Error::Refused(Refused::CodeSpent)));
            world.crash();
            let again = world.input("callback", Input::Callback { text: &back, binding: b"cookie" });
            assert_eq!(again, Err(Error::Refused(Refused::CodeSpent)));
        }
    }

    #[test]
    fn without_a_key_there_is_none() {
        let keys = Keys { state_key: None, client_secret: ClientSecret::new("s"), ..KEYS };
        let app = App::new(&Provider::INTUIT_SANDBOX, keys).unwrap();
        let refused = signed_url(&app, Time::from_unix(START), &signed([1; 16]), &mut [0; 600]).err();
        assert_eq!(refused, Some(Error::NoStateKey));
    }
}

mod csr_5 {
    use super::*;

    proptest! {
        /// Without the rule anybody could end a consent that is under way.
        #[test]
        fn an_error_needs_a_state_as_well(model in model(), error in "[a-z_]{1,20}", state in "[A-Za-z0-9]{0,43}") {
            let mut world = World::linked(model);
            let url = world.ask(REDIRECT, Scopes::PAYMENT).unwrap();
            let before = (world.record(), *world.session.phase());
            for text in [
                format!("{REDIRECT}?error={error}"),
                format!("{REDIRECT}?error={error}&state={state}"),
                format!("{REDIRECT}?error={error}&state={}", "A".repeat(43)),
            ] {
                prop_assert!(world.callback(&text).is_err());
                prop_assert_eq!(&(world.record(), *world.session.phase()), &before, "it changed something");
            }
            let back = world.decide(&url, Decision::Deny).unwrap();
            prop_assert!(world.callback(&back).is_ok(), "the user can still say no himself");
        }

        /// Whatever is refused changes nothing.
        #[test]
        fn a_refused_callback_changes_nothing(model in model(), query in "[a-zA-Z0-9=&%+#?/._-]{0,120}") {
            let mut world = World::new(model);
            let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
            let before = (world.record(), *world.session.phase());
            prop_assert!(world.callback(&query).is_err());
            prop_assert_eq!((world.record(), *world.session.phase()), before);
            let back = world.decide(&url, approve()).unwrap();
            prop_assert!(world.callback(&back).is_ok(), "the right one is still welcome");
        }
    }
}
