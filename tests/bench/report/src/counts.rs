//! Instructions, allocations, stack and time of each item, and what they do as a session and a vault grow.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::run::{both, cargo, output, read, room, say, words, write};

/// Rounds of the two runs that are subtracted from each other.
const ROUNDS: (u64, u64) = (10, 30);
/// The sizes that a vault is looked at, in grants.
const VAULTS: [u64; 3] = [1_000, 100_000, 1_000_000];
/// How far an item of core's may grow before its recorded figure has to be changed with it.
const MOST_PERCENT: u64 = 105;

/// Instructions of one round of an item, what measuring costs taken off.
fn instructions(binary: &str, name: &str, item: &str, record: Option<&str>) -> Result<u64, String> {
    let one = |item: &str| -> Result<u64, String> {
        let few = collected(binary, name, item, ROUNDS.0, record)?;
        let many = collected(binary, name, item, ROUNDS.1, record)?;
        Ok(many.saturating_sub(few) / (ROUNDS.1 - ROUNDS.0))
    };
    Ok(one(item)?.saturating_sub(one("nothing")?))
}

fn collected(binary: &str, name: &str, item: &str, rounds: u64, record: Option<&str>) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=bench::measure::measured")
        .arg(room().join("target/release").join(binary))
        .args([name, item, &rounds.to_string()]);
    if let Some(record) = record {
        command.env("BENCH_RECORD", record);
    }
    let (_, said) = both(&mut command)?;
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    let count = count.and_then(|(_, count)| count.trim().parse().ok());
    count.ok_or_else(|| format!("callgrind said nothing of {name} {item}: {said}"))
}

/// (contestant, item) of a binary.
fn listed(binary: &str) -> Result<Vec<(String, String)>, String> {
    let list = output(Command::new(room().join("target/release").join(binary)).arg("list"))?;
    let pairs = words(&list).into_iter().filter_map(|line| match line.as_slice() {
        [name, item] if *item != "nothing" => Some(((*name).to_owned(), (*item).to_owned())),
        _ => None,
    });
    Ok(pairs.collect())
}

pub(crate) fn all() -> Result<Value, String> {
    let mut all = Map::new();
    for binary in ["ours", "peers"] {
        for (name, item) in listed(binary)? {
            say(&format!("instructions: {name}, {item}"));
            put(&mut all, &item, &name, json!(instructions(binary, &name, &item, None)?));
        }
    }
    Ok(Value::Object(all))
}

fn put(all: &mut Map<String, Value>, item: &str, name: &str, value: Value) {
    let row = all.entry(item).or_insert_with(|| json!({}));
    row[name] = value;
}

pub(crate) fn memory() -> Result<Value, String> {
    let mut all = Map::new();
    let mut held = Map::new();
    for binary in ["ours-weigh", "peers-weigh"] {
        say(&format!("memory: {binary}"));
        let out = output(&mut Command::new(room().join("target/release").join(binary)))?;
        for line in words(&out) {
            match line.as_slice() {
                ["held", name, bytes] => {
                    held.insert((*name).to_owned(), json!(number(bytes)?));
                }
                [name, item, allocations, bytes, stack] => {
                    let weight = json!({
                        "allocations": number(allocations)?,
                        "bytes": number(bytes)?,
                        "stack": number(stack)?,
                    });
                    put(&mut all, item, name, weight);
                }
                _ => return Err(format!("{binary} said {line:?}")),
            }
        }
    }
    Ok(json!({ "items": all, "held": held }))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

/// A session as it ages, and a vault as it grows.
pub(crate) fn flat() -> Result<Value, String> {
    const REFRESHES: &str = "1000000";
    say("a million refreshes of one session");
    let record = room().join("target/aged-record.json");
    let record = record.to_string_lossy();
    let ours = room().join("target/release/ours");
    let aged = output(Command::new(ours).args(["age", REFRESHES, &record]))?;
    let mut all = Map::new();
    for (item, name) in [("refresh", "young-instructions"), ("record-write", "young-record-instructions")] {
        all.insert(name.into(), json!(instructions("ours", "evergrant", item, None)?));
    }
    for (item, name) in [("refresh", "aged-instructions"), ("record-write", "aged-record-instructions")] {
        all.insert(name.into(), json!(instructions("ours", "evergrant", item, Some(&record))?));
    }
    put_lines(&mut all, &aged)?;
    say("a vault that grows to a million grants: some minutes");
    let folder = Folder::new()?;
    grown(&mut all, &folder.0.join("vault.db"))?;
    Ok(Value::Object(all))
}

fn grown(all: &mut Map<String, Value>, file: &Path) -> Result<(), String> {
    let growth = |arguments: &[&str]| {
        let program = room().join("target/release/bench-growth");
        let file = file.to_string_lossy();
        let [verb, rest @ ..] = arguments else { return Err("a verb is missing".into()) };
        output(Command::new(program).arg(verb).arg(&*file).args(rest))
    };
    let mut made = 0;
    for size in VAULTS {
        put_lines(all, &growth(&["fill", &made.to_string(), &size.to_string()])?)?;
        put_lines(all, &growth(&["ask", &size.to_string(), "200"])?)?;
        let count = |rounds: u64| asked(file, size, rounds);
        let instructions = count(ROUNDS.1)?.saturating_sub(count(ROUNDS.0)?) / (ROUNDS.1 - ROUNDS.0);
        all.insert(format!("vault-{size}-instructions"), json!(instructions));
        made = size;
    }
    Ok(())
}

/// Instructions of so many claims and commits.
fn asked(file: &Path, size: u64, rounds: u64) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=bench_growth::round"])
        .arg(room().join("target/release/bench-growth"))
        .arg("ask")
        .arg(file)
        .args([size.to_string(), rounds.to_string()]);
    let (_, said) = both(&mut command)?;
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    let count = count.and_then(|(_, count)| count.trim().parse().ok());
    count.ok_or_else(|| format!("callgrind said nothing of a vault of {size}: {said}"))
}

fn put_lines(all: &mut Map<String, Value>, lines: &str) -> Result<(), String> {
    for line in words(lines) {
        if let [name, value] = line.as_slice() {
            all.insert((*name).to_owned(), json!(number(value)?));
        }
    }
    Ok(())
}

/// A folder that goes when it is done with. In memory where there is such a place: what a disk takes to be sure drowns
/// what grows with the vault.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        let memory = PathBuf::from("/dev/shm");
        let home = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = home.join(format!("evergrant-growth-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is left in memory, and goes with it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a grant costs in the keeper beside its token, as the keeper's own test measures it.
pub(crate) fn keeper() -> Result<Value, String> {
    say("a grant in the keeper");
    let project = room().join("../../Cargo.toml");
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--quiet", "--manifest-path"]).arg(project);
    let said = output(command.args(["-p", "evergrant-keeper", "--test", "held", "--", "--nocapture"]))?;
    let bytes =
        said.lines().find_map(|line| line.split_once(" is held in ")?.1.split(' ').next()?.parse().ok());
    let bytes: f64 = bytes.ok_or_else(|| format!("the keeper's test said nothing: {said}"))?;
    Ok(json!({ "beside-its-token": bytes }))
}

/// By Criterion, in nanoseconds.
pub(crate) fn time() -> Result<Value, String> {
    say("time: Criterion");
    cargo(&["bench", "--quiet", "-p", "bench-peers", "--bench", "time", "--", "--noplot", "--quick"])?;
    let mut all = Map::new();
    for binary in ["ours", "peers"] {
        for (name, item) in listed(binary)? {
            let text = read(&format!("target/criterion/{name}/{item}/new/estimates.json"))?;
            let estimates: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let median = estimates["median"]["point_estimate"].as_f64().unwrap_or_default();
            put(&mut all, &item, &name, json!(median.round() as u64));
        }
    }
    Ok(Value::Object(all))
}

/// Core's items alone, as they are now.
fn ours() -> Result<Vec<(String, u64)>, String> {
    cargo(&["build", "--quiet", "--release", "-p", "bench", "--bin", "ours"])?;
    let items = listed("ours")?.into_iter().filter(|(name, _)| name == "evergrant");
    items.map(|(name, item)| Ok((item.clone(), instructions("ours", &name, &item, None)?))).collect()
}

pub(crate) fn record() -> Result<(), String> {
    let mut text = String::from(
        "# Instructions of core's items. `cargo xtask bench --check` fails where one is more than 5 % above its figure;\n\
         # `cargo xtask bench --record` writes them anew. Say in the commit why one had to grow.\n",
    );
    for (item, count) in ours()? {
        let _ = writeln!(text, "{item} {count}");
    }
    print!("{text}");
    write("recorded.txt", &text)
}

pub(crate) fn check() -> Result<(), String> {
    let recorded = read("recorded.txt")?;
    let recorded = words(&recorded);
    let (mut passed, mut failed) = (0, Vec::new());
    for (item, count) in ours()? {
        let before = recorded.iter().find_map(|line| match line.as_slice() {
            [name, count] if *name == item => count.parse::<u64>().ok(),
            _ => None,
        });
        let Some(before) = before else {
            failed.push(format!("{item}: {count} instructions, and no recorded figure"));
            continue;
        };
        println!("{item:<18} {count:>8} (recorded: {before})");
        if count * 100 > before * MOST_PERCENT {
            failed.push(format!("{item}: {count} instructions, recorded: {before}"));
        } else {
            passed += 1;
        }
    }
    println!("{passed} passed, {} failed", failed.len());
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}
