//! What came of a `GET`, before anybody looks into it.

use crate::error::DocumentError;

/// What a provider's server answered to a `GET`, or that it did not.
#[derive(Clone, Copy)]
pub enum Fetched<'a> {
    /// No whole answer: no connection, a reset, a time-out, a body that broke off or is longer than
    /// [`BODY_MOST`](crate::BODY_MOST).
    Failed,
    /// An answer.
    Answer {
        /// The HTTP status. A redirect is not followed: it is handed in as it came, and refused.
        status: u16,
        /// The header `Cache-Control`, as it came.
        cache_control: Option<&'a str>,
        /// The body.
        body: &'a [u8],
    },
}

impl core::fmt::Debug for Fetched<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Failed => f.write_str("Failed"),
            Self::Answer { status, .. } => {
                f.debug_struct("Answer").field("status", status).finish_non_exhaustive()
            }
        }
    }
}

/// `Cache-Control` and body of an answer that is one.
pub(crate) fn checked(fetched: Fetched<'_>) -> Result<(Option<&str>, &[u8]), DocumentError> {
    match fetched {
        Fetched::Failed => Err(DocumentError::NotFetched),
        Fetched::Answer { status, .. } if status != 200 => Err(DocumentError::Status(status)),
        Fetched::Answer { cache_control, body, .. } => Ok((cache_control, body)),
    }
}
