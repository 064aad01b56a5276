//! The redirect's query, parsed (RED-6). Judged by the session, which knows the consent that it must belong to.

use memchr::{memchr, memchr2};

use crate::answer::is_visible;
use crate::error::CallbackError;

/// A callback's parameters, still encoded. Its `Debug` shows which are there, and none of their values.
#[derive(Clone, Copy)]
pub struct Callback<'a> {
    /// The address that the query was found behind, where a whole URL was handed in.
    pub address: Option<&'a str>,
    /// `code`.
    pub code: Option<Encoded<'a>>,
    /// `state`.
    pub state: Option<Encoded<'a>>,
    /// The provider's realm parameter (Intuit: `realmId`).
    pub realm: Option<Encoded<'a>>,
    /// `error`.
    pub error: Option<Encoded<'a>>,
    /// `error_description`.
    pub error_description: Option<Encoded<'a>>,
    /// `iss` (RFC 9207).
    pub issuer: Option<Encoded<'a>>,
}

/// Whether this is an address, and not a query without its `?`.
fn is_address(text: &str) -> bool {
    text.split_once([':']).is_some_and(|(_, rest)| rest.starts_with("//"))
}

impl<'a> Callback<'a> {
    /// Takes a query, or a whole URL. Any order, percent-encoded or not; unknown parameters are ignored (RFC 6749 §4.1.2),
    /// as is a fragment such as `#_=_`.
    ///
    /// # Errors
    /// No query, or a known parameter twice: which one is meant is not guessed.
    pub fn parse(text: &'a str, realm_parameter: &str) -> Result<Self, CallbackError> {
        let text = text.trim_ascii().as_bytes();
        let text = memchr(b'#', text).and_then(|end| text.get(..end)).unwrap_or(text);
        let (address, query) = match memchr(b'?', text) {
            Some(at) => text.split_at_checked(at).unwrap_or_default(),
            None => (&[][..], text),
        };
        let query = query.strip_prefix(b"?").unwrap_or(query);
        let address = core::str::from_utf8(address).ok().filter(|address| is_address(address));
        let mut found = Self {
            address,
            code: None,
            state: None,
            realm: None,
            error: None,
            error_description: None,
            issuer: None,
        };
        let mut rest = query;
        while !rest.is_empty() {
            let end = memchr(b'&', rest).unwrap_or(rest.len());
            let (pair, after) = rest.split_at_checked(end).unwrap_or_default();
            rest = after.get(1..).unwrap_or_default();
            let equals = memchr(b'=', pair).unwrap_or(pair.len());
            let (name, value) = pair.split_at_checked(equals).unwrap_or_default();
            let value = Encoded(value.get(1..).unwrap_or_default());
            let Some((slot, label)) = found.slot(Encoded(name), realm_parameter) else { continue };
            if slot.replace(value).is_some() {
                return Err(CallbackError::Duplicate(label));
            }
        }
        let nothing =
            found.code.is_none() && found.error.is_none() && found.state.is_none() && found.realm.is_none();
        if nothing { Err(CallbackError::NoQuery) } else { Ok(found) }
    }

    fn slot(&mut self, name: Encoded<'_>, realm: &str) -> Option<(&mut Option<Encoded<'a>>, &'static str)> {
        Some(match name {
            _ if name.is("code") => (&mut self.code, "code"),
            _ if name.is("state") => (&mut self.state, "state"),
            _ if name.is("error") => (&mut self.error, "error"),
            _ if name.is("error_description") => (&mut self.error_description, "error_description"),
            _ if name.is("iss") => (&mut self.issuer, "iss"),
            _ if !realm.is_empty() && name.is(realm) => (&mut self.realm, "the realm"),
            _ => return None,
        })
    }
}

impl core::fmt::Debug for Callback<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Callback")
            .field("code", &self.code.is_some())
            .field("state", &self.state.is_some())
            .field("realm", &self.realm.is_some())
            .field("error", &self.error.is_some())
            .finish_non_exhaustive()
    }
}

/// A value of a query, as it stands there. It may be a code or a state, so its `Debug` is redacted.
#[derive(Clone, Copy)]
pub struct Encoded<'a>(&'a [u8]);

impl<'a> Encoded<'a> {
    /// Its bytes, decoded as a form is: `+` is a space, and a `%` that two hexadecimal digits do not follow is itself.
    #[must_use]
    pub const fn decode(self) -> Decode<'a> {
        Decode(self.0)
    }

    /// Whether it means this text.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        self.0 == text.as_bytes() || self.0.len() > text.len() && self.decode().eq(text.bytes())
    }

    /// Its length in bytes, decoded.
    pub(crate) fn length(self) -> usize {
        self.plain().map_or_else(|| self.decode().count(), <[u8]>::len)
    }

    /// Whether it is one or more visible ASCII characters.
    pub(crate) fn is_visible(self) -> bool {
        match self.plain() {
            Some(bytes) => is_visible(bytes),
            None => self.decode().all(|byte| byte.is_ascii_graphic()),
        }
    }

    /// Its bytes, where they fit; those that stand for themselves are not copied.
    pub(crate) fn decode_into<'b>(self, buffer: &'b mut [u8]) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        if let Some(plain) = self.plain() {
            return Some(plain);
        }
        let length = self.length();
        let room = buffer.get_mut(..length)?;
        for (to, from) in room.iter_mut().zip(self.decode()) {
            *to = from;
        }
        Some(room)
    }

    /// Its bytes as they stand, where that is what they mean.
    pub(crate) fn plain(self) -> Option<&'a [u8]> {
        if memchr2(b'%', b'+', self.0).is_none() { Some(self.0) } else { None }
    }
}

impl core::fmt::Debug for Encoded<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The bytes of an [`Encoded`] value.
#[derive(Clone)]
pub struct Decode<'a>(&'a [u8]);

impl Iterator for Decode<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        if *first == b'+' {
            return Some(b' ');
        }
        if *first == b'%'
            && let Some(([high, low], rest)) = rest.split_first_chunk::<2>()
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            self.0 = rest;
            return Some(high << 4 | low);
        }
        Some(*first)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len() / 3, Some(self.0.len()))
    }
}

impl core::fmt::Debug for Decode<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
