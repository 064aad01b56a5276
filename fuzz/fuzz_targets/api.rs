//! See `model::fuzz::api`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| model::fuzz::api(data));
