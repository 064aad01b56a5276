//! `token`, `call`, `refresh`, `disconnect`.

use evergrant::api::{Meaning, judge};
use evergrant::phase::Grant as State;
use evergrant::{AccessToken, App, Error, Input, Reason, Refused, Request, Session, Tell};
use evergrant_ureq::Reply;
use evergrant_vault::Name;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args;
use crate::driver::{Driver, Grant, Rows};
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::report;

/// The realm that is meant: the one that was named, or the only one.
pub(crate) fn realm(driver: &Driver<'_>, named: &args::Realm) -> Result<String> {
    if let Some(realm) = &named.realm {
        return Ok(realm.clone());
    }
    let names = driver.own_rows(Rows::Grants)?;
    match names.as_slice() {
        [only] => Ok(only.realm().to_owned()),
        [] => Err(Failure::new(
            Exit::ConsentNeeded,
            format!("nothing is connected in {}", driver.app.provider().name),
        )
        .or("run `evergrant connect`")),
        several => {
            let realms: Vec<&str> = several.iter().map(Name::realm).collect();
            Err(Failure::usage("there are several grants", format!("name one of {}", realms.join(", "))))
        }
    }
}

/// A grant with an access token that may be handed out now: stored, alive, not rejected (I3, DUR-1, USE-3).
pub(crate) fn fresh(driver: &Driver<'_>, realm: &str) -> Result<Grant> {
    let mut grant = driver.load(realm)?;
    let tells = settled(driver, &mut grant, |_| Some(Input::Demand))?;
    if grant.session.access_token(driver.now()).is_some() {
        return Ok(grant);
    }
    Err(report::why_not(driver, &grant, tells.last())?)
}

/// As the driver settles, with a refusal explained by what is known of the grant.
fn settled<'i>(
    driver: &Driver<'_>,
    grant: &mut Grant,
    input: impl Fn(&Session) -> Option<Input<'i>>,
) -> Result<Vec<Tell>> {
    match driver.settle(grant, input) {
        Err(failure) if failure.exit == Exit::ConsentNeeded => Err(report::why_not(driver, grant, None)?),
        other => other,
    }
}

pub(crate) fn token(driver: &Driver<'_>, arguments: &args::Token) -> Result<()> {
    let realm = realm(driver, &arguments.realm)?;
    let grant = fresh(driver, &realm)?;
    let token = token_of(driver, &grant)?;
    let text = Zeroizing::new(match arguments.format {
        args::TokenFormat::Raw => token.expose().to_owned(),
        args::TokenFormat::Header => format!("Authorization: Bearer {}", token.expose()),
        args::TokenFormat::Json => json!({
            "access_token": token.expose(),
            "token_type": "Bearer",
            "realm": realm,
            "environment": driver.app.provider().name,
            "expires_in": token.seconds_left(),
            "expires_at": driver.now().plus(token.seconds_left()).unix(),
        })
        .to_string(),
    });
    output::hand_out(text.as_bytes());
    Ok(())
}

fn token_of<'g>(driver: &Driver<'_>, grant: &'g Grant) -> Result<AccessToken<'g>> {
    let token = grant.session.access_token(driver.now());
    token.ok_or_else(|| {
        Failure::new(Exit::NotNow, "the access token has just ended").or("run the command again")
    })
}

pub(crate) fn call(driver: &Driver<'_>, arguments: &args::Call) -> Result<()> {
    let mut grant = fresh(driver, &arguments.realm)?;
    let path = path(&arguments.path, &arguments.realm);
    let reply = get(driver, &mut grant, &path)?;
    let status = reply.status().unwrap_or_default();
    if (200..300).contains(&status) {
        output::hand_out(reply.body());
        return Ok(());
    }
    Err(call_failed(&reply, status))
}

/// What an access token opens.
#[derive(Clone, Copy)]
pub(crate) enum Resource<'p> {
    /// A path of the API.
    Api(&'p str),
    /// The user's claims.
    Userinfo,
}

impl<'p> Resource<'p> {
    fn request(self, app: &'p App<'p>, token: AccessToken<'p>) -> Result<Request<'p>> {
        match self {
            Self::Api(path) => Request::api(app, token, path).map_err(|error| match error {
                Error::NoEndpoint => Failure::usage(
                    "the path cannot be read: there is no API, or it has a blank or a character that must be encoded",
                    "set api in evergrant.toml, or percent-encode the path",
                ),
                other => other.into(),
            }),
            Self::Userinfo => Ok(Request::userinfo(app, token)?),
        }
    }

    /// The journal's word for it.
    const fn asked(self) -> &'static str {
        match self {
            Self::Api(_) => "api",
            Self::Userinfo => "userinfo",
        }
    }
}

/// Reads from the API.
pub(crate) fn get(driver: &Driver<'_>, grant: &mut Grant, path: &str) -> Result<Reply> {
    read(driver, grant, Resource::Api(path))
}

/// Reads what an access token opens. A 401 counts against the token that it was sent with, and is followed by a refresh and
/// one more try (DUR-2).
pub(crate) fn read(driver: &Driver<'_>, grant: &mut Grant, resource: Resource<'_>) -> Result<Reply> {
    let (reply, serial) = read_once(driver, grant, resource)?;
    if reply.status() != Some(401) {
        return Ok(reply);
    }
    let meaning = judge(401, reply.body());
    if meaning != Meaning::TokenExpired {
        return Ok(reply);
    }
    let rejected = |session: &Session| {
        let current =
            session.phase().usable().is_some_and(|held| held.serial == serial && held.access_for > 0);
        current.then_some(Input::Api { serial, meaning })
    };
    driver.act(grant, rejected)?;
    let tells = settled(driver, grant, |_| Some(Input::Demand))?;
    if grant.session.access_token(driver.now()).is_none() {
        return Err(report::why_not(driver, grant, tells.last())?);
    }
    Ok(read_once(driver, grant, resource)?.0)
}

fn read_once(driver: &Driver<'_>, grant: &Grant, resource: Resource<'_>) -> Result<(Reply, u32)> {
    let token = token_of(driver, grant)?;
    let request = resource.request(driver.app, token)?;
    let mut buffer = Zeroizing::new(vec![0; request.length()]);
    let http = request.write(&mut buffer).map_err(Error::from)?;
    let reply = driver.http.carry_out(&http);
    driver.journal.note(driver.now(), grant.name.realm(), resource.asked(), &reply);
    Ok((reply, token.serial()))
}

/// `{realm}` stands for the company, and what does not begin with a slash is below it.
pub(crate) fn path(path: &str, realm: &str) -> String {
    let path = path.replace("{realm}", realm);
    if path.starts_with('/') { path } else { format!("/v3/company/{realm}/{path}") }
}

fn call_failed(reply: &Reply, status: u16) -> Failure {
    if let Some(why) = reply.failure().filter(|_| reply.status().is_none()) {
        return Failure::new(Exit::NotNow, format!("the API was not read: {why}"));
    }
    let failure = match judge(status, reply.body()) {
        Meaning::WrongEnvironment => Failure::new(
            Exit::Authority,
            "401, code 130: keys of one environment on the other's host (APP-3)",
        )
        .or("compare environment, keys and api in evergrant.toml; a refresh cannot cure it"),
        Meaning::TokenExpired => {
            Failure::new(Exit::NotNow, "401: a token that was refreshed just now is rejected")
                .or("the user may have disconnected the app (REV-2): look at `evergrant status`")
        }
        Meaning::Forbidden => {
            Failure::new(Exit::Authority, "403: another company, host or scope than the grant's").or(
                "compare the company in the path with the grant's, and its scopes with what you read (SCO-3)",
            )
        }
        Meaning::Throttled => {
            Failure::new(Exit::NotNow, "429: too many requests; the token is good").or("wait a minute")
        }
        Meaning::Outage => {
            Failure::new(Exit::NotNow, format!("{status}: trouble at the API; the token is good"))
                .or("try later")
        }
        _ => Failure::new(Exit::Authority, format!("the API answered {status}")),
    };
    let body = output::printable(String::from_utf8_lossy(reply.body()).trim());
    let failure =
        if body.is_empty() { failure } else { failure.or(body.chars().take(1_000).collect::<String>()) };
    match reply.correlation() {
        Some(tid) => {
            failure.or(format!("Intuit's support finds the answer by intuit_tid {}", output::printable(tid)))
        }
        None => failure,
    }
}

pub(crate) fn refresh(driver: &Driver<'_>, arguments: &args::Refresh) -> Result<()> {
    if arguments.due {
        return refresh_due(driver);
    }
    let realm = realm(driver, &arguments.realm)?;
    let mut grant = driver.load(&realm)?;
    let tells = refresh_one(driver, &mut grant)?;
    report::refreshed(driver, &grant, tells.last());
    Ok(())
}

/// Refreshes now. Where another process has just done it, that counts: nothing is gained by a second one (REF-2).
pub(crate) fn refresh_one(driver: &Driver<'_>, grant: &mut Grant) -> Result<Vec<Tell>> {
    let serial = |session: &Session| session.phase().usable().map(|held| held.serial);
    let before = serial(&grant.session);
    let wanted = |session: &Session| {
        let done = serial(session) != before && session.access_token(driver.now()).is_some();
        (!done).then_some(Input::Refresh)
    };
    let tells = settled(driver, grant, wanted)?;
    match tells.last() {
        // A body may break off between the two tokens: the refresh token is safe then, and the access token still to come.
        None | Some(Tell::Refreshed(_)) if grant.session.access_token(driver.now()).is_some() => Ok(tells),
        last => Err(report::why_not(driver, grant, last)?),
    }
}

/// Does what is due, for every grant of these keys (DUR-8, I8).
fn refresh_due(driver: &Driver<'_>) -> Result<()> {
    let mut worst: Option<Failure> = None;
    let now = driver.now();
    for name in driver.own_rows(Rows::Grants)? {
        let Some(mut grant) = driver.find(&name)? else { continue };
        let due = |session: &Session| match session.due(driver.app) {
            evergrant::Due::Tick(at) if at <= now => Some(Input::Tick),
            _ => None,
        };
        if due(&grant.session).is_none() {
            continue;
        }
        let failure = match settled(driver, &mut grant, due) {
            Ok(tells) => match tells.last() {
                Some(Tell::Refreshed(_)) => {
                    report::refreshed(driver, &grant, tells.last());
                    None
                }
                None | Some(Tell::Closed(Reason::Revoked) | Tell::Revived) => None,
                last => Some(report::why_not(driver, &grant, last)?),
            },
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            output::warn(format_args!("{}: {failure}", name.realm()));
            // One grant's trouble keeps nobody from the next; the worst of them is how it ends.
            if worst.as_ref().is_none_or(|worst| failure.exit > worst.exit) {
                worst = Some(failure);
            }
        }
    }
    worst.map_or(Ok(()), Err)
}

pub(crate) fn disconnect(driver: &Driver<'_>, arguments: &args::Disconnect) -> Result<()> {
    let mut grant = driver.load(&arguments.realm)?;
    let outcome = revoke(driver, &mut grant);
    if arguments.forget {
        if let Err(failure) = &outcome {
            output::warn(failure);
        }
        if !driver.remove(&grant.name)? {
            return Err(
                Failure::new(Exit::NotNow, "another process is at work on this grant").or("try again")
            );
        }
        if !driver.forget_user(&grant.name)? {
            output::warn(
                "another process writes who signed in: run the command again to forget that as well",
            );
        }
        output::say(format_args!("forgot {}", arguments.realm));
        return Ok(());
    }
    outcome?;
    output::say(format_args!("disconnected {}", arguments.realm));
    Ok(())
}

/// REV-1: revoked here whatever the answer; an answer that was not got is asked for again.
pub(crate) fn revoke(driver: &Driver<'_>, grant: &mut Grant) -> Result<()> {
    let wanted = |session: &Session| match session.phase().grant {
        State::Revoking { .. } | State::Unrevoked { .. } => Some(Input::Tick),
        State::Closed { reason: Reason::Revoked | Reason::RevokeUnanswered, .. } => None,
        _ => Some(Input::Revoke),
    };
    let outcome = driver.settle(grant, wanted);
    match (grant.session.phase().grant, outcome) {
        (State::Closed { reason: Reason::Revoked, .. }, Ok(_)) => Ok(()),
        (State::Closed { reason: Reason::RevokeUnanswered, .. }, Ok(_)) => {
            output::warn("the authority never confirmed; no token of it is kept here");
            Ok(())
        }
        (_, Ok(_)) => Err(Failure::new(Exit::NotNow, "revoked here, and not confirmed by the authority yet")
            .or("run the command again; nothing is handed out meanwhile (REV-1)")),
        (_, Err(failure)) if failure.what == Refused::NotLinked.to_string() => Ok(()),
        (_, Err(failure)) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn paths() {
        assert_eq!(path("companyinfo/{realm}", "9"), "/v3/company/9/companyinfo/9");
        assert_eq!(path("/v3/company/{realm}/query?a=b", "9"), "/v3/company/9/query?a=b");
    }
}
