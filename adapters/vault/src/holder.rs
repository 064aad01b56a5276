//! Whether the holder of a lease is alive.
//!
//! Each open vault locks a small file of its own in a folder beside the database, and leases name that file. The
//! operating system gives the lock back however the process ends, `kill -9` included: a lease whose file can be
//! locked, or is not there, has no living holder and need not be waited for.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{Entropy, Error, files, key::random_hex};

const ENROL_TRIES: usize = 16;

/// This process's (more exactly: this open vault's) own file, locked as long as it lives.
pub(crate) struct Holder {
    folder: PathBuf,
    id: String,
    _locked: File,
}

impl Holder {
    /// Makes and locks a file in `folder`, after the files of dead holders were cleared away.
    pub(crate) fn enrol(folder: PathBuf, entropy: &mut dyn Entropy) -> Result<Self, Error> {
        files::private_folder(&folder)?;
        sweep(&folder);
        let mut refused = io::Error::other("every name that was tried is taken");
        for _ in 0..ENROL_TRIES {
            let id = random_hex(entropy)?;
            let path = folder.join(&id);
            match files::create_private(&path).and_then(|file| lock_new(file, &path)) {
                Ok(Some(file)) => return Ok(Self { folder, id, _locked: file }),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    refused = error;
                    break;
                }
            }
        }
        Err(files::file_error(&folder, "make a holder's file in", refused))
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether the holder of that id lives. In doubt it does: then the lease's end decides.
    pub(crate) fn is_alive(&self, id: &str) -> bool {
        if id == self.id {
            return true;
        }
        // An id comes from the database: nothing but our own kind of name may become a path.
        if id.len() != self.id.len() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return false;
        }
        !bury(&self.folder.join(id))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.folder.join(&self.id));
    }
}

/// Locks a file that was just made at `path`. `None` where somebody took it for a dead holder's before it was locked,
/// and removed it or is about to.
fn lock_new(mut file: File, path: &Path) -> io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) if path.try_exists()? => {}
        Ok(()) | Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Only for people who look into the folder. The file's lock is what counts.
    let _ = writeln!(file, "pid {}", std::process::id());
    Ok(Some(file))
}

/// Whether the file's holder is dead; if so, the file is removed.
fn bury(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => {
            let dead = file.try_lock().is_ok();
            if dead {
                let _ = fs::remove_file(path);
            }
            dead
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Clears dead holders' files away. What cannot be cleared away does no harm.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        bury(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn a_dropped_holder_is_dead_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.holders");
        let first = Holder::enrol(path.clone(), &mut SystemEntropy).unwrap();
        let second = Holder::enrol(path.clone(), &mut SystemEntropy).unwrap();
        assert!(first.is_alive(second.id()) && second.is_alive(first.id()) && first.is_alive(first.id()));
        let gone = second.id().to_owned();
        drop(second);
        assert!(!first.is_alive(&gone));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_nobody_locks_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.holders");
        let first = Holder::enrol(path.clone(), &mut SystemEntropy).unwrap();
        fs::write(path.join("0123456789abcdef0123456789abcdef"), "pid 1").unwrap();
        let _second = Holder::enrol(path.clone(), &mut SystemEntropy).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
        assert!(first.is_alive(first.id()));
    }

    #[test]
    fn a_file_that_was_swept_before_it_was_locked_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let file = files::create_private(&path).unwrap();
        assert!(bury(&path), "nobody has locked it yet");
        assert!(lock_new(file, &path).unwrap().is_none());

        let file = files::create_private(&path).unwrap();
        let sweeper = File::open(&path).unwrap();
        sweeper.try_lock().unwrap();
        assert!(lock_new(file, &path).unwrap().is_none());
    }

    #[test]
    fn an_id_never_becomes_another_path() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "x").unwrap();
        let holder = Holder::enrol(folder.path().join("v.holders"), &mut SystemEntropy).unwrap();
        assert!(!holder.is_alive("../victim"));
        assert!(!holder.is_alive(victim.to_str().unwrap()));
        assert!(victim.exists());
    }
}
