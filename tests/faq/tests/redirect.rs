//! What is a redirect URI, and what may it be?

use evergrant::{App, AppError, Ask, Callback, CallbackError, Error, Input, Keys, Provider, Purpose, Scopes};
use evergrant_emulator::authority::{AuthorizeError, Environment, check_redirect_uri};
use faq::bridge;
use faq::world::{KEYS, Life, MODELS, REALM, REDIRECT, TOOL, World, approve, sandbox};
use proptest::prelude::*;

fn ask(redirect_uri: &str) -> Ask<'_> {
    Ask { redirect_uri, scopes: Scopes::ACCOUNTING, random: [5; 64] }
}

fn app_with<'a>(provider: &'a Provider<'a>, uris: &'a [&'a str]) -> Result<App<'a>, AppError> {
    App::new(provider, Keys { redirect_uris: uris, ..KEYS })
}

mod red_1 {
    use super::*;

    proptest! {
        /// Without the rule the user would be sent to Intuit, and to an error page from which nobody comes back.
        #[test]
        fn an_unregistered_address_is_refused_here(path in "[a-z]{1,12}", host in "[a-z]{3,10}") {
            let uri = format!("https://{host}.example/{path}");
            prop_assume!(uri != REDIRECT && uri != TOOL);
            let app = sandbox();
            let mut session = Life::new(&app);
            let now = evergrant::Time::from_unix(faq::world::START);
            let refused = session.handle(&app, now, Input::Ask(ask(&uri)));
            prop_assert_eq!(refused, Err(Error::RedirectUriUnknown));
            prop_assert!(session.authorization_url(&app, &mut [0; 512]).is_err());
        }
    }

    /// The authority shows a page: the app would never hear of it.
    #[test]
    fn the_authority_does_not_send_anybody_back_there() {
        for model in MODELS {
            let mut world = World::new(model);
            let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
            let url = url.replace("app.example", "evil.example");
            assert_eq!(world.decide(&url, approve()), Err(AuthorizeError::RedirectUriNotRegistered));
        }
    }
}

mod red_2 {
    use super::*;

    /// Every way in which an address can be nearly right.
    const NEARLY: [&str; 9] = [
        "https://app.example/Callback",
        "https://APP.example/callback",
        "HTTPS://app.example/callback",
        "http://app.example/callback",
        "https://app.example/callback/",
        "https://app.example:443/callback",
        "https://app.example/call%62ack",
        "https://app.example/callback ",
        "https://app.example//callback",
    ];

    /// Without the rule Intuit would refuse what was let through here.
    #[test]
    fn nearly_right_is_wrong() {
        let app = sandbox();
        let now = evergrant::Time::from_unix(faq::world::START);
        for uri in NEARLY {
            let mut session = Life::new(&app);
            assert_eq!(
                session.handle(&app, now, Input::Ask(ask(uri))),
                Err(Error::RedirectUriUnknown),
                "{uri}"
            );
        }
        let mut session = Life::new(&app);
        assert!(session.handle(&app, now, Input::Ask(ask(REDIRECT))).is_ok());
    }

    proptest! {
        /// Any one letter in the other case is another address.
        #[test]
        fn case_counts(at in 0..REDIRECT.len()) {
            let mut bytes = REDIRECT.as_bytes().to_vec();
            prop_assume!(bytes[at].is_ascii_alphabetic());
            bytes[at] ^= 0x20;
            let uri = String::from_utf8(bytes).unwrap();
            let app = sandbox();
            let now = evergrant::Time::from_unix(faq::world::START);
            let refused = Life::new(&app).handle(&app, now, Input::Ask(ask(&uri)));
            prop_assert_eq!(refused, Err(Error::RedirectUriUnknown));
        }
    }
}

mod red_3 {
    use super::*;

    proptest! {
        /// Without the rule a code would travel in the clear. The sandbox's localhost is the one exception.
        #[test]
        fn only_https(scheme in "[a-z]{2,8}", host in "[a-z]{3,10}\\.example", path in "/[a-z]{0,8}") {
            let uri = format!("{scheme}://{host}{path}");
            let https = scheme == "https";
            for (provider, environment) in [
                (&Provider::INTUIT_SANDBOX, Environment::Sandbox),
                (&Provider::INTUIT_PRODUCTION, Environment::Production),
            ] {
                let refused = app_with(provider, &[&uri]).err();
                prop_assert_eq!(refused, (!https).then_some(AppError::NotHttps(0)));
                prop_assert_eq!(check_redirect_uri(environment, &uri).is_ok(), https);
            }
        }
    }

    #[test]
    fn localhost_in_the_sandbox_alone() {
        let local = ["http://localhost:8000/callback"];
        assert!(app_with(&Provider::INTUIT_SANDBOX, &local).is_ok());
        assert_eq!(app_with(&Provider::INTUIT_PRODUCTION, &local).err(), Some(AppError::NotHttps(0)));
        for trick in ["http://localhost.evil.example/", "http://localhost@evil.example/", "http://127.0.0.1/"]
        {
            assert!(app_with(&Provider::INTUIT_SANDBOX, &[trick]).is_err(), "{trick}");
        }
    }
}

mod red_4 {
    use super::*;

    proptest! {
        /// Without the rule Intuit refuses the exchange later, as `invalid_grant`, and nobody knows why.
        #[test]
        fn neither_query_nor_fragment(path in "[a-z]{0,8}", mark in "[?#]", rest in "[a-z=&]{0,12}") {
            let uri = format!("https://app.example/{path}{mark}{rest}");
            for provider in [&Provider::INTUIT_SANDBOX, &Provider::INTUIT_PRODUCTION] {
                prop_assert_eq!(app_with(provider, &[REDIRECT, &uri]).err(), Some(AppError::HasQuery(1)));
            }
            prop_assert!(check_redirect_uri(Environment::Sandbox, &uri).is_err());
        }

        /// What the app wants to carry goes through the state, and comes back whole.
        #[test]
        fn the_state_carries_instead(carry in prop::collection::vec(any::<u8>(), 0..evergrant::consent::CARRY_MOST)) {
            let app = sandbox();
            let now = evergrant::Time::from_unix(faq::world::START);
            let signed = evergrant::SignedAsk {
                redirect_uri: REDIRECT, scopes: Scopes::ACCOUNTING, random: [9; 16], carry: &carry, binding: b"b",
            };
            let mut buffer = [0; 1_024];
            let url = evergrant::signed_url(&app, now, &signed, &mut buffer).unwrap();
            let state = bridge::browse(url).state.unwrap();
            let opened = evergrant::Signed::open(&app, &state, b"b").unwrap();
            prop_assert_eq!(opened.carry(), &carry[..]);
        }
    }
}

mod red_5 {
    use super::*;

    /// Without the rule a second address would be exchanged as the first, and the authority would refuse.
    #[test]
    fn the_exchange_names_the_address_of_its_own_consent() {
        for model in MODELS {
            for uri in [REDIRECT, TOOL] {
                let mut world = World::new(model);
                let url = world.ask(uri, Scopes::ACCOUNTING).unwrap();
                assert_eq!(bridge::browse(&url).redirect_uri, uri);
                let back = world.decide(&url, approve()).unwrap();
                let _ = world.callback(&back).unwrap();
                let sent = world.sent(Purpose::Exchange).next().unwrap();
                assert_eq!(sent.letter.field("redirect_uri").as_deref(), Some(uri));
                assert!(world.access().is_some(), "the authority takes it");
            }
        }
    }

    /// A callback that arrives at another of the app's addresses is not this consent's.
    #[test]
    fn a_callback_at_another_address_is_refused() {
        let mut world = World::new(MODELS[0]);
        let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
        let back = world.decide(&url, approve()).unwrap();
        let moved = back.replace(REDIRECT, TOOL);
        assert_eq!(world.callback(&moved), Err(Error::Callback(CallbackError::OtherRedirectUri)));
        assert!(world.callback(&back).is_ok());
    }

    /// An address that was taken off the list meanwhile is not sent.
    #[test]
    fn an_address_that_is_gone_is_not_used() {
        let mut world = World::new(MODELS[0]);
        let url = world.ask(TOOL, Scopes::ACCOUNTING).unwrap();
        let back = world.decide(&url, approve()).unwrap();
        let fewer = App::new(&Provider::INTUIT_SANDBOX, Keys { redirect_uris: &[REDIRECT], ..KEYS }).unwrap();
        world.app = fewer;
        assert_eq!(world.callback(&back), Err(Error::RedirectUriGone));
    }
}

mod red_6 {
    use super::*;

    proptest! {
        /// Without the rule the app's own `code` would be sent as Intuit's, or the other way round.
        #[test]
        fn a_parameter_that_comes_twice_is_refused(
            name in prop::sample::select(vec!["code", "state", "realmId", "error"]),
            encoded: bool,
            first: bool,
            value in "[a-z0-9]{1,20}",
        ) {
            let mut world = World::new(MODELS[0]);
            let url = world.ask(REDIRECT, Scopes::ACCOUNTING).unwrap();
            let back = world.decide(&url, approve()).unwrap();
            let (address, query) = back.split_once('?').unwrap();
            let query = if name == "error" { format!("{query}&error=x") } else { query.into() };
            let letter = format!("%{:02x}", name.as_bytes()[0]);
            let twin = if encoded { format!("{letter}{}={value}", &name[1..]) } else { format!("{name}={value}") };
            let text = if first { format!("{address}?{twin}&{query}") } else { format!("{address}?{query}&{twin}") };
            let refused = world.callback(&text);
            prop_assert!(matches!(refused, Err(Error::Callback(CallbackError::Duplicate(_)))), "{refused:?}");
            prop_assert_eq!(world.sent(Purpose::Exchange).count(), 0);
            prop_assert!(world.callback(&back).is_ok(), "the right one is still welcome");
        }

        /// Intuit's parameters in any order, with strangers between them and a fragment behind.
        #[test]
        fn intuits_own_callback_is_read(order in Just(vec![0, 1, 2, 3]).prop_shuffle()) {
            let parts = ["code=A%2FB", "state=s", "realmId=123", "utm=1"];
            let query: Vec<&str> = order.iter().map(|index| parts[*index]).collect();
            let text = format!("{REDIRECT}?{}#_=_", query.join("&"));
            let callback = Callback::parse(&text, "realmId").unwrap();
            prop_assert!(callback.code.unwrap().is("A/B"));
            prop_assert!(callback.state.unwrap().is("s"));
            prop_assert!(callback.realm.unwrap().is("123"));
            prop_assert!(callback.error.is_none());
        }
    }

    /// The realm comes with the code, and is kept.
    #[test]
    fn the_realm_is_kept() {
        for model in MODELS {
            assert_eq!(World::linked(model).session.realm(), REALM);
        }
    }
}
