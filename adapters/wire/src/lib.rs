//! What became of a request: the answer type that evergrant's HTTP adapters share.
//!
//! Whoever writes an adapter makes a [`Reply`] of what happened, and says [`Reply::not_sent`] only where no byte of the request
//! can have left: the core may then send it again, even a code (EXC-3).
//!
//! ```
//! use evergrant::Received;
//! use evergrant_wire::{Failure, Reply};
//!
//! let reply = Reply::not_sent(Failure::NoConnection);
//! assert!(matches!(reply.received(), Received::NotSent));
//! assert_eq!(reply.failure(), Some(Failure::NoConnection));
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

use std::fmt;

use evergrant::{Received, Time};
use zeroize::Zeroizing;

/// What became of a request, with everything that came back. The body is wiped on drop; nothing of it is ever rendered.
#[derive(Debug)]
pub struct Reply(Kind);

enum Kind {
    NotSent(Failure),
    NoAnswer(Failure),
    Answer(Box<Answer>),
}

/// An answer: a status line and its headers came, and the body as far as it did. `Debug` shows the status alone (I6).
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// The provider's correlation header, as it came.
    pub correlation: Option<String>,
    /// The sender's clock, from `Date`.
    pub date: Option<Time>,
    /// `Content-Type`, as it came.
    pub content_type: Option<String>,
    /// The body, as far as it came; the tokens may be in it.
    pub body: Zeroizing<Vec<u8>>,
    /// Why the body broke off, where it did.
    pub broken_off: Option<Failure>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    /// It provably never left.
    #[must_use]
    pub const fn not_sent(why: Failure) -> Self {
        Self(Kind::NotSent(why))
    }

    /// It left, or may have, and nothing came back.
    #[must_use]
    pub const fn no_answer(why: Failure) -> Self {
        Self(Kind::NoAnswer(why))
    }

    /// It was answered.
    #[must_use]
    pub fn answer(answer: Answer) -> Self {
        Self(Kind::Answer(Box::new(answer)))
    }

    /// As the core takes it: [`Input::Answer`](evergrant::Input::Answer).
    #[must_use]
    pub fn received(&self) -> Received<'_> {
        match &self.0 {
            Kind::NotSent(_) => Received::NotSent,
            Kind::NoAnswer(_) => Received::NoAnswer,
            Kind::Answer(answer) => Received::Answer {
                status: answer.status,
                retry_after: answer.retry_after.as_deref(),
                correlation: answer.correlation.as_deref(),
                body: &answer.body,
            },
        }
    }

    /// The status, where there is an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.whole().map(|answer| answer.status)
    }

    /// The body, as far as it came; empty where there is no answer.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.whole().map_or(&[], |answer| &answer.body)
    }

    /// `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.whole()?.content_type.as_deref()
    }

    /// The correlation header (Intuit: `intuit_tid`), by which support finds the request again.
    #[must_use]
    pub fn correlation(&self) -> Option<&str> {
        self.whole()?.correlation.as_deref()
    }

    /// The sender's clock, from `Date`.
    #[must_use]
    pub fn date(&self) -> Option<Time> {
        self.whole()?.date
    }

    /// What went wrong on the way: why it was not sent or not answered, or why the body broke off.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match &self.0 {
            Kind::NotSent(why) | Kind::NoAnswer(why) => Some(*why),
            Kind::Answer(answer) => answer.broken_off,
        }
    }

    fn whole(&self) -> Option<&Answer> {
        match &self.0 {
            Kind::Answer(answer) => Some(answer),
            Kind::NotSent(_) | Kind::NoAnswer(_) => None,
        }
    }
}

/// I6: which of the three it is, and why; nothing that came.
impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) => f.debug_tuple("NotSent").field(why).finish(),
            Self::NoAnswer(why) => f.debug_tuple("NoAnswer").field(why).finish(),
            Self::Answer(answer) => answer.fmt(f),
        }
    }
}

/// What went wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The URL or a header cannot stand in a request.
    Malformed,
    /// Plain http to something that is not loopback.
    PlainHttp,
    /// The host's name was not found.
    NoSuchHost,
    /// No connection: refused, or no way there.
    NoConnection,
    /// The server's certificate or its name was not accepted, or the handshake failed.
    Tls,
    /// No connection in time.
    ConnectTimeout,
    /// No whole answer in time.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Broken,
    /// The body is longer than the adapter's bound.
    TooLong,
    /// The proxy of the environment cannot be used.
    Proxy,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the address or a header has characters that cannot be sent: look at the endpoints",
            Self::PlainHttp => "plain http goes to loopback only: use https",
            Self::NoSuchHost => "the host's name was not found: look at the network and at the address",
            Self::NoConnection => "no connection: look at the network, a firewall or a proxy, or whether the server runs",
            Self::Tls => {
                "no secure connection: the certificate or its name was not accepted; look for a proxy that breaks TLS, \
                 and at the clock"
            }
            Self::ConnectTimeout => "no connection in time: look at the network, or try later",
            Self::Timeout => "no whole answer in time: try later",
            Self::Broken => "the connection broke before a whole answer came",
            Self::TooLong => "the answer is longer than anything that is expected",
            Self::Proxy => "the proxy that the environment names cannot be used: look at HTTPS_PROXY",
        })
    }
}

impl std::error::Error for Failure {}
