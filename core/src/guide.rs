//! The guide: how a grant lives, what the core decides and why, and what an adapter owes it.
//!
//! - [`life`]: the states of a grant, and what moves it
//! - [`storing`]: the record, revisions, and several writers
//! - [`requests`]: the four classes of outcome, and what an HTTP adapter must and must never do
//! - [`consents`]: the authorization URL, `state`, the callback, wider consents
//! - [`clocks`]: time as an argument, and clocks that are wrong
//! - [`memory`]: buffers, their sizes, and secrets in them
//! - [`rules`]: each rule of the FAQ, where it is obeyed, where it is tested, and the break that its test catches
//! - [`diagram`] and [`transitions`]: every event on every phase
//! - [`model`]: what was searched whole, what was fuzzed, and what neither covers
//! - [`mutants`]: small changes to the code, and the tests that see them
//! - [`mod@bench`]: what it costs, beside what else one would take

#![doc = include_str!("guide/index.md")]

#[doc = include_str!("guide/life.md")]
pub mod life {}

#[doc = include_str!("guide/storing.md")]
pub mod storing {}

#[doc = include_str!("guide/requests.md")]
pub mod requests {}

#[doc = include_str!("guide/consents.md")]
pub mod consents {}

#[doc = include_str!("guide/clocks.md")]
pub mod clocks {}

#[doc = include_str!("guide/memory.md")]
pub mod memory {}

#[doc = include_str!("guide/rules.md")]
pub mod rules {}

#[doc = include_str!("guide/diagram.md")]
pub mod diagram {}

#[doc = include_str!("guide/transitions.md")]
pub mod transitions {}

#[doc = include_str!("guide/model.md")]
pub mod model {}

#[doc = include_str!("guide/mutants.md")]
pub mod mutants {}

#[doc = include_str!("guide/bench.md")]
pub mod bench {}

#[doc = include_str!("../CHANGELOG.md")]
pub mod changelog {}
