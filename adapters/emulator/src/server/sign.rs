//! Signing keys and ID tokens (wire-facts section 7), the wrong ones among them.

use std::sync::{Arc, OnceLock};

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rsa::PrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use rsa::signature::{SignatureEncoding, Signer};
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::authority::IdClaims;
use crate::fault::IdTokenHarm;

const KEY_BITS: usize = 2_048;

/// The keys that the key set lists; the last one signs. Each is made when it is first needed.
#[derive(Debug)]
pub(super) struct KeyRing {
    seed: u64,
    made: u64,
    keys: Vec<Arc<LazyKey>>,
}

impl KeyRing {
    pub(super) fn new(seed: u64) -> Self {
        let mut ring = Self { seed, made: 0, keys: Vec::new() };
        ring.rotate(false);
        ring
    }

    /// A new key signs from here on.
    pub(super) fn rotate(&mut self, keep_old: bool) {
        if !keep_old {
            self.keys.clear();
        }
        self.made += 1;
        self.keys.push(Arc::new(LazyKey::new(self.seed, self.made)));
    }

    pub(super) fn all(&self) -> Vec<Arc<LazyKey>> {
        self.keys.clone()
    }

    pub(super) fn current(&self) -> Option<Arc<LazyKey>> {
        self.keys.last().cloned()
    }
}

/// A signing key with its ID. Making one takes a good part of a second, so it waits until it is needed.
#[derive(Debug)]
pub(super) struct LazyKey {
    kid: String,
    seed: u64,
    key: OnceLock<Result<PrivateKey, rsa::Error>>,
}

/// An ID token could not be made.
#[derive(Debug)]
pub(super) struct SignError(pub(super) String);

impl LazyKey {
    fn new(seed: u64, number: u64) -> Self {
        let kid = format!("evergrant-emulator-{seed:x}-{number}");
        Self { kid, seed: seed.wrapping_add(number.rotate_left(32)), key: OnceLock::new() }
    }

    /// The key. The first call makes it, and blocks while it does; others that call meanwhile wait for it.
    fn key(&self) -> Result<&PrivateKey, SignError> {
        let make = || PrivateKey::new(&mut ChaCha20Rng::seed_from_u64(self.seed), KEY_BITS);
        self.key.get_or_init(make).as_ref().map_err(|error| SignError(format!("no RSA key: {error}")))
    }

    /// Makes the key ahead of time.
    pub(super) fn warm(&self) {
        let _ = self.key();
    }

    /// The public part as a JSON Web Key (RFC 7517).
    pub(super) fn public_jwk(&self) -> Result<Value, SignError> {
        let key = self.key()?;
        Ok(json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid,
            "n": Base64UrlUnpadded::encode_string(&key.n_bytes()),
            "e": Base64UrlUnpadded::encode_string(&key.e_bytes()),
        }))
    }

    /// The ID token with these claims, or what the harm makes of it; `None`: none at all.
    pub(super) fn id_token(
        &self,
        claims: &IdClaims,
        harm: Option<IdTokenHarm>,
    ) -> Result<Option<String>, SignError> {
        let claims = harmed_claims(claims, harm);
        Ok(Some(match harm {
            Some(IdTokenHarm::Absent) => return Ok(None),
            Some(IdTokenHarm::Garbage) => "this.is.no-token".into(),
            Some(IdTokenHarm::Unsigned) => format!("{}.", signing_input("none", &self.kid, &claims)?),
            Some(IdTokenHarm::SymmetricWithPublicKey) => {
                self.symmetric(&signing_input("HS256", &self.kid, &claims)?)?
            }
            Some(IdTokenHarm::UnknownKey) => {
                self.signed(signing_input("RS256", "nobody-knows-me", &claims)?, false)?
            }
            _ => {
                let broken = harm == Some(IdTokenHarm::BrokenSignature);
                self.signed(signing_input("RS256", &self.kid, &claims)?, broken)?
            }
        }))
    }

    fn signed(&self, input: String, broken: bool) -> Result<String, SignError> {
        let signer = SigningKey::<Sha256>::new(self.key()?.clone());
        let signature = signer.try_sign(input.as_bytes()).map_err(|error| SignError(error.to_string()))?;
        let mut signature = signature.to_vec();
        if let (true, Some(byte)) = (broken, signature.last_mut()) {
            *byte ^= 1;
        }
        Ok(format!("{input}.{}", Base64UrlUnpadded::encode_string(&signature)))
    }

    /// The classic confusion of algorithms: HS256, with the PEM of the public key as the secret.
    fn symmetric(&self, input: &str) -> Result<String, SignError> {
        let public = self.key()?.to_public_key();
        let pem = public.to_public_key_pem(LineEnding::LF).map_err(|error| SignError(error.to_string()))?;
        let mac =
            Hmac::<Sha256>::new_from_slice(pem.as_bytes()).map_err(|error| SignError(error.to_string()))?;
        let tag = mac.chain_update(input).finalize().into_bytes();
        Ok(format!("{input}.{}", Base64UrlUnpadded::encode_string(&tag)))
    }
}

/// Header and claims. Both are plain ASCII without `>`, `?` and `~`, so their base64url has neither `-` nor `_`:
/// Intuit's SDKs read these two parts with the other base64 alphabet.
fn signing_input(algorithm: &str, kid: &str, claims: &IdClaims) -> Result<String, SignError> {
    let header = json!({ "kid": kid, "typ": "JWT", "alg": algorithm }).to_string();
    let claims = serde_json::to_string(claims).map_err(|error| SignError(error.to_string()))?;
    let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    Ok(format!("{}.{}", encode(&header), encode(&claims)))
}

fn harmed_claims(claims: &IdClaims, harm: Option<IdTokenHarm>) -> IdClaims {
    let mut claims = claims.clone();
    match harm {
        Some(IdTokenHarm::WrongAudience) => claims.aud = vec!["ABanotherClientAltogether".into()],
        Some(IdTokenHarm::WrongIssuer) => claims.iss = "https://issuer.example/op/v1".into(),
        Some(IdTokenHarm::WrongRealm) => claims.realmid = Some("9999999999999999".into()),
        Some(IdTokenHarm::Expired) => {
            claims.exp = claims.iat.saturating_sub(3_600);
            claims.iat = claims.iat.saturating_sub(7_200);
        }
        _ => {}
    }
    claims
}
