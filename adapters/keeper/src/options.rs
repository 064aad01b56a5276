//! What can be set, with defaults that need no thought.

use std::time::Duration;

use evergrant::Policy;

use crate::error::BuildError;
use crate::{Bounds, Rule, Thresholds};

/// Numbers, as data. The defaults suit Intuit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// When an access token is replaced.
    pub thresholds: Thresholds,
    /// How many refreshes may be under way at once, in this process.
    pub bounds: Bounds,
    /// When refusals are taken for an outage.
    pub rule: Rule,
    /// Length of a lease, in seconds.
    pub lease_seconds: u32,
    /// Deadline of a request. Well inside of the lease, and of [`Policy::call_for`]; the HTTP client's own comes before it.
    pub call: Duration,
    /// How long a refresh waits for another process's lease, or for its next try, in seconds.
    pub patience_seconds: u32,
    /// How long a write is tried again before what came is spilled and the callers are told.
    pub commit: Duration,
    /// The longest sleep of the scheduler, in seconds: 1 to 3600. Each process sleeps for a part of it, drawn anew.
    pub wake_seconds: u32,
    /// Whether this process renews ahead of time. Some process of a fleet must.
    pub keep_alive: bool,
    /// The seed of all jitter; `None`: from the system.
    pub seed: Option<u64>,
}

impl Default for Options {
    /// Lease 90 s, call 40 s, patience 60 s, commit 3 s, wake 60 s.
    fn default() -> Self {
        Self {
            thresholds: Thresholds::default(),
            bounds: Bounds::default(),
            rule: Rule::default(),
            lease_seconds: 90,
            call: Duration::from_secs(40),
            patience_seconds: 60,
            commit: Duration::from_secs(3),
            wake_seconds: 60,
            keep_alive: true,
            seed: None,
        }
    }
}

impl Options {
    /// Nothing is sent when less than this is left of the lease: the request's deadline, and a tenth of the lease for what comes
    /// before and after it.
    pub(crate) fn least_lease_seconds(&self) -> u32 {
        let call = u32::try_from(self.call.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
        call.saturating_add(self.lease_seconds / 10)
    }

    pub(crate) fn check(&self, policy: &Policy) -> Result<(), BuildError> {
        if self.lease_seconds == 0 || self.lease_seconds > evergrant_vault::MAX_LEASE_SECONDS {
            return Err(BuildError::Lease);
        }
        let most_seconds = (self.lease_seconds / 2).min(policy.call_for.saturating_sub(policy.call_for / 4));
        if self.call > Duration::from_secs(most_seconds.into()) {
            return Err(BuildError::Deadline { most_seconds });
        }
        if self.wake_seconds == 0 || self.wake_seconds > 3_600 {
            return Err(BuildError::Wake);
        }
        Ok(())
    }
}
