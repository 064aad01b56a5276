//! The ID token: each attack refused with its own error (SCO-5). The tokens in `fixtures/tokens.json` were signed by PyJWT,
//! which is not the library that verifies them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use evergrant::Time;
use evergrant_openid::{Expected, IdToken, IdTokenError, KeySet, Part, TOKEN_MOST, verify};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixtures {
    start: u64,
    keys: serde_json::Value,
    tokens: BTreeMap<String, String>,
}

static FIXTURES: LazyLock<Fixtures> =
    LazyLock::new(|| serde_json::from_str(include_str!("fixtures/tokens.json")).unwrap());
static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::parse(FIXTURES.keys.to_string().as_bytes()).unwrap());

const EXPECTED: Expected<'static> = Expected {
    issuer: "https://oauth.platform.intuit.com/op/v1",
    client_id: "ABclient",
    nonce: None,
    realm: Some("9130347"),
    subject: None,
    leeway: 120,
};
const SUBJECT: &str = "1182d6ec-60a6-4ba1-9e40-7a5f2c3d9b01";

fn start() -> Time {
    Time::from_unix(FIXTURES.start)
}

fn token(name: &str) -> IdToken {
    IdToken::new(FIXTURES.tokens[name].as_str())
}

fn judge(name: &str) -> Result<String, IdTokenError> {
    judge_by(name, &EXPECTED, start())
}

fn judge_by(name: &str, expected: &Expected<'_>, now: Time) -> Result<String, IdTokenError> {
    verify(&token(name), &KEYS, expected, now).map(|identity| identity.subject)
}

#[test]
fn good_tokens_say_who_signed_in() {
    let good = [
        "intuit",
        "second_key",
        "audience_text",
        "several_audiences",
        "no_type",
        "fractions",
        "unknown_claims",
    ];
    for name in good {
        assert_eq!(judge(name).as_deref(), Ok(SUBJECT), "{name}");
    }
    let identity = verify(&token("intuit"), &KEYS, &EXPECTED, start()).unwrap();
    assert_eq!(identity.issuer, EXPECTED.issuer);
    assert_eq!(identity.realm.as_deref(), Some("9130347"));
    assert_eq!(identity.issued_at, start());
    assert_eq!(identity.expires_at, start().plus(3_600));
    assert_eq!(identity.authenticated_at, Some(start().minus(20)));
}

#[test]
fn attacks_on_the_header_have_names() {
    use IdTokenError::*;
    let attacks = [
        ("none", Unsigned),
        ("none_odd_case", Unsigned),
        ("none_with_signature", Unsigned),
        ("signature_cut_off", Signature),
        ("hs256_with_pem", Symmetric),
        ("hs256_with_modulus", Symmetric),
        ("hs512", Symmetric),
        ("rs256_with_hmac", Signature),
        ("rs384", Algorithm),
        ("rs512", Algorithm),
        ("ps256", Algorithm),
        ("critical", Critical),
        ("no_key_id", NoKeyId),
        ("unknown_key", UnknownKey),
        ("key_of_another_id", Signature),
        ("own_key_in_header", UnknownKey),
        ("own_key_in_header_known_id", Signature),
        ("access_token", Kind),
        ("logout_token", Kind),
        ("header_twice", Malformed(Part::Header)),
        ("header_list", Malformed(Part::Header)),
    ];
    for (name, error) in attacks {
        assert_eq!(judge(name), Err(error), "{name}");
    }
}

#[test]
fn attacks_on_the_claims_have_names() {
    use IdTokenError::*;
    let claims = Malformed(Part::Claims);
    let attacks = [
        ("claims_list", claims),
        ("claims_no_json", claims),
        ("claim_twice", claims),
        ("other_issuer", Issuer),
        ("issuer_with_slash", Issuer),
        ("no_issuer", Issuer),
        ("other_audience", Audience),
        ("longer_audience", Audience),
        ("audience_no_text", claims),
        ("empty_audience", Audience),
        ("no_audience", Audience),
        ("several_without_party", AuthorizedParty),
        ("other_party", AuthorizedParty),
        ("expired", Expired { at: start().minus(3_600) }),
        ("no_end", claims),
        ("end_as_text", claims),
        ("end_before_1970", claims),
        ("no_start", claims),
        ("from_the_future", NotYet { at: start().plus(1_000) }),
        ("not_before", NotYet { at: start().plus(1_000) }),
        ("no_subject", NoSubject),
        ("empty_subject", NoSubject),
        ("long_subject", NoSubject),
        ("no_realm", NoRealm),
        ("other_realm", OtherRealm),
        ("realm_as_number", claims),
        ("with_nonce", Nonce),
    ];
    for (name, error) in attacks {
        assert_eq!(judge(name), Err(error), "{name}");
    }
}

#[test]
fn every_fixture_is_in_one_of_the_tables() {
    // 7 good ones, 21 attacks on the header, 27 on the claims.
    assert_eq!(FIXTURES.tokens.len(), 55);
}

#[test]
fn time_has_a_leeway_on_both_sides_and_an_end() {
    let end = start().plus(3_600);
    let at = |now| judge_by("intuit", &EXPECTED, now).map(drop);
    assert_eq!(at(end.plus(119)), Ok(()));
    assert_eq!(at(end.plus(120)), Err(IdTokenError::Expired { at: end }));
    assert_eq!(at(start().minus(120)), Ok(()));
    assert_eq!(at(start().minus(121)), Err(IdTokenError::NotYet { at: start() }));
    let strict = Expected { leeway: 0, ..EXPECTED };
    assert!(judge_by("intuit", &strict, end.minus(1)).is_ok());
    assert!(judge_by("intuit", &strict, end).is_err());
    assert_eq!(at(Time::UNSET), Err(IdTokenError::ClockUnset));
    assert_eq!(at(Time::EARLIEST), Err(IdTokenError::NotYet { at: start() }));
    assert_eq!(at(Time::from_unix(u64::MAX)), Err(IdTokenError::NoKeys), "no key is good at the end of time");
}

#[test]
fn a_nonce_that_was_sent_must_come_back() {
    let sent = |nonce| Expected { nonce: Some(nonce), ..EXPECTED };
    assert!(judge_by("with_nonce", &sent("n-0S6_WzA2Mj"), start()).is_ok());
    assert_eq!(judge_by("with_nonce", &sent("n-0S6_WzA2M"), start()), Err(IdTokenError::Nonce));
    assert_eq!(judge_by("intuit", &sent("n-0S6_WzA2Mj"), start()), Err(IdTokenError::Nonce));
}

#[test]
fn a_grant_without_a_company_takes_a_token_with_or_without_one() {
    let none = Expected { realm: None, ..EXPECTED };
    assert!(judge_by("no_realm", &none, start()).is_ok());
    assert!(judge_by("intuit", &none, start()).is_ok());
}

#[test]
fn after_a_refresh_the_subject_is_the_one_before() {
    let before = |subject| Expected { subject: Some(subject), ..EXPECTED };
    assert!(judge_by("intuit", &before(SUBJECT), start()).is_ok());
    assert_eq!(judge_by("intuit", &before("another"), start()), Err(IdTokenError::OtherSubject));
}

#[test]
fn without_a_key_id_the_only_key_is_meant() {
    let mut document = FIXTURES.keys.clone();
    document["keys"].as_array_mut().unwrap().truncate(1);
    let one = KeySet::parse(document.to_string().as_bytes()).unwrap();
    assert!(verify(&token("no_key_id"), &one, &EXPECTED, start()).is_ok());
    assert_eq!(
        verify(&token("intuit"), &KeySet::EMPTY, &EXPECTED, start()).unwrap_err(),
        IdTokenError::NoKeys
    );
}

/// RFC 7515 appendix A.2, and with it the claims of RFC 7519 section 3.1: the signature holds, so it is the claims that are
/// refused; with a bit changed, the signature does not.
#[test]
fn the_rfcs_own_example_is_confirmed() {
    const HEADER: &str = "eyJhbGciOiJSUzI1NiJ9";
    const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
        cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7\
        AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4\
        BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K\
        0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv\
        hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB\
        p0igcN_IoypGlUPQGe77Rw";
    let mut document = FIXTURES.keys.clone();
    document["keys"].as_array_mut().unwrap().truncate(1);
    let keys = KeySet::parse(document.to_string().as_bytes()).unwrap();
    let judge = |header: &str, signature: &str| {
        let token = IdToken::new(format!("{header}.{CLAIMS}.{signature}"));
        verify(&token, &keys, &Expected { issuer: "joe", ..EXPECTED }, start()).unwrap_err()
    };
    assert_eq!(judge(HEADER, SIGNATURE), IdTokenError::Audience);
    assert_eq!(judge(HEADER, &SIGNATURE.replace("p0ig", "p0ih")), IdTokenError::Signature);
    // RFC 7519 section 6.1: the unsecured token.
    assert_eq!(judge("eyJhbGciOiJub25lIn0", ""), IdTokenError::Unsigned);
    // RFC 7515 appendix A.1: HS256.
    let header = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
    assert_eq!(judge(header, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), IdTokenError::Symmetric);
    // RFC 7515 appendix A.3: ES256.
    assert_eq!(judge("eyJhbGciOiJFUzI1NiJ9", "AA"), IdTokenError::Algorithm);
}

#[test]
fn what_is_no_token_is_refused() {
    let judge = |token: &str| verify(&IdToken::new(token), &KEYS, &EXPECTED, start()).unwrap_err();
    for wrong in ["", ".", "a.b", "a.b.c.d", "a.b.c.d.e"] {
        assert_eq!(judge(wrong), IdTokenError::Malformed(Part::Whole), "{wrong}");
    }
    for wrong in ["..", "this.is.no-token", "e30.e30.AA", "bnVsbA.e30.AA"] {
        assert_eq!(judge(wrong), IdTokenError::Malformed(Part::Header), "{wrong}");
    }
    let good = &FIXTURES.tokens["intuit"];
    assert_eq!(judge(&format!("{good}=")), IdTokenError::Malformed(Part::Signature));
    assert_eq!(judge(&format!("{good}.")), IdTokenError::Malformed(Part::Whole));
    assert_eq!(judge(&format!(" {good}")), IdTokenError::Malformed(Part::Header));
    assert_eq!(judge(&"x".repeat(TOKEN_MOST + 1)), IdTokenError::TooLong);
}

#[test]
fn a_token_is_taken_from_the_answer_that_it_came_in() {
    let good = &FIXTURES.tokens["intuit"];
    let answer = format!(r#"{{"access_token":"A","id_token":"{good}","refresh_token":"R"}}"#);
    assert_eq!(IdToken::from_answer(answer.as_bytes()).unwrap().expose(), good);
    let escaped = answer.replace('.', "\\u002e");
    assert_eq!(IdToken::from_answer(escaped.as_bytes()).unwrap().expose(), good);
    let error = |body: &str| IdToken::from_answer(body.as_bytes()).unwrap_err();
    for without in ["", "<html>", "{}", r#"{"id_token":null}"#, r#"{"id_token":7}"#] {
        assert_eq!(error(without), IdTokenError::Absent, "{without}");
    }
    assert_eq!(error(r#"{"id_token":"ä"}"#), IdTokenError::Malformed(Part::Whole));
    let long = format!(r#"{{"id_token":"{}"}}"#, "x".repeat(TOKEN_MOST + 1));
    assert_eq!(error(&long), IdTokenError::TooLong);
}

/// I6: no error and no `Debug` holds a piece of a token or of its claims.
#[test]
fn nothing_that_is_printed_holds_a_token() {
    let mut printed = String::new();
    for name in FIXTURES.tokens.keys() {
        let token = token(name);
        printed += &format!("{token:?}");
        match verify(&token, &KEYS, &EXPECTED, start()) {
            Ok(identity) => printed += &format!("{identity:?}"),
            Err(error) => printed += &format!("{error:?} {error} {:?}", error.fault()),
        }
    }
    printed += &format!("{EXPECTED:?} {:?}", *KEYS);
    for token in FIXTURES.tokens.values() {
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!printed.contains(&part[..8]), "{part}");
        }
    }
    for canary in [SUBJECT, "ofgWCuLj", "somebody-else", "n-0S6_WzA2Mj"] {
        assert!(!printed.contains(canary), "{canary}");
    }
}

/// Every byte of a good token, changed to its neighbour, to another letter's case, to a dot and to padding: refused. The
/// last character of a part has bits that mean nothing; a decoder that passes over them would take two tokens for one.
#[test]
fn no_byte_of_a_token_can_be_changed() {
    let good = &FIXTURES.tokens["intuit"];
    for at in 0..good.len() {
        let byte = good.as_bytes()[at];
        let changes = [byte ^ 1, byte ^ 0x20, b'.', b'=', b'A', b'B', b'Q'];
        for to in changes.into_iter().filter(|to| *to != byte && to.is_ascii()) {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = to;
            let token = IdToken::new(String::from_utf8(bytes).unwrap());
            assert!(verify(&token, &KEYS, &EXPECTED, start()).is_err(), "byte {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any change of one byte of a good token is refused, wherever it is.
    #[test]
    fn a_changed_byte_is_refused(at in any::<prop::sample::Index>(), to in 0_u8..128) {
        let good = &FIXTURES.tokens["intuit"];
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        let token = IdToken::new(String::from_utf8(bytes).unwrap());
        prop_assert!(verify(&token, &KEYS, &EXPECTED, start()).is_err());
    }

    /// Any token cut off, lengthened or spliced with another is refused.
    #[test]
    fn a_spliced_token_is_refused(at in any::<prop::sample::Index>(), more in "[A-Za-z0-9_.-]{1,3}") {
        let good = &FIXTURES.tokens["intuit"];
        let other = &FIXTURES.tokens["second_key"];
        let at = at.index(good.len());
        for made in [good[..at].into(), format!("{}{}", &good[..at], &other[at..]), format!("{good}{more}")] {
            prop_assume!(made != *good && made != *other);
            prop_assert!(verify(&IdToken::new(made), &KEYS, &EXPECTED, start()).is_err());
        }
    }

    #[test]
    fn arbitrary_text_is_refused(text in "\\PC*", header in "\\PC*", claims in any::<Vec<u8>>()) {
        prop_assert!(verify(&IdToken::new(text), &KEYS, &EXPECTED, start()).is_err());
        let made = format!("{header}.{}.AA", String::from_utf8_lossy(&claims));
        prop_assert!(verify(&IdToken::new(made), &KEYS, &EXPECTED, start()).is_err());
    }

    #[test]
    fn an_answer_of_arbitrary_bytes_is_survived(body in any::<Vec<u8>>()) {
        let _ = IdToken::from_answer(&body);
    }
}
