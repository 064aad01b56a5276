//! When a document is fetched, and when it is not: the same rules for keys and for discovery.

use evergrant::Time;

/// How long a document is good for, and how often it is asked for. All in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Fetched again after this long, where the answer has no `max-age`.
    pub usual: u32,
    /// Never fetched again earlier than this because of a small `max-age` (or `no-store`).
    pub least: u32,
    /// Fetched again after this long, however large `max-age` is.
    pub most: u32,
    /// After a failure, nothing is fetched for this long.
    pub retry: u32,
    /// An unknown `kid` causes one fetch in this time, and no more: whoever sends us forged tokens cannot make us
    /// hammer the provider.
    pub gap: u32,
    /// What a good document said is believed this long after it was fetched, if no later one can be had.
    pub keep: u32,
    /// A key that the newest document does not list any more is good for this much longer: as long as an ID token
    /// lives that was signed just before.
    pub outgoing: u32,
}

impl Freshness {
    /// For keys: an hour where nothing is said, five minutes to a day; two days through an outage.
    pub const KEYS: Self =
        Self { usual: 3_600, least: 300, most: 86_400, retry: 60, gap: 300, keep: 172_800, outgoing: 3_600 };
    /// For discovery documents: a day where nothing is said, an hour to a week; for ever through an outage.
    pub const DISCOVERY: Self =
        Self { usual: 86_400, least: 3_600, most: 604_800, retry: 60, gap: 300, keep: u32::MAX, outgoing: 0 };

    /// How long an answer with this `Cache-Control` is fresh (RFC 9111 §5.2.2). An answer that says nothing usable is
    /// taken as one that says nothing.
    fn of(&self, cache_control: Option<&str>) -> u32 {
        let said = cache_control.and_then(max_age).unwrap_or(self.usual);
        said.min(self.most).max(self.least)
    }
}

/// `max-age` in seconds; 0 for what is not to be kept at all.
fn max_age(cache_control: &str) -> Option<u32> {
    let directives = || cache_control.split(',').map(str::trim_ascii);
    if directives().any(|one| one.eq_ignore_ascii_case("no-store") || one.eq_ignore_ascii_case("no-cache")) {
        return Some(0);
    }
    let value = directives().find_map(|one| {
        let (name, value) = one.split_once('=')?;
        name.trim_ascii_end().eq_ignore_ascii_case("max-age").then_some(value)
    })?;
    let digits = value.trim_ascii().trim_matches('"');
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // What no u32 holds is a very long time.
    plain.then(|| digits.parse().unwrap_or(u32::MAX))
}

/// When the next fetch is due.
#[derive(Clone, Debug)]
pub(crate) struct Timetable {
    pub(crate) freshness: Freshness,
    /// The latest attempt, good or bad.
    tried: Option<Time>,
    /// There was a good answer.
    held: bool,
    /// The document is to be fetched again from here on.
    stale: Time,
    /// Nothing is fetched before.
    blocked: Time,
    /// Somebody asked for what the document does not have.
    missed: bool,
    /// No miss causes a fetch before.
    next_miss: Time,
}

impl Timetable {
    pub(crate) const fn new(freshness: Freshness) -> Self {
        Self {
            freshness,
            tried: None,
            held: false,
            stale: Time::UNSET,
            blocked: Time::UNSET,
            missed: false,
            next_miss: Time::UNSET,
        }
    }

    pub(crate) fn due(&self) -> Time {
        let wanted = if self.missed { self.stale.min(self.next_miss) } else { self.stale };
        wanted.max(self.blocked)
    }

    pub(crate) fn is_due(&self, now: Time) -> bool {
        // A clock that was ahead and was put right must not keep us waiting for years.
        let stepped_back = self.tried.is_some_and(|tried| now.plus(self.freshness.retry) < tried);
        now >= self.due() || stepped_back
    }

    pub(crate) const fn missed(&mut self) {
        self.missed = true;
    }

    pub(crate) fn succeeded(&mut self, now: Time, cache_control: Option<&str>) {
        // The first document is no answer to a miss: the next miss may still ask once.
        if self.missed && self.held {
            self.next_miss = now.plus(self.freshness.gap);
        }
        (self.tried, self.held, self.missed) = (Some(now), true, false);
        self.blocked = Time::UNSET;
        self.stale = now.plus(self.freshness.of(cache_control));
    }

    pub(crate) fn failed(&mut self, now: Time) {
        self.tried = Some(now);
        self.blocked = now.plus(self.freshness.retry);
    }
}

#[cfg(test)]
mod tests {
    use super::{Freshness, Timetable, max_age};
    use evergrant::Time;

    const NOW: Time = Time::from_unix(1_800_000_000);

    #[test]
    fn max_age_is_read_and_clamped() {
        assert_eq!(max_age("public, max-age=21600, must-revalidate"), Some(21_600));
        assert_eq!(max_age("Max-Age = \"60\""), Some(60));
        assert_eq!(max_age("max-age=60, no-store"), Some(0));
        assert_eq!(max_age("max-age=99999999999999999999"), Some(u32::MAX));
        for nothing in ["", "max-age", "max-age=", "max-age=-1", "max-age=1h", "s-maxage=5", "x-max-age=5"] {
            assert_eq!(max_age(nothing), None, "{nothing}");
        }
        assert_eq!(Freshness::KEYS.of(Some("max-age=1")), 300);
        assert_eq!(Freshness::KEYS.of(Some("max-age=999999999")), 86_400);
        assert_eq!(Freshness::KEYS.of(None), 3_600);
    }

    #[test]
    fn a_miss_asks_once_and_then_waits() {
        let mut table = Timetable::new(Freshness::KEYS);
        assert!(table.is_due(NOW));
        table.missed();
        table.succeeded(NOW, None);
        assert!(!table.is_due(NOW));
        table.missed();
        assert!(table.is_due(NOW));
        table.succeeded(NOW, None);
        for second in 0..300 {
            table.missed();
            assert!(!table.is_due(NOW.plus(second)), "{second}");
        }
        assert_eq!(table.due(), NOW.plus(300));
    }

    #[test]
    fn after_a_failure_nothing_is_fetched_for_a_while_whoever_asks() {
        let mut table = Timetable::new(Freshness::KEYS);
        table.failed(NOW);
        table.missed();
        assert!(!table.is_due(NOW.plus(59)));
        assert!(table.is_due(NOW.plus(60)));
    }

    #[test]
    fn a_clock_that_was_put_right_does_not_stop_it() {
        let mut table = Timetable::new(Freshness::KEYS);
        table.succeeded(NOW.plus(1_000_000_000), None);
        assert!(table.is_due(NOW));
        table.failed(NOW);
        assert!(!table.is_due(NOW));
    }
}
