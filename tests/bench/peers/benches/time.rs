//! Time per item. The preparation of each round is not in it, nor is what reading the clock costs.

use std::time::Duration;

use bench::floor::Floor;
use bench::measure::{clock_cost, timed};
use bench::ours::Evergrant;
use bench::{Contestant, Item};
use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .without_plots()
        .configure_from_args();
    let clock = clock_cost();
    let mut all: Vec<Box<dyn Contestant>> =
        vec![Box::new(Evergrant::new()), Box::new(Floor::<false>::new()), Box::new(Floor::<true>::new())];
    all.extend(bench_peers::peers());
    for contestant in &mut all {
        for item in Item::ALL {
            if item == Item::Nothing || !contestant.can(item) {
                continue;
            }
            let mut group = criterion.benchmark_group(contestant.name());
            group.bench_function(item.name(), |bencher| {
                bencher.iter_custom(|rounds| timed(&mut **contestant, item, rounds, clock));
            });
            group.finish();
        }
    }
    criterion.final_summary();
}
