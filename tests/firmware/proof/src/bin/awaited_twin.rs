//! The async face, and something that can panic beside it: it must not link, or the one without would prove nothing.
#![no_std]
#![no_main]

fn panics() {
    let bytes = core::hint::black_box([1_u8; 4]);
    core::hint::black_box(bytes[core::hint::black_box(5)]);
}

evergrant_proof::program!(await evergrant_proof::asynchronous, panics);
