//! What are scopes, and how do they change?

use evergrant::{Due, Error, Input, Purpose, Scopes, Tell};
use evergrant_emulator::authority::{Decision, Policy};
use faq::bridge;
use faq::world::{DAY, Fault, HOUR, MODELS, REDIRECT, World, approve, sandbox};
use proptest::prelude::*;

fn model() -> impl Strategy<Value = Policy> {
    prop::sample::select(MODELS.to_vec())
}

const EACH: [Scopes; 7] = [
    Scopes::ACCOUNTING,
    Scopes::PAYMENT,
    Scopes::OPENID,
    Scopes::PROFILE,
    Scopes::EMAIL,
    Scopes::PHONE,
    Scopes::ADDRESS,
];

/// Any set of the seven but the empty one.
fn some() -> impl Strategy<Value = Scopes> {
    (1_usize..128).prop_map(|bits| {
        let named = EACH.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
        named.fold(Scopes::NONE, |all, (_, one)| all.with(*one))
    })
}

fn names(scopes: Scopes) -> Vec<&'static str> {
    sandbox().scope_names(scopes).collect()
}

fn asked_for(url: &str) -> Vec<String> {
    bridge::browse(url).scope.split(' ').map(String::from).collect()
}

mod sco_1 {
    use super::*;

    proptest! {
        /// Without the rule the authority answers `invalid_scope`, because it does not know the spelling.
        #[test]
        fn the_authority_knows_every_name(model in model(), scopes in some()) {
            let mut world = World::new(model);
            let url = world.ask(REDIRECT, scopes).unwrap();
            let back = world.decide(&url, approve()).unwrap();
            prop_assert!(back.contains("code="), "{back}");
        }
    }

    #[test]
    fn the_wires_spelling_and_the_faqs() {
        let app = sandbox();
        let all = EACH.iter().fold(Scopes::NONE, |all, one| all.with(*one));
        assert_eq!(app.scopes(Scopes::NAMES), Ok(all));
        assert_eq!(
            names(all),
            [
                "com.intuit.quickbooks.accounting",
                "com.intuit.quickbooks.payment",
                "openid",
                "profile",
                "email",
                "phone",
                "address"
            ]
        );
        assert_eq!(app.scopes(["com.intuit.QuickBooks.accounting"]), Ok(Scopes::ACCOUNTING));
        assert_eq!(app.scopes(["com.intuit.quickbooks.everything"]), Err("com.intuit.quickbooks.everything"));
    }

    /// Others can be given by name.
    #[test]
    fn a_scope_by_name() {
        let mut world = World::new(MODELS[0]);
        let further = world.app.scopes(["payroll.compensation.read"]).unwrap();
        let url = world.ask(REDIRECT, further).unwrap();
        assert_eq!(asked_for(&url), ["payroll.compensation.read"]);
        assert_eq!(World::new(MODELS[0]).ask(REDIRECT, Scopes::NONE), Err(Error::NoScope));
    }
}

mod sco_2 {
    use super::*;

    proptest! {
        /// Without the rule the user would be asked for more than the app has named, and say no.
        #[test]
        fn nothing_is_asked_for_that_was_not_named(scopes in some()) {
            let mut world = World::new(MODELS[0]);
            let url = world.ask(REDIRECT, scopes).unwrap();
            prop_assert_eq!(asked_for(&url), names(scopes));
        }

        /// Step by step: each consent asks for its own.
        #[test]
        fn step_by_step(first in some(), second in some()) {
            let mut world = World::new(MODELS[0]);
            world.link(first);
            let url = world.ask(REDIRECT, second).unwrap();
            prop_assert_eq!(asked_for(&url), names(second));
        }
    }

    #[test]
    fn the_default_is_nothing() {
        assert!(Scopes::default().is_empty());
    }
}

mod sco_3 {
    use super::*;

    proptest! {
        /// Without the rule a session would claim what the user never agreed to.
        #[test]
        fn a_session_has_what_its_own_consent_named(model in model(), first in some(), second in some(), refreshes in 0..4) {
            let mut world = World::new(model);
            world.link(first);
            prop_assert_eq!(world.session.scopes(), first);
            let url = world.ask(REDIRECT, second).unwrap();
            for _ in 0..refreshes {
                world.wait(HOUR);
                let _ = world.demand();
                prop_assert_eq!(world.session.scopes(), first, "pending, refreshed, and not wider");
            }
            let url = if refreshes > 0 { world.ask(REDIRECT, second).unwrap() } else { url };
            let back = world.decide(&url, approve()).unwrap();
            let _ = world.callback(&back);
            if world.session.phase().generation == 2 {
                prop_assert_eq!(world.session.scopes(), second);
            }
            world.crash();
            prop_assert!([first, second].contains(&world.session.scopes()));
        }
    }

    /// Whatever the answer claims, at the exchange or at a refresh.
    #[test]
    fn an_answer_cannot_widen() {
        for model in MODELS {
            let mut world = World::new(model);
            let wider: fn(&mut serde_json::Value) = |body| {
                body["scope"] =
                    "com.intuit.quickbooks.accounting com.intuit.quickbooks.payment openid".into();
            };
            world.faults.push_back(Fault::Edit(wider));
            world.link(Scopes::ACCOUNTING);
            assert_eq!(world.session.scopes(), Scopes::ACCOUNTING);
            world.wait(HOUR);
            world.faults.push_back(Fault::Edit(wider));
            assert!(world.demand().is_some());
            assert_eq!(world.session.scopes(), Scopes::ACCOUNTING);
        }
    }
}

mod sco_4 {
    use super::*;

    proptest! {
        /// Without the rule an app that asks for more would stop working until the user has answered.
        #[test]
        fn the_grant_in_place_goes_on(model in model(), waits in prop::collection::vec(1_u64..HOUR, 0..4), declines: bool) {
            let mut world = World::linked(model);
            let wider = Scopes::ACCOUNTING.with(Scopes::OPENID);
            let url = world.ask(REDIRECT, wider).unwrap();
            let mut waited = 0;
            for wait in waits {
                waited += wait;
                world.wait(wait);
                prop_assert!(world.demand().is_some(), "it goes on working");
                prop_assert_eq!(world.session.scopes(), Scopes::ACCOUNTING);
            }
            prop_assume!(waited < HOUR);
            let (token, held) = (world.access(), world.held());
            let decision = if declines { Decision::Deny } else { approve() };
            let back = world.decide(&url, decision).unwrap();
            let _ = world.callback(&back).unwrap();
            if declines {
                prop_assert_eq!(world.told().last(), Some(Tell::Declined));
                prop_assert_eq!((world.access(), world.held()), (token, held), "nothing is lost");
                prop_assert_eq!(world.session.scopes(), Scopes::ACCOUNTING);
            } else {
                prop_assert_eq!(world.session.scopes(), wider);
                prop_assert!(world.access().is_some() && world.access() != token);
                prop_assert!(!world.record().contains(&held[0]), "replaced whole");
            }
        }
    }

    /// The user never comes back: the request ends by itself, the grant stays.
    #[test]
    fn a_request_without_an_end_of_its_own_gets_one() {
        for model in MODELS {
            let mut world = World::linked(model);
            world.ask(REDIRECT, Scopes::PAYMENT).unwrap();
            world.live(2 * HOUR);
            assert!(world.told().any(|tell| tell == Tell::ConsentExpired));
            assert!(world.demand().is_some());
        }
    }

    /// The wider consent's exchange fails: the old grant is still there.
    #[test]
    fn a_failed_exchange_costs_nothing() {
        for model in MODELS {
            for fault in [Fault::LostBefore, Fault::Status(503), Fault::InvalidGrant, Fault::Truncated(0)] {
                let mut world = World::linked(model);
                let held = world.held();
                let url = world.ask(REDIRECT, Scopes::PAYMENT).unwrap();
                let back = world.decide(&url, approve()).unwrap();
                world.faults.push_back(fault);
                let _ = world.callback(&back).unwrap();
                assert_eq!(world.held(), held);
                assert!(world.access().is_some());
                world.wait(2 * DAY);
                assert!(world.demand().is_some());
                assert_eq!(world.session.scopes(), Scopes::ACCOUNTING);
            }
        }
    }
}

/// What stands here: OpenID's scopes are known as such, and an ID token is never taken for the grant's, whatever is in it.
/// What does not stand here: the ID token's signature and claims. They are verified elsewhere, by the adapter for OpenID
/// Connect, and its tests belong into this module when it exists.
mod sco_5 {
    use super::*;

    const OPENID: [Scopes; 5] =
        [Scopes::OPENID, Scopes::PROFILE, Scopes::EMAIL, Scopes::PHONE, Scopes::ADDRESS];

    proptest! {
        /// Without the rule an unusable ID token would cost the tokens that came with it, or be stored in their place.
        #[test]
        fn an_id_token_costs_nothing(model in model(), kind in 0_usize..6) {
            const EDITS: [fn(&mut serde_json::Value); 6] = [
                |_| {},
                |body| body["id_token"] = "not.a.token".into(),
                |body| body["id_token"] = serde_json::Value::Null,
                |body| body["id_token"] = serde_json::json!({ "access_token": "x", "refresh_token": "y" }),
                |body| body["id_token"] = "z".repeat(5_000).into(),
                |body| drop(body.as_object_mut().unwrap().remove("id_token")),
            ];
            let mut world = World::new(model);
            world.faults.push_back(Fault::Edit(EDITS[kind]));
            world.link(Scopes::ACCOUNTING.with(Scopes::OPENID));
            let token = world.access().unwrap();
            prop_assert!(world.intuit.access_token_works(world.time, &token));
            prop_assert!(world.could_live());
            world.wait(HOUR);
            world.faults.push_back(Fault::Edit(EDITS[kind]));
            prop_assert!(world.demand().is_some_and(|token| world.intuit.access_token_works(world.time, &token)));
            let expected = sandbox_user(&world);
            prop_assert!(!world.record().contains(&expected), "the ID token is no part of the record");
        }
    }

    fn sandbox_user(world: &World) -> String {
        world.intuit.config().user.subject.clone()
    }

    /// With OpenID's scopes alone there is no company, so no realm is missing.
    #[test]
    fn openid_scopes_concern_no_company() {
        for scope in OPENID {
            assert!(!scope.concern_company());
            let mut world = World::new(MODELS[0]);
            world.link(scope);
            assert_eq!(world.session.realm(), "");
            assert!(world.access().is_some());
        }
        assert!(Scopes::ACCOUNTING.concern_company() && Scopes::PAYMENT.concern_company());
    }

    /// The user's claims can be read with the access token, in the header.
    #[test]
    fn userinfo_is_asked_with_the_access_token() {
        let mut world = World::new(MODELS[0]);
        world.link(Scopes::OPENID.with(Scopes::EMAIL));
        let token = world.session.access_token(world.now()).unwrap();
        let request = evergrant::Request::userinfo(&world.app, token).unwrap();
        let mut buffer = [0; 600];
        let http = request.write(&mut buffer).unwrap();
        assert_eq!(http.url(), world.app.provider().userinfo_endpoint);
        let claims = world
            .intuit
            .userinfo(world.time, evergrant_emulator::authority::Environment::Sandbox, token.expose())
            .unwrap();
        assert!(claims.email.is_some() && claims.phone_number.is_none());
    }

    #[test]
    fn nothing_else_is_done_with_it_here() {
        let mut world = World::new(MODELS[0]);
        world.link(Scopes::OPENID);
        assert!(matches!(world.session.due(&world.app), Due::Tick(_)));
        assert!(world.input("tick", Input::Tick).is_ok());
        assert_eq!(world.sent(Purpose::Refresh).count(), 0);
    }
}
