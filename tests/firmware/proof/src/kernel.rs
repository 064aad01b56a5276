//! The kernel alone: no bytes, no text.

use core::hint::black_box;

use evergrant::phase::{Event, step};
use evergrant::{Phase, Provider, Time};

use crate::any;

/// The kernel and its views.
pub fn kernel() {
    let policy = any(Provider::INTUIT_SANDBOX.policy);
    let now = any(Time::UNSET);
    if let Ok(taken) = black_box(step(&policy, &any(Phase::NEW), now, any(Event::Tick))) {
        let phase = any(taken.phase);
        black_box(phase.due(&policy));
        black_box(phase.restored());
        black_box(phase.in_flight());
        black_box((phase.usable(), phase.doubt.lost_since()));
    }
}
