//! Discovery: the provider's own word on where its endpoints are, checked before any of it is believed.

use evergrant::{Provider, Time};
use serde::Deserialize;

use crate::error::DocumentError;
use crate::fetched::{Fetched, checked};
use crate::freshness::{Freshness, Timetable};
use crate::json::{BODY_MOST, object};
use crate::url::is_endpoint;

/// The discovery document of one provider, without I/O: says what to fetch and when, and takes in what was fetched.
///
/// Its address is the provider's `discovery`, which for Intuit is not `{issuer}/.well-known/…` (wire-facts section 2), and
/// there are two, one an environment. What it says changes endpoints and nothing else: no document can turn off PKCE, or
/// make a refresh token be sent twice.
///
/// ```
/// use evergrant::{Provider, Time};
/// use evergrant_openid::{Discovery, Fetched};
///
/// let base = Provider::INTUIT_SANDBOX;
/// let mut discovery = Discovery::new(&base)?;
/// let now = Time::from_unix(1_800_000_000);
/// let url = discovery.wanted(now).ok_or("nothing is due")?;
/// assert_eq!(url, "https://developer.api.intuit.com/.well-known/openid_sandbox_configuration");
/// # let body = br#"{"issuer":"https://oauth.platform.intuit.com/op/v1",
/// #   "authorization_endpoint":"https://appcenter.intuit.com/connect/oauth2",
/// #   "token_endpoint":"https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
/// #   "jwks_uri":"https://oauth.platform.intuit.com/op/v1/jwks",
/// #   "response_types_supported":["code"],"id_token_signing_alg_values_supported":["RS256"]}"#;
/// // … fetched by whatever speaks HTTP …
/// discovery.take(now, Fetched::Answer { status: 200, cache_control: None, body })?;
/// let found = discovery.discovered().ok_or("nothing was discovered")?;
/// let provider = found.provider(&base);
/// assert_eq!(provider.token_endpoint, base.token_endpoint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Discovery {
    url: String,
    issuer: String,
    loopback_http: bool,
    discovered: Option<Discovered>,
    timetable: Timetable,
}

/// What a discovery document said, checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Discovered {
    /// The issuer: the one that was expected.
    pub issuer: String,
    /// Where the user's browser is sent.
    pub authorization_endpoint: String,
    /// Where codes and refresh tokens are turned into tokens.
    pub token_endpoint: String,
    /// Where ID tokens' keys are.
    pub jwks_uri: String,
    /// Where a grant is revoked, if it said so.
    pub revocation_endpoint: Option<String>,
    /// Where the user's claims are read, if it said so.
    pub userinfo_endpoint: Option<String>,
}

impl Discovery {
    /// Nothing is known yet; the document is due at once.
    ///
    /// # Errors
    /// The provider has no `discovery` address or it is not https, or no issuer to hold the document against.
    pub fn new(provider: &Provider<'_>) -> Result<Self, DocumentError> {
        Self::with(provider, Freshness::DISCOVERY)
    }

    /// The same with other times.
    ///
    /// # Errors
    /// As [`Discovery::new`].
    pub fn with(provider: &Provider<'_>, freshness: Freshness) -> Result<Self, DocumentError> {
        if !is_endpoint(provider.discovery, provider.loopback_http) {
            return Err(DocumentError::Endpoint("discovery"));
        }
        if provider.issuer.is_empty() {
            return Err(DocumentError::Issuer);
        }
        Ok(Self {
            url: provider.discovery.into(),
            issuer: provider.issuer.into(),
            loopback_http: provider.loopback_http,
            discovered: None,
            timetable: Timetable::new(freshness),
        })
    }

    /// The URL to `GET` now, if there is something to fetch: with `accept: application/json`, following no redirect,
    /// reading at most [`BODY_MOST`](crate::BODY_MOST) bytes. Hand in what comes with [`take`](Self::take).
    #[must_use]
    pub fn wanted(&self, now: Time) -> Option<&str> {
        self.timetable.is_due(now).then_some(&self.url)
    }

    /// Nothing is to be fetched before, unless the clock is put back.
    #[must_use]
    pub fn due(&self) -> Time {
        self.timetable.due()
    }

    /// Takes in what was fetched.
    ///
    /// # Errors
    /// It is no such document, or says what cannot be. What was discovered before stays, and the next try is due after
    /// [`Freshness::retry`].
    pub fn take(&mut self, now: Time, fetched: Fetched<'_>) -> Result<(), DocumentError> {
        let read = checked(fetched).and_then(|(cache_control, body)| {
            Ok((cache_control, Discovered::parse(body, &self.issuer, self.loopback_http)?))
        });
        match read {
            Ok((cache_control, discovered)) => {
                self.discovered = Some(discovered);
                self.timetable.succeeded(now, cache_control);
                Ok(())
            }
            Err(why) => {
                self.timetable.failed(now);
                Err(why)
            }
        }
    }

    /// What the last good document said.
    #[must_use]
    pub const fn discovered(&self) -> Option<&Discovered> {
        self.discovered.as_ref()
    }
}

/// The members that decide something (OpenID Connect Discovery §3, RFC 8414 §2).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    jwks_uri: Option<String>,
    revocation_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    response_types_supported: Option<Vec<String>>,
    id_token_signing_alg_values_supported: Option<Vec<String>>,
}

impl Discovered {
    /// Reads a document: all of it, or nothing.
    ///
    /// # Errors
    /// It is too long, is not JSON, is another issuer's, names an endpoint that is none, or does not offer the code flow and RS256.
    pub fn parse(body: &[u8], issuer: &str, loopback_http: bool) -> Result<Self, DocumentError> {
        if body.len() > BODY_MOST {
            return Err(DocumentError::TooLong);
        }
        let document: Document = object(body).ok_or(DocumentError::Malformed)?;
        if document.issuer != issuer {
            return Err(DocumentError::Issuer); // RFC 8414 §3.3
        }
        offers(document.response_types_supported, "code", "response_types_supported")?;
        offers(
            document.id_token_signing_alg_values_supported,
            "RS256",
            "id_token_signing_alg_values_supported",
        )?;
        let may = |url: Option<String>, member| match url {
            Some(url) if !is_endpoint(&url, loopback_http) => Err(DocumentError::Endpoint(member)),
            url => Ok(url),
        };
        let must = |url, member| may(url, member)?.ok_or(DocumentError::Endpoint(member));
        Ok(Self {
            issuer: document.issuer,
            authorization_endpoint: must(document.authorization_endpoint, "authorization_endpoint")?,
            token_endpoint: must(document.token_endpoint, "token_endpoint")?,
            jwks_uri: must(document.jwks_uri, "jwks_uri")?,
            revocation_endpoint: may(document.revocation_endpoint, "revocation_endpoint")?,
            userinfo_endpoint: may(document.userinfo_endpoint, "userinfo_endpoint")?,
        })
    }

    /// The provider `base`, at the endpoints that were discovered. Those that the document did not name are `base`'s, and
    /// so is everything else: name, lifetimes, replay, PKCE, API.
    #[must_use]
    pub fn provider<'a>(&'a self, base: &Provider<'a>) -> Provider<'a> {
        Provider {
            issuer: &self.issuer,
            authorization_endpoint: &self.authorization_endpoint,
            token_endpoint: &self.token_endpoint,
            jwks_uri: &self.jwks_uri,
            revocation_endpoint: self.revocation_endpoint.as_deref().unwrap_or(base.revocation_endpoint),
            userinfo_endpoint: self.userinfo_endpoint.as_deref().unwrap_or(base.userinfo_endpoint),
            ..*base
        }
    }
}

/// Both lists are required members. One that is absent forbids nothing; one that is there must hold what is needed.
fn offers(list: Option<Vec<String>>, needed: &str, member: &'static str) -> Result<(), DocumentError> {
    let refused = list.is_some_and(|all| !all.iter().any(|one| one == needed));
    if refused { Err(DocumentError::Unsupported(member)) } else { Ok(()) }
}
