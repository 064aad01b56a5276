//! Whether many refusals at once are an outage: then nobody concludes a death, and one grant at a time asks again. Pure.
//!
//! Intuit answers `invalid_grant` in an outage as well (REF-4), and then to all grants alike. One grant alone cannot tell that from
//! its own end; a fleet can.

use std::collections::VecDeque;

use evergrant::Time;
use serde::{Deserialize, Serialize};

/// When refusals are taken for an outage, and how the end of it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// So many different grants must have been refused within the window.
    pub grants: u32,
    /// And so much of all that was answered within it, in per cent.
    pub share_percent: u32,
    /// The window, in seconds.
    pub window_seconds: u32,
    /// The first probe comes so many seconds after the hold began; each further one twice as late.
    pub probe_first_seconds: u32,
    /// The longest wait between two probes, in seconds.
    pub probe_most_seconds: u32,
    /// A grant that has no more than this left, in seconds, is not held: waiting could be its end.
    pub dying_seconds: u32,
}

impl Default for Rule {
    /// Three grants and half of the answers within 15 minutes; probes after 15 s, 30 s … 15 min; six hours.
    fn default() -> Self {
        Self {
            grants: 3,
            share_percent: 50,
            window_seconds: 900,
            probe_first_seconds: 15,
            probe_most_seconds: 900,
            dying_seconds: 21_600,
        }
    }
}

/// Most refusals that are remembered: more prove nothing more.
const REMEMBERED: usize = 32;

/// What this process has seen within the window. Answers that brought tokens are counted, refusals are kept by grant, so that one
/// dead grant that is asked again and again counts once.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    good: VecDeque<(Time, u32)>,
    refused: Vec<(u64, Time)>,
}

impl Seen {
    /// A refresh brought tokens.
    pub fn good(&mut self, now: Time, rule: &Rule) {
        match self.good.back_mut() {
            // A minute is fine enough.
            Some((at, count)) if now.since(*at) < 60 => *count = count.saturating_add(1),
            _ => self.good.push_back((now, 1)),
        }
        let window = rule.window_seconds;
        while self.good.front().is_some_and(|(at, _)| now.since(*at) > window) {
            self.good.pop_front();
        }
    }

    /// A refresh of this grant was refused.
    pub fn refused(&mut self, grant: u64, now: Time, rule: &Rule) {
        note(&mut self.refused, grant, now, rule);
    }

    /// Whether refusals make up the rule's share of what was answered here.
    #[must_use]
    pub fn is_share(&self, now: Time, rule: &Rule) -> bool {
        let within = |at: &Time| now.since(*at) <= rule.window_seconds;
        let good: u64 =
            self.good.iter().filter(|(at, _)| within(at)).map(|(_, count)| u64::from(*count)).sum();
        let refused = self.refused.iter().filter(|(_, at)| within(at)).count() as u64;
        refused * 100 >= (refused + good) * u64::from(rule.share_percent)
    }
}

/// What the fleet knows: a row of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hold {
    /// Since when it is on, in Unix seconds; 0: it is not.
    since: u64,
    /// When the next probe is due, in Unix seconds.
    probe_at: u64,
    /// Probes so far.
    probes: u32,
    /// The grant that was last used to probe.
    prober: u64,
    /// Grants that were refused, by hash, and when.
    refused: Vec<(u64, u64)>,
}

/// Whether a request may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// There is no hold, or this grant cannot wait for its end.
    Free,
    /// As the probe, once [`Hold::probed`] is stored.
    Probe,
    /// Not before this moment.
    Wait(Time),
}

impl Hold {
    /// Since when it is on.
    #[must_use]
    pub fn since(&self) -> Option<Time> {
        (self.since != 0).then_some(Time::from_unix(self.since))
    }

    /// When the next probe is due.
    #[must_use]
    pub const fn probe_at(&self) -> Time {
        Time::from_unix(self.probe_at)
    }

    /// With one more refusal; on, where they are enough.
    #[must_use]
    pub fn refused(mut self, grant: u64, now: Time, share: bool, rule: &Rule) -> Self {
        let mut refused: Vec<_> =
            self.refused.iter().map(|(grant, at)| (*grant, Time::from_unix(*at))).collect();
        note(&mut refused, grant, now, rule);
        let enough = u32::try_from(refused.len()).unwrap_or(u32::MAX) >= rule.grants.max(2);
        self.refused = refused.into_iter().map(|(grant, at)| (grant, at.unix())).collect();
        if self.since == 0 && enough && share {
            self.since = now.unix().max(1);
            self.probe_at = now.plus(rule.probe_first_seconds).unix();
            self.probes = 0;
            self.prober = 0;
        }
        self
    }

    /// Whether this grant, which ends at `end`, may be refreshed now.
    #[must_use]
    pub fn leave(&self, grant: u64, end: Time, now: Time, rule: &Rule) -> Leave {
        let probe_at = self.probe_at();
        if self.since == 0 || end.since(now) <= rule.dying_seconds {
            return Leave::Free;
        }
        // A clock that was put back must not hold for longer than any probe would be waited for.
        let far = probe_at.since(now) > rule.probe_most_seconds;
        if now < probe_at && !far {
            return Leave::Wait(probe_at);
        }
        // The grant that was refused last might be dead itself: others first, for as long again.
        let again_at = probe_at.plus(self.spacing(rule));
        if self.prober == grant && now < again_at { Leave::Wait(again_at) } else { Leave::Probe }
    }

    /// With a probe by this grant on its way, and the next one due later.
    #[must_use]
    pub fn probed(mut self, grant: u64, now: Time, rule: &Rule) -> Self {
        self.probes = self.probes.saturating_add(1);
        self.prober = grant;
        self.probe_at = now.plus(self.spacing(rule)).unix();
        self
    }

    /// After an answer that brought tokens: it is over, and so is what led to it.
    #[must_use]
    pub fn lifted(self) -> Self {
        Self::default()
    }

    fn spacing(&self, rule: &Rule) -> u32 {
        let doubled = rule.probe_first_seconds.saturating_mul(1 << self.probes.min(16));
        doubled.clamp(1, rule.probe_most_seconds.max(1))
    }
}

fn note(refused: &mut Vec<(u64, Time)>, grant: u64, now: Time, rule: &Rule) {
    // What seems to lie ahead was noted before the clock was put back.
    refused.retain(|(other, at)| *other != grant && *at <= now && now.since(*at) <= rule.window_seconds);
    if refused.len() >= REMEMBERED {
        refused.remove(0);
    }
    refused.push((grant, now));
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_unix(1_800_000_000);
    const FAR: Time = Time::from_unix(1_900_000_000);

    fn on(rule: &Rule) -> Hold {
        (1..=3).fold(Hold::default(), |hold, grant| hold.refused(grant, NOW, true, rule))
    }

    #[test]
    fn three_grants_are_an_outage_and_one_that_is_refused_thrice_is_none() {
        let rule = Rule::default();
        assert_eq!(on(&rule).since(), Some(NOW));
        let alone = (0..9).fold(Hold::default(), |hold, _| hold.refused(1, NOW, true, &rule));
        assert_eq!(alone.since(), None);
        let few = (1..=3).fold(Hold::default(), |hold, grant| hold.refused(grant, NOW, false, &rule));
        assert_eq!(few.since(), None, "most answers were good");
        let slow = (1..=3_u32).fold(Hold::default(), |hold, grant| {
            hold.refused(grant.into(), NOW.plus(grant * 600), true, &rule)
        });
        assert_eq!(slow.since(), None, "not within the window");
    }

    #[test]
    fn the_share_is_of_grants_refused_in_all_that_was_answered() {
        let rule = Rule::default();
        let mut seen = Seen::default();
        for grant in 0..3 {
            seen.refused(grant, NOW, &rule);
            seen.refused(grant, NOW, &rule);
        }
        (0..3).for_each(|_| seen.good(NOW, &rule));
        assert!(seen.is_share(NOW, &rule));
        seen.good(NOW, &rule);
        assert!(!seen.is_share(NOW, &rule));
        assert!(!seen.is_share(NOW, &Rule { share_percent: 100, ..rule }));
    }

    #[test]
    fn one_probe_at_a_time_later_each_time_and_not_twice_with_one_grant() {
        let rule = Rule::default();
        let mut hold = on(&rule);
        assert_eq!(hold.leave(9, FAR, NOW, &rule), Leave::Wait(NOW.plus(15)));
        let mut now = NOW.plus(15);
        let mut waits = Vec::new();
        for grant in 10..20 {
            assert_eq!(hold.leave(grant, FAR, now, &rule), Leave::Probe);
            hold = hold.probed(grant, now, &rule);
            waits.push(hold.probe_at().since(now));
            now = hold.probe_at();
            assert!(matches!(hold.leave(grant, FAR, now, &rule), Leave::Wait(_)), "another one first");
            let lone = now.plus(waits.last().copied().unwrap());
            assert_eq!(hold.leave(grant, FAR, lone, &rule), Leave::Probe, "but nobody waits for ever");
        }
        assert_eq!(waits[..3], [30, 60, 120]);
        assert_eq!(waits.last(), Some(&900));
        assert_eq!(hold.lifted().leave(1, FAR, now, &rule), Leave::Free);
    }

    #[test]
    fn what_is_about_to_die_is_not_held_and_a_clock_put_back_holds_nobody_for_years() {
        let rule = Rule::default();
        let hold = on(&rule);
        assert_eq!(hold.leave(9, NOW.plus(21_600), NOW, &rule), Leave::Free);
        assert_eq!(hold.leave(9, FAR, NOW.minus(1_000_000), &rule), Leave::Probe);
    }

    #[test]
    fn the_row_is_read_as_it_was_written() {
        let hold = on(&Rule::default()).probed(7, NOW, &Rule::default());
        let text = serde_json::to_string(&hold).unwrap();
        assert_eq!(serde_json::from_str::<Hold>(&text).unwrap(), hold);
    }
}
