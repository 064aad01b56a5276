//! Secrets: redacted, without `Display`, wiped when they are replaced and when they go.

use core::fmt;

use zeroize::Zeroize;

use crate::error::{Field, TooLong};

/// A buffer for one secret. Bytes behind its end are zero at all times, so what was replaced by something shorter does
/// not linger (I6).
#[derive(Clone, Default)]
pub(crate) struct Secret<const N: usize>(heapless::Vec<u8, N, u16>);

impl<const N: usize> Secret<N> {
    pub(crate) const fn new() -> Self {
        Self(heapless::Vec::new())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes `bytes` in place of what it holds; holds nothing where they are too many (checked by the caller before).
    pub(crate) fn set(&mut self, bytes: &[u8]) {
        if let Some(tail) = self.0.get_mut(bytes.len()..) {
            tail.zeroize();
        }
        self.0.clear();
        if self.0.extend_from_slice(bytes).is_err() {
            self.wipe();
        }
    }

    /// Takes what an iterator yields; the caller has checked that it fits.
    pub(crate) fn fill(&mut self, bytes: impl Iterator<Item = u8>) {
        self.wipe();
        for byte in bytes {
            if self.0.push(byte).is_err() {
                return self.wipe();
            }
        }
    }

    pub(crate) fn wipe(&mut self) {
        self.0.as_mut_slice().zeroize();
        self.0.clear();
    }

    /// # Errors
    /// A secret of that length does not fit.
    pub(crate) const fn fits(length: usize, field: Field) -> Result<(), TooLong> {
        if length <= N { Ok(()) } else { Err(TooLong { field, needed: length, capacity: N }) }
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "[redacted]" })
    }
}

/// A secret that the caller owns, such as a client secret or a signing key: borrowed, redacted.
#[derive(Clone, Copy)]
pub(crate) struct Borrowed<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Borrowed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// An access token, as it may be handed out now (USE-1). There is no way from a refresh token to this type (USE-2).
#[derive(Clone, Copy)]
pub struct AccessToken<'a> {
    pub(crate) token: &'a str,
    pub(crate) serial: u32,
    pub(crate) seconds_left: u32,
}

impl<'a> AccessToken<'a> {
    /// The bare token, for whoever writes the header `Authorization: Bearer …` (RFC 6750 §2.1). It belongs nowhere else:
    /// not into a URL, a log or an error.
    #[must_use]
    pub const fn expose(&self) -> &'a str {
        self.token
    }

    /// Names the token without showing it. An API answer is reported with it, so that a 401 counts only against the token
    /// that it was sent with.
    #[must_use]
    pub const fn serial(&self) -> u32 {
        self.serial
    }

    /// Seconds until it ends by the clock.
    #[must_use]
    pub const fn seconds_left(&self) -> u32 {
        self.seconds_left
    }

    /// The value of the `Authorization` header, written into `buffer`.
    ///
    /// # Errors
    /// The buffer is too small: `7 +` the token's length is needed.
    pub fn authorization<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b str, TooLong> {
        let mut out = crate::write::Writer::new(buffer);
        out.text("Bearer ");
        out.text(self.token);
        out.finish(Field::Buffer)
    }
}

impl fmt::Debug for AccessToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("serial", &self.serial)
            .field("seconds_left", &self.seconds_left)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::Secret;

    #[test]
    fn a_secret_is_redacted_and_a_shorter_one_is_taken_whole() {
        let mut secret = Secret::<16>::new();
        secret.set(b"0123456789abcdef");
        secret.set(b"xyz");
        assert_eq!(secret.as_bytes(), b"xyz");
        let text = format!("{secret:?}");
        secret.wipe();
        assert_eq!(format!("{text} {secret:?}"), "[redacted] none");
    }
}
