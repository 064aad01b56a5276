//! Keeps a fleet's grants alive.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod blocking;
mod carrier;
mod clock;
mod consent;
mod error;
mod fleet;
mod gate;
pub mod hold;
mod inner;
mod keep_alive;
mod keeper;
#[cfg(feature = "tower")]
mod layer;
pub mod limit;
mod memory;
#[cfg(feature = "postgres")]
mod news;
mod options;
mod refresh;
pub mod schedule;
mod telemetry;

pub use blocking::Blocking;
pub use carrier::Carrier;
pub use clock::{Clock, SystemClock};
pub use consent::{Consent, Linked};
pub use error::{BuildError, Error};
pub use hold::Rule;
pub use keeper::{Builder, Keeper, StartError, Status};
#[cfg(feature = "tower")]
pub use layer::{ForRealm, KeeperLayer, KeeperService, LayerError};
pub use limit::Bounds;
pub use memory::{AccessToken, Thresholds, TokenId};
pub use options::Options;
