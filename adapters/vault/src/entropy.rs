//! Where random bytes come from: an argument, so that a test can be deterministic.

use std::io;

/// A source of random bytes for nonces, keys and holder names.
///
/// An implementation must be fit for cryptography. A repeated nonce under one key gives the sealed bytes away;
/// nonces here have 24 bytes, so random ones do not repeat.
pub trait Entropy: Send {
    /// Fills all of `bytes`, or returns `Err` when the source cannot.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The operating system's source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
    }
}
