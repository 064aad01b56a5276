//! What somebody who can write the database, but has no key, can and cannot do; keys, modes, and foreign files.
#![allow(missing_docs)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use common::{KEY, OTHER_KEY, claimed, committed, name, open, record, ring, write};
use evergrant_vault::{Blame, Error, Keyring, Keys, Name, Options, Sqlite, Store, SystemEntropy, Then};
use rusqlite::Connection;

/// A vault with one row for each name, with its connection closed.
fn vault_with(names: &[&Name]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = common::file(&folder);
    let store = open(&file);
    for name in names {
        store_tokens(&store, name, &format!("tokens of {name}"));
    }
    (folder, file)
}

fn store_tokens(store: &dyn Store, name: &Name, tokens: &str) {
    let expected = store.load(name).unwrap().map(|loaded| loaded.generation);
    let lease = claimed(store.claim(100, name, expected, 60, write(b"intent")).unwrap());
    let _ = committed(store.commit(101, &lease, write(tokens.as_bytes()), Then::Release).unwrap());
}

fn tamper(file: &Path, sql: &str) {
    Connection::open(file).unwrap().execute_batch(sql).unwrap();
}

fn is_altered(store: &Sqlite, name: &Name) -> bool {
    match store.load(name) {
        Err(error @ Error::Altered { name: Some(_), .. }) => {
            assert_eq!(error.blame(), Blame::Contents);
            assert!(error.to_string().contains(name.realm()), "{error}");
            true
        }
        _ => false,
    }
}

/// APP-3: a record opens in its own row only.
#[test]
fn a_record_moved_to_another_realm_environment_or_app_stays_shut() {
    let sandbox = name("9130");
    let production = Name::new("app-1f3a", "intuit-production", "9130").unwrap();
    let (_folder, file) = vault_with(&[&sandbox, &production, &name("9131")]);
    for (column, value, moved) in [
        ("realm", "9999", name("9999")),
        ("environment", "intuit-other", Name::new("app-1f3a", "intuit-other", "9130").unwrap()),
        ("app", "app-other", Name::new("app-other", "intuit-sandbox", "9130").unwrap()),
    ] {
        let before = fs::read(&file).unwrap();
        tamper(&file, &format!("UPDATE slot SET {column} = '{value}' WHERE id = 1"));
        assert!(is_altered(&open(&file), &moved), "{column}");
        fs::write(&file, before).unwrap();
    }
    tamper(
        &file,
        "UPDATE record SET (generation, revision, sealed) =
           (SELECT generation, revision, sealed FROM record WHERE slot = 1) WHERE slot IN (2, 3)",
    );
    let store = open(&file);
    assert!(is_altered(&store, &production));
    assert!(is_altered(&store, &name("9131")));
    assert_eq!(record(&store, &sandbox), format!("tokens of {sandbox}").as_bytes());
}

/// I5: the bytes of an earlier write do not pass for those of a later one.
#[test]
fn an_older_record_put_back_stays_shut() {
    let row = name("9130");
    let (_folder, file) = vault_with(&[&row]);
    tamper(&file, "CREATE TABLE stolen AS SELECT * FROM record");
    store_tokens(&open(&file), &row, "newer tokens");
    tamper(&file, "UPDATE record SET sealed = (SELECT sealed FROM stolen)");
    assert!(is_altered(&open(&file), &row));
}

#[test]
fn plain_columns_are_bound_to_the_record() {
    for change in ["generation = generation + 1", "revision = revision + 1", "revision = 0", "sealed = x''"] {
        let row = name("9130");
        let (_folder, file) = vault_with(&[&row]);
        tamper(&file, &format!("UPDATE record SET {change}"));
        assert!(is_altered(&open(&file), &row), "{change}");
    }
}

/// The way out of a row that does not open: a new consent overwrites it, by the generation that `list` shows.
#[test]
fn a_row_that_does_not_open_can_be_replaced() {
    let row = name("9130");
    let (_folder, file) = vault_with(&[&row]);
    tamper(&file, "UPDATE record SET sealed = x'00'");
    let store = open(&file);
    let listed = store.list(None, 9).unwrap();
    let lease =
        claimed(store.claim(200, &row, Some(listed[0].generation), 60, write(b"new consent")).unwrap());
    store.release(&lease).unwrap();
    assert_eq!(record(&store, &row), b"new consent");
}

#[test]
fn a_wrong_key_is_refused_at_the_door_and_changes_nothing() {
    let row = name("9130");
    let (_folder, file) = vault_with(&[&row]);
    let error = Sqlite::open(&file, ring(OTHER_KEY)).unwrap_err();
    let (right, wrong) = (Keyring::parse(KEY).unwrap().ids()[0], Keyring::parse(OTHER_KEY).unwrap().ids()[0]);
    let shown = error.to_string();
    assert!(shown.contains(&right.to_string()) && shown.contains(&wrong.to_string()), "{shown}");
    let Error::WrongKey { sealed_under, given, .. } = error else { panic!("{shown}") };
    assert_eq!((sealed_under, given), (vec![right], vec![wrong]));
    assert_eq!(record(&open(&file), &row), format!("tokens of {row}").as_bytes());
}

#[test]
fn a_canary_that_was_touched_is_refused() {
    let (_folder, file) = vault_with(&[]);
    tamper(&file, "UPDATE canary SET sealed = substr(sealed, 1, length(sealed) - 1)");
    assert!(matches!(Sqlite::open(&file, ring(KEY)), Err(Error::Altered { name: None, .. })));
}

#[test]
fn a_new_key_takes_over_write_by_write() {
    let (first, second) = (name("1"), name("2"));
    let (_folder, file) = vault_with(&[&first, &second]);
    let old = Keyring::parse(KEY).unwrap().ids()[0];
    {
        let both = Sqlite::open(&file, ring(&format!("{OTHER_KEY}\n{KEY}"))).unwrap();
        assert_eq!(record(&both, &first), format!("tokens of {first}").as_bytes());
        store_tokens(&both, &first, "sealed again");
        // A process that still has the old order goes on as well, and so does one with the old key alone, until it
        // meets a row that was sealed again.
        let late = Sqlite::open(&file, ring(&format!("{KEY},{OTHER_KEY}"))).unwrap();
        assert_eq!(record(&late, &first), b"sealed again");
        let error = open(&file).load(&first).unwrap_err();
        assert!(matches!(error, Error::KeyNotInRing { .. }), "{error}");
    }
    let new_only = Sqlite::open(&file, ring(OTHER_KEY)).unwrap();
    assert_eq!(record(&new_only, &first), b"sealed again");
    match new_only.load(&second).unwrap_err() {
        Error::KeyNotInRing { name, key, .. } => assert_eq!((name, key), (second, old)),
        other => panic!("{other}"),
    }
}

#[test]
fn a_sweep_seals_everything_again_and_goes_on_after_a_stop() {
    let names: Vec<Name> = (0..25).map(|row| name(&format!("{row:02}"))).collect();
    let (_folder, file) = vault_with(&names.iter().collect::<Vec<_>>());
    let before = open(&file).list(None, 99).unwrap();
    let new = Sqlite::open(&file, ring(&format!("{OTHER_KEY}\n{KEY}"))).unwrap();
    let rows = |key: &str| {
        let id = Keyring::parse(key).unwrap().ids()[0];
        new.keys_in_use().unwrap().iter().find(|used| used.key == id).map_or(0, |used| used.rows)
    };
    assert_eq!((rows(KEY), rows(OTHER_KEY)), (25, 0));
    // A lease under way is left alone.
    let lease = claimed(new.claim(200, &names[7], Some(before[7].generation), 60, write(b"intent")).unwrap());
    tamper(&file, "UPDATE record SET sealed = substr(sealed, 1, length(sealed) - 1) WHERE slot = 4");
    let first = new.reseal(None, 10).unwrap();
    assert_eq!((first.resealed, first.next), (9, Some(names[10].clone())));
    assert_eq!(first.stuck.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&names[3]]);
    assert_eq!((rows(KEY), rows(OTHER_KEY)), (15, 10));
    let mut next = None;
    loop {
        next = new.reseal(next.as_ref(), 7).unwrap().next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!((rows(KEY), rows(OTHER_KEY)), (1, 24), "all but the one that does not open");
    let _ = committed(new.commit(201, &lease, write(b"tokens"), Then::Release).unwrap());
    let newest_only = Sqlite::open(&file, ring(OTHER_KEY)).unwrap();
    for (row, old) in newest_only.list(None, 99).unwrap().iter().zip(&before) {
        assert!(row.generation == old.generation || row.name == names[7], "generations stay");
        assert_eq!(newest_only.load(&row.name).is_ok(), row.name != names[3]);
    }
}

/// I6: no secret in any file of the vault, nor in anything that is shown.
#[test]
fn no_secret_reaches_the_disk_or_the_screen() {
    let secret = "RT1-311-canary-8xxxb5f0";
    let folder = tempfile::tempdir().unwrap();
    let file = common::file(&folder);
    let store = open(&file);
    let row = name("9130");
    for _ in 0..20 {
        store_tokens(&store, &row, secret);
    }
    let mut looked = 0;
    for path in files(folder.path()) {
        let bytes = fs::read(&path).unwrap();
        looked += bytes.len();
        for needle in [secret.as_bytes(), b"intent", b"evergrant vault canary", &[0, 1, 2, 3, 4, 5, 6, 7]] {
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{} holds {needle:?}", path.display());
        }
    }
    assert!(looked > 20 * 100, "the log was still there to be looked through");
    let shown = format!("{store:?} {:?} {:?}", store.load(&row), Options::default());
    assert!(!shown.contains("canary-8xxx") && !shown.contains("82, 84, 49"), "{shown}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[cfg(unix)]
mod modes {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn everything_that_is_made_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("made").join("here");
        let (file, key) = (home.join("vault.db"), home.join("keys").join("key"));
        let store = Sqlite::open(&file, Keys::File(&key)).unwrap();
        store_tokens(&store, &name("9130"), "tokens");
        let made = files(&home);
        assert_eq!(made.len(), 5, "database, log, index, holder, key: {made:?}");
        assert!(made.iter().all(|path| mode(path) == 0o600));
        for made in [&home, home.parent().unwrap(), &home.join("keys"), &home.join("vault.db.holders")] {
            assert_eq!(mode(made), 0o700, "{}", made.display());
        }
    }

    #[test]
    fn a_database_that_others_may_read_is_closed_to_them() {
        let (_folder, file) = vault_with(&[&name("9130")]);
        set_mode(&file, 0o644);
        let _store = open(&file);
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (common::file(&folder), folder.path().join("key"));
        drop(Sqlite::open(&file, Keys::File(&key)).unwrap());
        for open_mode in [0o640, 0o604, 0o620] {
            set_mode(&key, open_mode);
            let error = Sqlite::open(&file, Keys::File(&key)).unwrap_err();
            assert!(matches!(error, Error::KeyFileOpenToOthers { mode, .. } if mode == open_mode), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert_eq!(error.blame(), Blame::Operator);
        }
        set_mode(&key, 0o400);
        drop(Sqlite::open(&file, Keys::File(&key)).unwrap());
    }
}

#[test]
fn a_lost_key_file_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (common::file(&folder), folder.path().join("key"));
    drop(Sqlite::open(&file, Keys::File(&key)).unwrap());
    fs::remove_file(&key).unwrap();
    let error = Sqlite::open(&file, Keys::File(&key)).unwrap_err();
    assert!(matches!(error, Error::KeyFileMissing { .. }), "{error}");
    assert!(!key.exists());
}

#[test]
fn a_key_file_that_is_there_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    Keyring::create_file(&key, &mut SystemEntropy).unwrap();
    let before = fs::read(&key).unwrap();
    Keyring::create_file(&key, &mut SystemEntropy).unwrap();
    assert_eq!(fs::read(&key).unwrap(), before);
    fs::write(&key, "nonsense-secret").unwrap();
    let error = Keyring::from_file(&key).unwrap_err().to_string();
    assert!(error.contains("key") && !error.contains("nonsense"), "{error}");
}

fn refusal(file: &Path) -> Error {
    let before = fs::read(file).unwrap();
    let error = Sqlite::open(file, ring(KEY)).unwrap_err();
    assert_eq!(fs::read(file).unwrap(), before, "left as it was");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    error
}

#[test]
fn foreign_newer_and_damaged_files_are_told_apart_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    fs::write(
        &text,
        "This is no database at all, but a text that is long enough to be looked at. ".repeat(20),
    )
    .unwrap();
    assert!(matches!(refusal(&text), Error::Foreign { .. }));

    let foreign = folder.path().join("foreign.db");
    tamper(&foreign, "CREATE TABLE theirs (x)");
    assert!(matches!(refusal(&foreign), Error::Foreign { .. }));
    tamper(&foreign, "DROP TABLE theirs; PRAGMA application_id = 77");
    assert!(matches!(refusal(&foreign), Error::Foreign { .. }));

    let newer = folder.path().join("newer.db");
    drop(open(&newer));
    tamper(&newer, "PRAGMA user_version = 9");
    assert!(matches!(refusal(&newer), Error::Newer { found: 9, known: 2, .. }));

    let damaged = folder.path().join("damaged.db");
    drop(open(&damaged));
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(&damaged, bytes).unwrap();
    assert!(matches!(refusal(&damaged), Error::Damaged { .. }));
}

#[test]
fn a_database_that_stays_locked_is_named() {
    let row = name("9130");
    let (_folder, file) = vault_with(&[&row]);
    let options = Options { busy_timeout: Duration::from_millis(20), ..Options::default() };
    let store = Sqlite::open_with(&file, ring(KEY), options).unwrap();
    let other = Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.claim(200, &row, None, 60, write(b"x")).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Storage);
    assert_eq!(record(&store, &row), format!("tokens of {row}").as_bytes(), "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    store_tokens(&store, &row, "again");
}

#[test]
fn what_cannot_be_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plain"), "").unwrap();
    for path in [folder.path().to_owned(), folder.path().join("plain").join("vault.db")] {
        let error = Sqlite::open(&path, ring(KEY)).unwrap_err();
        assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    }
}

/// Two paths to one file are one vault: its holders see each other.
#[cfg(unix)]
#[test]
fn a_link_leads_to_the_same_holders() {
    let (folder, file) = vault_with(&[]);
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let (store, linked) = (open(&file), open(&link));
    let row = name("9130");
    let lease = claimed(store.claim(100, &row, None, 60, write(b"x")).unwrap());
    let refused = linked.claim(100, &row, Some(lease.epoch()), 60, write(b"y")).unwrap();
    assert!(matches!(refused, evergrant_vault::Claim::Held { .. }));
    assert!(!folder.path().join("link.db.holders").exists());
}
