//! Whole lives from bytes, judged by every invariant.

use faq::checks;
use faq::script::Script;
use proptest::prelude::*;

/// How many lives: `FAQ_LIVES` says, for a long run.
fn lives() -> u32 {
    std::env::var("FAQ_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(4_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: lives(), failure_persistence: None, ..ProptestConfig::default() })]

    /// I1 to I8 and L1, in lives of up to sixty events.
    #[test]
    fn no_life_breaks_an_invariant(first: u8, pairs in prop::collection::vec(any::<[u8; 2]>(), 0..60)) {
        let mut bytes = vec![first];
        bytes.extend(pairs.concat());
        let script = Script::from_bytes(&bytes);
        let mut world = script.run();
        if let Err(wrong) = checks::judge(&mut world) {
            return Err(TestCaseError::fail(format!("{wrong}\n{:?}", script)));
        }
    }
}
