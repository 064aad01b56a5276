//! What the tests share.
#![allow(dead_code, unreachable_pub, missing_docs)]

#[cfg(feature = "postgres")]
pub mod server;

use std::path::{Path, PathBuf};

use evergrant_vault::{Claim, Commit, Keyring, Keys, Lease, Loaded, Name, Owner, Sqlite, Store, Write};

pub const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub const OTHER_KEY: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeffe0e1e2e3e4e5e6e7e8e9eaebecedeeef";

pub fn name(realm: &str) -> Name {
    Name::new("app-1f3a", "intuit-sandbox", realm).unwrap()
}

/// Whose rows [`name`] names.
pub const OWNER: Owner<'static> = Owner { app: "app-1f3a", environment: "intuit-sandbox" };

pub fn write(record: &[u8]) -> Write<'_> {
    Write { record, revision: 1, due_at: Some(1_000), ends_at: None }
}

pub fn ring(text: &str) -> Keys<'static> {
    Keys::Ring(Keyring::parse(text).unwrap())
}

pub fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, ring(KEY)).unwrap()
}

pub fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("vault.db")
}

pub fn claimed(claim: Claim) -> Lease {
    match claim {
        Claim::Claimed(lease) => lease,
        other => panic!("not claimed: {other:?}"),
    }
}

pub fn committed(commit: Commit) -> u64 {
    match commit {
        Commit::Committed { generation } => generation,
        other => panic!("not committed: {other:?}"),
    }
}

pub fn loaded(store: &dyn Store, name: &Name) -> Loaded {
    store.load(name).unwrap().expect("the row is there")
}

pub fn record(store: &dyn Store, name: &Name) -> Vec<u8> {
    loaded(store, name).record.expose().to_vec()
}
