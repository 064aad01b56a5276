//! The token endpoint's answer, scanned: a flat reader of our own for one JSON object.
//!
//! It does not recurse, bounds the nesting that it skips, and unescapes straight into the destination. The tokens are read
//! even where another member is unusable, and even where the body breaks off behind them: a token that arrived is never
//! dropped (I5).

use memchr::memchr2;

use crate::callback::hex;

/// Deepest nesting that is skipped; an answer that is deeper counts as broken off there.
pub const DEPTH_MOST: u32 = 32;

/// What an answer says, as far as it matters. Members that are absent, or unusable, are `None`. `Debug` shows no token.
#[derive(Clone, Copy, Default)]
pub struct Answer<'a> {
    /// `access_token`.
    pub access_token: Option<Text<'a>>,
    /// `refresh_token`.
    pub refresh_token: Option<Text<'a>>,
    /// `token_type`.
    pub token_type: Option<Text<'a>>,
    /// `expires_in`, seconds.
    pub expires_in: Option<u64>,
    /// The provider's member for the lifetime of the refresh token, seconds.
    pub refresh_expires_in: Option<u64>,
    /// The provider's member for the hard end, seconds.
    pub hard_expires_in: Option<u64>,
    /// `scope`.
    pub scope: Option<Text<'a>>,
    /// `id_token` (SCO-5): never looked into here, and never taken for one of the grant's.
    pub id_token: Option<Text<'a>>,
    /// `error`.
    pub error: Option<Text<'a>>,
    /// `error_description`.
    pub error_description: Option<Text<'a>>,
    /// The body was one whole JSON object, and nothing behind it.
    pub complete: bool,
}

impl<'a> Answer<'a> {
    /// Reads `body`. The two names are the provider's members for the refresh token's lifetime and the hard end. Where a
    /// member comes twice, the last one counts.
    #[must_use]
    pub fn scan(body: &'a [u8], refresh_lifetime: &str, hard_lifetime: &str) -> Self {
        let mut answer = Self::default();
        let mut scanner = Scanner { rest: body };
        answer.complete = scanner.object(|name, value| {
            let text = || if let Value::Text(text) = value { Some(text) } else { None };
            match name {
                _ if name.is("access_token") => answer.access_token = text(),
                _ if name.is("refresh_token") => answer.refresh_token = text(),
                _ if name.is("token_type") => answer.token_type = text(),
                _ if name.is("expires_in") => answer.expires_in = value.seconds(),
                _ if name.is(refresh_lifetime) => answer.refresh_expires_in = value.seconds(),
                _ if name.is(hard_lifetime) => answer.hard_expires_in = value.seconds(),
                _ if name.is("scope") => answer.scope = text(),
                _ if name.is("id_token") => answer.id_token = text(),
                _ if name.is("error") => answer.error = text(),
                _ if name.is("error_description") => answer.error_description = text(),
                _ => {}
            }
        });
        answer
    }
}

impl core::fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Answer")
            .field("access_token", &self.access_token.is_some())
            .field("refresh_token", &self.refresh_token.is_some())
            .field("expires_in", &self.expires_in)
            .field("error", &self.error.is_some())
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}

/// A JSON string, as it stands between its quotes. It may be a token, so its `Debug` is redacted.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a [u8],
    escapes: Escapes,
}

/// Whether a string has escapes, and whether they are any.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    None,
    Good,
    Broken,
}

impl<'a> Text<'a> {
    /// Bytes that stand for themselves.
    pub(crate) const fn raw(raw: &'a [u8]) -> Self {
        Self { raw, escapes: Escapes::None }
    }

    /// Its bytes, unescaped.
    pub fn bytes(self) -> impl Iterator<Item = u8> + Clone + use<'a> {
        Unescape { rest: self.raw, pending: [0; 4], left: 0 }
    }

    /// Its length in bytes, unescaped.
    #[must_use]
    pub fn length(self) -> usize {
        self.plain().map_or_else(|| self.bytes().count(), <[u8]>::len)
    }

    /// Whether it means this text.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        self.is_bytes(text.as_bytes())
    }

    /// Whether these are its bytes.
    #[must_use]
    pub(crate) fn is_bytes(self, bytes: &[u8]) -> bool {
        match self.escapes {
            Escapes::None => self.raw == bytes,
            Escapes::Good => self.bytes().eq(bytes.iter().copied()),
            Escapes::Broken => false,
        }
    }

    /// Whether it means this text but for the case of its letters.
    #[must_use]
    pub(crate) fn is_ignoring_case(self, text: &str) -> bool {
        if let Some(plain) = self.plain() {
            return plain.eq_ignore_ascii_case(text.as_bytes());
        }
        self.bytes().map(|byte| byte.to_ascii_lowercase()).eq(text.bytes())
    }

    /// The bytes as they stand, where nothing in them is escaped.
    pub(crate) const fn plain(self) -> Option<&'a [u8]> {
        if matches!(self.escapes, Escapes::None) { Some(self.raw) } else { None }
    }

    /// Whether it is one or more visible ASCII characters, as tokens and codes are (RFC 6749 appendix A).
    pub(crate) fn is_visible(self) -> bool {
        match self.plain() {
            Some(bytes) => is_visible(bytes),
            None => self.bytes().all(|byte| byte.is_ascii_graphic()) && !self.raw.is_empty(),
        }
    }
}

impl core::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// One or more visible ASCII characters.
pub(crate) fn is_visible(bytes: &[u8]) -> bool {
    // How far the furthest stands behind the first visible one: without a way out in the middle, so that it is done in wide
    // steps. What stands before the first one wraps round to the far end.
    let furthest = bytes.iter().fold(0, |most: u8, byte| most.max(byte.wrapping_sub(b'!')));
    !bytes.is_empty() && furthest <= b'~' - b'!'
}

/// A member's value.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Text(Text<'a>),
    Number(&'a [u8]),
    /// `true`, `false`, `null`, an array or an object.
    Other,
}

impl Value<'_> {
    /// A number of seconds, written as a number or as a string (wire-facts section 4). Whatever is absurd is none: a lifetime that
    /// is negative, zero or no number says nothing. What is too large is the largest there is.
    fn seconds(self) -> Option<u64> {
        let seconds = match self {
            // Digits alone, as nearly all are, and too few for a u64 to run over.
            Value::Number(digits @ [_, ..]) if digits.len() < 19 && digits.iter().all(u8::is_ascii_digit) => {
                let value = |digit: &u8| u64::from(digit & 15);
                Some(
                    digits
                        .iter()
                        .fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(value(digit))),
                )
            }
            Value::Number(digits) => whole(digits.iter().copied()),
            Value::Text(text) => whole(text.bytes()),
            Value::Other => None,
        };
        seconds.filter(|seconds| *seconds > 0)
    }
}

/// The whole part of a decimal number without an exponent.
fn whole(digits: impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = None;
    let mut fraction = false;
    for byte in digits {
        match byte {
            b'0'..=b'9' if fraction => {}
            b'0'..=b'9' => {
                let digit = u64::from(byte.saturating_sub(b'0'));
                number = Some(number.unwrap_or(0_u64).saturating_mul(10).saturating_add(digit));
            }
            b'.' if !fraction && number.is_some() => fraction = true,
            _ => return None,
        }
    }
    number
}

/// Reads JSON from the front.
pub(crate) struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// Hands each member of the object to `member`, up to where the text ends or is not JSON; says whether it was whole.
    pub(crate) fn object(&mut self, member: impl FnMut(Text<'a>, Value<'a>)) -> bool {
        self.members(|_, _| {}, member).is_some()
    }

    /// Hands each member's name to `member`, with the text from its value on, before the value is read.
    pub(crate) fn walk(&mut self, member: impl FnMut(Text<'a>, &'a [u8])) {
        let _ = self.members(member, |_, _| {});
    }

    fn members(
        &mut self,
        mut before: impl FnMut(Text<'a>, &'a [u8]),
        mut member: impl FnMut(Text<'a>, Value<'a>),
    ) -> Option<()> {
        self.token(b'{')?;
        if self.peek()? == b'}' {
            self.token(b'}')?;
        } else {
            loop {
                self.token(b'"')?;
                let name = self.text()?;
                self.token(b':')?;
                before(name, self.rest);
                member(name, self.value()?);
                if self.peek()? == b',' {
                    self.token(b',')?;
                } else {
                    self.token(b'}')?;
                    break;
                }
            }
        }
        if self.peek().is_none() { Some(()) } else { None }
    }

    fn value(&mut self) -> Option<Value<'a>> {
        match self.peek()? {
            b'"' => {
                self.token(b'"')?;
                let text = self.text()?;
                Some(if text.escapes == Escapes::Broken { Value::Other } else { Value::Text(text) })
            }
            b'{' | b'[' => self.nested().map(|()| Value::Other),
            b'-' | b'0'..=b'9' => self.number().map(Value::Number),
            _ => self.word().map(|()| Value::Other),
        }
    }

    /// The first byte that is not white space, if there is one.
    fn peek(&mut self) -> Option<u8> {
        while let Some((b' ' | b'\t' | b'\r' | b'\n', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn token(&mut self, expected: u8) -> Option<()> {
        if self.peek()? != expected {
            return None;
        }
        self.rest = self.rest.get(1..)?;
        Some(())
    }

    /// A string, its opening quote taken already.
    fn text(&mut self) -> Option<Text<'a>> {
        let start = self.rest;
        let mut length = 0_usize;
        let mut escapes = Escapes::None;
        loop {
            let rest = start.get(length..)?;
            let stop = memchr2(b'"', b'\\', rest)?;
            length = length.checked_add(stop)?;
            if *rest.get(stop)? == b'"' {
                self.rest = start.get(length.checked_add(1)?..)?;
                let raw = start.get(..length)?;
                // A bad escape makes this member unusable, and no other.
                let broken = escapes == Escapes::Good && !unescapes(raw);
                return Some(Text { raw, escapes: if broken { Escapes::Broken } else { escapes } });
            }
            // The backslash, and what it escapes.
            length = length.checked_add(2)?;
            escapes = Escapes::Good;
        }
    }

    fn number(&mut self) -> Option<&'a [u8]> {
        let all = self.rest;
        let end = all.iter().position(|byte| !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
        // A number at the very end of the text may have been cut short.
        let (number, rest) = all.split_at_checked(end?)?;
        self.rest = rest;
        Some(number)
    }

    fn word(&mut self) -> Option<()> {
        let rest = [b"true".as_slice(), b"false", b"null"]
            .into_iter()
            .find_map(|word| self.rest.strip_prefix(word))?;
        self.rest = rest;
        Some(())
    }

    /// Skips an array or an object: brackets must match, and strings are skipped whole. No recursion: which kind each open
    /// bracket is stands in a bit.
    fn nested(&mut self) -> Option<()> {
        let mut kinds = 0_u32;
        let mut depth = 0_u32;
        loop {
            let byte = self.peek()?;
            self.rest = self.rest.get(1..)?;
            match byte {
                b'{' | b'[' if depth >= DEPTH_MOST => return None,
                b'{' | b'[' => {
                    kinds = kinds << 1 | u32::from(byte == b'{');
                    depth = depth.checked_add(1)?;
                }
                b'}' | b']' => {
                    if (kinds & 1 == 1) != (byte == b'}') {
                        return None;
                    }
                    kinds >>= 1;
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(());
                    }
                }
                b'"' => {
                    self.text()?;
                }
                b',' | b':' | b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E' => {}
                _ => return None,
            }
        }
    }
}

/// Whether every escape in it is one, and makes text.
fn unescapes(raw: &[u8]) -> bool {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let Some(escape) = rest.get(at..) else { return false };
        let Some((_, after)) = escape_at(escape) else { return false };
        rest = after;
    }
    true
}

/// The character that an escape at the front stands for, and what follows it (RFC 8259 §7).
fn escape_at(text: &[u8]) -> Option<(char, &[u8])> {
    let ([_, kind], rest) = text.split_first_chunk::<2>()?;
    let plain = match kind {
        b'"' | b'\\' | b'/' => char::from(*kind),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_at(rest),
        _ => return None,
    };
    Some((plain, rest))
}

/// Four hexadecimal digits, or a pair of surrogates.
fn unicode_at(text: &[u8]) -> Option<(char, &[u8])> {
    let (high, rest) = unit_at(text)?;
    if let Some(plain) = char::from_u32(high) {
        return Some((plain, rest));
    }
    let (low, rest) = unit_at(rest.strip_prefix(b"\\u")?)?;
    if !(0xD800..0xDC00).contains(&high) || !(0xDC00..0xE000).contains(&low) {
        return None;
    }
    let code = (high & 0x3FF) << 10 | (low & 0x3FF);
    Some((char::from_u32(code.checked_add(0x1_0000)?)?, rest))
}

fn unit_at(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<4>()?;
    let mut unit = 0_u32;
    for digit in digits {
        unit = unit << 4 | u32::from(hex(*digit)?);
    }
    Some((unit, rest))
}

#[derive(Clone)]
struct Unescape<'a> {
    rest: &'a [u8],
    pending: [u8; 4],
    left: u8,
}

impl Iterator for Unescape<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.left > 0 {
            self.left = self.left.saturating_sub(1);
            let [first, second, third, fourth] = self.pending;
            self.pending = [second, third, fourth, 0];
            return Some(first);
        }
        let (first, rest) = self.rest.split_first()?;
        if *first != b'\\' {
            self.rest = rest;
            return Some(*first);
        }
        let (char, rest) = escape_at(self.rest)?;
        self.rest = rest;
        let mut encoded = [0; 4];
        self.left = u8::try_from(char.encode_utf8(&mut encoded).len()).unwrap_or(0);
        self.pending = encoded;
        self.next()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{Answer, is_visible};

    /// Each member goes where its name says, and one of any other name nowhere.
    #[test]
    fn a_member_is_read_as_what_it_is_called_and_as_nothing_else() {
        let named = [
            ("access_token", [true, false, false, false, false, false, false]),
            ("refresh_token", [false, true, false, false, false, false, false]),
            ("token_type", [false, false, true, false, false, false, false]),
            ("scope", [false, false, false, true, false, false, false]),
            ("id_token", [false, false, false, false, true, false, false]),
            ("error", [false, false, false, false, false, true, false]),
            ("error_description", [false, false, false, false, false, false, true]),
            ("error_uri", [false; 7]),
            ("Access_Token", [false; 7]),
        ];
        for (name, expected) in named {
            let body = [br#"{""#, name.as_bytes(), br#"":"x"}"#].concat();
            let answer = Answer::scan(&body, "rolling", "hard");
            let texts = [
                answer.access_token,
                answer.refresh_token,
                answer.token_type,
                answer.scope,
                answer.id_token,
                answer.error,
                answer.error_description,
            ];
            assert_eq!(texts.map(|text| text.is_some_and(|text| text.is("x"))), expected, "{name}");
        }
        for (name, expected) in [
            ("expires_in", [Some(7), None, None]),
            ("rolling", [None, Some(7), None]),
            ("hard", [None, None, Some(7)]),
            ("other", [None; 3]),
        ] {
            let body = [br#"{""#, name.as_bytes(), br#"":7}"#].concat();
            let answer = Answer::scan(&body, "rolling", "hard");
            let numbers = [answer.expires_in, answer.refresh_expires_in, answer.hard_expires_in];
            assert_eq!(numbers, expected, "{name}");
        }
    }

    #[test]
    fn visible_means_no_space_and_no_line_end() {
        assert!(is_visible(b"abc~!"));
        for wrong in [&b""[..], b"a b", b"a\r\n", b"\x7f", "ä".as_bytes()] {
            assert!(!is_visible(wrong));
        }
    }
}
