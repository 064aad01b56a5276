//! `evergrant connect`: from the user's consent to tokens in the vault.
//!
//! The consent is stored before its URL is shown, and its code is spent, durably, before it is sent; so whatever happens
//! in between, no code is ever sent twice (EXC-1, I1). The grant that a realm has goes on working until the new tokens
//! are stored (SCO-4).

use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

use evergrant::phase::Refusal;
use evergrant::{Ask, Callback, Error, Input, Scopes, Tell};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::args::Connect;
use crate::config::Config;
use crate::driver::{Driver, Grant, Rows};
use crate::failure::{Exit, Failure, Result};
use crate::loopback::{Loopback, port_and_path};
use crate::output::{self, CYAN};
use crate::report;
use crate::sign_in;

/// What is asked for.
pub(crate) struct Plan<'p> {
    pub(crate) redirect_uri: &'p str,
    pub(crate) scopes: Scopes,
    /// The company that must be chosen.
    pub(crate) realm: Option<&'p str>,
    /// The grant's name where there are no companies.
    pub(crate) name: &'p str,
}

pub(crate) fn run(config: &Config, driver: &Driver<'_>, arguments: &Connect) -> Result<()> {
    let scopes = if arguments.scope.is_empty() { &config.scopes } else { &arguments.scope };
    if scopes.is_empty() {
        return Err(Failure::usage(
            "no scope was asked for",
            "say --scope accounting, or set scopes in the file",
        ));
    }
    let first = config.redirect_uris.first().map(String::as_str).unwrap_or_default();
    let plan = Plan {
        redirect_uri: arguments.redirect_uri.as_deref().unwrap_or(first),
        scopes: config.scopes_of(driver.app, scopes)?,
        realm: arguments.realm.as_deref(),
        name: arguments.name.as_deref().unwrap_or("default"),
    };
    if Rows::of(&driver.name(plan.name)?) != Rows::Grants {
        return Err(Failure::usage(
            format!("a grant cannot be called {}: the vault needs that name itself", plan.name),
            "name it otherwise, with --name",
        ));
    }
    remark_narrower(driver, &plan)?;
    let until = Instant::now() + Duration::from_secs(arguments.timeout);
    let grant = match port_and_path(plan.redirect_uri).filter(|_| !arguments.no_browser) {
        Some((port, path)) => {
            let port = Loopback::listen(port, path)?;
            let (slot, url) = begin(driver, &plan)?;
            show(&url);
            by_port(driver, &plan, slot, &port, until)?
        }
        None => {
            let (slot, url) = begin(driver, &plan)?;
            output::say(&url);
            by_paste(driver, &plan, slot)?
        }
    };
    report::connected(driver, &grant);
    sign_in::finish(driver, &grant, plan.scopes)
}

/// SCO-2: nothing is added to what was named, so a scope that is held now may go.
fn remark_narrower(driver: &Driver<'_>, plan: &Plan<'_>) -> Result<()> {
    let Some(realm) = plan.realm else { return Ok(()) };
    let Some(grant) = driver.find(&driver.name(realm)?)? else { return Ok(()) };
    let gone: Vec<&str> = driver
        .app
        .scope_names(grant.session.scopes())
        .filter(|name| !driver.app.scope_names(plan.scopes).any(|asked| asked == *name))
        .collect();
    if !gone.is_empty() && grant.session.phase().usable().is_some() {
        output::warn(format_args!(
            "the new consent will not have {}: name it as well to keep it",
            gone.join(", ")
        ));
    }
    Ok(())
}

fn show(url: &str) {
    output::note("Your browser opens. If it does not, go to:");
    output::note(format_args!("{CYAN}{url}{CYAN:#}"));
    if webbrowser::open(url).is_err() {
        output::warn("no browser could be opened: use the address above");
    }
    output::note("Waiting for your consent (Ctrl-C gives up; a grant that is there is not touched) …");
}

/// Takes what comes in at the port, until it is the right thing. Anybody can call a port, so what is wrong changes nothing
/// (CSR-5).
pub(crate) fn by_port(
    driver: &Driver<'_>,
    plan: &Plan<'_>,
    mut slot: Grant,
    port: &Loopback,
    until: Instant,
) -> Result<Grant> {
    while let Some(redirected) = port.next(until) {
        match take_callback(driver, plan, &mut slot, &redirected.query) {
            Ok(()) => {
                let grant = driver.move_in(slot);
                match &grant {
                    Ok(_) => port.answer(redirected, "Connected", "The grant is stored."),
                    Err(failure) => port.answer(redirected, "Not stored yet", &failure.what),
                }
                return grant;
            }
            Err(failure) if is_over(&slot) => {
                port.answer(redirected, "Not connected", &failure.what);
                let _ = driver.remove(&slot.name);
                return Err(failure);
            }
            Err(failure) => {
                port.answer(redirected, "Not connected", &failure.what);
                output::warn(format_args!("{failure}\n  still waiting"));
            }
        }
    }
    let _ = driver.remove(&slot.name);
    Err(Failure::new(Exit::ConsentNeeded, "no consent came in time").or(
        "run it again; if the authority showed an error instead of a consent page, compare the redirect URI with the one on \
         the Keys tab, letter by letter (RED-2)",
    ))
}

fn by_paste(driver: &Driver<'_>, plan: &Plan<'_>, mut slot: Grant) -> Result<Grant> {
    let watched = std::io::stdin().is_terminal();
    output::note("Open that address, consent, and paste the address that the browser ends up at:");
    let mut line = Zeroizing::new(String::new());
    loop {
        line.zeroize();
        if std::io::stdin().lock().read_line(&mut line)? == 0 {
            let _ = driver.remove(&slot.name);
            return Err(
                Failure::new(Exit::ConsentNeeded, "no callback came on standard input").or("run it again")
            );
        }
        if line.trim().is_empty() {
            continue;
        }
        match take_callback(driver, plan, &mut slot, &line) {
            Ok(()) => return driver.move_in(slot),
            Err(failure) if watched && !is_over(&slot) => {
                output::warn(format_args!("{failure}\n  paste it again:"))
            }
            Err(failure) => {
                let _ = driver.remove(&slot.name);
                return Err(failure);
            }
        }
    }
}

/// Whether nothing can come of this consent any more.
fn is_over(slot: &Grant) -> bool {
    !matches!(slot.session.phase().consent, evergrant::phase::Consent::Pending { .. })
}

/// Stores a consent, and says where the user is to be sent.
pub(crate) fn begin(driver: &Driver<'_>, plan: &Plan<'_>) -> Result<(Grant, String)> {
    let mut random = [0; 64];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new(Exit::Unexpected, format!("no random bytes can be had: {error}")))?;
    let digest = Sha256::digest(random);
    let fingerprint: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let mut slot = driver.new_slot(&fingerprint, plan.name)?;
    let ask = Ask { redirect_uri: plan.redirect_uri, scopes: plan.scopes, random };
    random.zeroize();
    driver.act(&mut slot, |_| Some(Input::Ask(ask)))?;
    let length = match slot.session.authorization_url(driver.app, &mut []) {
        Err(Error::TooLong(too_long)) => too_long.needed,
        other => other?.len(),
    };
    let mut buffer = vec![0; length];
    let url = slot.session.authorization_url(driver.app, &mut buffer)?.to_owned();
    Ok((slot, url))
}

/// Judges a callback, and exchanges its code. `Err` with the consent still pending where it was not the right one.
pub(crate) fn take_callback(
    driver: &Driver<'_>,
    plan: &Plan<'_>,
    slot: &mut Grant,
    text: &str,
) -> Result<()> {
    let callback = Callback::parse(text, driver.app.provider().realm_parameter).map_err(Error::from)?;
    if let (Some(expected), Some(chosen)) = (plan.realm, callback.realm)
        && !chosen.is(expected)
    {
        let what = format!("another company than {expected} was chosen: its code was not used");
        return Err(Failure::new(Exit::ConsentNeeded, what).or("consent again, and choose that one"));
    }
    if let Some(code) = callback.code {
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(code.decode().collect());
        driver.will_spend(slot, Sha256::digest(&*bytes).into());
    }
    let tells = driver.settle(slot, |_| Some(Input::Callback { text, binding: &[] }))?;
    match tells.last() {
        Some(Tell::Linked) => Ok(()),
        last => Err(not_linked(driver, slot, last)?),
    }
}

fn not_linked(driver: &Driver<'_>, slot: &Grant, last: Option<&Tell>) -> Result<Failure> {
    let failure = match last {
        Some(Tell::Declined) => {
            return Ok(Failure::new(Exit::ConsentNeeded, "the user, or the authority on the way, declined")
                .or("nothing is lost: a grant that was there goes on working (SCO-4)"));
        }
        Some(Tell::ExchangeRefused(Refusal::AppAtFault)) => {
            Failure::new(Exit::Authority, "the authority refuses the app itself, not the code").or(
                "compare client ID and secret with the Keys tab, and the environment with that of the keys",
            )
        }
        Some(Tell::ExchangeRefused(Refusal::InvalidGrant)) => Failure::new(
            Exit::ConsentNeeded,
            "the authority refused the code; it is never sent again (EXC-1)",
        ),
        Some(Tell::NotSent { .. }) => {
            Failure::new(Exit::NotNow, "the authority was not reached, and the code is not used")
        }
        _ => Failure::new(
            Exit::ConsentNeeded,
            "it is unknown whether the exchange arrived; it is never repeated (EXC-3)",
        ),
    };
    let failure = report::with_causes(driver, slot, failure)?;
    Ok(failure.or("run `evergrant connect` again"))
}
