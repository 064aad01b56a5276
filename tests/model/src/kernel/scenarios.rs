//! What is searched, by name.

use evergrant::{Policy, Provider};

use super::Scenario;

const INTUIT: Policy = Provider::INTUIT_SANDBOX.policy;
const STRICT: Policy = Provider::STRICT.policy;

const PLAIN: Scenario = Scenario {
    name: "",
    policy: INTUIT,
    lifetimes: Vec::new(),
    consents: false,
    signed: false,
    signs: false,
    candidates: false,
    revoke: false,
    wrong_clock: false,
    fine: false,
};

/// The lifetimes of the FAQ, with and without a hard end.
fn lifetimes() -> Vec<(u32, u32, u32)> {
    vec![(3_600, 8_640_000, 0), (3_600, 8_640_000, 157_680_000)]
}

/// Small enough for every test run.
#[must_use]
pub fn short() -> Vec<Scenario> {
    let patient = Policy { refusals: 3, ..INTUIT };
    let no_end = vec![(3_600, 8_640_000, 0)];
    vec![
        Scenario {
            name: "intuit-grant",
            policy: Policy { refusals: 2, ..INTUIT },
            lifetimes: lifetimes(),
            ..PLAIN
        },
        Scenario {
            name: "intuit-clock",
            policy: Policy { refusals: 2, hard_for: evergrant::FOREVER, ..INTUIT },
            lifetimes: no_end.clone(),
            wrong_clock: true,
            ..PLAIN
        },
        Scenario {
            name: "strict-clock",
            policy: Policy { refresh_for: 8_640_000, ..STRICT },
            lifetimes: no_end.clone(),
            wrong_clock: true,
            signs: true,
            revoke: true,
            ..PLAIN
        },
        Scenario {
            name: "consent",
            policy: Policy { refusals: 2, hard_for: evergrant::FOREVER, ..STRICT },
            lifetimes: no_end.clone(),
            consents: true,
            revoke: true,
            ..PLAIN
        },
        Scenario {
            name: "candidates",
            policy: Policy { hard_for: evergrant::FOREVER, ..patient },
            lifetimes: no_end,
            candidates: true,
            ..PLAIN
        },
    ]
}

/// All.
#[must_use]
pub fn deep() -> Vec<Scenario> {
    let patient = Policy { refusals: 3, ..INTUIT };
    let odd = vec![(3_600, 8_640_000, 0), (0, 0, 0), (3_600, 60, 3_600)];
    let mut all = short();
    all.extend([
        Scenario {
            name: "deep-intuit",
            policy: patient,
            lifetimes: lifetimes(),
            signs: true,
            candidates: true,
            revoke: true,
            wrong_clock: true,
            fine: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-strict",
            policy: STRICT,
            lifetimes: lifetimes(),
            signs: true,
            candidates: true,
            revoke: true,
            wrong_clock: true,
            fine: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-consent",
            policy: Policy { refusals: 2, hard_for: evergrant::FOREVER, ..INTUIT },
            lifetimes: vec![(3_600, 8_640_000, 0)],
            consents: true,
            signed: true,
            signs: true,
            revoke: true,
            wrong_clock: true,
            ..PLAIN
        },
        Scenario {
            name: "deep-odd-lifetimes",
            policy: Policy { refusals: 2, revoke_tries: 2, ..INTUIT },
            lifetimes: odd,
            signs: true,
            revoke: true,
            fine: true,
            ..PLAIN
        },
    ]);
    all
}
