//! Keys, discovery and userinfo: what is taken from a provider's documents, what is refused, and when they are fetched.

use std::sync::LazyLock;

use evergrant::{Provider, Time};
use evergrant_openid::{
    BODY_MOST, Discovered, Discovery, DocumentError, Expected, Fetched, IdToken, IdTokenError, JwksCache,
    KEYS_MOST, KeySet, Userinfo, UserinfoError,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: Time = Time::from_unix(1_800_000_000);
const EXPECTED: Expected<'static> = Expected {
    issuer: "https://oauth.platform.intuit.com/op/v1",
    client_id: "ABclient",
    nonce: None,
    realm: Some("9130347"),
    subject: None,
    leeway: 1_000_000,
};

static FIXTURES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("fixtures/tokens.json")).unwrap());

fn token(name: &str) -> IdToken {
    IdToken::new(FIXTURES["tokens"][name].as_str().unwrap())
}

/// The fixtures' keys: `first` and `second`.
fn key(index: usize) -> Value {
    FIXTURES["keys"]["keys"][index].clone()
}

fn document(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn answer(body: &str) -> Fetched<'_> {
    Fetched::Answer { status: 200, cache_control: None, body: body.as_bytes() }
}

fn held(keys: &[Value]) -> JwksCache {
    let mut held = JwksCache::new(&Provider::INTUIT_SANDBOX).unwrap();
    held.take(NOW, answer(&document(keys))).unwrap();
    held
}

fn refused(keys: &mut JwksCache, name: &str, now: Time) -> Option<IdTokenError> {
    keys.verify(&token(name), &EXPECTED, now).err()
}

mod key_sets {
    use super::*;

    fn with(changes: Value) -> Value {
        let mut key = key(0);
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    #[test]
    fn keys_that_are_of_no_use_are_passed_over() {
        let useless = [
            json!({ "kty": "oct", "kid": "first", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ" }),
            json!({ "kty": "EC", "kid": "first", "crv": "P-256", "x": "AA", "y": "AA" }),
            json!({ "kty": "made-up", "kid": "first" }),
            with(json!({ "kty": "oct" })),
            with(json!({ "use": "enc" })),
            with(json!({ "alg": "RS512" })),
            with(json!({ "alg": "HS256" })),
            with(json!({ "key_ops": ["encrypt"] })),
            // 2047 bits: the first digit is 0x7f.
            with(json!({ "n": format!("f{}", &key(0)["n"].as_str().unwrap()[1..]) })),
            with(json!({ "n": "AQAB" })),
            with(json!({ "n": "" })),
            with(json!({ "n": "not base64url!" })),
            with(json!({ "n": "_".repeat(684) })),
            with(json!({ "e": "AQ" })),
            with(json!({ "e": "Ag" })),
            with(json!({ "e": "AQAA" })),
            with(json!({ "e": "" })),
            with(json!({ "e": "_____________w" })),
            with(json!({ "kid": 7 })),
            json!(null),
            json!("first"),
            json!([]),
        ];
        for key in &useless {
            let alone = KeySet::parse(document(std::slice::from_ref(key)).as_bytes());
            assert_eq!(alone.err(), Some(DocumentError::NoUsableKey), "{key}");
        }
        let mut all = useless.to_vec();
        all.push(key(0));
        let set = KeySet::parse(document(&all).as_bytes()).unwrap();
        assert_eq!(set.count(NOW), 1);
    }

    #[test]
    fn a_key_may_leave_its_use_unsaid() {
        let full = key(0);
        let bare = json!({ "kty": "RSA", "kid": "first", "n": full["n"], "e": full["e"] });
        let mut keys = held(&[bare]);
        assert_eq!(refused(&mut keys, "intuit", NOW), None);
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        let error = |body: &str| KeySet::parse(body.as_bytes()).unwrap_err();
        for wrong in ["", "{", "[]", "null", "<html>", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert_eq!(error(wrong), DocumentError::Malformed, "{wrong}");
        }
        assert_eq!(error(&"[".repeat(60_000)), DocumentError::Malformed);
        assert_eq!(error(&format!("{{\"keys\":{}", "[".repeat(60_000))), DocumentError::Malformed);
        assert_eq!(error(r#"{"keys":[]}"#), DocumentError::NoUsableKey);
        assert_eq!(error(&" ".repeat(BODY_MOST + 1)), DocumentError::TooLong);
        let many = vec![key(0); KEYS_MOST + 1];
        assert_eq!(error(&document(&many)), DocumentError::TooManyKeys);
    }
}

mod renewal {
    use super::*;

    #[test]
    fn keys_are_fetched_at_first_and_when_they_are_stale() {
        let mut keys = JwksCache::new(&Provider::INTUIT_SANDBOX).unwrap();
        assert_eq!(keys.wanted(NOW), Some("https://oauth.platform.intuit.com/op/v1/jwks"));
        assert_eq!(refused(&mut keys, "intuit", NOW), Some(IdTokenError::NoKeys));
        let body = document(&[key(0)]);
        let fetched =
            Fetched::Answer { status: 200, cache_control: Some("max-age=600"), body: body.as_bytes() };
        keys.take(NOW, fetched).unwrap();
        assert_eq!((keys.wanted(NOW.plus(599)), keys.due()), (None, NOW.plus(600)));
        assert!(keys.wanted(NOW.plus(600)).is_some());
        assert_eq!(refused(&mut keys, "intuit", NOW.plus(600)), None, "stale, and still good");
    }

    #[test]
    fn an_unknown_key_causes_one_fetch_and_then_none_for_a_while() {
        let mut keys = held(&[key(0)]);
        assert_eq!(keys.wanted(NOW), None);
        assert_eq!(refused(&mut keys, "unknown_key", NOW), Some(IdTokenError::UnknownKey));
        assert!(keys.wanted(NOW).is_some());
        keys.take(NOW, answer(&document(&[key(0)]))).unwrap();
        let mut fetches = 0;
        for second in 0..600 {
            let now = NOW.plus(second);
            assert_eq!(refused(&mut keys, "unknown_key", now), Some(IdTokenError::UnknownKey));
            if keys.wanted(now).is_some() {
                fetches += 1;
                keys.take(now, answer(&document(&[key(0)]))).unwrap();
            }
        }
        assert_eq!(fetches, 1);
    }

    #[test]
    fn forged_tokens_of_other_kinds_cause_no_fetch() {
        let mut keys = held(&[key(0)]);
        for name in ["none", "hs256_with_pem", "key_of_another_id", "other_issuer", "other_audience"] {
            assert!(refused(&mut keys, name, NOW).is_some());
            assert_eq!(keys.wanted(NOW), None, "{name}");
        }
    }

    #[test]
    fn a_new_key_takes_over_and_the_old_one_stays_for_its_time() {
        let mut keys = held(&[key(0)]);
        assert_eq!(refused(&mut keys, "second_key", NOW), Some(IdTokenError::UnknownKey));
        keys.take(NOW, answer(&document(&[key(1)]))).unwrap();
        assert_eq!(refused(&mut keys, "second_key", NOW), None);
        assert_eq!(refused(&mut keys, "intuit", NOW.plus(3_599)), None, "the old key's hour");
        assert_eq!(refused(&mut keys, "intuit", NOW.plus(3_600)), Some(IdTokenError::UnknownKey));
        // A later document does not lengthen it.
        let mut keys = held(&[key(0)]);
        for minutes in [0, 30, 59] {
            keys.take(NOW.plus(minutes * 60), answer(&document(&[key(1)]))).unwrap();
        }
        assert_eq!(refused(&mut keys, "intuit", NOW.plus(3_600)), Some(IdTokenError::UnknownKey));
    }

    #[test]
    fn a_key_that_comes_again_under_the_same_id_takes_the_old_ones_place() {
        let mut other = key(1);
        other["kid"] = json!("first");
        let mut keys = held(&[key(0)]);
        keys.take(NOW, answer(&document(&[other]))).unwrap();
        assert_eq!(refused(&mut keys, "intuit", NOW), Some(IdTokenError::Signature));
    }

    #[test]
    fn keys_outlast_an_outage_but_not_for_ever() {
        let mut keys = held(&[key(0)]);
        let outage = Fetched::Answer { status: 503, cache_control: None, body: b"<html>" };
        let mut now = NOW.plus(3_600);
        while now < NOW.plus(172_800) {
            assert!(keys.wanted(now).is_some());
            assert_eq!(keys.take(now, outage), Err(DocumentError::Status(503)));
            assert_eq!(keys.wanted(now), None);
            assert_eq!(refused(&mut keys, "intuit", now), None);
            now = now.plus(600);
        }
        assert_eq!(refused(&mut keys, "intuit", now), Some(IdTokenError::NoKeys));
    }

    #[test]
    fn rotation_after_rotation_does_not_grow_without_bound() {
        let mut keys = held(&[key(0)]);
        for round in 0..50 {
            let mut many = vec![key(0); KEYS_MOST];
            for (index, key) in many.iter_mut().enumerate() {
                key["kid"] = json!(format!("{round}-{index}"));
            }
            keys.take(NOW, answer(&document(&many))).unwrap();
        }
        assert_eq!(keys.set().count(NOW), 2 * KEYS_MOST);
    }

    #[test]
    fn a_hostile_document_changes_nothing_but_the_time_of_the_next_try() {
        let mut keys = held(&[key(0)]);
        let hostile = [
            (200, "{".to_owned(), DocumentError::Malformed),
            (200, document(&[]), DocumentError::NoUsableKey),
            (200, " ".repeat(BODY_MOST + 1), DocumentError::TooLong),
            (302, document(&[key(1)]), DocumentError::Status(302)),
            (404, document(&[key(1)]), DocumentError::Status(404)),
        ];
        for (status, body, error) in hostile {
            let fetched = Fetched::Answer { status, cache_control: None, body: body.as_bytes() };
            assert_eq!(keys.take(NOW, fetched), Err(error));
            assert_eq!(refused(&mut keys, "intuit", NOW), None);
            assert_eq!(refused(&mut keys, "second_key", NOW), Some(IdTokenError::UnknownKey));
            assert_eq!(keys.wanted(NOW.plus(59)), None);
        }
        assert_eq!(keys.take(NOW, Fetched::Failed), Err(DocumentError::NotFetched));
        assert!(keys.wanted(NOW.plus(60)).is_some());
    }

    #[test]
    fn a_clock_that_is_not_set_or_is_put_right_costs_no_keys() {
        let mut keys = held(&[key(0)]);
        assert_eq!(keys.wanted(Time::UNSET), None);
        assert_eq!(keys.take(Time::UNSET, answer(&document(&[key(1)]))), Err(DocumentError::ClockUnset));
        assert_eq!(refused(&mut keys, "intuit", NOW), None);
        // The keys were fetched by a clock that was a year ahead: they are due, and forgotten by the right one.
        let mut keys = JwksCache::new(&Provider::INTUIT_SANDBOX).unwrap();
        keys.take(NOW.plus(31_536_000), answer(&document(&[key(0)]))).unwrap();
        assert!(keys.wanted(NOW).is_some());
        keys.take(NOW, answer(&document(&[key(1)]))).unwrap();
        assert_eq!(refused(&mut keys, "intuit", NOW), None);
        assert_eq!(refused(&mut keys, "intuit", NOW.plus(3_600)), Some(IdTokenError::UnknownKey));
    }

    #[test]
    fn a_provider_without_keys_is_refused_at_once() {
        let error = |jwks_uri| JwksCache::new(&Provider { jwks_uri, ..Provider::INTUIT_SANDBOX }).err();
        for wrong in ["", "http://id.example/jwks", "http://127.0.0.1/jwks"] {
            assert_eq!(error(wrong), Some(DocumentError::Endpoint("jwks_uri")), "{wrong}");
        }
    }
}

mod discovery {
    use super::*;

    const SANDBOX: Provider<'static> = Provider::INTUIT_SANDBOX;

    /// What Intuit's document says (wire-facts section 2).
    fn intuit() -> Value {
        json!({
            "issuer": SANDBOX.issuer,
            "authorization_endpoint": SANDBOX.authorization_endpoint,
            "token_endpoint": SANDBOX.token_endpoint,
            "userinfo_endpoint": SANDBOX.userinfo_endpoint,
            "revocation_endpoint": SANDBOX.revocation_endpoint,
            "jwks_uri": SANDBOX.jwks_uri,
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    fn changed(member: &str, value: Value) -> String {
        let mut document = intuit();
        document[member] = value;
        document.to_string()
    }

    fn parse(body: &str) -> Result<Discovered, DocumentError> {
        Discovered::parse(body.as_bytes(), SANDBOX.issuer, false)
    }

    #[test]
    fn each_environment_has_its_own_document() {
        let url = |provider: &Provider<'_>| {
            Discovery::new(provider).unwrap().wanted(NOW).map(str::to_owned).unwrap()
        };
        let base = "https://developer.api.intuit.com/.well-known";
        assert_eq!(url(&Provider::INTUIT_SANDBOX), format!("{base}/openid_sandbox_configuration"));
        assert_eq!(url(&Provider::INTUIT_PRODUCTION), format!("{base}/openid_configuration"));
    }

    #[test]
    fn endpoints_come_from_the_document_and_all_else_from_the_base() {
        let body = changed("token_endpoint", json!("https://oauth2.example/token"));
        let found = parse(&body).unwrap();
        let provider = found.provider(&SANDBOX);
        assert_eq!(provider.token_endpoint, "https://oauth2.example/token");
        assert_eq!(provider.userinfo_endpoint, SANDBOX.userinfo_endpoint);
        assert_eq!((provider.name, provider.api), (SANDBOX.name, SANDBOX.api));
        assert_eq!(provider.policy, SANDBOX.policy);
        let found = parse(&changed("revocation_endpoint", Value::Null)).unwrap();
        assert_eq!(found.provider(&SANDBOX).revocation_endpoint, SANDBOX.revocation_endpoint);
    }

    #[test]
    fn a_wrong_document_changes_nothing() {
        let mut discovery = Discovery::new(&SANDBOX).unwrap();
        discovery.take(NOW, answer(&intuit().to_string())).unwrap();
        let before = discovery.discovered().cloned();
        let evil = json!("http://evil.example/token");
        let wrong = [
            (changed("issuer", json!("https://issuer.example/op/v1")), DocumentError::Issuer),
            (changed("issuer", json!(format!("{}/", SANDBOX.issuer))), DocumentError::Issuer),
            (changed("issuer", Value::Null), DocumentError::Malformed),
            (changed("token_endpoint", evil.clone()), DocumentError::Endpoint("token_endpoint")),
            (changed("token_endpoint", Value::Null), DocumentError::Endpoint("token_endpoint")),
            (changed("jwks_uri", json!("ftp://x/y")), DocumentError::Endpoint("jwks_uri")),
            (changed("userinfo_endpoint", evil.clone()), DocumentError::Endpoint("userinfo_endpoint")),
            (changed("revocation_endpoint", json!("")), DocumentError::Endpoint("revocation_endpoint")),
            (
                changed("authorization_endpoint", json!("https://a@b/")),
                DocumentError::Endpoint("authorization_endpoint"),
            ),
            (
                changed("response_types_supported", json!(["token"])),
                DocumentError::Unsupported("response_types_supported"),
            ),
            (
                changed("id_token_signing_alg_values_supported", json!(["HS256", "none"])),
                DocumentError::Unsupported("id_token_signing_alg_values_supported"),
            ),
            (
                intuit().to_string().replacen('{', r#"{"issuer":"https://issuer.example","#, 1),
                DocumentError::Malformed,
            ),
            ("<html>".into(), DocumentError::Malformed),
            (" ".repeat(BODY_MOST + 1), DocumentError::TooLong),
        ];
        for (body, error) in wrong {
            assert_eq!(discovery.take(NOW, answer(&body)), Err(error));
            assert_eq!(discovery.discovered(), before.as_ref());
            assert_eq!(discovery.wanted(NOW.plus(59)), None);
            assert!(!error.to_string().contains("evil"));
        }
        let redirect = Fetched::Answer { status: 301, cache_control: None, body: b"" };
        assert_eq!(discovery.take(NOW, redirect), Err(DocumentError::Status(301)));
        assert_eq!(discovery.discovered(), before.as_ref());
    }

    #[test]
    fn it_is_cached_for_a_day_where_nothing_is_said() {
        let mut discovery = Discovery::new(&SANDBOX).unwrap();
        discovery.take(NOW, answer(&intuit().to_string())).unwrap();
        assert_eq!((discovery.wanted(NOW.plus(86_399)), discovery.due()), (None, NOW.plus(86_400)));
        assert!(discovery.wanted(discovery.due()).is_some());
    }

    #[test]
    fn plain_http_is_for_loopback_where_it_is_allowed() {
        let body = changed("token_endpoint", json!("http://127.0.0.1:8000/token"));
        assert!(Discovered::parse(body.as_bytes(), SANDBOX.issuer, true).is_ok());
        assert_eq!(parse(&body), Err(DocumentError::Endpoint("token_endpoint")));
    }

    #[test]
    fn a_provider_without_a_document_or_an_issuer_is_refused_at_once() {
        assert_eq!(Discovery::new(&Provider::STRICT).err(), Some(DocumentError::Endpoint("discovery")));
        let nameless = Provider { issuer: "", ..SANDBOX };
        assert_eq!(Discovery::new(&nameless).err(), Some(DocumentError::Issuer));
    }
}

mod userinfo {
    use super::*;

    const SUBJECT: &str = "1182d6ec";

    fn read(body: &str) -> Result<Userinfo, UserinfoError> {
        Userinfo::read(200, body.as_bytes(), SUBJECT)
    }

    /// Wire-facts section 7.
    const INTUIT: &str = r#"{"sub":"1182d6ec","email":"ada@example.com","emailVerified":true,"givenName":"Ada",
        "familyName":"Sample","phoneNumber":"+1 555-0100","phoneNumberVerified":false,"address":{"streetAddress":
        "1 Main St","locality":"Springfield","region":"CA","postalCode":"12345","country":"US"},"other":[{}]}"#;
    const STANDARD: &str = r#"{"sub":"1182d6ec","email":"ada@example.com","email_verified":true,"given_name":"Ada",
        "family_name":"Sample","phone_number":"+1 555-0100","phone_number_verified":false,"address":{"street_address":
        "1 Main St","locality":"Springfield","region":"CA","postal_code":"12345","country":"US"},"other":[{}]}"#;

    #[test]
    fn intuits_spelling_and_the_standards_mean_the_same() {
        let user = read(INTUIT).unwrap();
        assert_eq!(user, read(STANDARD).unwrap());
        assert_eq!(user.email.as_deref(), Some("ada@example.com"));
        assert_eq!((user.email_verified, user.phone_number_verified), (Some(true), Some(false)));
        assert_eq!((user.given_name.as_deref(), user.family_name.as_deref()), (Some("Ada"), Some("Sample")));
        let address = user.address.as_ref().unwrap();
        assert_eq!(address.street_address.as_deref(), Some("1 Main St"));
        assert_eq!(address.postal_code.as_deref(), Some("12345"));
        let printed = format!("{user:?} {address:?}");
        for canary in ["ada", "Ada", "555", "Main", "1182d6ec"] {
            assert!(!printed.contains(canary), "{printed}");
        }
    }

    #[test]
    fn claims_of_absent_scopes_are_absent_and_odd_ones_count_as_such() {
        let bare = read(r#"{"sub":"1182d6ec"}"#).unwrap();
        assert_eq!((bare.email.as_ref(), bare.address.as_ref()), (None, None));
        let odd =
            r#"{"sub":"1182d6ec","email":null,"emailVerified":"yes","givenName":7,"address":"1 Main St"}"#;
        assert_eq!(read(odd).unwrap(), bare);
    }

    #[test]
    fn another_users_claims_are_refused_whole() {
        assert_eq!(read(&INTUIT.replace("1182d6ec", "1182d6ed")), Err(UserinfoError::OtherSubject));
        for nobody in [r#"{"email":"a@b"}"#, r#"{"sub":""}"#, r#"{"sub":7}"#, r#"{"sub":null}"#] {
            assert_eq!(read(nobody), Err(UserinfoError::NoSubject), "{nobody}");
        }
        assert_eq!(Userinfo::read(200, br#"{"sub":""}"#, ""), Err(UserinfoError::NoSubject));
        assert_eq!(read(r#"{"sub":"other","sub":"1182d6ec"}"#), Err(UserinfoError::Malformed));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for wrong in ["", "[]", "<html>", "{", r#"["1182d6ec"]"#, "eyJhbGciOiJSUzI1NiJ9.e30.AA"] {
            assert_eq!(read(wrong), Err(UserinfoError::Malformed), "{wrong}");
        }
        assert_eq!(read(&" ".repeat(BODY_MOST + 1)), Err(UserinfoError::TooLong));
        let status = |status| Userinfo::read(status, INTUIT.as_bytes(), SUBJECT);
        assert_eq!(status(401), Err(UserinfoError::Unauthorized));
        assert_eq!(status(403), Err(UserinfoError::Forbidden));
        for other in [204, 302, 429, 503] {
            assert_eq!(status(other), Err(UserinfoError::Status(other)));
        }
    }
}

/// JSON of any shape, so that more than the first character is looked at.
fn any_json() -> impl Strategy<Value = Value> {
    let names =
        "keys|kty|kid|n|e|use|alg|issuer|token_endpoint|sub|email|address|emailVerified|RSA|AQAB|\\PC{0,8}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        names.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_survived(body in any::<Vec<u8>>(), header in "\\PC*") {
        survive(&body, &header);
    }

    #[test]
    fn arbitrary_json_is_survived(body in any_json()) {
        survive(body.to_string().as_bytes(), "max-age=60");
    }

    /// A document cut off, or with a byte changed, never panics, and never changes what is held unless it is one.
    #[test]
    fn a_damaged_key_set_is_one_or_changes_nothing(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut body = document(&[key(0), key(1)]).into_bytes();
        let at = at.index(body.len());
        body[at] = to;
        survive(&body[..at], "");
        let mut keys = held(&[key(0)]);
        let fetched = Fetched::Answer { status: 200, cache_control: None, body: &body };
        if keys.take(NOW, fetched).is_err() {
            prop_assert_eq!(refused(&mut keys, "intuit", NOW), None);
            prop_assert_eq!(keys.set().count(NOW), 1);
        }
    }
}

fn survive(body: &[u8], header: &str) {
    let fetched = Fetched::Answer { status: 200, cache_control: Some(header), body };
    let mut keys = held(&[key(0)]);
    if keys.take(NOW, fetched).is_err() {
        assert_eq!(refused(&mut keys, "intuit", NOW), None);
    }
    let mut discovery = Discovery::new(&Provider::INTUIT_SANDBOX).unwrap();
    assert!(discovery.take(NOW, fetched).is_err() && discovery.discovered().is_none());
    let _ = Userinfo::read(200, body, "1182d6ec");
    let printed = format!("{fetched:?} {keys:?} {discovery:?}");
    assert!(!printed.contains("AQAB"));
}
