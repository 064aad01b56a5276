//! The stored form of a session: versioned, checked on the way in, the same bytes from every serializer.
//!
//! A record is a flat JSON object without a space or an escape in it, its members in one order: [`Record::write`] writes it
//! and [`Record::read`] reads it, and need not look for escapes. With the feature `serde`, `serde_json` on a server and
//! `serde-json-core` on a device write the same bytes, for whoever keeps records inside a document of their own. Deadlines
//! are absolute: a relative one that is read back later is a lie.

use core::fmt::{self, Write};

use crate::answer::is_visible;
use crate::app::{App, Scopes};
use crate::base64::Base64UrlUnpadded;
use crate::consent::{STATE_LEN, state_text};
use crate::error::{Field, RecordError, TooLong};
use crate::phase::{CANDIDATES, Consent, Doubt, Grant, Held, Hint, Phase, Reason};
use crate::time::Time;
use crate::write::{Sum, Writer};

/// The version that is written, and the only one that is read.
pub(crate) const VERSION: u32 = 1;

/// A session's stored form, borrowed from the session or from what was read. It holds tokens: seal it before it is kept,
/// and wipe the buffers that it goes through. Its `Debug` is redacted.
#[derive(Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize), serde(deny_unknown_fields))]
pub struct Record<'a> {
    #[cfg_attr(feature = "serde", serde(rename = "v"))]
    pub(crate) version: u32,
    #[cfg_attr(feature = "serde", serde(rename = "e"))]
    pub(crate) environment: &'a str,
    #[cfg_attr(feature = "serde", serde(rename = "k"))]
    pub(crate) client: u32,
    #[cfg_attr(feature = "serde", serde(rename = "r"))]
    pub(crate) realm: &'a str,
    #[cfg_attr(feature = "serde", serde(rename = "s", borrow))]
    pub(crate) scopes: Names<'a>,
    #[cfg_attr(feature = "serde", serde(rename = "p"))]
    pub(crate) phase: Phase,
    #[cfg_attr(feature = "serde", serde(rename = "qs", default, borrow))]
    pub(crate) asked: Option<Names<'a>>,
    #[cfg_attr(feature = "serde", serde(rename = "qu", default))]
    pub(crate) redirect: u32,
    #[cfg_attr(feature = "serde", serde(rename = "qt", default, borrow))]
    pub(crate) state: Option<Key<'a>>,
    #[cfg_attr(feature = "serde", serde(rename = "qw", default, borrow))]
    pub(crate) verifier: Option<Key<'a>>,
    #[cfg_attr(feature = "serde", serde(rename = "a", borrow))]
    pub(crate) access: Token<'a>,
    #[cfg_attr(feature = "serde", serde(rename = "t", borrow))]
    pub(crate) refresh: Token<'a>,
    #[cfg_attr(feature = "serde", serde(rename = "c", default, borrow))]
    pub(crate) candidate: Option<Token<'a>>,
    #[cfg_attr(feature = "serde", serde(rename = "d", default, borrow))]
    pub(crate) further_candidate: Option<Token<'a>>,
    /// What was read; computed anew when it is written.
    #[cfg_attr(feature = "serde", serde(rename = "h"))]
    pub(crate) check: u32,
}

impl<'a> Record<'a> {
    /// Tells a later record of the same session from an earlier one. A store must refuse to put a record in the place of
    /// one whose revision is not lower (REF-3). That tells copies of one session apart; where several processes write, the
    /// store must also refuse whoever has not read the record that would be replaced, as the vault does, for a process that
    /// failed to store a few times has counted on.
    #[must_use]
    pub const fn revision(&self) -> u32 {
        self.phase.revision
    }

    /// How many consents have brought tokens: which grant this is, of those that the realm has had.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.phase.generation
    }

    /// The company; empty where there is none yet.
    #[must_use]
    pub const fn realm(&self) -> &str {
        self.realm
    }

    /// The name of the environment that it was written for.
    #[must_use]
    pub const fn environment(&self) -> &str {
        self.environment
    }

    /// The phase as it was stored.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The record's JSON, written into `buffer`.
    ///
    /// # Errors
    /// The buffer is too small; the error says what it needs.
    pub fn write<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], TooLong> {
        let mut out = Writer::new(buffer);
        out.text("{\"v\":");
        out.number(self.version);
        out.text(",\"e\":\"");
        out.text(self.environment);
        out.text("\",\"k\":");
        out.number(self.client);
        out.text(",\"r\":\"");
        out.text(self.realm);
        out.text("\",\"s\":");
        self.scopes.write(&mut out);
        out.text(",\"p\":\"");
        self.phase.write(&mut out);
        out.text("\"");
        if let Some(asked) = &self.asked {
            out.text(",\"qs\":");
            asked.write(&mut out);
            out.text(",\"qu\":");
            out.number(self.redirect);
        }
        for (name, key) in [("qt", &self.state), ("qw", &self.verifier)] {
            if let Some(key) = key {
                out.member(name);
                out.quoted(key.text(&mut [0; STATE_LEN]));
            }
        }
        for (name, token) in self.tokens() {
            if let Some(token) = token {
                out.member(name);
                token.write(&mut out);
            }
        }
        out.text(",\"h\":");
        out.number(self.sum());
        out.text("}");
        out.finish_bytes(Field::Buffer)
    }

    /// Reads what [`write`](Self::write) wrote. Whether it is whole, and this app's, is found out by whoever restores it.
    ///
    /// # Errors
    /// It is not what any version wrote, or another version did.
    pub fn read(text: &'a [u8]) -> Result<Self, RecordError<'a>> {
        // In wide steps, as in `is_visible`.
        if text.iter().fold(0, |most: u8, byte| most.max(byte.wrapping_sub(b' '))) > b'~' - b' ' {
            return Err(RecordError::Damaged);
        }
        let mut rest = Reader(text);
        rest.skip("{\"v\":").ok_or(RecordError::Damaged)?;
        let version = rest.number().ok_or(RecordError::Damaged)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        rest.members(version).ok_or(RecordError::Damaged)
    }

    pub(crate) fn refresh_tokens(&self) -> impl Iterator<Item = Token<'a>> + use<'a> {
        [Some(self.refresh), self.candidate, self.further_candidate].into_iter().flatten()
    }

    fn tokens(&self) -> [(&'static str, Option<Token<'a>>); 4] {
        [
            ("a", Some(self.access)),
            ("t", Some(self.refresh)),
            ("c", self.candidate),
            ("d", self.further_candidate),
        ]
    }

    /// Everything that a session relies on, or none of it is taken.
    pub(crate) fn verify<'r>(&'r self, app: &App<'r>) -> Result<(), RecordError<'r>> {
        let candidates =
            u8::from(self.candidate.is_some()).saturating_add(u8::from(self.further_candidate.is_some()));
        if self.version != VERSION {
            Err(RecordError::Version(self.version))
        } else if self.check != self.sum() {
            Err(RecordError::Damaged)
        } else if self.environment != app.provider().name {
            // APP-3: both are named.
            Err(RecordError::OtherEnvironment { record: self.environment, app: app.provider().name })
        } else if self.client != app.fingerprint() {
            Err(RecordError::OtherClient)
        } else if !is_whole(&self.phase, candidates, self.refresh.is_empty()) {
            Err(RecordError::Damaged)
        } else {
            Ok(())
        }
    }

    /// Over what the members mean: finds damage, not malice; against that, records are sealed.
    fn sum(&self) -> u32 {
        let mut sum = Sum::new();
        let numbers = u64::from(self.version) << 32 | u64::from(self.client);
        sum.add(&numbers.to_le_bytes());
        sum.add(self.environment.as_bytes());
        sum.add(self.realm.as_bytes());
        self.scopes.add(&mut sum);
        self.phase.write(&mut sum);
        if let Some(asked) = &self.asked {
            asked.add(&mut sum);
            sum.add(&self.redirect.to_le_bytes());
        }
        for key in [&self.state, &self.verifier].into_iter().flatten() {
            sum.add(key.text(&mut [0; STATE_LEN]).as_bytes());
        }
        for (name, token) in self.tokens() {
            if let Some(token) = token {
                sum.add(name.as_bytes());
                token.add(&mut sum);
            }
        }
        sum.value()
    }
}

#[cfg(feature = "serde")]
mod through_serde {
    //! A record as part of a document of the caller's.

    use core::fmt;

    use serde::de::Error as _;
    use serde::ser::{Error as _, SerializeStruct};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Key, Names, Record, Token, parse};
    use crate::app::Scopes;
    use crate::consent::STATE_LEN;
    use crate::error::Field;
    use crate::phase::Phase;
    use crate::write::Writer;

    /// The longest text of a phase: 19 numbers, most of them times.
    const PHASE_MOST: usize = 256;

    /// Member by member as [`Record::write`] writes them: tests hold the two to the same bytes.
    impl Serialize for Record<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut text = [0; PHASE_MOST];
            let mut phase = Writer::new(&mut text);
            self.phase.write(&mut phase);
            let phase = phase.finish(Field::Buffer).map_err(S::Error::custom)?;
            let mut out = serializer.serialize_struct("Record", 15)?;
            out.serialize_field("v", &self.version)?;
            out.serialize_field("e", self.environment)?;
            out.serialize_field("k", &self.client)?;
            out.serialize_field("r", self.realm)?;
            out.serialize_field("s", &self.scopes)?;
            out.serialize_field("p", phase)?;
            if let Some(asked) = &self.asked {
                out.serialize_field("qs", asked)?;
                out.serialize_field("qu", &self.redirect)?;
            }
            for (name, key) in [("qt", &self.state), ("qw", &self.verifier)] {
                if let Some(key) = key {
                    out.serialize_field(name, key.text(&mut [0; STATE_LEN]))?;
                }
            }
            for (name, token) in self.tokens() {
                if let Some(token) = token {
                    out.serialize_field(name, &token)?;
                }
            }
            out.serialize_field("h", &self.sum())?;
            out.end()
        }
    }

    impl fmt::Display for Names<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::Of(app, scopes) => {
                    write!(f, "{}", scopes.within(Scopes::KNOWN).0)?;
                    Self::further(app, *scopes).try_for_each(|name| write!(f, " {name}"))
                }
                Self::Text(text) => f.write_str(text),
            }
        }
    }

    impl Serialize for Names<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de: 'a, 'a> Deserialize<'de> for Names<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self::Text(<&str>::deserialize(deserializer)?))
        }
    }

    impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self::Text(<&str>::deserialize(deserializer)?))
        }
    }

    impl Serialize for Token<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.stored().and_then(|bytes| core::str::from_utf8(bytes).ok()) {
                Some(text) => serializer.serialize_str(text),
                None => serializer.collect_str(self),
            }
        }
    }

    impl<'de: 'a, 'a> Deserialize<'de> for Token<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self::Stored(<&str>::deserialize(deserializer)?.as_bytes()))
        }
    }

    impl<'de> Deserialize<'de> for Phase {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            parse(<&str>::deserialize(deserializer)?.as_bytes())
                .ok_or_else(|| D::Error::custom("not a phase"))
        }
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("realm", &self.realm)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

/// What no session ever stores is damage, whatever the check says.
fn is_whole(phase: &Phase, candidates: u8, no_refresh_token: bool) -> bool {
    let counted = phase.held.candidates == candidates && candidates <= CANDIDATES;
    match phase.grant {
        Grant::Unlinked | Grant::Closed { .. } => counted,
        Grant::Linked | Grant::Refreshing { .. } | Grant::Uncertain | Grant::Suspect => {
            counted && !no_refresh_token
        }
        Grant::Revoking { .. } | Grant::Unrevoked { .. } => !no_refresh_token,
    }
}

/// What is left of a record that is being read, member by member in their one order.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn members(&mut self, version: u32) -> Option<Record<'a>> {
        let environment = self.skip(",\"e\":").and_then(|()| self.text())?;
        let client = self.skip(",\"k\":").and_then(|()| self.number())?;
        let realm = self.skip(",\"r\":").and_then(|()| self.text())?;
        let scopes = self.skip(",\"s\":").and_then(|()| self.text())?;
        let phase = self.skip(",\"p\":").and_then(|()| self.quoted())?;
        let (mut asked, mut redirect) = (None, 0);
        if self.skip(",\"qs\":").is_some() {
            asked = Some(Names::Text(self.text()?));
            redirect = self.skip(",\"qu\":").and_then(|()| self.number())?;
        }
        let record = Record {
            version,
            environment,
            client,
            realm,
            scopes: Names::Text(scopes),
            phase: parse(phase)?,
            asked,
            redirect,
            state: self.member(",\"qt\":", |rest| rest.text().map(Key::Text))?,
            verifier: self.member(",\"qw\":", |rest| rest.text().map(Key::Text))?,
            access: self.member(",\"a\":", Self::token)??,
            refresh: self.member(",\"t\":", Self::token)??,
            candidate: self.member(",\"c\":", Self::token)?,
            further_candidate: self.member(",\"d\":", Self::token)?,
            check: self.skip(",\"h\":").and_then(|()| self.number())?,
        };
        (self.0 == b"}").then_some(record)
    }

    fn skip(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text.as_bytes())?;
        Some(())
    }

    /// The member of that name, where it is there; `None` where what it is cannot be read.
    fn member<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.skip(name) {
            Some(()) => read(self).map(Some),
            None => Some(None),
        }
    }

    fn token(&mut self) -> Option<Token<'a>> {
        self.quoted().map(Token::Stored)
    }

    fn text(&mut self) -> Option<&'a str> {
        core::str::from_utf8(self.quoted()?).ok()
    }

    /// A text up to its closing quote. There are no escapes in a record.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let text = self.0.strip_prefix(b"\"")?;
        let (text, rest) = text.split_at_checked(memchr::memchr2(b'"', b'\\', text)?)?;
        self.0 = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// A decimal number, as it is written: without a zero in front of it.
    fn number(&mut self) -> Option<u32> {
        let before = self.0;
        let mut number = 0_u32;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.0 {
            number = number.checked_mul(10)?.checked_add(u32::from(digit.wrapping_sub(b'0')))?;
            self.0 = rest;
        }
        let digits = before.len().checked_sub(self.0.len())?;
        (digits == 1 || digits > 1 && !before.starts_with(b"0")).then_some(number)
    }
}

impl Writer<'_> {
    fn member(&mut self, name: &str) {
        self.text(",\"");
        self.text(name);
        self.text("\":");
    }

    fn quoted(&mut self, text: &str) {
        self.text("\"");
        self.text(text);
        self.text("\"");
    }
}

/// A set of scopes: of an app on the way out, and as text on the way in. Intuit's own stand as a number, for they are long
/// and never change; further ones follow by name, for their order may change.
#[derive(Clone, Copy)]
pub(crate) enum Names<'a> {
    Of(&'a App<'a>, Scopes),
    Text(&'a str),
}

impl<'a> Names<'a> {
    /// The set; `None` where the app does not know a name.
    pub(crate) fn scopes(&self, app: &App<'_>) -> Option<Scopes> {
        match self {
            Self::Of(_, scopes) => Some(*scopes),
            Self::Text(text) => {
                let mut names = text.split([' ']);
                let known =
                    names.next()?.parse::<u32>().ok().filter(|bits| Scopes::KNOWN.contains(Scopes(*bits)))?;
                names.try_fold(Scopes(known), |scopes, name| Some(scopes.with(app.scope(name)?)))
            }
        }
    }

    /// The names behind the number.
    fn further(app: &'a App<'a>, scopes: Scopes) -> impl Iterator<Item = &'a str> {
        let further = Scopes(scopes.0 & !Scopes::KNOWN.0);
        // Mostly there are none, and then none need be looked through.
        app.scope_names(further).take(if further.is_empty() { 0 } else { usize::MAX })
    }

    fn write(&self, out: &mut Writer<'_>) {
        out.text("\"");
        match self {
            Self::Of(app, scopes) => {
                out.number(scopes.within(Scopes::KNOWN).0);
                for name in Self::further(app, *scopes) {
                    out.text(" ");
                    out.text(name);
                }
            }
            Self::Text(text) => out.text(text),
        }
        out.text("\"");
    }

    fn add(&self, sum: &mut Sum) {
        match self {
            Self::Of(app, scopes) => {
                let mut number = [0; 10];
                let mut out = Writer::new(&mut number);
                out.number(scopes.within(Scopes::KNOWN).0);
                sum.add(out.finish(Field::Buffer).unwrap_or_default().as_bytes());
                Self::further(app, *scopes).for_each(|name| sum.add(name.as_bytes()));
            }
            Self::Text(text) => text.split([' ']).for_each(|name| sum.add(name.as_bytes())),
        }
    }
}

/// 32 random bytes, as base64url.
#[derive(Clone, Copy)]
pub(crate) enum Key<'a> {
    Of(&'a [u8; 32]),
    Text(&'a str),
}

impl<'a> Key<'a> {
    fn text<'b>(&'b self, buffer: &'b mut [u8; STATE_LEN]) -> &'b str {
        match self {
            Self::Of(bytes) => state_text(bytes, buffer),
            Self::Text(text) => text,
        }
    }

    /// The bytes; `None` where the text is not 32 of them.
    pub(crate) fn bytes(&self) -> Option<[u8; 32]> {
        match self {
            Self::Of(bytes) => Some(**bytes),
            Self::Text(text) => {
                let mut bytes = [0; 32];
                let length = Base64UrlUnpadded::decode(text, &mut bytes).ok()?.len();
                (length == 32).then_some(bytes)
            }
        }
    }
}

/// A token, which may hold anything. What JSON would escape stands as `~` and two hexadecimal digits.
#[derive(Clone, Copy)]
pub(crate) enum Token<'a> {
    Plain(&'a [u8]),
    Stored(&'a [u8]),
}

impl<'a> Token<'a> {
    pub(crate) const fn is_empty(&self) -> bool {
        match self {
            Self::Plain(bytes) | Self::Stored(bytes) => bytes.is_empty(),
        }
    }

    /// How many bytes it was.
    pub(crate) fn length(self) -> usize {
        self.plain().map_or_else(|| self.bytes().count(), <[u8]>::len)
    }

    /// Its bytes as they were.
    pub(crate) fn bytes(self) -> impl Iterator<Item = u8> + use<'a> {
        let (mut rest, stored) = match self {
            Self::Plain(bytes) => (bytes, false),
            Self::Stored(text) => (text, true),
        };
        core::iter::from_fn(move || {
            let (first, after) = rest.split_first()?;
            rest = after;
            if stored
                && *first == b'~'
                && let Some(([high, low], after)) = after.split_first_chunk::<2>()
                && let (Some(high), Some(low)) = (crate::callback::hex(*high), crate::callback::hex(*low))
            {
                rest = after;
                return Some(high << 4 | low);
            }
            Some(*first)
        })
    }

    /// The bytes as they stand, where that is what they mean.
    pub(crate) fn plain(self) -> Option<&'a [u8]> {
        match self {
            Self::Plain(bytes) => Some(bytes),
            Self::Stored(text) if memchr::memchr(b'~', text).is_none() => Some(text),
            Self::Stored(_) => None,
        }
    }

    /// The text as it is stored, where that is what is in memory.
    fn stored(&self) -> Option<&'a [u8]> {
        match self {
            Self::Stored(text) => Some(text),
            Self::Plain([]) => Some(&[]),
            Self::Plain(bytes) => {
                let plain = is_visible(bytes) && memchr::memchr3(b'"', b'\\', b'~', bytes).is_none();
                plain.then_some(*bytes)
            }
        }
    }

    fn write(&self, out: &mut Writer<'_>) {
        out.text("\"");
        match self.stored() {
            Some(bytes) => out.bytes(bytes),
            None => {
                let _ = write!(out, "{self}");
            }
        }
        out.text("\"");
    }

    /// What it means, whichever form it is in.
    fn add(&self, sum: &mut Sum) {
        match self.plain() {
            Some(bytes) => sum.add(bytes),
            // Eight bytes at a time, as the plain form goes.
            None => {
                let mut word: heapless::Vec<u8, 8> = heapless::Vec::new();
                let mut length = 0_u64;
                for byte in self.bytes() {
                    let _ = word.push(byte);
                    length = length.saturating_add(1);
                    if word.is_full() {
                        sum.word(&word);
                        word.clear();
                    }
                }
                sum.word(&word);
                sum.length(length);
            }
        }
    }
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Never shown so: what is stored is written as it stands.
            Self::Stored(text) => f.write_str(core::str::from_utf8(text).unwrap_or_default()),
            Self::Plain(bytes) => bytes.iter().try_for_each(|byte| match byte {
                b'"' | b'\\' | b'~' => write!(f, "~{byte:02x}"),
                _ if byte.is_ascii_graphic() => f.write_char(char::from(*byte)),
                _ => write!(f, "~{byte:02x}"),
            }),
        }
    }
}

/// What takes a phase in, number by number: the text that is stored, and the sum over what it means.
trait Sink {
    /// A letter, and the numbers that stand behind it.
    fn numbers(&mut self, letter: &str, numbers: &[u32]);
}

impl Sink for Writer<'_> {
    fn numbers(&mut self, letter: &str, numbers: &[u32]) {
        self.text(letter);
        for (index, number) in numbers.iter().enumerate() {
            if index > 0 {
                self.text(",");
            }
            self.number(*number);
        }
    }
}

impl Sink for Sum {
    fn numbers(&mut self, letter: &str, numbers: &[u32]) {
        self.word(letter.as_bytes());
        numbers.iter().for_each(|number| self.length((*number).into()));
    }
}

impl Phase {
    /// The counters, the consent, the grant; the two as a letter and their numbers.
    fn write(&self, out: &mut impl Sink) {
        out.numbers("", &[self.revision, self.generation, self.calls, self.consumed.seconds()]);
        self.consent.write(out);
        self.write_grant(out);
    }
}

impl Consent {
    fn write(&self, out: &mut impl Sink) {
        match *self {
            Self::None => out.numbers(";N", &[]),
            Self::Pending { until } => out.numbers(";P", &[until.seconds()]),
            Self::Unsent { until, retry_at, tries } => {
                out.numbers(";U", &[until.seconds(), retry_at.seconds(), tries.into()]);
            }
            Self::Exchanging { call, sent_at, until, tries } => {
                out.numbers(";E", &[call, sent_at.seconds(), until.seconds(), tries.into()]);
            }
            Self::Over { call, refused } => out.numbers(";O", &[call, refused.into()]),
        }
    }
}

impl Phase {
    fn write_grant(&self, out: &mut impl Sink) {
        let letter = match self.grant {
            Grant::Unlinked => return out.numbers(";N", &[]),
            Grant::Revoking { call, sent_at, tries } => {
                return out.numbers(";R", &[call, sent_at.seconds(), tries.into()]);
            }
            Grant::Unrevoked { retry_at, tries } => {
                return out.numbers(";V", &[retry_at.seconds(), tries.into()]);
            }
            Grant::Linked => ";L",
            Grant::Uncertain => ";U",
            Grant::Suspect => ";S",
            Grant::Refreshing { call, sent_at, untried } => {
                out.numbers(";F", &[call, sent_at.seconds(), untried.into()]);
                ","
            }
            Grant::Closed { reason } => {
                out.numbers(";C", &[code(reason, &REASONS)]);
                ","
            }
        };
        self.held.write(out, letter);
        if self.doubt != Doubt::NONE {
            self.doubt.write(out);
        }
    }
}

impl Held {
    fn write(&self, out: &mut impl Sink, letter: &str) {
        let Self { issued_at, access_for, refresh_for, hard_for, serial, candidates } = *self;
        let numbers = [issued_at.seconds(), access_for, refresh_for, hard_for, serial, candidates.into()];
        out.numbers(letter, &numbers);
    }
}

impl Doubt {
    fn write(&self, out: &mut impl Sink) {
        let Self { lost: [lost, first, second], refusals, tries, hint, overtaken, not_before } = *self;
        let numbers = [
            lost.seconds(),
            refusals.into(),
            tries.into(),
            code(hint, &HINTS),
            overtaken.into(),
            not_before.seconds(),
        ];
        out.numbers(",", &numbers);
        if !first.is_unset() || !second.is_unset() {
            out.numbers(",", &[first.seconds(), second.seconds()]);
        }
    }
}

const HINTS: [Hint; 4] = [Hint::None, Hint::Rejected, Hint::Disconnected, Hint::Poisoned];
const REASONS: [Reason; 8] = [
    Reason::Expired,
    Reason::HardEnd,
    Reason::Refused,
    Reason::AnswerLost,
    Reason::Disconnected,
    Reason::Poisoned,
    Reason::Revoked,
    Reason::RevokeUnanswered,
];

fn code<T: PartialEq>(value: T, all: &[T]) -> u32 {
    let at = all.iter().position(|known| *known == value);
    at.and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
}

fn parse(text: &[u8]) -> Option<Phase> {
    let mut rest = Reader(text);
    let (revision, generation, calls) = (rest.next()?, rest.next()?, rest.next()?);
    let (consumed, consent) = (rest.time()?, rest.consent()?);
    let (grant, held, doubt) = rest.grant()?;
    let phase = Phase { revision, generation, calls, consumed, consent, grant, held, doubt, unsaved: false };
    rest.0.is_empty().then_some(phase)
}

/// Decimal numbers with commas between them, each group of them behind a letter.
impl Reader<'_> {
    fn consent(&mut self) -> Option<Consent> {
        Some(match self.letter()? {
            b'N' => Consent::None,
            b'P' => Consent::Pending { until: self.time()? },
            b'U' => Consent::Unsent { until: self.time()?, retry_at: self.time()?, tries: self.small()? },
            b'E' => Consent::Exchanging {
                call: self.next()?,
                sent_at: self.time()?,
                until: self.time()?,
                tries: self.small()?,
            },
            b'O' => Consent::Over { call: self.next()?, refused: self.flag()? },
            _ => return None,
        })
    }

    fn grant(&mut self) -> Option<(Grant, Held, Doubt)> {
        let grant = match self.letter()? {
            b'N' => Grant::Unlinked,
            b'L' => Grant::Linked,
            b'F' => Grant::Refreshing { call: self.next()?, sent_at: self.time()?, untried: self.small()? },
            b'U' => Grant::Uncertain,
            b'S' => Grant::Suspect,
            b'R' => Grant::Revoking { call: self.next()?, sent_at: self.time()?, tries: self.small()? },
            b'V' => Grant::Unrevoked { retry_at: self.time()?, tries: self.small()? },
            b'C' => Grant::Closed { reason: *REASONS.get(usize::from(self.small()?))? },
            _ => return None,
        };
        let (held, doubt) = match grant {
            Grant::Unlinked | Grant::Revoking { .. } | Grant::Unrevoked { .. } => {
                (Held::NOTHING, Doubt::NONE)
            }
            Grant::Linked
            | Grant::Refreshing { .. }
            | Grant::Uncertain
            | Grant::Suspect
            | Grant::Closed { .. } => (self.held()?, self.doubt()?),
        };
        Some((grant, held, doubt))
    }

    fn held(&mut self) -> Option<Held> {
        Some(Held {
            issued_at: self.time()?,
            access_for: self.next()?,
            refresh_for: self.next()?,
            hard_for: self.next()?,
            serial: self.next()?,
            candidates: self.small()?,
        })
    }

    fn doubt(&mut self) -> Option<Doubt> {
        if self.0.is_empty() {
            return Some(Doubt::NONE);
        }
        let lost = self.time()?;
        let (refusals, tries) = (self.small()?, self.small()?);
        let hint = *HINTS.get(usize::from(self.small()?))?;
        let (overtaken, not_before) = (self.flag()?, self.time()?);
        let (first, second) =
            if self.0.is_empty() { (Time::UNSET, Time::UNSET) } else { (self.time()?, self.time()?) };
        Some(Doubt { lost: [lost, first, second], refusals, tries, hint, overtaken, not_before })
    }

    /// The letter of a group, behind a semicolon.
    fn letter(&mut self) -> Option<u8> {
        let [b';', letter, rest @ ..] = self.0 else { return None };
        self.0 = rest;
        Some(*letter)
    }

    /// A number, and the comma behind it where there is one.
    fn next(&mut self) -> Option<u32> {
        let number = self.number()?;
        self.0 = self.0.strip_prefix(b",").unwrap_or(self.0);
        Some(number)
    }

    fn time(&mut self) -> Option<Time> {
        self.next().map(|seconds| Time::from_unix(seconds.into()))
    }

    fn small(&mut self) -> Option<u8> {
        self.next()?.try_into().ok()
    }

    fn flag(&mut self) -> Option<bool> {
        self.next().map(|flag| flag == 1)
    }
}
