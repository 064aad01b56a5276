//! The memory of the peers.

#[global_allocator]
static ALLOCATOR: bench::weigh::Counting = bench::weigh::Counting;

fn main() {
    let mut peers = bench_peers::peers();
    let mut peers: Vec<_> = peers.iter_mut().map(|peer| &mut **peer as &mut dyn bench::Contestant).collect();
    bench::weigh::main(&mut peers);
}
