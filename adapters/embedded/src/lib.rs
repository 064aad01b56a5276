#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod asynch;
pub mod blocking;
mod clock;
mod device;
mod reader;
pub mod slots;
mod talk;
mod target;
mod trouble;

pub use clock::Clock;
pub use device::{Board, DriveError, GetError, News, OpenError};
pub use reader::HEAD_MOST;
pub use slots::{SlotError, Slots, Store};
pub use talk::{Step, Talk};
pub use target::{Target, TargetError};
pub use trouble::{Part, Trouble};
