//! OpenID Connect for evergrant (SCO-5): who signed in, from the ID token that came with the tokens, verified; and the
//! user's claims.
//!
//! As in the core, nothing here does I/O, and time is an argument. [`Discovery`] and [`JwksCache`] say which document is wanted
//! and when, and take in what was fetched; [`verify`] is a pure function of token, keys, expectations and time; [`Userinfo`]
//! reads an answer. Whatever speaks HTTP for the session can carry it out.
//!
//! # The order
//!
//! 1. The answer of the exchange goes to the [`Session`](evergrant::Session), and its record is stored. The tokens are
//!    durable.
//! 2. Then, from the same answer: [`IdToken::from_answer`], and [`JwksCache::verify`] says who signed in, or by name what is
//!    wrong.
//! 3. With the scopes for it: [`Request::userinfo`](evergrant::Request::userinfo), and [`Userinfo::read`] with the subject
//!    of step 2.
//!
//! An ID token that fails does not sign anybody in, and that is all that it does: the session knows nothing of it, so it
//! cannot cost a grant. (RFC 9700 §4.5.3.2 wants tokens discarded where `nonce` is the defence against injected codes; here
//! that is the `state`, checked before the exchange, and PKCE where the provider has it.)
//!
//! # Signing a user in
//!
//! ```
//! use evergrant::{App, Provider, Request, Scopes, Session, Time};
//! use evergrant_openid::{Discovery, Expected, IdToken, IdTokenError, JwksCache, Userinfo};
//! # use evergrant::{Ask, ClientSecret, Input, Received};
//! # use evergrant_emulator::server::{Consent, Options, Server};
//! # mod http { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/http.rs")); }
//! # let uri = "http://localhost:8000/callback";
//! # let options = Options::new().sandbox("client", "secret", &[uri]).consent(Consent::Auto);
//! # let intuit = Server::start(options)?; // the offline Intuit
//! # let now = Time::from_unix(intuit.clock().now());
//! # let sandbox = Provider {
//! #     discovery: &intuit.addresses().discovery,
//! #     loopback_http: true,
//! #     ..Provider::INTUIT_SANDBOX
//! # };
//!
//! // Where everything is, by the provider's own word. `sandbox` is Provider::INTUIT_SANDBOX.
//! let mut discovery = Discovery::new(&sandbox)?;
//! if let Some(url) = discovery.wanted(now) {
//!     let answer = http::get(url);
//!     discovery.take(now, http::fetched(answer.as_ref()))?;
//! }
//! let found = discovery.discovered().ok_or("nothing was discovered")?;
//! let provider = found.provider(&sandbox);
//! # let registered = evergrant::Keys {
//! #     client_id: "client",
//! #     client_secret: ClientSecret::new("secret"),
//! #     redirect_uris: &[uri],
//! #     further_scopes: &[],
//! #     state_key: None,
//! # };
//! let app = App::new(&provider, registered)?;
//! let mut keys = JwksCache::new(&provider)?;
//!
//! // The user consents, the code is exchanged, and the tokens are stored: see the core's manual. What is left of it is
//! // the answer that brought the tokens.
//! let mut session: Session = Session::new(&app);
//! let scopes = Scopes::ACCOUNTING.with(Scopes::OPENID).with(Scopes::EMAIL);
//! # let connect = |session: &mut Session| -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//! #     let ask = Ask { redirect_uri: uri, scopes, random: [7; 64] };
//! #     let effects = session.handle(&app, now, Input::Ask(ask))?;
//! #     let _ = session.handle(&app, now, Input::Saved(effects.store.ok_or("a record")?))?;
//! #     let mut buffer = [0; 1024];
//! #     let callback = http::follow_consent(session.authorization_url(&app, &mut buffer)?).ok_or("a callback")?;
//! #     let effects = session.handle(&app, now, Input::Callback { text: &callback, binding: &[] })?;
//! #     let _ = session.handle(&app, now, Input::Saved(effects.store.ok_or("a record")?))?;
//! #     let call = effects.send.ok_or("an exchange")?;
//! #     let mut buffer = [0; 4096];
//! #     let answer = http::carry_out(&session.request(&app, call)?.write(&mut buffer)?).ok_or("an answer")?;
//! #     let body = &answer.body;
//! #     let received = Received::Answer { status: answer.status, retry_after: None, correlation: None, body };
//! #     let effects = session.handle(&app, now, Input::Answer(call, received))?;
//! #     let _ = session.handle(&app, now, Input::Saved(effects.store.ok_or("a record")?))?;
//! #     Ok(answer.body)
//! # };
//! let answer = connect(&mut session)?;
//!
//! // Who was that? Keys are fetched when they are wanted: at first, when they are stale, and once more when the token names
//! // one that is not held.
//! let token = IdToken::from_answer(&answer)?;
//! let expected = Expected::new(&app, session.realm());
//! let identity = loop {
//!     if let Some(url) = keys.wanted(now) {
//!         let answer = http::get(url);
//!         keys.take(now, http::fetched(answer.as_ref()))?;
//!     }
//!     let outcome = keys.verify(&token, &expected, now);
//!     let curable = outcome.as_ref().is_err_and(IdTokenError::wants_keys);
//!     if !curable || keys.wanted(now).is_none() {
//!         break outcome?;
//!     }
//! };
//! assert_eq!(identity.subject, "1182d6ec-60a6-4ba1-9e40-7a5f2c3d9b01");
//!
//! // And what may be known of them.
//! let access_token = session.access_token(now).ok_or("no access token")?;
//! let mut buffer = [0; 4096];
//! let answer = http::carry_out(&Request::userinfo(&app, access_token)?.write(&mut buffer)?).ok_or("no answer")?;
//! let user = Userinfo::read(answer.status, &answer.body, &identity.subject)?;
//! assert_eq!(user.email.as_deref(), Some("ada@example.com"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A user is the pair of [`issuer`](Identity::issuer) and [`subject`](Identity::subject): keep these two, and never take an
//! email address for a person. To ask again later who the user is, read userinfo with the subject that was kept, or
//! verify the ID token that a refresh brings with [`Expected::subject`].
//!
//! # In the command
//!
//! `evergrant connect --scope accounting,openid,profile,email` does the same, and `evergrant whoami REALM` prints who it was. An ID
//! token that is refused leaves the grant stored and alive, is named on standard error, and ends the command with 7. Issuer and
//! subject are kept in a sealed row of the vault's beside the grant, for that one consent: the next one has to be verified anew.
//!
//! # What is checked
//!
//! | | Rule | Refused as |
//! | --- | --- | --- |
//! | `alg` | RS256; the header is compared with it, and chooses nothing | [`Unsigned`], [`Symmetric`], [`Algorithm`] |
//! | `crit`, `typ` | no extension; `JWT`, or nothing | [`Critical`], [`Kind`] |
//! | `kid` | a key of the provider's own list; keys that the token brings along are not read | [`NoKeyId`], [`UnknownKey`] |
//! | signature | by that key: RSA, 2048 to 4096 bits | [`Signature`](IdTokenError::Signature) |
//! | `iss` | the provider's, character for character | [`Issuer`](IdTokenError::Issuer) |
//! | `aud`, `azp` | our client ID among them, and the token issued to us | [`Audience`], [`AuthorizedParty`] |
//! | `exp`, `iat`, `nbf` | present, by [`Expected::leeway`] (120 seconds) | [`Expired`], [`NotYet`] |
//! | `nonce` | the one that was sent, or none | [`Nonce`](IdTokenError::Nonce) |
//! | `realmid` | the company that the callback named (wire-facts C11) | [`NoRealm`], [`OtherRealm`] |
//! | `sub` | present; the one before, where there was one | [`NoSubject`], [`OtherSubject`] |
//!
//! `at_hash` is not checked: it guards tokens that came through the browser, and here they came from the token endpoint.
//!
//! # The library under it
//!
//! Signatures are confirmed by `jsonwebtoken`, over RustCrypto's `rsa`. It is used for keys and RS256 and for nothing else,
//! because its defaults are not what is wanted here: its `decode` reads the machine's clock, adds 60 seconds, does not
//! ask for `iat`, passes over `crit`, has one error for what are different attacks, and finds its cryptography
//! in a process-wide setting that another crate's features can change. Base64 is strict, so a token has one spelling.
//!
//! [`Unsigned`]: IdTokenError::Unsigned
//! [`Symmetric`]: IdTokenError::Symmetric
//! [`Algorithm`]: IdTokenError::Algorithm
//! [`Critical`]: IdTokenError::Critical
//! [`Kind`]: IdTokenError::Kind
//! [`NoKeyId`]: IdTokenError::NoKeyId
//! [`UnknownKey`]: IdTokenError::UnknownKey
//! [`Audience`]: IdTokenError::Audience
//! [`AuthorizedParty`]: IdTokenError::AuthorizedParty
//! [`Expired`]: IdTokenError::Expired
//! [`NotYet`]: IdTokenError::NotYet
//! [`NoRealm`]: IdTokenError::NoRealm
//! [`OtherRealm`]: IdTokenError::OtherRealm
//! [`NoSubject`]: IdTokenError::NoSubject
//! [`OtherSubject`]: IdTokenError::OtherSubject
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable
)]

mod claims;
mod discovery;
mod error;
mod fetched;
mod freshness;
mod id_token;
mod json;
mod jwks_cache;
mod key_set;
mod url;
mod userinfo;

pub use claims::Identity;
pub use discovery::{Discovered, Discovery};
pub use error::{DocumentError, IdTokenError, Part, UserinfoError};
pub use fetched::Fetched;
pub use freshness::Freshness;
pub use id_token::{Expected, IdToken, TOKEN_MOST, verify};
pub use json::BODY_MOST;
pub use jwks_cache::JwksCache;
pub use key_set::{KEYS_MOST, KeySet};
pub use userinfo::{Address, Userinfo};
