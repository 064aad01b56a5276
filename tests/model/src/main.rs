//! Runs the searches: the short ones, or with `--deep` all; with names, those.

use std::process::ExitCode;
use std::time::Instant;

use model::kernel::{scenarios, search};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let deep = arguments.iter().any(|argument| argument == "--deep");
    let named = |name: &str| {
        let mut names = arguments.iter().filter(|argument| *argument != "--deep").peekable();
        names.peek().is_none() || names.any(|wanted| wanted == name)
    };
    let mut failed = false;
    for scenario in if deep { scenarios::deep() } else { scenarios::short() } {
        if !named(scenario.name) {
            continue;
        }
        let clock = Instant::now();
        match search(&scenario) {
            Ok(report) => println!(
                "engine=kernel scenario={} {report} seconds={:.1} result=holds",
                scenario.name,
                clock.elapsed().as_secs_f64()
            ),
            Err(wrong) => {
                failed = true;
                println!("engine=kernel scenario={} result=broken\n{wrong}", scenario.name);
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
