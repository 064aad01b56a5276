//! The memory of the peers.

#[global_allocator]
static ALLOCATOR: bench::weigh::Counting = bench::weigh::Counting;

fn main() {
    let mut peers = bench_peers::peers();
    let mut peers: Vec<_> = peers.iter_mut().map(|peer| &mut **peer as &mut dyn bench::Contestant).collect();
    bench::weigh::main(&mut peers);
    // The heap that a grant's tokens take beyond their bytes, and the size of what holds them.
    let before = bench::weigh::held();
    let (tokens, size) = bench_peers::held();
    let heap = bench::weigh::held() - before - size;
    drop(tokens);
    println!("held oauth2-response {}", heap + size - 1_050);
}
