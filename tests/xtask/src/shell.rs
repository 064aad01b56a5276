//! Running other programs, and saying what is done.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A line for whoever watches.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    // Nobody is there to be told where this fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The top of the checkout.
pub(crate) fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

pub(crate) fn cargo(arguments: &[&str]) -> Result<(), String> {
    cargo_with(arguments, &[])
}

pub(crate) fn cargo_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).envs(variables.iter().copied()).current_dir(top());
    run(&mut command)
}

/// Runs a command to its end; its output goes where ours does.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let line = line_of(command);
    say(&format!("$ {line}"));
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("{line}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}")) }
}

/// Whether a command runs and succeeds, its output aside.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
