//! cargo-mutants on core: each small change to its code is made in a copy, and some test must see it. What no test sees
//! is explained in the guide, or the command fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::install;
use crate::shell::{say, top};

/// Tests that a mutant is held against. One that a round has caught is not made again in the next.
struct Round {
    packages: &'static str,
    /// Targets of `cargo test` in those packages.
    targets: Vec<String>,
    /// Tests that are left to a later round.
    skipped: &'static [&'static str],
    profile: &'static str,
    /// How many cases and lives, where it is not as many as the tests ask for themselves.
    variables: &'static [(&'static str, &'static str)],
}

/// So few that a test takes less time than what is built for it.
const FEW: &[(&str, &str)] = &[("PROPTEST_CASES", "12"), ("FAQ_LIVES", "60")];

/// For each file of core the tests that are nearest to it, built without optimisation: they catch most.
fn nearest(file: &str) -> Round {
    let (packages, targets) = match file {
        "answer" | "api" | "callback" => ("evergrant,model", "--lib --test=shown --test=corpus --test=life"),
        "record" => ("evergrant,model", "--lib --test=shown --test=corpus --test=life --test=found"),
        "base64" | "write" => ("evergrant", "--lib --test=life"),
        "consent" => ("evergrant,faq", "--lib --test=shown --test=life --test=csrf --test=redirect"),
        "diagnosis" => ("evergrant,faq", "--test=shown --test=exchange --test=refresh"),
        "app" => ("evergrant,faq", "--test=life --test=app --test=redirect --test=scopes"),
        "request" => ("evergrant,faq", "--lib --test=shown --test=life --test=use"),
        "secret" | "error" => ("evergrant,faq", "--lib --test=shown --test=life --test=secrets"),
        _ => (
            "evergrant,faq",
            "--lib --test=shown --test=edges --test=life --test=found --test=transitions --test=lives",
        ),
    };
    let targets = targets.split(' ').map(str::to_owned).collect();
    Round { packages, targets, skipped: &["random_bytes"], profile: "mutants", variables: FEW }
}

/// Every test of core and of the rules, and the fuzzers' corpora: first without the few that take most of the time, then
/// whole, with the searches. The gate stands aside: it looks at the text of the code, and would see every change to it.
fn further() -> Result<[Round; 2], String> {
    let folder = top().join("tests/faq/tests");
    let files = fs::read_dir(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let names = files.flatten().filter_map(|file| stem(&file.path())).filter(|name| name != "gate");
    let mut targets: Vec<String> = names.map(|name| format!("--test={name}")).collect();
    targets.sort();
    targets.extend(
        ["--lib", "--test=shown", "--test=edges", "--test=life", "--test=found", "--test=corpus"]
            .map(str::to_owned),
    );
    let whole = [targets.clone(), vec!["--test=kernel".to_owned()]].concat();
    let packages = "evergrant,faq,model";
    Ok([
        Round { packages, targets, skipped: &LONG, profile: "mutants", variables: FEW },
        Round { packages, targets: whole, skipped: &[], profile: "dev", variables: &[] },
    ])
}

const LONG: [&str; 4] =
    ["random_bytes", "years_of_", "reach_all_that_can_come_of_a_record", "no_grant_is_lost"];

/// `[--again] [--jobs N] [FILE…]`: all of core where no file is named. `--again` goes on where an earlier run has ended.
pub(crate) fn mutants(arguments: &[&str]) -> Result<(), String> {
    let (again, rest) = match arguments {
        ["--again", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (jobs, wanted) = match rest {
        ["--jobs", number, wanted @ ..] => {
            let refused = || format!("--jobs takes a whole number above 0, not {number}");
            (number.parse::<usize>().ok().filter(|jobs| *jobs > 0).ok_or_else(refused)?, wanted)
        }
        wanted => (1, wanted),
    };
    let files = chosen(files()?, wanted)?;
    install::mutants()?;
    if !again {
        files.iter().try_for_each(|file| forget(&Results::of(file)))?;
    }
    let queue = Mutex::new(files.clone());
    let work = |worker: usize| -> Result<(), String> {
        let tree = Tree::make(worker)?;
        while let Some(file) = queue.lock().ok().and_then(|mut files| files.pop()) {
            tree.hold(&file)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=jobs).map(|worker| scope.spawn(move || work(worker))).collect();
        let died = |_| Err("a worker ended before its work was done".to_owned());
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(died))
    })?;
    report(&files)
}

fn home() -> PathBuf {
    top().join("target/mutants")
}

/// The files of core that hold code, the longest last.
fn files() -> Result<Vec<String>, String> {
    let folder = top().join("core/src");
    let files = fs::read_dir(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let mut sized: Vec<(u64, String)> = files
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|end| end == "rs"))
        .filter_map(|file| Some((file.metadata().ok()?.len(), stem(&file.path())?)))
        .filter(|(_, name)| !matches!(name.as_str(), "lib" | "guide"))
        .collect();
    sized.sort();
    Ok(sized.into_iter().map(|(_, name)| name).collect())
}

fn stem(path: &Path) -> Option<String> {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
}

fn chosen(all: Vec<String>, wanted: &[&str]) -> Result<Vec<String>, String> {
    let named = |known: &str, wanted: &str| {
        wanted.strip_prefix("core/src/").unwrap_or(wanted).trim_end_matches(".rs") == known
    };
    match wanted.iter().find(|wanted| !all.iter().any(|known| named(known, wanted))) {
        Some(unknown) => Err(format!("core has no code in {unknown}; it has {}", all.join(", "))),
        None if wanted.is_empty() => Ok(all),
        None => {
            Ok(all.into_iter().filter(|known| wanted.iter().any(|wanted| named(known, wanted))).collect())
        }
    }
}

/// A copy of the workspace in which code may be changed, and its build folder.
struct Tree(PathBuf);

impl Tree {
    /// Brings a copy up to date: what git knows, as it stands here.
    fn make(worker: usize) -> Result<Self, String> {
        let tree = home().join(worker.to_string());
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(top()).output();
        let listed = listed.map_err(|why| format!("git ls-files: {why}"))?.stdout;
        for name in String::from_utf8_lossy(&listed).split_terminator('\0') {
            let (from, to) = (top().join(name), tree.join(name));
            let wrong = |why: std::io::Error| format!("{}: {why}", to.display());
            let bytes = fs::read(&from).map_err(|why| format!("{}: {why}", from.display()))?;
            // What is the same is left alone, so that little is built anew.
            if fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            fs::create_dir_all(to.parent().unwrap_or(&tree)).map_err(wrong)?;
            fs::write(&to, bytes).map_err(wrong)?;
        }
        Ok(Self(tree))
    }

    /// Holds the mutants of a file against one round of tests after the other.
    fn hold(&self, file: &str) -> Result<(), String> {
        let results = Results::of(file);
        results.gather()?;
        for round in [nearest(file)].into_iter().chain(further()?) {
            self.run(file, &round, &results)?;
            results.gather()?;
        }
        Ok(())
    }

    /// The tests are run unchanged first: they must pass, and their time says when a mutant hangs.
    fn run(&self, file: &str, round: &Round, results: &Results) -> Result<(), String> {
        let mut command = Command::new("cargo");
        command.args([
            "mutants",
            "--in-place",
            "--iterate",
            "--no-shuffle",
            "--colors=never",
            "--package=evergrant",
        ]);
        command.arg(format!("--file=core/src/{file}.rs")).arg("--output").arg(&results.0);
        command.args([
            "--test-package",
            round.packages,
            "--profile",
            round.profile,
            "--minimum-test-timeout=30",
        ]);
        command.args(round.targets.iter().map(|target| format!("--cargo-arg={target}")));
        // What hung before hangs again.
        command.args(
            results.list("timeout")?.iter().flat_map(|name| ["--exclude-re".to_owned(), exactly(name)]),
        );
        if !round.skipped.is_empty() {
            command.args(["--", "--"]).args(round.skipped.iter().flat_map(|name| ["--skip", name]));
        }
        // A failure is all that is wanted, not the smallest one.
        command.env("PROPTEST_MAX_SHRINK_ITERS", "0").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        command.envs(round.variables.iter().copied()).env("RUST_BACKTRACE", "0").current_dir(&self.0);
        say(&format!(
            "── {file}: {} in {}, profile {}",
            round.targets.join(" "),
            round.packages,
            round.profile
        ));
        let status = command.status().map_err(|why| format!("cargo mutants: {why}"))?;
        // Some survived, or some hung: neither is this round's to judge.
        match status.code() {
            Some(0 | 2 | 3) => Ok(()),
            _ => Err(format!(
                "{file}: cargo mutants: {status}: see {}",
                results.0.join("mutants.out").display()
            )),
        }
    }
}

/// A pattern that a mutant's name alone fits.
fn exactly(name: &str) -> String {
    let escaped = |letter: char| match letter {
        _ if letter.is_alphanumeric()
            || matches!(letter, ' ' | '_' | '/' | ':' | '<' | '>' | '=' | '\'' | ',') =>
        {
            letter.to_string()
        }
        _ => format!("\\{letter}"),
    };
    format!("^{}$", name.chars().map(escaped).collect::<String>())
}

/// What is known of a file's mutants: lists of names, over all rounds.
struct Results(PathBuf);

impl Results {
    fn of(file: &str) -> Self {
        Self(home().join("results").join(file))
    }

    /// Adds what the latest round has seen.
    fn gather(&self) -> Result<(), String> {
        fs::create_dir_all(&self.0).map_err(|why| format!("{}: {why}", self.0.display()))?;
        for kind in ["caught", "unviable", "timeout"] {
            let known: BTreeSet<String> = self.list(kind)?.into_iter().chain(self.latest(kind)?).collect();
            let path = self.0.join(kind);
            let text: String = known.iter().map(|name| format!("{name}\n")).collect();
            fs::write(&path, text).map_err(|why| format!("{}: {why}", path.display()))?;
        }
        Ok(())
    }

    fn list(&self, kind: &str) -> Result<Vec<String>, String> {
        lines(&self.0.join(kind))
    }

    fn latest(&self, kind: &str) -> Result<Vec<String>, String> {
        lines(&self.0.join("mutants.out").join(format!("{kind}.txt")))
    }
}

/// The lines of a file; none where there is no file.
fn lines(path: &Path) -> Result<Vec<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(why) => Err(format!("{}: {why}", path.display())),
    }
}

fn forget(results: &Results) -> Result<(), String> {
    match fs::remove_dir_all(&results.0) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {why}", results.0.display()))
        }
        _ => Ok(()),
    }
}

/// The guide's table, and the survivors that the guide does not explain.
fn report(files: &[String]) -> Result<(), String> {
    let guide = top().join("core/src/guide/mutants.md");
    let guide = fs::read_to_string(&guide).map_err(|why| format!("{}: {why}", guide.display()))?;
    println!(
        "| File | Mutants | Do not compile | Caught | Timed out | Survive |\n| --- | --- | --- | --- | --- | --- |"
    );
    let (mut total, mut unexplained) = ([0; 5], Vec::new());
    for file in files {
        let results = Results::of(file);
        let [caught, unviable, timeout] =
            ["caught", "unviable", "timeout"].map(|kind| results.list(kind).map(|names| names.len()));
        let missed = results.latest("missed")?;
        let (caught, unviable, timeout) = (caught?, unviable?, timeout?);
        let row = [caught + unviable + timeout + missed.len(), unviable, caught, timeout, missed.len()];
        total.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
        println!("{}", table_row(&format!("`{file}.rs`"), row));
        unexplained.extend(unexplained_by(&guide, &missed));
    }
    println!("{}", table_row("all", total));
    if unexplained.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "these survive, and the guide (core/src/guide/mutants.md) does not say why:\n{}",
            unexplained.join("\n")
        ))
    }
}

fn table_row(name: &str, counts: [usize; 5]) -> String {
    let counts = counts.map(|count| count.to_string()).join(" | ");
    format!("| {name} | {counts} |")
}

/// Those of which the guide has not as many rows as there are. Lines and columns move; what is changed, and in which
/// function, stays.
fn unexplained_by(guide: &str, missed: &[String]) -> Vec<String> {
    let rows = |name: &str| guide.lines().filter(|line| line.starts_with(&format!("| `{name}` |"))).count();
    let alike = |name: &str| missed.iter().filter(|other| bare(other) == name).count();
    missed.iter().filter(|name| rows(&bare(name)) < alike(&bare(name))).cloned().collect()
}

/// `core/src/time.rs:12:3: replace a with b in c` as `time.rs: replace a with b in c`.
fn bare(name: &str) -> String {
    let (place, change) = name.split_once(": ").unwrap_or((name, ""));
    let path = place.split(':').next().unwrap_or(place);
    format!("{}: {}", path.strip_prefix("core/src/").unwrap_or(path), change.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "core/src/time.rs:12:3: replace || with && in <impl Debug for Time<'_>>::fmt";

    #[test]
    fn a_survivor_is_explained_by_a_row_of_its_own() {
        let row = "| `time.rs: replace \\|\\| with && in <impl Debug for Time<'_>>::fmt` | why |\n";
        let once = [NAME.to_owned()];
        assert_eq!(unexplained_by(row, &once), Vec::<String>::new());
        let twice = [NAME.to_owned(), NAME.replace("12:3", "15:9")];
        assert_eq!(unexplained_by(row, &twice), twice);
        assert_eq!(unexplained_by("", &once), once);
    }

    #[test]
    fn a_pattern_fits_its_name_alone() {
        assert_eq!(exactly("a.rs:1:2: replace + with *"), r"^a\.rs:1:2: replace \+ with \*$");
    }

    #[test]
    fn only_files_that_there_are() {
        let all = || vec!["time".to_owned(), "phase".to_owned()];
        assert_eq!(chosen(all(), &["core/src/time.rs", "phase"]), Ok(all()));
        assert!(chosen(all(), &["tim"]).is_err_and(|why| why.contains("time, phase")));
    }
}
