//! Proves that each rule's tests would fail without the rule: copies the workspace, breaks one rule in the copy, runs that
//! rule's test module, and demands that it fails; unbroken it must pass. What does not compile proves nothing.
//!
//! `cargo run -p faq --bin breaks` runs all; `-- --only DUR-4,REF-2` some; `-- --slice 7` every seventh.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Instant;

use faq::rules::{Break, break_of, list, module, modules, root};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chosen = match chosen(&arguments) {
        Ok(chosen) => chosen,
        Err(wrong) => {
            println!("{wrong}");
            return ExitCode::from(2);
        }
    };
    match prove(&chosen) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(wrong) => {
            println!("{wrong}");
            ExitCode::FAILURE
        }
    }
}

fn chosen(arguments: &[String]) -> Result<Vec<String>, String> {
    let all: Vec<String> = list().into_iter().map(|rule| rule.id).collect();
    match arguments {
        [] => Ok(all),
        [flag, ids] if flag == "--only" => {
            let ids: BTreeSet<&str> = ids.split(',').collect();
            match ids.iter().find(|id| !all.iter().any(|known| known == *id)) {
                Some(unknown) => Err(format!("there is no rule {unknown}")),
                None => Ok(all.into_iter().filter(|id| ids.contains(id.as_str())).collect()),
            }
        }
        [flag, step] if flag == "--slice" => match step.parse::<usize>() {
            Ok(step) if step > 0 => Ok(all.into_iter().step_by(step).collect()),
            _ => Err(format!("--slice takes a number, not {step}")),
        },
        _ => Err("breaks [--only ID,ID | --slice N]".into()),
    }
}

/// Says how many breaks were not caught.
fn prove(ids: &[String]) -> Result<usize, String> {
    let scratch = root().join("target/breaks");
    let copy = Copy { tree: scratch.join("tree"), build: scratch.join("build") };
    copy.make()?;
    let modules = modules();
    println!("| Rule | Unbroken | Broken | Seconds | What was broken |\n| --- | --- | --- | --- | --- |");
    let mut missed = 0;
    let mut compiled = BTreeSet::new();
    for id in ids {
        let name = module(id);
        let file = modules.get(&name).ok_or(format!("{id} has no tests"))?.trim_end_matches(".rs");
        let broken = break_of(id).ok_or(format!("{id} has no break"))?;
        if compiled.insert(file.to_owned()) {
            copy.compile(file)?;
        }
        let began = Instant::now();
        let whole = copy.test(file, &name, &[])?;
        let caught = copy.test(file, &name, &broken.edits)?;
        let good = whole == Verdict::Passed && caught == Verdict::Failed;
        missed += usize::from(!good);
        println!(
            "| {id} | {whole:?} | {caught:?}{} | {:.1} | {} |",
            if good { "" } else { " (!)" },
            began.elapsed().as_secs_f32(),
            first_line(&broken)
        );
    }
    println!("\n{} of {} breaks are caught by their rule's own tests.", ids.len() - missed, ids.len());
    Ok(missed)
}

fn first_line(broken: &Break) -> &str {
    broken.what.lines().next().unwrap_or_default()
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    DoesNotCompile,
    NothingRan,
}

/// A copy of the workspace, and the one build folder for all that is done to it.
struct Copy {
    tree: PathBuf,
    build: PathBuf,
}

impl Copy {
    /// Brings the copy up to date, leaving alone what is the same, so that little is built anew.
    fn make(&self) -> Result<(), String> {
        fs::create_dir_all(&self.tree).map_err(|error| format!("{}: {error}", self.tree.display()))?;
        for name in ["Cargo.toml", "Cargo.lock", "core", "adapters", "tests"] {
            copy(&root().join(name), &self.tree.join(name))?;
        }
        Ok(())
    }

    fn compile(&self, file: &str) -> Result<(), String> {
        let output = self.cargo(&["test", "--offline", "-p", "faq", "--test", file, "--no-run"])?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Runs a module with some edits made, and takes them back.
    fn test(&self, file: &str, module: &str, edits: &[(String, String, String)]) -> Result<Verdict, String> {
        let mut originals: Vec<(PathBuf, String)> = Vec::new();
        for (path, find, replace) in edits {
            let path = self.tree.join(path);
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            if text.matches(find.as_str()).count() != 1 {
                return Err(format!("{module}: not found exactly once in {}: {find}", path.display()));
            }
            write(&path, &text.replace(find.as_str(), replace))?;
            originals.push((path, text));
        }
        let verdict = self.verdict(file, module);
        for (path, text) in originals.into_iter().rev() {
            write(&path, &text)?;
        }
        verdict
    }

    fn verdict(&self, file: &str, module: &str) -> Result<Verdict, String> {
        if self.compile(file).is_err() {
            return Ok(Verdict::DoesNotCompile);
        }
        let filter = format!("{module}::");
        let output = self.cargo(&["test", "--offline", "-p", "faq", "--test", file, &filter])?;
        let said = String::from_utf8_lossy(&output.stdout);
        Ok(if said.contains("test result: FAILED") {
            Verdict::Failed
        } else if !output.status.success() || said.contains("running 0 tests") {
            Verdict::NothingRan
        } else {
            Verdict::Passed
        })
    }

    fn cargo(&self, arguments: &[&str]) -> Result<Output, String> {
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(arguments)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.build)
            // A failure is all that is wanted, not the smallest one.
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
            .env("RUST_BACKTRACE", "0")
            // A break may leave something unused.
            .env("CARGO_ENCODED_RUSTFLAGS", "-Awarnings")
            .output()
            .map_err(|error| error.to_string())
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Copies what differs; what a build or a package manager has made is left out.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", from.display());
    if from.is_dir() {
        let name = from.file_name().unwrap_or_default();
        if name == "target" || name == "node_modules" || name == ".venv" {
            return Ok(());
        }
        fs::create_dir_all(to).map_err(wrong)?;
        for entry in fs::read_dir(from).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            copy(&path, &to.join(path.file_name().unwrap_or_default()))?;
        }
        return Ok(());
    }
    let bytes = fs::read(from).map_err(wrong)?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::write(to, bytes).map_err(wrong)
}
