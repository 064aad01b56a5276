//! A refusal explained from what is known: ranked causes, each with the fact that speaks for it and the way out
//! (EXC-4, REF-5).

use core::fmt;

use crate::phase::{Doubt, Held, Hint};
use crate::time::Time;

/// Most causes that a diagnosis names.
const CAUSES: usize = 6;

/// Ranked causes, most likely first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    causes: [Option<Cause>; CAUSES],
}

/// One cause, with what speaks for or against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What may have happened.
    pub kind: Kind,
    /// How likely it is from what is known here.
    pub weight: Weight,
    /// What that was judged by.
    pub fact: Fact,
}

/// How likely a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// What is known speaks against it.
    Unlikely,
    /// Nothing is known that decides it.
    Possible,
    /// What is known speaks for it.
    Likely,
}

/// What may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// EXC-4: the redirect URI of the exchange is not the one that is registered, or not that of the consent.
    RedirectUriDiffers,
    /// EXC-4: the redirect URI has a query.
    RedirectUriHasQuery,
    /// EXC-4: another parameter `code` was taken for the authority's.
    OtherCodeParameter,
    /// EXC-4: the keys are those of the other environment.
    OtherEnvironment,
    /// EXC-4: the code was used before.
    CodeUsedBefore,
    /// RFC 6749 §4.1.2: the code was too old.
    CodeExpired,
    /// REF-5: expired by the clock.
    Expired,
    /// REF-5: not the latest token.
    NotLatest,
    /// REF-5: an outage.
    Outage,
    /// REF-5: a cached value.
    Cached,
    /// REF-5: revoked, by the app or by the user.
    Revoked,
    /// REF-5: the code was exchanged twice.
    ExchangedTwice,
}

/// What a cause was judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// The core makes it so: it cannot happen through this library.
    ByConstruction,
    /// Nothing is known of it here.
    Unknown,
    /// The refresh token has so many seconds left.
    SecondsLeft(u32),
    /// The refresh token ended so many seconds ago.
    SecondsOver(u32),
    /// A refresh of so many seconds ago was never answered.
    AnswerLost(u32),
    /// So many candidates are held, of which one may be newer.
    Candidates(u8),
    /// Other grants were refused in the same minutes.
    OthersRefused(u32),
    /// The store was asked, and has nothing newer.
    StoreIsSame,
    /// The store has a newer record.
    StoreIsNewer,
    /// The API rejected an access token before its end.
    Rejected,
    /// The disconnect redirect came.
    DisconnectRedirect,
    /// The exchange was seen to be answered twice.
    AnsweredTwice,
}

/// What the program round the core knows, for a better diagnosis. The default knows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Grants other than this one that were refused in the last minutes, where the program has several.
    pub others_refused: Option<u32>,
    /// Whether the store has a newer record than this session, where it was asked (REF-3).
    pub store_is_newer: Option<bool>,
}

impl Diagnosis {
    /// The causes, most likely first.
    pub fn causes(&self) -> impl Iterator<Item = &Cause> {
        self.causes.iter().flatten()
    }

    /// Ranks, and keeps the given order among equals, which is the FAQ's.
    fn ranked(found: [Cause; CAUSES]) -> Self {
        let mut causes = [None; CAUSES];
        let mut slots = causes.iter_mut();
        for weight in [Weight::Likely, Weight::Possible, Weight::Unlikely] {
            for (slot, cause) in
                found.iter().filter(|cause| cause.weight == weight).map(|cause| (slots.next(), cause))
            {
                if let Some(slot) = slot {
                    *slot = Some(*cause);
                }
            }
        }
        Self { causes }
    }

    /// `invalid_grant` at the exchange (EXC-4). How old the code was before it came here, only the authority knows.
    pub(crate) fn exchange() -> Self {
        let cause = |kind, weight, fact| Cause { kind, weight, fact };
        Self::ranked([
            cause(Kind::RedirectUriDiffers, Weight::Possible, Fact::Unknown),
            cause(Kind::RedirectUriHasQuery, Weight::Unlikely, Fact::ByConstruction),
            cause(Kind::OtherCodeParameter, Weight::Unlikely, Fact::ByConstruction),
            cause(Kind::OtherEnvironment, Weight::Possible, Fact::Unknown),
            cause(Kind::CodeUsedBefore, Weight::Possible, Fact::Unknown),
            cause(Kind::CodeExpired, Weight::Possible, Fact::Unknown),
        ])
    }

    /// `invalid_grant` at a refresh (REF-5).
    pub(crate) fn refresh(held: &Held, doubt: &Doubt, now: Time, around: Surroundings) -> Self {
        Self::ranked([
            expired(held, now),
            not_latest(held, doubt, now),
            outage(around),
            cached(around),
            revoked(doubt),
            exchanged_twice(doubt),
        ])
    }
}

fn expired(held: &Held, now: Time) -> Cause {
    let (weight, fact) = if now >= held.end() {
        (Weight::Likely, Fact::SecondsOver(now.since(held.end())))
    } else {
        (Weight::Unlikely, Fact::SecondsLeft(held.end().since(now)))
    };
    Cause { kind: Kind::Expired, weight, fact }
}

fn not_latest(held: &Held, doubt: &Doubt, now: Time) -> Cause {
    let lost = doubt.lost_since();
    let (weight, fact) = if !lost.is_unset() {
        (Weight::Likely, Fact::AnswerLost(now.since(lost)))
    } else if held.candidates > 0 {
        (Weight::Likely, Fact::Candidates(held.candidates))
    } else {
        (Weight::Possible, Fact::Unknown)
    };
    Cause { kind: Kind::NotLatest, weight, fact }
}

fn outage(around: Surroundings) -> Cause {
    let (weight, fact) = match around.others_refused {
        Some(0) => (Weight::Unlikely, Fact::OthersRefused(0)),
        Some(others) => (Weight::Likely, Fact::OthersRefused(others)),
        None => (Weight::Possible, Fact::Unknown),
    };
    Cause { kind: Kind::Outage, weight, fact }
}

fn cached(around: Surroundings) -> Cause {
    let (weight, fact) = match around.store_is_newer {
        Some(true) => (Weight::Likely, Fact::StoreIsNewer),
        Some(false) => (Weight::Unlikely, Fact::StoreIsSame),
        None => (Weight::Possible, Fact::Unknown),
    };
    Cause { kind: Kind::Cached, weight, fact }
}

fn revoked(doubt: &Doubt) -> Cause {
    let (weight, fact) = match doubt.hint {
        Hint::Disconnected => (Weight::Likely, Fact::DisconnectRedirect),
        Hint::Rejected => (Weight::Likely, Fact::Rejected),
        Hint::None | Hint::Poisoned => (Weight::Possible, Fact::Unknown),
    };
    Cause { kind: Kind::Revoked, weight, fact }
}

fn exchanged_twice(doubt: &Doubt) -> Cause {
    let (weight, fact) = match doubt.hint {
        Hint::Poisoned => (Weight::Likely, Fact::AnsweredTwice),
        Hint::None | Hint::Rejected | Hint::Disconnected => (Weight::Unlikely, Fact::ByConstruction),
    };
    Cause { kind: Kind::ExchangedTwice, weight, fact }
}

impl Kind {
    /// What to do about it.
    #[must_use]
    pub const fn way_out(self) -> &'static str {
        match self {
            Self::RedirectUriDiffers => {
                "compare the redirect URI with the one on the Keys tab, letter by letter"
            }
            Self::RedirectUriHasQuery => {
                "take the query off the redirect URI; carry what you need in the state"
            }
            Self::OtherCodeParameter => "use no parameter named code on that address",
            Self::OtherEnvironment => "use the keys of the environment that the company is in",
            Self::CodeUsedBefore => {
                "look for a second place that exchanges codes, or an HTTP layer that repeats requests; then ask for a new consent"
            }
            Self::CodeExpired => "exchange the code at once; ask for a new consent",
            Self::Expired => "ask for a new consent; refresh at least once in its lifetime",
            Self::NotLatest => {
                "read the stored record again; look for a second program that refreshes the same grant"
            }
            Self::Outage => "wait, and look at the authority's status page; the grant is kept",
            Self::Cached => "use the stored record, never a copy of it",
            Self::Revoked => "ask the user whether the app was disconnected; a new consent is needed then",
            Self::ExchangedTwice => "look for what repeated the exchange; ask for a new consent",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RedirectUriDiffers => "the redirect URI differs from the registered one",
            Self::RedirectUriHasQuery => "the redirect URI has a query",
            Self::OtherCodeParameter => "another parameter named code was taken for the authority's",
            Self::OtherEnvironment => "the keys belong to the other environment",
            Self::CodeUsedBefore => "the code was used before",
            Self::CodeExpired => "the code was too old",
            Self::Expired => "the refresh token has expired",
            Self::NotLatest => "it was not the latest refresh token",
            Self::Outage => "the authority has an outage",
            Self::Cached => "it was a cached refresh token",
            Self::Revoked => "the grant was revoked, here or by the user",
            Self::ExchangedTwice => "the authorization code was exchanged twice",
        })
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByConstruction => f.write_str("this library does not let it happen"),
            Self::Unknown => f.write_str("nothing here tells"),
            Self::SecondsLeft(seconds) => write!(f, "by the clock it has {seconds} s left"),
            Self::SecondsOver(seconds) => write!(f, "by the clock it ended {seconds} s ago"),
            Self::AnswerLost(seconds) => write!(f, "a refresh {seconds} s ago was never answered"),
            Self::Candidates(count) => write!(f, "{count} more token(s) are held that may be newer"),
            Self::OthersRefused(0) => f.write_str("no other grant was refused in these minutes"),
            Self::OthersRefused(count) => write!(f, "{count} other grant(s) were refused in these minutes"),
            Self::StoreIsSame => f.write_str("the store has nothing newer"),
            Self::StoreIsNewer => f.write_str("the store has a newer record"),
            Self::Rejected => f.write_str("the API rejected an access token before its end"),
            Self::DisconnectRedirect => f.write_str("the disconnect redirect came"),
            Self::AnsweredTwice => f.write_str("its exchange was answered twice"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Likely => "likely",
            Weight::Possible => "possible",
            Weight::Unlikely => "unlikely",
        };
        write!(f, "{weight}: {} ({}): {}", self.kind, self.fact, self.kind.way_out())
    }
}
