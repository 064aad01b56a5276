//! Nothing but the memory of a session without room for tokens: what it needs beyond their bytes.
#![no_std]
#![no_main]

use evergrant::Session;

/// Measured by the linker.
#[used]
static mut SESSION: [u8; size_of::<Session<0, 0, 0>>()] = [0; size_of::<Session<0, 0, 0>>()];

evergrant_proof::program!();
