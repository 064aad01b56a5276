//! The emulator's server, its clock, and an app of its own.
#![allow(dead_code, unreachable_pub)] // each test program uses its own part

use std::sync::Arc;

use evergrant::{App, ClientSecret, Keys, Provider, Scopes, StateKey, Time};
use evergrant_emulator::fault::Endpoint;
use evergrant_emulator::server::{Consent as Answers, Options as EmulatorOptions, Running, Server};
use evergrant_keeper::{Clock, Consent};

pub const REDIRECT: &str = "http://localhost:8000/callback";
pub const SECRET: &str = "canary-client-secret";
pub const REALM: &str = "9341453000000001";
pub const CONSENT: Consent<'static> =
    Consent { redirect_uri: REDIRECT, scopes: Scopes::ACCOUNTING, binding: b"", name: "" };

#[derive(Clone)]
pub struct Emulated(pub Arc<Running>);

impl Clock for Emulated {
    fn now(&self) -> Time {
        Time::from_unix(self.0.clock().now())
    }
}

pub fn emulator() -> Arc<Running> {
    let options = EmulatorOptions::new().sandbox("client", SECRET, &[REDIRECT]).consent(Answers::Auto);
    Arc::new(Server::start(options).unwrap())
}

pub fn app(emulator: &Running) -> App<'static> {
    let leak = |text: &str| -> &'static str { String::leak(text.to_owned()) };
    let at = emulator.addresses();
    let provider = Box::leak(Box::new(Provider {
        authorization_endpoint: leak(&at.authorize),
        token_endpoint: leak(&at.token),
        revocation_endpoint: leak(&at.revoke),
        api: leak(&at.api),
        userinfo_endpoint: "",
        jwks_uri: "",
        loopback_http: true,
        ..Provider::INTUIT_SANDBOX
    }));
    let keys = Keys {
        client_id: "client",
        client_secret: ClientSecret::new(SECRET),
        redirect_uris: &[REDIRECT],
        further_scopes: &[],
        state_key: Some(StateKey::new(&[9; 32])),
    };
    App::new(provider, keys).unwrap()
}

/// The browser: follows the one redirect by hand.
pub fn browse(url: &str) -> String {
    use std::io::{Read, Write};
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find(|line| line.to_lowercase().starts_with("location: ")).unwrap();
    line[10..].trim().to_owned()
}

pub fn refreshes(emulator: &Running) -> usize {
    emulator.log().iter().filter(|entry| entry.endpoint == Some(Endpoint::Refresh)).count()
}

pub fn exchanges(emulator: &Running) -> usize {
    emulator.log().iter().filter(|entry| entry.endpoint == Some(Endpoint::Exchange)).count()
}
