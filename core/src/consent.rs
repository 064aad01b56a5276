//! The authorization URL and its `state`: random and kept, or signed and carried by the browser (CSR-1 to CSR-4).

use ctutils::CtEq;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::app::{App, Scopes, StateKey};
use crate::base64::Base64UrlUnpadded;
use crate::error::{CallbackError, Error, Field, TooLong};
use crate::time::Time;
use crate::write::{Writer, fingerprint};

/// A `state` from 32 random bytes has 43 characters; CSR-3 asks for 30.
pub(crate) const STATE_LEN: usize = 43;
/// Bytes that an app can carry through a signed `state`.
pub const CARRY_MOST: usize = 128;

const MARK: &str = "s.";
const FIXED: usize = 1 + 8 + 4 + 4 + 16;
const MAC: usize = 32;
const SIGNED_MOST: usize = FIXED + CARRY_MOST + MAC;
/// The longest text of a signed `state`.
pub(crate) const SIGNED_TEXT_MOST: usize = MARK.len() + SIGNED_MOST.div_ceil(3) * 4;
const VERSION: u8 = 1;

/// What a consent asks for. Its random bytes come from whoever has an entropy source; they are used for this one consent
/// (CSR-1).
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// One of the app's redirect URIs, to the letter (RED-1, RED-2).
    pub redirect_uri: &'a str,
    /// The scopes; none are added (SCO-2).
    pub scopes: Scopes,
    /// 64 bytes from a high-quality random source (CSR-3): 32 for the `state`, 32 for the PKCE verifier.
    pub random: [u8; 64],
}

impl core::fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ask").field("redirect_uri", &self.redirect_uri).field("scopes", &self.scopes).finish()
    }
}

/// What a consent with a signed `state` asks for: nothing of it need be stored until the callback comes (CSR-4).
#[derive(Clone, Copy)]
pub struct SignedAsk<'a> {
    /// One of the app's redirect URIs, to the letter (RED-1, RED-2).
    pub redirect_uri: &'a str,
    /// The scopes; none are added (SCO-2).
    pub scopes: Scopes,
    /// 16 bytes from a high-quality random source (CSR-1).
    pub random: [u8; 16],
    /// What the app wants to find again at the callback (RED-4); at most [`CARRY_MOST`] bytes. The browser can read it.
    pub carry: &'a [u8],
    /// What ties the consent to the user's browser, such as its session cookie; not carried, but the callback must come
    /// with the same.
    pub binding: &'a [u8],
}

/// I6: neither its random bytes, from which the PKCE verifier is made, nor the binding, which may be a cookie.
impl core::fmt::Debug for SignedAsk<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SignedAsk")
            .field("redirect_uri", &self.redirect_uri)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// A signed `state` that was found to be ours. Its `Debug` does not show the PKCE verifier.
#[derive(Clone)]
pub struct Signed {
    pub(crate) made_at: Time,
    pub(crate) scopes: Scopes,
    pub(crate) redirect: u32,
    pub(crate) verifier: [u8; 32],
    carry: heapless::Vec<u8, CARRY_MOST>,
}

impl core::fmt::Debug for Signed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Signed")
            .field("made_at", &self.made_at)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl Signed {
    /// What the app wanted carried.
    #[must_use]
    pub fn carry(&self) -> &[u8] {
        self.carry.as_slice()
    }

    /// When the consent was asked for.
    #[must_use]
    pub const fn made_at(&self) -> Time {
        self.made_at
    }

    /// Reads a signed `state` back: `Err` unless this app made it, for this environment, with this binding. Whether it is
    /// too old or used already, the session judges.
    ///
    /// # Errors
    /// [`CallbackError::StateMismatch`], whatever is wrong with it; [`Error::NoStateKey`].
    pub fn open(app: &App<'_>, state: &str, binding: &[u8]) -> Result<Self, Error> {
        let key = app.state_key().ok_or(Error::NoStateKey)?;
        Self::read(app, key, state, binding).ok_or(Error::Callback(CallbackError::StateMismatch))
    }

    // Kept apart, as `sign` is: what they need of the stack, no other call should have to have.
    #[inline(never)]
    fn read(app: &App<'_>, key: StateKey<'_>, state: &str, binding: &[u8]) -> Option<Self> {
        let mut raw = [0; SIGNED_MOST];
        let raw = Base64UrlUnpadded::decode(state.strip_prefix(MARK)?, &mut raw).ok()?;
        let (payload, mac) = raw.split_last_chunk::<MAC>()?;
        let (version, rest) = payload.split_first()?;
        let (made_at, rest) = rest.split_first_chunk::<8>()?;
        let (scopes, rest) = rest.split_first_chunk::<4>()?;
        let (redirect, rest) = rest.split_first_chunk::<4>()?;
        let (nonce, carry) = rest.split_first_chunk::<16>()?;
        let scopes = Scopes(u32::from_be_bytes(*scopes));
        let redirect = u32::from_be_bytes(*redirect);
        // The redirect URI itself is signed, and must still be registered (RED-1).
        let uri = app.redirect_uri_by(redirect)?;
        let expected = sign(app, key, uri, scopes, binding, payload)?;
        if *version != VERSION || !expected.ct_eq(mac).to_bool() {
            return None;
        }
        let verifier = derive_verifier(key, nonce)?;
        let made_at = Time::from_unix(u64::from_be_bytes(*made_at));
        Some(Self { made_at, scopes, redirect, verifier, carry: heapless::Vec::from_slice(carry).ok()? })
    }
}

/// The authorization URL with a signed `state`, written into `buffer`. `now` is when it is made: it expires after the
/// provider's [`consent_for`](crate::Policy::consent_for) seconds.
///
/// # Errors
/// No key to sign with, an unknown redirect URI, no scope, no clock, too much to carry, too small a buffer.
pub fn signed_url<'b>(
    app: &App<'_>,
    now: Time,
    ask: &SignedAsk<'_>,
    buffer: &'b mut [u8],
) -> Result<&'b str, Error> {
    let key = app.state_key().ok_or(Error::NoStateKey)?;
    let redirect = checked(app, ask.redirect_uri, ask.scopes)?;
    if !now.is_set() {
        return Err(crate::phase::Refused::ClockUnset.into());
    }
    if ask.carry.len() > CARRY_MOST {
        return Err(TooLong { field: Field::Carry, needed: ask.carry.len(), capacity: CARRY_MOST }.into());
    }
    let mut raw: heapless::Vec<u8, SIGNED_MOST> = heapless::Vec::new();
    let made_at = now.unix().to_be_bytes();
    let parts: [&[u8]; 6] =
        [&[VERSION], &made_at, &ask.scopes.0.to_be_bytes(), &redirect.to_be_bytes(), &ask.random, ask.carry];
    let whole = parts.iter().all(|part| raw.extend_from_slice(part).is_ok());
    let mac = sign(app, key, ask.redirect_uri, ask.scopes, ask.binding, &raw).ok_or(Error::NoStateKey)?;
    if !whole || raw.extend_from_slice(&mac).is_err() {
        return Err(TooLong { field: Field::Carry, needed: ask.carry.len(), capacity: CARRY_MOST }.into());
    }
    let mut text = [0; SIGNED_TEXT_MOST];
    let encoded = Base64UrlUnpadded::encode(&raw, &mut text).map_err(|_| Error::NoStateKey)?;
    let verifier = if app.provider().pkce { derive_verifier(key, &ask.random) } else { None };
    Ok(write_url(app, ask.redirect_uri, ask.scopes, (MARK, encoded), verifier.as_ref(), buffer)?)
}

/// HMAC-SHA-256 over the app, the environment, the redirect URI, the scopes by name, the binding and the payload (CSR-4).
/// Each part goes in behind its length, so that no two lists of parts sign alike.
#[inline(never)]
fn sign(
    app: &App<'_>,
    key: StateKey<'_>,
    redirect_uri: &str,
    scopes: Scopes,
    binding: &[u8],
    payload: &[u8],
) -> Option<[u8; MAC]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
    let mut part = |bytes: &[u8]| {
        mac.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(bytes);
    };
    part(b"evergrant state");
    part(app.provider().name.as_bytes());
    part(app.client_id().as_bytes());
    part(redirect_uri.as_bytes());
    part(binding);
    part(payload);
    for name in app.scope_names(scopes) {
        part(name.as_bytes());
    }
    Some(mac.finalize().into_bytes().into())
}

/// The PKCE verifier of a signed state: known to whoever holds the key, and never in the URL (RFC 7636 §4.3).
fn derive_verifier(key: StateKey<'_>, nonce: &[u8; 16]) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
    mac.update(b"evergrant pkce verifier");
    mac.update(nonce);
    Some(mac.finalize().into_bytes().into())
}

/// The fingerprint of a redirect URI that is one of the app's, for scopes that are some (RED-1, RED-2, SCO-1).
pub(crate) fn checked(app: &App<'_>, redirect_uri: &str, scopes: Scopes) -> Result<u32, Error> {
    if scopes.is_empty() {
        return Err(Error::NoScope);
    }
    if !app.redirect_uris().contains(&redirect_uri) {
        return Err(Error::RedirectUriUnknown);
    }
    Ok(fingerprint(&[redirect_uri]))
}

/// Whether the authority accepts a `state` of that kind; the mark tells them apart.
pub(crate) fn is_signed(state: &[u8]) -> bool {
    state.starts_with(MARK.as_bytes())
}

/// The text of a random `state`.
pub(crate) fn state_text<'b>(random: &[u8; 32], buffer: &'b mut [u8; STATE_LEN]) -> &'b str {
    Base64UrlUnpadded::encode(random, buffer).unwrap_or_default()
}

/// CSR-2: in constant time.
pub(crate) fn is_state(random: &[u8; 32], received: &[u8]) -> bool {
    let mut buffer = [0; STATE_LEN];
    let expected = state_text(random, &mut buffer);
    let equal = expected.as_bytes().ct_eq(received).to_bool() && !expected.is_empty();
    buffer.zeroize();
    equal
}

/// RFC 6749 §4.1.1, with RFC 7636's challenge where there is a verifier.
pub(crate) fn write_url<'b>(
    app: &App<'_>,
    redirect_uri: &str,
    scopes: Scopes,
    state: (&str, &str),
    verifier: Option<&[u8; 32]>,
    buffer: &'b mut [u8],
) -> Result<&'b str, TooLong> {
    let endpoint = app.provider().authorization_endpoint;
    let mut out = Writer::new(buffer);
    out.text(endpoint);
    // The endpoint may have a query of its own, which stays (RFC 6749 §3.1).
    out.text(if endpoint.contains('?') { "&" } else { "?" });
    out.text("client_id=");
    out.encoded(app.client_id().as_bytes());
    out.text("&response_type=code&scope=");
    scopes.write(app, &mut out, "%20");
    out.text("&redirect_uri=");
    out.encoded(redirect_uri.as_bytes());
    out.text("&state=");
    out.text(state.0);
    out.text(state.1);
    if !app.provider().authorization_parameters.is_empty() {
        out.text("&");
        out.text(app.provider().authorization_parameters);
    }
    if let Some(verifier) = verifier {
        out.text("&code_challenge_method=S256&code_challenge=");
        let mut text = [0; STATE_LEN];
        let digest: [u8; 32] = Sha256::digest(state_text(verifier, &mut text)).into();
        out.text(state_text(&digest, &mut [0; STATE_LEN]));
        text.zeroize();
    }
    out.finish(Field::Buffer)
}

#[cfg(test)]
mod tests {
    use super::{CARRY_MOST, SIGNED_TEXT_MOST, SignedAsk, signed_url};
    use crate::{App, ClientSecret, Keys, Provider, Scopes, StateKey, Time};

    /// The longest `state` leaves of its room what padding would take, and no more.
    #[test]
    fn the_longest_signed_state_fills_its_room() {
        const URI: &str = "https://app.example/cb";
        let keys = Keys {
            client_id: "client",
            client_secret: ClientSecret::new("secret"),
            redirect_uris: &[URI],
            further_scopes: &[],
            state_key: Some(StateKey::new(&[9; 32])),
        };
        let app = App::new(&Provider::INTUIT_SANDBOX, keys).unwrap();
        let carry = [b'c'; CARRY_MOST];
        let ask = SignedAsk {
            redirect_uri: URI,
            scopes: Scopes::OPENID,
            random: [1; 16],
            carry: &carry,
            binding: &[],
        };
        let mut buffer = [0; 1_000];
        let url = signed_url(&app, Time::from_unix(1_800_000_000), &ask, &mut buffer).unwrap();
        let state = url.rsplit_once("state=").unwrap().1;
        assert!(
            (0..4).contains(&SIGNED_TEXT_MOST.wrapping_sub(state.len())),
            "{} of {SIGNED_TEXT_MOST}",
            state.len()
        );
    }
}
