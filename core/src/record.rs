//! The stored form of a session: versioned, checked on the way in, the same bytes from every serializer.
//!
//! A record is a flat JSON object without a space or an escape in it, so `serde_json` on a server and `serde-json-core` on
//! a device write it alike. Deadlines are absolute: a relative one that is read back later is a lie.

use core::fmt::{self, Write};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::app::{App, Scopes};
use crate::error::RecordError;
use crate::phase::{CANDIDATES, Consent, Doubt, Grant, Held, Hint, Lost, Phase, Reason};
use crate::time::Time;

/// The version that is written, and the only one that is read.
pub(crate) const VERSION: u32 = 1;

/// A session's stored form, borrowed from the session or from what was read. It holds tokens: seal it before it is kept,
/// and wipe the buffers that it goes through. Its `Debug` is redacted.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record<'a> {
    #[serde(rename = "v")]
    pub(crate) version: u32,
    #[serde(rename = "e")]
    pub(crate) environment: &'a str,
    #[serde(rename = "k")]
    pub(crate) client: u32,
    #[serde(rename = "r")]
    pub(crate) realm: &'a str,
    #[serde(rename = "s", borrow)]
    pub(crate) scopes: Names<'a>,
    #[serde(rename = "p")]
    pub(crate) phase: Phase,
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none", borrow)]
    pub(crate) asked: Option<Asked<'a>>,
    #[serde(rename = "a", borrow)]
    pub(crate) access: Token<'a>,
    #[serde(rename = "t", borrow)]
    pub(crate) refresh: Token<'a>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none", borrow)]
    pub(crate) candidate: Option<Token<'a>>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none", borrow)]
    pub(crate) further_candidate: Option<Token<'a>>,
    #[serde(rename = "h")]
    pub(crate) check: u32,
}

/// What a consent under way must find again.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked<'a> {
    #[serde(rename = "s", borrow)]
    pub(crate) scopes: Names<'a>,
    #[serde(rename = "u")]
    pub(crate) redirect: u64,
    #[serde(rename = "t", borrow)]
    pub(crate) state: Token<'a>,
    #[serde(rename = "w", borrow)]
    pub(crate) verifier: Token<'a>,
}

impl Record<'_> {
    /// Tells a later record of the same session from an earlier one. A store must refuse to put a record in the place of
    /// one whose revision is not lower (REF-3).
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

    /// With its check filled in.
    pub(crate) fn sealed(self) -> Self {
        Self { check: self.sum(), ..self }
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

    /// Adler-32 over what the members mean: finds damage, not malice; against that, records are sealed.
    fn sum(&self) -> u32 {
        let mut sum = Sum(adler2::Adler32::new());
        // Writing into a sum cannot fail.
        let _ = write!(
            sum,
            "{}\n{}\n{}\n{}\n{}\n{}\n",
            self.version, self.environment, self.client, self.realm, self.scopes, self.phase
        );
        if let Some(asked) = &self.asked {
            let _ =
                write!(sum, "{}\n{}\n{}\n{}\n", asked.scopes, asked.redirect, asked.state, asked.verifier);
        }
        for token in [Some(self.access), Some(self.refresh), self.candidate, self.further_candidate] {
            sum.token(token);
        }
        sum.0.checksum()
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
    match phase.grant {
        Grant::Unlinked => candidates == 0,
        Grant::Linked { held, .. }
        | Grant::Refreshing { held, .. }
        | Grant::Uncertain { held, .. }
        | Grant::Suspect { held, .. } => held.candidates == candidates && !no_refresh_token,
        Grant::Closed { held, .. } => held.candidates == candidates && candidates <= CANDIDATES,
        Grant::Revoking { .. } | Grant::Unrevoked { .. } => !no_refresh_token,
    }
}

struct Sum(adler2::Adler32);

impl Sum {
    fn token(&mut self, token: Option<Token<'_>>) {
        match token {
            Some(Token::Plain(bytes)) if is_plain(bytes) => self.0.write_slice(bytes),
            Some(token) => {
                let _ = write!(self, "{token}");
            }
            None => self.0.write_slice(b"\r"),
        }
        self.0.write_slice(b"\n");
    }
}

impl Write for Sum {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_slice(text.as_bytes());
        Ok(())
    }
}

/// A set of scopes, by the names of an app on the way out, and as text on the way in.
#[derive(Clone, Copy)]
pub(crate) enum Names<'a> {
    Of(&'a App<'a>, Scopes),
    Text(&'a str),
}

impl Names<'_> {
    /// The set; `None` where the app does not know a name.
    pub(crate) fn scopes(&self, app: &App<'_>) -> Option<Scopes> {
        match self {
            Self::Of(_, scopes) => Some(*scopes),
            Self::Text(text) => {
                text.split(' ').filter(|name| !name.is_empty()).try_fold(Scopes::NONE, |scopes, name| {
                    // Intuit's own scopes are stored by number: they are long, and never change.
                    let known = name
                        .strip_prefix('#')
                        .and_then(|bits| bits.parse::<u32>().ok())
                        .filter(|bits| *bits < 128);
                    Some(scopes.with(known.map(Scopes).or_else(|| app.scope(name))?))
                })
            }
        }
    }
}

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(app, scopes) => {
                let known = scopes.0 & 127;
                write!(f, "#{known}")?;
                for name in app.scope_names(Scopes(scopes.0 ^ known)) {
                    write!(f, " {name}")?;
                }
                Ok(())
            }
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A token, or other text that may hold anything. What JSON would escape stands as `~` and two hexadecimal digits.
#[derive(Clone, Copy)]
pub(crate) enum Token<'a> {
    Plain(&'a [u8]),
    Stored(&'a str),
}

fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, byte| all & byte.is_ascii_graphic() & !matches!(byte, b'"' | b'\\' | b'~'))
}

impl<'a> Token<'a> {
    pub(crate) const fn is_empty(&self) -> bool {
        match self {
            Self::Plain(bytes) => bytes.is_empty(),
            Self::Stored(text) => text.is_empty(),
        }
    }

    /// Its bytes as they were.
    pub(crate) fn bytes(self) -> impl Iterator<Item = u8> + use<'a> {
        let (mut rest, stored) = match self {
            Self::Plain(bytes) => (bytes, false),
            Self::Stored(text) => (text.as_bytes(), true),
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
            Self::Stored(text) if !text.contains('~') => Some(text.as_bytes()),
            Self::Stored(_) => None,
        }
    }
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(text) => f.write_str(text),
            Self::Plain(bytes) => {
                for byte in *bytes {
                    match byte {
                        b'"' | b'\\' | b'~' => write!(f, "~{byte:02x}")?,
                        _ if byte.is_ascii_graphic() => f.write_char(char::from(*byte))?,
                        _ => write!(f, "~{byte:02x}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl Serialize for Token<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Stored(text) => serializer.serialize_str(text),
            Self::Plain(bytes) => match core::str::from_utf8(bytes) {
                Ok(text) if is_plain(bytes) => serializer.serialize_str(text),
                _ => serializer.collect_str(self),
            },
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Token<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::Stored(<&str>::deserialize(deserializer)?))
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

impl Serialize for Phase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Phase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse(<&str>::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not a phase"))
    }
}

/// The phase as text: the counters, the consent, the grant; each a letter and its numbers.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{},{}", self.revision, self.generation, self.calls, self.consumed.unix())?;
        match self.consent {
            Consent::None => f.write_str(";N")?,
            Consent::Pending { until } => write!(f, ";P{}", until.unix())?,
            Consent::Unsent { until, retry_at, tries } => {
                write!(f, ";U{},{},{tries}", until.unix(), retry_at.unix())?
            }
            Consent::Exchanging { call, sent_at, until, tries } => {
                write!(f, ";E{call},{},{},{tries}", sent_at.unix(), until.unix())?;
            }
            Consent::Over { call, refused } => write!(f, ";O{call},{}", u8::from(refused))?,
        }
        match self.grant {
            Grant::Unlinked => f.write_str(";N"),
            Grant::Linked { held, doubt } => write!(f, ";L{held}{doubt}"),
            Grant::Refreshing { held, doubt, call, sent_at, untried } => {
                write!(f, ";F{call},{},{untried},{held}{doubt}", sent_at.unix())
            }
            Grant::Uncertain { held, doubt } => write!(f, ";U{held}{doubt}"),
            Grant::Suspect { held, doubt } => write!(f, ";S{held}{doubt}"),
            Grant::Revoking { call, sent_at, tries } => write!(f, ";R{call},{},{tries}", sent_at.unix()),
            Grant::Unrevoked { retry_at, tries } => write!(f, ";V{},{tries}", retry_at.unix()),
            Grant::Closed { reason, held } => write!(f, ";C{},{held}", code(reason, &REASONS)),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issued_at, access_for, refresh_for, hard_for, serial, candidates } = self;
        write!(f, "{},{access_for},{refresh_for},{hard_for},{serial},{candidates}", issued_at.unix())
    }
}

/// Nothing where there is no doubt.
impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        let lost = match self.lost {
            Lost::None => 0,
            Lost::Since(first) => first.unix(),
        };
        let Self { refusals, tries, hint, not_before, .. } = self;
        write!(f, ",{lost},{refusals},{tries},{},{}", code(*hint, &HINTS), not_before.unix())
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

fn code<T: PartialEq>(value: T, all: &[T]) -> usize {
    all.iter().position(|known| *known == value).unwrap_or(all.len())
}

fn parse(text: &str) -> Option<Phase> {
    let mut parts = text.split(';');
    let mut counters = Numbers(parts.next()?);
    let (consent, grant) = (parts.next()?, parts.next()?);
    let phase = Phase {
        revision: counters.next()?,
        generation: counters.next()?,
        calls: counters.next()?,
        consumed: counters.time()?,
        consent: parse_consent(consent)?,
        grant: parse_grant(grant)?,
        unsaved: false,
    };
    (counters.is_empty() && parts.next().is_none()).then_some(phase)
}

fn parse_consent(text: &str) -> Option<Consent> {
    let (kind, mut numbers) = Numbers::behind_letter(text)?;
    let consent = match kind {
        b'N' => Consent::None,
        b'P' => Consent::Pending { until: numbers.time()? },
        b'U' => Consent::Unsent { until: numbers.time()?, retry_at: numbers.time()?, tries: numbers.next()? },
        b'E' => Consent::Exchanging {
            call: numbers.next()?,
            sent_at: numbers.time()?,
            until: numbers.time()?,
            tries: numbers.next()?,
        },
        b'O' => Consent::Over { call: numbers.next()?, refused: numbers.next::<u8>()? == 1 },
        _ => return None,
    };
    numbers.is_empty().then_some(consent)
}

fn parse_grant(text: &str) -> Option<Grant> {
    let (kind, mut numbers) = Numbers::behind_letter(text)?;
    let grant = match kind {
        b'N' => Grant::Unlinked,
        b'L' => Grant::Linked { held: numbers.held()?, doubt: numbers.doubt()? },
        b'F' => {
            let (call, sent_at, untried) = (numbers.next()?, numbers.time()?, numbers.next()?);
            Grant::Refreshing { held: numbers.held()?, doubt: numbers.doubt()?, call, sent_at, untried }
        }
        b'U' => Grant::Uncertain { held: numbers.held()?, doubt: numbers.doubt()? },
        b'S' => Grant::Suspect { held: numbers.held()?, doubt: numbers.doubt()? },
        b'R' => Grant::Revoking { call: numbers.next()?, sent_at: numbers.time()?, tries: numbers.next()? },
        b'V' => Grant::Unrevoked { retry_at: numbers.time()?, tries: numbers.next()? },
        b'C' => Grant::Closed { reason: *REASONS.get(numbers.next::<usize>()?)?, held: numbers.held()? },
        _ => return None,
    };
    numbers.is_empty().then_some(grant)
}

/// Decimal numbers with commas between them.
struct Numbers<'a>(&'a str);

impl<'a> Numbers<'a> {
    fn behind_letter(text: &'a str) -> Option<(u8, Self)> {
        let (letter, rest) = text.split_at_checked(1)?;
        Some((*letter.as_bytes().first()?, Self(rest)))
    }

    fn next<T: core::str::FromStr>(&mut self) -> Option<T> {
        let (number, rest) = self.0.split_once(',').unwrap_or((self.0, ""));
        self.0 = rest;
        number.parse().ok()
    }

    fn time(&mut self) -> Option<Time> {
        self.next().map(Time::from_unix)
    }

    fn held(&mut self) -> Option<Held> {
        Some(Held {
            issued_at: self.time()?,
            access_for: self.next()?,
            refresh_for: self.next()?,
            hard_for: self.next()?,
            serial: self.next()?,
            candidates: self.next()?,
        })
    }

    fn doubt(&mut self) -> Option<Doubt> {
        if self.is_empty() {
            return Some(Doubt::default());
        }
        let lost = match self.next()? {
            0 => Lost::None,
            first => Lost::Since(Time::from_unix(first)),
        };
        let (refusals, tries) = (self.next()?, self.next()?);
        Some(Doubt {
            lost,
            refusals,
            tries,
            hint: *HINTS.get(self.next::<usize>()?)?,
            not_before: self.time()?,
        })
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
