//! What is searched, not sampled: the kernel alone over every class of its clock, and a fleet round it; and the bodies of the
//! fuzz targets.
//!
//! Nothing here is shipped. `cargo test -p model` runs a short slice of each engine, `cargo run --release -p model -- --deep`
//! the whole of it; names behind it pick some.

pub mod fleet;
pub mod fuzz;
pub mod kernel;
