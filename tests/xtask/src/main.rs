//! The project's own commands. `cargo xtask` lists them.
//!
//! Whatever a suite needs that is not there, it installs, says so, and fails where it cannot: nothing is skipped in silence.

mod bench;
mod device;
mod fleet;
mod fuzz;
mod install;
mod mutants;
mod shell;
mod suites;

use std::process::ExitCode;

use suites::{SUITES, Suite};

const USAGE: &str = "\
Usage: cargo xtask <command>

  test [SUITE…]   every suite, or those named; installs what a suite needs
  check           formatting, clippy, docs: what .ci/run looks at beside the tests
  suites          the suites, a line each
  size [record]   what it costs on a Cortex-M3, held against tests/firmware/figures.txt, or recorded there
  bench           core beside its peers: the table, results.json and the guide's page
  bench --part P… some of it again: instructions, memory, flat, scripts, time, programs
  bench --check   core's instruction counts against tests/bench/recorded.txt
  bench --record  those counts, written anew
  fuzz [--seconds N] [TARGET…]  every fuzz target, or those named, ten minutes each; the guide's table
  chaos [ARGUMENT…]       a million refreshes under harm on each store, beside other clients (tests/chaos/RESULTS.md)
  rates                   what a keeper does in a second, beside the bare databases (adapters/keeper/OPERATING.md)
  simulation [ARGUMENT…]  a million grants over ten years, with an outage of six hours and without (the same page)
  mutants [--again] [--jobs N] [FILE…]  every small change to core's code, or to those files, is seen by a test, or explained

Commands of their own, each with its figures in the guide (core/src/guide/rules.md, model.md):
  cargo test -p faq                            every rule, and the gate that finds one without a test
  cargo run -p faq --bin breaks                every rule broken on purpose, and caught by its own test
  cargo test -p model                          a slice of each search; the fuzzers' corpora on stable
  cargo run --release -p model -- --deep       the searches whole
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["test"] => run(&SUITES.iter().collect::<Vec<_>>()),
        ["test", names @ ..] => named(names).and_then(|suites| run(&suites)),
        ["check"] => check(),
        ["size"] => device::size(false),
        ["size", "record"] => device::size(true),
        ["bench"] => bench::all(),
        ["bench", "--part", parts @ ..] if !parts.is_empty() => bench::parts(parts),
        ["bench", "--check"] => bench::counts("check"),
        ["bench", "--record"] => bench::counts("record"),
        ["fuzz", arguments @ ..] => fuzz::fuzz(arguments),
        ["chaos", arguments @ ..] => fleet::chaos(arguments),
        ["rates"] => fleet::rates(),
        ["simulation", arguments @ ..] => fleet::simulation(arguments),
        ["mutants", arguments @ ..] => mutants::mutants(arguments),
        ["suites"] => {
            SUITES.iter().for_each(|suite| println!("{:<12} {}", suite.name, suite.about));
            Ok(())
        }
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            shell::say(&why);
            ExitCode::FAILURE
        }
    }
}

fn named(names: &[&str]) -> Result<Vec<&'static Suite>, String> {
    names
        .iter()
        .map(|name| {
            let found = SUITES.iter().find(|suite| suite.name == *name);
            found.ok_or_else(|| format!("there is no suite {name}; `cargo xtask suites` lists them"))
        })
        .collect()
}

/// All of them, even after one has failed, so that one run tells all there is.
fn run(suites: &[&Suite]) -> Result<(), String> {
    let mut failed = Vec::new();
    for suite in suites {
        let clock = std::time::Instant::now();
        shell::say(&format!("── {}: {}", suite.name, suite.about));
        match (suite.run)() {
            Ok(()) => shell::say(&format!("── {} passed ({} s)", suite.name, clock.elapsed().as_secs())),
            Err(why) => {
                shell::say(&format!("── {} FAILED: {why}", suite.name));
                failed.push(suite.name);
            }
        }
    }
    println!("{} passed, {} failed", suites.len() - failed.len(), failed.len());
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// The workspace, and what is built by other compilers or for other machines.
const MANIFESTS: [&str; 6] = [
    "Cargo.toml",
    "fuzz/Cargo.toml",
    "tests/bench/Cargo.toml",
    "tests/firmware/Cargo.toml",
    "tests/firmware/examples/Cargo.toml",
    "tests/firmware/proof/Cargo.toml",
];

fn check() -> Result<(), String> {
    for manifest in MANIFESTS {
        shell::cargo(&["fmt", "--manifest-path", manifest, "--all", "--check"])?;
    }
    shell::cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ])?;
    shell::cargo_with(
        &["doc", "--workspace", "--all-features", "--no-deps", "--quiet"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )
}
