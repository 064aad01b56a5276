//! The provider's JWKS, kept and renewed: says what to fetch and when, and takes in what was fetched.

use evergrant::{Provider, Time};

use crate::claims::Identity;
use crate::error::{DocumentError, IdTokenError};
use crate::fetched::{Fetched, checked};
use crate::freshness::{Freshness, Timetable};
use crate::id_token::{Expected, IdToken, verify};
use crate::key_set::KeySet;
use crate::url::is_endpoint;

/// The provider's JWKS, without I/O: its public keys, each for its time.
///
/// Ask [`wanted`](Self::wanted) before each verification and not only after a failure: a key that the provider has withdrawn
/// is forgotten when a newer document is taken.
///
/// ```
/// # use evergrant::{Provider, Time};
/// # use evergrant_openid::{Expected, Fetched, Identity, IdToken, IdTokenError, JwksCache};
/// # fn get(_: &str) -> Fetched<'static> { Fetched::Failed }
/// # fn sign_in(keys: &mut JwksCache, token: &IdToken, expected: &Expected<'_>, now: Time) -> Result<Identity, IdTokenError> {
/// loop {
///     // First, and once more if the token names a key that is not held; `wanted` sees to it that this ends.
///     if let Some(url) = keys.wanted(now) {
///         let fetched = get(url);
///         if let Err(why) = keys.take(now, fetched) {
///             println!("the keys stay what they were: {why}");
///         }
///     }
///     let outcome = keys.verify(token, expected, now);
///     let curable = outcome.as_ref().is_err_and(IdTokenError::wants_keys);
///     if !curable || keys.wanted(now).is_none() {
///         break outcome;
///     }
/// }
/// # }
/// # let mut keys = JwksCache::new(&Provider::INTUIT_SANDBOX)?;
/// # let now = Time::from_unix(1_800_000_000);
/// # let expected = Expected { issuer: "", client_id: "", nonce: None, realm: None, subject: None, leeway: 0 };
/// # let token = IdToken::new("eyJhbGciOiJSUzI1NiJ9.e30.AA");
/// # assert_eq!(sign_in(&mut keys, &token, &expected, now), Err(IdTokenError::NoKeys));
/// # Ok::<(), evergrant_openid::DocumentError>(())
/// ```
#[derive(Clone, Debug)]
pub struct JwksCache {
    url: String,
    set: KeySet,
    timetable: Timetable,
}

impl JwksCache {
    /// No keys yet; they are at the provider's `jwks_uri`, and due at once.
    ///
    /// # Errors
    /// The provider has no such address, or it is not https.
    pub fn new(provider: &Provider<'_>) -> Result<Self, DocumentError> {
        Self::with(provider, Freshness::KEYS)
    }

    /// The same with other times.
    ///
    /// # Errors
    /// As [`JwksCache::new`].
    pub fn with(provider: &Provider<'_>, freshness: Freshness) -> Result<Self, DocumentError> {
        if !is_endpoint(provider.jwks_uri, provider.loopback_http) {
            return Err(DocumentError::Endpoint("jwks_uri"));
        }
        Ok(Self { url: provider.jwks_uri.into(), set: KeySet::EMPTY, timetable: Timetable::new(freshness) })
    }

    /// Verifies an ID token against the keys that are held; see [`verify`]. One that names an unknown key makes the keys
    /// due, once in [`Freshness::gap`]: a new key may have taken an old one's place.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(
        &mut self,
        token: &IdToken,
        expected: &Expected<'_>,
        now: Time,
    ) -> Result<Identity, IdTokenError> {
        let outcome = verify(token, &self.set, expected, now);
        if outcome.as_ref().is_err_and(IdTokenError::wants_keys) {
            self.timetable.missed();
        }
        outcome
    }

    /// The URL to `GET` now, if there is something to fetch: with `accept: application/json`, following no redirect,
    /// reading at most [`BODY_MOST`](crate::BODY_MOST) bytes. Hand in what comes with [`take`](Self::take).
    #[must_use]
    pub fn wanted(&self, now: Time) -> Option<&str> {
        // By a clock that was never set, no token can be judged, and no key be kept for its time.
        (now.is_set() && self.timetable.is_due(now)).then_some(&self.url)
    }

    /// Nothing is to be fetched before, unless the clock is put back.
    #[must_use]
    pub fn due(&self) -> Time {
        self.timetable.due()
    }

    /// Takes in what was fetched.
    ///
    /// # Errors
    /// It is no key set, or none of use. The keys that are held stay, each for its time, and the next try is due after
    /// [`Freshness::retry`].
    pub fn take(&mut self, now: Time, fetched: Fetched<'_>) -> Result<(), DocumentError> {
        if !now.is_set() {
            return Err(DocumentError::ClockUnset);
        }
        let newest =
            checked(fetched).and_then(|(cache_control, body)| Ok((cache_control, KeySet::parse(body)?)));
        match newest {
            Ok((cache_control, newest)) => {
                let Freshness { keep, outgoing, .. } = self.timetable.freshness;
                self.set.replace(newest, now.plus(keep), now.plus(outgoing), now);
                self.timetable.succeeded(now, cache_control);
                Ok(())
            }
            Err(why) => {
                self.timetable.failed(now);
                Err(why)
            }
        }
    }

    /// The keys that are held, for [`verify`] as a pure function.
    #[must_use]
    pub const fn set(&self) -> &KeySet {
        &self.set
    }
}
