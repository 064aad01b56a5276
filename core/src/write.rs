//! Text written into the caller's buffer. It counts on when the buffer is full, so the error can say what would do.

use crate::error::{Field, TooLong};

/// The bytes that stand for themselves in a query, in a form body and before base64: the unreserved ones of RFC 3986 §2.3.
/// A byte of this table for each, for they are looked at one by one and often.
const UNRESERVED: [bool; 256] = {
    let mut kept = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        // Evaluated by the compiler: an index out of range would not build.
        #[allow(clippy::indexing_slicing)]
        {
            kept[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        }
        byte = byte.saturating_add(1);
    }
    kept
};

fn is_unreserved(byte: u8) -> bool {
    UNRESERVED.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Where the first byte stands that is to be encoded. Most texts have none, so they are looked at in wide steps.
fn first_reserved(bytes: &[u8]) -> Option<usize> {
    let (wide, _) = bytes.as_chunks::<8>();
    // Without a way out in the middle of a step.
    let kept = |chunk: &&[u8; 8]| chunk.iter().fold(true, |all, byte| all & is_unreserved(*byte));
    let skipped = wide.iter().take_while(kept).count().saturating_mul(8);
    let reserved = bytes.get(skipped..)?.iter().position(|byte| !is_unreserved(*byte))?;
    skipped.checked_add(reserved)
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
        while let Some(reserved) = first_reserved(rest) {
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

    /// A decimal number, its digits put where they belong from the last one on.
    pub(crate) fn number(&mut self, number: u32) {
        // Most numbers of a record are counters of little things.
        if let [digit @ 0..10, 0, 0, 0] = number.to_le_bytes() {
            return self.bytes(&[b'0' | digit]);
        }
        let digits = number.checked_ilog10().unwrap_or(0).saturating_add(1);
        let end = self.at.saturating_add(usize::try_from(digits).unwrap_or(usize::MAX));
        let mut rest = number;
        for digit in self.buffer.get_mut(self.at..end).unwrap_or_default().iter_mut().rev() {
            // The lowest byte of what is below ten.
            let [low, ..] = (rest % 10).to_le_bytes();
            *digit = b'0' | low;
            rest /= 10;
        }
        self.at = end;
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

#[cfg(test)]
mod tests {
    use super::{Writer, percent_encode};
    use crate::error::Field;

    #[test]
    fn what_is_encoded_in_wide_steps_is_what_is_encoded_byte_by_byte() {
        let texts: [&[u8]; 5] = [b"", b"abc", b"https://app.example/cb", b"01234567/01234567/", &[0xff; 20]];
        for text in texts.into_iter().flat_map(|text| (0..=text.len()).map(move |end| &text[..end])) {
            let mut buffer = [0; 80];
            let mut out = Writer::new(&mut buffer);
            out.encoded(text);
            assert!(out.finish_bytes(Field::Buffer).unwrap().iter().copied().eq(percent_encode(text)));
        }
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 99, 100, 1_800_000_000, u32::MAX] {
            let mut buffer = [0; 20];
            let mut out = Writer::new(&mut buffer);
            out.number(number);
            assert_eq!(out.finish(Field::Buffer).unwrap().parse(), Ok(number));
        }
    }
}
