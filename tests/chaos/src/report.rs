//! The table, and what is printed beside it.

use std::io::Write;

use crate::book::Verdict;
use crate::run::{Loss, Report};

/// A line for whoever watches.
pub fn note(line: &str) {
    // Nobody is there to be told where this fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The table, in Markdown.
pub fn table(reports: &[Report]) -> String {
    let mut text = String::from(
        "| Client | Refreshes | Grants | Harms | Kills | Holds | Lost, could have been kept | per million refreshes | of these: thrown away \
         | let die | code sent twice | Nobody's fault | Forbidden by STA-4 | Never held | Dead tokens handed out | Refreshes a second |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for report in reports {
        let million = report.refreshes.max(1) as f64 / 1e6;
        let client = match report.together {
            0 | 1 => report.client.clone(),
            together => format!("{}, {together} grants in a store", report.client),
        };
        let cells = [
            client,
            thousands(report.refreshes),
            thousands(report.grants),
            thousands(report.struck),
            thousands(report.kills),
            thousands(report.holds),
            thousands(report.faults()),
            thousands((report.faults() as f64 / million).round() as u64),
            thousands(report.count(Verdict::ThrownAway)),
            thousands(report.count(Verdict::LetDie)),
            thousands(report.count(Verdict::CodeSentTwice)),
            thousands(report.count(Verdict::NobodysFault)),
            thousands(report.count(Verdict::Forbidden)),
            thousands(report.count(Verdict::NeverHeld)),
            thousands(report.dead_handed_out),
            thousands((report.refreshes as f64 / report.took.as_secs_f64().max(0.001)) as u64),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// The losses that were reduced.
pub fn losses(report: &Report) -> String {
    report.losses.iter().map(|found| loss(&report.client, found) + "\n").collect()
}

/// A loss with what runs it again.
pub fn loss(client: &str, loss: &Loss) -> String {
    let script = &loss.script;
    let doubt =
        if loss.again { "" } else { " (not lost again: a kill between gates came at another moment)" };
    let mut text = format!(
        "{client}: {} under policy {}{doubt}\n    --client {client} --grants {} --seed {} --episode {} --harms \"{}\"",
        loss.verdict.name(),
        script.policy,
        script.grants,
        script.seed,
        script.number,
        script.harms_text()
    );
    loss.trace.iter().for_each(|line| text.push_str(&format!("\n    {line}")));
    text
}

/// 1234567 as 1,234,567.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped() {
        let groups = [0, 999, 1_000, 1_234_567].map(super::thousands);
        assert_eq!(groups, ["0", "999", "1,000", "1,234,567"]);
    }
}
