//! What is searched, not sampled: the kernel alone over every class of its clock.
//!
//! Nothing here is shipped. `cargo test -p model` runs a short slice of each engine, `cargo run --release -p model -- --deep`
//! the whole of it.

pub mod fuzz;
pub mod kernel;
