//! Keeps a fleet's grants alive: the core, HTTP and a vault, put together so that no grant is lost that could have been kept.
//!
//! One [`Keeper`] in each process, all of them on one vault: SQLite for a machine, PostgreSQL for a fleet. A program asks it for access
//! tokens, and sends its users to consent; everything else it does by itself.
//!
//! ```
//! use evergrant::{App, ClientSecret, Keys, Provider, Scopes, StateKey};
//! use evergrant_keeper::{Consent, Error, Keeper};
//! use evergrant_reqwest::{Client, Options};
//! use evergrant_vault::{Keys as VaultKeys, OnThreads, Spill, Sqlite};
//!
//! # let home = tempfile::tempdir()?;
//! # let (vault, key, spill) = (home.path().join("vault.db"), home.path().join("vault.key"), home.path().join("spill"));
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! // What comes from the configuration lives as long as the program: `String::leak` once, or statics.
//! let app = App::new(&Provider::INTUIT_SANDBOX, Keys {
//!     client_id: "from your configuration",
//!     client_secret: ClientSecret::new("from your configuration"),
//!     redirect_uris: &["https://app.example/callback"],
//!     further_scopes: &[],
//!     state_key: Some(StateKey::new(&[7; 32])), // the same in all processes, and secret
//! })?;
//! let store = OnThreads::new(Sqlite::open(&vault, VaultKeys::File(&key))?);
//! let keeper = Keeper::builder(app, store, Client::new(Options::default())?)
//!     .spill(Spill::open(&spill, VaultKeys::File(&key))?) // on another disk than the vault
//!     .start()?;
//!
//! // In the handler that begins a consent: send the browser there.
//! let url = keeper.connect(&Consent {
//!     redirect_uri: "https://app.example/callback",
//!     scopes: Scopes::ACCOUNTING,
//!     binding: b"the session cookie of this browser",
//!     name: "",
//! })?;
//! assert!(url.starts_with("https://appcenter.intuit.com/connect/oauth2?"));
//!
//! // In the handler of the callback: `keeper.callback(query, cookie).await?.realm` is what to ask with from now on.
//!
//! // Wherever the API is called:
//! match keeper.access_token("9341453000000001").await {
//!     Ok(token) => drop(token.authorization()), // the header's value
//!     Err(Error::NotConnected | Error::ConsentNeeded { .. }) => {} // show the user `url`
//!     Err(later) => eprintln!("{later}"), // the keeper goes on trying
//! }
//!
//! keeper.shutdown().await; // lets what is under way be answered and stored
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The contract
//!
//! * **Fresh tokens cost nothing.** They come from memory, with no lock on any store. A held grant takes its token's bytes and at
//!   most 96 more: 23 bytes of header and the realm's own 16 in the token's own piece of memory, the allocator's 16, and 19 to 39
//!   of a hash table (`tests/held.rs` counts them).
//! * **One refresh at a time** (REF-2, I2): callers in a process share it; processes and machines are kept apart by the row's lease.
//!   Whoever does not get the lease waits with a deadline, reads again, and never goes on without it. A process that stood still since
//!   it got one sends nothing, unless there is still time for the answer.
//! * **No caller can cancel it.** It runs in a task of its own: give callers whatever deadlines they like.
//! * **Ahead of time.** From the advisory threshold on a refresh is begun and the old token still served; from the mandatory one
//!   on callers wait. A grant that nobody asks for is renewed weeks before it would die of age (DUR-8), at a moment drawn for each.
//! * **Durable first** (REF-1, I3). Tokens that the store does not take are kept in memory and in a sealed [spill
//!   folder](evergrant_vault::Spill), are written as soon as it works, and are handed out only then. What was fenced out is merged as a
//!   candidate, neither written over a newer token nor dropped (I5). That a request was not sent, or was answered without tokens, is
//!   written down as well, however long the store is away: or it would count as lost, which ends a grant after a day (STA-4).
//! * **An outage ends nothing** (REF-4). When many grants are refused at once, across the fleet, all of them hold: a refusal counts for
//!   nothing then, and one grant at a time asks again, at spaced times. One that is about to die may ask all the same.
//! * **A 401 counts only against its own token**: hand it to [`Keeper::rejected`], as late as you like. With feature `tower`,
//!   `KeeperLayer` does it.
//! * **A code is exchanged once** (EXC-1), in whatever processes its callback comes in, however often; all are told the same.
//!
//! # Time
//!
//! All of a fleet live by the store's clock; the machine's fills the time in between. Waiting is tokio's: a [`Clock`] that goes by
//! [`tokio::time::Instant`] and tokio's paused clock make a simulation, and [`schedule`], [`limit`] and [`hold`] are pure, for
//! larger ones.
//!
//! # What is told
//!
//! `tracing` events under the target `evergrant`; metrics through the `metrics` facade, none with a label for a grant: see
//! [`operating`]. No token, code or secret is in any of them, nor in any error (I6).
//!
//! # Features
//!
//! | Feature | What it adds |
//! | --- | --- |
//! | `postgres` | `Builder::changes`: what other processes did is heard at once |
//! | `tower` | `KeeperLayer`: the token goes in, a 401 is answered with one refresh and one repeat |
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
#[doc = include_str!("../OPERATING.md")]
pub mod operating {}
mod options;
mod refresh;
pub mod schedule;
mod telemetry;
mod word;

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
