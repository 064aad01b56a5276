//! What can go wrong, and the way out.

use std::fmt;
use std::sync::Arc;

use evergrant::{CallbackError, Reason, RecordError, Time};

/// An error of the keeper. It names what was wrong and the way out, holds no secret (I6), and is cheap to clone: all who wait for one
/// refresh are told the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// No consent has brought tokens for this realm, with these keys and in this environment.
    NotConnected,
    /// The grant has ended: the user must consent again (REV-3). The sealed tokens are kept.
    ConsentNeeded {
        /// Why.
        reason: Reason,
    },
    /// The grant is being revoked (REV-1).
    BeingRevoked,
    /// No token can be had now; the keeper goes on trying by itself.
    NotNow {
        /// When the next try is due.
        retry_at: Time,
    },
    /// Many grants were refused at once, which is taken for an outage: nothing is sent but probes (REF-4).
    Held {
        /// When the next probe is due.
        probe_at: Time,
    },
    /// Another process was at work on the grant for longer than the caller's patience.
    Busy {
        /// When its lease ends at the latest.
        until: Time,
    },
    /// A refresh brought tokens that the store did not take. They are kept (see [`Status`](crate::Status)), and written as soon as it
    /// works again; until then they are not handed out (I3).
    NotStored(Arc<evergrant_vault::Error>),
    /// The store could not be read or written. Nothing was sent.
    Store(Arc<evergrant_vault::Error>),
    /// A stored record is of other keys, of another version, or damaged.
    Record(&'static str),
    /// The core refused.
    Core(evergrant::Error),
    /// The exchange brought nothing; its code is never sent again (EXC-3). The user must consent again.
    ExchangeFailed {
        /// The authority refused it; otherwise it is unknown what became of it.
        refused: bool,
    },
    /// The user declined, or the authority did on the way. A grant that was there goes on working (SCO-4).
    Declined,
    /// The keeper shuts down.
    ShuttingDown,
    /// The refresh ended without a word: its task panicked, or the runtime ended.
    CutOff,
}

impl From<evergrant_vault::Error> for Error {
    fn from(error: evergrant_vault::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<evergrant::Error> for Error {
    fn from(error: evergrant::Error) -> Self {
        use evergrant::Refused;
        match error {
            evergrant::Error::Refused(Refused::NotLinked) => Self::NotConnected,
            evergrant::Error::Refused(Refused::BeingRevoked) => Self::BeingRevoked,
            evergrant::Error::Refused(Refused::Ended(reason)) => Self::ConsentNeeded { reason },
            evergrant::Error::Refused(Refused::Wait { until }) => Self::NotNow { retry_at: until },
            evergrant::Error::Refused(Refused::Busy { until }) => Self::Busy { until },
            other => Self::Core(other),
        }
    }
}

impl From<CallbackError> for Error {
    fn from(error: CallbackError) -> Self {
        Self::Core(error.into())
    }
}

impl From<RecordError<'_>> for Error {
    fn from(error: RecordError<'_>) -> Self {
        Self::Record(match error {
            RecordError::Damaged => "is damaged",
            RecordError::Version(_) => "is of another version of this program",
            RecordError::OtherEnvironment { .. } => "is of another environment",
            RecordError::OtherClient => "is of another client ID",
            RecordError::UnknownScope => "names a scope that this app does not know",
            RecordError::TooLong(_) => "is too large for this program",
            _ => "cannot be used by this program",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("this realm is not connected: send its user to the address that `connect` gives"),
            Self::ConsentNeeded { reason } => {
                write!(f, "the grant has ended ({reason:?}): send its user to the address that `connect` gives")
            }
            Self::BeingRevoked => f.write_str("the grant is being revoked: connect again once it is"),
            Self::NotNow { retry_at } => {
                write!(f, "no token now; the next try is due at {}", retry_at.unix())
            }
            Self::Held { probe_at } => write!(
                f,
                "many grants were refused at once, which looks like an outage: nobody is asked but by probes, the next at {}",
                probe_at.unix()
            ),
            Self::Busy { until } => write!(
                f,
                "another process is at work on this grant, until {} at the latest: try again then",
                until.unix()
            ),
            Self::NotStored(error) => {
                write!(f, "the refreshed tokens are kept and not stored yet: put the store right ({error})")
            }
            Self::Store(error) => write!(f, "the store: {error}"),
            Self::Record(what) => {
                write!(f, "the stored record {what}: look at the keys, or restore a backup, or connect again")
            }
            Self::Core(error) => error.fmt(f),
            Self::ExchangeFailed { refused: true } => {
                f.write_str("the authority refused the code: begin again with a new consent")
            }
            Self::ExchangeFailed { refused: false } => f.write_str(
                "it is unknown what became of the exchange, and a code is never sent twice: begin again with a new consent",
            ),
            Self::Declined => f.write_str("the user, or the authority on the way, declined: ask again if it was a mistake"),
            Self::ShuttingDown => f.write_str("the keeper shuts down: ask another process"),
            Self::CutOff => f.write_str("the refresh was cut off: ask again"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStored(error) | Self::Store(error) => Some(&**error),
            Self::Core(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a keeper was not built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The request's deadline is not well inside of the lease, and of the time after which the core takes a call for lost.
    Deadline {
        /// The longest that would do, in seconds.
        most_seconds: u32,
    },
    /// A lease is 1 to [`MAX_LEASE_SECONDS`](evergrant_vault::MAX_LEASE_SECONDS) seconds long.
    Lease,
    /// The longest sleep is 1 to 3600 seconds.
    Wake,
    /// It is to be built inside of a tokio runtime; outside of one, use [`Blocking`](crate::Blocking).
    NoRuntime,
    /// The system gave no thread, or no random bytes.
    System,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { most_seconds } => write!(
                f,
                "the request's deadline must be well inside of the lease and of Policy::call_for: {most_seconds} s at most"
            ),
            Self::Lease => write!(f, "a lease is 1 to {} s long", evergrant_vault::MAX_LEASE_SECONDS),
            Self::Wake => f.write_str("the longest sleep is 1 to 3600 s"),
            Self::NoRuntime => f.write_str("there is no tokio runtime here: use `Blocking`"),
            Self::System => f.write_str("the system gave no thread or no random bytes"),
        }
    }
}

impl std::error::Error for BuildError {}
