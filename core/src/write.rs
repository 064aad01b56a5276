//! Text written into the caller's buffer. It counts on when the buffer is full, so the error can say what would do.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::error::{Field, TooLong};

/// All but the unreserved characters of RFC 3986 §2.3: safe in a query, in a form body and before base64.
pub(crate) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) struct Writer<'b> {
    buffer: &'b mut [u8],
    at: usize,
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        if let Some(room) = self.buffer.get_mut(self.at..end) {
            room.copy_from_slice(bytes);
        }
        self.at = end;
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Percent-encoded (RFC 3986 §2.1).
    pub(crate) fn encoded(&mut self, bytes: &[u8]) {
        for run in percent_encode(bytes, RESERVED) {
            self.text(run);
        }
    }

    /// As the inside of a JSON string.
    pub(crate) fn json(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'"' | b'\\' => self.bytes(&[b'\\', *byte]),
                0x00..0x20 => {
                    self.text("\\u00");
                    self.hex(*byte);
                }
                _ => self.bytes(&[*byte]),
            }
        }
    }

    /// Two hexadecimal digits.
    pub(crate) fn hex(&mut self, byte: u8) {
        let digit = |nibble: u8| nibble.saturating_add(if nibble < 10 { b'0' } else { b'a' - 10 });
        self.bytes(&[digit(byte >> 4), digit(byte & 15)]);
    }

    /// Bytes written so far, those that found no room among them.
    pub(crate) const fn length(&self) -> usize {
        self.at
    }

    /// What was written.
    ///
    /// # Errors
    /// It did not fit; the error says what would.
    pub(crate) fn finish(self, field: Field) -> Result<&'b str, TooLong> {
        let capacity = self.buffer.len();
        let written = self.buffer.get(..self.at).and_then(|bytes| core::str::from_utf8(bytes).ok());
        written.ok_or(TooLong { field, needed: self.at, capacity })
    }
}

/// FNV-1a, 64 bits: tells names apart where nobody gains by making two fall together. Not for secrets.
pub(crate) fn fingerprint(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        // The end of a part counts as well, or ("ab", "c") would be ("a", "bc").
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// Half as long, for where a few names are told apart.
pub(crate) fn short_fingerprint(parts: &[&str]) -> u32 {
    let [a, b, c, d, e, f, g, h] = fingerprint(parts).to_be_bytes();
    u32::from_be_bytes([a ^ e, b ^ f, c ^ g, d ^ h])
}
