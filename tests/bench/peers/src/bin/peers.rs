//! The peers, for callgrind.

fn main() {
    let mut peers = bench_peers::peers();
    let mut peers: Vec<_> = peers.iter_mut().map(|peer| &mut **peer as &mut dyn bench::Contestant).collect();
    bench::measure::main(&mut peers);
}
