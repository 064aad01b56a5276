//! A record's bytes in the clear.

use std::fmt;

use zeroize::Zeroizing;

/// Longest record that a store takes, in bytes. Two tokens of Intuit's largest sizes and a candidate fit many
/// times over.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// A record in the clear: opaque bytes that hold tokens. Wiped on drop, redacted in `Debug`, no `Display` (I6).
#[derive(Clone, PartialEq, Eq)]
pub struct Record(Zeroizing<Vec<u8>>);

impl Record {
    /// Takes the bytes over; they are wiped when the record is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Whoever copies them must wipe the copy.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Record {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} bytes, redacted)", self.0.len())
    }
}
