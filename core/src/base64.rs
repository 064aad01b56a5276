//! Base64 (RFC 4648 §4, §5) of secrets: no table that is looked up by them, no branch on them, and nothing that could
//! panic. The length is no secret.

/// The alphabet for URLs, without padding.
pub(crate) struct Base64UrlUnpadded;

/// It did not fit, or is no base64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invalid;

impl Base64UrlUnpadded {
    /// # Errors
    /// `out` is too small.
    pub(crate) fn encode<'b>(bytes: &[u8], out: &'b mut [u8]) -> Result<&'b str, Invalid> {
        encode(bytes, out)
    }

    /// Only what [`encode`](Self::encode) writes: each value has one text.
    ///
    /// # Errors
    /// `out` is too small, or this is no such text.
    pub(crate) fn decode(text: impl AsRef<[u8]>, out: &mut [u8]) -> Result<&[u8], Invalid> {
        let mut at = 0_usize;
        let mut wrong = 0;
        for group in text.as_ref().chunks(4) {
            let mut word = 0_u32;
            for place in 0..4 {
                let sextet = group.get(place).map_or(0, |byte| sextet(*byte));
                wrong |= sextet >> 8;
                word = word << 6 | u32::from(sextet & 63);
            }
            let [_, bytes @ ..] = word.to_be_bytes();
            // Four characters make three bytes, three make two, two make one, and one makes none.
            let whole = group.len().saturating_sub(1);
            if whole == 0 {
                return Err(Invalid);
            }
            for (place, byte) in bytes.into_iter().enumerate() {
                if place < whole {
                    *out.get_mut(at).ok_or(Invalid)? = byte;
                    at = at.saturating_add(1);
                } else {
                    // What is left over must be nothing.
                    wrong |= u16::from(byte);
                }
            }
        }
        if wrong == 0 { out.get(..at).ok_or(Invalid) } else { Err(Invalid) }
    }
}

/// Base64 (RFC 4648 §4) of 48 bytes. In constant time: no table is looked into, and no branch taken, for what they are.
pub(crate) fn encode_block(bytes: &[u8; 48], text: &mut [u8; 64]) {
    block::<false>(bytes, text);
}

fn block<const URL: bool>(bytes: &[u8; 48], text: &mut [u8; 64]) {
    for ([first, second, third], four) in bytes.as_chunks::<3>().0.iter().zip(text.as_chunks_mut::<4>().0) {
        *four = [first >> 2, (first & 3) << 4 | second >> 4, (second & 15) << 2 | third >> 6, third & 63];
    }
    for six in text.iter_mut() {
        *six = letter::<URL>(*six);
    }
}

/// The letter of six bits. A difference below zero has all its upper bits set, so each step up the alphabet is a mask.
fn letter<const URL: bool>(six: u8) -> u8 {
    let (to_62, to_63) = if URL { (13, 49) } else { (15, 3) };
    let value = i16::from(six);
    let past = |last: i16, step: i16| last.wrapping_sub(value) >> 8 & step;
    let letter = i16::from(b'A')
        .wrapping_add(value)
        .wrapping_add(past(25, 6))
        .wrapping_sub(past(51, 75))
        .wrapping_sub(past(61, to_62))
        .wrapping_add(past(62, to_63));
    let [low, _] = letter.to_le_bytes();
    low
}

/// A block at a time, its end filled up with zeros that are not written.
fn encode<'b>(bytes: &[u8], out: &'b mut [u8]) -> Result<&'b str, Invalid> {
    let mut at = 0_usize;
    for part in bytes.chunks(48) {
        let (mut block_of, mut text) = ([0; 48], [0; 64]);
        block_of.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        block::<true>(&block_of, &mut text);
        let length = part.len().saturating_mul(4).div_ceil(3);
        let end = at.saturating_add(length);
        let (room, text) = (out.get_mut(at..end).ok_or(Invalid)?, text.get(..length).ok_or(Invalid)?);
        room.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        at = end;
    }
    out.get(..at).and_then(|text| core::str::from_utf8(text).ok()).ok_or(Invalid)
}

/// All ones where `least <= value <= most`, else zero. All three are below 256.
const fn within(value: u8, least: u8, most: u8) -> u16 {
    let (value, least, most) = (value as i16, least as i16, most as i16);
    // The sign bit of either difference tells.
    let outside = (value.wrapping_sub(least) | most.wrapping_sub(value)) >> 15;
    !outside as u16
}

/// The six bits of a character of the alphabet for URLs; more than eight where it is none.
const fn sextet(byte: u8) -> u16 {
    let upper = within(byte, b'A', b'Z');
    let lower = within(byte, b'a', b'z');
    let digit = within(byte, b'0', b'9');
    let (minus, low) = (within(byte, b'-', b'-'), within(byte, b'_', b'_'));
    let known = upper | lower | digit | minus | low;
    let byte = byte as u16;
    (upper & byte.wrapping_sub(b'A' as u16))
        | (lower & byte.wrapping_sub(b'a' as u16).wrapping_add(26))
        | (digit & byte.wrapping_sub(b'0' as u16).wrapping_add(52))
        | (minus & 62)
        | (low & 63)
        | (!known & 0x100)
}

#[cfg(test)]
mod tests {
    use base64ct::Encoding;

    use super::{Base64UrlUnpadded, encode_block};

    #[test]
    fn a_block_is_what_another_crate_makes_of_it() {
        for seed in 0..=255_u8 {
            let mut bytes = [0; 48];
            for (at, byte) in (0_u8..).zip(&mut bytes) {
                *byte = at.wrapping_mul(seed).wrapping_add(seed);
            }
            let (mut ours, mut theirs) = ([0; 64], [0; 64]);
            encode_block(&bytes, &mut ours);
            assert_eq!(&ours[..], base64ct::Base64::encode(&bytes, &mut theirs).unwrap().as_bytes());
            let (mut ours, mut theirs) = ([0; 200], [0; 200]);
            for length in [0, 1, 2, 32, 47, 48, 49, 96, 100] {
                let bytes = &[bytes, bytes, bytes].concat()[..length];
                let text = base64ct::Base64UrlUnpadded::encode(bytes, &mut theirs).unwrap();
                assert_eq!(Base64UrlUnpadded::encode(bytes, &mut ours).unwrap(), text);
            }
        }
    }

    #[test]
    fn the_examples_of_the_rfc_and_their_way_back() {
        let mut out = [0; 12];
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let bare = text.trim_end_matches('=');
            assert_eq!(Base64UrlUnpadded::encode(bytes.as_bytes(), &mut out).unwrap(), bare);
            assert_eq!(Base64UrlUnpadded::decode(bare, &mut out).unwrap(), bytes.as_bytes());
        }
        assert_eq!(Base64UrlUnpadded::encode(&[0xfb, 0xef, 0xff], &mut out).unwrap(), "--__");
        assert_eq!(Base64UrlUnpadded::decode("--__", &mut out).unwrap(), [0xfb, 0xef, 0xff]);
    }

    #[test]
    fn each_byte_is_a_character_or_is_refused_and_each_value_has_one_text() {
        const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut out = [0; 4];
        for byte in 0..=255_u8 {
            let decoded = Base64UrlUnpadded::decode([byte, b'A'], &mut out).ok().map(|bytes| bytes[0] >> 2);
            let place = URL.iter().position(|known| *known == byte);
            assert_eq!(decoded.map(usize::from), place, "{byte}");
        }
        for wrong in ["A", "AB", "ABB", "AAAAA", "Zg==", "Zm8=", "A A", "AA\n"] {
            assert!(Base64UrlUnpadded::decode(wrong, &mut out).is_err(), "{wrong}");
        }
        assert!(Base64UrlUnpadded::decode("AAAAAAAA", &mut out).is_err(), "too long");
        assert!(Base64UrlUnpadded::encode(b"abcd", &mut out).is_err(), "too long");
    }
}
