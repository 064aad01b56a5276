//! Real processes on one vault: races, kills, first starts. The children are this very test executable.
#![allow(missing_docs)]

mod common;

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use common::{KEY, claimed, committed, name, open, record, ring, write};
use evergrant_vault::{Claim, Commit, Error, Keys, Name, Sqlite, Store, Then, Write};

const ROLE: &str = "VAULT_TEST_ROLE";
const FILE: &str = "VAULT_TEST_FILE";

/// What a child does when this test is run in it; in the parent it does nothing.
#[test]
fn child() {
    let (Ok(role), Some(file)) = (env::var(ROLE), env::var_os(FILE)) else { return };
    let file = PathBuf::from(file);
    match role.as_str() {
        "count" => count_up(&file),
        "hold" => hold(&file),
        "churn" => churn(&file),
        "start" => start(&file),
        "read-only" => read_only(&file),
        other => panic!("no such role: {other}"),
    }
}

fn spawn_from(executable: &Path, role: &str, file: &Path) -> Command {
    let mut command = Command::new(executable);
    command
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(FILE, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

fn spawn(role: &str, file: &Path) -> Child {
    spawn_from(&env::current_exe().unwrap(), role, file).spawn().unwrap()
}

/// Waits until a child has said a line with `word`, and returns the rest of that line. Reads byte by byte, so that
/// nothing of what follows is swallowed.
fn wait_for(child: &mut Child, word: &str) -> String {
    let output = child.stdout.as_mut().unwrap();
    let (mut line, mut byte) = (String::new(), [0]);
    while output.read(&mut byte).unwrap() == 1 {
        line.push(char::from(byte[0]));
        if byte[0] == b'\n' {
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
    }
    panic!("the child never said {word}");
}

fn finish(mut child: Child) -> String {
    drop(child.stdin.take());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    said
}

fn children(count: usize, role: &str, file: &Path) -> Vec<String> {
    let children: Vec<Child> = (0..count).map(|_| spawn(role, file)).collect();
    children.into_iter().map(finish).collect()
}

fn grant() -> Name {
    name("9130")
}

const TURNS: u64 = 25;

/// Adds one to the number in the record, under the lease, `TURNS` times: a turn lost would show in the sum.
fn count_up(file: &Path) {
    let (store, row) = (open(file), grant());
    let mut turns = 0;
    while turns < TURNS {
        let read = store.load(&row).unwrap();
        let expected = read.as_ref().map(|loaded| loaded.generation);
        let before = read.as_ref().map_or(&b"0"[..], |loaded| loaded.record.expose());
        // The clock stands still: only a lease that is given back is free.
        match store.claim(100, &row, expected, 60, write(before)).unwrap() {
            Claim::Claimed(lease) => {
                let number: u64 = std::str::from_utf8(before).unwrap().parse().unwrap();
                let after = (number + 1).to_string();
                let commit = store.commit(100, &lease, write(after.as_bytes()), Then::Release).unwrap();
                println!("turn {} {} {after}", lease.epoch(), committed(commit));
                turns += 1;
            }
            Claim::Held { .. } | Claim::MovedOn(_) => std::thread::yield_now(),
        }
    }
}

/// REF-2, I2, I5: exactly one wins each time, no turn is lost, and epochs rise as the numbers do.
#[test]
fn processes_that_race_for_one_row_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let file = common::file(&folder);
    let said = children(4, "count", &file);
    let mut turns: Vec<(u64, u64, u64)> = Vec::new();
    for line in said.iter().flat_map(|said| said.lines()) {
        let Some((_, numbers)) = line.split_once("turn ") else { continue };
        let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        turns.push((numbers[2], numbers[0], numbers[1]));
    }
    turns.sort_unstable();
    assert_eq!(turns.len() as u64, 4 * TURNS);
    for (place, (number, epoch, generation)) in turns.iter().enumerate() {
        assert_eq!(*number, place as u64 + 1, "each turn is its own");
        assert!(epoch < generation);
        assert!(place == 0 || turns[place - 1].2 < *epoch, "epochs rise above all that went before");
    }
    assert_eq!(record(&open(&file), &grant()), (4 * TURNS).to_string().as_bytes());
    assert_eq!(holders(&file), 0, "nobody is left behind");
}

fn holders(file: &Path) -> usize {
    fs::read_dir(file.with_extension("db.holders")).unwrap().count()
}

/// Takes the lease and keeps it until it is killed.
fn hold(file: &Path) {
    let (store, row) = (open(file), grant());
    let expected = store.load(&row).unwrap().map(|loaded| loaded.generation);
    let lease = claimed(store.claim(100, &row, expected, 3_000, write(b"about to be sent")).unwrap());
    println!("holds {}", lease.epoch());
    let _ = std::io::stdin().read(&mut [0]);
    // Only the zombie of the test below comes here.
    let answer = store.commit(100, &lease, write(b"the zombie's tokens"), Then::Release).unwrap();
    println!(
        "commit {}",
        if matches!(answer, Commit::FencedOut(Some(_))) { "fenced out" } else { "went through" }
    );
}

#[test]
fn a_killed_holder_blocks_nobody_and_its_intent_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = common::file(&folder);
    let store = open(&file);
    let mut last = 0;
    for _ in 0..3 {
        let mut child = spawn("hold", &file);
        let epoch: u64 = wait_for(&mut child, "holds").parse().unwrap();
        assert!(epoch > last);
        let refused = store.claim(100, &grant(), Some(epoch), 60, write(b"x")).unwrap();
        assert_eq!(refused, Claim::Held { until: 3_100 }, "its holder lives");

        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        assert_eq!(record(&store, &grant()), b"about to be sent");
        let lease = claimed(store.claim(100, &grant(), Some(epoch), 60, write(b"sent again")).unwrap());
        assert!(lease.epoch() > epoch);
        store.release(&lease).unwrap();
        last = lease.epoch();
        assert_eq!(holders(&file), 1, "the dead holder's file is cleared away");
    }
}

/// I5: a process that was given up for lost, and comes back.
#[test]
fn a_zombie_is_fenced_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = common::file(&folder);
    let store = open(&file);
    let mut child = spawn("hold", &file);
    let epoch: u64 = wait_for(&mut child, "holds").parse().unwrap();
    let lease = claimed(store.claim(3_100, &grant(), Some(epoch), 60, write(b"intent")).unwrap());
    let _ = committed(store.commit(3_101, &lease, write(b"the taker's tokens"), Then::Release).unwrap());
    let said = finish(child);
    assert!(said.contains("commit fenced out"), "{said}");
    assert_eq!(record(&store, &grant()), b"the taker's tokens");
}

/// Claims and commits without end, a number one higher each time; says each number once it is durable.
fn churn(file: &Path) {
    let (store, row) = (open(file), grant());
    loop {
        let read = store.load(&row).unwrap();
        let (expected, number) = read.map_or((None, 0), |loaded| {
            let number = std::str::from_utf8(loaded.record.expose()).unwrap().parse::<u64>().unwrap();
            (Some(loaded.generation), number)
        });
        let record = number.to_string();
        let lease = claimed(store.claim(100, &row, expected, 3_000, write(record.as_bytes())).unwrap());
        let record = (number + 1).to_string();
        let _ = committed(store.commit(100, &lease, write(record.as_bytes()), Then::Release).unwrap());
        println!("durable {}", number + 1);
    }
}

/// REF-1: killed at any moment, and what was said to be durable is there; nobody has to wait, nothing is damaged.
#[test]
fn killed_at_any_moment_the_vault_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = common::file(&folder);
    let mut highest = 0;
    for round in 0..12_usize {
        let mut child = spawn("churn", &file);
        for _ in 0..=round {
            highest = wait_for(&mut child, "durable").parse().unwrap_or(0).max(highest);
        }
        child.kill().unwrap();
        let mut rest = String::new();
        child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        child.wait().unwrap();
        // The last line may be cut short by the kill; whole lines count.
        for line in rest.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            highest = line.rsplit(' ').next().unwrap().trim().parse().unwrap_or(0).max(highest);
        }
        let store = open(&file);
        let number: u64 = String::from_utf8(record(&store, &grant())).unwrap().parse().unwrap();
        assert!(number >= highest, "{number} was read, {highest} was durable");
    }
    let check = rusqlite::Connection::open(&file).unwrap();
    let whole: String = check.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
}

/// Opens a vault that is not there yet, key file and all, and leaves a row of its own in it.
fn start(file: &Path) {
    let key = file.with_file_name("key");
    let store = Sqlite::open(file, Keys::File(&key)).unwrap();
    let row = name(&format!("process-{}", std::process::id()));
    let lease = claimed(store.claim(100, &row, None, 60, write(b"started")).unwrap());
    store.release(&lease).unwrap();
    println!("key {}", store.key_ids()[0]);
}

#[test]
fn eight_processes_start_at_once_on_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let home = folder.path().join(format!("home {round}"));
        let file = home.join("vault.db");
        let said = children(8, "start", &file);
        let key =
            |said: &String| said.split_once("key ").unwrap().1.split_whitespace().next().unwrap().to_owned();
        assert!(said.iter().all(|one| key(one) == key(&said[0])), "all of them have one key");
        let store = Sqlite::open(&file, Keys::File(&home.join("key"))).unwrap();
        let rows = store.list(None, 100).unwrap();
        assert_eq!(rows.len(), 8);
        assert!(rows.iter().all(|row| record(&store, &row.name) == b"started"));
        assert_eq!(drafts(&home), [""; 0], "no half-made file is left");
    }
}

fn drafts(home: &Path) -> Vec<String> {
    let names = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".new")).collect()
}

/// What a process without the right to write sees.
fn read_only(file: &Path) {
    let refused = Sqlite::open(file, ring(KEY)).map(|_| ());
    println!("answer {refused:?}");
    assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
}

/// A user that may not write, so that root can run this test too.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    use std::os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    };
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let executable = folder.path().join("child");
    fs::copy(env::current_exe().unwrap(), &executable).unwrap();
    mode(folder.path(), 0o755);
    mode(&executable, 0o755);
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let there = home.join("there.db");
    drop(open(&there));
    mode(&home, 0o555);
    for file in [home.join("new.db"), home.join("sub").join("new.db"), there.clone()] {
        let mut command = spawn_from(&executable, "read-only", &file);
        if fs::metadata(folder.path()).unwrap().uid() == 0 {
            command.uid(65_534).gid(65_534);
        }
        let child = command.spawn().unwrap();
        let said = finish(child);
        assert!(said.contains("answer Err(ReadOnly"), "{}: {said}", file.display());
    }
    mode(&home, 0o755);
    // Whoever owns it goes on, and nothing was changed.
    let store = open(&there);
    let intent = Write { record: b"x", revision: 0, due_at: None, ends_at: None };
    let _ = claimed(store.claim(100, &grant(), None, 60, intent).unwrap());
}
