//! What is an app, and what are its keys?

use evergrant::{
    App, AppError, ClientSecret, Error, Input, Keys, Provider, Record, RecordError, Scopes, api,
};
use evergrant_emulator::authority::{Authority, Config, ConfigError, Environment, Keys as TheirKeys};
use faq::bridge;
use faq::world::{KEYS, Life, MODELS, REALM, REDIRECT, World, production, sandbox};
use proptest::prelude::*;

mod app_1 {
    use super::*;

    proptest! {
        /// Without the rule an app with an empty half of its keys would build addresses that lead nowhere.
        #[test]
        fn a_missing_half_is_refused_before_any_address_is_built(blank in "[ \t\r\n]{0,8}", good in "[A-Za-z0-9]{1,40}") {
            let without_id = Keys { client_id: &blank, client_secret: ClientSecret::new(&good), ..KEYS };
            let without_secret = Keys { client_id: &good, client_secret: ClientSecret::new(&blank), ..KEYS };
            let both = Keys { client_id: &good, client_secret: ClientSecret::new(&good), ..KEYS };
            for provider in [&Provider::INTUIT_SANDBOX, &Provider::INTUIT_PRODUCTION] {
                prop_assert_eq!(App::new(provider, without_id).err(), Some(AppError::NoClientId));
                prop_assert_eq!(App::new(provider, without_secret).err(), Some(AppError::NoClientSecret));
                prop_assert!(App::new(provider, both).is_ok());
            }
        }
    }

    /// The authority knows no such app either.
    #[test]
    fn the_authority_has_no_app_without_keys() {
        for (id, secret) in [("", "secret"), ("id", "")] {
            let keys = TheirKeys::new(Environment::Sandbox, id, secret, [REDIRECT]);
            let empty = ConfigError::EmptyKeys { environment: Environment::Sandbox };
            assert_eq!(Authority::new(Config::new([keys]), 1).err(), Some(empty));
        }
    }
}

mod app_2 {
    use super::*;

    proptest! {
        /// Without the rule the same client ID in both environments would be one app, and tokens would cross.
        #[test]
        fn keys_are_of_one_environment(id in "[A-Za-z0-9]{1,40}", other in "[A-Za-z0-9]{1,40}") {
            let keys = Keys { client_id: &id, ..KEYS };
            let here = App::new(&Provider::INTUIT_SANDBOX, keys).unwrap();
            let there = App::new(&Provider::INTUIT_PRODUCTION, keys).unwrap();
            prop_assert_ne!(here.fingerprint(), there.fingerprint());
            let second = App::new(&Provider::INTUIT_SANDBOX, Keys { client_id: &other, ..KEYS }).unwrap();
            prop_assert_eq!(here.fingerprint() == second.fingerprint(), id == other);
        }
    }

    #[test]
    fn the_authority_takes_no_client_id_for_two_environments() {
        let keys = [Environment::Sandbox, Environment::Production]
            .map(|environment| TheirKeys::new(environment, "one", "secret", [REDIRECT]));
        let twice = ConfigError::ClientIdTwice { client_id: "one".into() };
        assert_eq!(Authority::new(Config::new(keys), 1).err(), Some(twice));
    }
}

mod app_3 {
    use super::*;

    /// Without the rule a sandbox token would be stored, sent or shown under production's keys.
    #[test]
    fn a_session_of_one_environment_is_nothing_in_the_other() {
        for model in MODELS {
            let mut world = World::linked(model);
            let before = world.record();
            for input in [Input::Tick, Input::Demand, Input::Refresh, Input::Revoke, Input::Disconnected] {
                let now = world.now();
                assert_eq!(world.session.handle(&production(), now, input), Err(Error::OtherApp));
            }
            assert_eq!(world.record(), before);
        }
    }

    #[test]
    fn a_stored_session_is_refused_with_both_environments_named() {
        let world = World::linked(MODELS[0]);
        let text = world.store.text.clone().unwrap();
        let record = Record::read(text.as_bytes()).unwrap();
        let error = Life::restore(&production(), &record).err().unwrap();
        assert_eq!(
            error,
            RecordError::OtherEnvironment { record: "intuit-sandbox", app: "intuit-production" }
        );
        let told = error.to_string();
        assert!(told.contains("intuit-sandbox") && told.contains("intuit-production"), "{told}");
    }

    /// The same client ID under another environment's name is still another environment's.
    #[test]
    fn a_callback_of_the_other_environment_is_refused() {
        let keys = Keys { redirect_uris: &[REDIRECT], ..KEYS };
        let here = App::new(&Provider::INTUIT_SANDBOX, keys).unwrap();
        let there = App::new(&Provider::INTUIT_PRODUCTION, keys).unwrap();
        let ask = evergrant::SignedAsk {
            redirect_uri: REDIRECT,
            scopes: Scopes::ACCOUNTING,
            random: [3; 16],
            carry: b"",
            binding: b"",
        };
        let now = evergrant::Time::from_unix(faq::world::START);
        let mut buffer = [0; 1_024];
        let url = evergrant::signed_url(&there, now, &ask, &mut buffer).unwrap();
        let state = bridge::browse(url).state.unwrap();
        let text = format!("{REDIRECT}?code=abc&state={state}&realmId={REALM}");
        let mut session = Life::new(&here);
        let refused = session.handle(&here, now, Input::Callback { text: &text, binding: b"" });
        assert!(matches!(refused, Err(Error::Callback(_))), "{refused:?}");
        let mut session = Life::new(&there);
        assert!(session.handle(&there, now, Input::Callback { text: &text, binding: b"" }).is_ok());
    }

    /// The other environment's API host says 401 as well, with another code: the token is good, and stays.
    #[test]
    fn the_other_environments_host_costs_no_token() {
        for model in MODELS {
            let mut world = World::linked(model);
            let token = world.access().unwrap();
            let error = world.intuit.api(world.time, Environment::Production, &token, REALM).unwrap_err();
            let body = format!(r#"{{"Fault":{{"Error":[{{"code":"{}"}}]}}}}"#, error.code());
            let meaning = api::judge(error.status(), body.as_bytes());
            assert_eq!(meaning, api::Meaning::WrongEnvironment);
            let serial = world.session.access_token(world.now()).unwrap().serial();
            let effects = world.input("api", Input::Api { serial, meaning }).unwrap();
            assert_eq!(effects, evergrant::Effects::default());
            assert_eq!(world.access(), Some(token));
        }
        assert_ne!(sandbox().provider().api, production().provider().api);
    }
}
