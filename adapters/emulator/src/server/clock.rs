//! The emulator's clock: real or standing still, and moved by hand.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What the emulator's clock goes by. It can be moved by hand in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockChoice {
    /// It runs with the machine's clock.
    #[default]
    Real,
    /// It stands still at this time (Unix seconds) until it is moved.
    Fixed(u64),
}

/// A clock that many threads may read and move.
#[derive(Debug)]
pub struct Clock {
    choice: ClockChoice,
    offset_seconds: AtomicI64,
}

impl Clock {
    pub(super) const fn new(choice: ClockChoice) -> Self {
        Self { choice, offset_seconds: AtomicI64::new(0) }
    }

    /// Unix seconds.
    pub fn now(&self) -> u64 {
        let base = match self.choice {
            ClockChoice::Real => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
            }
            ClockChoice::Fixed(at) => at,
        };
        base.saturating_add_signed(self.offset_seconds())
    }

    /// Moves the clock by so many seconds, back if negative.
    pub fn advance(&self, seconds: i64) {
        let moved = |offset: i64| Some(offset.saturating_add(seconds));
        // The closure never refuses, so there is nothing to handle.
        let _ = self.offset_seconds.fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved);
    }

    /// How far the clock was moved by hand, seconds.
    pub fn offset_seconds(&self) -> i64 {
        self.offset_seconds.load(Ordering::SeqCst)
    }

    /// The time as the `Date` header wants it. A device without a clock learns the time from it.
    pub(super) fn http_date(&self) -> String {
        // The header's format ends with the year 9999.
        let seconds = self.now().min(253_402_300_799);
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
    }
}
