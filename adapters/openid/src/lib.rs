//! OpenID Connect for evergrant (SCO-5): who signed in, from the ID token that came with the tokens, verified; and the
//! user's claims.
#![forbid(unsafe_code)]

mod claims;
mod discovery;
mod error;
mod fetched;
mod freshness;
mod id_token;
mod json;
mod key_set;
mod keys;
mod url;
mod userinfo;

pub use claims::Identity;
pub use discovery::{Discovered, Discovery};
pub use error::{DocumentError, IdTokenError, Part, UserinfoError};
pub use fetched::Fetched;
pub use freshness::Freshness;
pub use id_token::{Expected, IdToken, TOKEN_MOST, verify};
pub use json::BODY_MOST;
pub use key_set::{KEYS_MOST, KeySet};
pub use keys::Keys;
pub use userinfo::{Address, Userinfo};
