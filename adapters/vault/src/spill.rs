//! Records that a store did not take, in files of their own until it does.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use crate::{
    Entropy, Error, Keyring, Keys, Name, Record, SystemEntropy, files,
    key::random_hex,
    seal::{self, Binding, Field},
};

const MAGIC: &[u8; 8] = b"EGSPILL1";
const ENDING: &str = "spill";

/// A folder for records that were to be written and could not be: the token that came is then on a disk at least, sealed, until
/// the store works again. (REF-1, I5)
///
/// The folder belongs to one process at a time, and lies on another disk than the store where there is one. Each record is a file
/// of its own, mode 0600, written whole or not at all, and durable when [`put`](Self::put) returns. Files are sealed as rows are:
/// bound to their row's name, to the write that they were to follow, and to their revision, so that none can be moved, and none
/// passes for a row.
pub struct Spill {
    folder: PathBuf,
    ring: Keyring,
    entropy: Mutex<Box<dyn Entropy>>,
}

/// A record that was spilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spilled {
    /// The row that it belongs in.
    pub name: Name,
    /// The generation of the row's record that it was to follow. Where the row still has that generation, the spilled record is the
    /// newer one; otherwise the two are to be merged.
    pub after: u64,
    /// See [`Write::revision`](crate::Write::revision).
    pub revision: u32,
    /// The record.
    pub record: Record,
}

impl Spill {
    /// Opens the folder, and makes it where it is not there, for its owner alone.
    ///
    /// Returns [`Error::File`] where the folder cannot be made, or the errors of the keys. A key file is never made here: the
    /// vault's own key is the one to use.
    pub fn open(folder: &Path, keys: Keys<'_>) -> Result<Self, Error> {
        let ring = match keys {
            Keys::File(file) => Keyring::from_file(file)?,
            Keys::Ring(ring) => ring,
        };
        files::private_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), ring, entropy: Mutex::new(Box::new(SystemEntropy)) })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a record durable here. The same one twice is one file.
    ///
    /// Returns [`Error::File`] or [`Error::Entropy`]; the record is then not known to be on the disk.
    pub fn put(&self, spilled: &Spilled) -> Result<(), Error> {
        let mut entropy = self.entropy.lock().unwrap_or_else(PoisonError::into_inner);
        let binding = binding(&spilled.name, spilled.after, spilled.revision);
        let sealed = seal::seal(&self.ring, &mut **entropy, binding, spilled.record.expose())?;
        let suffix = random_hex(&mut **entropy)?;
        let path = self.path(&spilled.name, spilled.after, spilled.revision);
        let bytes = header(spilled).chain(sealed).collect::<Vec<u8>>();
        files::publish(&path, &bytes, &suffix)
            .map(|_| ())
            .map_err(|error| files::file_error(&path, "spill a record to", error))
    }

    /// Does away with the file of a record that is safe elsewhere. None there is no error.
    pub fn remove(&self, spilled: &Spilled) -> Result<(), Error> {
        let path = self.path(&spilled.name, spilled.after, spilled.revision);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(files::file_error(&path, "remove", error))
            }
            _ => Ok(()),
        }
    }

    /// What was spilled and not removed, older revisions first. A file that does not open is told with its error and stays where it
    /// is: it may hold the only copy of a token.
    ///
    /// Returns [`Error::File`] where the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Spilled, Error>>, Error> {
        let failed = |error| files::file_error(&self.folder, "read the folder", error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                found.push(self.read(&path));
            }
        }
        found.sort_by_key(|spilled| spilled.as_ref().map_or(u32::MAX, |spilled| spilled.revision));
        Ok(found)
    }

    fn read(&self, path: &Path) -> Result<Spilled, Error> {
        let bytes = fs::read(path).map_err(|error| files::file_error(path, "read", error))?;
        let place = path.display().to_string();
        let (name, after, revision, sealed) = split(&bytes)
            .ok_or_else(|| Error::Foreign { vault: place.clone(), why: "it is no spilled record".into() })?;
        let binding = binding(&name, after, revision);
        let record = seal::open(&self.ring, binding, sealed).map_err(|shut| shut.named(&place, &name))?;
        Ok(Spilled { name, after, revision, record })
    }

    /// The name says which row it is, so that the same record twice is one file; nothing is read out of it.
    fn path(&self, name: &Name, after: u64, revision: u32) -> PathBuf {
        let mut hash = Sha256::new();
        for part in parts(name) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let row: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{row}-{after}-{revision}.{ENDING}"))
    }
}

impl std::fmt::Debug for Spill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spill")
            .field("folder", &self.folder)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

fn binding(name: &Name, after: u64, revision: u32) -> Binding<'_> {
    Binding { field: Field::Spilled(name), generation: after, revision }
}

fn parts(name: &Name) -> [&str; 3] {
    [name.app(), name.environment(), name.realm()]
}

/// What stands in the clear: names do so in a vault as well.
fn header(spilled: &Spilled) -> impl Iterator<Item = u8> {
    let numbers = spilled.after.to_le_bytes().into_iter().chain(spilled.revision.to_le_bytes());
    let names = parts(&spilled.name).into_iter().flat_map(|part| {
        // A part has 200 bytes at most.
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        length.to_le_bytes().into_iter().chain(part.bytes())
    });
    MAGIC.iter().copied().chain(numbers).chain(names)
}

fn split(bytes: &[u8]) -> Option<(Name, u64, u32, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (after, rest) = rest.split_first_chunk::<8>()?;
    let (revision, mut rest) = rest.split_first_chunk::<4>()?;
    let mut part = || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (part, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        rest = after;
        std::str::from_utf8(part).ok()
    };
    let name = Name::new(part()?, part()?, part()?).ok()?;
    Some((name, u64::from_le_bytes(*after), u32::from_le_bytes(*revision), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spilled(realm: &str, revision: u32) -> Spilled {
        let name = Name::new("app", "intuit-sandbox", realm).unwrap();
        Spilled { name, after: 7, revision, record: Record::from(&b"RT-canary"[..]) }
    }

    fn ring() -> Keyring {
        Keyring::generate(&mut SystemEntropy).unwrap()
    }

    fn only_file(spill: &Spill) -> PathBuf {
        fs::read_dir(spill.folder()).unwrap().next().unwrap().unwrap().path()
    }

    #[test]
    fn what_was_spilled_is_there_after_a_restart_and_is_not_readable_without_the_key() {
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("key");
        Keyring::create_file(&key, &mut SystemEntropy).unwrap();
        let folder = home.path().join("spill");
        {
            let spill = Spill::open(&folder, Keys::File(&key)).unwrap();
            spill.put(&spilled("2", 4)).unwrap();
            spill.put(&spilled("2", 4)).unwrap();
            spill.put(&spilled("1", 3)).unwrap();
        }
        let spill = Spill::open(&folder, Keys::File(&key)).unwrap();
        let found: Vec<Spilled> = spill.list().unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(found, [spilled("1", 3), spilled("2", 4)]);
        spill.remove(&spilled("1", 3)).unwrap();
        spill.remove(&spilled("1", 3)).unwrap();
        let file = only_file(&spill);
        assert!(!fs::read(&file).unwrap().windows(9).any(|bytes| bytes == b"RT-canary"));
        #[cfg(unix)]
        assert_eq!(files::open_mode(&fs::metadata(&file).unwrap()), None);
    }

    #[test]
    fn a_file_opens_under_its_own_name_revision_and_key_alone() {
        let home = tempfile::tempdir().unwrap();
        let spill = Spill::open(home.path(), Keys::Ring(ring())).unwrap();
        spill.put(&spilled("1", 3)).unwrap();
        let file = only_file(&spill);
        let bytes = fs::read(&file).unwrap();
        for at in [8, 16, 22, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&file, &changed).unwrap();
            assert!(spill.list().unwrap().remove(0).is_err(), "byte {at}");
        }
        for length in 0..bytes.len() {
            fs::write(&file, &bytes[..length]).unwrap();
            assert!(spill.list().unwrap().remove(0).is_err(), "length {length}");
        }
        fs::write(&file, &bytes).unwrap();
        let other = Spill::open(home.path(), Keys::Ring(ring())).unwrap();
        assert!(matches!(other.list().unwrap().remove(0), Err(Error::KeyNotInRing { .. })));
        assert!(file.exists(), "what does not open stays");
    }
}
