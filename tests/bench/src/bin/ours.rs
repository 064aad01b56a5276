//! evergrant and the floors, alone: what `cargo xtask bench --check` builds.

use std::time::Instant;

use bench::floor::Floor;
use bench::ours::Evergrant;

fn main() {
    let mut ours = Evergrant::new();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, refreshes, path] = arguments.as_slice()
        && verb == "age"
    {
        return age(&mut ours, refreshes.parse().expect("a number of refreshes"), path);
    }
    // A record from outside, such as an old one, in the place of a young one.
    if let Ok(path) = std::env::var("BENCH_RECORD") {
        ours.begin_from(std::fs::read(path).expect("the record can be read"));
    }
    bench::measure::main(&mut [&mut ours, &mut Floor::<false>::new(), &mut Floor::<true>::new()]);
}

/// Refreshes one session over and over. Says what a refresh costs among the first and among the last, and leaves the
/// session's record.
fn age(ours: &mut Evergrant, refreshes: u32, path: &str) {
    const WINDOW: u32 = 10_000;
    println!("young-record-bytes {}", ours.aged(1, |_| {}).len());
    let (mut early, mut late) = (Vec::new(), Vec::new());
    let mut last = Instant::now();
    let record = ours.aged(refreshes, |round| {
        let now = Instant::now();
        if round < WINDOW {
            early.push(now - last);
        } else if round >= refreshes - WINDOW {
            late.push(now - last);
        }
        last = now;
    });
    for (name, mut times) in [("early-ns", early), ("late-ns", late)] {
        times.sort();
        println!("{name} {}", times[times.len() / 2].as_nanos());
    }
    println!("aged-record-bytes {}", record.len());
    std::fs::write(path, record).expect("the record can be written");
}
