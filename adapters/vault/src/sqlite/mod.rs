//! The vault in one SQLite file, for one machine.

mod open;
mod verbs;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::{Entropy, Error, Keyring, SystemEntropy, holder::Holder};

/// A vault in one SQLite file: sealed records, fenced leases, for any number of threads and processes of one machine.
///
/// Beside `vault.db` lie SQLite's own `vault.db-wal` and `vault.db-shm`, and the folder `vault.db.holders` with one
/// small file for each process that has the vault open. All of them are for their owner alone.
///
/// The file must lie on a disk of this machine: neither SQLite's log nor the holders' locks work across a network.
/// After a `fork`, only one of the two processes may go on with it.
pub struct Sqlite {
    place: String,
    path: PathBuf,
    holder: Holder,
    /// Tells what this vault has written from what others have.
    writer: i64,
    ring: Keyring,
    inner: Mutex<Inner>,
}

/// What only one thread may use at a time.
struct Inner {
    connection: Connection,
    entropy: Box<dyn Entropy>,
}

/// What can be chosen when a vault is opened. [`Default`] is right but for tests.
pub struct Options {
    /// How long to wait for another process's transaction before [`Error::Locked`]. Transactions here take
    /// milliseconds; the default of 10 s bears a slow disk.
    pub busy_timeout: Duration,
    /// Where nonces, keys and holders' names come from.
    pub entropy: Box<dyn Entropy>,
}

impl Default for Options {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(10), entropy: Box::new(SystemEntropy) }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("busy_timeout", &self.busy_timeout).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// The file, as it was found (links followed).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ids of the keys that the vault was opened with, the sealing one first.
    pub fn key_ids(&self) -> Vec<crate::KeyId> {
        self.ring.ids()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked left no transaction open: dropping one rolls it back.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one verb in one durable transaction, and closes it.
    fn write<T>(
        &self,
        doing: &'static str,
        verb: impl FnOnce(&Transaction<'_>, &mut dyn Entropy) -> Result<T, Fail>,
    ) -> Result<T, Error> {
        let mut inner = self.lock();
        let Inner { connection, entropy } = &mut *inner;
        in_transaction(connection, |transaction| verb(transaction, entropy.as_mut()))
            .map_err(|fail| fail.named(&self.place, doing))
    }

    fn read<T>(
        &self,
        doing: &'static str,
        verb: impl FnOnce(&Connection) -> Result<T, Fail>,
    ) -> Result<T, Error> {
        verb(&self.lock().connection).map_err(|fail| fail.named(&self.place, doing))
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("path", &self.path)
            .field("keys", &self.ring.ids())
            .finish_non_exhaustive()
    }
}

/// Takes the database's write lock first, so that what is read inside is still true when it is written.
fn in_transaction<T>(
    connection: &mut Connection,
    verb: impl FnOnce(&Transaction<'_>) -> Result<T, Fail>,
) -> Result<T, Fail> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let answer = verb(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}

/// A failure before it is known at which vault, in doing what.
enum Fail {
    Ours(Error),
    Sql(rusqlite::Error),
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Fail {
    fn is_busy(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    fn named(self, place: &str, doing: &'static str) -> Error {
        let vault = place.to_owned();
        let error = match self {
            Self::Ours(error) => return on_ground(place, error),
            Self::Sql(error) => error,
        };
        match error.sqlite_error_code() {
            _ if is_of_wrong_type(&error) => Error::Damaged { vault, detail: error.to_string() },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Locked { vault },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Error::ReadOnly { vault }
            }
            Some(ErrorCode::DiskFull) => Error::Full { vault },
            Some(ErrorCode::DatabaseCorrupt) => Error::Damaged { vault, detail: error.to_string() },
            Some(ErrorCode::NotADatabase) => Error::Foreign { vault, why: "it is no SQLite database".into() },
            _ => Error::Database { vault, doing, source: Box::new(error) },
        }
    }
}

fn is_of_wrong_type(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
    )
}

/// Gives the operating system's commonest refusals the same names as SQLite's.
fn on_ground(place: &str, error: Error) -> Error {
    let Error::File { source, .. } = &error else { return error };
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::ReadOnly { vault: place.to_owned() }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { vault: place.to_owned() },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Claim, Keys, Name, Store, Then, Write};

    /// REF-1: a disk that is full says so, and nothing is half written.
    #[test]
    fn a_full_disk_is_named_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ring = Keyring::generate(&mut SystemEntropy).unwrap();
        let store = Sqlite::open(&folder.path().join("vault.db"), Keys::Ring(ring)).unwrap();
        let name = Name::new("app", "env", "1").unwrap();
        let small = Write { record: b"intent", revision: 1, due_at: None, ends_at: None };
        let Claim::Claimed(lease) = store.claim(0, &name, None, 60, small).unwrap() else { panic!() };
        let pages: i64 =
            store.lock().connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        store.lock().connection.pragma_update(None, "max_page_count", pages).unwrap();

        let large = vec![7; 60_000];
        let write = Write { record: &large, revision: 2, due_at: None, ends_at: None };
        let error = store.commit(1, &lease, write, Then::Release).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        let loaded = store.load(&name).unwrap().unwrap();
        assert_eq!((loaded.record.expose(), loaded.generation), (&b"intent"[..], lease.epoch()));

        store.lock().connection.pragma_update(None, "max_page_count", pages + 100).unwrap();
        assert!(store.commit(2, &lease, write, Then::Release).is_ok(), "once there is room it goes on");
    }
}
