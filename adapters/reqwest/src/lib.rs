//! Async HTTP for evergrant, over [`reqwest`].
//!
//! ```
//! use evergrant_reqwest::{Client, Options};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let client = Client::new(Options::default())?;
//! let reply = client.read("http://localhost:1/.well-known/openid_configuration").await;
//! assert!(reply.status().is_none(), "nobody listens there");
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Client::carry_out`] takes one of the core's requests and says truthfully what became of it:
//!
//! | [`Reply`] | When | What the core may do |
//! | --- | --- | --- |
//! | not sent | no connection was ever made: DNS, connect, TLS handshake; or the request could not be written down | try again, even a code |
//! | no answer | anything else that went wrong: reset, time-out, nonsense in place of HTTP | a refresh by the replay policy, a code never (EXC-3) |
//! | answer | a status line and its headers came; the body as far as it came | judge it |
//!
//! # A dropped future is no answer
//!
//! Dropping the future of `carry_out` closes its connection. Whether the request had left is then not known, and nobody is told:
//! whoever drops it must hand the core [`Received::NoAnswer`](evergrant::Received::NoAnswer). An answer that was on its way is lost
//! with it, and with a refresh its token. So no caller that may go away should hold this future: run it in a task of its own.
//!
//! # What it never does
//!
//! Whatever the answer or the environment says, it does not
//!
//! - follow a redirect: it would carry the client secret elsewhere;
//! - send a request twice: each has a connection of its own that is closed after it, so there is no idle one to be found stale;
//!   it speaks HTTP/1.1 alone, where no server can ask for a repetition; and the layer that repeats is switched off (I1,
//!   I2, EXC-1);
//! - speak plain http to anything but loopback, look `localhost` up anywhere, or ask a proxy for loopback;
//! - skip the check of a certificate or of its name (RFC 6749 §10.9);
//! - read more than [`Options::body_most`] bytes, or wait longer than [`Options::call`].
//!
//! Bodies are wiped when a [`Reply`] is dropped; so is what a request was handed over in. What the layers below copy is theirs.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod client;
mod failure;

pub use client::{Client, Options};
pub use evergrant_wire::{Failure, Reply};
