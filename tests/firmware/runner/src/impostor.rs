//! A TLS 1.3 server that has no certificate and shows none: it comes straight to its `Finished`.
//!
//! No library does that, so it is written out here (RFC 8446 §4.4.4, §7.1), as far as the one handshake goes.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use ring::{digest, hmac};

use crate::Outcome;

const SECP256R1: [u8; 2] = [0x00, 0x17];
/// A point of that curve, uncompressed.
const POINT: usize = 65;

/// The answer to a `ClientHello`'s record: `ServerHello`, and encrypted `EncryptedExtensions` and `Finished`.
pub(crate) fn flight(record: &[u8]) -> Outcome<Vec<u8>> {
    let hello = record.get(5..).ok_or("no ClientHello")?;
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).map_err(|_| "no key")?;
    let answer = server_hello(hello, own.compute_public_key().map_err(|_| "no key")?.as_ref())?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, key_share(hello)?);
    let shared = agree_ephemeral(own, &theirs, <[u8]>::to_vec).map_err(|_| "no secret")?;

    let early = mac(&[0; 32], &[&[0; 32]]);
    let handshake = mac(&derived(&early, "derived", &hash(&[]), 32), &[&shared]);
    let secret = derived(&handshake, "s hs traffic", &hash(&[hello, &answer]), 32);
    let extensions = [8, 0, 0, 2, 0, 0];
    let finished = mac(&derived(&secret, "finished", &[], 32), &[&hash(&[hello, &answer, &extensions])]);
    let mut inner = [&extensions[..], &[20, 0, 0, 32], &finished, &[22]].concat();

    let key = UnboundKey::new(&AES_128_GCM, &derived(&secret, "key", &[], 16)).map_err(|_| "no key")?;
    let nonce = Nonce::try_assume_unique_for_key(&derived(&secret, "iv", &[], 12)).map_err(|_| "no nonce")?;
    let header = [&[23, 3, 3][..], &length(inner.len() + AES_128_GCM.tag_len())?].concat();
    let sealed = LessSafeKey::new(key).seal_in_place_append_tag(nonce, Aad::from(header.clone()), &mut inner);
    sealed.map_err(|_| "not sealed")?;
    Ok([&[22, 3, 3][..], &length(answer.len())?, &answer, &header, &inner].concat())
}

fn server_hello(client: &[u8], point: &[u8]) -> Outcome<Vec<u8>> {
    let count = usize::from(*client.get(38).ok_or("no session")?);
    let session = client.get(38..39 + count).ok_or("no session")?;
    let share = [&SECP256R1[..], &length(POINT)?, point].concat();
    let extensions = [&[0, 0x2b, 0, 2, 3, 4, 0, 0x33][..], &length(share.len())?, &share].concat();
    let body =
        [&[3, 3][..], &[7; 32], session, &[0x13, 0x01, 0], &length(extensions.len())?, &extensions].concat();
    Ok([&[2, 0][..], &length(body.len())?, &body].concat())
}

/// The client's point: what follows its group and its length.
fn key_share(client: &[u8]) -> Outcome<&[u8]> {
    let mark = [&SECP256R1[..], &length(POINT)?, &[4]].concat();
    let at = client.windows(mark.len()).position(|window| window == mark).ok_or("no share of P-256")?;
    Ok(client.get(at + 4..at + 4 + POINT).ok_or("no share of P-256")?)
}

fn length(bytes: usize) -> Outcome<[u8; 2]> {
    Ok(u16::try_from(bytes)?.to_be_bytes())
}

fn hash(parts: &[&[u8]]) -> Vec<u8> {
    digest::digest(&digest::SHA256, &parts.concat()).as_ref().to_vec()
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat()).as_ref().to_vec()
}

/// `HKDF-Expand-Label` of one block at the most.
fn derived(secret: &[u8], label: &str, context: &[u8], bytes: u8) -> Vec<u8> {
    let label = format!("tls13 {label}");
    let info = [
        &[0, bytes, u8::try_from(label.len()).unwrap_or(0)],
        label.as_bytes(),
        &[u8::try_from(context.len()).unwrap_or(0)],
        context,
        &[1],
    ]
    .concat();
    let mut block = mac(secret, &[&info]);
    block.truncate(usize::from(bytes));
    block
}
