//! SCO-5 in the command: `connect` with openid and `whoami`, and every wrong ID token and userinfo refused by its own words,
//! with the grant alive after each.

mod support;

use std::process::Output;

use serde_json::Value;
use support::{Emulator, Home, REALM, assert_no_secret, emulator, said};

const SUBJECT: &str = "1182d6ec-60a6-4ba1-9e40-7a5f2c3d9b01";
const SIGN_IN: [&str; 2] = ["--scope", "accounting,openid,profile,email"];

fn fault(emulator: &Emulator, at: &str, harm: &str) {
    emulator.tell("faults", &format!(r#"{{"at":"{at}","when":{{"next":1}},"harm":{harm}}}"#));
}

fn sign_in(home: &Home) -> Output {
    home.connect(&SIGN_IN).1
}

fn signed_in(emulator: &Emulator) -> Home {
    let home = Home::new(emulator, "http://localhost:8000/callback");
    let output = sign_in(&home);
    assert!(output.status.success(), "{}", said(&output));
    home
}

/// The stored grant opens the API, and is refreshed by the authority.
fn assert_alive(emulator: &Emulator, home: &Home) {
    let before = home.expect(0, &["token"]);
    home.expect(0, &["refresh"]);
    assert_ne!(home.expect(0, &["token"]), before);
    home.expect(0, &["call", REALM, "companyinfo/{realm}"]);
    assert!(emulator.grant_is_alive());
}

fn key_fetches(emulator: &Emulator) -> usize {
    emulator.control("log").as_array().unwrap().iter().filter(|entry| entry["endpoint"] == "jwks").count()
}

/// Nobody is known, nothing is sent to find out, and the way out can be typed.
fn assert_nobody(emulator: &Emulator, home: &Home) {
    let requests = emulator.requests();
    let text = home.expect(3, &["whoami", REALM]);
    assert!(text.contains("not known") && text.contains("--scope") && text.contains("openid"), "{text}");
    assert_eq!(emulator.requests(), requests);
}

#[test]
fn a_user_signs_in_and_whoami_names_them() {
    let emulator = emulator();
    let home = Home::new(&emulator, "http://localhost:8000/callback");
    let output = sign_in(&home);
    let mut all = said(&output);
    assert!(output.status.success() && all.contains("signed in") && all.contains("whoami"), "{all}");
    assert_eq!(key_fetches(&emulator), 1);
    let text = home.expect(0, &["whoami", REALM]);
    for word in [REALM, SUBJECT, "ada@example.com (verified)", "Ada ", "signed in"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let json: Value = serde_json::from_str(&home.expect(0, &["whoami", "--json"])).unwrap();
    assert_eq!((json["subject"].as_str(), json["realm"].as_str()), (Some(SUBJECT), Some(REALM)));
    assert_eq!(json["claims"]["email"], "ada@example.com");
    assert_eq!(json["claims"]["email_verified"], true);
    assert!(
        json["claims"].get("phone_number").is_none() && json["claims"].get("address").is_none(),
        "by scope"
    );
    // A refresh changes the tokens and not the person.
    assert_alive(&emulator, &home);
    home.expect(0, &["whoami"]);
    // It is no grant: nowhere is it listed as one.
    all += &home.expect(0, &["status"]);
    all += &home.expect(0, &["doctor"]);
    assert!(!all.contains("user:"), "{all}");
    let token = home.expect(0, &["token"]).trim().to_owned();
    assert_no_secret(&(all + &text), &[support::CLIENT_SECRET, &token]);
}

#[test]
fn each_wrong_id_token_is_refused_in_its_own_words_and_costs_no_grant() {
    let attacks = [
        ("wrong_audience", "is for another client"),
        ("wrong_issuer", "another issuer's"),
        ("expired", "expired at"),
        ("unsigned", "alg none"),
        ("symmetric_with_public_key", "symmetric algorithm"),
        ("unknown_key", "a key that the provider does not list"),
        ("broken_signature", "signature is wrong"),
        ("wrong_realm", "another company than the callback named"),
        ("absent", "has no ID token"),
        ("garbage", "is no ID token"),
    ];
    let emulator = emulator();
    let home = signed_in(&emulator);
    for (harm, words) in attacks {
        let fetched = key_fetches(&emulator);
        fault(&emulator, "exchange", &format!(r#"{{"id_token":"{harm}"}}"#));
        let output = sign_in(&home);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(7), "{harm}: {text}");
        assert!(text.contains("connected") && text.contains("nobody is signed in"), "{harm}: {text}");
        for (_, others) in attacks {
            assert_eq!(text.contains(others), others == words, "{harm}, {others}: {text}");
        }
        let fetched = key_fetches(&emulator) - fetched;
        assert!(fetched <= 2 && (fetched == 2) == (harm == "unknown_key"), "{harm}: {fetched}");
        // Who signed in before is not who consented to this grant.
        assert_nobody(&emulator, &home);
        assert_alive(&emulator, &home);
    }
    let output = sign_in(&home);
    assert!(output.status.success(), "{}", said(&output));
    home.expect(0, &["whoami"]);
}

#[test]
fn a_rotated_key_signs_the_user_in() {
    for keep_old in [true, false] {
        let emulator = emulator();
        let home = signed_in(&emulator);
        fault(&emulator, "exchange", &format!(r#"{{"rotate_key":{{"keep_old":{keep_old}}}}}"#));
        let output = sign_in(&home);
        assert!(output.status.success(), "{}", said(&output));
        home.expect(0, &["whoami"]);
        assert_alive(&emulator, &home);
    }
}

#[test]
fn keys_that_do_not_come_cost_the_sign_in_alone() {
    for harm in [r#""html_503""#, r#""truncated_body""#, r#""answer_lost_after_work""#] {
        let emulator = emulator();
        let home = Home::new(&emulator, "http://localhost:8000/callback");
        fault(&emulator, "jwks", harm);
        let output = sign_in(&home);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(7), "{harm}: {text}");
        assert!(text.contains("no keys of the provider are held") && text.contains("jwks"), "{harm}: {text}");
        assert_eq!(key_fetches(&emulator), 1);
        assert_nobody(&emulator, &home);
        assert_alive(&emulator, &home);
    }
}

#[test]
fn userinfo_of_another_user_is_refused_and_costs_no_grant() {
    let emulator = emulator();
    let home = signed_in(&emulator);
    fault(&emulator, "userinfo", r#""userinfo_of_another_subject""#);
    let output = home.run(&["whoami", "--json"]);
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    assert!(said(&output).contains("another user than the ID token"), "{}", said(&output));
    assert!(output.stdout.is_empty(), "nothing of it is shown: {}", said(&output));
    assert_alive(&emulator, &home);
    home.expect(0, &["whoami"]);
    // An outage is none of the user's business, and says so.
    fault(&emulator, "userinfo", r#""html_503""#);
    assert!(home.expect(4, &["whoami"]).contains("503"));
}

/// Without openid nobody is asked who they are; and a consent that does not say so takes away what was known before.
#[test]
fn nobody_is_known_without_openid() {
    let emulator = emulator();
    let home = Home::connected(&emulator);
    assert_eq!(key_fetches(&emulator), 0);
    assert_nobody(&emulator, &home);
    let output = sign_in(&home);
    assert!(output.status.success(), "{}", said(&output));
    home.expect(0, &["whoami"]);
    let (_, output) = home.connect(&["--scope", "accounting"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_nobody(&emulator, &home);
    // A consent that was declined takes nothing away.
    let output = sign_in(&home);
    assert!(output.status.success(), "{}", said(&output));
    emulator.tell("consent", r#"{"consent":"deny"}"#);
    assert_eq!(sign_in(&home).status.code(), Some(3));
    home.expect(0, &["whoami"]);
    // Forgotten with the grant.
    home.expect(0, &["disconnect", "--forget", REALM]);
    let text = home.expect(3, &["whoami", REALM]);
    assert!(text.contains("is not connected"), "{text}");
}
