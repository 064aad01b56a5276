//! Intuit's OAuth 2.0 service, offline: for tests of clients, this project's or any other.
//!
//! Two parts, one inside the other:
//!
//! - [`authority`] is the service's mind: a value without I/O, clock, threads or entropy, that enforces the other side
//!   of each rule of Intuit's FAQ. Time is an argument, and random values come from a seed, so a property test or a
//!   model checker drives it directly, clones it, compares it.
//! - [`server`] (feature `server`, on by default) puts Intuit's paths on one loopback port round it: consent page,
//!   tokens, revocation, OpenID Connect, a corner of the accounting API, and a control path that moves the clock.
//!
//! [`fault`] says, as data, what goes wrong between the two and the client: answers lost before or after the work,
//! resets, truncated bodies, outages that answer `invalid_grant`, wrong ID tokens, and so on.
//!
//! It was written from the FAQ on its own and shares no code with the `evergrant` client, or it could not find that
//! client's mistakes. Intuit's own SDKs (npm and PyPI `intuit-oauth`) work against it with nothing changed but their
//! addresses.
//!
//! # The authority alone
//!
//! ```
//! use evergrant_emulator::authority::{
//!     Authority, AuthorizeRequest, ClientAuth, Config, Decision, Environment, Keys, RefreshState, TokenRequest,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let redirect_uri = "https://app.example/callback";
//! let keys = Keys::new(Environment::Sandbox, "client", "secret", [redirect_uri]);
//! let mut intuit = Authority::new(Config::new([keys]), 7)?;
//! let app = ClientAuth::basic("client", "secret");
//!
//! let request = AuthorizeRequest {
//!     client_id: "client".into(),
//!     redirect_uri: redirect_uri.into(),
//!     response_type: "code".into(),
//!     scope: "com.intuit.quickbooks.accounting".into(),
//!     state: Some("unguessable".into()),
//!     ..AuthorizeRequest::default()
//! };
//! let start = 1_800_000_000;
//! let callback = intuit.authorize(start, &request, Decision::Approve { realm: "9341453000000001".into() })?;
//! let code = callback.code().ok_or("refused")?;
//! let first = intuit.token(start, &TokenRequest::exchange(app.clone(), code, redirect_uri))?;
//!
//! // An hour later: a refresh makes the first refresh token stale, and it works for 24 hours more (STA-2).
//! let second = intuit.token(start + 3_600, &TokenRequest::refresh(app.clone(), &first.refresh_token))?;
//! let state = intuit.refresh_token_state(start + 3_600, &first.refresh_token);
//! assert_eq!(state, Some(RefreshState::Stale { until: start + 3_600 + 86_400 }));
//!
//! // The code a second time: refused, and everything that it ever brought is dead (EXC-2).
//! let again = intuit.token(start + 3_700, &TokenRequest::exchange(app.clone(), code, redirect_uri));
//! assert!(again.is_err());
//! assert!(intuit.token(start + 3_701, &TokenRequest::refresh(app, &second.refresh_token)).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # The server
//!
//! ```
//! # #[cfg(feature = "server")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use evergrant_emulator::fault::{Endpoint, Fault, Harm};
//! use evergrant_emulator::server::{Consent, Options, Server};
//!
//! let options =
//!     Options::new().sandbox("client", "secret", &["http://localhost:8000/callback"]).consent(Consent::Auto);
//! let running = Server::start(options)?;
//! assert!(running.addresses().token.starts_with("http://127.0.0.1:"));
//!
//! running.clock().advance(3_600); // an hour passes
//! running.arm(Fault::once(Endpoint::Refresh, Harm::AnswerLostAfterWork)); // the next refresh's answer is lost
//! # Ok(())
//! # } // dropped: the server stops
//! # #[cfg(not(feature = "server"))]
//! # fn main() {}
//! ```
//!
//! # The control path
//!
//! | Request | What it does |
//! | --- | --- |
//! | `GET /_emulator` | the addresses |
//! | `GET`, `POST /_emulator/clock` | reads the clock; moves it: `{"advance_seconds": 3600}`, negative goes back |
//! | `GET`, `POST`, `DELETE /_emulator/faults` | lists, sets (one or a list, see [`fault`]), clears |
//! | `GET /_emulator/grants` | what the authority believes: each grant's code, chain of refresh tokens, and why |
//! | `GET`, `DELETE /_emulator/log` | requests seen, secrets shortened to four characters and a fingerprint |
//! | `POST /_emulator/disconnect` | the user disconnects: `{"realm": "…"}` |
//! | `POST /_emulator/policy` | `{"policy": "grace"}`, or `sticky`, `hard`, `sticky-hard` |
//! | `POST /_emulator/consent` | `{"consent": "auto"}`, or `page`, `deny` |
//!
//! Requests of web pages (with an `Origin` header, or by a name that is not loopback's) are refused there.

pub mod authority;
pub mod fault;
mod rng;
#[cfg(feature = "server")]
pub mod server;

pub use rng::Rng;
