//! The memory of evergrant and the floors.

use bench::floor::Floor;
use bench::ours::Evergrant;
use evergrant::Session;

#[global_allocator]
static ALLOCATOR: bench::weigh::Counting = bench::weigh::Counting;

fn main() {
    bench::weigh::main(&mut [&mut Evergrant::new(), &mut Floor::<false>::new(), &mut Floor::<true>::new()]);
    // Its token bytes are inside of it: a session is memory of one size.
    println!("held session-default {}", size_of::<Session>());
    println!("held session-device {}", size_of::<Session<1280, 128, 128>>());
    println!("held session-beyond-buffers {}", size_of::<Session<0, 0, 0>>());
}
