//! A seeded generator: the same seed gives the same tokens, run after run.

/// SplitMix64: eight bytes of state, so that a model checker can clone, compare and hash it.
///
/// Nothing that it makes is secret: the emulator hands out made-up tokens for made-up companies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rng(u64);

const TOKEN_ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl Rng {
    /// A generator that starts at `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 when `bound` is 0). The bias of the remainder does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// `length` characters out of `A-Za-z0-9`, appended to `text`.
    pub(crate) fn push_token(&mut self, text: &mut String, length: usize) {
        for _ in 0..length {
            let index = self.below(TOKEN_ALPHABET.len() as u64) as usize;
            text.push(char::from(TOKEN_ALPHABET[index]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn same_seed_same_stream_other_seed_other_stream() {
        let draw = |seed| {
            let mut text = String::new();
            Rng::new(seed).push_token(&mut text, 40);
            text
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(Rng::new(1).below(0), 0);
    }
}
