//! Memory: allocations counted, and the stack painted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::data::Data;
use crate::measure::measured;
use crate::{Contestant, Item, check};

/// The system's allocator, counted. Only the binaries that weigh have it: where instructions are counted, nothing is
/// added to an allocation.
#[derive(Debug)]
pub struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count(bytes: usize, before: usize) {
    COUNT.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes, Relaxed);
    HELD.fetch_add(bytes, Relaxed);
    HELD.fetch_sub(before, Relaxed);
}

/// Bytes of the heap that are in use now.
#[must_use]
pub fn held() -> usize {
    HELD.load(Relaxed)
}

/// What an item takes of memory.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    pub allocations: usize,
    pub bytes: usize,
    pub stack: usize,
}

/// Allocations and stack of one round, after one that was checked.
pub fn weigh(contestant: &mut dyn Contestant, item: Item) -> Weight {
    contestant.prepare(item);
    contestant.run(item);
    check(item, &Data::new(), &contestant.seen(item));
    contestant.prepare(item);
    let before = (COUNT.load(Relaxed), BYTES.load(Relaxed));
    measured(contestant, item);
    let (allocations, bytes) = (COUNT.load(Relaxed) - before.0, BYTES.load(Relaxed) - before.1);
    contestant.prepare(item);
    let stack = depth(|| measured(contestant, item));
    contestant.prepare(Item::Nothing);
    let stack = stack - depth(|| measured(contestant, Item::Nothing));
    Weight { allocations, bytes, stack }
}

/// The deepest byte of stack that a call wrote to: it runs on a stack of ours that was painted before.
fn depth(call: impl FnOnce()) -> usize {
    const SIZE: usize = 256 * 1024;
    const PAINT: u64 = 0xa5c3_96e1_7b2d_48f0;
    let mut stack = vec![PAINT; SIZE / 8];
    // SAFETY: the memory is ours, aligned as a stack is after `on_stack` has rounded it, and lives until the call is
    // over; what runs there needs far less, and a panic in it ends the process.
    unsafe { psm::on_stack(stack.as_mut_ptr().cast(), SIZE, call) };
    let untouched = stack.iter().take_while(|word| **word == PAINT).count();
    SIZE - untouched * 8
}

/// The command line of a binary that weighs: a line for each contestant and item.
pub fn main(contestants: &mut [&mut dyn Contestant]) {
    for contestant in contestants {
        for item in Item::ALL {
            if item == Item::Nothing || !contestant.can(item) {
                continue;
            }
            let Weight { allocations, bytes, stack } = weigh(*contestant, item);
            println!("{} {} {allocations} {bytes} {stack}", contestant.name(), item.name());
        }
    }
}
