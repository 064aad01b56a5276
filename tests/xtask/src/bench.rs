//! The benchmark: a workspace of its own under `tests/bench`, so that the peers stay out of ours.

use std::process::Command;

use crate::install;
use crate::shell::{run, top};

/// Everything, which takes twenty minutes.
pub(crate) fn all() -> Result<(), String> {
    measure(&["all"])
}

/// Some of it again, beside what the last run found of the rest.
pub(crate) fn parts(names: &[&str]) -> Result<(), String> {
    measure(&[&["part"], names].concat())
}

fn measure(verb: &[&str]) -> Result<(), String> {
    install::debian("valgrind", &["valgrind"])?;
    install::debian("size", &["binutils"])?;
    install::npm("tests/bench/node")?;
    let python = install::python("tests/bench/python")?;
    report(verb, &[("BENCH_PYTHON", &python.to_string_lossy())])
}

/// Core alone: `check` or `record`.
pub(crate) fn counts(verb: &str) -> Result<(), String> {
    install::debian("valgrind", &["valgrind"])?;
    report(&[verb], &[])
}

fn report(verb: &[&str], variables: &[(&str, &str)]) -> Result<(), String> {
    run(Command::new(env!("CARGO"))
        .args(["run", "--quiet", "-p", "bench-report", "--"])
        .args(verb)
        .envs(variables.iter().copied())
        .current_dir(top().join("tests/bench")))
}
