//! The memory of evergrant and the floors.

use bench::floor::Floor;
use bench::ours::Evergrant;

#[global_allocator]
static ALLOCATOR: bench::weigh::Counting = bench::weigh::Counting;

fn main() {
    bench::weigh::main(&mut [&mut Evergrant::new(), &mut Floor::<false>::new(), &mut Floor::<true>::new()]);
}
