//! The fuzz targets, each for its time, and what each has seen. On stable a plain test replays their corpus.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::install;
use crate::shell::{say, top};

const DEFAULT_SECONDS: u32 = 600;

/// `[--seconds N] [TARGET…]`: all of them where none is named. A finding does not keep the other targets from their time.
pub(crate) fn fuzz(arguments: &[&str]) -> Result<(), String> {
    let (seconds, wanted) = match arguments {
        ["--seconds", number, wanted @ ..] => {
            let refused = || format!("--seconds takes a whole number above 0, not {number}");
            (number.parse().ok().filter(|seconds| *seconds > 0).ok_or_else(refused)?, wanted)
        }
        wanted => (DEFAULT_SECONDS, wanted),
    };
    let targets = chosen(targets()?, wanted)?;
    install::fuzzer()?;
    let mut rows = Vec::new();
    let mut found = Vec::new();
    for target in &targets {
        build(target)?;
        match live(target, seconds)? {
            Ok(figures) => rows.push(figures.row(target)),
            Err(why) => {
                say(&why);
                rows.push(format!("| `{target}` | a finding | | | |"));
                found.push(target.as_str());
            }
        }
    }
    println!("| Target | Executions | Edges covered | Corpus | Seconds |\n| --- | --- | --- | --- | --- |");
    rows.iter().for_each(|row| println!("{row}"));
    if found.is_empty() { Ok(()) } else { Err(format!("findings: {}", found.join(", "))) }
}

/// The targets that there are, by the names of their files.
fn targets() -> Result<Vec<String>, String> {
    let folder = top().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<String> = files.flatten().filter_map(|file| stem(&file.path())).collect();
    names.sort();
    Ok(names)
}

fn chosen(all: Vec<String>, wanted: &[&str]) -> Result<Vec<String>, String> {
    match wanted.iter().find(|name| !all.iter().any(|known| known == *name)) {
        Some(unknown) => Err(format!("there is no fuzz target {unknown}; there are {}", all.join(", "))),
        None if wanted.is_empty() => Ok(all),
        None => Ok(all.into_iter().filter(|name| wanted.contains(&name.as_str())).collect()),
    }
}

/// cargo-fuzz under the nightly compiler, with a build folder of its own. With debug assertions and overflow checks; what
/// parses also under the address sanitizer, for what it stands on is not all safe code. A life is thousands of steps of what
/// the others look at one by one: there it costs lives and finds nothing else.
fn cargo_fuzz(verb: &str, target: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", verb, "--target-dir"]);
    command.arg(top().join("target/fuzz")).current_dir(top().join("fuzz"));
    command.args(["--sanitizer", if target == "life" { "none" } else { "address" }, target]);
    command
}

fn build(target: &str) -> Result<(), String> {
    crate::shell::run(&mut cargo_fuzz("build", target))
}

/// Fuzzes one target. What it finds to be worth keeping goes beside the committed corpus, which only a hand adds to; what
/// it said stands in a log. The inner error is a finding.
fn live(target: &str, seconds: u32) -> Result<Result<Figures, String>, String> {
    let home = top().join("target/fuzz");
    let (grown, artifacts) = (home.join("corpus").join(target), home.join("artifacts").join(target));
    let log = home.join(format!("{target}.log"));
    let wrong = |why: std::io::Error| format!("{}: {why}", log.display());
    fs::create_dir_all(&grown).and_then(|()| fs::create_dir_all(&artifacts)).map_err(wrong)?;
    let file = File::create(&log).map_err(wrong)?;
    say(&format!("── fuzzing {target} for {seconds} s; its log: {}", log.display()));
    let status = cargo_fuzz("run", target)
        .args([grown, top().join("fuzz/corpus").join(target)])
        .args(["--", "-print_final_stats=1"])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .status()
        .map_err(wrong)?;
    let said = fs::read(&log).map_err(wrong)?;
    let said = String::from_utf8_lossy(&said);
    if !status.success() {
        return Ok(Err(format!("{target}: {status}: see {}", log.display())));
    }
    Figures::read(&said).map(Ok).ok_or_else(|| format!("{target}: no figures in {}", log.display()))
}

/// What libFuzzer says at the end.
#[derive(Debug, PartialEq, Eq)]
struct Figures {
    executions: u64,
    edges: u64,
    corpus: u64,
    seconds: u64,
}

impl Figures {
    /// `None` where a figure is missing: another libFuzzer says it in other words.
    fn read(said: &str) -> Option<Self> {
        Some(Self {
            executions: last_after(said, "stat::number_of_executed_units:")?,
            edges: last_after(said, " cov:")?,
            corpus: last_after(said, " corp:")?,
            seconds: last_after(said, " runs in ")?,
        })
    }

    fn row(&self, target: &str) -> String {
        let [executions, edges, corpus] = [self.executions, self.edges, self.corpus].map(thousands);
        format!("| `{target}` | {executions} | {edges} | {corpus} | {} |", self.seconds)
    }
}

/// The number behind a word, where the word stands for the last time.
fn last_after(said: &str, word: &str) -> Option<u64> {
    let rest = said.rsplit_once(word)?.1.trim_start();
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// 1969200 as 1,969,200.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_last_lines() {
        let said = "\
#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 40Mb
#1969200\tDONE   cov: 1915 ft: 8000 corp: 1204/96Kb lim: 4096 exec/s: 16274 rss: 512Mb
Done 1969200 runs in 121 second(s)
stat::number_of_executed_units: 1969200
stat::average_exec_per_sec:     16274
";
        let figures = Figures { executions: 1_969_200, edges: 1_915, corpus: 1_204, seconds: 121 };
        assert_eq!(Figures::read(said), Some(figures));
        assert_eq!(Figures::read("Done 1 runs in 0 second(s)"), None);
    }

    #[test]
    fn a_row_is_the_guides() {
        let figures = Figures { executions: 1_969_200, edges: 1_915, corpus: 204, seconds: 600 };
        assert_eq!(figures.row("life"), "| `life` | 1,969,200 | 1,915 | 204 | 600 |");
    }

    #[test]
    fn only_targets_that_there_are() {
        let all = || vec!["answer".to_owned(), "life".to_owned()];
        assert_eq!(chosen(all(), &[]), Ok(all()));
        assert_eq!(chosen(all(), &["life"]), Ok(vec!["life".to_owned()]));
        assert!(chosen(all(), &["live"]).is_err_and(|why| why.contains("answer, life")));
    }

    #[test]
    fn the_targets_are_those_of_the_corpus() {
        let folders = fs::read_dir(top().join("fuzz/corpus")).expect("the corpus is committed");
        let mut corpora: Vec<_> =
            folders.flatten().map(|folder| folder.file_name().into_string().expect("ASCII")).collect();
        corpora.sort();
        assert_eq!(targets().expect("the targets are committed"), corpora);
    }
}
