//! What a grant costs in memory, counted by the allocator: the token's own bytes, and no more than 96 beside them.

mod common;

use std::alloc::System;

use common::*;
use evergrant_emulator::authority::Policy as Rotation;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that the allocator itself puts before a piece, and what it rounds up to (glibc on 64 bits: 8, and 16). The counting one
/// does not see them.
const PIECE: f64 = 8.0 + 8.0;

#[tokio::test(start_paused = true)]
async fn a_held_grant_costs_its_token_and_96_bytes() {
    const GRANTS: u64 = 3_000;
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    {
        let keeper = keeper(&world, store.another());
        for number in 0..GRANTS {
            connect(&world, &keeper, &realm(number)).await;
        }
        keeper.shutdown().await;
    }
    let mut options = options();
    options.keep_alive = false;
    let keeper = builder(&world, store.another()).options(options).start().unwrap();
    // Whatever is set up on first use is set up.
    let first = keeper.access_token(&realm(0)).await.unwrap();
    let length = first.expose().len() as f64;
    drop(first);
    let region = Region::new(ALLOCATOR);
    for number in 1..GRANTS {
        drop(keeper.access_token(&realm(number)).await.unwrap());
    }
    let change = region.change();
    let held =
        change.bytes_allocated as f64 - change.bytes_deallocated as f64 + change.bytes_reallocated as f64;
    assert_eq!(keeper.status().in_memory as u64, GRANTS);
    let beside = held / (GRANTS - 1) as f64 - length + PIECE;
    println!("a token of {length} bytes is held in {:.1} bytes more", beside);
    assert!((23.0..=96.0).contains(&beside), "{beside}");
}
