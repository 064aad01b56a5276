//! Time on a device that has no clock: learned from an answer's `Date`, carried on by a counter.

use evergrant::Time;

/// A difference of so many seconds between what is known and what is learned is the header's coarseness and the network's
/// delay, not an error of the clock.
const JITTER: u32 = 2;

/// A clock that is learned, and runs with a counter of milliseconds that the caller has: monotonic, from any start.
///
/// Before it is learned it says [`Time::UNSET`]. The session then judges nothing: it hands out no token, sends nothing and
/// declares nothing dead, while what arrives is still taken in. So the first thing that a device does with its network is
/// [`Talk::time`](crate::Talk::time), which needs no secret.
///
/// A `Date` is as trustworthy as the connection that it came over. Over TLS with a verified certificate it is the
/// authority's own, which judges the tokens by it as well; but whoever verifies certificates needs the time for their
/// dates, so a device without a clock leaves those unverified in its very first handshake, or begins with the date of its
/// firmware. A wrong date cannot end a grant: an end by the clock is undone by a clock that is right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    known: Time,
    at_ms: u64,
}

impl Clock {
    /// A clock that was never set.
    #[must_use]
    pub const fn unset() -> Self {
        Self { known: Time::UNSET, at_ms: 0 }
    }

    /// Sets it: from a clock chip, say.
    pub const fn set(&mut self, time: Time, ticks_ms: u64) {
        self.known = time;
        self.at_ms = ticks_ms;
    }

    /// Takes what a `Date` said when the counter stood there; says whether the clock was moved. Small differences are let
    /// be, so that the clock does not step back and forth with each answer.
    pub fn learn(&mut self, date: Time, ticks_ms: u64) -> bool {
        let now = self.now(ticks_ms);
        let close = date.since(now) <= JITTER && now.since(date) <= JITTER;
        let moved = date.is_set() && !close;
        if moved {
            self.set(date, ticks_ms);
        }
        moved
    }

    /// The time when the counter stands there.
    #[must_use]
    pub fn now(&self, ticks_ms: u64) -> Time {
        if !self.known.is_set() {
            return Time::UNSET;
        }
        let seconds = ticks_ms.saturating_sub(self.at_ms) / 1_000;
        self.known.plus(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use evergrant::Time;

    #[test]
    fn it_is_unset_until_it_is_learned_and_then_runs_with_the_counter() {
        let mut clock = Clock::unset();
        assert_eq!(clock.now(99_000), Time::UNSET);
        assert!(!clock.learn(Time::from_unix(5), 0), "no date of 1970 is now");
        let date = Time::from_unix(1_800_000_000);
        assert!(clock.learn(date, 5_000));
        assert_eq!(clock.now(5_999), date);
        assert_eq!(clock.now(65_000), date.plus(60));
        assert!(!clock.learn(date.plus(59), 65_000), "jitter");
        assert!(clock.learn(date.plus(3_600), 65_000));
        assert!(clock.learn(date, 65_000), "and back");
        assert_eq!(clock.now(0), date, "a counter that began anew is harmless");
    }
}
