//! What a fleet is measured with: grants lost under harm, what a keeper does in a second, and ten years of a million grants.

use crate::install;
use crate::shell::cargo;

/// Under harm, on each store, beside the other clients: hours. What is said of it instead is handed on.
pub(crate) fn chaos(arguments: &[&str]) -> Result<(), String> {
    install::postgres()?;
    install::npm("tests/chaos/node")?;
    if !arguments.is_empty() {
        return harm(arguments);
    }
    ["sqlite", "postgres"].into_iter().try_for_each(|store| {
        let million = ["--refreshes", "1000000", "--baseline-refreshes", "25000"];
        harm(&[&["--store", store, "--client", "all"], million.as_slice()].concat())
    })
}

fn harm(arguments: &[&str]) -> Result<(), String> {
    cargo(&[&["run", "--release", "--quiet", "-p", "chaos", "--"], arguments].concat())
}

/// Tokens from memory and refreshes on both stores, beside the bare databases: two minutes, on a machine that does nothing else.
pub(crate) fn rates() -> Result<(), String> {
    install::postgres()?;
    cargo(&[
        "run",
        "--release",
        "--quiet",
        "-p",
        "evergrant-keeper",
        "--features",
        "postgres",
        "--example",
        "rates",
    ])
}

/// A million grants over ten years, without an outage and with one of six hours.
pub(crate) fn simulation(arguments: &[&str]) -> Result<(), String> {
    let simulate = |arguments: &[&str]| {
        let program =
            ["run", "--release", "--quiet", "-p", "evergrant-keeper", "--example", "simulation", "--"];
        cargo(&[program.as_slice(), arguments].concat())
    };
    if !arguments.is_empty() {
        return simulate(arguments);
    }
    let plan = ["--grants", "1000000", "--years", "10"];
    simulate(&plan)?;
    simulate(&[plan.as_slice(), &["--outage-hours", "6"]].concat())
}
