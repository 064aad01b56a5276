//! A fleet of grants over years, on a virtual clock:
//!
//! ```text
//! cargo run --release -p evergrant-keeper --example simulation -- --grants 1000000 --years 10 [--outage-hours 6]
//! ```
//!
//! | Option | |
//! | --- | --- |
//! | `--grants N` | connected within one day, and asked for by nobody (1,000,000) |
//! | `--years N` | how long (10) |
//! | `--outage-hours N` | the authority is out for so long |
//! | `--outage-day N` | from this day on (75: the first renewals are at their most) |
//! | `--outage-kind errors\|silence\|refused` | what it does meanwhile: 503, nothing, or `invalid_grant` to everybody (errors) |
//! | `--wake N` | the keeper's longest sleep, in seconds (60) |
//! | `--whole` | the whole keeper beside it, for numbers that it can be run for: 2,000 grants, a year, `--wake 3600` |

#[path = "../../tests/common/mod.rs"]
mod common;
mod model;
mod whole;

use std::process::ExitCode;
use std::time::Instant;

use model::{DAY, Kind, Meter, Outage, Plan, Report};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match read(&arguments) {
        Ok((plan, with_whole)) => {
            tell(&plan, with_whole);
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            println!("{wrong}; the options stand at the top of examples/simulation/main.rs");
            ExitCode::FAILURE
        }
    }
}

fn read(arguments: &[String]) -> Result<(Plan, bool), String> {
    let (mut grants, mut years, mut hours, mut day, mut kind) = (1_000_000, 10, 0, 75, Kind::Errors);
    let (mut options, mut with_whole) = (evergrant_keeper::Options::default(), false);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--whole" {
            with_whole = true;
            continue;
        }
        let value = rest.next().ok_or(format!("{name} wants a value"))?;
        let number = value.parse::<u32>().map_err(|_| format!("{name} wants a number, not {value}"));
        match name.as_str() {
            "--grants" => grants = number?,
            // Times are 32 bits wide, and the base is 2027.
            "--years" => years = number.ok().filter(|years| *years <= 70).ok_or("70 years at most")?,
            "--outage-hours" => hours = number?,
            "--outage-day" => day = number?,
            "--wake" => options.wake_seconds = number?,
            "--outage-kind" => {
                kind = match value.as_str() {
                    "errors" => Kind::Errors,
                    "silence" => Kind::Silence,
                    "refused" => Kind::Refused,
                    _ => return Err(format!("no outage is of the kind {value}")),
                }
            }
            _ => return Err(format!("there is no option {name}")),
        }
    }
    let outage = (hours > 0).then(|| Outage { kind, begins: day * DAY, lasts: hours * 3_600 });
    let seconds = years * 365 * DAY;
    let plan = Plan { grants, seconds, outage, options, answer_ms: 300, connected_within: DAY, seed: 1 };
    Ok((plan, with_whole))
}

fn tell(plan: &Plan, with_whole: bool) {
    let begun = Instant::now();
    let report = model::run(plan);
    println!("{} grants, {} days, {:?}", plan.grants, plan.seconds / DAY, plan.outage);
    show(plan, "all", &report.all);
    if plan.outage.is_some() {
        show(plan, "in the outage", &report.in_outage);
        show(plan, "the day after", &report.after);
        match report.caught_up {
            Some(seconds) => println!("caught up {seconds} s after the outage's end"),
            None => println!("not caught up"),
        }
    }
    show_ends(&report);
    println!(
        "{} bytes for each grant in the simulation; {:.1} s of this machine's time",
        report.bytes,
        begun.elapsed().as_secs_f64()
    );
    if with_whole {
        let begun = Instant::now();
        let seen = whole::run(plan);
        println!("\nthe whole keeper:");
        show(plan, "all", &seen.all);
        if plan.outage.is_some() {
            show(plan, "in the outage", &seen.in_outage);
            show(plan, "the day after", &seen.after);
        }
        println!(
            "{} of {} alive at the end; {} tokens in memory then; {:.1} s",
            seen.alive,
            plan.grants,
            seen.in_memory,
            begun.elapsed().as_secs_f64()
        );
    }
}

fn show(plan: &Plan, what: &str, meter: &Meter) {
    let [second, minute, hour] = meter.peaks();
    let at = |(count, second): (u32, u32)| format!("{count} (day {})", second / DAY);
    println!(
        "{what}: {} requests, mean {:.4} a second of the whole time; most in a second {}, a minute {}, an hour {}",
        meter.requests,
        meter.requests as f64 / f64::from(plan.seconds),
        at(second),
        at(minute),
        at(hour)
    );
}

fn show_ends(report: &Report) {
    println!(
        "{} refreshed, {} consents; died of age {} ({} after the outage), at the hard end {}, otherwise {}; sent too late {}",
        report.refreshed,
        report.consents,
        report.died_of_age,
        report.died_after_the_outage,
        report.died_at_the_hard_end,
        report.died_otherwise,
        report.sent_too_late
    );
    println!(
        "the least that a refresh token had left: {:.1} days",
        f64::from(report.least_left) / f64::from(DAY)
    );
}
