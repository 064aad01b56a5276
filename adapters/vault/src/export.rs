//! A whole vault in one encrypted stream, and back.
//!
//! A header (what it is, its version, how the key is found), then frames: a flag (0, or 1 for the last one), a length, and
//! sealed bytes. A frame is a row; the last one counts them. The frames are XChaCha20-Poly1305 in the STREAM construction, with
//! the header as associated data, under a key that no other export has: none can be changed, left out, moved or put
//! elsewhere, and a stream that was cut short is told from a whole one.

use std::io;

use aead_stream::{DecryptorBE32, EncryptorBE32};
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Payload, array::Array},
};
use zeroize::Zeroizing;

use crate::{
    Claim, Entropy, Error, KeyId, Keyring, Loaded, MAX_RECORD_BYTES, Name, Record, Store, Write, key,
};

const MAGIC: &[u8; 24] = b"evergrant vault export 1";
const SALT_BYTES: usize = 32;
const PREFIX_BYTES: usize = 19;
const LABEL: &[u8] = b"evergrant vault: export key, version 1";
/// Rows that are read from the store at a time.
const PAGE: usize = 256;
/// How long an import holds a row: it writes it in one step.
const LEASE_SECONDS: u32 = 60;
/// Longest frame: three parts of a name, the numbers, the record, the tag.
const MAX_FRAME_BYTES: usize = MAX_RECORD_BYTES + 3 * (4 + crate::MAX_NAME_PART_BYTES) + 64;

/// What an export is encrypted under.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum ExportKey<'a> {
    /// A key that is derived from the ring's sealing key for this one export. To read it back, that key must be in the ring.
    Keyring(&'a Keyring),
    /// A text that people keep, stretched with Argon2id (64 MiB, 3 passes). Where an export may fall into other hands, its
    /// strength is all there is: take one that a program has drawn.
    Passphrase(&'a str),
}

impl std::fmt::Debug for ExportKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keyring(ring) => f.debug_tuple("Keyring").field(ring).finish(),
            Self::Passphrase(_) => f.write_str("Passphrase(redacted)"),
        }
    }
}

/// What [`export`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Exported {
    /// So many rows are in the stream.
    pub rows: u64,
    /// Rows that do not open, and why. They are not in the stream.
    pub stuck: Vec<(Name, Error)>,
}

/// What [`import`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Imported {
    /// So many rows were written.
    pub written: u64,
    /// Rows that were left as they are: the store has a record of the same or a higher revision.
    pub kept: Vec<Name>,
    /// Rows that were left as they are: somebody holds their lease just now.
    pub held: Vec<Name>,
    /// Rows that were left as they are: what is there does not open, so that nobody knows which is newer.
    pub stuck: Vec<(Name, Error)>,
}

/// Writes all rows of a store to `to`, encrypted, one after the other; it needs no more room than a page of them.
///
/// Each row is read as it is at that moment: with writers at work it is no picture of one moment, but every record in it is
/// whole. A request that is under way shows as one, and counts as sent with its answer lost. Marks of spent codes are not in
/// it: they matter for minutes only.
///
/// A copy is a danger of its own: two vaults that refresh the same grants take each other's tokens. Import into one only, once the
/// other is at rest.
///
/// Returns [`Error::Stream`] where `to` fails, and what the store returns. What was written until then is not an export: reading it
/// says so.
pub fn export(
    store: &dyn Store,
    key: ExportKey<'_>,
    entropy: &mut dyn Entropy,
    to: &mut dyn io::Write,
) -> Result<Exported, Error> {
    let header = Header::draw(key, entropy)?;
    let bytes = header.bytes();
    let cipher = header.cipher(key)?;
    let mut frames = EncryptorBE32::from_aead(cipher, &Array(header.prefix));
    write(to, &bytes)?;
    let mut done = Exported::default();
    let mut after = None;
    loop {
        let page = store.list(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        for row in page {
            let loaded = match store.load(&row.name) {
                Ok(Some(loaded)) => loaded,
                Ok(None) => continue,
                Err(error @ (Error::Altered { .. } | Error::KeyNotInRing { .. })) => {
                    done.stuck.push((row.name, error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let plain = Entry { name: row.name, loaded }.bytes();
            let payload = Payload { msg: &plain, aad: &bytes };
            let sealed = frames.encrypt_next(payload).map_err(|_| TOO_MANY)?;
            write_frame(to, 0, &sealed)?;
            done.rows += 1;
        }
    }
    let count = done.rows.to_le_bytes();
    let sealed = frames.encrypt_last(Payload { msg: &count, aad: &bytes }).map_err(|_| TOO_MANY)?;
    write_frame(to, 1, &sealed)?;
    to.flush().map_err(|source| Error::Stream { doing: WRITING, source })?;
    Ok(done)
}

/// Reads an export to its end and changes nothing: whether it is whole, and how many rows it holds.
///
/// Returns [`Error::Export`] where it is no export, or is for another key, altered, or cut short; [`Error::Stream`] where
/// `from` fails.
pub fn inspect(key: ExportKey<'_>, from: &mut dyn io::Read) -> Result<u64, Error> {
    each_entry(key, from, |_| Ok(()))
}

/// Writes the rows of an export into a store, where they are not there or only in an older revision; nothing newer is written over
/// (I5).
///
/// Each row is one claim, given back at once, so processes at work and other imports do no harm. It may be repeated. Rows are
/// written as they are read: to know first that a stream is whole, [`inspect`] it.
///
/// `now` is as for the store's verbs. Returns what [`inspect`] and the store return; rows that were written until then stay.
pub fn import(
    store: &dyn Store,
    now: u64,
    key: ExportKey<'_>,
    from: &mut dyn io::Read,
) -> Result<Imported, Error> {
    let mut done = Imported::default();
    each_entry(key, from, |entry| done.take(store, now, entry))?;
    Ok(done)
}

impl Imported {
    fn take(&mut self, store: &dyn Store, now: u64, entry: Entry) -> Result<(), Error> {
        let Entry { name, loaded: Loaded { record, revision, due_at, .. } } = entry;
        // The end is not exported: its rows come first until they are written again.
        let write = Write { record: record.expose(), revision, due_at, ends_at: None };
        let mut current = store.load(&name);
        loop {
            let there = match current {
                Ok(there) => there,
                Err(error @ (Error::Altered { .. } | Error::KeyNotInRing { .. })) => {
                    self.stuck.push((name, error));
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            if there.as_ref().is_some_and(|there| there.revision >= revision) {
                self.kept.push(name);
                return Ok(());
            }
            let expected = there.map(|there| there.generation);
            match store.claim(now, &name, expected, LEASE_SECONDS, write)? {
                Claim::Claimed(lease) => {
                    self.written += 1;
                    return store.release(&lease);
                }
                Claim::Held { .. } => {
                    self.held.push(name);
                    return Ok(());
                }
                Claim::MovedOn(newer) => current = Ok(newer),
            }
        }
    }
}

const WRITING: &str = "write the export";
const TOO_MANY: Error = Error::Export { why: "it has more rows than an export can hold" };
const NOT_OURS: Error = Error::Export { why: "it is no export of a vault, or of a newer version" };
const SHUT: Error = Error::Export { why: "it is for another key, or it was altered" };
const CUT_SHORT: Error = Error::Export { why: "it was cut short" };

fn each_entry(
    key: ExportKey<'_>,
    from: &mut dyn io::Read,
    mut take: impl FnMut(Entry) -> Result<(), Error>,
) -> Result<u64, Error> {
    let header = Header::read(from)?;
    let bytes = header.bytes();
    let mut frames = DecryptorBE32::from_aead(header.cipher(key)?, &Array(header.prefix));
    let mut count: u64 = 0;
    loop {
        let (last, sealed) = read_frame(from)?;
        let payload = Payload { msg: &sealed, aad: &bytes };
        if last {
            let plain = Zeroizing::new(frames.decrypt_last(payload).map_err(|_| SHUT)?);
            let more = read_some(from, &mut [0])?;
            return if *plain == count.to_le_bytes() && !more { Ok(count) } else { Err(SHUT) };
        }
        let plain = Zeroizing::new(frames.decrypt_next(payload).map_err(|_| SHUT)?);
        take(Entry::parse(&plain).ok_or(NOT_OURS)?)?;
        count += 1;
    }
}

/// How the key of an export is found.
#[derive(Clone, Copy)]
enum Source {
    Keyring(KeyId),
    /// Memory in KiB, passes, lanes.
    Passphrase([u32; 3]),
}

/// RFC 9106's second choice, with one lane: nothing here runs on more.
const STRETCH: [u32; 3] = [64 * 1024, 3, 1];
/// What an import goes along with. More would be somebody's attempt to exhaust this machine.
const MOST_STRETCH: [u32; 3] = [1024 * 1024, 64, 16];

struct Header {
    source: Source,
    salt: [u8; SALT_BYTES],
    prefix: [u8; PREFIX_BYTES],
}

impl Header {
    fn draw(key: ExportKey<'_>, entropy: &mut dyn Entropy) -> Result<Self, Error> {
        let source = match key {
            ExportKey::Keyring(ring) => Source::Keyring(ring.newest().id),
            ExportKey::Passphrase(_) => Source::Passphrase(STRETCH),
        };
        let mut header = Self { source, salt: [0; SALT_BYTES], prefix: [0; PREFIX_BYTES] };
        let drawn = entropy.fill(&mut header.salt).and_then(|()| entropy.fill(&mut header.prefix));
        drawn.map_err(|source| Error::Entropy { source })?;
        Ok(header)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        match self.source {
            Source::Keyring(id) => {
                bytes.push(0);
                bytes.extend_from_slice(id.as_bytes());
            }
            Source::Passphrase(stretch) => {
                bytes.push(1);
                stretch.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
            }
        }
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.prefix);
        bytes
    }

    fn read(from: &mut dyn io::Read) -> Result<Self, Error> {
        let magic: [u8; MAGIC.len()] = read_array(from).map_err(no_export)?;
        if magic != *MAGIC {
            return Err(NOT_OURS);
        }
        let source = match read_array(from)? {
            [0] => Source::Keyring(KeyId(read_array(from)?)),
            [1] => {
                let mut stretch = [0; 3];
                for (number, most) in stretch.iter_mut().zip(MOST_STRETCH) {
                    *number = u32::from_le_bytes(read_array(from)?);
                    if *number > most {
                        return Err(Error::Export { why: "its passphrase asks for absurd work" });
                    }
                }
                Source::Passphrase(stretch)
            }
            _ => return Err(NOT_OURS),
        };
        Ok(Self { source, salt: read_array(from)?, prefix: read_array(from)? })
    }

    fn cipher(&self, key: ExportKey<'_>) -> Result<XChaCha20Poly1305, Error> {
        let key = match (self.source, key) {
            (Source::Keyring(id), ExportKey::Keyring(ring)) => {
                let why = "the sealing key that it was made under is not among the keys given";
                let sealing = ring.find(id).ok_or(Error::Export { why })?;
                key::keyed_hash(&sealing.bytes, &[LABEL, &self.salt].concat())
            }
            (Source::Passphrase(stretch), ExportKey::Passphrase(text)) => self.stretched(text, stretch)?,
            (Source::Keyring(_), ExportKey::Passphrase(_)) => {
                return Err(Error::Export { why: "it is under a vault's key, not under a passphrase" });
            }
            (Source::Passphrase(_), ExportKey::Keyring(_)) => {
                return Err(Error::Export { why: "it is under a passphrase, not under a vault's key" });
            }
        };
        Ok(XChaCha20Poly1305::new((&*key).into()))
    }

    fn stretched(&self, text: &str, [memory, passes, lanes]: [u32; 3]) -> Result<Zeroizing<[u8; 32]>, Error> {
        if text.is_empty() {
            return Err(Error::BadKey {
                origin: "the passphrase given".into(),
                entry: 0,
                why: "it is empty",
            });
        }
        let absurd = |_| Error::Export { why: "its passphrase asks for absurd work" };
        let params = Params::new(memory, passes, lanes, Some(32)).map_err(absurd)?;
        let mut key = Zeroizing::new([0; 32]);
        let stretch = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        stretch.hash_password_into(text.as_bytes(), &self.salt, key.as_mut()).map_err(absurd)?;
        Ok(key)
    }
}

/// A row in the stream.
struct Entry {
    name: Name,
    loaded: Loaded,
}

impl Entry {
    fn bytes(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it at once, so that growing leaves no copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FRAME_BYTES));
        for part in [self.name.app(), self.name.environment(), self.name.realm()] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        let Loaded { record, generation, revision, due_at, .. } = &self.loaded;
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&revision.to_le_bytes());
        bytes.push(u8::from(due_at.is_some()));
        bytes.extend_from_slice(&due_at.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(record.expose());
        bytes
    }

    fn parse(mut rest: &[u8]) -> Option<Self> {
        let (app, environment, realm) = (part(&mut rest)?, part(&mut rest)?, part(&mut rest)?);
        let name = Name::new(app, environment, realm).ok()?;
        let generation = u64::from_le_bytes(take(&mut rest)?);
        let revision = u32::from_le_bytes(take(&mut rest)?);
        let [has_due_at] = take(&mut rest)?;
        let due_at = Some(u64::from_le_bytes(take(&mut rest)?)).filter(|_| has_due_at == 1);
        let record = Record::from(rest);
        Some(Self { name, loaded: Loaded { record, generation, revision, due_at, written_by: None } })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn part(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
    let (text, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).ok()
}

fn write(to: &mut dyn io::Write, bytes: &[u8]) -> Result<(), Error> {
    to.write_all(bytes).map_err(|source| Error::Stream { doing: WRITING, source })
}

fn write_frame(to: &mut dyn io::Write, last: u8, sealed: &[u8]) -> Result<(), Error> {
    write(to, &[last])?;
    write(to, &u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_le_bytes())?;
    write(to, sealed)
}

fn read_frame(from: &mut dyn io::Read) -> Result<(bool, Vec<u8>), Error> {
    let [last] = read_array(from)?;
    let length = usize::try_from(u32::from_le_bytes(read_array(from)?)).unwrap_or(usize::MAX);
    if last > 1 || length > MAX_FRAME_BYTES {
        return Err(SHUT);
    }
    let mut sealed = vec![0; length];
    if !read_some(from, &mut sealed)? {
        return Err(CUT_SHORT);
    }
    Ok((last == 1, sealed))
}

fn read_array<const N: usize>(from: &mut dyn io::Read) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    if read_some(from, &mut bytes)? { Ok(bytes) } else { Err(CUT_SHORT) }
}

/// Fills all of `bytes`; `false` where the stream ends before that.
fn read_some(from: &mut dyn io::Read, bytes: &mut [u8]) -> Result<bool, Error> {
    match from.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(source) => Err(Error::Stream { doing: "read the export", source }),
    }
}

/// Too short for a beginning: not one of ours that was cut short, but something else.
fn no_export(error: Error) -> Error {
    if matches!(error, Error::Export { .. }) { NOT_OURS } else { error }
}
