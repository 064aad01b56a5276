//! `evergrant emulator`: the offline Intuit, for programs in any language.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use evergrant_emulator::authority::{Environment, Keys, Policy};
use evergrant_emulator::server::{ClockChoice, Consent, Issuer, Options, Server, StartError};

use crate::args::{ClockKind, ConsentBy, Emulator, IssuerOf, KeysOf, PolicyName};
use crate::failure::{Exit, Failure, Result};

/// Prints one line of JSON with the addresses when it is ready, and runs until the process is ended.
pub(crate) fn run(arguments: Emulator) -> Result<()> {
    let running = Server::start(options(arguments)).map_err(|error| match error {
        StartError::System(_) => Failure::new(Exit::Unexpected, error.to_string()),
        _ => Failure::new(Exit::Usage, error.to_string()),
    })?;
    let addresses = serde_json::to_string(running.addresses())
        .map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
    // A program waits for this line: it must not stay in a buffer.
    let mut out = std::io::stdout().lock();
    writeln!(out, "{addresses}")?;
    out.flush()?;
    drop(out);
    running.wait();
    Err(Failure::new(Exit::Unexpected, "the emulator's thread ended"))
}

fn options(arguments: Emulator) -> Options {
    let environment = match arguments.keys {
        KeysOf::Sandbox => Environment::Sandbox,
        KeysOf::Production => Environment::Production,
    };
    let keys = Keys::new(environment, arguments.client_id, arguments.client_secret, arguments.redirect_uri);
    let mut options = Options::new().keys(keys).seed(arguments.seed);
    options.listen = arguments.listen;
    options.allow_beyond_loopback = arguments.allow_beyond_loopback;
    options.anyone_may_control = arguments.anyone_may_control;
    options.consent = match arguments.consent {
        ConsentBy::Auto => Consent::Auto,
        ConsentBy::Page => Consent::Page,
        ConsentBy::Deny => Consent::Deny,
    };
    options.policy = match arguments.policy {
        PolicyName::Grace => Policy::GRACE,
        PolicyName::Sticky => Policy::STICKY,
        PolicyName::Hard => Policy::HARD,
        PolicyName::StickyHard => Policy::STICKY_HARD,
    };
    options.clock = match arguments.clock {
        ClockKind::Real => ClockChoice::Real,
        ClockKind::Fixed => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            ClockChoice::Fixed(since.map_or(0, |since| since.as_secs()))
        }
    };
    options.issuer = match arguments.issuer {
        IssuerOf::Intuit => Issuer::Intuit,
        IssuerOf::Own => Issuer::Own,
    };
    if !arguments.company.is_empty() {
        options.companies = arguments.company;
    }
    options
}
