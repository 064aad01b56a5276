//! Text written into the caller's buffer. It counts on when the buffer is full, so the error can say what would do.

use crate::error::{Field, TooLong};

/// A bit for each ASCII character that stands for itself in a query, in a form body and before base64: the unreserved ones
/// of RFC 3986 §2.3.
const UNRESERVED: [u32; 8] = {
    let mut bits = [0; 8];
    let mut byte = 0_u8;
    while byte < 128 {
        let kept = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        // Evaluated by the compiler: an index out of range would not build.
        #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
        if kept {
            bits[(byte >> 5) as usize] |= 1 << (byte & 31);
        }
        byte = byte.saturating_add(1);
    }
    bits
};

fn is_unreserved(byte: u8) -> bool {
    let bits = UNRESERVED.get(usize::from(byte >> 5)).copied().unwrap_or(0);
    bits >> (byte & 31) & 1 == 1
}

/// The bytes of `bytes`, percent-encoded (RFC 3986 §2.1).
pub(crate) fn percent_encode(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().flat_map(|byte| {
        let [high, low] = hex(*byte);
        let (encoded, length) =
            if is_unreserved(*byte) { ([*byte, 0, 0], 1) } else { ([b'%', high, low], 3) };
        encoded.into_iter().take(length)
    })
}

/// Two hexadecimal digits, in upper case (RFC 3986 §2.1).
const fn hex(byte: u8) -> [u8; 2] {
    const fn digit(nibble: u8) -> u8 {
        nibble.saturating_add(if nibble < 10 { b'0' } else { b'A' - 10 })
    }
    [digit(byte >> 4), digit(byte & 15)]
}

pub(crate) struct Writer<'b> {
    buffer: &'b mut [u8],
    at: usize,
}

impl core::fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.text(text);
        Ok(())
    }
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        if let Some(room) = self.buffer.get_mut(self.at..end)
            && room.len() == bytes.len()
        {
            room.copy_from_slice(bytes);
        }
        self.at = end;
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Percent-encoded (RFC 3986 §2.1).
    pub(crate) fn encoded(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(reserved) = rest.iter().position(|byte| !is_unreserved(*byte)) {
            let Some((run, [byte, after @ ..])) = rest.split_at_checked(reserved) else { break };
            self.bytes(run);
            let [high, low] = hex(*byte);
            self.bytes(&[b'%', high, low]);
            rest = after;
        }
        self.bytes(rest);
    }

    /// As the inside of a JSON string.
    pub(crate) fn json(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'"' | b'\\' => self.bytes(&[b'\\', *byte]),
                0x00..0x20 => {
                    self.text("\\u00");
                    self.bytes(&hex(*byte));
                }
                _ => self.bytes(&[*byte]),
            }
        }
    }

    /// A decimal number.
    pub(crate) fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut rest = number;
        let mut first = 20_usize;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' | u8::try_from(rest % 10).unwrap_or(0);
            first = first.saturating_sub(1);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes(digits.get(first..).unwrap_or_default());
    }

    /// Bytes written so far, those that found no room among them.
    pub(crate) const fn length(&self) -> usize {
        self.at
    }

    /// What was written.
    ///
    /// # Errors
    /// It did not fit; the error says what would.
    pub(crate) fn finish_bytes(self, field: Field) -> Result<&'b [u8], TooLong> {
        let capacity = self.buffer.len();
        self.buffer.get(..self.at).ok_or(TooLong { field, needed: self.at, capacity })
    }

    /// What was written, as text.
    ///
    /// # Errors
    /// As [`Writer::finish_bytes`].
    pub(crate) fn finish(self, field: Field) -> Result<&'b str, TooLong> {
        let (needed, capacity) = (self.at, self.buffer.len());
        let bytes = self.finish_bytes(field)?;
        core::str::from_utf8(bytes).map_err(|_| TooLong { field, needed, capacity })
    }
}

/// A checksum that tells texts apart where nobody gains by making two fall together: it finds damage, not malice. Eight
/// bytes a step; each step is a bijection, so a change within any eight bytes is always found.
pub(crate) struct Sum(u64);

impl Sum {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// One text more. Its end counts as well, or ("ab", "c") would be ("a", "bc").
    pub(crate) fn add(&mut self, text: &[u8]) {
        let (words, rest) = text.as_chunks::<8>();
        for word in words {
            self.step(u64::from_le_bytes(*word));
        }
        self.word(rest);
        self.length(u64::try_from(text.len()).unwrap_or(u64::MAX));
    }

    /// Up to eight bytes of a text that comes in pieces. All but the last piece have eight, and the last may have none.
    pub(crate) fn word(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.step(u64::from_le_bytes(word));
    }

    /// The end of a text that came in pieces.
    pub(crate) fn length(&mut self, bytes: u64) {
        self.step(bytes);
    }

    fn step(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    pub(crate) const fn value(&self) -> u32 {
        let folded = self.0 ^ self.0 >> 32;
        // The lower half of it.
        (folded & 0xffff_ffff) as u32
    }
}

/// Tells names apart, such as redirect URIs. Not for secrets.
pub(crate) fn fingerprint(parts: &[&str]) -> u32 {
    let mut sum = Sum::new();
    parts.iter().for_each(|part| sum.add(part.as_bytes()));
    sum.value()
}
