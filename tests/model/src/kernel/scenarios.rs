//! What is searched, by name.

use evergrant::{FOREVER, Policy, Provider};

use super::{Scenario, Wrong};

const INTUIT: Policy = Provider::INTUIT_SANDBOX.policy;
const STRICT: Policy = Provider::STRICT.policy;

const PLAIN: Scenario = Scenario {
    name: "",
    policy: INTUIT,
    lifetimes: Vec::new(),
    consents: false,
    signed: false,
    late: false,
    signs: false,
    candidates: false,
    revoke: false,
    wrong_clock: Wrong::Never,
    fine: false,
};

/// The lifetimes of the FAQ, with and without a hard end.
fn lifetimes() -> Vec<(u32, u32, u32)> {
    vec![(3_600, 8_640_000, 0), (3_600, 8_640_000, 157_680_000)]
}

/// Small enough for every test run.
#[must_use]
pub fn short() -> Vec<Scenario> {
    let no_end = vec![(3_600, 8_640_000, 0)];
    vec![
        Scenario {
            name: "intuit-grant",
            policy: Policy { refusals: 2, hard_for: FOREVER, ..INTUIT },
            lifetimes: no_end.clone(),
            ..PLAIN
        },
        Scenario {
            name: "strict-clock",
            policy: Policy { refresh_for: 7_200, ..STRICT },
            lifetimes: vec![(3_600, 7_200, 0)],
            wrong_clock: Wrong::Little,
            ..PLAIN
        },
        Scenario {
            name: "strict-revoke",
            policy: Policy { revoke_tries: 2, refresh_for: 8_640_000, ..STRICT },
            lifetimes: no_end.clone(),
            signs: true,
            revoke: true,
            late: true,
            ..PLAIN
        },
        Scenario {
            name: "consent",
            policy: Policy { refusals: 1, ..STRICT },
            lifetimes: vec![(3_600, 2_592_000, 0)],
            consents: true,
            ..PLAIN
        },
        Scenario {
            name: "candidates",
            policy: Policy { refusals: 1, hard_for: FOREVER, ..INTUIT },
            lifetimes: no_end,
            candidates: true,
            ..PLAIN
        },
    ]
}

/// All.
#[must_use]
pub fn deep() -> Vec<Scenario> {
    let no_end = vec![(3_600, 8_640_000, 0)];
    let mut all = short();
    all.extend([
        Scenario {
            name: "deep-intuit-ends",
            policy: Policy { refusals: 2, ..INTUIT },
            lifetimes: lifetimes(),
            late: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-strict-jumps",
            policy: Policy { refresh_for: 8_640_000, ..STRICT },
            lifetimes: no_end.clone(),
            wrong_clock: Wrong::Far,
            ..PLAIN
        },
        Scenario {
            name: "deep-candidates",
            policy: Policy { refusals: 3, hard_for: FOREVER, ..INTUIT },
            lifetimes: no_end.clone(),
            candidates: true,
            late: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-intuit-clock",
            policy: Policy { refusals: 2, hard_for: FOREVER, ..INTUIT },
            lifetimes: no_end.clone(),
            wrong_clock: Wrong::Far,
            late: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-intuit-fine",
            policy: INTUIT,
            lifetimes: lifetimes(),
            late: true,
            fine: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-intuit-signs",
            policy: Policy { refusals: 3, revoke_tries: 2, hard_for: FOREVER, ..INTUIT },
            lifetimes: no_end.clone(),
            signs: true,
            revoke: true,
            late: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-strict-clock",
            policy: Policy { revoke_tries: 2, refresh_for: 8_640_000, ..STRICT },
            lifetimes: no_end.clone(),
            signs: true,
            revoke: true,
            wrong_clock: Wrong::Far,
            late: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-consent",
            policy: Policy { refusals: 2, revoke_tries: 2, ..STRICT },
            lifetimes: vec![(3_600, 2_592_000, 0)],
            consents: true,
            revoke: true,
            late: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-consent-signed",
            policy: Policy { refusals: 1, ..STRICT },
            lifetimes: vec![(3_600, 2_592_000, 0)],
            consents: true,
            signed: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-consent-clock",
            policy: Policy { refusals: 1, ..STRICT },
            lifetimes: vec![(3_600, 2_592_000, 0)],
            consents: true,
            wrong_clock: Wrong::Far,
            ..PLAIN
        },
        Scenario {
            name: "deep-odd-lifetimes",
            policy: Policy { refusals: 2, revoke_tries: 2, ..INTUIT },
            lifetimes: vec![(3_600, 8_640_000, 0), (0, 0, 0), (3_600, 60, 3_600)],
            signs: true,
            ..PLAIN
        },
    ]);
    all
}
