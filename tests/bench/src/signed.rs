//! A signed state as it is written by hand: the time, 16 random bytes, and an HMAC-SHA-256 over both, the client and the
//! redirect URI. evergrant signs more than that in one of its own form.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::data;
use crate::text;

/// The signature of a payload.
///
/// # Panics
/// Never: HMAC takes a key of any length.
#[must_use]
pub fn sign(payload: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(&data::STATE_KEY).expect("any key will do");
    for part in [data::CLIENT_ID.as_bytes(), data::REDIRECT.as_bytes(), payload] {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The payload and its signature.
#[must_use]
pub fn state() -> [u8; 56] {
    let mut state = [0; 56];
    state[..8].copy_from_slice(&data::NOW.to_be_bytes());
    state[8..24].copy_from_slice(std::hint::black_box(&data::RANDOM[..16]));
    let mac = sign(&state[..24]);
    state[24..].copy_from_slice(&mac);
    state
}

/// Whether a URL carries that state.
#[must_use]
pub fn is_signed(url: &str) -> bool {
    let found = text::pairs(url.split_once('?').unwrap_or_default().1);
    found.contains(&("state".to_owned(), text::base64url(&state())))
}
