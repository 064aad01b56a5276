//! A grant: one consent, its code, its chain of refresh tokens and its living access tokens.
//!
//! What a token is worth is never stored: it follows from the grant and the time, so nothing has to be swept.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::config::{Environment, Lifetimes, Policy, Previous, Rotation};
use super::message::Cause;

/// The first 128 bits of a value's SHA-256: enough to tell values apart, nothing to steal.
///
/// It is written as 22 characters of base64url; a test finds its own token in
/// [`Authority::grants`](super::Authority::grants) with [`Fingerprint::of`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of a code or token.
    pub fn of(value: &str) -> Self {
        let digest = Sha256::digest(value.as_bytes());
        let mut first = [0; 16];
        first.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(first)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64UrlUnpadded::encode_string(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a grant is over, from outside of its clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The app revoked it (REV-1).
    Revoked,
    /// The user disconnected the company (REV-2).
    Disconnected,
    /// Its code was used a second time (EXC-2).
    CodeUsedTwice,
}

impl EndReason {
    const fn cause(self) -> Cause {
        match self {
            Self::Revoked => Cause::Revoked,
            Self::Disconnected => Cause::Disconnected,
            Self::CodeUsedTwice => Cause::Poisoned,
        }
    }
}

/// When and why a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct End {
    /// Unix seconds.
    pub at: u64,
    /// Why.
    pub reason: EndReason,
}

/// What the authority knows of a grant's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeState {
    /// Issued, not yet exchanged.
    Unused {
        /// It dies then, Unix seconds.
        until: u64,
    },
    /// Never exchanged, and its time is over.
    Expired,
    /// Exchanged once.
    Used,
    /// Presented a second time; the grant has ended with it (EXC-2).
    UsedTwice,
}

/// What a refresh token is worth at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshState {
    /// The newest.
    Current {
        /// It dies then if it is not used, Unix seconds.
        until: u64,
    },
    /// A newer one was issued (STA-1), and this one still works (STA-2).
    Stale {
        /// It dies then, Unix seconds.
        until: u64,
    },
    /// It does not work any more.
    Dead {
        /// Why not.
        why: Cause,
    },
}

impl RefreshState {
    /// Whether a refresh with it would succeed.
    pub const fn works(&self) -> bool {
        matches!(self, Self::Current { .. } | Self::Stale { .. })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Refresh {
    fingerprint: Fingerprint,
    issued_at: u64,
    /// Its own end (DUR-3), never after the grant's last day.
    until: u64,
    /// Set when a newer one was issued: until when it works all the same.
    stale_until: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Code {
    pub(super) fingerprint: Fingerprint,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<String>,
    pub(super) until: u64,
    pub(super) uses: u8,
}

/// See the module's text. The client is an index into the configuration's keys.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Grant {
    pub(super) client: usize,
    pub(super) environment: Environment,
    pub(super) realm: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) consented_at: u64,
    pub(super) hard_end: u64,
    pub(super) code: Code,
    pub(super) end: Option<End>,
    /// The newest refresh token's value: the sticky policy hands it out again.
    newest: String,
    chain: VecDeque<Refresh>,
    forgotten: u64,
    /// Living access tokens, by their end.
    access: BTreeSet<(u64, Fingerprint)>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("realm", &self.realm)
            .field("end", &self.end)
            .field("chain", &self.chain)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// Dead links of a chain beyond this many are forgotten, so that a long run stays small.
const CHAIN_KEPT: usize = 64;

impl Grant {
    #[allow(clippy::too_many_arguments, reason = "a consent has these parts, each once")]
    pub(super) fn new(
        client: usize,
        environment: Environment,
        realm: Option<String>,
        scopes: Vec<String>,
        consented_at: u64,
        hard_end: u64,
        code: Code,
    ) -> Self {
        Self {
            client,
            environment,
            realm,
            scopes,
            consented_at,
            hard_end,
            code,
            end: None,
            newest: String::new(),
            chain: VecDeque::new(),
            forgotten: 0,
            access: BTreeSet::new(),
        }
    }

    pub(super) fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope)
    }

    /// Ends the grant; the first reason stays.
    pub(super) fn finish(&mut self, now: u64, reason: EndReason) {
        self.end.get_or_insert(End { at: now, reason });
        self.access.clear();
    }

    pub(super) fn code_state(&self, now: u64) -> CodeState {
        match self.code.uses {
            0 if now >= self.code.until => CodeState::Expired,
            0 => CodeState::Unused { until: self.code.until },
            1 => CodeState::Used,
            _ => CodeState::UsedTwice,
        }
    }

    /// What the refresh token with this fingerprint is worth; `None` if it is not (or no longer) in the chain.
    pub(super) fn refresh_state(&self, now: u64, fingerprint: Fingerprint) -> Option<RefreshState> {
        // The one that is sent is nearly always the newest: look from the end.
        self.chain
            .iter()
            .rev()
            .find(|link| link.fingerprint == fingerprint)
            .map(|link| self.state_of(now, link))
    }

    fn state_of(&self, now: u64, link: &Refresh) -> RefreshState {
        if let Some(end) = self.end {
            return RefreshState::Dead { why: end.reason.cause() };
        }
        // Wire-facts C5: the hard end comes before all else.
        if now >= self.hard_end {
            return RefreshState::Dead { why: Cause::HardEnd };
        }
        match link.stale_until {
            Some(until) if now >= until => RefreshState::Dead { why: Cause::Stale },
            Some(until) => RefreshState::Stale { until },
            None if now >= link.until => RefreshState::Dead { why: Cause::Expired },
            None => RefreshState::Current { until: link.until },
        }
    }

    /// The newest value, if the policy hands it out again now (wire-facts C1, STA-5), and its end.
    pub(super) fn same_again(&self, now: u64, rotation: Rotation) -> Option<(String, u64)> {
        let newest = self.chain.back()?;
        let Rotation::Sticky { seconds } = rotation else { return None };
        let stays = now < newest.issued_at.saturating_add(seconds) && now < newest.until;
        stays.then(|| (self.newest.clone(), newest.until))
    }

    /// Puts a new refresh token at the end of the chain; returns its end and the fingerprints that were forgotten.
    pub(super) fn rotate(
        &mut self,
        now: u64,
        value: String,
        policy: Policy,
        lifetimes: &Lifetimes,
    ) -> (u64, Vec<Fingerprint>) {
        if let Some(previous) = self.chain.back_mut() {
            // STA-1: stale from this moment. STA-2: for 24 hours at most, never past its own end.
            previous.stale_until = Some(match policy.previous {
                Previous::Grace { seconds } => now.saturating_add(seconds).min(previous.until),
                // Zero and not `now`: a clock that steps back must not bring it back.
                Previous::DeadAtOnce => 0,
            });
        }
        // DUR-3, DUR-5: a new value starts a new life, which the grant's last day cuts short.
        let until = now.saturating_add(lifetimes.refresh_token).min(self.hard_end);
        let fingerprint = Fingerprint::of(&value);
        self.chain.push_back(Refresh { fingerprint, issued_at: now, until, stale_until: None });
        self.newest = value;
        (until, self.forget(now))
    }

    fn forget(&mut self, now: u64) -> Vec<Fingerprint> {
        let mut forgotten = Vec::new();
        while self.chain.len() > CHAIN_KEPT {
            let Some(oldest) = self.chain.front() else { break };
            if self.state_of(now, oldest).works() {
                break;
            }
            forgotten.push(oldest.fingerprint);
            self.chain.pop_front();
            self.forgotten += 1;
        }
        forgotten
    }

    /// Adds an access token; returns the fingerprints of those whose time is over.
    pub(super) fn add_access(&mut self, now: u64, until: u64, fingerprint: Fingerprint) -> Vec<Fingerprint> {
        let mut over = Vec::new();
        while let Some(&(end, oldest)) = self.access.first() {
            if end > now {
                break;
            }
            self.access.pop_first();
            over.push(oldest);
        }
        self.access.insert((until, fingerprint));
        over
    }

    pub(super) fn view(&self, now: u64, id: usize, client_id: &str) -> GrantView {
        let link = |link: &Refresh| RefreshView {
            fingerprint: link.fingerprint,
            issued_at: link.issued_at,
            state: self.state_of(now, link),
        };
        let living = self.access.iter().filter(|(until, _)| *until > now);
        GrantView {
            id,
            client_id: client_id.into(),
            environment: self.environment,
            realm: self.realm.clone(),
            scopes: self.scopes.clone(),
            consented_at: self.consented_at,
            hard_end: self.hard_end,
            code: self.code_state(now),
            code_fingerprint: self.code.fingerprint,
            end: self.end,
            chain: self.chain.iter().map(link).collect(),
            forgotten: self.forgotten,
            access_tokens: living.map(|&(until, fingerprint)| AccessView { fingerprint, until }).collect(),
        }
    }
}

/// What the authority believes of a grant. It shows fingerprints, no values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct GrantView {
    /// Its number, counted from 0 in the order of consents.
    pub id: usize,
    /// Whose it is.
    pub client_id: String,
    /// The environment of those keys.
    pub environment: Environment,
    /// The company; `None` with OpenID-only scopes.
    pub realm: Option<String>,
    /// What the user consented to.
    pub scopes: Vec<String>,
    /// When, Unix seconds.
    pub consented_at: u64,
    /// Its last second, whatever happens (wire-facts C5), Unix seconds.
    pub hard_end: u64,
    /// What became of its code.
    pub code: CodeState,
    /// The code's fingerprint.
    pub code_fingerprint: Fingerprint,
    /// Its end from outside, if there was one.
    pub end: Option<End>,
    /// Its refresh tokens, oldest first.
    pub chain: Vec<RefreshView>,
    /// How many dead ones at the beginning of the chain are no longer listed.
    pub forgotten: u64,
    /// Its living access tokens, the next to die first.
    pub access_tokens: Vec<AccessView>,
}

impl GrantView {
    /// Whether any of its refresh tokens would still be answered with tokens.
    pub fn is_alive(&self) -> bool {
        self.chain.iter().any(|link| link.state.works())
    }
}

/// A refresh token in a grant's chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct RefreshView {
    /// Which.
    pub fingerprint: Fingerprint,
    /// Since when, Unix seconds.
    pub issued_at: u64,
    /// What it is worth.
    #[serde(flatten)]
    pub state: RefreshState,
}

/// A living access token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct AccessView {
    /// Which.
    pub fingerprint: Fingerprint,
    /// Until when, Unix seconds.
    pub until: u64,
}
