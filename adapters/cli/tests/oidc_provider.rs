//! Connect, token, refresh and disconnect against a certified OpenID provider that rotates at every refresh
//! (`tests/interop/oidc-provider`): what was learnt of Intuit must not stand in the way elsewhere.
//!
//! Needs node and npm, so it runs where `EVERGRANT_INTEROP=1` says so:
//! `EVERGRANT_INTEROP=1 cargo test -p evergrant-cli --test oidc_provider`.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::{Home, assert_no_secret, request, said};

const CLIENT_ID: &str = "evergrant test";
const CLIENT_SECRET: &str = "canary: a secret + with % reserved characters";
const REDIRECT_URI: &str = "http://127.0.0.1:8765/callback";

struct Provider {
    child: Child,
    issuer: String,
}

impl Provider {
    fn start() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/oidc-provider");
        if !folder.join("node_modules").exists() {
            let install = ["install", "--no-audit", "--no-fund", "--no-package-lock"];
            let installed =
                Command::new("npm").args(install).current_dir(&folder).stdout(Stdio::null()).status();
            assert!(installed.unwrap().success(), "npm install failed in {}", folder.display());
        }
        let mut child = Command::new("node")
            .arg("server.mjs")
            .current_dir(&folder)
            .env("EVERGRANT_CLIENT_ID", CLIENT_ID)
            .env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET)
            .env("EVERGRANT_REDIRECT_URI", REDIRECT_URI)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        Self { child, issuer: ready["issuer"].as_str().unwrap().to_owned() }
    }

    fn counted(&self, what: &str) -> u64 {
        let counted: Value =
            serde_json::from_str(&request("GET", &format!("{}/counted", self.issuer), "").body).unwrap();
        counted[what].as_u64().unwrap()
    }

    fn home(&self) -> Home {
        let home = Home::empty(REDIRECT_URI);
        home.configure(&format!(
            "environment = \"custom\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n\
             redirect_uris = [\"{REDIRECT_URI}\"]\nscopes = [\"openid\", \"offline_access\"]\n\
             discovery = \"{}/.well-known/openid-configuration\"\nallow_http_loopback = true\n\
             [provider]\npkce = true\nauthentication = \"basic-encoded\"\n\
             authorization_parameters = {{ prompt = \"consent\" }}\n",
            self.issuer
        ));
        home
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows redirects with cookies until they leave for the redirect URI.
fn browse(url: &str, issuer: &str) -> String {
    let mut cookies = BTreeMap::new();
    let mut url = url.to_owned();
    for _ in 0..12 {
        if url.starts_with(REDIRECT_URI) {
            return url;
        }
        let rest = url.strip_prefix(issuer).map_or(url.as_str(), |rest| rest).to_owned();
        let authority = issuer.strip_prefix("http://").unwrap();
        let jar: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut stream = TcpStream::connect(authority).unwrap();
        write!(
            stream,
            "GET {rest} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncookie: {}\r\n\r\n",
            jar.join("; ")
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let mut location = None;
        for line in text.lines().take_while(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if name.eq_ignore_ascii_case("location") {
                location = Some(value.to_owned());
            } else if name.eq_ignore_ascii_case("set-cookie") {
                let (name, value) = value.split(';').next().unwrap().split_once('=').unwrap();
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        url = location.unwrap_or_else(|| panic!("no redirect: {text}"));
    }
    panic!("too many redirects");
}

#[test]
fn a_grant_lives_at_a_certified_provider() {
    if std::env::var_os("EVERGRANT_INTEROP").is_none() {
        println!("left out: set EVERGRANT_INTEROP=1 (it needs node and npm)");
        return;
    }
    let provider = Provider::start();
    let home = provider.home();
    let (callback, output) = home.connect_by(&[], |url| browse(url, &provider.issuer));
    let mut all = said(&output);
    assert!(output.status.success(), "{all}");
    assert!(callback.contains("iss="), "RFC 9207: {callback}");
    // SCO-5, by a token that none of our own code signed.
    assert!(all.contains("signed in"), "{all}");
    let user: Value = serde_json::from_str(&home.expect(0, &["whoami", "--json"])).unwrap();
    assert_eq!(user["issuer"].as_str(), Some(&*provider.issuer));
    assert!(!user["subject"].as_str().unwrap().is_empty() && user["claims"].is_object(), "{user}");
    let first = home.expect(0, &["token"]);
    for _ in 0..3 {
        all += &home.expect(0, &["refresh"]);
    }
    assert!(all.contains("with a new refresh token"), "{all}");
    assert_eq!(
        (provider.counted("codes"), provider.counted("refreshes"), provider.counted("reused")),
        (1, 3, 0)
    );
    let second = home.expect(0, &["token", "default"]);
    assert_ne!(first, second);
    let status: Value = serde_json::from_str(&home.expect(0, &["status", "--json"])).unwrap();
    assert_eq!(
        (status["grants"][0]["realm"].as_str(), status["grants"][0]["state"].as_str()),
        (Some("default"), Some("linked"))
    );
    assert_eq!(status["grants"][0]["scopes"].as_array().unwrap().len(), 2);

    // A second grant, by a name of its own.
    let (_, output) = home.connect_by(&["--name", "other"], |url| browse(url, &provider.issuer));
    assert!(output.status.success(), "{}", said(&output));
    all += &home.expect(0, &["refresh", "other"]);
    all += &home.expect(2, &["token"]);
    all += &home.expect(0, &["disconnect", "other"]);
    assert_eq!(provider.counted("revoked"), 1);
    all += &home.expect(3, &["token", "other"]);
    all += &home.expect(0, &["refresh", "default"]);
    all += &home.expect(0, &["doctor"]);
    assert_no_secret(&all, &[CLIENT_SECRET, first.trim(), second.trim()]);
}
