//! The claims of an ID token: held against what is expected, and what is left of them.

use core::fmt;

use evergrant::Time;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::error::IdTokenError;
use crate::id_token::Expected;

/// Who signed in: what a verified ID token said. Only [`verify`](crate::verify) makes one. Its `Debug` does not name the
/// user.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
    /// The issuer. With the subject it names the user (OpenID Connect Core §5.7); an email address does not.
    pub issuer: String,
    /// The user: at most 255 characters, never used again for another one.
    pub subject: String,
    /// The company, where the token named one (`realmid`).
    pub realm: Option<String>,
    /// When the token was issued.
    pub issued_at: Time,
    /// When it expires. This ends the token, not the user's session with you.
    pub expires_at: Time,
    /// When the user last proved who they are, where the token said so (`auth_time`).
    pub authenticated_at: Option<Time>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issuer", &self.issuer)
            .field("realm", &self.realm)
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The claims as they stand in a token whose signature holds. A claim that comes twice makes the whole unreadable (RFC 7519
/// §4); claims that nobody knows are passed over.
#[derive(Deserialize)]
pub(crate) struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Audience>,
    azp: Option<String>,
    exp: Option<Moment>,
    iat: Option<Moment>,
    nbf: Option<Moment>,
    auth_time: Option<Moment>,
    nonce: Option<String>,
    realmid: Option<String>,
}

/// `aud`: one, or a list (wire-facts section 7: Intuit sends a list of one).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => core::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

impl Claims {
    /// SCO-5. The order is that of OpenID Connect Core §3.1.3.7.
    pub(crate) fn check(&self, expected: &Expected<'_>, now: Time) -> Result<(), IdTokenError> {
        if self.iss.as_deref() != Some(expected.issuer) {
            return Err(IdTokenError::Issuer);
        }
        self.check_audience(expected.client_id)?;
        self.check_time(expected.leeway, now)?;
        if self.nonce.as_deref() != expected.nonce {
            return Err(IdTokenError::Nonce);
        }
        match (expected.realm, self.realmid.as_deref()) {
            (Some(_), None) => return Err(IdTokenError::NoRealm),
            (Some(expected), Some(realm)) if realm != expected => return Err(IdTokenError::OtherRealm),
            _ => {}
        }
        let subject = self.subject()?;
        if expected.subject.is_some_and(|before| before != subject) {
            return Err(IdTokenError::OtherSubject);
        }
        Ok(())
    }

    fn check_audience(&self, client_id: &str) -> Result<(), IdTokenError> {
        let audience = self.aud.as_ref().map_or(&[][..], Audience::all);
        if !audience.iter().any(|one| one == client_id) {
            return Err(IdTokenError::Audience);
        }
        // A token for several must say that it was issued to us; one that names a party must name ours.
        match self.azp.as_deref() {
            Some(party) if party != client_id => Err(IdTokenError::AuthorizedParty),
            None if audience.len() > 1 => Err(IdTokenError::AuthorizedParty),
            _ => Ok(()),
        }
    }

    /// `exp` and `iat` must be there. A token is good up to, and not at, its end (RFC 7519 §4.1.4).
    fn check_time(&self, leeway: u32, now: Time) -> Result<(), IdTokenError> {
        let unreadable = IdTokenError::Malformed(crate::Part::Claims);
        let (end, start) = (self.exp.ok_or(unreadable)?.0, self.iat.ok_or(unreadable)?.0);
        if now >= end.plus(leeway) {
            return Err(IdTokenError::Expired { at: end });
        }
        let start = self.nbf.map_or(start, |not_before| not_before.0.max(start));
        if start > now.plus(leeway) {
            return Err(IdTokenError::NotYet { at: start });
        }
        Ok(())
    }

    /// OpenID Connect Core §2: not empty, at most 255 characters, ASCII.
    fn subject(&self) -> Result<&str, IdTokenError> {
        let subject = self.sub.as_deref().ok_or(IdTokenError::NoSubject)?;
        let good = (1..=255).contains(&subject.len()) && subject.is_ascii();
        if good { Ok(subject) } else { Err(IdTokenError::NoSubject) }
    }

    pub(crate) fn identity(self) -> Result<Identity, IdTokenError> {
        let subject = self.subject()?.to_owned();
        Ok(Identity {
            issuer: self.iss.unwrap_or_default(),
            subject,
            realm: self.realmid,
            issued_at: self.iat.unwrap_or_default().0,
            expires_at: self.exp.unwrap_or_default().0,
            authenticated_at: self.auth_time.map(|moment| moment.0),
        })
    }
}

/// A `NumericDate` (RFC 7519 §2): seconds since 1970, of which a fraction is cut off. Negative ones are none.
#[derive(Clone, Copy, Default)]
struct Moment(Time);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Number)
    }
}

struct Number;

impl Visitor<'_> for Number {
    type Value = Moment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds since 1970")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Moment, E> {
        Ok(Moment(Time::from_unix(seconds)))
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Moment, E> {
        // The cast saturates, and is exact up to the year 285 million.
        if seconds >= 0.0 {
            Ok(Moment(Time::from_unix(seconds as u64)))
        } else {
            Err(E::custom("before 1970"))
        }
    }
}
