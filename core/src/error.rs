//! Errors: whose fault, what was wrong, and the way out. None carries a secret (I6).

use core::fmt;

use crate::phase::{Reason, Refused};

/// Something does not fit the memory that the caller set aside. Nothing was changed and nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// What.
    pub field: Field,
    /// Bytes that it needs.
    pub needed: usize,
    /// Bytes that there are.
    pub capacity: usize,
}

/// What can be too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The access token (the session's parameter `A`; Intuit: at most 4,096).
    AccessToken,
    /// A refresh token (the session's parameter `R`; Intuit: at most 512).
    RefreshToken,
    /// The authorization code (the session's parameter `C`; Intuit: at most 512).
    Code,
    /// The realm.
    Realm,
    /// A buffer that was handed in to be written to.
    Buffer,
    /// What the app wants to carry in a signed `state`.
    Carry,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.field {
            Field::AccessToken => "the access token needs a session with room for it (parameter A)",
            Field::RefreshToken => "the refresh token needs a session with room for it (parameter R)",
            Field::Code => "the authorization code needs a session with room for it (parameter C)",
            Field::Realm => "the realm is longer than any that is known",
            Field::Buffer => "the buffer is too small",
            Field::Carry => "what is to be carried in the state is too long",
        };
        write!(f, "{what}: {} bytes are needed, {} are there", self.needed, self.capacity)
    }
}

impl core::error::Error for TooLong {}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The program that calls, or its configuration.
    Caller,
    /// Whoever sent what was read: the browser, the authority, or somebody who forges.
    Sender,
    /// The memory that was set aside.
    Capacity,
    /// Nobody: it is only not the time for it.
    Nobody,
}

/// Why a session refused. It is bit for bit as it was (I7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The event does not fit the phase, or may not be acted on yet.
    Refused(Refused),
    /// Something does not fit.
    TooLong(TooLong),
    /// The callback is none, or none of ours.
    Callback(CallbackError),
    /// The latest change is not known to be durable: store the record, then say so with `saved` (I3).
    NotSaved,
    /// That call is not in flight.
    NotInFlight,
    /// The session belongs to other keys or another environment than the app (APP-3).
    OtherApp,
    /// The redirect URI of the consent request is not registered any more (RED-5).
    RedirectUriGone,
    /// The redirect URI is not one of the app's (RED-1, RED-2).
    RedirectUriUnknown,
    /// No scope was asked for (SCO-1).
    NoScope,
    /// The provider has no such endpoint.
    NoEndpoint,
    /// The app has no key to sign a `state` with (CSR-4).
    NoStateKey,
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Refused(refused) => match refused {
                Refused::NoConsent | Refused::ConsentExpired | Refused::CodeSpent | Refused::Late => {
                    Fault::Sender
                }
                Refused::ClockUnset | Refused::NotLinked => Fault::Caller,
                _ => Fault::Nobody,
            },
            Self::TooLong(_) => Fault::Capacity,
            Self::Callback(_) => Fault::Sender,
            Self::NotSaved
            | Self::NotInFlight
            | Self::OtherApp
            | Self::RedirectUriGone
            | Self::RedirectUriUnknown
            | Self::NoScope
            | Self::NoEndpoint
            | Self::NoStateKey => Fault::Caller,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<TooLong> for Error {
    fn from(too_long: TooLong) -> Self {
        Self::TooLong(too_long)
    }
}

impl From<CallbackError> for Error {
    fn from(error: CallbackError) -> Self {
        Self::Callback(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::TooLong(too_long) => too_long.fmt(f),
            Self::Callback(error) => error.fmt(f),
            Self::NotSaved => f.write_str("the latest change is not stored yet: store the record first"),
            Self::NotInFlight => f.write_str("that call is not in flight: send only what the latest effects name"),
            Self::OtherApp => {
                f.write_str("the session belongs to other keys or another environment than this app: use the app it began with")
            }
            Self::RedirectUriGone => f.write_str(
                "the redirect URI of the consent request is not among the app's any more: put it back, or ask again",
            ),
            Self::RedirectUriUnknown => f.write_str(
                "the redirect URI is not one of the app's (the match is exact: case, port, path, trailing slash): register it, or use one that is",
            ),
            Self::NoScope => f.write_str("no scope was asked for: name at least one"),
            Self::NoEndpoint => f.write_str("the provider has no such endpoint"),
            Self::NoStateKey => f.write_str("the app has no key to sign the state with: give it one, or use a random state"),
        }
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockUnset => f.write_str("the clock was never set: learn the time first"),
            Self::NoConsent => f.write_str("no consent is pending that this callback could belong to: ask again"),
            Self::ConsentExpired => f.write_str("the consent request is too old: ask again"),
            Self::CodeSpent => {
                f.write_str("this consent's code is spent and is never exchanged again: look at the session, or ask again")
            }
            Self::Busy { until } => {
                write!(f, "a call is in flight: wait for its answer, until {} at the latest", until.unix())
            }
            Self::Wait { until } => write!(f, "nothing may be sent before {}", until.unix()),
            Self::NotLinked => f.write_str("no consent has brought tokens yet: ask the user"),
            Self::BeingRevoked => f.write_str("the grant is being revoked: wait until that has ended"),
            Self::Ended(reason) => write!(f, "the grant has ended ({reason}): only a new consent leads on"),
            Self::Late => f.write_str("nobody waits for this answer any more, and it brings nothing new"),
            Self::OtherToken => f.write_str("the access token was replaced since: use the current one"),
            Self::CandidatesFull => {
                f.write_str("there is no room for a further candidate: refresh, then hand it in again")
            }
        }
    }
}

impl core::error::Error for Refused {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the refresh token died of age",
            Self::HardEnd => "the hard end of the grant is reached",
            Self::Refused => "the authority refuses the refresh token, confirmed at spaced times",
            Self::AnswerLost => "a refresh was never answered, and its token may not be sent again",
            Self::Disconnected => "the user disconnected the app",
            Self::Poisoned => "the authorization code was exchanged twice",
            Self::Revoked => "revoked by the app",
            Self::RevokeUnanswered => "revoked here; the authority never confirmed",
        })
    }
}

/// Why a callback was refused. Nothing has changed; the user can still come back with the right one (CSR-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallbackError {
    /// There is no query in what was handed in.
    NoQuery,
    /// A parameter comes twice (RED-6): which one is meant is not guessed.
    Duplicate(&'static str),
    /// Neither a code nor an error, or both.
    NeitherCodeNorError,
    /// There is no `state` (CSR-2).
    NoState,
    /// The `state` is not the one that was sent (CSR-2).
    StateMismatch,
    /// `iss` is absent, or another authority's (RFC 9207 §2.4).
    IssuerMismatch,
    /// The callback arrived at another address than the consent request named (RED-5).
    OtherRedirectUri,
    /// The realm is absent although a company's scope was asked for, or is not a number.
    Realm,
    /// The user chose another company than the one that the session holds.
    OtherRealm,
    /// The code has characters that none has.
    Code,
}

impl fmt::Display for CallbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoQuery => f.write_str("this is no callback: it has no query; hand in the whole address, or all that follows its ?"),
            Self::Duplicate(name) => {
                write!(f, "the callback has {name} twice: keep the redirect URI free of parameters of its own")
            }
            Self::NeitherCodeNorError => f.write_str("this is no callback: it must have either a code or an error"),
            Self::NoState => f.write_str("the callback has no state, so it cannot be told from a forged one: begin again"),
            Self::StateMismatch => f.write_str(
                "the callback's state is not the one that was sent: it is forged, or belongs to an earlier attempt; begin again",
            ),
            Self::IssuerMismatch => f.write_str("the callback comes from another authority than the user was sent to"),
            Self::OtherRedirectUri => {
                f.write_str("the callback arrived at another address than the redirect URI of its consent request")
            }
            Self::Realm => f.write_str("the callback's realmId is absent, or not a number, although a company was asked for"),
            Self::OtherRealm => {
                f.write_str("the user chose another company than this session's: begin again and choose the same, or connect the other one by itself")
            }
            Self::Code => f.write_str("the callback's code has characters that no code has"),
        }
    }
}

impl core::error::Error for CallbackError {}

/// Why an app was refused (APP-1, RED-1 to RED-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppError {
    /// The client ID is empty (APP-1).
    NoClientId,
    /// The client secret is empty (APP-1).
    NoClientSecret,
    /// There is no redirect URI (RED-1).
    NoRedirectUri,
    /// The redirect URI of that index does not begin with `https` (RED-3).
    NotHttps(usize),
    /// The redirect URI of that index has a query or a fragment (RED-4).
    HasQuery(usize),
    /// The redirect URI of that index has no host, an IP address for one where that is not allowed, or characters that
    /// must be encoded.
    Malformed(usize),
    /// A signing key of fewer than 32 bytes (CSR-4).
    WeakStateKey,
    /// More scopes by name than there is room for, or one that is empty or has a space or a quote in it.
    Scopes,
    /// The provider's name is empty, too long, or has characters that need an escape.
    ProviderName,
    /// An endpoint of the provider's is not https.
    Endpoint,
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClientId => f.write_str("the client ID is empty: copy it from the app's keys"),
            Self::NoClientSecret => f.write_str("the client secret is empty: copy it from the app's keys"),
            Self::NoRedirectUri => f.write_str("there is no redirect URI: name at least one that is registered"),
            Self::NotHttps(index) => write!(f, "redirect URI {index} does not begin with https"),
            Self::HasQuery(index) => {
                write!(f, "redirect URI {index} has a query or a fragment: what the app wants to carry goes into the state")
            }
            Self::Malformed(index) => write!(
                f,
                "redirect URI {index} has no host name, an IP address where that is not allowed, or characters that must be encoded"
            ),
            Self::WeakStateKey => f.write_str("the key that signs the state must have 32 bytes at least"),
            Self::Scopes => f.write_str("a further scope is empty, has a space, quote or backslash in it, or is one too many (24)"),
            Self::ProviderName => f.write_str("the provider's name must have 1 to 24 letters, digits, dots or dashes"),
            Self::Endpoint => f.write_str("an endpoint of the provider's is not https (plain http is for loopback, and must be allowed)"),
        }
    }
}

impl core::error::Error for AppError {}

/// Why a stored record was refused. Nothing of it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError<'a> {
    /// Not a record, or of a version that is not known.
    Version(u32),
    /// It was written for another environment (APP-3).
    OtherEnvironment {
        /// The record's.
        record: &'a str,
        /// The app's.
        app: &'a str,
    },
    /// It was written for another client ID (APP-3).
    OtherClient,
    /// It is damaged.
    Damaged,
    /// It has a scope that the app does not know.
    UnknownScope,
    /// Something does not fit this session.
    TooLong(TooLong),
}

impl fmt::Display for RecordError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "the record has version {version}, which this program does not know: use a newer one"
            ),
            Self::OtherEnvironment { record, app } => {
                write!(
                    f,
                    "the record belongs to {record}, and the app to {app}: use the keys that it was made with"
                )
            }
            Self::OtherClient => {
                f.write_str("the record belongs to another client ID: use the keys that it was made with")
            }
            Self::Damaged => {
                f.write_str("the record is damaged, and nothing of it was taken: read an older copy")
            }
            Self::UnknownScope => f.write_str(
                "the record has a scope that the app does not know: name it among the app's further scopes",
            ),
            Self::TooLong(too_long) => too_long.fmt(f),
        }
    }
}

impl core::error::Error for RecordError<'_> {}
