//! See `model::fuzz::life`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| model::fuzz::life(data));
