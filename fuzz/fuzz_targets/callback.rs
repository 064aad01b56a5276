//! See `model::fuzz::callback`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| model::fuzz::callback(data));
