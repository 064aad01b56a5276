//! Sealing: XChaCha20-Poly1305 with the place of the record as associated data.

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};

use crate::{Entropy, Error, KeyId, Keyring, Name, Record, key::SealingKey};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const HEADER_BYTES: usize = 1 + KeyId::BYTES;
const LABEL: &[u8] = b"evergrant vault: sealed field";

/// What a sealed field is bound to. It opens in no other place than this one.
#[derive(Clone, Copy)]
pub(crate) struct Binding<'a> {
    pub(crate) field: Field<'a>,
    /// The write that it came with; no number is used twice in a vault, so an earlier write's bytes do not fit.
    pub(crate) generation: u64,
    pub(crate) revision: u32,
}

#[derive(Clone, Copy)]
pub(crate) enum Field<'a> {
    Record(&'a Name),
    /// A record that waits outside of its vault, in a file of its own.
    Spilled(&'a Name),
    Canary,
}

/// Why a sealed field stays shut.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    /// It names a key that is not in the ring.
    KeyNotInRing(KeyId),
    /// It is not what was sealed for this place.
    Altered,
}

/// Seals under the ring's newest key: version, key id, nonce, sealed bytes and tag.
pub(crate) fn seal(
    ring: &Keyring,
    entropy: &mut dyn Entropy,
    binding: Binding<'_>,
    plain: &[u8],
) -> Result<Vec<u8>, Error> {
    let key = ring.newest();
    let mut nonce = [0; NONCE_BYTES];
    entropy.fill(&mut nonce).map_err(|source| Error::Entropy { source })?;
    let mut sealed = vec![VERSION];
    sealed.extend_from_slice(key.id.as_bytes());
    let associated = binding.associated_data(&sealed);
    let payload = Payload { msg: plain, aad: &associated };
    // The cipher's only failure is a message of more than 256 GB.
    let body = cipher(key)
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| Error::RecordTooLong { bytes: plain.len() })?;
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// Opens what [`seal`] made for the same binding.
pub(crate) fn open(ring: &Keyring, binding: Binding<'_>, sealed: &[u8]) -> Result<Record, Shut> {
    let key_id = key_id(sealed).ok_or(Shut::Altered)?;
    let (header, rest) = sealed.split_at_checked(HEADER_BYTES).ok_or(Shut::Altered)?;
    let (nonce, body) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Shut::Altered)?;
    let key = ring.find(key_id).ok_or(Shut::KeyNotInRing(key_id))?;
    let associated = binding.associated_data(header);
    let payload = Payload { msg: body, aad: &associated };
    cipher(key).decrypt(&XNonce::from(*nonce), payload).map(Record::new).map_err(|_| Shut::Altered)
}

/// The key that a sealed field names; `None` where it is no sealed field of a version that is known here.
pub(crate) fn key_id(sealed: &[u8]) -> Option<KeyId> {
    match sealed.split_first() {
        Some((&VERSION, rest)) => rest.first_chunk().copied().map(KeyId),
        _ => None,
    }
}

const CANARY: &[u8] = b"evergrant vault canary";
const CANARY_PLACE: Binding<'static> = Binding { field: Field::Canary, generation: 0, revision: 0 };

/// The canary of the ring's newest key: a known text, by which the key is known again.
pub(crate) fn canary(ring: &Keyring, entropy: &mut dyn Entropy) -> Result<Vec<u8>, Error> {
    seal(ring, entropy, CANARY_PLACE, CANARY)
}

/// Refuses a ring that knows none of a vault's canaries, or to which one that it should know does not open.
pub(crate) fn check_canaries(
    canaries: &[(KeyId, Vec<u8>)],
    place: &str,
    ring: &Keyring,
) -> Result<(), Error> {
    let known = || canaries.iter().filter(|(key, _)| ring.find(*key).is_some());
    if !canaries.is_empty() && known().next().is_none() {
        let sealed_under = canaries.iter().map(|(key, _)| *key).collect();
        return Err(Error::WrongKey { vault: place.to_owned(), sealed_under, given: ring.ids() });
    }
    for (_, sealed) in known() {
        match open(ring, CANARY_PLACE, sealed) {
            Ok(plain) if plain.expose() == CANARY => {}
            _ => return Err(Error::Altered { vault: place.to_owned(), name: None }),
        }
    }
    Ok(())
}

/// A record opened in its row, or why it stays shut, with the row's name.
pub(crate) fn open_record(
    ring: &Keyring,
    place: &str,
    name: &Name,
    generation: u64,
    revision: u32,
    sealed: &[u8],
) -> Result<Record, Error> {
    open(ring, Binding { field: Field::Record(name), generation, revision }, sealed)
        .map_err(|shut| shut.named(place, name))
}

impl Shut {
    pub(crate) fn named(self, place: &str, name: &Name) -> Error {
        let vault = place.to_owned();
        match self {
            Self::KeyNotInRing(key) => Error::KeyNotInRing { vault, name: name.clone(), key },
            Self::Altered => Error::Altered { vault, name: Some(name.clone()) },
        }
    }
}

fn cipher(key: &SealingKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&**key.bytes).into())
}

impl Binding<'_> {
    /// Every part with its length before it, so that no two places have the same bytes.
    fn associated_data(&self, header: &[u8]) -> Vec<u8> {
        let parts: [&str; 4] = match self.field {
            Field::Record(name) => ["record", name.app(), name.environment(), name.realm()],
            Field::Spilled(name) => ["spilled", name.app(), name.environment(), name.realm()],
            Field::Canary => ["canary", "", "", ""],
        };
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(LABEL);
        bytes.extend_from_slice(header);
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.revision.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    const PLAIN: &[u8] = b"RT1-canary";

    fn ring() -> Keyring {
        Keyring::generate(&mut SystemEntropy).unwrap()
    }

    fn name(app: &str, environment: &str, realm: &str) -> Name {
        Name::new(app, environment, realm).unwrap()
    }

    #[test]
    fn opens_only_where_it_was_sealed() {
        let ring = ring();
        let here = name("a", "intuit-sandbox", "1");
        let place = Binding { field: Field::Record(&here), generation: 7, revision: 3 };
        let sealed = seal(&ring, &mut SystemEntropy, place, PLAIN).unwrap();
        assert_eq!(open(&ring, place, &sealed).unwrap().expose(), PLAIN);

        let others = [
            name("b", "intuit-sandbox", "1"),
            name("a", "intuit-production", "1"),
            name("a", "intuit-sandbox", "2"),
            name("ai", "ntuit-sandbox", "1"),
        ];
        for other in &others {
            assert_eq!(
                open(&ring, Binding { field: Field::Record(other), ..place }, &sealed),
                Err(Shut::Altered)
            );
        }
        assert_eq!(open(&ring, Binding { generation: 6, ..place }, &sealed), Err(Shut::Altered));
        assert_eq!(open(&ring, Binding { revision: 2, ..place }, &sealed), Err(Shut::Altered));
        for field in [Field::Canary, Field::Spilled(&here)] {
            assert_eq!(open(&ring, Binding { field, ..place }, &sealed), Err(Shut::Altered));
        }
    }

    #[test]
    fn no_bit_can_be_changed_and_no_length() {
        let ring = ring();
        let place = Binding { field: Field::Canary, generation: 0, revision: 0 };
        let sealed = seal(&ring, &mut SystemEntropy, place, PLAIN).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&ring, place, &changed).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open(&ring, place, &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn another_ring_is_told_which_key_it_lacks() {
        let (ring, other) = (ring(), ring());
        let place = Binding { field: Field::Canary, generation: 0, revision: 0 };
        let sealed = seal(&ring, &mut SystemEntropy, place, PLAIN).unwrap();
        assert_eq!(open(&other, place, &sealed), Err(Shut::KeyNotInRing(ring.ids()[0])));
    }

    fn _keys_are_wiped(cipher: XChaCha20Poly1305) -> impl zeroize::ZeroizeOnDrop {
        cipher
    }
}
