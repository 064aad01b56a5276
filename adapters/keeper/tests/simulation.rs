//! A short slice of `examples/simulation`, and what makes it worth believing: the whole keeper, on the same plan, sends as many
//! requests.

mod common;
#[path = "../examples/simulation/model.rs"]
mod model;
#[path = "../examples/simulation/whole.rs"]
mod whole;

use evergrant_keeper::Options;
use model::{DAY, Kind, Outage, Plan};

fn plan(grants: u32, days: u32, kind: Option<Kind>) -> Plan {
    let mut options = Options::default();
    options.wake_seconds = 3_600;
    let outage = kind.map(|kind| Outage { kind, begins: 75 * DAY, lasts: 6 * 3_600 });
    Plan { grants, seconds: days * DAY, outage, options, answer_ms: 300, connected_within: DAY, seed: 1 }
}

#[test]
fn in_eleven_years_nothing_dies_with_any_outage_or_none() {
    for kind in [None, Some(Kind::Errors), Some(Kind::Silence), Some(Kind::Refused)] {
        let report = model::run(&plan(2_000, 11 * 365, kind));
        let deaths = report.died_of_age + report.died_at_the_hard_end + report.died_otherwise;
        assert_eq!((deaths, report.sent_too_late), (0, 0), "{kind:?}");
        assert!(report.least_left >= 13 * DAY, "{kind:?}: {} s", report.least_left);
        // Each grant about every 74 days.
        assert!((2_000 * 50..2_000 * 75).contains(&report.refreshed), "{kind:?}: {}", report.refreshed);
        assert_eq!(kind.is_some(), report.caught_up.is_some());
        assert!(
            report.caught_up.is_none_or(|seconds| seconds < 6 * 3_600),
            "{kind:?}: {:?}",
            report.caught_up
        );
    }
}

/// Their draws differ, so their numbers do, by little.
#[test]
fn the_whole_keeper_sends_as_many() {
    for kind in [None, Some(Kind::Errors), Some(Kind::Refused)] {
        let plan = plan(600, 365, kind);
        let (model, whole) = (model::run(&plan), whole::run(&plan));
        assert_eq!(whole.alive, plan.grants, "{kind:?}");
        // A renewal's access token stays for its hour, and until it is swept.
        assert!(whole.in_memory < 20, "{kind:?}: {}", whole.in_memory);
        let near = |one: u64, other: u64, by: u64| one.abs_diff(other) * 100 <= by * one.max(other) + 1_500;
        assert!(
            near(model.all.requests, whole.all.requests, 3),
            "{kind:?}: {} and {}",
            model.all.requests,
            whole.all.requests
        );
        assert!(
            near(model.in_outage.requests, whole.in_outage.requests, 50),
            "{kind:?}: {} and {}",
            model.in_outage.requests,
            whole.in_outage.requests
        );
    }
}
