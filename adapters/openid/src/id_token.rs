//! The ID token, and its verification: a pure function of token, keys, expectations and time.

use core::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use evergrant::answer::Answer;
use evergrant::{App, Time};
use serde::Deserialize;
use zeroize::Zeroize;

use crate::claims::{Claims, Identity};
use crate::error::{IdTokenError, Part};
use crate::json::object;
use crate::key_set::KeySet;

/// No ID token is taken to be longer, in bytes (Intuit's have about 600).
pub const TOKEN_MOST: usize = 16_384;

/// An ID token as it came, not verified. It names a person, and some servers take it as a proof of who that is: its
/// `Debug` is redacted, and it is wiped when it goes.
#[derive(Clone)]
pub struct IdToken(String);

impl IdToken {
    /// Takes a token as it came.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// Reads the token from an answer of the token endpoint.
    ///
    /// Hand the answer to the session first, and store: an ID token that is wrong must not cost the grant.
    ///
    /// # Errors
    /// [`Absent`](IdTokenError::Absent): there is none, which is normal where `openid` was not asked for;
    /// [`TooLong`](IdTokenError::TooLong) and [`Malformed`](IdTokenError::Malformed): it is none.
    pub fn from_answer(body: &[u8]) -> Result<Self, IdTokenError> {
        let text = Answer::scan(body, "", "").id_token.ok_or(IdTokenError::Absent)?;
        if text.length() > TOKEN_MOST {
            return Err(IdTokenError::TooLong);
        }
        // Before anything is copied, so that no copy is left that is not wiped.
        if !text.bytes().all(|byte| byte.is_ascii()) {
            return Err(IdTokenError::Malformed(Part::Whole));
        }
        let mut token = Self(String::with_capacity(text.length()));
        token.0.extend(text.bytes().map(char::from));
        Ok(token)
    }

    /// Its text: for whoever must hand it on.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for IdToken {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdToken([redacted])")
    }
}

/// What an ID token must say.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// The issuer, character for character.
    pub issuer: &'a str,
    /// Our client ID.
    pub client_id: &'a str,
    /// The `nonce` of the authorization request; `None` where none was sent, as to Intuit (wire-facts section 3). Then a
    /// token that has one was made for somebody else's request.
    pub nonce: Option<&'a str>,
    /// The company that the callback named; `None` where the grant is for none.
    pub realm: Option<&'a str>,
    /// Who was signed in before, where this token came with a refresh (OpenID Connect Core §12.2).
    pub subject: Option<&'a str>,
    /// Seconds by which the two clocks may differ.
    pub leeway: u32,
}

impl<'a> Expected<'a> {
    /// The usual leeway, seconds.
    pub const LEEWAY: u32 = 120;

    /// What a token for this app must say. `realm` is the session's ([`Session::realm`](evergrant::Session::realm)); empty
    /// where it has none.
    #[must_use]
    pub const fn new(app: &App<'a>, realm: &'a str) -> Self {
        Self {
            issuer: app.provider().issuer,
            client_id: app.client_id(),
            nonce: None,
            realm: if realm.is_empty() { None } else { Some(realm) },
            subject: None,
            leeway: Self::LEEWAY,
        }
    }
}

impl fmt::Debug for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("nonce", &self.nonce.is_some())
            .field("leeway", &self.leeway)
            .finish_non_exhaustive()
    }
}

/// Verifies an ID token (SCO-5; OpenID Connect Core §3.1.3.7, RFC 8725).
///
/// RS256 alone, whatever its header says; a key that `keys` lists under the token's `kid`; then its issuer, audience,
/// time, nonce, company and subject. Nothing is read from the claims before the signature holds.
///
/// A token without a `kid` is held against the one key that there is, if there is but one (OpenID Connect Core §10.1).
///
/// # Errors
/// The first thing that is wrong, by its name. [`IdTokenError::wants_keys`] says whether newer keys may cure it.
pub fn verify(
    token: &IdToken,
    keys: &KeySet,
    expected: &Expected<'_>,
    now: Time,
) -> Result<Identity, IdTokenError> {
    if !now.is_set() {
        return Err(IdTokenError::ClockUnset);
    }
    let parts = Parts::split(token.expose())?;
    let header = parts.header()?;
    header.check()?;
    let signature = decode(parts.signature).ok_or(IdTokenError::Malformed(Part::Signature))?;
    keys.confirm(header.kid.as_deref(), parts.signed, &signature, now)?;
    let claims = decode(parts.claims).and_then(|text| object::<Claims>(&text));
    let claims = claims.ok_or(IdTokenError::Malformed(Part::Claims))?;
    claims.check(expected, now)?;
    claims.identity()
}

/// The three parts of a signed token (RFC 7515 §7.1).
struct Parts<'a> {
    signed: &'a str,
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, IdTokenError> {
        if token.len() > TOKEN_MOST {
            return Err(IdTokenError::TooLong);
        }
        let whole = IdTokenError::Malformed(Part::Whole);
        let (signed, signature) = token.rsplit_once('.').ok_or(whole)?;
        let (header, claims) = signed.split_once('.').ok_or(whole)?;
        // Five parts are an encrypted token, which nobody was asked for.
        if claims.contains('.') { Err(whole) } else { Ok(Self { signed, header, claims, signature }) }
    }

    fn header(&self) -> Result<Header, IdTokenError> {
        let header = decode(self.header).and_then(|text| object(&text));
        header.ok_or(IdTokenError::Malformed(Part::Header))
    }
}

/// The header's members that decide something. Members that offer a key (`jwk`, `jku`, `x5c`, `x5u`) are not even read:
/// a forger would offer his own.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

impl Header {
    /// `alg` is only ever compared; which algorithm is carried out does not depend on it.
    fn check(&self) -> Result<(), IdTokenError> {
        let symmetric = self.alg.get(..2).is_some_and(|family| family.eq_ignore_ascii_case("HS"));
        if self.alg.eq_ignore_ascii_case("none") {
            Err(IdTokenError::Unsigned)
        } else if symmetric {
            Err(IdTokenError::Symmetric)
        } else if self.alg != "RS256" {
            Err(IdTokenError::Algorithm)
        } else if self.crit.is_some() {
            Err(IdTokenError::Critical)
        } else if self.typ.as_deref().is_some_and(|kind| !is_jwt(kind)) {
            Err(IdTokenError::Kind)
        } else {
            Ok(())
        }
    }
}

/// `JWT`, or the media type that this stands for (RFC 7515 §4.1.9).
fn is_jwt(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("JWT") || kind.eq_ignore_ascii_case("application/jwt")
}

/// Base64url without padding; strict: one text for the same bytes, and no other.
fn decode(part: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(part).ok()
}
