//! What the command does, says, and ends with.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use support::{
    CLIENT_SECRET, Emulator, Home, REALM, assert_no_secret, emulator, follow, free_port, request, said,
    set_mode,
};

#[test]
fn a_grant_lives_and_no_secret_is_printed_on_the_way() {
    let emulator = emulator();
    let home = Home::new(&emulator, "http://localhost:8000/callback");
    let (callback, output) = home.connect(&[]);
    let mut all = said(&output);
    assert!(output.status.success() && all.contains("connected 9341453000000001"), "{all}");
    let code = callback.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();

    let raw = home.expect(0, &["token"]);
    let token = raw.trim().to_owned();
    assert_eq!(token.len(), 800);
    assert_eq!(
        home.expect(0, &["token", "--format", "header", REALM]),
        format!("Authorization: Bearer {token}\n")
    );
    let json: Value = serde_json::from_str(&home.expect(0, &["token", "--format", "json"])).unwrap();
    assert_eq!((json["access_token"].as_str(), json["realm"].as_str()), (Some(&*token), Some(REALM)));
    assert!((3_500..=3_600).contains(&json["expires_in"].as_u64().unwrap()));

    all += &home.expect(0, &["call", REALM, "companyinfo/{realm}"]);
    assert!(all.contains("Sample Company 0001"));
    all += &home.expect(0, &["status"]);
    assert!(all.contains("access") && all.contains("█"), "{all}");
    let status = home.expect(0, &["status", "--json"]);
    let parsed: Value = serde_json::from_str(&status).unwrap();
    let grant = &parsed["grants"][0];
    assert_eq!((grant["state"].as_str(), grant["usable"].as_bool()), (Some("linked"), Some(true)));
    assert!(grant["next"]["at"].as_u64() < grant["refresh"]["until"].as_u64(), "DUR-8: {grant}");
    all += &status;
    all += &home.expect(0, &["refresh"]);
    let second = home.expect(0, &["token"]).trim().to_owned();
    assert_ne!(second, token);
    all += &home.expect(0, &["doctor"]);
    all += &home.expect(0, &["refresh", "--due"]);
    all += &home.expect(0, &["disconnect", REALM]);
    assert!(!emulator.grant_is_alive(), "REV-1");
    let requests = emulator.requests();
    all += &home.expect(3, &["token"]);
    all += &home.expect(3, &["refresh"]);
    assert_eq!(emulator.requests(), requests, "REF-6");
    all += &home.expect(0, &["doctor", "--offline"]);
    all += &home.expect(0, &["disconnect", "--forget", REALM]);
    all += &home.expect(0, &["status"]);
    assert!(all.contains("nothing is connected"));
    assert_no_secret(&all, &[CLIENT_SECRET, &token, &second, &code]);
}

#[test]
fn the_redirect_comes_in_at_a_port_that_is_closed_after_it() {
    let port = free_port();
    let redirect_uri = format!("http://localhost:{port}/callback");
    let emulator = Emulator::start(&redirect_uri, &[]);
    let home = Home::new(&emulator, &redirect_uri);
    let mut child = home.command(&["connect"]).env("BROWSER", "true").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = lines.find_map(|line| line.ok().filter(|line| line.starts_with("http"))).unwrap();
    let callback = follow(&url);

    // CSR-2, CSR-5: a forged one changes nothing, and the right one still counts.
    let forged = format!("{}?code=canary&realmId={REALM}&state={}", redirect_uri, "x".repeat(43));
    assert_eq!(request("GET", &forged, "").status, 303);
    let landed = request("GET", &format!("http://localhost:{port}/evergrant/done"), "");
    assert!(landed.body.contains("Not connected") && !landed.body.contains("canary"), "{}", landed.body);

    let first = request("GET", &callback, "");
    assert_eq!((first.status, first.location.as_deref()), (303, Some("/evergrant/done")));
    let page = request("GET", &format!("http://localhost:{port}/evergrant/done"), "");
    assert!(page.body.contains("Connected") && !page.body.contains("code="), "{}", page.body);
    assert!(child.wait().unwrap().success());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "RFC 8252 §8.3");
    home.expect(0, &["token"]);
}

#[test]
fn a_wider_consent_leaves_the_grant_alone_until_it_is_there() {
    let emulator = emulator();
    let home = Home::connected(&emulator);
    let before = home.expect(0, &["token"]);
    emulator.tell("consent", r#"{"consent":"deny"}"#);
    let (_, output) = home.connect(&["--realm", REALM, "--scope", "accounting,payment"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(home.expect(0, &["token"]), before, "SCO-4");
    emulator.tell("consent", r#"{"consent":"auto"}"#);
    // Another company than the one that was meant: its code is not used.
    let (_, output) = home.connect(&["--realm", "9341453000000002", "--scope", "accounting"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(home.expect(0, &["token"]), before);
    let (callback, output) = home.connect(&["--realm", REALM, "--scope", "accounting", "--scope", "payment"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_ne!(home.expect(0, &["token"]), before);
    let status: Value = serde_json::from_str(&home.expect(0, &["status", "--json"])).unwrap();
    assert_eq!(status["grants"][0]["scopes"].as_array().unwrap().len(), 2, "SCO-3");
    assert_eq!(status["grants"].as_array().unwrap().len(), 1);

    // EXC-1: the same callback again, for a consent of its own, is not sent.
    let requests = emulator.requests();
    let mut child = home.command(&["connect", "--no-browser"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{callback}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(emulator.requests(), requests);
    home.expect(0, &["refresh"]);
}

#[test]
fn every_exit_code_means_what_the_help_says() {
    let emulator = emulator();
    let home = Home::connected(&emulator);
    // 2: usage.
    home.expect(2, &["token", "--format", "xml"]);
    home.expect(2, &["connect", "--no-browser", "--scope", "nonsense"]);
    for name in ["user:x", "consent:x"] {
        home.expect(2, &["connect", "--no-browser", "--name", name]);
    }
    // 3: only the user leads on.
    let text = home.expect(3, &["token", "9341453000000009"]);
    assert!(text.contains("evergrant connect"), "{text}");
    // 4: not now, and the grant is kept.
    emulator.tell("faults", r#"{"at":"refresh","when":{"next":1},"harm":{"invalid_grant":{}}}"#);
    let text = home.expect(4, &["refresh", "--wait", "0"]);
    assert!(
        text.contains("kept") && text.contains("intuit_tid") && text.contains("possible: "),
        "REF-4, REF-5: {text}"
    );
    home.expect(0, &["token"]);
    let text = home.expect(4, &["doctor"]);
    assert!(text.contains("REF-4") && text.contains("refresh answered 400, intuit_tid"), "{text}");
    let home = Home::connected(&emulator);
    emulator.tell("faults", r#"{"at":"refresh","when":{"next":1},"harm":"html_503"}"#);
    home.expect(4, &["refresh", "--wait", "0"]);
    home.expect(0, &["refresh"]);
    // 6: the authority refuses the app itself.
    let text = said(
        &home.command(&["refresh", "--wait", "0"]).env("EVERGRANT_CLIENT_SECRET", "wrong").output().unwrap(),
    );
    assert!(text.contains("refuses the app itself") && text.contains("no grant was touched"), "{text}");
    let text = home.expect(6, &["call", REALM, "/v3/company/9341453000000002/companyinfo/9341453000000002"]);
    assert!(text.contains("403") && text.contains("intuit_tid"), "{text}");
    // 5: the vault.
    set_mode(&home.folder.path().join("vault.key"), 0o644);
    let text = home.expect(5, &["token"]);
    assert!(text.contains("chmod 600"), "{text}");
    set_mode(&home.folder.path().join("vault.key"), 0o600);
    // Nobody there: provably not sent.
    let home = Home::connected(&emulator);
    drop(emulator);
    let text = home.expect(4, &["refresh", "--wait", "0"]);
    assert!(text.contains("not reached"), "{text}");
    home.expect(0, &["token"]);
}

#[test]
fn a_lost_answer_is_recovered_within_the_same_command() {
    let emulator = emulator();
    let home = Home::connected(&emulator);
    for harm in [r#""answer_lost_after_work""#, r#"{"reset":{"after_work":true}}"#, r#""html_503""#] {
        emulator.tell("faults", &format!(r#"{{"at":"refresh","when":{{"next":1}},"harm":{harm}}}"#));
        let text = home.expect(0, &["refresh"]);
        assert!(text.contains("refreshed"), "{harm}: {text}");
        assert!(emulator.grant_is_alive());
    }
    home.expect(0, &["call", REALM, "companyinfo/{realm}"]);
    // The refresh token came and is kept; the access token broke off, and is asked for again in a minute (I5).
    emulator.tell("faults", r#"{"at":"refresh","when":{"next":1},"harm":"truncated_body"}"#);
    home.expect(4, &["refresh", "--wait", "0"]);
    let status: Value = serde_json::from_str(&home.expect(0, &["status", "--json"])).unwrap();
    let (now, next) = (status["now"].as_u64().unwrap(), status["grants"][0]["next"]["at"].as_u64().unwrap());
    assert!(next <= now + 60, "{status}");
    assert!(emulator.grant_is_alive());
}

/// EXC-3: an exchange is never repeated, whatever became of it.
#[test]
fn a_lost_exchange_is_not_repeated() {
    let emulator = emulator();
    let home = Home::new(&emulator, "http://localhost:8000/callback");
    emulator.tell("faults", r#"{"at":"exchange","when":{"next":1},"harm":"answer_lost_after_work"}"#);
    let (_, output) = home.connect(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let log = emulator.control("log");
    let exchanges = log.as_array().unwrap().iter().filter(|entry| entry["endpoint"] == "exchange").count();
    assert_eq!(exchanges, 1);
    let (_, output) = home.connect(&[]);
    assert!(output.status.success(), "{}", said(&output));
}

/// APP-3.
#[test]
fn environments_are_not_mixed_up() {
    let emulator = emulator();
    let home = Home::connected(&emulator);
    let requests = emulator.requests();
    let mut command = home.command(&["token", REALM, "--environment", "production"]);
    let output = command.env("EVERGRANT_REDIRECT_URI", "https://app.example/cb").output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("sandbox-") && text.contains("production-"), "{text}");
    assert_eq!(emulator.requests(), requests);
}

#[test]
fn four_at_once_refresh_one_after_the_other() {
    let emulator = emulator();
    let home = Home::connected(&emulator);
    emulator.tell("faults", r#"{"at":"refresh","when":"always","harm":{"delay":{"milliseconds":150}}}"#);
    let children: Vec<_> = (0..4).map(|_| home.command(&["refresh"]).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    let mut sent = emulator.refreshes();
    let count = sent.len();
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), count, "REF-2: no token is sent twice");
    assert!(count <= 4);
    assert!(emulator.grant_is_alive());
}

#[test]
fn a_bad_configuration_names_the_way_out() {
    let home = Home::empty("");
    let cases = [
        ("", "EVERGRANT_CLIENT_ID"),
        ("client_id = \"a\"", "EVERGRANT_CLIENT_SECRET"),
        (
            "client_id = \"a\"\nclient_secret = \"canary\"\nredirect_uris = [\"https://a.example/?x\"]",
            "state",
        ),
        ("client_id = \"a\"\nclient_secret = \"canary\"\nredirect_uris = [\"http://a.example/\"]", "https"),
        ("client_id = \"a\"\nclient_secret = \"canary\" canary", "line 2"),
        ("client_idd = \"canary\"", "client_idd"),
        (
            "client_id = \"a\"\nclient_secret = \"canary\"\ndiscovery = \"http://127.0.0.1:1/x\"",
            "--allow-http-loopback",
        ),
        ("client_id = \"a\"\nclient_secret = \"canary\"\nenvironment = \"production\"", "redirect URI"),
        ("environment = \"elsewhere\"", "line 1"),
        ("client_id = \"a\"\n[provider]\ntoken_endpoint = \"https://evil.example/\"", "custom"),
    ];
    for (text, way_out) in cases {
        home.configure(text);
        let said = home.expect(2, &["status"]);
        assert!(said.contains(way_out), "{text}: {said}");
        assert!(!said.contains("canary"), "{text}: {said}");
    }
    home.configure("client_id = \"a\"\nclient_secret = \"canary\"\n");
    set_mode(&home.folder.path().join("evergrant.toml"), 0o644);
    let said = home.expect(2, &["status"]);
    assert!(said.contains("chmod 600") && !said.contains("canary"), "{said}");
}

#[test]
fn doctor_names_the_rule_and_the_way_out() {
    let emulator = emulator();
    let home = Home::connected(&emulator);
    let said = home.expect(0, &["doctor"]);
    for word in ["APP-1", "RED-3", "SCO-1", "tokens/bearer answers", "clock is", "can be written", "linked"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let requests = emulator.requests();
    home.expect(0, &["doctor", "--offline"]);
    assert_eq!(emulator.requests(), requests);
    emulator.tell("clock", r#"{"advance_seconds":4000}"#);
    let said = home.expect(1, &["doctor"]);
    assert!(said.contains("FAIL  DUR-1") && said.contains("set it"), "{said}");
    emulator.tell("clock", r#"{"advance_seconds":-4000}"#);
    // It knocks, and hands nothing over.
    let log = emulator.control("log");
    let knocks =
        log.as_array().unwrap().iter().filter(|entry| entry["method"] == "GET" && entry["endpoint"] != "api");
    assert!(knocks.filter(|entry| entry.get("authorization").is_some()).count() == 0, "{log}");
    drop(emulator);
    let said = home.expect(4, &["doctor"]);
    assert!(said.contains("is not reached"), "{said}");
}

/// RFC 8414 §3.3.
#[test]
fn a_document_of_another_issuer_is_not_used() {
    let emulator = Emulator::start("http://localhost:8000/callback", &["--issuer", "own"]);
    let home = Home::new(&emulator, "http://localhost:8000/callback");
    let said = home.expect(6, &["status"]);
    assert!(said.contains("issuer") && said.contains("nothing of it is used"), "{said}");
}

#[test]
fn help_completions_and_version() {
    let home = Home::empty("");
    let help = home.expect(0, &["--help"]);
    for word in ["demo", "connect", "Examples:", "Exit codes:", "EVERGRANT_HOME", "client_secret"] {
        assert!(help.contains(word), "{word}");
    }
    assert!(home.expect(0, &["connect", "--help"]).contains("--no-browser"));
    assert!(home.expect(0, &["--version"]).starts_with("evergrant "));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(home.expect(0, &["completions", shell]).contains("evergrant"));
    }
    home.expect(2, &[]);
    let text = home.expect(2, &["emulator", "--listen", "0.0.0.0:0"]);
    assert!(text.contains("loopback"), "{text}");
}

#[test]
fn the_demo_holds() {
    let home = Home::empty("");
    let said = home.expect(0, &["demo"]);
    assert!(said.contains("0 failed") && !said.contains("FAILED"), "{said}");
    assert!(!said.contains('\x1b'), "colour is for terminals");
    assert_no_secret(&said, &[]);
}
