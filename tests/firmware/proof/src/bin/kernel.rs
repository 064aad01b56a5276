//! See the library.
#![no_std]
#![no_main]

evergrant_proof::program!(evergrant_proof::kernel);
