//! `evergrant status`: each grant's clocks, what happens next, and when.

use evergrant::phase::{Consent, Grant as State, Held};
use evergrant::{Phase, Time};
use serde_json::{Value, json};

use crate::args;
use crate::driver::{Driver, Grant, Rows};
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, BOLD, DIM, GREEN, RED, YELLOW};
use crate::report;

const WIDTH: usize = 30;

pub(crate) fn run(driver: &Driver<'_>, arguments: &args::Status) -> Result<()> {
    let mut names = driver.own_rows(Rows::Grants)?;
    if let Some(realm) = &arguments.realm.realm {
        // Its error says where the realm may be instead.
        let grant = driver.load(realm)?;
        names = vec![grant.name];
    }
    let mut grants = Vec::new();
    for name in &names {
        grants.extend(driver.find(name)?);
    }
    if arguments.json {
        return as_json(driver, &grants);
    }
    if grants.is_empty() {
        output::say(format_args!("nothing is connected in {}", driver.app.provider().name));
        output::note("run `evergrant connect`");
    }
    for (count, grant) in grants.iter().enumerate() {
        if count > 0 {
            output::say("");
        }
        show(driver, grant);
    }
    show_others(driver)
}

fn show(driver: &Driver<'_>, grant: &Grant) {
    let now = driver.now();
    let phase = grant.session.phase();
    let style = match phase.grant {
        State::Linked => GREEN,
        State::Closed { .. } => RED,
        _ => YELLOW,
    };
    let scopes: Vec<&str> = driver.app.scope_names(grant.session.scopes()).collect();
    output::say(format_args!(
        "{BOLD}{}{BOLD:#}  {style}{}{style:#}  {DIM}{}{DIM:#}",
        grant.name.realm(),
        report::state(&phase.grant),
        scopes.join(" ")
    ));
    if let Some(held) = phase.usable() {
        for clock in clocks(driver, held) {
            output::say(clock.line(now));
        }
    }
    if let State::Closed { reason, .. } = phase.grant {
        output::say(format_args!("  {RED}{reason}{RED:#}"));
    }
    for doubt in doubts(phase) {
        output::say(format_args!("  {YELLOW}{doubt}{YELLOW:#}"));
    }
    output::say(format_args!("  next     {}", report::next(driver, grant)));
}

/// One of a grant's clocks.
struct Clock {
    name: &'static str,
    end: Time,
    whole: u64,
}

impl Clock {
    fn line(&self, now: Time) -> String {
        let left = self.end.unix().saturating_sub(now.unix());
        format!(
            "  {:<8} {} {DIM}{}{DIM:#}",
            self.name,
            output::bar(left, self.whole, WIDTH),
            if left > 0 {
                format!("{} left, until {}", output::duration(left), output::moment(self.end))
            } else {
                "over".into()
            },
        )
    }
}

fn clocks(driver: &Driver<'_>, held: &Held) -> Vec<Clock> {
    let mut clocks = vec![
        Clock { name: "access", end: held.access_end(), whole: held.access_for.into() },
        Clock { name: "refresh", end: held.rolling_end(), whole: held.refresh_for.into() },
    ];
    if report::has_hard_end(held) {
        let whole = held.hard_for.max(driver.app.provider().policy.hard_for);
        clocks.push(Clock { name: "grant", end: held.hard_end(), whole: whole.into() });
    }
    clocks
}

/// What speaks against a grant that is alive, in words.
fn doubts(phase: &Phase) -> Vec<String> {
    phase.usable().map(|_| report::doubts(&phase.doubt)).unwrap_or_default()
}

/// Consents under way, and grants of other keys, of which only the names are known here.
fn show_others(driver: &Driver<'_>) -> Result<()> {
    for name in driver.own_rows(Rows::Consents)? {
        let Some(slot) = driver.find(&name)? else { continue };
        if let Consent::Pending { until } = slot.session.phase().consent {
            output::note(format_args!("a consent is pending until {}", output::moment(until)));
        }
    }
    let own = driver.name("any")?;
    for name in driver.all_rows()?.iter().filter(|name| Rows::of(name) == Rows::Grants) {
        if (name.app(), name.environment()) != (own.app(), own.environment()) {
            output::note(format_args!(
                "{} is connected in {} with other keys",
                name.realm(),
                name.environment()
            ));
        }
    }
    Ok(())
}

fn as_json(driver: &Driver<'_>, grants: &[Grant]) -> Result<()> {
    let whole = json!({
        "now": driver.now().unix(),
        "environment": driver.app.provider().name,
        "grants": grants.iter().map(|grant| one_as_json(driver, grant)).collect::<Vec<Value>>(),
    });
    let text = serde_json::to_string_pretty(&whole)
        .map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
    output::say(text);
    Ok(())
}

fn one_as_json(driver: &Driver<'_>, grant: &Grant) -> Value {
    let now = driver.now();
    let phase = grant.session.phase();
    let clock = |end: Time| json!({ "until": end.unix(), "seconds_left": end.since(now) });
    let held = phase.usable();
    let reason = match phase.grant {
        State::Closed { reason, .. } => Some(reason.to_string()),
        _ => None,
    };
    let due = match grant.session.due(driver.app) {
        evergrant::Due::Tick(at) => Some(at.unix()),
        evergrant::Due::Store | evergrant::Due::Consent => None,
    };
    json!({
        "realm": grant.name.realm(),
        "state": report::state(&phase.grant),
        "scopes": driver.app.scope_names(grant.session.scopes()).collect::<Vec<_>>(),
        "usable": grant.session.access_token(now).is_some(),
        "access": held.map(|held| clock(held.access_end())),
        "refresh": held.map(|held| clock(held.rolling_end())),
        "hard_end": held.filter(|held| report::has_hard_end(held)).map(|held| clock(held.hard_end())),
        "generation": phase.generation,
        "doubts": doubts(phase),
        "ended_because": reason,
        "next": { "what": report::next(driver, grant), "at": due },
        "consent_needed": matches!(phase.grant, State::Closed { .. } | State::Unlinked),
    })
}
