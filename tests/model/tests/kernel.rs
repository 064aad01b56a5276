//! The kernel's whole space, in the scenarios that are small enough for every run.

use model::kernel::{scenarios, search};

#[test]
fn every_property_holds_on_every_edge() {
    std::thread::scope(|scope| {
        for scenario in scenarios::short() {
            scope.spawn(move || {
                let report = search(&scenario).unwrap_or_else(|wrong| panic!("{wrong}"));
                println!("engine=kernel scenario={} {report}", scenario.name);
                assert!(report.states > 10_000, "{}: the space has collapsed: {report}", scenario.name);
            });
        }
    });
}
