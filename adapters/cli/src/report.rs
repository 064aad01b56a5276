//! A grant in words: how it stands, why it does not serve, what comes next.

use evergrant::diagnosis::Weight;
use evergrant::phase::{Doubt, Grant as State};
use evergrant::{Due, FOREVER, Phase, Reason, Tell, Time};

use crate::driver::{Driver, Grant, Told};
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, BOLD, GREEN};

/// After a consent.
pub(crate) fn connected(driver: &Driver<'_>, grant: &Grant) {
    let scopes: Vec<&str> = driver.app.scope_names(grant.session.scopes()).collect();
    let realm = grant.name.realm();
    output::say(format_args!("{GREEN}connected{GREEN:#} {BOLD}{realm}{BOLD:#} ({})", scopes.join(", ")));
    if let Some(held) = grant.session.phase().usable() {
        let now = driver.now();
        output::note(format_args!(
            "access token until {} ({}), refresh token until {} ({})",
            output::moment(held.access_end()),
            output::distance(now, held.access_end()),
            output::moment(held.rolling_end()),
            output::distance(now, held.rolling_end()),
        ));
    }
}

/// After a refresh.
pub(crate) fn refreshed(driver: &Driver<'_>, grant: &Grant, last: Option<&Tell>) {
    let realm = grant.name.realm();
    let how =
        if last.is_some() { Told(last).to_string() } else { "refreshed by another process meanwhile".into() };
    let Some(held) = grant.session.phase().usable() else { return };
    let now = driver.now();
    output::say(format_args!(
        "{BOLD}{realm}{BOLD:#} {how}; access token for {}, refresh token for {}",
        output::duration(held.access_end().since(now).into()),
        output::duration(held.end().since(now).into()),
    ));
}

/// Why a grant does not serve now, with what is known of the cause (REF-5) and the way out.
pub(crate) fn why_not(driver: &Driver<'_>, grant: &Grant, last: Option<&Tell>) -> Result<Failure> {
    let realm = grant.name.realm();
    let phase = grant.session.phase();
    let failure = match (phase.grant, last) {
        (State::Closed { reason, .. }, _) => {
            let failure =
                Failure::new(Exit::ConsentNeeded, format!("the grant of {realm} has ended: {reason}"));
            failure.or(format!("ask the user: evergrant connect --realm {realm}"))
        }
        (State::Unlinked, _) => Failure::new(Exit::ConsentNeeded, format!("{realm} was never connected"))
            .or(format!("ask the user: evergrant connect --realm {realm}")),
        (State::Revoking { .. } | State::Unrevoked { .. }, _) => {
            Failure::new(Exit::ConsentNeeded, format!("the grant of {realm} is being revoked"))
                .or(format!("run `evergrant disconnect {realm}` again until it is confirmed"))
        }
        (_, Some(Tell::AppAtFault { .. })) => {
            Failure::new(Exit::Authority, "the authority refuses the app itself; no grant was touched").or(
                "compare client ID and secret with the Keys tab, and the environment with that of the keys",
            )
        }
        _ => {
            let what = format!("{realm}: {}; the grant is kept", Told(last));
            Failure::new(Exit::NotNow, what).or(next(driver, grant))
        }
    };
    // A clock or the app itself explains the other ends.
    let explained = match phase.grant {
        State::Suspect => true,
        State::Closed { reason, .. } => {
            matches!(reason, Reason::Refused | Reason::AnswerLost | Reason::Disconnected | Reason::Poisoned)
        }
        _ => false,
    };
    if explained { with_causes(driver, grant, failure) } else { Ok(with_correlation(grant, failure)) }
}

/// With the likeliest causes (EXC-4, REF-5).
pub(crate) fn with_causes(driver: &Driver<'_>, grant: &Grant, failure: Failure) -> Result<Failure> {
    let mut failure = with_correlation(grant, failure);
    if let Some(diagnosis) = driver.diagnosis(grant)? {
        for cause in diagnosis.causes().filter(|cause| cause.weight > Weight::Unlikely) {
            failure = failure.or(cause.to_string());
        }
    }
    Ok(failure)
}

fn with_correlation(grant: &Grant, failure: Failure) -> Failure {
    match grant.session.correlation() {
        "" => failure,
        tid => failure.or(format!("Intuit's support finds the answer by intuit_tid {tid}")),
    }
}

/// A word for where it stands.
pub(crate) const fn state(grant: &State) -> &'static str {
    match grant {
        State::Unlinked => "unlinked",
        State::Linked => "linked",
        State::Refreshing { .. } => "refreshing",
        State::Uncertain => "uncertain",
        State::Suspect => "suspect",
        State::Revoking { .. } => "revoking",
        State::Unrevoked { .. } => "unrevoked",
        State::Closed { .. } => "closed",
    }
}

/// What happens next, and when (I8).
pub(crate) fn next(driver: &Driver<'_>, grant: &Grant) -> String {
    let now = driver.now();
    let at = match grant.session.due(driver.app) {
        Due::Consent => return "the user must consent: evergrant connect".into(),
        Due::Store => now,
        Due::Tick(at) => at,
    };
    let when = if at > now {
        format!("{} ({})", output::moment(at), output::distance(now, at))
    } else {
        "now: evergrant refresh --due".into()
    };
    let Phase { grant: state, held, doubt, .. } = grant.session.phase();
    let what = match state {
        State::Linked if *doubt == Doubt::NONE && held.access_for > 0 => "renewed ahead of its end",
        State::Linked => "refreshed",
        State::Uncertain | State::Suspect if doubt.lost_since() != Time::UNSET => {
            "the same token is sent again"
        }
        State::Uncertain | State::Suspect => "looked at again",
        State::Revoking { .. } | State::Unrevoked { .. } => "revoked again",
        State::Refreshing { .. } => "given up and tried again",
        State::Unlinked | State::Closed { .. } => "the consent under way ends",
    };
    format!("{what} {when}")
}

/// What speaks against a grant, in words; nothing where nothing does.
pub(crate) fn doubts(doubt: &Doubt) -> Vec<String> {
    let mut found = Vec::new();
    if doubt.lost_since() != Time::UNSET {
        found.push(format!("a refresh of {} was never answered", output::moment(doubt.lost_since())));
    }
    if doubt.refusals > 0 {
        found.push(format!("refused {} time(s), which proves nothing yet (REF-4)", doubt.refusals));
    }
    if doubt.tries > 0 {
        found.push(format!("{} tries without a verdict", doubt.tries));
    }
    match doubt.hint {
        evergrant::phase::Hint::None => {}
        evergrant::phase::Hint::Rejected => {
            found.push("the API rejected an access token before its end".into())
        }
        evergrant::phase::Hint::Disconnected => found.push("the disconnect redirect came".into()),
        evergrant::phase::Hint::Poisoned => found.push("its code was exchanged twice (EXC-5)".into()),
    }
    found
}

/// Whether the grant has an end of its own, however often it is refreshed.
pub(crate) const fn has_hard_end(held: &evergrant::phase::Held) -> bool {
    held.hard_for != FOREVER
}
