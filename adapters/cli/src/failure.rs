//! Why the command ends without success: what was wrong, whose fault it is, and the way out. Never a secret.

use std::fmt;

use evergrant::{Error, Fault, RecordError, Refused};

/// How the command ends, for scripts. The numbers are part of its contract and stand in its help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Exit {
    /// A bug, or something that has no number of its own.
    Unexpected = 1,
    /// The command line or the configuration.
    Usage = 2,
    /// Only the user's consent leads on.
    ConsentNeeded = 3,
    /// Not now: an outage, a time-out, somebody else at work. The grant is kept; try later.
    NotNow = 4,
    /// The vault, its key or its folder.
    Store = 5,
    /// The authority or the API refused, and neither waiting nor a consent cures it.
    Authority = 6,
    /// The grant is stored and works, and who signed in was not verified.
    NotSignedIn = 7,
}

/// What the help says of them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  unexpected: a bug, or no code of its own
  2  usage: the command line or evergrant.toml
  3  the user must consent: evergrant connect
  4  not now: outage, time-out or another process; the grant is kept, try later
  5  the vault, its key or its folder
  6  the authority or the API refused: keys, scope or address
  7  nobody is signed in: ID token or userinfo refused; the grant is stored and works";

/// Why the command ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) what: String,
    pub(crate) way_out: Vec<String>,
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), way_out: Vec::new() }
    }

    pub(crate) fn usage(what: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what).or(way_out)
    }

    /// With a (further) way out.
    pub(crate) fn or(mut self, way_out: impl Into<String>) -> Self {
        self.way_out.push(way_out.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.way_out.iter().try_for_each(|way| write!(f, "\n  {way}"))
    }
}

impl std::error::Error for Failure {}

impl From<evergrant_vault::Error> for Failure {
    /// The vault's errors name the file and the way out themselves.
    fn from(error: evergrant_vault::Error) -> Self {
        Self::new(Exit::Store, error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Unexpected, format!("the system refused: {error}"))
    }
}

impl From<Error> for Failure {
    /// So do the core's; what is added is how a script tells them apart.
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::Refused(refused) => return refused.into(),
            Error::NoEndpoint
            | Error::RedirectUriUnknown
            | Error::RedirectUriGone
            | Error::NoScope
            | Error::OtherApp => Exit::Usage,
            _ if error.fault() == Fault::Sender => Exit::ConsentNeeded,
            _ => Exit::Unexpected,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let exit = match refused {
            Refused::Busy { .. } | Refused::Wait { .. } | Refused::BeingRevoked => Exit::NotNow,
            Refused::NotLinked
            | Refused::Ended(_)
            | Refused::NoConsent
            | Refused::ConsentExpired
            | Refused::CodeSpent => Exit::ConsentNeeded,
            _ => Exit::Unexpected,
        };
        match refused {
            Refused::Busy { until } | Refused::Wait { until } => {
                Self::new(exit, format!("nothing may be sent before {}", crate::output::moment(until)))
            }
            _ => Self::new(exit, refused.to_string()),
        }
    }
}

impl From<RecordError<'_>> for Failure {
    fn from(error: RecordError<'_>) -> Self {
        let exit = match error {
            // APP-3: the keys are the wrong ones, not the record.
            RecordError::OtherEnvironment { .. } | RecordError::OtherClient | RecordError::UnknownScope => {
                Exit::Usage
            }
            _ => Exit::Store,
        };
        Self::new(exit, error.to_string())
    }
}
