//! The least program that connects and refreshes, of each contestant: its text, its tree, its build.

use std::process::Command;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::run::{cargo, output, room, say, words};

const PROGRAMS: [&str; 7] = ["empty", "floor", "ours", "oauth2", "openidconnect", "huskarl", "glue"];

pub(crate) fn all() -> Result<Value, String> {
    let mut all = Map::new();
    for name in PROGRAMS {
        say(&format!("program: {name}"));
        let package = format!("small-{name}");
        let milliseconds = built_from_nothing(&package)?;
        cargo(&["build", "--quiet", "--profile", "small", "-p", &package])?;
        let program =
            json!({ "text": text(&package)?, "crates": crates(&package)?, "build-ms": milliseconds });
        all.insert(if name == "ours" { "evergrant".into() } else { name.into() }, program);
    }
    Ok(Value::Object(all))
}

fn text(package: &str) -> Result<u64, String> {
    let out = output(Command::new("size").arg(room().join("target/small").join(package)))?;
    let number = words(&out).get(1).and_then(|line| line.first()?.parse().ok());
    number.ok_or_else(|| format!("size said {out}"))
}

/// Crates that the program stands on, those that only build it among them; itself not.
fn crates(package: &str) -> Result<usize, String> {
    let tree = cargo(&[
        "tree",
        "-p",
        package,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--no-dedupe",
        "--quiet",
    ])?;
    let mut crates: Vec<String> = words(&tree)
        .into_iter()
        .filter(|line| line.len() > 1)
        .map(|line| line[..2].join(" "))
        .filter(|line| !line.starts_with("small-"))
        .collect();
    crates.sort();
    crates.dedup();
    Ok(crates.len())
}

/// Milliseconds of `cargo build --release` with nothing built before but everything fetched.
fn built_from_nothing(package: &str) -> Result<u64, String> {
    cargo(&["fetch", "--quiet"])?;
    let target = room().join("target/from-nothing");
    let start = Instant::now();
    let arguments = ["build", "--quiet", "--profile", "plain", "-p", package, "--target-dir"];
    cargo(&[&arguments[..], &[&*target.to_string_lossy()]].concat())?;
    let taken = start.elapsed();
    std::fs::remove_dir_all(&target).map_err(|error| error.to_string())?;
    u64::try_from(taken.as_millis()).map_err(|error| error.to_string())
}
