//! What people read: colours where they are wanted, moments and durations, bars.
//!
//! Results go to standard output, and everything else to standard error. `anstream` takes colours away where the other
//! end is no terminal, or `NO_COLOR` is set.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use evergrant::Time;

pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const CYAN: Style = AnsiColor::Cyan.on_default();

/// A result.
pub(crate) fn say(text: impl Display) {
    // Whoever closed the other end does not want to know.
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// A result as it came, for a program: to the byte. On a terminal it moves no cursor.
pub(crate) fn hand_out(bytes: &[u8]) {
    let mut out = std::io::stdout();
    let _ = if out.is_terminal() {
        writeln!(out, "{}", printable(String::from_utf8_lossy(bytes).trim_end()))
    } else {
        out.write_all(bytes).and_then(|()| if bytes.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") })
    };
}

/// Something beside the result: progress, a remark.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{DIM}{text}{DIM:#}");
}

/// Something that somebody should look at.
pub(crate) fn warn(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{YELLOW}warning:{YELLOW:#} {text}");
}

/// Why it ends.
pub(crate) fn fail(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{RED}error:{RED:#} {text}");
}

/// Whether somebody reads along.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// `2026-11-23 22:40:00 UTC`; the end of time is never.
pub(crate) fn moment(time: Time) -> String {
    if time == Time::END {
        return "never".into();
    }
    let seconds = i64::try_from(time.unix()).ok();
    match seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
        Some(stamp) => stamp.to_string().replace('T', " ").replace('Z', " UTC"),
        None => "never".into(),
    }
}

/// The two largest units: `99 d 23 h`, `4 min 5 s`.
pub(crate) fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 5] = [(365 * 86_400, "y"), (86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        let count = left / unit;
        left %= unit;
        if count > 0 || !parts.is_empty() {
            parts.push(format!("{count} {name}"));
        }
    }
    parts.truncate(2);
    if parts.is_empty() {
        return "0 s".into();
    }
    parts.retain(|part| !part.starts_with("0 "));
    parts.join(" ")
}

/// How far `then` is from `now`, in words.
pub(crate) fn distance(now: Time, then: Time) -> String {
    if then > now {
        format!("in {}", duration(then.unix() - now.unix()))
    } else if then == now {
        "now".into()
    } else {
        format!("{} ago", duration(now.unix() - then.unix()))
    }
}

/// What is left of something, as a bar; green while there is plenty.
pub(crate) fn bar(left: u64, whole: u64, width: usize) -> String {
    let share = if whole == 0 { 0.0 } else { (left as f64 / whole as f64).clamp(0.0, 1.0) };
    // A clock that has anything left shows something.
    let filled = ((share * width as f64).round() as usize).max(usize::from(left > 0)).min(width);
    let style = match share {
        share if share > 0.25 => GREEN,
        share if share > 0.1 => YELLOW,
        _ => RED,
    };
    let (full, empty) = ("█".repeat(filled), "░".repeat(width - filled));
    format!("{style}{full}{style:#}{DIM}{empty}{DIM:#}")
}

/// For a terminal: text that somebody else wrote, without anything that moves the cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() && char != '\n' && char != '\t' { '\u{fffd}' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3_600), "1 h");
        assert_eq!(duration(3_661), "1 h 1 min");
        assert_eq!(duration(8_640_000), "100 d");
        assert_eq!(duration(5 * 365 * 86_400 + 3_600), "5 y");
    }

    #[test]
    fn moments_are_read_by_people() {
        assert_eq!(moment(Time::from_unix(1_800_000_000)), "2027-01-15 08:00:00 UTC");
        assert_eq!(moment(Time::END), "never");
        assert_eq!(distance(Time::from_unix(10), Time::from_unix(70)), "in 1 min");
        assert_eq!(distance(Time::from_unix(70), Time::from_unix(10)), "1 min ago");
    }

    #[test]
    fn a_bar_is_as_wide_as_it_should_be() {
        for (left, filled) in [(0, 0), (1, 1), (500, 5), (1_000, 10), (2_000, 10)] {
            let bar = bar(left, 1_000, 10);
            assert_eq!(bar.matches('█').count(), filled, "{left}");
            assert_eq!(bar.matches('░').count(), 10 - filled, "{left}");
        }
    }

    #[test]
    fn what_others_wrote_moves_no_cursor() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\n");
    }
}
