//! Time, which the core is told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evergrant::Time;

/// Where the time comes from: the machine, or a demo that lives faster.
pub(crate) trait Clock {
    /// Now.
    fn now(&self) -> Time;
    /// Comes back at that moment, or later.
    fn wait_until(&self, then: Time);
}

/// The machine's clock.
pub(crate) struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Time::from_unix(since.map_or(0, |since| since.as_secs()))
    }

    fn wait_until(&self, then: Time) {
        std::thread::sleep(Duration::from_secs(then.unix().saturating_sub(self.now().unix())));
    }
}
