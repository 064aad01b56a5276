//! evergrant keeps an OAuth 2.0 grant to Intuit (QuickBooks) alive: from consent to code to tokens, through every rotation,
//! to its end.
//!
//! It is a state machine and nothing else. It has no socket, no clock, no random numbers, no allocator: a [`Session`] is
//! told what happened and when, and says what to store and which request to send. The same code runs in a web server, in a
//! command and on a microcontroller. The adapters beside this crate carry it out; [`guide`] explains it at length.
//!
//! # The contract
//!
//! 1. Hand what happens to [`Session::handle`]. It returns [`Effects`]: **store**, **send**, **tell**, at most one of each,
//!    to be carried out in that order.
//! 2. *Store* means: write [`Session::record`] durably, refuse to put it in the place of a record with the same or a higher
//!    [`revision`](Record::revision), then hand in [`Input::Saved`]. Until that, the session hands out no token and no
//!    request. If it fails, hand in [`Received::NotSent`] for the call that was to follow; if the store had a newer
//!    record, [`adopt`](Session::adopt) it.
//! 3. *Send* means: carry out [`Session::request`] once, follow no redirect, let nothing repeat it, and hand in what
//!    became of it as [`Input::Answer`]. Say [`Received::NotSent`] only where it provably never left.
//! 4. Hand in [`Input::Tick`] when [`Session::due`] says so, and [`Input::Demand`] when an access token is needed.
//! 5. An error means that nothing has changed. The session is bit for bit as it was.
//! 6. After a restart, [`Session::restore`] the latest record. What was in flight counts as sent and unanswered.
//!
//! The core then holds its side: no code is sent twice, never two refreshes are in flight, no access token is handed out
//! before the refresh token that came with it is durable, one `invalid_grant` ends nothing, and no token that arrived is
//! dropped. Each rule of Intuit's FAQ and each invariant is cited by its ID where it is obeyed and where it is tested:
//! [`guide::rules`] lists them.
//!
//! # One refresh, whole
//!
//! ```
//! use evergrant::{App, ClientSecret, Input, Keys, Provider, Received, Scopes, Session, Time};
//!
//! # struct Disk; impl Disk { fn save(&self, _: &[u8]) {} }
//! # struct Net; impl Net { fn post(&self, request: &evergrant::Http) -> &'static str {
//! #     if request.body().starts_with("grant_type=refresh_token") {
//! #         r#"{"token_type":"bearer","access_token":"second","refresh_token":"RT-2","expires_in":3600}"#
//! #     } else {
//! #         r#"{"token_type":"bearer","access_token":"first","refresh_token":"RT-1","expires_in":3600}"#
//! #     } } }
//! # let (disk, net) = (Disk, Net);
//! let app = App::new(&Provider::INTUIT_SANDBOX, Keys {
//!     client_id: "from your configuration",
//!     client_secret: ClientSecret::new("from your configuration"),
//!     redirect_uris: &["https://app.example/callback"],
//!     further_scopes: &[],
//!     state_key: None,
//! })?;
//!
//! // The one driver, the same everywhere: store, then send, then hand in what became of it.
//! let drive = |session: &mut Session, now: Time, input: Input<'_>| -> Result<(), evergrant::Error> {
//!     let mut effects = session.handle(&app, now, input)?;
//!     loop {
//!         if let Some(revision) = effects.store {
//!             let mut record = [0; 8192];
//!             disk.save(session.record(&app).write(&mut record)?);
//!             let _ = session.handle(&app, now, Input::Saved(revision))?;
//!         }
//!         let Some(call) = effects.send else { return Ok(()) };
//!         let mut buffer = [0; 2048];
//!         let answer = net.post(&session.request(&app, call)?.write(&mut buffer)?);
//!         let received = Received::Answer {
//!             status: 200,
//!             retry_after: None,
//!             correlation: None,
//!             body: answer.as_bytes(),
//!         };
//!         effects = session.handle(&app, now, Input::Answer(call, received))?;
//!     }
//! };
//!
//! let now = Time::from_unix(1_800_000_000);
//! let mut session: Session = Session::new(&app);
//! # let random = [7; 64];
//! drive(&mut session, now, Input::Ask(evergrant::Ask {
//!     redirect_uri: "https://app.example/callback",
//!     scopes: Scopes::ACCOUNTING,
//!     random, // 64 bytes from the system
//! }))?;
//! let mut buffer = [0; 1024];
//! let url = session.authorization_url(&app, &mut buffer)?; // the user's browser goes there …
//! # let state = url.split("state=").last().unwrap();
//! # let query = format!("code=C1&realmId=9130347&state={state}");
//! drive(&mut session, now, Input::Callback { text: &query, binding: &[] })?; // … and comes back
//! assert_eq!(session.access_token(now).unwrap().expose(), "first");
//!
//! let later = now.plus(3_600);
//! assert!(session.access_token(later).is_none()); // DUR-1
//! drive(&mut session, later, Input::Demand)?;
//! assert_eq!(session.access_token(later).unwrap().expose(), "second");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
// Text is split at `['x']` and never at `'x'`: the standard library's search for one character slices in a way that links a
// panic, the one for several does not. `cargo xtask test panic-free` finds whatever else does.
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

pub mod answer;
pub mod api;
mod app;
mod base64;
mod callback;
pub mod consent;
pub mod diagnosis;
mod error;
pub mod guide;
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
