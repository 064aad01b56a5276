//! Whole lives from bytes, judged by every invariant.
//!
//! The same lives each time, so that a run can be repeated. `FAQ_SEED` takes another row of them (a number), `FAQ_LIVES`
//! says how many.

use faq::checks;
use faq::script::Script;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// How many lives, where nobody says.
const LIVES: u64 = 4_000;
/// The row that is walked where nobody names one.
const SEED: u64 = 1;

/// A number from the environment. One that is none is an error: a long run that is not the one asked for proves nothing.
fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} takes a number, not {text:?}")),
        Err(_) => default,
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: u32::try_from(number("FAQ_LIVES", LIVES)).expect("fewer lives than four thousand million"),
        rng_seed: RngSeed::Fixed(number("FAQ_SEED", SEED)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// I1 to I8 and L1, in lives of up to sixty events: of one process, and of a fleet of two.
    #[test]
    fn no_life_breaks_an_invariant(first: u8, pairs in prop::collection::vec(any::<[u8; 2]>(), 0..60)) {
        let mut bytes = vec![first];
        bytes.extend(pairs.concat());
        let script = Script::from_bytes(&bytes);
        let mut world = script.run();
        if let Err(wrong) = checks::judge(&mut world) {
            return Err(TestCaseError::fail(format!("{wrong}\n{bytes:?}\n{script:?}")));
        }
    }
}
