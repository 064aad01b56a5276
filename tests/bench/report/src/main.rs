//! Runs the measurements of this room and writes what they found: `cargo xtask bench` from the top.
//!
//! `check` counts the instructions of core's items alone and holds them to `recorded.txt`; `record` writes that file anew;
//! `all` measures everything, prints the table, and writes `results.json` and the guide's page; `part` does so again for the
//! parts that are named.

mod counts;
mod page;
mod programs;
mod run;
mod scripts;

use std::process::ExitCode;

use serde_json::Value;

use run::say;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["check"] => counts::check(),
        ["record"] => counts::record(),
        ["all"] => all(),
        ["part", names @ ..] => parts(names),
        _ => Err("check | record | all | part NAME…".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

/// What is measured, in the order of the table.
const PARTS: [&str; 7] = ["instructions", "memory", "keeper", "flat", "scripts", "time", "programs"];

/// Everything, in one run.
fn all() -> Result<(), String> {
    run::write("results.json", "{}\n")?;
    parts(&PARTS)
}

/// Some of it, put in the place of what an earlier run found.
fn parts(names: &[&str]) -> Result<(), String> {
    let mut results: Value =
        serde_json::from_str(&run::read("results.json")?).map_err(|error| error.to_string())?;
    results["machine"] = run::machine()?;
    run::cargo(&["build", "--quiet", "--release", "-p", "bench", "-p", "bench-peers", "-p", "bench-growth"])?;
    for name in names {
        results[*name] = match *name {
            "instructions" => counts::all()?,
            "memory" => counts::memory()?,
            "flat" => counts::flat()?,
            "keeper" => counts::keeper()?,
            "scripts" => scripts::all()?,
            "time" => counts::time()?,
            "programs" => programs::all()?,
            _ => return Err(format!("there is no part {name}: {}", PARTS.join(", "))),
        };
        // What is known is kept, should a later part fail.
        let text = serde_json::to_string_pretty(&results).map_err(|error| error.to_string())?;
        run::write("results.json", &(text + "\n"))?;
    }
    page()
}

/// The table, from the results of the latest run.
fn page() -> Result<(), String> {
    let results = serde_json::from_str(&run::read("results.json")?).map_err(|error| error.to_string())?;
    let page = page::written(&results);
    run::write("../../core/src/guide/bench.md", &page)?;
    println!("{page}");
    Ok(())
}
