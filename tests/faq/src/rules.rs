//! The list of rules, where each is cited, where it is tested, and how its test is known to work.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What the first letters of an ID can be.
const PREFIXES: [&str; 10] = ["APP", "RED", "DUR", "STA", "SCO", "CSR", "USE", "EXC", "REF", "REV"];

/// The project's folder.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// A rule of the list.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its ID.
    pub id: String,
    /// What it asks.
    pub text: String,
}

/// The list.
///
/// # Panics
/// It cannot be read.
#[must_use]
pub fn list() -> Vec<Rule> {
    let text = read(&root().join("tests/faq/rules.md"));
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    let rows = text
        .lines()
        .map(cells)
        .filter(|row| row.len() == 4 && row[1].contains('-') && !row[1].starts_with('-'));
    rows.map(|row| Rule { id: row[1].clone(), text: row[2].clone() }).collect()
}

/// The name of a rule's test module.
#[must_use]
pub fn module(id: &str) -> String {
    id.to_lowercase().replace('-', "_")
}

/// The test modules that exist: module to file.
///
/// # Panics
/// The tests cannot be read.
#[must_use]
pub fn modules() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in files(&root().join("tests/faq/tests")) {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        for line in read(&file).lines() {
            let Some(module) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) else {
                continue;
            };
            let rule =
                PREFIXES.iter().any(|prefix| module.starts_with(&format!("{}_", prefix.to_lowercase())));
            if rule {
                let before = found.insert(module.to_owned(), name.clone());
                assert!(before.is_none(), "module {module} is there twice");
            }
        }
    }
    found
}

/// Where the shipped code cites each rule: ID to files, without their tests.
///
/// # Panics
/// The code cannot be read.
#[must_use]
pub fn citations() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut sources = files(&root().join("core/src"));
    for adapter in folders(&root().join("adapters")) {
        sources.extend(files(&adapter.join("src")));
    }
    for file in sources {
        let text = read(&file);
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        let name = file.strip_prefix(root()).unwrap_or(&file).to_string_lossy().into_owned();
        for id in ids(shipped) {
            let places = found.entry(id).or_default();
            if !places.contains(&name) {
                places.push(name.clone());
            }
        }
    }
    found
}

/// All IDs that stand in a text.
#[must_use]
pub fn ids(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in text.split(|char: char| !char.is_ascii_alphanumeric() && char != '-') {
        let Some((prefix, number)) = word.split_once('-') else { continue };
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        if PREFIXES.contains(&prefix) && !digits.is_empty() {
            found.push(format!("{prefix}-{digits}"));
        }
    }
    found
}

/// A deliberate break: one small change to the code that breaks one rule.
#[derive(Clone, Debug)]
pub struct Break {
    /// The rule.
    pub id: String,
    /// What the change does.
    pub what: String,
    /// The changes: file, what is found there exactly once, and what takes its place.
    pub edits: Vec<(String, String, String)>,
}

/// The break of a rule, where there is one.
///
/// # Panics
/// Its file is malformed.
#[must_use]
pub fn break_of(id: &str) -> Option<Break> {
    let path = root().join(format!("tests/faq/breaks/{id}.txt"));
    let text = fs::read_to_string(&path).ok()?;
    let mut parts = text.split("\n=== ");
    let what = parts.next().unwrap_or_default().trim().to_owned();
    let edits = parts.map(|part| {
        let (file, rest) = part.split_once('\n').unwrap_or((part, ""));
        let (find, replace) =
            rest.split_once("\n--- becomes\n").unwrap_or_else(|| panic!("{id}: no `--- becomes`"));
        (file.trim().to_owned(), find.to_owned(), replace.trim_end_matches('\n').to_owned())
    });
    Some(Break { id: id.to_owned(), what, edits: edits.collect() })
}

/// The table of rules for the guide.
#[must_use]
pub fn table() -> String {
    let (modules, citations) = (modules(), citations());
    let mut out = String::from(
        "# The rules\n\nEach rule of Intuit's OAuth 2.0 FAQ: where the code obeys it, the module that tests it, and the \
         small change to the code that\nthis module is known to catch. Made by the gate in `tests/faq`, which fails where \
         a rule lacks one of them.\n\n| Rule | What it asks | Obeyed in | Tested in | Its test catches |\n| --- | --- | \
         --- | --- | --- |\n",
    );
    for Rule { id, text } in list() {
        let module = module(&id);
        let tested = modules.get(&module).map_or_else(String::new, |file| format!("`{file}`, `{module}`"));
        let places: Vec<String> =
            citations.get(&id).into_iter().flatten().map(|file| format!("`{file}`")).collect();
        let what = break_of(&id).map_or_else(String::new, |broken| broken.what.replace('\n', " "));
        // Writing into a string cannot fail.
        let _ = writeln!(out, "| {id} | {text} | {} | {tested} | {what} |", places.join(" "));
    }
    out
}

/// Compares a committed file with what it must be, or writes it where `UPDATE_TABLES` is set.
///
/// # Errors
/// They differ.
pub fn committed(path: &str, text: &str) -> Result<(), String> {
    let file = root().join(path);
    if std::env::var_os("UPDATE_TABLES").is_some() {
        return fs::write(&file, text).map_err(|error| error.to_string());
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    if there == text {
        return Ok(());
    }
    let differs = there.lines().zip(text.lines()).find(|(one, other)| one != other);
    Err(format!(
        "{path} is not what it must be; run with UPDATE_TABLES=1 and look at the change: {differs:?}"
    ))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folders(path: &Path) -> Vec<PathBuf> {
    entries(path).into_iter().filter(|path| path.is_dir()).collect()
}

/// All Rust files below a folder, in order.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in entries(path) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let Ok(read) = fs::read_dir(path) else { return Vec::new() };
    let mut found: Vec<PathBuf> = read.filter_map(Result::ok).map(|entry| entry.path()).collect();
    found.sort();
    found
}
