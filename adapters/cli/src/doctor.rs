//! `evergrant doctor`: what is wrong, why, and what to do, by the FAQ.
//!
//! It sends no credentials and no token: the endpoints are only knocked at.

use std::path::Path;

use evergrant::phase::Grant as State;
use evergrant::{App, Due, Provider, Reason, Time};
use evergrant_ureq::{Client, Options};
use evergrant_vault::{Sqlite, Store};

use crate::args;
use crate::clock::{Clock, MachineClock};
use crate::config::Config;
use crate::discovery;
use crate::driver::{Driver, Grant, Rows};
use crate::failure::{Exit, Failure, Result};
use crate::journal::Journal;
use crate::loopback::port_and_path;
use crate::output::{self, BOLD, DIM, GREEN, RED, YELLOW};
use crate::report;

/// More than this, and deadlines are judged wrongly.
const CLOCK_OFF_WARN: u64 = 60;
const CLOCK_OFF_FAIL: u64 = 300;

/// What was found so far.
#[derive(Default)]
struct Findings {
    worst: Option<Exit>,
    failed: usize,
    warned: usize,
}

impl Findings {
    fn ok(&self, rule: &str, what: impl std::fmt::Display) {
        output::say(format_args!("{GREEN}ok  {GREEN:#}  {DIM}{rule:<8}{DIM:#} {what}"));
    }

    fn warn(&mut self, rule: &str, what: impl std::fmt::Display) {
        self.warned += 1;
        output::say(format_args!("{YELLOW}warn{YELLOW:#}  {DIM}{rule:<8}{DIM:#} {what}"));
    }

    fn fail(&mut self, rule: &str, failure: &Failure) {
        self.failed += 1;
        self.worst = self.worst.max(Some(failure.exit));
        output::say(format_args!("{RED}FAIL{RED:#}  {DIM}{rule:<8}{DIM:#} {}", failure.what));
        for way in &failure.way_out {
            output::say(format_args!("                {way}"));
        }
    }

    fn section(&self, name: &str) {
        output::say(format_args!("{BOLD}{name}{BOLD:#}"));
    }

    fn end(self) -> Result<()> {
        let Self { worst, failed, warned } = self;
        match worst {
            None => {
                output::say(format_args!(
                    "\nnothing is wrong{}",
                    if warned > 0 { ", but look at the warnings" } else { "" }
                ));
                Ok(())
            }
            Some(exit) => Err(Failure::new(exit, format!("{failed} checks failed, {warned} warned"))),
        }
    }
}

pub(crate) fn run(global: &args::Global, arguments: &args::Doctor) -> Result<()> {
    let mut findings = Findings::default();
    findings.section("Configuration");
    let mut config = match Config::load(global) {
        Ok(config) => config,
        Err(failure) => {
            findings.fail("-", &failure);
            return findings.end();
        }
    };
    match &config.file {
        Some(file) => findings.ok("-", format_args!("read {}", file.display())),
        None => findings.warn("-", "no evergrant.toml: everything comes from the environment"),
    }
    let http = Client::new(Options::of(&config.provider.view()));
    if !arguments.offline
        && let Err(failure) = discovery::apply(&mut config, &http)
    {
        findings.fail("-", &failure);
    }
    let provider = config.provider.view();
    let (redirect_uris, further_scopes) = config.lists();
    let app = config.app(&provider, &redirect_uris, &further_scopes);
    check_app(&mut findings, &config, &app);
    if !arguments.offline {
        check_network(&mut findings, &config, &provider, &http);
    }
    if let Some(vault) = check_vault(&mut findings, &config)
        && let Ok(app) = &app
    {
        let journal = Journal::beside_the_vault(&config.home);
        let driver = Driver {
            app,
            vault: &vault,
            http: &http,
            clock: &MachineClock,
            journal: &journal,
            patience_seconds: 0,
        };
        check_grants(&mut findings, &driver)?;
    }
    findings.end()
}

fn check_app(findings: &mut Findings, config: &Config, app: &Result<App<'_>>) {
    let app = match app {
        Ok(app) => app,
        Err(failure) => return findings.fail("APP-1", failure),
    };
    findings.ok("APP-1", format_args!("client ID and secret are there, for {}", config.environment));
    for uri in app.redirect_uris() {
        findings.ok("RED-3", format_args!("{uri}; it must stand on the Keys tab letter by letter (RED-2)"));
    }
    match app.redirect_uris().first().and_then(|uri| port_and_path(uri)) {
        Some((port, path)) => match crate::loopback::Loopback::listen(port, path) {
            Ok(_) => findings.ok("RED-5", format_args!("port {port} is free for `connect`")),
            Err(failure) => findings.warn("RED-5", failure),
        },
        None => {
            findings.ok("RED-5", "the redirect is not to this machine: `connect` takes the pasted address")
        }
    }
    match config.scopes_of(app, &config.scopes) {
        Ok(scopes) if scopes.is_empty() => {
            findings.warn("SCO-1", "no scopes are set: name them with connect --scope")
        }
        Ok(_) => findings.ok("SCO-1", format_args!("asks for {}", config.scopes.join(", "))),
        Err(failure) => findings.fail("SCO-1", &failure),
    }
}

/// Knocks at the token endpoint, and compares the clocks.
fn check_network(findings: &mut Findings, config: &Config, provider: &Provider<'_>, http: &Client) {
    findings.section("Network");
    if provider.token_endpoint.is_empty() {
        return findings.warn("-", "no token endpoint is known: set discovery, or [provider] token_endpoint");
    }
    let reply = http.read(provider.token_endpoint);
    if let (None, Some(why)) = (reply.status(), reply.failure()) {
        let what = format!("{} is not reached: {why}", provider.token_endpoint);
        return findings.fail("-", &Failure::new(Exit::NotNow, what));
    }
    findings.ok("-", format_args!("{} answers", provider.token_endpoint));
    match reply.date() {
        Some(date) => check_clock(findings, MachineClock.now(), date),
        None => findings.warn("DUR-1", "the server's answer has no date to compare the clock with"),
    }
    if config.provider.discovery.is_empty() && !provider.discovery.is_empty() {
        compare(findings, provider, http);
    }
}

fn check_clock(findings: &mut Findings, here: Time, there: Time) {
    let off = here.unix().abs_diff(there.unix());
    let what = format!("this machine's clock is {} off the server's", output::duration(off));
    match off {
        CLOCK_OFF_FAIL.. => findings.fail(
            "DUR-1",
            &Failure::new(Exit::Unexpected, what).or("set it: every deadline is judged by it"),
        ),
        CLOCK_OFF_WARN.. => findings.warn("DUR-1", what),
        _ => findings.ok("DUR-1", what),
    }
}

/// Whether the endpoints that are built in are still those of the discovery document.
fn compare(findings: &mut Findings, provider: &Provider<'_>, http: &Client) {
    match discovery::read(http, provider.discovery) {
        Err(failure) => findings.warn("-", failure),
        Ok((metadata, _)) => {
            let revoke = metadata.revocation_endpoint.as_deref().unwrap_or_default();
            let same = metadata.issuer == provider.issuer
                && metadata.authorization_endpoint == provider.authorization_endpoint
                && metadata.token_endpoint == provider.token_endpoint
                && revoke == provider.revocation_endpoint;
            if same {
                findings.ok("-", "the built-in endpoints are those of the discovery document");
            } else {
                let what = format!(
                    "the discovery document names other endpoints: use it with --discovery {}",
                    provider.discovery
                );
                findings.warn("-", what);
            }
        }
    }
}

fn check_vault(findings: &mut Findings, config: &Config) -> Option<Sqlite> {
    findings.section("Vault");
    let vault = match config.vault() {
        Ok(vault) => vault,
        Err(failure) => {
            findings.fail("REF-1", &failure);
            return None;
        }
    };
    let keys: Vec<String> = vault.key_ids().iter().map(ToString::to_string).collect();
    findings.ok("REF-1", format_args!("{} opens under key {}", vault.path().display(), keys.join(", ")));
    match write_once(&vault) {
        Ok(()) => findings.ok("REF-1", "it can be written, so tokens can be stored before they are used"),
        Err(failure) => findings.fail("REF-1", &failure),
    }
    for file in [vault.path(), &config.home.join("vault.key")] {
        if let Some(mode) = open_mode(file) {
            findings
                .warn("I6", format_args!("others may read {} (mode {mode:03o}): chmod 600", file.display()));
        }
    }
    Some(vault)
}

/// A mark that means nothing and goes away by itself.
fn write_once(vault: &Sqlite) -> Result<()> {
    let mut mark = [0; 32];
    getrandom::fill(&mut mark).map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
    let now = MachineClock.now().unix();
    let _ = vault.spend(now, &mark, now + 1)?;
    Ok(())
}

fn open_mode(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
        (mode & 0o077 != 0).then_some(mode)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

fn check_grants(findings: &mut Findings, driver: &Driver<'_>) -> Result<()> {
    findings.section("Grants");
    let own = driver.own_rows(Rows::Grants)?;
    if own.is_empty() {
        findings.warn(
            "-",
            format_args!("nothing is connected in {}: run `evergrant connect`", driver.app.provider().name),
        );
    }
    for name in &own {
        match driver.find(name) {
            Ok(Some(grant)) => check_grant(findings, driver, &grant)?,
            Ok(None) => {}
            Err(failure) => findings.fail("REF-1", &failure),
        }
    }
    let (app, environment) =
        driver.name("any").map(|name| (name.app().to_owned(), name.environment().to_owned()))?;
    for name in driver.all_rows()?.iter().filter(|name| Rows::of(name) == Rows::Grants) {
        if name.app() != app || name.environment() != environment {
            let what =
                format!("{} belongs to other keys, of {}: not looked at", name.realm(), name.environment());
            findings.ok("APP-3", what);
        }
    }
    Ok(())
}

fn check_grant(findings: &mut Findings, driver: &Driver<'_>, grant: &Grant) -> Result<()> {
    let (realm, phase, now) = (grant.name.realm(), grant.session.phase(), driver.now());
    let overdue = matches!(grant.session.due(driver.app), Due::Tick(at) if at.plus(3_600) < now);
    match phase.grant {
        State::Linked if !overdue => findings.ok(
            "DUR-6",
            format_args!(
                "{realm}: linked; refresh token for {}",
                output::duration(phase.held.end().since(now).into())
            ),
        ),
        State::Linked => findings.warn(
            "DUR-8",
            format_args!(
                "{realm}: {}; run `evergrant refresh --due` from time to time",
                report::next(driver, grant)
            ),
        ),
        State::Refreshing { .. } | State::Uncertain => findings.warn(
            "STA-4",
            format_args!("{realm}: a refresh was not answered; {}", report::next(driver, grant)),
        ),
        // As it was meant to be.
        State::Closed { reason: Reason::Revoked | Reason::RevokeUnanswered, .. } => findings.warn(
            "REV-1",
            format_args!("{realm}: revoked; `evergrant disconnect --forget {realm}` takes it off the list"),
        ),
        _ => {
            let rule = if matches!(phase.grant, State::Suspect) { "REF-4" } else { "REV-3" };
            findings.fail(rule, &report::why_not(driver, grant, None)?);
        }
    }
    for entry in driver.journal.latest(realm, 3).iter().filter(|entry| entry.at + 7 * 86_400 > now.unix()) {
        output::say(format_args!("                {DIM}{entry}{DIM:#}"));
    }
    Ok(())
}
