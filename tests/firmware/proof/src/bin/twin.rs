//! It can panic, so it must not link: if it did, the others would prove nothing.
#![no_std]
#![no_main]

fn panics() {
    let bytes = core::hint::black_box([1_u8; 4]);
    core::hint::black_box(bytes[core::hint::black_box(5)]);
}

evergrant_proof::program!(panics);
