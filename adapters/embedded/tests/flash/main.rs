//! The record in flash: the same cases for the blocking face and for the async one.
#![allow(clippy::duplicate_mod)] // That is how the cases are the same.

mod asynch;
mod blocking;
mod chip;
#[path = "../common/mod.rs"]
mod common;
