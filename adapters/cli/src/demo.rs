//! `evergrant demo`: a grant's whole life against the offline Intuit, narrated and checked.
//!
//! The real driver, the real vault in a folder that is gone afterwards, the real HTTP client, over a clock that jumps.
//! Whatever is claimed is checked against what the other side believes, so that every check can fail.

mod browser;
mod story;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Instant;

use evergrant::{App, ClientSecret, Keys, Provider, Time};
use evergrant_emulator::fault::Endpoint;
use evergrant_emulator::server::{
    Addresses, ClockChoice, Consent, LogEntry, Options as EmulatorOptions, Running, Server,
};
use evergrant_ureq::{Client, Options};

use crate::clock::Clock;
use crate::config::open_vault;
use crate::driver::Driver;
use crate::failure::{Exit, Failure, Result};
use crate::journal::Journal;
use crate::output::{self, BOLD, CYAN, DIM, GREEN, RED};

/// Where the story begins: a Friday at eight.
const START: u64 = 1_800_000_000;
const CLIENT_ID: &str = "ABdemoClientOfTheOfflineIntuit";
const CLIENT_SECRET: &str = "demo-secret-of-nobody";

/// The emulator's clock, which jumps where others wait.
struct VirtualClock<'r>(&'r Running);

impl Clock for VirtualClock<'_> {
    fn now(&self) -> Time {
        Time::from_unix(self.0.clock().now())
    }

    fn wait_until(&self, then: Time) {
        let ahead = then.unix().saturating_sub(self.now().unix());
        self.0.clock().advance(i64::try_from(ahead).unwrap_or(i64::MAX));
    }
}

/// What was found of a rule.
struct Check {
    rule: &'static str,
    what: &'static str,
    held: bool,
}

/// The story so far.
struct Demo<'d> {
    intuit: &'d Running,
    driver: &'d Driver<'d>,
    home: &'d Path,
    redirect_uri: &'d str,
    port: u16,
    checks: Vec<Check>,
    /// Everything that was said, to be searched for what must not be in it.
    said: String,
    /// What must be in nothing that was said and in no file: every token that the client ever held.
    secrets: Vec<String>,
}

pub(crate) fn run() -> Result<()> {
    let began = Instant::now();
    let port = free_port()?;
    let redirect_uri = format!("http://localhost:{port}/callback");
    let options = EmulatorOptions::new()
        .sandbox(CLIENT_ID, CLIENT_SECRET, &[&redirect_uri])
        .consent(Consent::Auto)
        .clock(ClockChoice::Fixed(START));
    let intuit = Server::start(options).map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
    let home = tempfile::tempdir()?;
    let provider = provider(intuit.addresses());
    let redirect_uris = [redirect_uri.as_str()];
    let keys = Keys {
        client_id: CLIENT_ID,
        client_secret: ClientSecret::new(CLIENT_SECRET),
        redirect_uris: &redirect_uris,
        further_scopes: &[],
        state_key: None,
    };
    let app = App::new(&provider, keys).map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
    let (vault, http, clock) =
        (open_vault(home.path())?, Client::new(Options::default()), VirtualClock(&intuit));
    let driver = Driver {
        app: &app,
        vault: &vault,
        http: &http,
        clock: &clock,
        journal: &Journal::none(),
        patience_seconds: 30,
    };
    let mut demo = Demo {
        intuit: &intuit,
        driver: &driver,
        home: home.path(),
        redirect_uri: &redirect_uri,
        port,
        checks: Vec::new(),
        said: String::new(),
        secrets: Vec::new(),
    };
    demo.headline();
    let told = demo.tell();
    demo.verdict(told, began)
}

/// Intuit's sandbox, with its addresses here.
fn provider(at: &Addresses) -> Provider<'_> {
    Provider {
        name: "offline-intuit",
        authorization_endpoint: &at.authorize,
        token_endpoint: &at.token,
        revocation_endpoint: &at.revoke,
        userinfo_endpoint: &at.userinfo,
        jwks_uri: &at.jwks,
        discovery: &at.discovery,
        api: &at.api,
        loopback_http: true,
        ..Provider::INTUIT_SANDBOX
    }
}

/// Somebody else may take it before it is used; then the demo says so, and is run again.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where an authorization URL of the offline Intuit redirects to.
#[cfg(test)]
pub(crate) fn redirected(url: &str) -> Option<String> {
    browser::visit(url).ok()?.location
}

impl Demo<'_> {
    fn headline(&mut self) {
        output::say(format_args!("{BOLD}The life of a grant{BOLD:#}"));
        output::say(format_args!(
            "{DIM}offline: Intuit is played by {}, the clock jumps, and nothing here outlives the demo{DIM:#}\n",
            self.intuit.addresses().base
        ));
    }

    /// One line of the story.
    fn line(&mut self, what: &str, how: &str) {
        let seconds = self.driver.now().unix().saturating_sub(START);
        let (day, hour, minute) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
        self.said.push_str(what);
        self.said.push_str(how);
        self.said.push('\n');
        output::say(format_args!(
            "{CYAN}day {day:>3}{CYAN:#} {DIM}{hour:02}:{minute:02}{DIM:#}  {what:<46} {DIM}{how}{DIM:#}"
        ));
    }

    fn check(&mut self, rule: &'static str, what: &'static str, held: bool) {
        self.checks.push(Check { rule, what, held });
    }

    /// Requests of a kind that Intuit has seen, oldest first.
    fn seen(&self, endpoint: Endpoint) -> Vec<LogEntry> {
        let mut log = self.intuit.log();
        log.retain(|entry| entry.endpoint == Some(endpoint));
        log
    }

    fn verdict(&mut self, told: Result<()>, began: Instant) -> Result<()> {
        if let Err(failure) = told {
            output::fail(&failure);
            self.check("-", "the story was told to its end", false);
        }
        output::say(format_args!("\n{BOLD}What was checked{BOLD:#}"));
        for Check { rule, what, held } in &self.checks {
            let verdict =
                if *held { format!("{GREEN}held{GREEN:#}  ") } else { format!("{RED}FAILED{RED:#}") };
            output::say(format_args!("  {verdict}  {DIM}{rule:<8}{DIM:#} {what}"));
        }
        let failed = self.checks.iter().filter(|check| !check.held).count();
        let (checks, refreshes) = (self.checks.len(), self.seen(Endpoint::Refresh).len());
        let days = self.driver.now().unix().saturating_sub(START) / 86_400;
        output::say(format_args!(
            "\n{checks} checks, {failed} failed; {days} days and {refreshes} refreshes in {:.1} s",
            began.elapsed().as_secs_f32()
        ));
        if failed == 0 {
            return Ok(());
        }
        Err(Failure::new(Exit::Unexpected, format!("{failed} of {checks} checks failed"))
            .or("this is a bug of evergrant: please report it with the output above"))
    }
}
