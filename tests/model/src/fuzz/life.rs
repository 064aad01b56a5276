//! Whole lives from bytes: the generator of the property tests, and their checks.

use faq::checks;
use faq::script::{Event, Script};
use faq::world::DAY;

/// A life that has more in it takes more time and shows nothing new.
const EVENTS_MOST: usize = 60;
/// So long does a program live in it that wakes up for what is due, once a day at least.
const LIVED_MOST: u64 = 1_000 * DAY;

/// A life by script; then every invariant, and L1.
pub fn life(data: &[u8]) {
    let mut script = Script::from_bytes(data.get(..=2 * EVENTS_MOST).unwrap_or(data));
    let mut lived = 0;
    script.events.retain(|event| {
        lived += if let Event::Live(seconds) = event { *seconds } else { 0 };
        lived <= LIVED_MOST
    });
    let mut world = script.run();
    if let Err(wrong) = checks::judge(&mut world) {
        panic!("{wrong}\n{script:?}");
    }
}
