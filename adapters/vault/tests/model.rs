//! Random verbs on SQLite's store and on the store in memory, which must answer alike.
#![allow(missing_docs)]

mod common;

use common::{name, open};
use evergrant_vault::{Claim, Lease, Memory, Name, Sqlite, Store, Then, Write};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

const HOLDERS: usize = 3;
/// The last is another app's.
const ROWS: u8 = 4;

#[derive(Clone, Debug)]
enum Verb {
    Load {
        row: u8,
    },
    Claim {
        row: u8,
        expected: Expected,
        seconds: u32,
        revision: u32,
        due_at: Option<u64>,
        ends_at: Option<u64>,
    },
    Commit {
        lease: usize,
        hold: Option<u32>,
        revision: u32,
        due_at: Option<u64>,
        ends_at: Option<u64>,
    },
    Release {
        lease: usize,
    },
    Remove {
        lease: usize,
    },
    List {
        after: Option<u8>,
        limit: usize,
    },
    Due {
        whose: u8,
        limit: usize,
    },
    ClaimDue {
        whose: u8,
        limit: usize,
        seconds: u32,
    },
    Spend {
        code: u8,
        keep: u64,
    },
    Die,
    Clock {
        seconds: i64,
    },
}

/// Which generation a claim expects.
#[derive(Clone, Debug)]
enum Expected {
    Current,
    Nothing,
    Guess(u64),
}

fn verbs() -> impl Strategy<Value = Vec<(usize, Verb)>> {
    let row = 0..ROWS;
    let lease = 0..8_usize;
    let seconds = 1..40_u32;
    let due_at = || proptest::option::of(0..300_u64);
    let ends_at = || proptest::option::of(0..4_u64);
    let expected = prop_oneof![
        6 => Just(Expected::Current),
        1 => Just(Expected::Nothing),
        1 => (0..40_u64).prop_map(Expected::Guess)
    ];
    let verb = prop_oneof![
        2 => row.clone().prop_map(|row| Verb::Load { row }),
        6 => (row.clone(), expected, seconds.clone(), 0..9_u32, due_at(), ends_at()).prop_map(
            |(row, expected, seconds, revision, due_at, ends_at)| {
                Verb::Claim { row, expected, seconds, revision, due_at, ends_at }
            }
        ),
        5 => (lease.clone(), proptest::option::of(seconds), 0..9_u32, due_at(), ends_at()).prop_map(
            |(lease, hold, revision, due_at, ends_at)| Verb::Commit { lease, hold, revision, due_at, ends_at }
        ),
        2 => lease.clone().prop_map(|lease| Verb::Release { lease }),
        1 => lease.prop_map(|lease| Verb::Remove { lease }),
        1 => (proptest::option::of(row), 0..3_usize).prop_map(|(after, limit)| Verb::List { after, limit }),
        2 => (0..ROWS, 0..3_usize).prop_map(|(whose, limit)| Verb::Due { whose, limit }),
        2 => (0..ROWS, 0..3_usize, 1..40_u32)
            .prop_map(|(whose, limit, seconds)| Verb::ClaimDue { whose, limit, seconds }),
        2 => (0..3_u8, 0..60_u64).prop_map(|(code, keep)| Verb::Spend { code, keep }),
        1 => Just(Verb::Die),
        3 => (-30..60_i64).prop_map(|seconds| Verb::Clock { seconds }),
    ];
    proptest::collection::vec((0..HOLDERS, verb), 1..60)
}

/// One of the two stores, with its holders and every lease that was ever given.
struct Run<S> {
    stores: Vec<S>,
    /// Of every store that was ever open, in that order: their numbers are drawn, and no two stores draw the same.
    writers: Vec<u64>,
    leases: Vec<Lease>,
    renew: Box<dyn Fn(&S) -> S>,
}

impl<S: Store> Run<S> {
    fn new(stores: Vec<S>, renew: Box<dyn Fn(&S) -> S>) -> Self {
        let writers = stores.iter().map(Store::writer).collect();
        Self { stores, writers, leases: Vec::new(), renew }
    }

    /// Carries one verb out and renders all that it answered, with writers by the order in which they were opened.
    fn step(&mut self, now: u64, count: usize, holder: usize, verb: &Verb) -> String {
        let shown = self.carry_out(now, count, holder, verb);
        self.writers.iter().enumerate().fold(shown, |shown, (order, writer)| {
            shown.replace(&format!("written_by: Some({writer})"), &format!("written by the {order}."))
        })
    }

    fn carry_out(&mut self, now: u64, count: usize, holder: usize, verb: &Verb) -> String {
        let realm = |row: u8| match row {
            0..3 => name(&row.to_string()),
            _ => Name::new("another", "intuit-sandbox", "0").unwrap(),
        };
        let bytes = format!("record {count}");
        let record = bytes.as_bytes();
        let store = &self.stores[holder];
        let lease = |index: usize| self.leases.iter().rev().nth(index);
        match verb.clone() {
            Verb::Load { row } => {
                let loaded = store.load(&realm(row)).unwrap();
                let record = loaded.as_ref().map(|loaded| loaded.record.expose().to_vec());
                format!("{loaded:?} {record:?}")
            }
            Verb::Claim { row, expected, seconds, revision, due_at, ends_at } => {
                let expected = match expected {
                    Expected::Current => store.load(&realm(row)).unwrap().map(|loaded| loaded.generation),
                    Expected::Nothing => None,
                    Expected::Guess(generation) => Some(generation),
                };
                let intent = Write { record, revision, due_at, ends_at };
                let answer = store.claim(now, &realm(row), expected, seconds, intent).unwrap();
                let shown = format!("{answer:?}");
                if let Claim::Claimed(lease) = answer {
                    let highest = self.leases.iter().map(Lease::epoch).max().unwrap_or(0);
                    assert!(lease.epoch() > highest, "epochs strictly rise");
                    self.leases.push(lease);
                }
                shown
            }
            Verb::Commit { lease: index, hold, revision, due_at, ends_at } => {
                lease(index).map_or(String::new(), |lease| {
                    let then = hold.map_or(Then::Release, |seconds| Then::Hold { seconds });
                    let write = Write { record, revision, due_at, ends_at };
                    format!("{:?}", store.commit(now, lease, write, then).unwrap())
                })
            }
            Verb::Release { lease: index } => {
                lease(index).map_or(String::new(), |lease| format!("{:?}", store.release(lease).unwrap()))
            }
            Verb::Remove { lease: index } => {
                lease(index).map_or(String::new(), |lease| format!("{:?}", store.remove(lease).unwrap()))
            }
            Verb::List { after, limit } => {
                format!("{:?}", store.list(after.map(realm).as_ref(), limit).unwrap())
            }
            Verb::Due { whose, limit } => {
                format!("{:?}", store.due(now, realm(whose).owner(), limit).unwrap())
            }
            Verb::ClaimDue { whose, limit, seconds } => {
                let due = store.claim_due(now, realm(whose).owner(), limit, seconds).unwrap();
                let shown = format!("{due:?}");
                self.leases.extend(due.into_iter().map(|due| due.lease));
                shown
            }
            Verb::Spend { code, keep } => format!("{:?}", store.spend(now, &[code; 32], now + keep).unwrap()),
            Verb::Die => {
                let renewed = (self.renew)(store);
                self.writers.push(renewed.writer());
                self.stores[holder] = renewed;
                String::new()
            }
            Verb::Clock { .. } => String::new(),
        }
    }
}

/// Carries a script out on both, which must answer alike.
fn compare<S: Store>(
    script: &[(usize, Verb)],
    mut model: Run<Memory>,
    mut other: Run<S>,
) -> Result<(), TestCaseError> {
    let mut now = 100_u64;
    for (count, (holder, verb)) in script.iter().enumerate() {
        if let Verb::Clock { seconds } = verb {
            now = now.saturating_add_signed(*seconds);
        }
        let (expected, answer) =
            (model.step(now, count, *holder, verb), other.step(now, count, *holder, verb));
        prop_assert_eq!(expected, answer, "at {} (now {}): {:?}", count, now, verb);
    }
    Ok(())
}

fn model() -> Run<Memory> {
    let memory = Memory::new();
    Run::new((0..HOLDERS).map(|_| memory.another()).collect(), Box::new(Memory::another))
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn sqlite_and_memory_answer_alike(script in verbs()) {
        let folder = tempfile::tempdir().unwrap();
        let path = common::file(&folder);
        let stores = (0..HOLDERS).map(|_| open(&path)).collect();
        let sqlite = Run::new(stores, Box::new(|old: &Sqlite| open(old.path())));
        compare(&script, model(), sqlite)?;
    }
}

#[cfg(feature = "postgres")]
proptest! {
    #![proptest_config(config(48))]

    /// Nobody dies in these scripts: across machines nobody would know.
    #[test]
    fn postgres_and_memory_answer_alike(mut script in verbs()) {
        use common::server::{open_at, schema};
        use evergrant_vault::{OnRuntime, Postgres};
        script.retain(|(_, verb)| !matches!(verb, Verb::Die));
        let schema = schema();
        let stores: Vec<OnRuntime<Postgres>> = (0..HOLDERS).map(|_| open_at(&schema)).collect();
        let postgres = Run::new(stores, Box::new(move |_: &OnRuntime<Postgres>| open_at(&schema)));
        compare(&script, model(), postgres)?;
    }
}
