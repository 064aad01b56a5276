//! The contract of `Store`, held by every store alike.
#![allow(missing_docs)]

mod common;

use common::{OWNER, claimed, committed, loaded, name, open, record, write};
use evergrant_vault::{Claim, Commit, Due, Error, Memory, Name, Owner, Removal, Spend, Store, Then, Write};

/// Two holders of one store; the second can die.
struct Pair {
    /// Whether the store knows of a death before the lease has run out.
    knows_the_dead: bool,
    here: Box<dyn Store>,
    there: Option<Box<dyn Store>>,
    _folder: tempfile::TempDir,
}

impl Pair {
    fn there(&self) -> &dyn Store {
        self.there.as_deref().unwrap()
    }
}

fn memory() -> Pair {
    let here = Memory::new();
    let there = here.another();
    pair(here, there, tempfile::tempdir().unwrap())
}

fn pair(here: impl Store + 'static, there: impl Store + 'static, folder: tempfile::TempDir) -> Pair {
    Pair { knows_the_dead: true, here: Box::new(here), there: Some(Box::new(there)), _folder: folder }
}

fn sqlite() -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let path = common::file(&folder);
    pair(open(&path), open(&path), folder)
}

/// One face over the other, there and back again.
#[cfg(feature = "tokio")]
fn sqlite_on_both_faces() -> Pair {
    use evergrant_vault::{OnRuntime, OnThreads};
    let folder = tempfile::tempdir().unwrap();
    let path = common::file(&folder);
    let both = || OnRuntime::open(async { Ok(OnThreads::new(open(&path))) }).unwrap();
    pair(both(), both(), folder)
}

/// On a virtual clock. Nobody knows of a death on another machine.
#[cfg(feature = "postgres")]
fn postgres() -> Pair {
    use common::server::{open_at, schema};
    let schema = schema();
    let pair = pair(open_at(&schema), open_at(&schema), tempfile::tempdir().unwrap());
    Pair { knows_the_dead: false, ..pair }
}

macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod memory { $(#[test] fn $test() { super::$test(super::memory()); })* }
        mod sqlite { $(#[test] fn $test() { super::$test(super::sqlite()); })* }
        #[cfg(feature = "tokio")]
        mod sqlite_on_both_faces { $(#[test] fn $test() { super::$test(super::sqlite_on_both_faces()); })* }
        #[cfg(feature = "postgres")]
        mod postgres { $(#[test] fn $test() { super::$test(super::postgres()); })* }
    };
}

contract!(
    a_life,
    one_lease_at_a_time_even_in_one_process,
    a_record_that_moved_on_is_read_again,
    a_lease_that_ran_out_is_taken_and_its_writer_fenced_out,
    a_late_commit_counts_where_nobody_claimed,
    a_dead_holder_is_not_waited_for,
    a_removed_row_does_not_let_its_old_writer_in,
    only_the_owner_releases_and_removes,
    a_commit_can_be_repeated,
    a_held_lease_is_lengthened_by_a_commit,
    a_clock_put_back_holds_nobody_up,
    a_code_is_spent_once,
    rows_come_in_order_and_by_pages,
    what_is_due_comes_longest_due_first,
    what_is_due_comes_nearest_end_first_whatever_is_due_longest,
    what_is_due_goes_to_its_own_app_and_environment_alone,
    who_wrote_a_record_is_told_whoever_has_its_lease,
    what_is_due_is_claimed_by_one,
    a_claim_of_what_is_due_fences_out_and_leaves_the_record,
    what_is_due_is_claimed_after_the_clock_was_put_back,
    nonsense_is_refused_before_anything_is_written,
);

fn a_life(stores: Pair) {
    let (store, row) = (&*stores.here, name("9130"));
    assert_eq!(store.load(&row).unwrap(), None);
    let lease = claimed(store.claim(100, &row, None, 60, write(b"intent")).unwrap());
    assert_eq!((lease.name(), lease.until()), (&row, 160));
    let intent = loaded(stores.there(), &row);
    assert_eq!((intent.record.expose(), intent.generation), (&b"intent"[..], lease.epoch()));
    let tokens = Write { record: b"tokens", revision: 2, due_at: None, ends_at: None };
    let generation = committed(store.commit(110, &lease, tokens, Then::Release).unwrap());
    assert!(generation > lease.epoch());
    let read = loaded(stores.there(), &row);
    assert_eq!((read.record.expose(), read.generation), (&b"tokens"[..], generation));
    assert_eq!((read.revision, read.due_at), (2, None));
    let next = claimed(stores.there().claim(111, &row, Some(generation), 60, write(b"intent 2")).unwrap());
    assert!(next.epoch() > generation, "epochs rise above every number given before");
    assert_eq!(stores.there().remove(&next).unwrap(), Removal::Removed);
    assert_eq!(store.load(&row).unwrap(), None);
}

/// REF-2, I2.
fn one_lease_at_a_time_even_in_one_process(stores: Pair) {
    let row = name("9130");
    let lease = claimed(stores.here.claim(100, &row, None, 60, write(b"intent")).unwrap());
    for store in [&*stores.here, stores.there()] {
        for expected in [None, Some(lease.epoch())] {
            let refused = store.claim(159, &row, expected, 60, write(b"other")).unwrap();
            assert_eq!(refused, Claim::Held { until: 160 });
        }
    }
    assert_eq!(record(&*stores.here, &row), b"intent");
    assert!(matches!(stores.there().claim(100, &name("9131"), None, 60, write(b"x")), Ok(Claim::Claimed(_))));
}

/// REF-3.
fn a_record_that_moved_on_is_read_again(stores: Pair) {
    let row = name("9130");
    let lease = claimed(stores.here.claim(100, &row, None, 60, write(b"intent")).unwrap());
    let _ = stores.here.commit(101, &lease, write(b"newer"), Then::Release).unwrap();
    let newest = loaded(stores.there(), &row);
    for stale in [None, Some(lease.epoch()), Some(newest.generation + 1)] {
        let refused = stores.there().claim(102, &row, stale, 60, write(b"stale")).unwrap();
        assert_eq!(refused, Claim::MovedOn(Some(newest.clone())));
    }
    assert_eq!(loaded(stores.there(), &row), newest);
    let gone = stores.there().claim(102, &name("9131"), Some(3), 60, write(b"stale")).unwrap();
    assert_eq!(gone, Claim::MovedOn(None));
}

/// I5: neither overwritten nor dropped.
fn a_lease_that_ran_out_is_taken_and_its_writer_fenced_out(stores: Pair) {
    let row = name("9130");
    let slow = claimed(stores.here.claim(100, &row, None, 60, write(b"slow intent")).unwrap());
    let quick =
        claimed(stores.there().claim(160, &row, Some(slow.epoch()), 60, write(b"quick intent")).unwrap());
    assert!(quick.epoch() > slow.epoch());
    let current = loaded(&*stores.here, &row);
    let answer = stores.here.commit(161, &slow, write(b"late"), Then::Release).unwrap();
    assert_eq!(answer, Commit::FencedOut(Some(current)));
    assert_eq!(stores.here.remove(&slow).unwrap(), Removal::FencedOut(loaded(&*stores.here, &row)));
    let _ = stores.there().commit(162, &quick, write(b"quick"), Then::Release).unwrap();
    let Commit::FencedOut(Some(current)) =
        stores.here.commit(163, &slow, write(b"late"), Then::Release).unwrap()
    else {
        panic!("still fenced out after the lease was given back");
    };
    assert_eq!(current.record.expose(), b"quick");
    // The way on: merge, under a lease of its own.
    let merge = stores.here.claim(164, &row, Some(current.generation), 60, write(b"quick + late")).unwrap();
    stores.here.release(&claimed(merge)).unwrap();
    assert_eq!(record(stores.there(), &row), b"quick + late");
}

fn a_late_commit_counts_where_nobody_claimed(stores: Pair) {
    let row = name("9130");
    let lease = claimed(stores.here.claim(100, &row, None, 60, write(b"intent")).unwrap());
    let _ = committed(stores.here.commit(900, &lease, write(b"late"), Then::Release).unwrap());
    assert_eq!(record(stores.there(), &row), b"late");
}

fn a_dead_holder_is_not_waited_for(mut stores: Pair) {
    let row = name("9130");
    let lease = claimed(stores.there().claim(100, &row, None, 60, write(b"intent")).unwrap());
    assert_eq!(
        stores.here.claim(101, &row, Some(lease.epoch()), 60, write(b"x")).unwrap(),
        Claim::Held { until: 160 }
    );
    stores.there = None;
    let now = if stores.knows_the_dead { 101 } else { 160 };
    if !stores.knows_the_dead {
        let held = stores.here.claim(159, &row, Some(lease.epoch()), 60, write(b"x")).unwrap();
        assert_eq!(held, Claim::Held { until: 160 }, "waited for as long as the lease lasts");
    }
    let taken = claimed(stores.here.claim(now, &row, Some(lease.epoch()), 60, write(b"next")).unwrap());
    assert!(taken.epoch() > lease.epoch());
}

/// The numbers go on where a row is made again.
fn a_removed_row_does_not_let_its_old_writer_in(stores: Pair) {
    let row = name("consent:1f3a");
    let old = claimed(stores.here.claim(100, &row, None, 60, write(b"old")).unwrap());
    let taker = claimed(stores.there().claim(160, &row, Some(old.epoch()), 60, write(b"taker")).unwrap());
    assert_eq!(stores.there().remove(&taker).unwrap(), Removal::Removed);
    assert_eq!(stores.here.commit(161, &old, write(b"old"), Then::Release).unwrap(), Commit::FencedOut(None));
    let new = claimed(stores.there().claim(162, &row, None, 60, write(b"new")).unwrap());
    assert!(new.epoch() > taker.epoch());
    assert!(matches!(stores.here.commit(163, &old, write(b"old"), Then::Release), Ok(Commit::FencedOut(_))));
    assert_eq!(record(&*stores.here, &row), b"new");
}

fn only_the_owner_releases_and_removes(stores: Pair) {
    let row = name("9130");
    let old = claimed(stores.here.claim(100, &row, None, 60, write(b"old")).unwrap());
    let new = claimed(stores.there().claim(160, &row, Some(old.epoch()), 60, write(b"new")).unwrap());
    stores.here.release(&old).unwrap();
    assert!(matches!(stores.here.remove(&old).unwrap(), Removal::FencedOut(_)));
    let refused = stores.here.claim(161, &row, Some(new.epoch()), 60, write(b"x")).unwrap();
    assert_eq!(refused, Claim::Held { until: 220 });
    stores.there().release(&new).unwrap();
    let _ = claimed(stores.here.claim(161, &row, Some(new.epoch()), 60, write(b"x")).unwrap());
}

/// After an error it is not known whether a commit happened; repeating it must be right both ways.
fn a_commit_can_be_repeated(stores: Pair) {
    let row = name("9130");
    let lease = claimed(stores.here.claim(100, &row, None, 60, write(b"intent")).unwrap());
    for _ in 0..3 {
        let _ = committed(stores.here.commit(101, &lease, write(b"tokens"), Then::Release).unwrap());
        assert_eq!(record(stores.there(), &row), b"tokens");
    }
    for _ in 0..2 {
        assert_eq!(stores.here.remove(&lease).unwrap(), Removal::Removed);
        stores.here.release(&lease).unwrap();
    }
}

fn a_held_lease_is_lengthened_by_a_commit(stores: Pair) {
    let row = name("9130");
    let lease = claimed(stores.here.claim(100, &row, None, 60, write(b"intent")).unwrap());
    let hold = Then::Hold { seconds: 30 };
    let generation = committed(stores.here.commit(150, &lease, write(b"second intent"), hold).unwrap());
    let refused = stores.there().claim(179, &row, Some(generation), 60, write(b"x")).unwrap();
    assert_eq!(refused, Claim::Held { until: 180 });
    assert!(matches!(
        stores.there().claim(180, &row, Some(generation), 60, write(b"x")),
        Ok(Claim::Claimed(_))
    ));
}

/// I8: a lease from the future is waited for no longer than its own length.
fn a_clock_put_back_holds_nobody_up(stores: Pair) {
    let row = name("9130");
    let lease = claimed(stores.here.claim(1_000_000, &row, None, 60, write(b"intent")).unwrap());
    let again = |now| stores.there().claim(now, &row, Some(lease.epoch()), 60, write(b"x")).unwrap();
    assert_eq!(again(5_000), Claim::Held { until: 5_060 });
    assert_eq!(again(5_059), Claim::Held { until: 5_060 });
    assert!(matches!(again(5_060), Claim::Claimed(_)));
}

/// EXC-1, I1.
fn a_code_is_spent_once(stores: Pair) {
    let (code, other) = ([7; 32], [8; 32]);
    assert_eq!(stores.here.spend(100, &code, 700).unwrap(), Spend::Fresh);
    assert_eq!(stores.here.spend(100, &code, 700).unwrap(), Spend::SpentBefore);
    assert_eq!(stores.there().spend(101, &code, 700).unwrap(), Spend::SpentBefore);
    // Even after its time, as long as nothing has cleared it away.
    assert_eq!(stores.there().spend(9_000, &code, 9_700).unwrap(), Spend::SpentBefore);
    assert_eq!(stores.there().spend(699, &other, 700).unwrap(), Spend::Fresh);
    assert_eq!(stores.here.spend(699, &code, 700).unwrap(), Spend::SpentBefore);
    // Marks whose time is over go when another one comes.
    assert_eq!(stores.here.spend(700, &[9; 32], 1_300).unwrap(), Spend::Fresh);
    assert_eq!(stores.here.spend(701, &code, 1_300).unwrap(), Spend::Fresh);
}

fn rows_come_in_order_and_by_pages(stores: Pair) {
    let mut names: Vec<Name> =
        ["b", "a", "aa", "é", "Z", "10", "9"].iter().map(|realm| name(realm)).collect();
    names.push(Name::new("app-1f3a", "intuit-production", "b").unwrap());
    names.push(Name::new("app", "intuit-sandbox", "b").unwrap());
    for row in &names {
        let _ = claimed(stores.here.claim(100, row, None, 60, write(b"x")).unwrap());
    }
    names.sort();
    let all = stores.there().list(None, 100).unwrap();
    assert_eq!(all.iter().map(|row| row.name.clone()).collect::<Vec<_>>(), names);
    assert!(all.iter().all(|row| row.leased_until == Some(160) && row.due_at == Some(1_000)));
    let mut paged = Vec::new();
    while let Ok(page) = stores.here.list(paged.last(), 4) {
        if page.is_empty() {
            break;
        }
        paged.extend(page.into_iter().map(|row| row.name));
    }
    assert_eq!(paged, names);
}

/// I8.
fn what_is_due_comes_longest_due_first(stores: Pair) {
    let plan = [("late", Some(200)), ("later", Some(300)), ("never", None), ("first", Some(100))];
    for (realm, due_at) in plan {
        let what = Write { due_at, ..write(b"x") };
        let lease = claimed(stores.here.claim(10, &name(realm), None, 60, what).unwrap());
        stores.here.release(&lease).unwrap();
    }
    let due = |now, limit| -> Vec<String> {
        stores
            .there()
            .due(now, OWNER, limit)
            .unwrap()
            .into_iter()
            .map(|row| row.name.realm().to_owned())
            .collect()
    };
    assert_eq!(due(99, 9), [""; 0]);
    assert_eq!(due(250, 9), ["first", "late"]);
    assert_eq!(due(300, 2), ["first", "late"]);
    let first = loaded(&*stores.here, &name("first"));
    let what = Write { due_at: Some(100), ..write(b"x") };
    let _lease = claimed(stores.here.claim(300, &name("first"), Some(first.generation), 60, what).unwrap());
    assert_eq!(due(300, 2), ["late", "later"], "a row that is held is not offered");
    assert_eq!(due(360, 9), ["first", "late", "later"], "unless its lease ran out");
}

fn realms(due: &[Due]) -> Vec<&str> {
    due.iter().map(|due| due.lease.name().realm()).collect()
}

/// L1: after an outage the nearest death goes first. Where nobody said how near it is, it may be the nearest.
fn what_is_due_comes_nearest_end_first_whatever_is_due_longest(stores: Pair) {
    let plan = [
        ("far", 100, Some(9_000)),
        ("near", 300, Some(2_000)),
        ("nearer", 200, Some(1_000)),
        ("not due", 900, Some(10)),
        ("unknown", 250, None),
        ("long unknown", 240, None),
        ("as near", 290, Some(2_000)),
    ];
    for (realm, due_at, ends_at) in plan {
        let what = Write { due_at: Some(due_at), ends_at, ..write(b"x") };
        let lease = claimed(stores.here.claim(10, &name(realm), None, 60, what).unwrap());
        stores.here.release(&lease).unwrap();
    }
    let order = ["long unknown", "unknown", "nearer", "as near", "near", "far"];
    let due = stores.there().due(500, OWNER, 9).unwrap();
    assert_eq!(due.iter().map(|row| row.name.realm()).collect::<Vec<_>>(), order);
    let first = stores.here.claim_due(500, OWNER, 4, 60).unwrap();
    let second = stores.there().claim_due(500, OWNER, 9, 60).unwrap();
    assert_eq!((realms(&first), realms(&second)), (order[..4].to_vec(), order[4..].to_vec()));
    assert!(first.iter().zip(first.iter().skip(1)).all(|(one, next)| one.lease.epoch() < next.lease.epoch()));

    // A commit says anew when its row ends.
    for due in first {
        let end = if due.lease.name().realm() == "unknown" { 5 } else { 50_000 };
        let what = Write { due_at: Some(600), ends_at: Some(end), ..write(b"y") };
        let _ = committed(stores.here.commit(510, &due.lease, what, Then::Release).unwrap());
    }
    assert_eq!(realms(&stores.here.claim_due(700, OWNER, 3, 60).unwrap()), ["unknown", "near", "far"]);
}

/// APP-3: nobody holds the leases of what it cannot refresh.
fn what_is_due_goes_to_its_own_app_and_environment_alone(stores: Pair) {
    let names = [("app", "sandbox"), ("app", "production"), ("other", "sandbox")];
    for (app, environment) in names {
        for realm in ["1", "2"] {
            let name = Name::new(app, environment, realm).unwrap();
            let lease = claimed(stores.here.claim(10, &name, None, 60, write(b"x")).unwrap());
            stores.here.release(&lease).unwrap();
        }
    }
    for (app, environment) in names {
        let owner = Owner { app, environment };
        let listed = stores.here.due(2_000, owner, 9).unwrap();
        assert!(listed.len() == 2 && listed.iter().all(|row| row.name.owner() == owner), "{listed:?}");
        let due = stores.there().claim_due(2_000, owner, 9, 60).unwrap();
        assert!(due.iter().all(|due| due.lease.name().owner() == owner), "{due:?}");
        assert_eq!(realms(&due), ["1", "2"]);
    }
    let nobody = Owner { app: "app", environment: "" };
    assert!(stores.here.claim_due(9_000, nobody, 9, 60).unwrap().is_empty());
}

/// REF-3: two processes may have written the same intent to the letter, in the same second.
fn who_wrote_a_record_is_told_whoever_has_its_lease(stores: Pair) {
    let (here, there, row) = (&*stores.here, stores.there(), name("9130"));
    let writers = || (loaded(here, &row).written_by, loaded(there, &row).written_by);
    let by = |store: &dyn Store| (Some(store.writer()), Some(store.writer()));
    assert_ne!(here.writer(), there.writer());
    let lease = claimed(here.claim(10, &row, None, 60, write(b"intent")).unwrap());
    assert_eq!(writers(), by(here));
    // Its lease goes on to another, and is given back: the record is still the first one's.
    let Ok([due]) = <[Due; 1]>::try_from(there.claim_due(1_000, OWNER, 9, 60).unwrap()) else {
        panic!("one")
    };
    assert_eq!((writers(), due.row.as_ref().unwrap().written_by), (by(here), Some(here.writer())));
    there.release(&due.lease).unwrap();
    assert_eq!(writers(), by(here));
    let Ok(Commit::FencedOut(Some(current))) = here.commit(1_001, &lease, write(b"x"), Then::Release) else {
        panic!("another claimed it")
    };
    assert_eq!(current.written_by, Some(here.writer()));
    let again = claimed(there.claim(1_002, &row, Some(lease.epoch()), 60, write(b"intent")).unwrap());
    assert_eq!(writers(), by(there));
    let _ = committed(there.commit(1_003, &again, write(b"answer"), Then::Release).unwrap());
    assert_eq!(writers(), by(there));
}

fn plant(store: &dyn Store, realm: &str, due_at: Option<u64>) -> u64 {
    let lease = claimed(
        store.claim(10, &name(realm), None, 60, Write { due_at, ..write(realm.as_bytes()) }).unwrap(),
    );
    store.release(&lease).unwrap();
    lease.epoch()
}

/// REF-2, I8.
fn what_is_due_is_claimed_by_one(stores: Pair) {
    for (realm, due_at) in
        [("d", Some(400)), ("b", Some(200)), ("c", Some(300)), ("x", None), ("a", Some(100))]
    {
        plant(&*stores.here, realm, due_at);
    }
    let first = stores.here.claim_due(350, OWNER, 2, 60).unwrap();
    let second = stores.there().claim_due(350, OWNER, 9, 60).unwrap();
    assert_eq!((realms(&first), realms(&second)), (vec!["a", "b"], vec!["c"]));
    for due in first.iter().chain(&second) {
        let row = due.row.as_ref().unwrap();
        assert_eq!(row.record.expose(), due.lease.name().realm().as_bytes());
        assert_eq!(due.lease.until(), 410);
        assert!(due.lease.epoch() > row.generation);
        let refused =
            stores.here.claim(351, due.lease.name(), Some(row.generation), 60, write(b"x")).unwrap();
        assert_eq!(refused, Claim::Held { until: 410 });
    }
    assert!(
        stores.here.claim_due(409, OWNER, 9, 60).unwrap().iter().all(|due| due.lease.name().realm() == "d")
    );
    assert_eq!(realms(&stores.here.claim_due(410, OWNER, 9, 60).unwrap()), ["a", "b", "c"], "leases ran out");
    assert!(stores.here.claim_due(350, OWNER, 9, 0).is_err());
}

/// I5, REF-2: the intent is written under the lease, before anything is sent.
fn a_claim_of_what_is_due_fences_out_and_leaves_the_record(stores: Pair) {
    let row = name("9130");
    let slow =
        claimed(stores.there().claim(10, &row, None, 60, Write { due_at: Some(20), ..write(b"1") }).unwrap());
    assert!(stores.here.claim_due(69, OWNER, 9, 60).unwrap().is_empty());
    let Ok([due]) = <[Due; 1]>::try_from(stores.here.claim_due(70, OWNER, 9, 60).unwrap()) else {
        panic!("one")
    };
    assert_eq!(loaded(&*stores.here, &row), *due.row.as_ref().unwrap());
    assert_eq!(due.row.as_ref().unwrap().generation, slow.epoch(), "nothing was written");
    assert!(matches!(
        stores.there().commit(71, &slow, write(b"late"), Then::Release),
        Ok(Commit::FencedOut(_))
    ));
    let hold = Then::Hold { seconds: 60 };
    let _ = committed(stores.here.commit(71, &due.lease, write(b"intent"), hold).unwrap());
    let _ = committed(stores.here.commit(72, &due.lease, write(b"answer"), Then::Release).unwrap());
    assert_eq!(record(stores.there(), &row), b"answer");
}

/// I8.
fn what_is_due_is_claimed_after_the_clock_was_put_back(stores: Pair) {
    let row = name("9130");
    let intent = Write { due_at: Some(20), ..write(b"1") };
    let _lease = claimed(stores.there().claim(1_000_000, &row, None, 60, intent).unwrap());
    assert!(stores.here.claim_due(5_000, OWNER, 9, 60).unwrap().is_empty(), "its holder may live");
    assert!(stores.here.claim_due(5_059, OWNER, 9, 60).unwrap().is_empty());
    assert_eq!(stores.here.claim_due(5_060, OWNER, 9, 60).unwrap().len(), 1, "waited for its own length");
}

/// I7.
fn nonsense_is_refused_before_anything_is_written(stores: Pair) {
    let row = name("9130");
    for seconds in [0, evergrant_vault::MAX_LEASE_SECONDS + 1] {
        let refused = stores.here.claim(0, &row, None, seconds, write(b"x"));
        assert!(matches!(refused, Err(Error::BadLease { .. })));
    }
    let long = vec![0; evergrant_vault::MAX_RECORD_BYTES + 1];
    assert!(matches!(stores.here.claim(0, &row, None, 9, write(&long)), Err(Error::RecordTooLong { .. })));
    assert_eq!(stores.here.load(&row).unwrap(), None);
    let lease = claimed(stores.here.claim(0, &row, None, 9, write(&long[1..])).unwrap());
    assert!(stores.here.commit(0, &lease, write(&long), Then::Release).is_err());
    assert!(stores.here.commit(0, &lease, write(b""), Then::Hold { seconds: 0 }).is_err());
    assert_eq!(record(&*stores.here, &row), &long[1..]);
    let far = Write { record: b"", revision: u32::MAX, due_at: Some(u64::MAX), ends_at: Some(u64::MAX) };
    let _ = committed(stores.here.commit(u64::MAX, &lease, far, Then::Release).unwrap());
    let read = loaded(stores.there(), &row);
    assert_eq!((read.revision, read.due_at), (u32::MAX, Some(i64::MAX as u64)));
}
