//! See `model::fuzz::answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| model::fuzz::answer(data));
