//! Blocking HTTP for evergrant, over [`ureq`].
//!
//! ```
//! use evergrant_ureq::{Client, Options};
//!
//! let client = Client::new(Options::default());
//! # let _ = client;
//! ```
//!
//! [`Client::carry_out`] takes one of the core's requests and says truthfully what became of it:
//!
//! | [`Reply`] | When | What the core may do |
//! | --- | --- | --- |
//! | not sent | no byte of the request had been handed to the connection: DNS, connect, TLS handshake | try again, even a code |
//! | no answer | from the first byte on: reset, time-out, nonsense in place of HTTP | a refresh by the replay policy, a code never (EXC-3) |
//! | answer | a status line and its headers came; the body as far as it came | judge it |
//!
//! What it never does, whatever the answer or the environment says:
//!
//! - follow a redirect: it would carry the client secret elsewhere;
//! - send a request twice: each has a connection of its own that is closed after it, so there is no idle one to be found
//!   stale, and nothing below repeats anything (I1, I2, EXC-1);
//! - speak plain http to anything but loopback, or ask a proxy for loopback;
//! - skip the check of a certificate or of its name (RFC 6749 §10.9);
//! - read more than [`Options::body_most`] bytes, or wait longer than [`Options::call`].
//!
//! Bodies are wiped when a [`Reply`] is dropped, and the buffer that a request was written through as soon as it is sent.
//! What the TLS library and the operating system keep is theirs.
//!
//! **Logs.** ureq logs through the `log` crate, without secrets, but for one target: at `trace`, `ureq_proto::util` dumps all
//! that crosses the wire, the client secret and the tokens in it. A program that turns `trace` on must keep that target below
//! it (`RUST_LOG=trace,ureq_proto::util=debug`), or forbid the level when it is built (`log`'s feature `max_level_debug`).
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod client;
mod failure;
mod witness;

pub use client::{Client, Options};
pub use evergrant_wire::{Failure, Reply};
