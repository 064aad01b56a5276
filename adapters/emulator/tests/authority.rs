//! Each rule that the authority enforces, on a virtual clock.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use evergrant_emulator::authority::{
    ApiError, Authority, AuthorizeError, AuthorizeRequest, Callback, CallbackOutcome, Cause, ClientAuth,
    CodeState, Config, Consideration, Decision, EndReason, Environment, ErrorCode, Fingerprint, Keys,
    Lengths, Policy, RefreshState, TokenGrant, TokenRequest, Tokens,
};
use proptest::prelude::*;

const START: u64 = 1_800_000_000;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;
const REFRESH_LIFE: u64 = 8_726_400;
const FIVE_YEARS: u64 = 5 * 365 * DAY;
const URI: &str = "https://app.example/callback";
const OTHER_URI: &str = "https://app.example/callback/";
const REALM: &str = "9341453000000001";
const ACCOUNTING: &str = "com.intuit.quickbooks.accounting";

#[derive(Clone)]
struct World {
    intuit: Authority,
}

impl World {
    fn new(policy: Policy) -> Self {
        let keys = [
            Keys::new(Environment::Sandbox, "sandbox-id", "sandbox-secret", [URI, OTHER_URI]),
            Keys::new(Environment::Production, "production-id", "production-secret", [URI]),
        ];
        let mut config = Config::new(keys).with_policy(policy);
        config.lengths = Lengths::SHORT;
        Self { intuit: Authority::new(config, 11).unwrap() }
    }

    fn code(&mut self, now: u64, client: &str, scope: &str) -> String {
        let callback = self.callback(now, &request(client, scope));
        callback.code().expect("a code").to_owned()
    }

    fn callback(&mut self, now: u64, request: &AuthorizeRequest) -> Callback {
        self.intuit.authorize(now, request, Decision::Approve { realm: REALM.into() }).unwrap()
    }

    fn connect(&mut self, now: u64) -> Tokens {
        let code = self.code(now, "sandbox-id", ACCOUNTING);
        self.exchange(now, &code).unwrap()
    }

    fn exchange(&mut self, now: u64, code: &str) -> Result<Tokens, Cause> {
        self.send(now, &TokenRequest::exchange(app(), code, URI))
    }

    fn refresh(&mut self, now: u64, token: &str) -> Result<Tokens, Cause> {
        self.send(now, &TokenRequest::refresh(app(), token))
    }

    fn send(&mut self, now: u64, request: &TokenRequest) -> Result<Tokens, Cause> {
        self.intuit.token(now, request).map_err(|error| error.cause)
    }

    fn api(&mut self, now: u64, token: &str) -> Result<(), ApiError> {
        self.intuit.api(now, Environment::Sandbox, token, REALM).map(drop)
    }
}

fn app() -> ClientAuth {
    ClientAuth::basic("sandbox-id", "sandbox-secret")
}

fn production_app() -> ClientAuth {
    ClientAuth::basic("production-id", "production-secret")
}

fn request(client: &str, scope: &str) -> AuthorizeRequest {
    AuthorizeRequest {
        client_id: client.into(),
        redirect_uri: URI.into(),
        response_type: "code".into(),
        scope: scope.into(),
        state: Some("s".into()),
        ..AuthorizeRequest::default()
    }
}

const ALL: [Policy; 4] = [Policy::GRACE, Policy::STICKY, Policy::HARD, Policy::STICKY_HARD];

mod app_and_red {
    use super::*;

    /// APP-2, APP-3: a code or token of one set of keys is nothing under the other, and survives the attempt.
    #[test]
    fn keys_of_the_other_environment() {
        let mut world = World::new(Policy::GRACE);
        let code = world.code(START, "sandbox-id", ACCOUNTING);
        let theirs = TokenRequest::exchange(production_app(), &*code, URI);
        assert_eq!(world.send(START, &theirs), Err(Cause::WrongClient));
        let tokens = world.exchange(START, &code).unwrap();
        let theirs = TokenRequest::refresh(production_app(), &*tokens.refresh_token);
        let error = world.intuit.token(START, &theirs).unwrap_err();
        assert_eq!((error.code, error.cause), (ErrorCode::InvalidGrant, Cause::WrongClient));
        assert_eq!(error.description(), Some("Incorrect Token type or clientID"));
        assert!(world.intuit.revoke(START, &production_app(), &tokens.refresh_token).is_err());
        assert!(world.refresh(START, &tokens.refresh_token).is_ok());
        assert_eq!(
            world.intuit.api(START, Environment::Production, &tokens.access_token, REALM),
            Err(ApiError::WrongCluster { asked: Environment::Production, belongs_to: Environment::Sandbox })
        );
        assert_eq!(world.api(START, &tokens.access_token), Ok(()));
    }

    #[test]
    fn wrong_keys_are_invalid_client_and_touch_nothing() {
        let mut world = World::new(Policy::HARD);
        let tokens = world.connect(START);
        let before = world.clone();
        let in_body = ClientAuth { body_client_id: Some("sandbox-id".into()), ..app() };
        for (client, cause) in [
            (ClientAuth::default(), Cause::WrongKeys),
            (ClientAuth::basic("sandbox-id", "wrong"), Cause::WrongKeys),
            (ClientAuth::basic("nobody", "sandbox-secret"), Cause::WrongKeys),
            (ClientAuth::basic("sandbox-id", "production-secret"), Cause::WrongKeys),
            (in_body, Cause::ClientIdTwice),
        ] {
            let refused =
                world.intuit.token(START, &TokenRequest::refresh(client.clone(), &*tokens.refresh_token));
            let error = refused.unwrap_err();
            assert_eq!(
                (error.code, error.code.status(), error.cause),
                (ErrorCode::InvalidClient, 401, cause)
            );
            assert_eq!(world.intuit.revoke(START, &client, &tokens.refresh_token), Err(error));
        }
        assert!(world.intuit == before.intuit);
        let post = ClientAuth {
            basic: None,
            body_client_id: Some("sandbox-id".into()),
            body_client_secret: Some("sandbox-secret".into()),
        };
        assert!(world.send(START, &TokenRequest::refresh(post, tokens.refresh_token)).is_ok());
    }

    /// RED-1, RED-2: byte for byte; a bad one, or an unknown client, is never redirected.
    #[test]
    fn redirect_uri_at_the_consent() {
        let world = World::new(Policy::GRACE);
        for bad in [
            "https://app.example/Callback",
            "https://app.example/callback/x",
            "https://APP.example/callback",
            "https://app.example:443/callback",
            "http://app.example/callback",
            "",
        ] {
            let request = AuthorizeRequest { redirect_uri: bad.into(), ..request("sandbox-id", ACCOUNTING) };
            assert_eq!(
                world.intuit.consider(&request),
                Err(AuthorizeError::RedirectUriNotRegistered),
                "{bad}"
            );
        }
        let of_sandbox_only =
            AuthorizeRequest { redirect_uri: OTHER_URI.into(), ..request("production-id", ACCOUNTING) };
        assert_eq!(world.intuit.consider(&of_sandbox_only), Err(AuthorizeError::RedirectUriNotRegistered));
        assert_eq!(world.intuit.consider(&request("nobody", ACCOUNTING)), Err(AuthorizeError::UnknownClient));
    }

    /// RED-5: the exchange names the consent's own redirect URI; another registered one will not do.
    #[test]
    fn redirect_uri_at_the_exchange() {
        let mut world = World::new(Policy::GRACE);
        let code = world.code(START, "sandbox-id", ACCOUNTING);
        let other = TokenRequest::exchange(app(), &*code, OTHER_URI);
        assert_eq!(world.send(START, &other), Err(Cause::RedirectUriDiffers));
        assert!(world.exchange(START, &code).is_ok(), "a refused exchange does not use the code up");
    }
}

mod consent {
    use super::*;

    fn error_of(world: &World, request: &AuthorizeRequest) -> Option<CallbackOutcome> {
        match world.intuit.consider(request).unwrap() {
            Consideration::Refuse(callback) => Some(callback.outcome),
            Consideration::Ask(_) => None,
        }
    }

    /// SCO-1, CSR-1, RFC 6749 section 4.1.2.1.
    #[test]
    fn a_bad_request_goes_back_with_its_error() {
        let world = World::new(Policy::GRACE);
        let good = request("sandbox-id", ACCOUNTING);
        assert_eq!(error_of(&world, &good), None);
        let cases = [
            (AuthorizeRequest { response_type: "token".into(), ..good.clone() }, "unsupported_response_type"),
            (AuthorizeRequest { state: None, ..good.clone() }, "invalid_request"),
            (AuthorizeRequest { state: Some(String::new()), ..good.clone() }, "invalid_request"),
            (AuthorizeRequest { scope: " ".into(), ..good.clone() }, "invalid_scope"),
            (
                AuthorizeRequest { scope: "com.intuit.QuickBooks.accounting".into(), ..good.clone() },
                "invalid_scope",
            ),
            (AuthorizeRequest { scope: "openid everything".into(), ..good.clone() }, "invalid_scope"),
            (AuthorizeRequest { code_challenge: Some("x".into()), ..good.clone() }, "invalid_request"),
        ];
        for (request, error) in cases {
            assert_eq!(error_of(&world, &request), Some(CallbackOutcome::Error(error)), "{request:?}");
        }
    }

    /// SCO-4 from this side: who declines loses nothing.
    #[test]
    fn denied() {
        let mut world = World::new(Policy::GRACE);
        let tokens = world.connect(START);
        let callback =
            world.intuit.authorize(START, &request("sandbox-id", ACCOUNTING), Decision::Deny).unwrap();
        assert_eq!(callback.parameters(), [("error", "access_denied"), ("state", "s")]);
        assert!(world.refresh(START, &tokens.refresh_token).is_ok());
    }

    #[test]
    fn the_callback_has_code_state_and_realm() {
        let mut world = World::new(Policy::GRACE);
        let names =
            |callback: &Callback| callback.parameters().iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let with_company =
            world.callback(START, &request("sandbox-id", "openid com.intuit.quickbooks.payment"));
        assert_eq!(names(&with_company), ["code", "state", "realmId"]);
        let without = world.callback(START, &request("sandbox-id", "openid profile"));
        assert_eq!(names(&without), ["code", "state"], "no realmId with OpenID-only scopes");
        let bad = Decision::Approve { realm: "123".into() };
        let refused = world.intuit.authorize(START, &request("sandbox-id", ACCOUNTING), bad);
        assert_eq!(refused.map(drop), Err(AuthorizeError::BadRealm));
    }

    #[test]
    fn some_codes_have_a_slash() {
        let mut world = World::new(Policy::GRACE);
        let slashes = (0..40).filter(|_| world.code(START, "sandbox-id", ACCOUNTING).contains('/')).count();
        assert!((5..35).contains(&slashes), "{slashes} of 40");
    }
}

mod code {
    use super::*;

    /// EXC-2 and EXC-5: the second exchange is refused and ends what the first one brought, access included (USE-3).
    #[test]
    fn exc_2_a_code_used_twice() {
        for policy in ALL {
            let mut world = World::new(policy);
            let code = world.code(START, "sandbox-id", ACCOUNTING);
            let first = world.exchange(START, &code).unwrap();
            let second = world.refresh(START + DAY, &first.refresh_token).unwrap();
            assert_eq!(world.exchange(START + DAY + 1, &code), Err(Cause::CodeUsed));
            for token in [&first.refresh_token, &second.refresh_token] {
                assert_eq!(world.refresh(START + DAY + 2, token), Err(Cause::Poisoned));
            }
            assert_eq!(world.api(START + DAY + 2, &second.access_token), Err(ApiError::TokenExpired));
            let grant = world.intuit.grant(START + DAY + 2, 0).unwrap();
            assert_eq!(grant.code, CodeState::UsedTwice);
            assert_eq!(grant.end.unwrap().reason, EndReason::CodeUsedTwice);
            assert!(!grant.is_alive());
        }
    }

    #[test]
    fn exc_2_only_its_own_client_can_poison() {
        let mut world = World::new(Policy::GRACE);
        let code = world.code(START, "sandbox-id", ACCOUNTING);
        let tokens = world.exchange(START, &code).unwrap();
        let theirs = TokenRequest::exchange(production_app(), &*code, URI);
        assert_eq!(world.send(START, &theirs), Err(Cause::WrongClient));
        assert!(world.refresh(START, &tokens.refresh_token).is_ok());
    }

    #[test]
    fn a_code_lives_ten_minutes() {
        let mut world = World::new(Policy::GRACE);
        let (early, late) =
            (world.code(START, "sandbox-id", ACCOUNTING), world.code(START, "sandbox-id", ACCOUNTING));
        assert_eq!(world.intuit.grants(START)[0].code, CodeState::Unused { until: START + 600 });
        assert!(world.exchange(START + 599, &early).is_ok());
        assert_eq!(world.exchange(START + 600, &late), Err(Cause::CodeExpired));
        assert_eq!(world.intuit.grants(START + 600)[1].code, CodeState::Expired);
    }

    /// RFC 7636, with its example of appendix B.
    #[test]
    fn pkce() {
        let mut world = World::new(Policy::GRACE);
        let with_challenge = AuthorizeRequest {
            code_challenge: Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into()),
            code_challenge_method: Some("S256".into()),
            ..request("sandbox-id", ACCOUNTING)
        };
        let code = world.callback(START, &with_challenge).code().unwrap().to_owned();
        let exchange = |verifier: Option<&str>| {
            let (code, redirect_uri) = (code.clone(), URI.to_owned());
            let code_verifier = verifier.map(Into::into);
            let grant = TokenGrant::AuthorizationCode { code, redirect_uri, code_verifier };
            TokenRequest { client: app(), grant, include_hard_expiry: false }
        };
        assert_eq!(world.send(START, &exchange(None)), Err(Cause::WrongVerifier));
        assert_eq!(world.send(START, &exchange(Some("guess"))), Err(Cause::WrongVerifier));
        assert!(world.send(START, &exchange(Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"))).is_ok());
    }
}

mod durations {
    use super::*;

    /// DUR-1.
    #[test]
    fn dur_1_an_access_token_lives_an_hour() {
        let mut world = World::new(Policy::GRACE);
        let tokens = world.connect(START);
        assert_eq!(tokens.expires_in, HOUR);
        assert_eq!(world.api(START + HOUR - 1, &tokens.access_token), Ok(()));
        assert_eq!(world.api(START + HOUR, &tokens.access_token), Err(ApiError::TokenExpired));
        assert_eq!(world.api(START, "never issued"), Err(ApiError::TokenExpired));
    }

    /// DUR-3, DUR-6.
    #[test]
    fn dur_3_a_refresh_token_that_is_not_used_dies() {
        for policy in ALL {
            let mut world = World::new(policy);
            let tokens = world.connect(START);
            assert_eq!(tokens.refresh_token_expires_in, REFRESH_LIFE);
            assert!(world.clone().refresh(START + REFRESH_LIFE - 1, &tokens.refresh_token).is_ok());
            assert_eq!(world.refresh(START + REFRESH_LIFE, &tokens.refresh_token), Err(Cause::Expired));
        }
    }

    /// DUR-5, DUR-7: each new value starts anew, as often as is wanted, until the hard end of wire-facts C5.
    #[test]
    fn dur_5_rolling_until_the_hard_end() {
        for policy in ALL {
            let mut world = World::new(policy);
            let mut tokens = world.connect(START);
            let step = REFRESH_LIFE - 1;
            let mut now = START;
            while now + step < START + FIVE_YEARS {
                now += step;
                tokens = world.refresh(now, &tokens.refresh_token).unwrap();
                assert_eq!(tokens.refresh_token_expires_in, REFRESH_LIFE.min(START + FIVE_YEARS - now));
            }
            let last = START + FIVE_YEARS - 1;
            let ultimate = world.refresh(last, &tokens.refresh_token).unwrap();
            assert_eq!(
                (ultimate.expires_in, ultimate.refresh_token_expires_in),
                (1, 1),
                "access dies with the grant"
            );
            assert_eq!(world.refresh(last + 1, &ultimate.refresh_token), Err(Cause::HardEnd));
            assert_eq!(world.api(last + 1, &ultimate.access_token), Err(ApiError::TokenExpired));
        }
    }

    #[test]
    fn the_hard_end_is_told_only_if_asked_for() {
        let mut world = World::new(Policy::GRACE);
        let tokens = world.connect(START);
        assert_eq!(tokens.refresh_token_hard_expires_in, None);
        let asking =
            TokenRequest { include_hard_expiry: true, ..TokenRequest::refresh(app(), tokens.refresh_token) };
        let tokens = world.send(START + 100, &asking).unwrap();
        assert_eq!(tokens.refresh_token_hard_expires_in, Some(FIVE_YEARS - 100));
    }
}

mod stale {
    use super::*;

    /// STA-1, STA-2 under grace: stale at once, dead after 24 hours, at the second.
    #[test]
    fn sta_2_grace() {
        let mut world = World::new(Policy::GRACE);
        let first = world.connect(START);
        let second = world.refresh(START + 10, &first.refresh_token).unwrap();
        assert_ne!(first.refresh_token, second.refresh_token);
        let until = START + 10 + DAY;
        assert_eq!(
            world.intuit.refresh_token_state(START + 10, &first.refresh_token),
            Some(RefreshState::Stale { until })
        );
        assert!(world.clone().refresh(until - 1, &first.refresh_token).is_ok());
        assert_eq!(world.refresh(until, &first.refresh_token), Err(Cause::Stale));
        assert!(world.refresh(until, &second.refresh_token).is_ok());
    }

    /// STA-2: never past its own end.
    #[test]
    fn sta_2_own_end() {
        let mut world = World::new(Policy::GRACE);
        let first = world.connect(START);
        let nearly = START + REFRESH_LIFE - 60;
        world.refresh(nearly, &first.refresh_token).unwrap();
        assert!(world.clone().refresh(nearly + 59, &first.refresh_token).is_ok());
        assert_eq!(world.refresh(nearly + 60, &first.refresh_token), Err(Cause::Stale));
    }

    /// A stale token brings a new one, and its own end does not move; the one in between becomes stale in its turn.
    #[test]
    fn a_lost_answer_is_recovered_under_grace() {
        let mut world = World::new(Policy::GRACE);
        let first = world.connect(START);
        let lost = world.refresh(START + 100, &first.refresh_token).unwrap();
        let recovered = world.refresh(START + 200, &first.refresh_token).unwrap();
        assert_ne!(lost.refresh_token, recovered.refresh_token);
        let state = |token: &str| world.intuit.refresh_token_state(START + 200, token);
        assert_eq!(state(&first.refresh_token), Some(RefreshState::Stale { until: START + 100 + DAY }));
        assert_eq!(state(&lost.refresh_token), Some(RefreshState::Stale { until: START + 200 + DAY }));
        assert_eq!(
            state(&recovered.refresh_token),
            Some(RefreshState::Current { until: START + 200 + REFRESH_LIFE })
        );
    }

    /// Wire-facts C2: dead at once, and a clock that steps back does not bring it back.
    #[test]
    fn hard() {
        let mut world = World::new(Policy::HARD);
        let first = world.connect(START);
        world.refresh(START + 10, &first.refresh_token).unwrap();
        assert_eq!(world.refresh(START + 10, &first.refresh_token), Err(Cause::Stale));
        assert_eq!(world.refresh(START - DAY, &first.refresh_token), Err(Cause::Stale));
    }

    /// Wire-facts C1, C3, STA-5: the same value for 24 hours, with what is left of its life; then a new one.
    #[test]
    fn sticky() {
        let mut world = World::new(Policy::STICKY);
        let first = world.connect(START);
        let same = world.refresh(START + 5_015, &first.refresh_token).unwrap();
        assert_eq!(same.refresh_token, first.refresh_token);
        assert_ne!(same.access_token, first.access_token);
        assert_eq!(same.refresh_token_expires_in, 8_721_385);
        assert_eq!(
            world.refresh(START + DAY - 1, &first.refresh_token).unwrap().refresh_token,
            first.refresh_token
        );
        let new = world.refresh(START + DAY, &first.refresh_token).unwrap();
        assert_ne!(new.refresh_token, first.refresh_token);
        assert_eq!(new.refresh_token_expires_in, REFRESH_LIFE);
        // Within its grace the old value brings the current one.
        let by_stale = world.refresh(START + DAY + 1, &first.refresh_token).unwrap();
        assert_eq!(by_stale.refresh_token, new.refresh_token);
        assert_eq!(world.refresh(START + 2 * DAY, &first.refresh_token), Err(Cause::Stale));
    }

    #[test]
    fn sticky_hard() {
        let mut world = World::new(Policy::STICKY_HARD);
        let first = world.connect(START);
        assert_eq!(
            world.refresh(START + 1, &first.refresh_token).unwrap().refresh_token,
            first.refresh_token
        );
        world.refresh(START + DAY, &first.refresh_token).unwrap();
        assert_eq!(world.refresh(START + DAY, &first.refresh_token), Err(Cause::Stale));
    }

    #[test]
    fn a_long_chain_stays_short() {
        let mut world = World::new(Policy::HARD);
        let mut tokens = world.connect(START);
        let first = tokens.refresh_token.clone();
        for second in 1..=1_000 {
            tokens = world.refresh(START + second, &tokens.refresh_token).unwrap();
        }
        let grant = world.intuit.grant(START + 1_000, 0).unwrap();
        assert_eq!(grant.chain.len() as u64 + grant.forgotten, 1_001);
        assert!(grant.chain.len() <= 64);
        assert_eq!(world.refresh(START + 1_000, &first), Err(Cause::UnknownToken));
    }
}

mod the_end {
    use super::*;

    /// REV-1, REF-6, USE-3: either token ends the grant, all of it.
    #[test]
    fn revoke() {
        for policy in ALL {
            for by_access in [false, true] {
                let mut world = World::new(policy);
                let tokens = world.connect(START);
                let token = if by_access { &tokens.access_token } else { &tokens.refresh_token };
                assert_eq!(world.intuit.revoke(START + 1, &app(), token), Ok(()));
                assert_eq!(world.refresh(START + 2, &tokens.refresh_token), Err(Cause::Revoked));
                assert_eq!(world.api(START + 2, &tokens.access_token), Err(ApiError::TokenExpired));
                assert!(world.intuit.revoke(START + 2, &app(), token).is_err(), "400 for a dead grant");
                assert_eq!(
                    world.refresh(START - DAY, &tokens.refresh_token),
                    Err(Cause::Revoked),
                    "clock set back"
                );
            }
        }
    }

    /// Why a grant ended does not change with what is tried on it afterwards.
    #[test]
    fn the_first_reason_stays() {
        let mut world = World::new(Policy::GRACE);
        let code = world.code(START, "sandbox-id", ACCOUNTING);
        let tokens = world.exchange(START, &code).unwrap();
        world.intuit.revoke(START + 1, &app(), &tokens.refresh_token).unwrap();
        assert_eq!(world.exchange(START + 2, &code), Err(Cause::CodeUsed));
        world.intuit.disconnect_all(START + 3);
        assert_eq!(world.refresh(START + 4, &tokens.refresh_token), Err(Cause::Revoked));
        assert_eq!(world.intuit.grant(START + 4, 0).unwrap().end.unwrap().at, START + 1);
    }

    #[test]
    fn revoke_with_a_stale_token() {
        let mut world = World::new(Policy::GRACE);
        let first = world.connect(START);
        let second = world.refresh(START, &first.refresh_token).unwrap();
        assert_eq!(world.intuit.revoke(START + 1, &app(), &first.refresh_token), Ok(()));
        assert_eq!(world.refresh(START + 1, &second.refresh_token), Err(Cause::Revoked));
    }

    /// REV-2, REV-3.
    #[test]
    fn disconnect_from_outside_and_connect_anew() {
        let mut world = World::new(Policy::GRACE);
        let tokens = world.connect(START);
        assert_eq!(world.intuit.disconnect(START + 1, "9341453000000009"), 0);
        assert_eq!(world.intuit.disconnect(START + 1, REALM), 1);
        assert_eq!(world.intuit.disconnect(START + 1, REALM), 0);
        assert_eq!(world.refresh(START + 2, &tokens.refresh_token), Err(Cause::Disconnected));
        assert_eq!(world.api(START + 2, &tokens.access_token), Err(ApiError::TokenExpired));
        let anew = world.connect(START + 3);
        assert!(world.refresh(START + 4, &anew.refresh_token).is_ok());
    }

    /// Wire-facts section 4: refused by name, and the token survives.
    #[test]
    fn an_access_token_is_no_refresh_token() {
        let mut world = World::new(Policy::HARD);
        let tokens = world.connect(START);
        assert_eq!(world.refresh(START, &tokens.access_token), Err(Cause::WrongTokenType));
        assert_eq!(world.api(START, &tokens.access_token), Ok(()));
        assert_eq!(world.api(START, &tokens.refresh_token), Err(ApiError::TokenExpired));
        assert!(world.refresh(START, &tokens.refresh_token).is_ok());
    }
}

mod api_and_openid {
    use super::*;

    #[test]
    fn wrong_company_wrong_scope_too_many() {
        let mut world = World::new(Policy::GRACE);
        let tokens = world.connect(START);
        let other = world.intuit.api(START, Environment::Sandbox, &tokens.access_token, "9341453000000002");
        assert_eq!(other, Err(ApiError::NotAuthorized));
        let code = world.code(START, "sandbox-id", "com.intuit.quickbooks.payment");
        let payment = world.exchange(START, &code).unwrap();
        assert_eq!(world.api(START, &payment.access_token), Err(ApiError::NotAuthorized));
        for _ in 0..500 {
            assert_eq!(world.api(START, &tokens.access_token), Ok(()));
        }
        assert_eq!(world.api(START, &tokens.access_token), Err(ApiError::Throttled));
        assert_eq!(world.api(START + 60, &tokens.access_token), Ok(()));
    }

    /// SCO-5.
    #[test]
    fn claims_by_scope() {
        let mut world = World::new(Policy::GRACE);
        let without = world.connect(START);
        assert_eq!(without.id_token, None);
        let userinfo = |world: &World, tokens: &Tokens| {
            world.intuit.userinfo(START, Environment::Sandbox, &tokens.access_token)
        };
        assert_eq!(userinfo(&world, &without), Err(ApiError::NotAuthorized));
        let code = world.code(START, "sandbox-id", "openid email");
        let tokens = world.exchange(START + 5, &code).unwrap();
        let claims = tokens.id_token.clone().unwrap();
        assert_eq!((claims.iat, claims.exp, claims.auth_time), (START + 5, START + 5 + HOUR, START));
        assert_eq!((claims.aud, claims.realmid), (vec!["sandbox-id".to_owned()], None));
        let user = userinfo(&world, &tokens).unwrap();
        assert_eq!(user.sub, claims.sub);
        assert!(user.email.is_some() && user.given_name.is_none() && user.address.is_none());
    }
}

/// SCO-3: neither a refresh nor another consent for the same company changes what a grant covers.
#[test]
fn sco_3_a_wider_consent_is_another_grant() {
    let mut world = World::new(Policy::GRACE);
    let narrow = world.connect(START);
    let code = world.code(START, "sandbox-id", "openid com.intuit.quickbooks.accounting");
    let wide = world.exchange(START, &code).unwrap();
    assert!(world.refresh(START + 1, &narrow.refresh_token).unwrap().id_token.is_none());
    assert!(world.refresh(START + 1, &wide.refresh_token).unwrap().id_token.is_some());
}

/// Time at its ends, and backwards: no panic, and only what is good by the clock is good.
#[test]
fn time_at_its_ends() {
    for policy in ALL {
        for (start, later) in [(0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX), (START, 0)] {
            let mut world = World::new(policy);
            let code = world.code(start, "sandbox-id", ACCOUNTING);
            let Ok(tokens) = world.exchange(start, &code) else { continue };
            let state = world.intuit.refresh_token_state(later, &tokens.refresh_token);
            let works = state.is_some_and(|state| state.works());
            assert_eq!(world.refresh(later, &tokens.refresh_token).is_ok(), works);
            let _ = world.api(later, &tokens.access_token);
            assert_eq!(world.intuit.grants(later).len(), 1);
        }
    }
}

#[test]
fn what_was_never_issued() {
    let mut world = World::new(Policy::GRACE);
    assert_eq!(world.exchange(START, "nothing"), Err(Cause::UnknownCode));
    assert_eq!(world.refresh(START, "nothing"), Err(Cause::UnknownToken));
}

#[test]
fn a_fork_goes_its_own_way_and_equal_histories_are_equal() {
    let mut one = World::new(Policy::GRACE);
    let tokens = one.connect(START);
    let mut two = one.clone();
    assert_eq!(one.refresh(START, &tokens.refresh_token), two.refresh(START, &tokens.refresh_token));
    let hash = |world: &World| {
        let mut hasher = DefaultHasher::new();
        world.intuit.hash(&mut hasher);
        hasher.finish()
    };
    assert!(one.intuit == two.intuit && hash(&one) == hash(&two));
    two.refresh(START, &tokens.refresh_token).unwrap();
    assert!(one.intuit != two.intuit);
}

#[test]
fn no_secret_in_debug() {
    let mut world = World::new(Policy::GRACE);
    let request = request("sandbox-id", ACCOUNTING);
    let callback = world.callback(START, &request);
    let exchange = TokenRequest::exchange(app(), callback.code().unwrap(), URI);
    let tokens = world.send(START, &exchange).unwrap();
    let shown =
        format!("{:?} {callback:?} {exchange:?} {tokens:?} {:?}", world.intuit, world.intuit.grants(START));
    for secret in [callback.code().unwrap(), &tokens.access_token, &tokens.refresh_token, "sandbox-secret"] {
        assert!(!shown.contains(secret));
    }
    assert!(shown.contains(&Fingerprint::of(&tokens.refresh_token).to_string()));
}

/// What a client may do to the authority, and what time may do.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Refresh(usize),
    ExchangeAgain,
    Revoke(usize),
    Disconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![
        Just(1),
        Just(HOUR),
        Just(DAY - 1),
        Just(DAY),
        Just(DAY + 1),
        Just(REFRESH_LIFE - 1),
        Just(REFRESH_LIFE),
        0..400 * DAY
    ];
    let step = prop_oneof![
        8 => wait.prop_map(Step::Wait),
        12 => (0..3_usize).prop_map(Step::Refresh),
        1 => Just(Step::ExchangeAgain),
        1 => (0..3_usize).prop_map(Step::Revoke),
        1 => Just(Step::Disconnect),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Over whole lives: what the authority says it believes is what it does, dead is dead, and nobody has two
    /// current tokens.
    #[test]
    fn what_it_believes_is_what_it_does(policy in 0..4_usize, steps in steps()) {
        let mut world = World::new(ALL[policy]);
        let mut now = START;
        let code = world.code(now, "sandbox-id", ACCOUNTING);
        let mut held = vec![world.exchange(now, &code).unwrap().refresh_token];
        let mut dead = HashSet::new();
        for step in steps {
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Refresh(back) => {
                    let token = held[held.len().saturating_sub(1 + back)].clone();
                    let believed = world.intuit.refresh_token_state(now, &token);
                    let answer = world.refresh(now, &token);
                    prop_assert_eq!(believed.is_some_and(|state| state.works()), answer.is_ok());
                    prop_assert!(!(answer.is_ok() && dead.contains(&token)), "a dead token came back");
                    match answer {
                        Err(_) => _ = dead.insert(token),
                        Ok(tokens) => {
                            prop_assert!(tokens.refresh_token_expires_in <= REFRESH_LIFE);
                            prop_assert!(now + tokens.refresh_token_expires_in <= START + FIVE_YEARS);
                            held.push(tokens.refresh_token);
                        }
                    }
                }
                Step::ExchangeAgain => prop_assert!(world.exchange(now, &code).is_err()),
                Step::Revoke(back) => {
                    let token = held[held.len().saturating_sub(1 + back)].clone();
                    let worked = world.intuit.refresh_token_state(now, &token).is_some_and(|state| state.works());
                    prop_assert_eq!(world.intuit.revoke(now, &app(), &token).is_ok(), worked);
                }
                Step::Disconnect => _ = world.intuit.disconnect(now, REALM),
            }
            let grant = world.intuit.grant(now, 0).unwrap();
            let current = grant.chain.iter().filter(|link| matches!(link.state, RefreshState::Current { .. }));
            prop_assert!(current.count() <= 1);
            prop_assert!(grant.end.is_none() || (!grant.is_alive() && grant.access_tokens.is_empty()));
        }
    }
}
