//! What asking for what is due costs SQLite as the vault grows, and vaults that an older build has written.
#![allow(missing_docs)]

mod common;

use std::path::Path;

use common::{OWNER, claimed, committed, name, open, write};
use evergrant_vault::{Owner, Store, Then, Write};
use rusqlite::{Connection, StatementStatus, params};

/// An hour after the outage.
const NOW: u64 = 1_000_000;

/// Rows of which one in `every` is due, and the end is in another order than the moments at which they were due.
fn fill(file: &Path, owner: Owner<'_>, rows: u32, every: u32) {
    let Owner { app, environment } = owner;
    let database = Connection::open(file).unwrap();
    let fill = "WITH RECURSIVE n (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM n WHERE n + 1 < ?3)
        INSERT INTO slot (app, environment, realm, epoch, lease_seconds, lease_until, due_at, ends_at)
        SELECT ?1, ?2, n, 1, 0, 0, CASE WHEN n % ?4 = 0 THEN n ELSE 2000000 + n END, 1000000 + (n * 7919) % ?3 FROM n";
    database.execute(fill, params![app, environment, rows, every]).unwrap();
    let records = "INSERT INTO record (slot, generation, revision, sealed) SELECT id, 1, 1, x'' FROM slot
        WHERE id NOT IN (SELECT slot FROM record)";
    database.execute(records, []).unwrap();
}

/// Steps of SQLite's machine for the look that a claim begins with: to the backlog, and to the rows.
fn steps(file: &Path, sql: &str) -> i32 {
    let database = Connection::open(file).unwrap();
    let count = |sql: &str, last: i64| {
        let mut statement = database.prepare(sql).unwrap();
        let mut rows = statement.query(params![OWNER.app, OWNER.environment, NOW as i64, last]).unwrap();
        while rows.next().unwrap().is_some() {}
        drop(rows);
        statement.get_status(StatementStatus::VmStep)
    };
    count(include_str!("../src/sqlite/backlog.sql"), 1_001) + count(sql, 16)
}

const FEW: &str = include_str!("../src/sqlite/due_few.sql");
const MANY: &str = include_str!("../src/sqlite/due_many.sql");

#[test]
fn a_claim_of_what_is_due_costs_the_same_in_a_large_vault() {
    let another = Owner { app: "another", environment: OWNER.environment };
    // Nothing due, a little, everything, or everything of somebody else's.
    let cost = |rows: u32| {
        [(rows + 1, FEW), (rows / 100, FEW), (1, MANY)].map(|(every, sql)| {
            let folder = tempfile::tempdir().unwrap();
            let file = common::file(&folder);
            drop(open(&file));
            fill(&file, OWNER, rows, every);
            fill(&file, another, rows, 1);
            steps(&file, sql)
        })
    };
    let (small, large) = (cost(2_000), cost(60_000));
    for (small, large) in small.into_iter().zip(large) {
        assert!(large <= small + 100 && large < 20_000, "{small} steps, and {large} in 30 times the rows");
    }
}

/// More than are sorted: the order must be the same.
#[test]
fn much_that_is_due_comes_in_the_order_of_ends_as_well() {
    for (rows, every) in [(900, 1), (5_000, 1), (5_000, 3)] {
        let folder = tempfile::tempdir().unwrap();
        let file = common::file(&folder);
        let store = open(&file);
        fill(&file, OWNER, rows, every);
        let mut due: Vec<u32> = (0..rows).filter(|row| row % every == 0).collect();
        due.sort_by_key(|row| (row * 7_919) % rows);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let claimed = store.claim_due(NOW, OWNER, 50, 60).unwrap();
            seen.extend(claimed.iter().map(|due| due.lease.name().realm().parse::<u32>().unwrap()));
        }
        assert_eq!(seen, due[..150], "{rows} rows, one in {every} due");
    }
}

/// A vault of version 1, as the build that knew no other wrote it: its rows are handed out, and first.
#[test]
fn a_vault_of_an_older_build_is_taken_on_with_all_that_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let (newer, file) = (folder.path().join("newer.db"), common::file(&folder));
    let store = open(&newer);
    for (realm, due_at) in [("late", 300), ("first", 100), ("not yet", 9_000)] {
        let what = Write { due_at: Some(due_at), ends_at: Some(1), ..write(realm.as_bytes()) };
        let lease = claimed(store.claim(10, &name(realm), None, 60, what).unwrap());
        let _ = committed(store.commit(11, &lease, what, Then::Release).unwrap());
    }
    drop(store);
    let old = Connection::open(&file).unwrap();
    old.execute_batch(include_str!("../src/sqlite/schema_1.sql")).unwrap();
    old.execute("ATTACH ?1 AS newer", [newer.to_str().unwrap()]).unwrap();
    let slot = "id, app, environment, realm, epoch, holder, lease_seconds, lease_until, due_at";
    old.execute_batch(&format!(
        "INSERT INTO slot ({slot}) SELECT {slot} FROM newer.slot;
         INSERT INTO record SELECT * FROM newer.record;
         INSERT INTO canary SELECT * FROM newer.canary;
         UPDATE counter SET last = (SELECT last FROM newer.counter);
         DETACH newer;
         PRAGMA application_id = {}; PRAGMA user_version = 1;",
        0x6576_6772
    ))
    .unwrap();
    drop(old);

    let store = open(&file);
    let what = Write { due_at: Some(50), ends_at: Some(60), ..write(b"new") };
    let lease = claimed(store.claim(12, &name("new"), None, 60, what).unwrap());
    store.release(&lease).unwrap();
    let due = store.claim_due(1_000, OWNER, 9, 60).unwrap();
    assert_eq!(due.iter().map(|due| due.lease.name().realm()).collect::<Vec<_>>(), ["first", "late", "new"]);
    for due in &due {
        let row = due.row.as_ref().unwrap();
        assert_eq!(row.record.expose(), due.lease.name().realm().as_bytes());
        let by = (due.lease.name().realm() == "new").then(|| store.writer());
        assert_eq!(row.written_by, by, "rows of version 1 do not say");
    }
    let version = |file| -> i64 {
        Connection::open(file).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    assert_eq!((version(&file), version(&newer)), (2, 2));
}
