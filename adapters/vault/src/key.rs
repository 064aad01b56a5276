//! Sealing keys: where they come from, how they are told apart.

use std::{fmt, fs, io, io::Read, path::Path};

use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::{Entropy, Error, files};

const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 8;
/// Room for a thousand keys; what is beyond is not read. Allocated at once, so that growing leaves no copy behind.
const MAX_KEY_FILE_BYTES: usize = 64 * 1024;
const ID_LABEL: &[u8] = b"evergrant vault: key id, version 1";
const SEAL_LABEL: &[u8] = b"evergrant vault: sealing key, version 1";

/// Tells sealing keys apart without giving anything of them away: the first 8 bytes of a keyed hash under the key.
///
/// It is derived, not chosen, so a key cannot stand under another key's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(crate) [u8; ID_BYTES]);

impl KeyId {
    /// How many bytes an id has.
    pub(crate) const BYTES: usize = ID_BYTES;

    /// The bytes of the id.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// One key as it is used: its id, and what is derived from it for sealing.
pub(crate) struct SealingKey {
    pub(crate) id: KeyId,
    /// Boxed, so that no copy stays behind where the key itself is moved.
    pub(crate) bytes: Box<Zeroizing<[u8; KEY_BYTES]>>,
}

impl SealingKey {
    fn derive(key: &[u8; KEY_BYTES]) -> Self {
        let mut id = [0; ID_BYTES];
        id.iter_mut().zip(keyed_hash(key, ID_LABEL).iter()).for_each(|(to, from)| *to = *from);
        Self { id: KeyId(id), bytes: Box::new(keyed_hash(key, SEAL_LABEL)) }
    }
}

pub(crate) fn keyed_hash(key: &[u8; KEY_BYTES], label: &[u8]) -> Zeroizing<[u8; 32]> {
    // HMAC fills a short key up with zeros: the same key, with no length that could be wrong.
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
    mac.update(label);
    let mut output = mac.finalize().into_bytes();
    let hash = Zeroizing::new(output.into());
    output.as_mut_slice().zeroize();
    hash
}

/// The keys of a vault. The first one seals; all of them open. Wiped on drop, redacted in `Debug` (I6).
///
/// To replace a key: put the new one first and leave the old one after it, in every process. Each write seals
/// again under the new key; when no row is left under the old one, it can go.
pub struct Keyring {
    newest: SealingKey,
    older: Vec<SealingKey>,
}

impl Keyring {
    /// Reads keys from a text, such as an environment variable's value: one or more keys of 32 bytes, each in
    /// base64 (either alphabet, padded or not) or in 64 hex digits, parted by white space or commas, newest first.
    /// From `#` to the end of a line is a remark.
    ///
    /// Returns [`Error::BadKey`], which says which entry is wrong and never shows it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_from("the text given", text)
    }

    /// Reads a key file: a text as for [`parse`](Self::parse).
    ///
    /// Returns [`Error::KeyFileOpenToOthers`] where anybody but its owner has a right on the file,
    /// [`Error::BadKey`], or [`Error::File`].
    pub fn from_file(file: &Path) -> Result<Self, Error> {
        let mut opened = fs::File::open(file).map_err(|error| files::file_error(file, "open", error))?;
        let metadata = opened.metadata().map_err(|error| files::file_error(file, "look at", error))?;
        if let Some(mode) = files::open_mode(&metadata) {
            return Err(Error::KeyFileOpenToOthers { file: file.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_BYTES));
        let read = opened.by_ref().take(MAX_KEY_FILE_BYTES as u64).read_to_string(&mut text);
        read.map_err(|error| files::file_error(file, "read", error))?;
        Self::parse_from(&file.display().to_string(), &text)
    }

    /// Makes a key file with one new key, mode 0600, whole or not at all. Where there is one already (perhaps made
    /// a moment ago by another process) it is left as it is. Its folder is made, for the owner alone, if it has to
    /// be.
    pub fn create_file(file: &Path, entropy: &mut dyn Entropy) -> Result<(), Error> {
        files::private_folder(files::folder_of(file))?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(key.as_mut()).map_err(|source| Error::Entropy { source })?;
        let mut text = Zeroizing::new(String::with_capacity(512));
        text.push_str(
            "# Seals an evergrant vault. Without it no grant in there can be read: back it up, apart\n",
        );
        text.push_str("# from the vault. The first key seals; put a new one above this one to replace it.\n");
        text.push_str(&Zeroizing::new(Base64Unpadded::encode_string(key.as_ref())));
        text.push('\n');
        let suffix = random_hex(entropy)?;
        match files::publish(file, text.as_bytes(), &suffix) {
            Ok(_) => Ok(()),
            Err(error) => Err(files::file_error(file, "make the key file", error)),
        }
    }

    /// A ring with one new key that is kept nowhere: for tests and for vaults that need not outlive a process.
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(key.as_mut()).map_err(|source| Error::Entropy { source })?;
        Ok(Self { newest: SealingKey::derive(&key), older: Vec::new() })
    }

    /// The ids of the keys, the sealing one first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys().map(|key| key.id).collect()
    }

    pub(crate) fn newest(&self) -> &SealingKey {
        &self.newest
    }

    pub(crate) fn find(&self, id: KeyId) -> Option<&SealingKey> {
        self.keys().find(|key| key.id == id)
    }

    fn keys(&self) -> impl Iterator<Item = &SealingKey> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    fn parse_from(origin: &str, text: &str) -> Result<Self, Error> {
        let bad = |entry, why| Error::BadKey { origin: origin.to_owned(), entry, why };
        let mut keys = Vec::new();
        for (place, entry) in entries(text).enumerate() {
            let key = decode(entry).ok_or_else(|| bad(place + 1, "it is not 32 bytes in base64 or hex"))?;
            if key.iter().all(|byte| Some(byte) == key.first()) {
                return Err(bad(place + 1, "it is one byte repeated"));
            }
            keys.push(SealingKey::derive(&key));
        }
        let mut keys = keys.into_iter();
        let newest = keys.next().ok_or_else(|| bad(0, "it holds no key"))?;
        Ok(Self { newest, older: keys.collect() })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("ids", &self.ids()).finish_non_exhaustive()
    }
}

/// 16 random bytes in hex: names files that must not meet.
pub(crate) fn random_hex(entropy: &mut dyn Entropy) -> Result<String, Error> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes).map_err(|source| Error::Entropy { source })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A random number, of which two are never the same.
pub(crate) fn random_number(entropy: &mut dyn Entropy) -> Result<i64, Error> {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes).map_err(|source| Error::Entropy { source })?;
    Ok(i64::from_le_bytes(bytes))
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .flat_map(|line| line.split(|c: char| c == ',' || c.is_whitespace()))
        .filter(|entry| !entry.is_empty())
}

fn decode(entry: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if entry.len() == 2 * KEY_BYTES {
        for (byte, [high, low]) in key.iter_mut().zip(entry.as_bytes().as_chunks().0) {
            *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
        }
        return Some(key);
    }
    let entry = entry.trim_end_matches('=');
    let length = match Base64Unpadded::decode(entry, key.as_mut()) {
        Ok(bytes) => bytes.len(),
        Err(_) => Base64UrlUnpadded::decode(entry, key.as_mut()).ok()?.len(),
    };
    (length == KEY_BYTES).then_some(key)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Where a vault's keys are.
#[derive(Debug)]
#[non_exhaustive]
pub enum Keys<'a> {
    /// In a file, which is made with one new key when the vault itself is new.
    File(&'a Path),
    /// In hand already, as where the key comes from the environment ([`Keyring::parse`]).
    Ring(Keyring),
}

impl Keys<'_> {
    /// The ring for the vault at `place`. A key file is only made for a vault that holds nothing yet: a new key
    /// could not open what an old one sealed.
    pub(crate) fn resolve(
        self,
        place: &str,
        vault_is_new: bool,
        entropy: &mut dyn Entropy,
    ) -> Result<Keyring, Error> {
        let file = match self {
            Self::Ring(ring) => return Ok(ring),
            Self::File(file) => file,
        };
        match fs::metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && vault_is_new => {
                Keyring::create_file(file, entropy)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::KeyFileMissing { file: file.to_owned(), vault: place.to_owned() });
            }
            _ => {}
        }
        Keyring::from_file(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn one_key_in_any_spelling_is_the_same_key() {
        let hex = Keyring::parse(HEX).unwrap();
        for spelling in
            [BASE64, BASE64.trim_end_matches('='), &HEX.to_uppercase(), &format!(" {BASE64}\n# x")]
        {
            assert_eq!(Keyring::parse(spelling).unwrap().ids(), hex.ids());
        }
        let other = "_-7dzLuqmYh3ZlVEMyIRAAECAwQFBgcICQoLDA0ODw8";
        let both = Keyring::parse(&format!("{other}, {BASE64} # old")).unwrap();
        assert_eq!(both.ids().len(), 2);
        assert_eq!(both.ids()[1], hex.ids()[0]);
        assert_eq!(both.newest().id, both.ids()[0]);
    }

    #[test]
    fn a_bad_key_is_refused_by_place_and_never_shown() {
        for text in
            ["", "# only a remark", "short", &"0".repeat(64), &HEX[..62], &format!("{BASE64} {HEX}00")]
        {
            let error = Keyring::parse(text).unwrap_err();
            assert!(matches!(error, Error::BadKey { .. }), "{error}");
            assert!(text.is_empty() || !format!("{error} {error:?}").contains("0001020304"));
        }
        let error = Keyring::parse(&format!("{BASE64} nonsense-secret")).unwrap_err();
        assert!(error.to_string().contains("sealing key 2"), "{error}");
        assert!(!error.to_string().contains("nonsense-secret"));
    }

    #[test]
    fn debug_shows_ids_only() {
        let ring = Keyring::parse(HEX).unwrap();
        let shown = format!("{ring:?} {:?}", Keys::Ring(Keyring::parse(HEX).unwrap()));
        let sealing: String = ring.newest().bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(shown.contains(&ring.ids()[0].to_string()));
        assert!(!shown.contains("000102") && !shown.contains(&sealing[..8]) && !shown.contains("[0, 1, 2"));
    }

    #[test]
    fn generated_keys_differ() {
        let first = Keyring::generate(&mut SystemEntropy).unwrap();
        assert_ne!(first.ids(), Keyring::generate(&mut SystemEntropy).unwrap().ids());
    }
}
