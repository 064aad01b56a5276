//! Other programs, and files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// A line for whoever watches.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    // Nobody is there to be told where this fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The room.
pub(crate) fn room() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

pub(crate) fn read(name: &str) -> Result<String, String> {
    std::fs::read_to_string(room().join(name)).map_err(|error| format!("{name}: {error}"))
}

pub(crate) fn write(name: &str, text: &str) -> Result<(), String> {
    std::fs::write(room().join(name), text).map_err(|error| format!("{name}: {error}"))
}

pub(crate) fn cargo(arguments: &[&str]) -> Result<String, String> {
    output(Command::new(env!("CARGO")).args(arguments))
}

/// What a program prints, which must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    both(command).map(|(out, _)| out)
}

/// What a program prints on either way out, which must succeed.
pub(crate) fn both(command: &mut Command) -> Result<(String, String), String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    let done = command.current_dir(room()).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{line}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() {
        Ok((text(&done.stdout), text(&done.stderr)))
    } else {
        Err(format!("{line}: {}\n{}{}", done.status, text(&done.stdout), text(&done.stderr)))
    }
}

/// Lines of words.
pub(crate) fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// What the figures hold for.
pub(crate) fn machine() -> Result<Value, String> {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let versions: Vec<String> = read("Cargo.lock")?
        .split("[[package]]")
        .filter_map(|package| {
            let member = |name: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(name))?;
                Some(line.trim_start_matches(" = ").trim_matches('"').to_owned())
            };
            let name = member("name")?;
            let known = ["oauth2", "openidconnect", "huskarl", "url", "serde_json", "base64", "memchr"];
            known
                .contains(&name.as_str())
                .then(|| format!("{name} {}", member("version").unwrap_or_default()))
        })
        .collect();
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    Ok(json!({
        "date": first_line(output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?),
        "processor": model.map_or("unknown", |(_, model)| model),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "system": first_line(output(Command::new("uname").args(["-srm"]))?),
        "rustc": first_line(output(Command::new("rustc").arg("--version"))?),
        "valgrind": first_line(output(Command::new("valgrind").arg("--version"))?),
        "versions": versions,
    }))
}
