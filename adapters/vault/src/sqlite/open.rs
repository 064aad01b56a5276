//! Opening: the file and its mode, the schema, the keys.

use std::{
    fs,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{Fail, Inner, Options, Sqlite, in_transaction, on_ground};
use crate::{
    Entropy, Error, KeyId, Keyring, Keys, files,
    holder::Holder,
    key::{random_hex, random_number},
    seal,
};

/// "evgr": marks the file as a vault.
const APPLICATION_ID: i64 = 0x6576_6772;

/// Step n takes a vault from schema version n to n + 1. Steps are only ever added.
const MIGRATIONS: [&str; 2] = [include_str!("schema_1.sql"), include_str!("schema_2.sql")];

impl Sqlite {
    /// Opens the vault at `path`, and makes it (mode 0600; its folder 0700) where there is none.
    ///
    /// Returns, each with the file and the way out: [`Error::ReadOnly`], [`Error::Full`], [`Error::Locked`],
    /// [`Error::Damaged`], [`Error::Foreign`], [`Error::Newer`]; and of the keys [`Error::WrongKey`],
    /// [`Error::KeyFileMissing`], [`Error::KeyFileOpenToOthers`], [`Error::BadKey`]. A file that is not a vault is
    /// left as it is.
    pub fn open(path: &Path, keys: Keys<'_>) -> Result<Self, Error> {
        Self::open_with(path, keys, Options::default())
    }

    /// As [`open`](Self::open), with [`Options`].
    pub fn open_with(path: &Path, keys: Keys<'_>, options: Options) -> Result<Self, Error> {
        let place = path.display().to_string();
        let Options { busy_timeout, mut entropy } = options;
        make_file(path, entropy.as_mut()).map_err(|error| on_ground(&place, error))?;
        let path = fs::canonicalize(path).map_err(|error| files::file_error(path, "find", error))?;
        let mut connection =
            connect(&path, busy_timeout).map_err(|fail| fail.named(&place, "open the database"))?;
        prepare(&mut connection, &path, &place, busy_timeout)
            .map_err(|fail| fail.named(&place, "prepare the database"))?;
        let holder = Holder::enrol(files::beside(&path, ".holders"), entropy.as_mut())
            .map_err(|error| on_ground(&place, error))?;
        let known = canaries(&connection).map_err(|fail| fail.named(&place, "read the canary"))?;
        let ring = keys.resolve(&place, known.is_empty(), entropy.as_mut())?;
        admit(&mut connection, &place, &ring, entropy.as_mut())
            .map_err(|fail| fail.named(&place, "check the key"))?;
        let writer = random_number(entropy.as_mut())?;
        Ok(Self { place, path, holder, writer, ring, inner: Mutex::new(Inner { connection, entropy }) })
    }
}

/// An empty file of the right mode, from which SQLite makes a database whose side files have that mode too.
fn make_file(path: &Path, entropy: &mut dyn Entropy) -> Result<(), Error> {
    let there = path.try_exists().map_err(|error| files::file_error(path, "find", error))?;
    if path.is_dir() {
        return Err(Error::Foreign { vault: path.display().to_string(), why: "it is a folder".into() });
    }
    if there {
        return Ok(());
    }
    files::private_folder(files::folder_of(path))?;
    let suffix = random_hex(entropy)?;
    files::publish(path, b"", &suffix)
        .map(|_| ())
        .map_err(|error| files::file_error(path, "make the file", error))
}

fn connect(path: &Path, busy_timeout: Duration) -> Result<Connection, Fail> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy_timeout)?;
    Ok(connection)
}

fn prepare(
    connection: &mut Connection,
    path: &Path,
    place: &str,
    busy_timeout: Duration,
) -> Result<(), Fail> {
    // Before anything is written: a file that is not ours stays as it is.
    let version = recognise(connection, place)?;
    for file in [path.to_owned(), files::beside(path, "-wal"), files::beside(path, "-shm")] {
        files::tighten(&file)
            .map_err(|error| files::file_error(&file, "take other users' rights from", error))?;
    }
    write_ahead(connection, place, busy_timeout)?;
    connection.execute_batch(include_str!("connection.sql"))?;
    if version < newest_version() {
        migrate(connection, place)?;
    }
    Ok(())
}

/// The schema version of a vault, 0 of an empty file; refuses everything else.
fn recognise(connection: &Connection, place: &str) -> Result<i64, Fail> {
    let look = connection.unchecked_transaction()?;
    let application: i64 = look.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = look.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let objects: i64 = look.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let vault = place.to_owned();
    match application {
        APPLICATION_ID if version > newest_version() => {
            Err(Error::Newer { vault, found: version, known: newest_version() }.into())
        }
        APPLICATION_ID => Ok(version),
        0 if version == 0 && objects == 0 => Ok(0),
        _ => Err(Error::Foreign { vault, why: "it is another program's SQLite database".into() }.into()),
    }
}

fn newest_version() -> i64 {
    MIGRATIONS.len() as i64
}

/// Switches the log on. SQLite answers "busy" at once where several processes do this for the first time.
fn write_ahead(connection: &Connection, place: &str, busy_timeout: Duration) -> Result<(), Fail> {
    let began = Instant::now();
    loop {
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))
            .map_err(Fail::from);
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                let source =
                    format!("the file system allows no write-ahead log (journal mode {mode})").into();
                return Err(Error::Database { vault: place.into(), doing: "open its log", source }.into());
            }
            Err(fail) if fail.is_busy() && began.elapsed() < busy_timeout => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(fail) => return Err(fail),
        }
    }
}

/// Takes the schema to its newest version. The version is read again under the write lock, so each step is taken by
/// one process only, and wholly or not at all.
fn migrate(connection: &mut Connection, place: &str) -> Result<(), Fail> {
    in_transaction(connection, |transaction| {
        let version = recognise_again(transaction, place)?;
        for step in MIGRATIONS.iter().skip(version) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", newest_version())?;
        Ok(())
    })
}

fn recognise_again(connection: &Connection, place: &str) -> Result<usize, Fail> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > newest_version() {
        let vault = place.to_owned();
        return Err(Error::Newer { vault, found: version, known: newest_version() }.into());
    }
    Ok(usize::try_from(version).unwrap_or(0))
}

fn canaries(connection: &Connection) -> Result<Vec<(KeyId, Vec<u8>)>, Fail> {
    let mut statement = connection.prepare("SELECT key, sealed FROM canary ORDER BY key")?;
    let rows = statement.query_map([], |row| Ok((KeyId(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Refuses a ring that does not know the vault's canary; adds a canary for a new sealing key. A ring of new keys
/// only is refused: whoever brings a new key must hold one that the vault knows.
fn admit(
    connection: &mut Connection,
    place: &str,
    ring: &Keyring,
    entropy: &mut dyn Entropy,
) -> Result<(), Fail> {
    let newest = ring.newest().id;
    let seen = canaries(connection)?;
    if seen.iter().any(|(key, _)| *key == newest) {
        return Ok(seal::check_canaries(&seen, place, ring)?);
    }
    in_transaction(connection, |transaction| {
        seal::check_canaries(&canaries(transaction)?, place, ring)?;
        let sealed = seal::canary(ring, entropy)?;
        transaction
            .query_row(
                "INSERT INTO canary (key, sealed) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING RETURNING 1",
                params![newest.as_bytes(), sealed],
                |_| Ok(()),
            )
            .optional()?;
        Ok(())
    })
}
