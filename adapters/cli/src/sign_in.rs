//! SCO-5: who consented, by the ID token that came with the tokens.
//!
//! The tokens are in their realm's row before anything here begins, so whatever is wrong with an ID token costs nothing but the
//! sign-in itself. No `nonce` is sent: Intuit knows none, and it is `state` and PKCE that keep a stranger's code out; so a token
//! that brings one was made for another request, and is refused.

use evergrant::Scopes;
use evergrant_openid::{DocumentError, Expected, Fetched, IdToken, IdTokenError, Identity, JwksCache};
use evergrant_ureq::Reply;

use crate::driver::{Driver, Grant};
use crate::failure::{Exit, Failure, Result};
use crate::output;

/// Verifies who consented, where that was asked for, and keeps it beside the grant.
///
/// `Err` where it is not known: the grant is stored and works, and nobody is signed in.
pub(crate) fn finish(driver: &Driver<'_>, grant: &Grant, asked: Scopes) -> Result<()> {
    if !asked.contains(Scopes::OPENID) {
        return Ok(());
    }
    let realm = grant.name.realm();
    let identity = who(driver, grant)?;
    driver.keep_user(grant, &identity).map_err(|failure| {
        failure.or("the grant itself is stored and works; connect again to sign in".to_owned())
    })?;
    output::note(format_args!("signed in, by a verified ID token: `evergrant whoami {realm}` says who"));
    Ok(())
}

fn who(driver: &Driver<'_>, grant: &Grant) -> Result<Identity> {
    let Some(token) = &grant.id_token else {
        return Err(nobody("another process stored this consent, so its ID token was not seen here"));
    };
    let token = token.as_ref().map_err(nobody)?;
    let keys = JwksCache::new(driver.app.provider())
        .map_err(|why| nobody(format!("the keys of the provider: {why}")))?;
    verified(driver, token, &Expected::new(driver.app, grant.session.realm()), keys)
}

/// Fetches keys as often as they are wanted, which [`JwksCache::wanted`] bounds, and verifies.
fn verified(
    driver: &Driver<'_>,
    token: &IdToken,
    expected: &Expected<'_>,
    mut keys: JwksCache,
) -> Result<Identity> {
    let now = driver.now();
    let mut unread = None;
    loop {
        if let Some(url) = keys.wanted(now).map(ToOwned::to_owned) {
            let reply = driver.http.read(&url);
            unread = keys.take(now, fetched(&reply)).err().map(|why| unread_keys(&url, &reply, why));
        }
        let outcome = keys.verify(token, expected, now);
        let curable = outcome.as_ref().is_err_and(IdTokenError::wants_keys);
        if !curable || keys.wanted(now).is_none() {
            return outcome.map_err(|why| unread.into_iter().fold(nobody(why), Failure::or));
        }
    }
}

/// A body that broke off is no document.
fn fetched(reply: &Reply) -> Fetched<'_> {
    match reply.status() {
        Some(status) if reply.failure().is_none() => {
            Fetched::Answer { status, cache_control: None, body: reply.body() }
        }
        _ => Fetched::Failed,
    }
}

fn unread_keys(url: &str, reply: &Reply, why: DocumentError) -> String {
    match reply.failure() {
        Some(failure) => format!("{url} was not read: {failure}"),
        None => format!("{url}: {why}"),
    }
}

fn nobody(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::NotSignedIn, format!("nobody is signed in: {why}"))
        .or("the grant itself is stored and works; to sign in, run `evergrant connect` again")
}
