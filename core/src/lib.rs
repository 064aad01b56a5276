//! evergrant keeps an OAuth 2.0 grant to Intuit (QuickBooks) alive.
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

pub mod answer;
pub mod api;
mod app;
mod callback;
pub mod consent;
pub mod diagnosis;
mod error;
pub mod phase;
mod provider;
mod record;
mod request;
mod secret;
mod session;
mod time;
mod write;

pub use app::{App, ClientSecret, Keys, Scopes, StateKey};
pub use callback::{Callback, Decode, Encoded};
pub use consent::{Ask, Signed, SignedAsk, signed_url};
pub use error::{AppError, CallbackError, Error, Fault, Field, RecordError, TooLong};
pub use phase::{Call, Due, Effects, FOREVER, Phase, Policy, Purpose, Reason, Refused, Tell};
pub use provider::{Authentication, IssuerCheck, LocalRedirects, Provider, RevocationBody};
pub use record::Record;
pub use request::{Http, Request};
pub use secret::AccessToken;
pub use session::{Input, MergeError, Received, Session};
pub use time::Time;
