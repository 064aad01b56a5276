//! What can be wrong, one name for each. No error holds a token, a claim or a byte of what was received.

use core::fmt;

use evergrant::{Fault, Time};

/// Why an ID token was refused. Nobody is signed in; the grant is what it was (its tokens are another matter, and durable
/// by then).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdTokenError {
    /// The answer has none.
    Absent,
    /// It is longer than [`TOKEN_MOST`](crate::TOKEN_MOST).
    TooLong,
    /// It is no token, or this part of it is unreadable.
    Malformed(Part),
    /// `alg` is `none`: anybody can write such a token.
    Unsigned,
    /// `alg` is a symmetric algorithm: whoever knows the public key could have made it (RFC 8725 §2.1).
    Symmetric,
    /// `alg` is some other algorithm than RS256.
    Algorithm,
    /// It demands an extension that is not understood (`crit`, RFC 7515 §4.1.11).
    Critical,
    /// `typ` says that it is another kind of token (RFC 8725 §3.11).
    Kind,
    /// There are no keys to hold it against yet.
    NoKeys,
    /// It names no key, and there is more than one.
    NoKeyId,
    /// It names a key that the provider does not list.
    UnknownKey,
    /// The signature is not that key's.
    Signature,
    /// `iss` is another issuer.
    Issuer,
    /// `aud` does not hold our client ID.
    Audience,
    /// `azp` is another client, or is absent where the token is for several.
    AuthorizedParty,
    /// It has expired.
    Expired {
        /// `exp`.
        at: Time,
    },
    /// It was issued in the future (`iat`), or is not valid yet (`nbf`).
    NotYet {
        /// `iat` or `nbf`.
        at: Time,
    },
    /// `nonce` is not the one that was sent, or came although none was.
    Nonce,
    /// `realmid` is absent although the grant is for a company.
    NoRealm,
    /// `realmid` is another company than the callback named (wire-facts C11).
    OtherRealm,
    /// `sub` is absent, empty or too long.
    NoSubject,
    /// `sub` is another user than the one who was signed in before.
    OtherSubject,
    /// The clock was never set, so nothing can be judged by it.
    ClockUnset,
}

/// A part of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole: not three parts.
    Whole,
    /// The header.
    Header,
    /// The claims.
    Claims,
    /// The signature.
    Signature,
}

impl IdTokenError {
    /// Whether fetching the keys again may cure it: see [`JwksCache::wanted`](crate::JwksCache::wanted).
    #[must_use]
    pub const fn wants_keys(&self) -> bool {
        matches!(self, Self::NoKeys | Self::UnknownKey)
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::ClockUnset => Fault::Caller,
            Self::NoKeys => Fault::Nobody,
            _ => Fault::Sender,
        }
    }
}

impl fmt::Display for IdTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "the answer has no ID token: ask for the scope openid, and connect again",
            Self::TooLong => "the ID token is longer than any that is known: do not sign the user in",
            Self::Malformed(part) => return part.write(f),
            Self::Unsigned => "the ID token is not signed (alg none), so anybody can have written it: do not sign the user in",
            Self::Symmetric => {
                "the ID token is signed with a symmetric algorithm, which a public key cannot confirm: do not sign the user in"
            }
            Self::Algorithm => "the ID token is signed with another algorithm than RS256: register the app for RS256",
            Self::Critical => "the ID token demands an extension that is not understood here (crit)",
            Self::Kind => "this is another kind of token, and no ID token (typ): hand in the member id_token",
            Self::NoKeys => "no keys of the provider are held: fetch them, then verify again",
            Self::NoKeyId => "the ID token names no key (kid), and the provider has several",
            Self::UnknownKey => {
                "the ID token names a key that the provider does not list: fetch the keys once more; if it stays unknown, do not sign the user in"
            }
            Self::Signature => "the ID token's signature is wrong: it was changed or forged; do not sign the user in",
            Self::Issuer => "the ID token is another issuer's: compare the provider's issuer with the discovery document",
            Self::Audience => "the ID token is for another client: compare the client ID with the app's keys",
            Self::AuthorizedParty => "the ID token was issued to another client (azp): do not sign the user in",
            Self::Expired { at } => {
                return write!(f, "the ID token expired at {}: sign in again; if it is new, put the clock right", at.unix());
            }
            Self::NotYet { at } => {
                return write!(f, "the ID token is valid from {} on, which is in the future: put the clock right", at.unix());
            }
            Self::Nonce => "the ID token was not issued for this request (nonce): begin again",
            Self::NoRealm => "the ID token names no company, although the grant is for one: connect again",
            Self::OtherRealm => {
                "the ID token is for another company than the callback named: the redirect may have been tampered with; connect again"
            }
            Self::NoSubject => "the ID token does not say who signed in (sub)",
            Self::OtherSubject => "another user signed in than before: treat them as another user, or begin again",
            Self::ClockUnset => "the clock was never set: learn the time first",
        })
    }
}

impl std::error::Error for IdTokenError {}

impl Part {
    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "this is no ID token: it has not three parts; hand in the member id_token as it came",
            Self::Header => "this is no ID token: its header is no JSON in base64url; hand in the member id_token as it came",
            Self::Claims => "the ID token's claims cannot be read, though the signature is right: report it to the provider",
            Self::Signature => "the ID token's signature is no base64url: hand in the member id_token as it came",
        })
    }
}

/// Why a document of the provider's was refused. What was held before is held still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocumentError {
    /// No whole answer came.
    NotFetched,
    /// Another HTTP status than 200; a redirect is one.
    Status(u16),
    /// It is longer than [`BODY_MOST`](crate::BODY_MOST).
    TooLong,
    /// It is not the JSON that it should be.
    Malformed,
    /// It lists no RSA key of 2048 to 4096 bits for signatures.
    NoUsableKey,
    /// It lists more keys than [`KEYS_MOST`](crate::KEYS_MOST).
    TooManyKeys,
    /// Its `issuer` is not, character for character, the one that was expected (RFC 8414 §3.3).
    Issuer,
    /// This endpoint is absent, is not https, or is no URL.
    Endpoint(&'static str),
    /// The provider does not offer what is needed here: the member says what, the code flow or RS256.
    Unsupported(&'static str),
    /// The clock was never set, so how long the document is good for cannot be told.
    ClockUnset,
}

impl DocumentError {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NotFetched => Fault::Nobody,
            Self::ClockUnset => Fault::Caller,
            Self::Status(status) if *status == 429 || *status >= 500 => Fault::Nobody,
            _ => Fault::Sender,
        }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFetched => f.write_str("the provider did not answer: try again when it is due"),
            Self::Status(status) => write!(f, "the provider answered {status} instead of 200: check the address"),
            Self::TooLong => f.write_str("the document is longer than any that is known: check the address"),
            Self::Malformed => f.write_str("the document is not the JSON that it should be: check the address"),
            Self::NoUsableKey => {
                f.write_str("the key set has no RSA key of 2048 to 4096 bits for signatures: check the address")
            }
            Self::TooManyKeys => f.write_str("the key set has more keys than any that is known: check the address"),
            Self::Issuer => f.write_str(
                "the discovery document is another issuer's, and nothing of it was taken: the issuer must be the same, character for character",
            ),
            Self::Endpoint(member) => write!(
                f,
                "{member} is absent or not https (plain http is for loopback, and must be allowed): nothing was taken"
            ),
            Self::Unsupported(member) => {
                write!(f, "the provider does not offer what is needed (see {member}): the code flow, and ID tokens in RS256")
            }
            Self::ClockUnset => f.write_str("the clock was never set: learn the time first"),
        }
    }
}

impl std::error::Error for DocumentError {}

/// Why userinfo was refused. Nothing of it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserinfoError {
    /// 401: the access token is refused. Hand the answer to [`evergrant::api::judge`], and what that says to the session.
    Unauthorized,
    /// 403: the grant has not the scope `openid`.
    Forbidden,
    /// Another HTTP status than 200.
    Status(u16),
    /// It is longer than [`BODY_MOST`](crate::BODY_MOST).
    TooLong,
    /// It is not the JSON that it should be.
    Malformed,
    /// It does not say whom it speaks of.
    NoSubject,
    /// It speaks of another user than the ID token (OpenID Connect Core §5.3.2).
    OtherSubject,
}

impl UserinfoError {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unauthorized => Fault::Nobody,
            Self::Forbidden => Fault::Caller,
            Self::Status(status) if *status == 429 || *status >= 500 => Fault::Nobody,
            _ => Fault::Sender,
        }
    }
}

impl fmt::Display for UserinfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthorized => "the access token is refused: refresh, then ask again",
            Self::Forbidden => "the grant may not read who the user is: connect with the scope openid",
            Self::Status(status) => {
                return write!(f, "userinfo answered {status} instead of 200: try again later");
            }
            Self::TooLong => "the answer is longer than any that is known: check the address",
            Self::Malformed => "the answer is not the JSON that it should be: check the address",
            Self::NoSubject => "the answer does not say whom it speaks of (sub), and nothing of it was taken",
            Self::OtherSubject => {
                "the answer speaks of another user than the ID token, and nothing of it was taken"
            }
        })
    }
}

impl std::error::Error for UserinfoError {}
