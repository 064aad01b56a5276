//! The network: a serial line whose other end is a TCP connection. Nothing says when that was closed; only time does.

#[cfg(not(feature = "tls"))]
use core::convert::Infallible;

use embedded_io::{ErrorKind, ErrorType, Read, Write};
#[cfg(not(feature = "tls"))]
use evergrant_embedded::{Target, blocking::Connect};

use crate::machine::{receive, send, ticks_ms};

/// Milliseconds without a byte after which no further one is waited for.
const PATIENCE_MS: u64 = 1_500;

pub(crate) struct Line;

impl ErrorType for Line {
    type Error = ErrorKind;
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        bytes.iter().copied().for_each(send);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Read for Line {
    fn read(&mut self, room: &mut [u8]) -> Result<usize, ErrorKind> {
        let started = ticks_ms();
        let mut count = 0;
        while let Some(place) = room.get_mut(count) {
            match receive() {
                Some(byte) => {
                    *place = byte;
                    count += 1;
                }
                None if count > 0 => break,
                None if ticks_ms() - started > PATIENCE_MS => return Err(ErrorKind::TimedOut),
                None => {}
            }
        }
        Ok(count)
    }
}

#[cfg(feature = "tls")]
impl Line {
    /// Waits until nothing has come for so many milliseconds: what is left of an earlier connection belongs to nobody.
    pub(crate) fn silence(&mut self, wanted_ms: u64) {
        let mut since = ticks_ms();
        while ticks_ms() - since <= wanted_ms {
            if receive().is_some() {
                since = ticks_ms();
            }
        }
    }
}

#[cfg(not(feature = "tls"))]
impl Connect for Line {
    type Connection<'c> = &'c mut Self;
    type Error = Infallible;
    const KEEP_ALIVE: bool = true;

    fn connect<'c>(&'c mut self, _: &Target<'_>) -> Result<&'c mut Self, Infallible> {
        // What is left of an answer that was given up belongs to nobody.
        while receive().is_some() {}
        Ok(self)
    }
}
