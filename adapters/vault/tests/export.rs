//! A whole vault in one stream, and back.
#![cfg(feature = "export")]
#![allow(missing_docs)]

mod common;

use std::io;

use common::{KEY, OTHER_KEY, claimed, committed, loaded, name, open, record, write};
use evergrant_vault::{
    Blame, Error, ExportKey, Keyring, Memory, Name, Store, SystemEntropy, Then, Write, export, import,
    inspect,
};

fn ring(text: &str) -> Keyring {
    Keyring::parse(text).unwrap()
}

fn put(store: &dyn Store, name: &Name, record: &[u8], revision: u32) {
    let expected = store.load(name).unwrap().map(|loaded| loaded.generation);
    let due_at = revision.is_multiple_of(2).then_some(u64::from(revision));
    let write = Write { record, revision, due_at, ends_at: None };
    let lease = claimed(store.claim(100, name, expected, 60, write).unwrap());
    let _ = committed(store.commit(101, &lease, write, Then::Release).unwrap());
}

/// Some rows, one of them as long as a record can be, one empty.
fn full() -> Memory {
    let store = Memory::new();
    for row in 0..300_u32 {
        put(&store, &name(&row.to_string()), format!("canary of {row}").as_bytes(), row);
    }
    put(
        &store,
        &Name::new("é", "x".repeat(200), "y").unwrap(),
        &vec![7; evergrant_vault::MAX_RECORD_BYTES],
        1,
    );
    put(&store, &name("empty"), b"", 1);
    store
}

fn exported(store: &dyn Store, key: ExportKey<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let done = export(store, key, &mut SystemEntropy, &mut bytes).unwrap();
    assert!(done.stuck.is_empty());
    assert_eq!(inspect(key, &mut &bytes[..]).unwrap(), done.rows);
    bytes
}

fn same(left: &dyn Store, right: &dyn Store) {
    let (rows, others) = (left.list(None, 999).unwrap(), right.list(None, 999).unwrap());
    assert_eq!(rows.len(), others.len());
    for row in rows {
        let (left, right) = (loaded(left, &row.name), loaded(right, &row.name));
        assert_eq!((&left.record, left.revision, left.due_at), (&right.record, right.revision, right.due_at));
    }
}

#[test]
fn a_vault_moves_from_store_to_store_under_a_passphrase_and_under_a_key() {
    let from = full();
    let ring = ring(&format!("{OTHER_KEY} {KEY}"));
    for key in [ExportKey::Passphrase("correct horse"), ExportKey::Keyring(&ring)] {
        let bytes = exported(&from, key);
        assert!(!bytes.windows(6).any(|window| window == b"canary"), "I6");
        let folder = tempfile::tempdir().unwrap();
        let to = open(&common::file(&folder));
        let done = import(&to, 200, key, &mut &bytes[..]).unwrap();
        assert_eq!((done.written, done.kept.len() + done.held.len() + done.stuck.len()), (302, 0));
        same(&from, &to);
        assert!(
            to.due(1_000, common::OWNER, 999).unwrap().len() > 100,
            "leases were given back, and the schedule is there"
        );
        // Once more: everything is there already.
        let again = import(&to, 200, key, &mut &bytes[..]).unwrap();
        assert_eq!((again.written, again.kept.len()), (0, 302));
    }
}

#[cfg(feature = "postgres")]
#[test]
fn a_vault_moves_to_postgresql_and_back() {
    let from = full();
    let to = common::server::open_at(&common::server::schema());
    let key = ExportKey::Passphrase("correct horse");
    import(&to, 200, key, &mut &exported(&from, key)[..]).unwrap();
    same(&from, &to);
    let back = Memory::new();
    import(&back, 200, key, &mut &exported(&to, key)[..]).unwrap();
    same(&from, &back);
}

/// I5: neither a newer record nor one that somebody is just writing is written over.
#[test]
fn nothing_newer_is_written_over() {
    let from = Memory::new();
    for row in ["newer", "same", "older", "held", "missing"] {
        put(&from, &name(row), b"exported", 5);
    }
    let ring = ring(KEY);
    let bytes = exported(&from, ExportKey::Keyring(&ring));
    let to = Memory::new();
    for (row, revision) in [("newer", 6), ("same", 5), ("older", 4), ("held", 4)] {
        put(&to, &name(row), b"there", revision);
    }
    let lease = claimed(
        to.claim(200, &name("held"), Some(loaded(&to, &name("held")).generation), 60, write(b"held"))
            .unwrap(),
    );
    let done = import(&to, 201, ExportKey::Keyring(&ring), &mut &bytes[..]).unwrap();
    assert_eq!(
        (done.written, done.kept, done.held),
        (2, vec![name("newer"), name("same")], vec![name("held")])
    );
    for (row, what) in
        [("newer", &b"there"[..]), ("same", b"there"), ("held", b"held"), ("older", b"exported")]
    {
        assert_eq!(record(&to, &name(row)), what, "{row}");
    }
    assert_eq!(record(&to, &name("missing")), b"exported");
    let _ = committed(to.commit(202, &lease, write(b"answer"), Then::Release).unwrap());
}

#[test]
fn the_wrong_key_is_refused_before_anything_is_written() {
    let from = full();
    let (right, wrong) = (ring(KEY), ring(OTHER_KEY));
    let under_key = exported(&from, ExportKey::Keyring(&right));
    let under_text = exported(&from, ExportKey::Passphrase("right"));
    for (bytes, key) in [
        (&under_key, ExportKey::Keyring(&wrong)),
        (&under_key, ExportKey::Passphrase("right")),
        (&under_text, ExportKey::Passphrase("Right")),
        (&under_text, ExportKey::Keyring(&right)),
    ] {
        let to = Memory::new();
        let error = import(&to, 200, key, &mut &bytes[..]).unwrap_err();
        assert!(matches!(error, Error::Export { .. }), "{error}");
        assert_eq!(error.blame(), Blame::Contents);
        assert!(to.list(None, 9).unwrap().is_empty());
    }
    let empty = inspect(ExportKey::Passphrase(""), &mut &under_text[..]).unwrap_err();
    assert!(matches!(empty, Error::BadKey { .. }), "{empty}");
    assert!(!format!("{:?}", ExportKey::Passphrase("canary")).contains("canary"));
}

/// No bit can be changed, nothing cut off, left out, repeated, moved or added.
#[test]
fn an_export_that_was_touched_is_refused() {
    let from = Memory::new();
    for row in ["1", "2", "3"] {
        put(&from, &name(row), b"tokens", 1);
    }
    let ring = ring(KEY);
    let key = ExportKey::Keyring(&ring);
    let bytes = exported(&from, key);
    let refused = |bytes: &[u8], what: &str| {
        let error = inspect(key, &mut &*bytes).map(|_| ()).expect_err(what);
        assert!(matches!(error, Error::Export { .. }), "{what}: {error}");
    };
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        refused(&changed, &format!("bit {bit}"));
    }
    for length in 0..bytes.len() {
        refused(&bytes[..length], &format!("length {length}"));
    }
    refused(&[&bytes[..], b"x"].concat(), "a byte more");
    let head = 24 + 1 + 8 + 32 + 19;
    let frame = (bytes.len() - head - (5 + 8 + 16)) / 3;
    let at = |index: usize| &bytes[head + index * frame..head + (index + 1) * frame];
    let (start, end) = (&bytes[..head], &bytes[head + 3 * frame..]);
    refused(&[start, at(1), at(0), at(2), end].concat(), "moved");
    refused(&[start, at(0), at(2), end].concat(), "left out");
    refused(&[start, at(0), at(0), at(1), at(2), end].concat(), "repeated");
    let other = exported(&from, key);
    refused(&[start, at(0), at(1), &other[head + 2 * frame..]].concat(), "another export's");
    assert_eq!(inspect(key, &mut &[start, at(0), at(1), at(2), end].concat()[..]).unwrap(), 3);
}

/// An export is somebody's bytes: it cannot make this machine do absurd work.
#[test]
fn absurd_demands_are_refused() {
    let mut bytes = exported(&Memory::new(), ExportKey::Passphrase("p"));
    bytes[25..29].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = inspect(ExportKey::Passphrase("p"), &mut &bytes[..]).unwrap_err();
    assert!(error.to_string().contains("absurd"), "{error}");
    let ring = ring(KEY);
    let mut bytes = exported(&full(), ExportKey::Keyring(&ring));
    bytes[85..89].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(inspect(ExportKey::Keyring(&ring), &mut &bytes[..]).is_err());
}

#[test]
fn a_stream_that_fails_is_named() {
    struct Broken;
    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("pulled out"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let ring = ring(KEY);
    let error = export(&full(), ExportKey::Keyring(&ring), &mut SystemEntropy, &mut Broken).unwrap_err();
    assert!(matches!(error, Error::Stream { .. }) && error.to_string().contains("pulled out"), "{error}");
}

/// What does not open is named, and holds up nothing else.
#[test]
fn rows_that_do_not_open_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = common::file(&folder);
    let store = open(&file);
    for row in ["1", "2", "3"] {
        put(&store, &name(row), b"tokens", 1);
    }
    let tamper = "UPDATE record SET sealed = x'00' WHERE slot = 2";
    rusqlite::Connection::open(&file).unwrap().execute_batch(tamper).unwrap();
    let ring = ring(KEY);
    let mut bytes = Vec::new();
    let done = export(&store, ExportKey::Keyring(&ring), &mut SystemEntropy, &mut bytes).unwrap();
    assert_eq!((done.rows, done.stuck.len()), (2, 1));
    assert_eq!(done.stuck[0].0, name("2"));
    let all = exported(&full(), ExportKey::Keyring(&ring));
    let done = import(&store, 200, ExportKey::Keyring(&ring), &mut &all[..]).unwrap();
    assert_eq!(done.stuck.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [name("2")]);
}
