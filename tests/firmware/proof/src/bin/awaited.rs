//! The async face. See the library.
#![no_std]
#![no_main]

evergrant_proof::program!(await evergrant_proof::asynchronous, evergrant_proof::asynchronous_rest);
