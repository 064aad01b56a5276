//! A key set: the provider's public keys, as a JWKS document lists them (RFC 7517).

use evergrant::Time;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{DocumentError, IdTokenError};
use crate::json::{BODY_MOST, object};

/// No key set is taken to have more keys than this that are of use.
pub const KEYS_MOST: usize = 32;

/// Public keys that confirm signatures. Keys that are no RSA keys for RS256, or are shorter than 2048 bits (RFC 7518 §3.3) or
/// longer than 4096, are not in it.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    public: DecodingKey,
    /// It confirms nothing from here on.
    until: Time,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// A set that confirms nothing.
    pub const EMPTY: Self = Self { keys: Vec::new() };

    /// Reads a JWKS document. Its keys are good for ever: [`JwksCache`](crate::JwksCache) is what forgets.
    ///
    /// Keys that are of no use are passed over, as RFC 7517 §5 has it.
    ///
    /// # Errors
    /// It is too long, is no key set, has no key of use, or too many.
    pub fn parse(body: &[u8]) -> Result<Self, DocumentError> {
        if body.len() > BODY_MOST {
            return Err(DocumentError::TooLong);
        }
        let document: Document = object(body).ok_or(DocumentError::Malformed)?;
        let keys: Vec<Key> = document.keys.into_iter().filter_map(Key::read).collect();
        match keys.len() {
            0 => Err(DocumentError::NoUsableKey),
            1..=KEYS_MOST => Ok(Self { keys }),
            _ => Err(DocumentError::TooManyKeys),
        }
    }

    /// How many keys confirm something at this time.
    #[must_use]
    pub fn count(&self, now: Time) -> usize {
        self.alive(now).count()
    }

    /// Takes the newest document's keys. Those that it lists no more stay, but not for long; a key that it lists under
    /// a known ID takes that one's place.
    pub(crate) fn replace(&mut self, newest: Self, until: Time, outgoing_until: Time, now: Time) {
        let listed = |key: &Key| newest.keys.iter().any(|new| new.id == key.id);
        self.keys.retain(|key| key.until > now && !listed(key));
        self.keys.iter_mut().for_each(|old| old.until = old.until.min(outgoing_until));
        let room = (2 * KEYS_MOST).saturating_sub(newest.keys.len());
        self.keys.drain(..self.keys.len().saturating_sub(room));
        self.keys.extend(newest.keys.into_iter().map(|key| Key { until, ..key }));
    }

    /// Whether one of the keys of this ID made the signature.
    pub(crate) fn confirm(
        &self,
        id: Option<&str>,
        signed: &str,
        signature: &[u8],
        now: Time,
    ) -> Result<(), IdTokenError> {
        let candidates: Vec<&Key> = match id {
            Some(id) => self.alive(now).filter(|key| key.id.as_deref() == Some(id)).collect(),
            None => self.alive(now).collect(),
        };
        match (candidates.len(), id) {
            (0, _) if self.count(now) == 0 => Err(IdTokenError::NoKeys),
            (0, _) => Err(IdTokenError::UnknownKey),
            (2.., None) => Err(IdTokenError::NoKeyId),
            _ if candidates.iter().any(|key| key.made(signed, signature)) => Ok(()),
            _ => Err(IdTokenError::Signature),
        }
    }

    fn alive(&self, now: Time) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| now < key.until)
    }
}

impl Key {
    /// A key of use, from one entry of a document.
    fn read(entry: Value) -> Option<Self> {
        let key: Jwk = serde_json::from_value(entry).ok()?;
        let common = &key.common;
        let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
            && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify))
            && matches!(common.key_algorithm, None | Some(KeyAlgorithm::RS256));
        if !for_signatures || !matches!(key.algorithm, AlgorithmParameters::RSA(_)) {
            return None;
        }
        let public = DecodingKey::from_jwk(&key).ok()?;
        let id = key.common.key_id;
        is_strong(&public).then_some(Self { id, public, until: Time::from_unix(u64::MAX) })
    }

    /// RS256, here and nowhere chosen by a token. The library's provider is named outright: its process-wide default
    /// depends on what other crates turn on, and panics where they turn on two.
    fn made(&self, signed: &str, signature: &[u8]) -> bool {
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&Algorithm::RS256, &self.public);
        verifier.is_ok_and(|verifier| verifier.verify(signed.as_bytes(), &signature.to_vec()).is_ok())
    }
}

/// A modulus of 2048 to 4096 bits, and an exponent with which a signature proves something: with 1, it would be the
/// message itself.
fn is_strong(key: &DecodingKey) -> bool {
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { return false };
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let exponent = bits(e);
    (2_048..=4_096).contains(&bits(n)) && odd(n) && (2..=32).contains(&exponent) && odd(e)
}

/// The length of a big-endian number in bits.
fn bits(number: &[u8]) -> usize {
    let mut digits = number.iter().copied().skip_while(|byte| *byte == 0);
    digits.next().map_or(0, |first| {
        let first = usize::try_from(8 - first.leading_zeros()).unwrap_or(8);
        digits.count().saturating_mul(8).saturating_add(first)
    })
}
