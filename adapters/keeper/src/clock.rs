//! Time: the machine's clock, put right by the store's.

use std::time::{SystemTime, UNIX_EPOCH};

use evergrant::Time;

/// Tells the time. Waiting is tokio's: with its clock paused, a clock that goes by [`tokio::time::Instant`] is all that a simulation
/// needs.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Time;
}

/// The machine's clock. The keeper judges by the store's all the same, and takes this one for the time in between.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}
