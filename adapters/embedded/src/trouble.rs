//! What went wrong on the way, for whoever reads the device's log.

use core::fmt;

use embedded_io::ErrorKind;

use crate::target::TargetError;

/// What went wrong with a request. The session is told what matters to it by [`Talk::received`](crate::Talk::received);
/// this is for people. It carries nothing of what was sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The URL cannot be spoken to. Nothing was sent.
    Target(TargetError),
    /// A header has characters that no header may have. Nothing was sent.
    Header,
    /// Something is larger than its place.
    TooLarge {
        /// What.
        what: Part,
        /// Bytes that it needs; for a body whose end is not in sight, at least.
        needed: usize,
        /// Bytes that there are.
        capacity: usize,
    },
    /// No connection could be made. Nothing was sent.
    NotConnected,
    /// The transport refused bytes.
    Write(ErrorKind),
    /// The transport took no byte of those that it was handed: it is closed.
    WriteZero,
    /// The transport failed before an answer was whole.
    Read(ErrorKind),
    /// The other side closed the connection before an answer, or before its body was whole.
    Closed,
    /// It took longer than the caller had set.
    TimedOut,
    /// The future was dropped, or a step was begun and its outcome never reported. The connection must be closed.
    Abandoned,
    /// What came is not HTTP/1.0 or HTTP/1.1.
    NotHttp,
    /// A header, a length or a chunk is malformed, or two of them contradict each other.
    Malformed,
    /// The body is compressed or otherwise encoded, although that was not accepted.
    Encoded,
}

/// What can be too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The request; the buffer is too small for it. Nothing was sent.
    Request,
    /// One line of the answer's head; the buffer is too small for it.
    Line,
    /// The answer's head, its interim answers and the frames of its chunks together
    /// ([`HEAD_MOST`](crate::HEAD_MOST)).
    Head,
    /// The answer's body; the buffer is too small for it.
    Body,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target(error) => return error.fmt(f),
            Self::TooLarge { what, needed, capacity } => {
                let what = match what {
                    Part::Request => "the buffer is too small for the request",
                    Part::Line => "the buffer is too small for a line of the answer's head",
                    Part::Head => "the answer's head is larger than any head may be",
                    Part::Body => "the buffer is too small for the answer's body",
                };
                return write!(f, "{what}: {needed} bytes are needed, {capacity} are there");
            }
            Self::Header => "a header has characters that no header may have",
            Self::NotConnected => "no connection could be made",
            Self::Write(_) => "the transport refused to write",
            Self::WriteZero => "the transport took no byte: it is closed",
            Self::Read(_) => "the transport failed before the answer was whole",
            Self::Closed => "the connection was closed before the answer was whole",
            Self::TimedOut => "the answer took too long",
            Self::Abandoned => "the request was given up half-way: close the connection",
            Self::NotHttp => "what came is not HTTP/1.1",
            Self::Malformed => "the answer's head or its chunks are malformed or contradict each other",
            Self::Encoded => "the body is encoded in a way that was not asked for",
        })
    }
}

impl core::error::Error for Trouble {}
