//! evergrant and the floors, alone: what `cargo xtask bench --check` builds.

use bench::floor::Floor;
use bench::ours::Evergrant;

fn main() {
    let mut ours = Evergrant::new();
    // A record from outside, such as an old one, in the place of a young one.
    if let Ok(path) = std::env::var("BENCH_RECORD") {
        ours.begin_from(std::fs::read(path).expect("the record can be read"));
    }
    bench::measure::main(&mut [&mut ours, &mut Floor::<false>::new(), &mut Floor::<true>::new()]);
}
