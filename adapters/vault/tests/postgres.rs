//! What is PostgreSQL's own: its clock, its processes, its losses, its news; and that sealing holds there as well.
#![cfg(feature = "postgres")]
#![allow(missing_docs)]

mod common;

use std::{
    env,
    future::Future,
    io::Read,
    net::{Shutdown, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use common::{
    KEY, OTHER_KEY, OWNER, claimed, committed, loaded, name,
    server::{Server, open_at, options, schema, url},
    write,
};
use evergrant_vault::{
    AsyncStore, Change, Claim, Clock, Commit, Error, Keyring, Name, OnRuntime, Postgres, Spend, Store, Then,
    Write,
};
use tokio::runtime::Runtime;

fn wait<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(future)
}

/// A vault that lives by the server's clock.
fn open(url: &str, schema: &str, keys: &str) -> Result<OnRuntime<Postgres>, Error> {
    OnRuntime::open(Postgres::open(url, common::ring(keys), options(schema, Clock::Server)))
}

/// What somebody with rights on the tables, but no key, does; and what they see.
fn sql(schema: &str, statements: &str) -> Vec<Vec<String>> {
    wait(async {
        let (client, connection) = tokio_postgres::connect(url(), tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path TO {schema}")).await.unwrap();
        let answers = client.simple_query(statements).await.unwrap();
        driver.abort();
        let row = |row: tokio_postgres::SimpleQueryRow| {
            (0..row.len()).map(|column| row.get(column).unwrap_or("").to_owned()).collect()
        };
        let rows = answers.into_iter().filter_map(|answer| match answer {
            tokio_postgres::SimpleQueryMessage::Row(found) => Some(row(found)),
            _ => None,
        });
        rows.collect()
    })
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn store_tokens(store: &dyn Store, name: &Name, tokens: &str) -> u64 {
    let expected = store.load(name).unwrap().map(|loaded| loaded.generation);
    let lease = claimed(store.claim(100, name, expected, 60, write(b"intent")).unwrap());
    committed(store.commit(101, &lease, write(tokens.as_bytes()), Then::Release).unwrap())
}

fn is_altered(store: &dyn Store, name: &Name) -> bool {
    matches!(store.load(name), Err(Error::Altered { name: Some(_), .. }))
}

// Sealing ---------------------------------------------------------------------------------------------------------------------

/// APP-3: a record opens in its own row only.
#[test]
fn a_record_moved_to_another_realm_environment_app_or_generation_stays_shut() {
    let schema = schema();
    let store = open_at(&schema);
    let (here, other) = (name("9130"), name("9131"));
    store_tokens(&store, &here, "tokens");
    store_tokens(&store, &other, "others");
    for (column, value, moved) in [
        ("realm", "9999", name("9999")),
        ("environment", "intuit-production", Name::new("app-1f3a", "intuit-production", "9130").unwrap()),
        ("app", "app-other", Name::new("app-other", "intuit-sandbox", "9130").unwrap()),
    ] {
        sql(&schema, &format!("CREATE TABLE kept AS SELECT {column} FROM slot WHERE realm = '9130'"));
        sql(&schema, &format!("UPDATE slot SET {column} = '{value}' WHERE realm = '9130'"));
        assert!(is_altered(&store, &moved), "{column}");
        let back = moved.realm();
        sql(
            &schema,
            &format!("UPDATE slot SET {column} = (SELECT {column} FROM kept) WHERE realm = '{back}'"),
        );
        sql(&schema, "DROP TABLE kept");
    }
    assert_eq!(common::record(&store, &here), b"tokens", "put back, it opens");
    for (table, change) in [
        ("slot", "generation = generation + 1"),
        ("record", "revision = revision + 1"),
        ("record", "sealed = ''"),
    ] {
        store_tokens(&store, &here, "tokens");
        let only = if table == "slot" { "realm" } else { "(SELECT realm FROM slot WHERE slot.id = slot)" };
        sql(&schema, &format!("UPDATE {table} SET {change} WHERE {only} = '9130'"));
        assert!(is_altered(&store, &here), "{change}");
        // The way out: a new consent overwrites it, by the generation that `list` shows.
        let row = store.list(None, 9).unwrap().into_iter().find(|row| row.name == here).unwrap();
        let lease = claimed(store.claim(100, &here, Some(row.generation), 60, write(b"new")).unwrap());
        store.release(&lease).unwrap();
    }
    sql(
        &schema,
        "UPDATE slot SET generation = (SELECT generation FROM slot WHERE realm = '9130');
         UPDATE record SET (revision, sealed) =
            (SELECT r.revision, r.sealed FROM record r JOIN slot ON r.slot = slot.id WHERE realm = '9130')",
    );
    assert!(is_altered(&store, &other), "another row's bytes and numbers");
    assert_eq!(common::record(&store, &here), b"new");
}

/// I5: the bytes of an earlier write do not pass for those of a later one.
#[test]
fn an_older_record_put_back_stays_shut() {
    let schema = schema();
    let store = open_at(&schema);
    store_tokens(&store, &name("1"), "older");
    sql(&schema, "CREATE TABLE stolen AS SELECT * FROM record");
    store_tokens(&store, &name("1"), "newer");
    sql(&schema, "UPDATE record SET sealed = (SELECT sealed FROM stolen)");
    assert!(is_altered(&store, &name("1")));
}

#[test]
fn a_wrong_key_and_a_touched_canary_are_refused_at_the_door() {
    let schema = schema();
    store_tokens(&open_at(&schema), &name("1"), "tokens");
    let error = open(url(), &schema, OTHER_KEY).unwrap_err();
    let (right, wrong) = (Keyring::parse(KEY).unwrap().ids(), Keyring::parse(OTHER_KEY).unwrap().ids());
    assert!(
        matches!(&error, Error::WrongKey { sealed_under, given, .. } if *sealed_under == right && *given == wrong)
    );
    assert_eq!(sql(&schema, "SELECT count(*) FROM canary")[0][0], "1", "nothing was changed");
    sql(&schema, "UPDATE canary SET sealed = substring(sealed FOR length(sealed) - 1)");
    assert!(matches!(open(url(), &schema, KEY), Err(Error::Altered { name: None, .. })));
}

/// I6: nothing of a record or a key in any table, nor in what is shown; nor the password.
#[test]
fn no_secret_reaches_the_database_or_the_screen() {
    let schema = schema();
    let store = open_at(&schema);
    let secret = "RT1-311-canary-8xxxb5f0";
    store_tokens(&store, &name("9130"), secret);
    let _ = store.spend(100, &[7; 32], 700).unwrap();
    let needles = [secret, "intent", "evergrant vault canary"]
        .map(|text| text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")));
    let mut looked = 0;
    for table in ["vault", "slot", "record", "spent", "canary"] {
        for row in sql(&schema, &format!("SELECT t::text FROM {table} AS t")) {
            looked += row[0].len();
            assert!(!row[0].contains("canary-8xxx"), "{table}");
            assert!(needles.iter().all(|needle| !row[0].contains(needle)), "{table}: {}", row[0]);
        }
    }
    assert!(looked > 500, "there was something to look through");
    let wrong = open(&url().replace("evergrant-test", "canary-8xxx"), &schema, KEY).unwrap_err();
    assert!(matches!(wrong, Error::Database { .. }), "{wrong}");
    let shown = format!("{store:?} {wrong} {wrong:?} {:?}", store.load(&name("9130")));
    assert!(!shown.contains("canary-8xxx") && !shown.contains("evergrant-test"), "{shown}");
}

#[test]
fn a_sweep_seals_everything_again_beside_writers_and_goes_on_after_a_stop() {
    let schema = schema();
    let old = open_at(&schema);
    for row in 0..25 {
        store_tokens(&old, &name(&format!("{row:02}")), &format!("tokens {row}"));
    }
    let before = old.list(None, 99).unwrap();
    let new = open(url(), &schema, &format!("{OTHER_KEY}\n{KEY}")).unwrap();
    let keys = |store: &dyn Store| -> Vec<u64> {
        let ids = [Keyring::parse(KEY).unwrap().ids()[0], Keyring::parse(OTHER_KEY).unwrap().ids()[0]];
        let uses = store.keys_in_use().unwrap();
        ids.iter().map(|id| uses.iter().find(|used| used.key == *id).map_or(0, |used| used.rows)).collect()
    };
    assert_eq!(keys(&new), [25, 0]);
    sql(
        &schema,
        "UPDATE record SET sealed = overlay(sealed placing '\\xff' from 40)
        FROM slot WHERE slot.id = slot AND realm = '03'",
    );
    let first = new.reseal(None, 10).unwrap();
    assert_eq!((first.resealed, first.stuck.len(), first.next.clone()), (9, 1, Some(name("09"))));
    assert_eq!(first.stuck[0].0, name("03"));
    assert_eq!(keys(&new), [16, 9]);
    // A writer comes in between; and the sweep is begun anew, as after a crash.
    store_tokens(&new, &name("20"), "newer");
    let mut next = None;
    loop {
        let step = new.reseal(next.as_ref(), 7).unwrap();
        assert!(step.stuck.iter().all(|(stuck, _)| *stuck == name("03")));
        next = step.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(keys(&new), [1, 24], "all but the one that does not open");
    for row in new.list(None, 99).unwrap() {
        let same = before.iter().find(|old| old.name == row.name).unwrap();
        assert!(row.generation == same.generation || row.name == name("20"), "generations stay");
        let Ok(Some(read)) = new.load(&row.name) else {
            assert_eq!(row.name, name("03"));
            continue;
        };
        assert!(read.record.expose() == b"newer" || read.record.expose().starts_with(b"tokens "));
    }
}

/// A writer that comes between the sweeper's look and its write keeps its record.
#[test]
fn a_sweeper_never_writes_over_a_writer() {
    let schema = schema();
    let (old, row) = (open_at(&schema), name("1"));
    store_tokens(&old, &row, "0");
    let stop = Arc::new(AtomicBool::new(false));
    let sweepers: Vec<_> = [KEY, OTHER_KEY]
        .map(|first| {
            let second = if first == KEY { OTHER_KEY } else { KEY };
            let store = open(url(), &schema, &format!("{first}\n{second}")).unwrap();
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut done = 0;
                while !stop.load(Ordering::Relaxed) {
                    done += store.reseal(None, 10).unwrap().resealed;
                }
                done
            })
        })
        .into();
    let writer = open(url(), &schema, &format!("{KEY}\n{OTHER_KEY}")).unwrap();
    for turn in 1..=150 {
        store_tokens(&writer, &row, &turn.to_string());
        assert_eq!(common::record(&writer, &row), turn.to_string().as_bytes());
    }
    stop.store(true, Ordering::Relaxed);
    let swept: Vec<u64> = sweepers.into_iter().map(|sweeper| sweeper.join().unwrap()).collect();
    assert!(swept.iter().all(|count| *count > 0), "{swept:?}");
}

// Time ------------------------------------------------------------------------------------------------------------------------

/// A caller whose clock is an hour wrong, either way, waits and holds as long as any other.
#[test]
fn a_wrong_clock_makes_no_difference() {
    let schema = schema();
    let now = unix_now();
    let (right, row) = (open(url(), &schema, KEY).unwrap(), name("9130"));
    let told = right.clock(0).unwrap();
    assert!(told.abs_diff(now) < 60, "the server says {told}");
    for wrong in [now - 3_600, now + 3_600] {
        let expected = right.load(&row).unwrap().map(|loaded| loaded.generation);
        let lease = claimed(right.claim(now, &row, expected, 60, write(b"held")).unwrap());
        let other = open(url(), &schema, KEY).unwrap();
        let Claim::Held { until } = other.claim(wrong, &row, Some(lease.epoch()), 60, write(b"x")).unwrap()
        else {
            panic!("the lease holds, whatever the claimer's clock says")
        };
        assert!((30..=60).contains(&(until - wrong)), "told in the caller's own terms: {}", until - wrong);
        assert!(other.claim_due(wrong, OWNER, 9, 60).unwrap().is_empty());
        right.release(&lease).unwrap();
        let lease = claimed(other.claim(wrong, &row, Some(lease.epoch()), 60, write(b"x")).unwrap());
        assert_eq!(lease.until(), wrong + 60);
        let Claim::Held { until } = right.claim(now, &row, Some(lease.epoch()), 60, write(b"y")).unwrap()
        else {
            panic!("nor whatever the holder's says")
        };
        assert!((30..=60).contains(&(until - now)));
        // A minute passes on the server.
        sql(&schema, "UPDATE slot SET lease_until = lease_until - 61");
        let lease = claimed(right.claim(now, &row, Some(lease.epoch()), 60, write(b"y")).unwrap());
        right.release(&lease).unwrap();

        // EXC-1: a mark is kept as long as its maker meant, by whatever clock.
        let mut code = [0; 32];
        code[..8].copy_from_slice(&wrong.to_le_bytes());
        assert_eq!(other.spend(wrong, &code, wrong + 600).unwrap(), Spend::Fresh);
        assert_eq!(
            right.spend(now, &[wrong as u8; 32], now + 600).unwrap(),
            Spend::Fresh,
            "clears others away"
        );
        assert_eq!(right.spend(now, &code, now + 600).unwrap(), Spend::SpentBefore);
    }
}

// Processes -------------------------------------------------------------------------------------------------------------------

const ROLE: &str = "VAULT_TEST_ROLE";
const URL: &str = "VAULT_TEST_URL";
const SCHEMA: &str = "VAULT_TEST_SCHEMA";

/// What a child does when this test is run in it; in the parent it does nothing.
#[test]
fn child() {
    let (Ok(role), Ok(url), Ok(schema)) = (env::var(ROLE), env::var(URL), env::var(SCHEMA)) else { return };
    let store = open(&url, &schema, KEY).unwrap();
    match role.as_str() {
        "count" => count_up(&store, 25),
        "hold" => hold(&store),
        "share" => share(&store),
        "start" => {
            let row = name(&format!("process-{}", std::process::id()));
            store_tokens(&store, &row, "started");
        }
        other => panic!("no such role: {other}"),
    }
}

fn spawn(role: &str, schema: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .envs([(ROLE, role), (URL, url()), (SCHEMA, schema)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(mut child: Child) -> String {
    drop(child.stdin.take());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    said
}

fn children(count: usize, role: &str, schema: &str) -> Vec<String> {
    let children: Vec<Child> = (0..count).map(|_| spawn(role, schema)).collect();
    children.into_iter().map(finish).collect()
}

/// The numbers of a child's lines that begin with `word`.
fn numbers(said: &str, word: &str) -> Vec<Vec<u64>> {
    let lines = said.lines().filter_map(|line| line.split_once(word));
    lines.map(|(_, rest)| rest.split_whitespace().map(|number| number.parse().unwrap()).collect()).collect()
}

/// Adds one to the number in the record, under the lease: a turn lost would show in the sum. Whatever the connection does
/// meanwhile, a turn that was answered counts once.
fn count_up(store: &dyn Store, turns: u64) {
    let row = name("9130");
    let mut done = 0;
    while done < turns {
        let read = store.load(&row).unwrap();
        let expected = read.as_ref().map(|loaded| loaded.generation);
        let before = read.as_ref().map_or(&b"0"[..], |loaded| loaded.record.expose());
        match store.claim(unix_now(), &row, expected, 600, write(before)).unwrap() {
            Claim::Claimed(lease) => {
                let number: u64 = std::str::from_utf8(before).unwrap().parse().unwrap();
                let after = (number + 1).to_string();
                let commit = store.commit(0, &lease, write(after.as_bytes()), Then::Release).unwrap();
                println!("turn {} {} {after}", lease.epoch(), committed(commit));
                done += 1;
            }
            Claim::Held { .. } | Claim::MovedOn(_) => thread::yield_now(),
        }
    }
}

/// REF-2, I2, I5: exactly one wins each time, no turn is lost, and epochs rise as the numbers do.
#[test]
fn processes_that_race_for_one_row_take_turns() {
    let schema = schema();
    let store = open_at(&schema);
    let said = children(4, "count", &schema);
    let mut turns: Vec<Vec<u64>> = said.iter().flat_map(|said| numbers(said, "turn ")).collect();
    turns.sort_by_key(|turn| turn[2]);
    assert_eq!(turns.len(), 100);
    for (place, turn) in turns.iter().enumerate() {
        assert_eq!(turn[2], place as u64 + 1, "each turn is its own");
        assert!(turn[0] < turn[1], "the answer's generation is above the epoch");
        assert!(place == 0 || turns[place - 1][1] < turn[0], "epochs rise above all that went before");
    }
    assert_eq!(common::record(&store, &name("9130")), b"100");
}

/// Takes the lease and keeps it until it is killed.
fn hold(store: &dyn Store) {
    let row = name("9130");
    let expected = store.load(&row).unwrap().map(|loaded| loaded.generation);
    let lease = claimed(store.claim(unix_now(), &row, expected, 600, write(b"about to be sent")).unwrap());
    println!("holds {}", lease.epoch());
    let _ = std::io::stdin().read(&mut [0]);
}

/// A machine that died: its intent is there at once, its lease is waited for, and not a second longer.
#[test]
fn a_killed_holder_is_waited_for_until_its_lease_ends_and_its_intent_is_there() {
    let schema = schema();
    let (store, row) = (open(url(), &schema, KEY).unwrap(), name("9130"));
    let mut child = spawn("hold", &schema);
    let began = Instant::now();
    let read = loop {
        if let Some(read) = store.load(&row).unwrap() {
            break read;
        }
        assert!(began.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(10));
    };
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert_eq!(read.record.expose(), b"about to be sent");
    let claim = || store.claim(unix_now(), &row, Some(read.generation), 60, write(b"sent again")).unwrap();
    assert!(matches!(claim(), Claim::Held { .. }));
    // Ten minutes but a few seconds pass on the server, and then those.
    sql(&schema, "UPDATE slot SET lease_until = extract(epoch FROM clock_timestamp())::bigint + 30");
    assert!(matches!(claim(), Claim::Held { .. }));
    sql(&schema, "UPDATE slot SET lease_until = floor(extract(epoch FROM clock_timestamp()))");
    assert!(claimed(claim()).epoch() > read.generation);
}

/// Claims what is due until nothing is, and says what it got.
fn share(store: &dyn Store) {
    loop {
        let due = store.claim_due(unix_now(), OWNER, 7, 600).unwrap();
        if due.is_empty() {
            return;
        }
        for due in due {
            assert!(due.row.is_ok());
            println!("took {} {}", due.lease.name().realm(), due.lease.epoch());
        }
    }
}

/// REF-2, I8: each row that is due goes to one process, and to one.
#[test]
fn processes_share_out_what_is_due() {
    let schema = schema();
    let store = open_at(&schema);
    for row in 0..200 {
        let write = Write { due_at: Some(row), ..write(b"x") };
        let lease = claimed(store.claim(100, &name(&row.to_string()), None, 60, write).unwrap());
        store.release(&lease).unwrap();
    }
    let said = children(4, "share", &schema);
    let mut taken: Vec<Vec<u64>> = said.iter().flat_map(|said| numbers(said, "took ")).collect();
    let mut epochs: Vec<u64> = taken.iter().map(|row| row[1]).collect();
    taken.sort_unstable();
    assert_eq!(taken.iter().map(|row| row[0]).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 200);
}

/// Rows of which one in `every` is due, and the end is in another order than the moments at which they were due.
fn fill(schema: &str, rows: u32, every: u32) {
    sql(
        schema,
        &format!(
            "INSERT INTO slot (app, environment, realm, epoch, generation, lease_seconds, lease_until, due_at, ends_at)
             SELECT app, 'intuit-sandbox', n, 1, 1, 0, 0, CASE WHEN n % {every} = 0 THEN n ELSE 2000000 + n END,
                 1000000 + (n::bigint * 7919) % {rows}
             FROM (VALUES ('app-1f3a'), ('another')) AS apps (app), generate_series(0, {rows} - 1) AS n;
             INSERT INTO record (slot, generation, revision, sealed) SELECT id, 1, 1, '' FROM slot;
             ANALYZE slot"
        ),
    );
}

/// Pages that the server looks at for a claim of what is due, planned once for all values.
fn pages(schema: &str, now: u64) -> u64 {
    let claim = include_str!("../src/postgres/claim_due.sql");
    let values = format!("{now}, 16, 'holder', 60, 'app-1f3a', 'intuit-sandbox'");
    let plan = sql(
        schema,
        &format!(
            "PREPARE claim AS {claim}; SET plan_cache_mode = force_generic_plan;
             BEGIN; EXPLAIN (ANALYZE, BUFFERS) EXECUTE claim ({values}); ROLLBACK"
        ),
    );
    let first =
        plan.iter().find_map(|line| line[0].trim().strip_prefix("Buffers: shared ")).expect("it tells");
    let numbers = first.split(' ').filter_map(|word| word.split_once('='));
    numbers
        .filter(|(what, _)| matches!(*what, "hit" | "read"))
        .map(|(_, count)| count.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn a_claim_of_what_is_due_costs_the_same_in_a_large_vault() {
    let cost = |rows: u32| {
        [rows + 1, rows / 100, 1].map(|every| {
            let schema = schema();
            drop(open_at(&schema));
            fill(&schema, rows, every);
            pages(&schema, 1_000_000)
        })
    };
    let (small, large) = (cost(2_000), cost(60_000));
    for (small, large) in small.into_iter().zip(large) {
        assert!(large <= small * 2 + 100 && large < 2_500, "{small} pages, and {large} in 30 times the rows");
    }
}

/// More than are sorted: the order must be the same.
#[test]
fn much_that_is_due_comes_in_the_order_of_ends_as_well() {
    for (rows, every) in [(900, 1), (5_000, 1), (5_000, 3)] {
        let schema = schema();
        let store = open_at(&schema);
        fill(&schema, rows, every);
        let mut due: Vec<u32> = (0..rows).filter(|row| row % every == 0).collect();
        due.sort_by_key(|row| (row * 7_919) % rows);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let claimed = store.claim_due(1_000_000, OWNER, 50, 60).unwrap();
            seen.extend(claimed.iter().map(|due| due.lease.name().realm().parse::<u32>().unwrap()));
        }
        assert_eq!(seen, due[..150], "{rows} rows, one in {every} due");
    }
}

/// A vault of version 1, as the build that knew no other wrote it: its rows are handed out, and first.
#[test]
fn a_vault_of_an_older_build_is_taken_on_with_all_that_is_due() {
    let (newer, old) = (schema(), schema());
    let store = open_at(&newer);
    for (realm, due_at) in [("late", 300), ("first", 100), ("not yet", 9_000)] {
        let what = Write { due_at: Some(due_at), ends_at: Some(1), ..write(realm.as_bytes()) };
        let lease = claimed(store.claim(10, &name(realm), None, 60, what).unwrap());
        let _ = committed(store.commit(11, &lease, what, Then::Release).unwrap());
    }
    let slot = "app, environment, realm, epoch, generation, holder, lease_seconds, lease_until, due_at";
    sql("public", &format!("CREATE SCHEMA {old}"));
    sql(&old, include_str!("../src/postgres/schema_1.sql"));
    sql(
        &old,
        &format!(
            "INSERT INTO slot (id, {slot}) OVERRIDING SYSTEM VALUE SELECT id, {slot} FROM {newer}.slot;
             ALTER TABLE slot ALTER id RESTART WITH 100;
             INSERT INTO record (slot, generation, revision, sealed)
             SELECT slot, generation, revision, sealed FROM {newer}.record;
             INSERT INTO canary SELECT * FROM {newer}.canary;
             SELECT setval('number', 100); UPDATE vault SET version = 1"
        ),
    );
    let (store, beside) = (open_at(&old), open_at(&old));
    let what = Write { due_at: Some(50), ends_at: Some(60), ..write(b"new") };
    let lease = claimed(store.claim(12, &name("new"), None, 60, what).unwrap());
    store.release(&lease).unwrap();
    let due = beside.claim_due(1_000, OWNER, 9, 60).unwrap();
    assert_eq!(due.iter().map(|due| due.lease.name().realm()).collect::<Vec<_>>(), ["first", "late", "new"]);
    for due in &due {
        let row = due.row.as_ref().unwrap();
        let by = (due.lease.name().realm() == "new").then(|| store.writer());
        assert_eq!((row.record.expose(), row.written_by), (due.lease.name().realm().as_bytes(), by));
    }
    assert_eq!(sql(&old, "SELECT version FROM vault"), [["2"]]);
}

/// `SKIP LOCKED`: a row that somebody is just writing is passed over, not waited for.
#[test]
fn a_locked_row_holds_up_no_other() {
    let schema = schema();
    let store = open_at(&schema);
    for realm in ["1", "2"] {
        store_tokens(&store, &name(realm), "tokens");
    }
    wait(async {
        let (mut client, connection) = tokio_postgres::connect(url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let lock = client.transaction().await.unwrap();
        let statement = format!("SELECT FROM {schema}.slot WHERE realm = '1' FOR UPDATE");
        lock.query(&statement, &[]).await.unwrap();
        let due = tokio::task::block_in_place(|| store.claim_due(2_000, OWNER, 9, 60)).unwrap();
        assert_eq!(due.len(), 1);
        assert_eq!(*due[0].lease.name(), name("2"));
    });
}

/// A row that somebody else's transaction keeps locked is named for what it is, in time; what is read goes on.
#[test]
fn a_row_that_stays_locked_is_named() {
    let schema = schema();
    let generation = store_tokens(&open_at(&schema), &name("1"), "tokens");
    wait(async {
        let (mut client, connection) = tokio_postgres::connect(url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let mut settings = options(&schema, Clock::Caller);
        settings.patience = Duration::from_millis(800);
        let store = Postgres::open(url(), common::ring(KEY), settings).await.unwrap();
        let lock = client.transaction().await.unwrap();
        lock.query(&format!("SELECT FROM {schema}.slot FOR UPDATE"), &[]).await.unwrap();
        let refused = store.claim(200, &name("1"), Some(generation), 60, write(b"x")).await.unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }), "{refused}");
        assert!(store.load(&name("1")).await.unwrap().is_some());
        lock.rollback().await.unwrap();
        let free = store.claim(200, &name("1"), Some(generation), 60, write(b"x")).await.unwrap();
        assert!(matches!(free, Claim::Claimed(_)));
    });
}

/// Migrations run by themselves, once, however many start.
#[test]
fn eight_processes_start_at_once_on_nothing() {
    for _ in 0..3 {
        let schema = schema();
        let _ = children(8, "start", &schema);
        let store = open_at(&schema);
        let rows = store.list(None, 100).unwrap();
        assert_eq!(rows.len(), 8);
        assert!(rows.iter().all(|row| common::record(&store, &row.name) == b"started"));
        assert_eq!(sql(&schema, "SELECT version FROM vault"), [["2"]]);
        assert_eq!(sql(&schema, "SELECT count(*) FROM canary"), [["1"]]);
    }
}

#[test]
fn foreign_and_newer_schemas_are_left_alone() {
    let theirs = schema();
    sql("public", &format!("CREATE SCHEMA {theirs}; CREATE TABLE {theirs}.theirs (x int)"));
    assert!(matches!(open(url(), &theirs, KEY), Err(Error::Foreign { .. })));
    assert_eq!(
        sql(&theirs, "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace")[0]
            [0],
        "1"
    );
    let newer = schema();
    drop(open_at(&newer));
    sql(&newer, "UPDATE vault SET version = 9");
    assert!(matches!(open(url(), &newer, KEY), Err(Error::Newer { found: 9, known: 2, .. })));
    for schema in ["", "Upper", "a\"b", "pg_temp", "1a", &"x".repeat(41)] {
        assert!(matches!(open(url(), schema, KEY), Err(Error::BadAddress { .. })), "{schema}");
    }
}

/// Once the schema is there, rights on its tables are enough; who may only read is told so by the database.
#[test]
fn a_role_with_rights_on_the_tables_is_enough() {
    let schema = schema();
    drop(open_at(&schema));
    sql(
        &schema,
        &format!(
            "CREATE ROLE {schema} LOGIN PASSWORD 'plain'; GRANT USAGE ON SCHEMA {schema} TO {schema};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {schema};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {schema}"
        ),
    );
    let theirs = url().replace("evergrant:evergrant-test", &format!("{schema}:plain"));
    let store = open(&theirs, &schema, KEY).unwrap();
    store_tokens(&store, &name("1"), "tokens");
    assert_eq!(store.claim_due(0, OWNER, 9, 60).unwrap().len(), 1);
    sql(&schema, &format!("REVOKE UPDATE ON slot FROM {schema}"));
    let expected = store.load(&name("1")).unwrap().unwrap().generation;
    sql(&schema, "UPDATE slot SET holder = NULL");
    let error = store.claim(0, &name("1"), Some(expected), 60, write(b"x")).unwrap_err();
    assert!(
        matches!(error, Error::Database { .. }) && error.to_string().contains("permission denied"),
        "{error}"
    );
}

// Losses ----------------------------------------------------------------------------------------------------------------------

/// A way to the server that can be cut after so many pieces, on the way there or on the way back.
struct Wire {
    url: String,
    fuse: Arc<AtomicI64>,
    cut_answers: Arc<AtomicBool>,
}

impl Wire {
    fn lay() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (before, rest) = url().split_once("127.0.0.1:").unwrap();
        let (port, rest) = rest.split_once('/').unwrap();
        let (fuse, cut_answers) = (Arc::new(AtomicI64::new(-1)), Arc::new(AtomicBool::new(false)));
        let url = format!("{before}{}/{rest}", listener.local_addr().unwrap());
        let wire = Self { url, fuse: Arc::clone(&fuse), cut_answers: Arc::clone(&cut_answers) };
        let server = format!("127.0.0.1:{port}");
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                for (from, to, answers) in [(&client, &server, false), (&server, &client, true)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (fuse, cut) = (Arc::clone(&fuse), Arc::clone(&cut_answers));
                    thread::spawn(move || carry(from, to, &fuse, || cut.load(Ordering::SeqCst) == answers));
                }
            }
        });
        wire
    }

    fn cut_after(&self, pieces: i64, answers: bool) {
        self.cut_answers.store(answers, Ordering::SeqCst);
        self.fuse.store(pieces, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, fuse: &AtomicI64, counts: impl Fn() -> bool) {
    let mut piece = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        // The piece at which the fuse blows does not arrive.
        if counts() && fuse.load(Ordering::SeqCst) >= 0 && fuse.fetch_sub(1, Ordering::SeqCst) == 0 {
            break;
        }
        if std::io::Write::write_all(&mut to, &piece[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// REF-1, I5, EXC-1: the connection is cut at each piece of a whole turn, before the server heard it and after it did it: each
/// verb is answered as if nothing had happened, and happens once.
#[test]
fn a_connection_cut_anywhere_loses_and_doubles_nothing() {
    let wire = Wire::lay();
    let schema = schema();
    let direct = open_at(&schema);
    let mut blown = 0;
    for answers in [false, true] {
        for pieces in 0.. {
            let mut settings = options(&schema, Clock::Caller);
            settings.connections = 1;
            let store = OnRuntime::open(Postgres::open(&wire.url, common::ring(KEY), settings)).unwrap();
            let row = name(&format!("{answers}-{pieces}"));
            wire.cut_after(pieces, answers);
            one_turn(&store, &row, pieces);
            let blew = wire.fuse.swap(-1, Ordering::SeqCst) < 0;
            assert_eq!(common::record(&direct, &row), b"answer");
            let marks = sql(&schema, &format!("SELECT count(*) FROM slot WHERE realm = '{}'", row.realm()));
            assert_eq!(marks, [["1"]]);
            if !blew {
                break;
            }
            blown += 1;
        }
    }
    println!("{blown} cuts were made");
    assert!(blown > 20);
}

fn one_turn(store: &dyn Store, row: &Name, seed: i64) {
    assert_eq!(store.load(row).unwrap(), None);
    let lease = claimed(store.claim(100, row, None, 60, write(b"intent")).unwrap());
    assert_eq!(loaded(store, row).generation, lease.epoch());
    let hold = Then::Hold { seconds: 60 };
    let _ = committed(store.commit(101, &lease, write(b"second intent"), hold).unwrap());
    let generation = committed(store.commit(102, &lease, write(b"answer"), Then::Release).unwrap());
    assert_eq!(loaded(store, row).generation, generation);
    let mut code = [u8::from(row.realm().starts_with('t')); 32];
    code[0] = seed as u8;
    assert_eq!(store.spend(100, &code, 700).unwrap(), Spend::Fresh);
    assert_eq!(store.spend(100, &code, 700).unwrap(), Spend::SpentBefore);
    let lease = claimed(store.claim(103, row, Some(generation), 60, write(b"answer")).unwrap());
    store.release(&lease).unwrap();
}

/// The server dies as at a loss of power, and comes back, while four callers are at work: every turn that was answered is there.
#[test]
fn a_server_that_crashes_and_comes_back_loses_nothing() {
    let mut server = Server::start();
    let schema = schema();
    let server_url = server.url.clone();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (url, schema) = (server_url.clone(), schema.clone());
            thread::spawn(move || count_up(&open(&url, &schema, KEY).unwrap(), 60))
        })
        .collect();
    for verb in ["crash", "stop", "crash"] {
        thread::sleep(Duration::from_millis(300));
        server.order(verb);
        server.order("start");
    }
    for caller in callers {
        caller.join().unwrap();
    }
    let store = open(&server.url, &schema, KEY).unwrap();
    assert_eq!(common::record(&store, &name("9130")), b"240");
}

#[test]
fn a_server_that_is_not_there_is_named_in_time() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut settings = options("nowhere", Clock::Server);
    settings.patience = Duration::from_millis(300);
    let began = Instant::now();
    let there = format!("postgres://u:canary@127.0.0.1:{port}/d");
    let error = wait(Postgres::open(&there, common::ring(KEY), settings)).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains(&port.to_string()) && !format!("{error:?}").contains("canary"),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// A verb that is given up leaves nothing behind that could disturb the next one.
#[test]
fn a_dropped_verb_disturbs_no_other() {
    let schema = schema();
    let mut settings = options(&schema, Clock::Caller);
    settings.connections = 1;
    wait(async {
        let store = Postgres::open(url(), common::ring(KEY), settings).await.unwrap();
        for turn in 0..60_u64 {
            let row = name(&turn.to_string());
            let claim = store.claim(100, &row, None, 60, write(b"intent"));
            let _ = tokio::time::timeout(Duration::from_micros(turn * 40), claim).await;
            let read = store.load(&row).await.unwrap();
            assert!(read.is_none_or(|read| read.record.expose() == b"intent"));
        }
    });
}

// News ------------------------------------------------------------------------------------------------------------------------

#[test]
fn others_learn_of_a_rotation_at_once_and_of_a_gap() {
    let mut server = Server::start();
    let schema = schema();
    wait(async {
        let open = || Postgres::open(&server.url, common::ring(KEY), options(&schema, Clock::Server));
        let (here, there) = (open().await.unwrap(), open().await.unwrap());
        let mut news = there.changes().await.unwrap();
        let row = Name::new("app-1f3a", "intuit-sandbox", "91'30\u{e9}").unwrap();
        let Claim::Claimed(lease) = here.claim(0, &row, None, 60, write(b"intent")).await.unwrap() else {
            panic!()
        };
        let began = Instant::now();
        let answer = here.commit(0, &lease, write(b"RT2-canary"), Then::Release).await.unwrap();
        let Commit::Committed { generation } = answer else { panic!() };
        let heard = tokio::time::timeout(Duration::from_secs(5), news.next()).await.unwrap();
        assert_eq!(heard, Some(Change::Row { name: row.clone(), generation: Some(generation) }));
        assert!(began.elapsed() < Duration::from_secs(1));
        let _ = here.remove(&lease).await.unwrap();
        assert_eq!(news.next().await, Some(Change::Row { name: row.clone(), generation: None }));

        server.order("crash");
        server.order("start");
        assert_eq!(news.next().await, Some(Change::Missed));
        let Claim::Claimed(lease) = here.claim(0, &row, None, 60, write(b"x")).await.unwrap() else {
            panic!()
        };
        here.release(&lease).await.unwrap();
        assert_eq!(news.next().await, Some(Change::Row { name: row, generation: Some(lease.epoch()) }));
    });
}

#[test]
fn news_that_nobody_fetches_are_told_as_missed() {
    let schema = schema();
    wait(async {
        let store = Postgres::open(url(), common::ring(KEY), options(&schema, Clock::Server)).await.unwrap();
        let mut news = store.changes().await.unwrap();
        let text = "7\napp\nenv\n1";
        sql_async(&format!(
            "SELECT pg_notify('evergrant vault {schema}', n::text || '{text}') FROM generate_series(1, 3000) AS n"
        ))
        .await;
        sql_async(&format!("SELECT pg_notify('evergrant vault {schema}', 'noise')")).await;
        tokio::time::timeout(Duration::from_secs(10), async {
            while news.next().await != Some(Change::Missed) {}
        })
        .await
        .unwrap();
        let lease = match store.claim(0, &name("1"), None, 60, write(b"x")).await.unwrap() {
            Claim::Claimed(lease) => lease,
            other => panic!("{other:?}"),
        };
        store.release(&lease).await.unwrap();
        let told = Change::Row { name: name("1"), generation: Some(lease.epoch()) };
        while news.next().await != Some(told.clone()) {}
    });
}

async fn sql_async(statement: &str) {
    let (client, connection) = tokio_postgres::connect(url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap();
}

/// The blocking face may be used, and dropped, on a thread of another runtime.
#[test]
fn the_blocking_face_does_not_panic_inside_of_a_runtime() {
    let schema = schema();
    wait(async {
        let store = open_at(&schema);
        store_tokens(&store, &name("1"), "tokens");
        assert_eq!(common::record(&store, &name("1")), b"tokens");
    });
}

// TLS -------------------------------------------------------------------------------------------------------------------------

/// Where the way is encrypted, certificate and name are checked, by the root that was named.
#[test]
fn the_servers_certificate_and_its_name_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    let own = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    std::fs::write(at("server.crt"), own.cert.pem()).unwrap();
    std::fs::write(at("server.key"), own.signing_key.serialize_pem()).unwrap();
    std::fs::write(at("other.crt"), other.cert.pem()).unwrap();
    let server = Server::start_with(&[("TLS", folder.path().to_str().unwrap())]);
    let schema = schema();
    let named = server.url.replace("127.0.0.1", "localhost");
    let with = |url: &str, root: &str| {
        let mut settings = options(&schema, Clock::Server);
        settings.patience = Duration::from_secs(2);
        let url = format!("{url}?sslmode=require&sslrootcert={}", at(root).replace('/', "%2F"));
        OnRuntime::open(Postgres::open(&url, common::ring(KEY), settings))
    };
    let store = with(&named, "server.crt").unwrap();
    store_tokens(&store, &name("1"), "tokens");
    let encrypted = wait(async {
        let (client, connection) = tokio_postgres::connect(&server.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let look = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE application_name = 'evergrant-vault'";
        client.query_one(look, &[]).await.unwrap().get::<_, bool>(0)
    });
    assert!(encrypted);
    let mut news = store.wait(Postgres::changes).unwrap();
    let generation = store_tokens(&store, &name("1"), "tokens");
    let told = Change::Row { name: name("1"), generation: Some(generation) };
    assert_eq!(store.wait(|_| async { Ok(news.next().await) }).unwrap(), Some(told));
    for (url, root) in [(&named, "other.crt"), (&server.url, "server.crt")] {
        let error = with(url, root).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. } | Error::Database { .. }), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
