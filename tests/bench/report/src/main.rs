//! Runs the measurements of this room and writes what they found: `cargo xtask bench` from the top.
//!
//! `check` counts the instructions of core's items alone and holds them to `recorded.txt`; `record` writes that file anew;
//! `all` measures everything, prints the table, and writes `results.json` and the guide's page.

mod counts;
mod page;
mod programs;
mod run;
mod scripts;

use std::process::ExitCode;

use run::say;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["check"] => counts::check(),
        ["record"] => counts::record(),
        ["all"] => all(),
        ["page"] => page(),
        _ => Err("check | record | all | page".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

/// Everything, in one run.
fn all() -> Result<(), String> {
    let mut results = serde_json::Map::new();
    results.insert("machine".into(), run::machine()?);
    run::cargo(&["build", "--quiet", "--release", "-p", "bench", "-p", "bench-peers", "-p", "bench-growth"])?;
    results.insert("instructions".into(), counts::all()?);
    results.insert("memory".into(), counts::memory()?);
    results.insert("flat".into(), counts::flat()?);
    results.insert("scripts".into(), scripts::all()?);
    results.insert("time".into(), counts::time()?);
    results.insert("programs".into(), programs::all()?);
    let text = serde_json::to_string_pretty(&results).map_err(|error| error.to_string())?;
    run::write("results.json", &(text + "\n"))?;
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
