//! `evergrant whoami`: who consented to a grant, and what may be known of them (SCO-5).

use evergrant::{Fault, Scopes};
use evergrant_openid::{Address, Userinfo, UserinfoError};
use evergrant_ureq::Reply;
use serde_json::{Map, Value, json};

use crate::args;
use crate::commands::{self, Resource};
use crate::driver::{Driver, Grant, User};
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, BOLD, DIM};
use evergrant::Time;

pub(crate) fn run(driver: &Driver<'_>, arguments: &args::Whoami) -> Result<()> {
    let realm = commands::realm(driver, &arguments.realm)?;
    // Before anything is sent: where nobody is known, no answer would help.
    let _ = known(driver, &driver.load(&realm)?)?;
    let mut grant = commands::fresh(driver, &realm)?;
    let reply = ask(driver, &mut grant)?;
    // Another process may have replaced the grant meanwhile: the answer is of the grant that is held now.
    let user = known(driver, &grant)?;
    let claims = reply.map(|reply| claims(&reply, &user)).transpose()?;
    if arguments.json {
        return as_json(driver, &grant, &user, claims.as_ref());
    }
    show(&grant, &user, claims.as_ref());
    Ok(())
}

/// Who signed in, by what was verified when the grant was made.
fn known(driver: &Driver<'_>, grant: &Grant) -> Result<User> {
    if let Some(user) = driver.user(grant)? {
        return Ok(user);
    }
    let realm = grant.name.realm();
    let held = grant.session.scopes();
    let (what, needed) = if held.contains(Scopes::OPENID) {
        ("no ID token of this grant was verified", held)
    } else {
        ("the grant has not the scope openid", held.with(Scopes::OPENID))
    };
    let names: Vec<&str> = driver.app.scope_names(needed).collect();
    Err(Failure::new(Exit::ConsentNeeded, format!("it is not known who connected {realm}: {what}")).or(
        format!(
            "ask the user: evergrant connect {} --scope {}",
            if grant.session.realm().is_empty() {
                format!("--name {realm}")
            } else {
                format!("--realm {realm}")
            },
            names.join(",")
        ),
    ))
}

/// `None` where the server has no such endpoint.
fn ask(driver: &Driver<'_>, grant: &mut Grant) -> Result<Option<Reply>> {
    if driver.app.provider().userinfo_endpoint.is_empty() {
        output::note("the server names no userinfo endpoint: there are no claims to read");
        return Ok(None);
    }
    commands::read(driver, grant, Resource::Userinfo).map(Some)
}

fn claims(reply: &Reply, user: &User) -> Result<Userinfo> {
    let status = match (reply.status(), reply.failure()) {
        (Some(status), None) => status,
        (_, why) => {
            let why = why.map(|why| why.to_string()).unwrap_or_default();
            return Err(Failure::new(Exit::NotNow, format!("userinfo was not read: {why}")).or("try later"));
        }
    };
    Userinfo::read(status, reply.body(), &user.subject).map_err(|why| refused(why, reply))
}

fn refused(why: UserinfoError, reply: &Reply) -> Failure {
    let exit = match (why, why.fault()) {
        (UserinfoError::OtherSubject | UserinfoError::NoSubject, _) => Exit::NotSignedIn,
        (_, Fault::Nobody) => Exit::NotNow,
        (_, Fault::Caller) => Exit::ConsentNeeded,
        _ => Exit::Authority,
    };
    let failure = Failure::new(exit, format!("userinfo was refused: {why}"))
        .or("the grant itself is not touched by this");
    match reply.correlation() {
        Some(tid) => {
            failure.or(format!("Intuit's support finds the answer by intuit_tid {}", output::printable(tid)))
        }
        None => failure,
    }
}

fn show(grant: &Grant, user: &User, claims: Option<&Userinfo>) {
    output::say(format_args!("{BOLD}{}{BOLD:#}", grant.name.realm()));
    line("subject", &user.subject);
    line("issuer", &user.issuer);
    line("signed in", &output::moment(Time::from_unix(user.signed_in_at)));
    let Some(claims) = claims else { return };
    let verified = |yes: Option<bool>| match yes {
        Some(true) => " (verified)",
        Some(false) => " (not verified)",
        None => "",
    };
    let name = claims.name.clone().or_else(|| joined([&claims.given_name, &claims.family_name], " "));
    let with = |text: &Option<String>, yes| text.as_ref().map(|text| format!("{text}{}", verified(yes)));
    let lines = [
        ("name", name),
        ("email", with(&claims.email, claims.email_verified)),
        ("phone", with(&claims.phone_number, claims.phone_number_verified)),
        ("address", claims.address.as_ref().and_then(address)),
    ];
    for (name, text) in lines {
        text.iter().for_each(|text| line(name, text));
    }
}

fn line(name: &str, text: &str) {
    // Others wrote it: one line, and nothing that moves the cursor.
    let text = output::printable(text).replace(['\n', '\t'], " ");
    output::say(format_args!("  {DIM}{name:<9}{DIM:#} {text}"));
}

fn address(address: &Address) -> Option<String> {
    let Address { street_address, locality, region, postal_code, country, .. } = address;
    joined([street_address, locality, region, postal_code, country], ", ")
}

fn joined<const N: usize>(parts: [&Option<String>; N], between: &str) -> Option<String> {
    let parts: Vec<&str> =
        parts.into_iter().flatten().map(String::as_str).filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(between))
}

fn as_json(driver: &Driver<'_>, grant: &Grant, user: &User, claims: Option<&Userinfo>) -> Result<()> {
    let whole = json!({
        "realm": grant.name.realm(),
        "environment": driver.app.provider().name,
        "issuer": user.issuer,
        "subject": user.subject,
        "signed_in_at": user.signed_in_at,
        "claims": claims.map(claims_as_json),
    });
    let text = serde_json::to_string_pretty(&whole)
        .map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
    output::say(text);
    Ok(())
}

/// In the standard's spelling (OpenID Connect Core §5.1), whatever the server's is; what is absent is left out.
fn claims_as_json(claims: &Userinfo) -> Value {
    present([
        ("email", json!(claims.email)),
        ("email_verified", json!(claims.email_verified)),
        ("name", json!(claims.name)),
        ("given_name", json!(claims.given_name)),
        ("family_name", json!(claims.family_name)),
        ("phone_number", json!(claims.phone_number)),
        ("phone_number_verified", json!(claims.phone_number_verified)),
        ("address", claims.address.as_ref().map_or(Value::Null, address_as_json)),
    ])
}

fn address_as_json(address: &Address) -> Value {
    present([
        ("street_address", json!(address.street_address)),
        ("locality", json!(address.locality)),
        ("region", json!(address.region)),
        ("postal_code", json!(address.postal_code)),
        ("country", json!(address.country)),
    ])
}

fn present<const N: usize>(members: [(&str, Value); N]) -> Value {
    let there = members.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(there.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
