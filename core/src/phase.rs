//! The kernel: every transition of a grant's life, and nothing else decides.
//!
//! [`step`] is pure: (policy, phase, now, event) → (phase, effects, what becomes of the bytes), or a refusal that changes
//! nothing. No clock, no random numbers, no bytes: what is here can be explored whole by a model checker.
//!
//! Two parts live side by side in a [`Phase`]: the [`Consent`] under way and the [`Grant`]. At most one call is in flight
//! for both, so an exchange and a refresh never cross.

use crate::time::Time;

/// What differs between authorities, as the kernel needs it: numbers only. Part of [`Provider`](crate::Provider).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Seconds that a consent request waits for its callback. A bad redirect URI is never redirected, so it needs an end.
    pub consent_for: u32,
    /// Seconds that an authorization code may wait to be sent (RFC 6749 §4.1.2 recommends at most 600).
    pub code_for: u32,
    /// Seconds after which a call counts as sent and unanswered.
    pub call_for: u32,
    /// Seconds after a lost answer in which the same refresh token may be sent again (STA-4: 86,400, since STA-2 has the
    /// authority keep a stale token no longer); 0: never.
    pub replay_for: u32,
    /// Rounds of `invalid_grant`, at spaced times, that confirm a death (REF-4). 1: the first is final, as RFC 6749 has it.
    pub refusals: u8,
    /// Seconds ahead of the refresh token's end at which it is renewed with nobody asking (DUR-8).
    pub renew_ahead: u32,
    /// Seconds of life that a demanded access token must have left, or a refresh comes first.
    pub access_margin: u32,
    /// Tries to have a revocation answered, before the session is closed without (REV-1).
    pub revoke_tries: u8,
    /// Lifetime of a refresh token whose answer does not say (DUR-3), seconds.
    pub refresh_for: u32,
    /// Longest life of a grant from its consent, seconds; [`FOREVER`] where there is no such end.
    pub hard_for: u32,
}

/// A lifetime without an end, in seconds.
pub const FOREVER: u32 = u32::MAX;

/// Refresh tokens that a session can hold beside the current one.
pub const CANDIDATES: u8 = 2;

/// An access token that was rejected this soon after its issue is not replaced sooner (seconds): no busy loop (I8).
const PACE: u32 = 60;
const BACKOFF_MOST: u32 = 900;
const FAULT_FIRST: u32 = 60;
const FAULT_MOST: u32 = 3_600;
const PROBE_FIRST: u32 = 60;
const PROBE_MOST: u32 = 43_200;
const RETRY_AFTER_MOST: u32 = 86_400;
/// So many seconds ahead of a token's end it is tried a last time.
const LAST_LOOK: u32 = 300;

/// Where a grant stands: the consent under way, the grant itself, and the counters that tell calls and records apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Phase {
    /// The consent under way.
    pub consent: Consent,
    /// The grant in place.
    pub grant: Grant,
    /// Number of the latest call.
    pub calls: u32,
    /// How many consents have brought tokens.
    pub generation: u32,
    /// When the latest signed `state` that was accepted had been made: it and older ones are used up (CSR-2).
    pub consumed: Time,
    /// Number of the latest change. A store must refuse a record whose revision is not above the one it has (REF-3).
    pub revision: u32,
    /// The latest change is not known to be durable: nothing is sent or handed out (I3).
    pub unsaved: bool,
}

/// The consent under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consent {
    /// None.
    None,
    /// The user was sent to the authority.
    Pending {
        /// When it is given up.
        until: Time,
    },
    /// The code is in hand, its exchange has provably not left, and is due again. The code is spent all the same: no
    /// second callback is taken.
    Unsent {
        /// The code's own end.
        until: Time,
        /// Not before.
        retry_at: Time,
        /// Tries so far.
        tries: u8,
    },
    /// The code is spent and its exchange is in flight.
    Exchanging {
        /// The number of the call.
        call: u32,
        /// When it was sent.
        sent_at: Time,
        /// The code's own end.
        until: Time,
        /// Tries before this one, none of which left.
        tries: u8,
    },
    /// The latest exchange brought nothing. It is never repeated (EXC-3); only its late answer can still bring tokens.
    Over {
        /// The number of that call.
        call: u32,
        /// It was answered `invalid_grant`, so tokens that yet arrive are poisoned (EXC-2).
        refused: bool,
    },
}

/// The grant in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    /// No consent has brought tokens yet.
    Unlinked,
    /// Tokens are held, and nothing speaks against them.
    Linked {
        /// The tokens held.
        held: Held,
        /// What went wrong since the last answer.
        doubt: Doubt,
    },
    /// A refresh is in flight.
    Refreshing {
        /// The tokens held.
        held: Held,
        /// What went wrong since the last answer.
        doubt: Doubt,
        /// The number of the call.
        call: u32,
        /// When it was sent.
        sent_at: Time,
        /// Candidates that this round has not sent yet.
        untried: u8,
    },
    /// A refresh was sent and not answered: the token may be stale at the authority (STA-4).
    Uncertain {
        /// The tokens held.
        held: Held,
        /// What went wrong since the last answer.
        doubt: Doubt,
    },
    /// A refresh was answered `invalid_grant`, which alone proves nothing (REF-4).
    Suspect {
        /// The tokens held.
        held: Held,
        /// What went wrong since the last answer.
        doubt: Doubt,
    },
    /// A revocation is in flight. Nothing is handed out any more (REV-1).
    Revoking {
        /// The number of the call.
        call: u32,
        /// When it was sent.
        sent_at: Time,
        /// Tries before this one.
        tries: u8,
    },
    /// A revocation was not answered, and is due again.
    Unrevoked {
        /// Not before.
        retry_at: Time,
        /// Tries so far.
        tries: u8,
    },
    /// The end; the only way on is a new consent (REV-3).
    Closed {
        /// Why.
        reason: Reason,
        /// What was held.
        held: Held,
        /// What had gone wrong before: a grant that lives again has not forgotten it.
        doubt: Doubt,
    },
}

/// What is known of the tokens held. Lifetimes count from the moment the request that brought them was sent, so a slow
/// answer never makes a token look younger than it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// When the request that brought them was sent.
    pub issued_at: Time,
    /// Seconds that the access token is good for (DUR-1); 0: it is not to be handed out (DUR-2).
    pub access_for: u32,
    /// Seconds until the refresh token dies of age (DUR-3).
    pub refresh_for: u32,
    /// Seconds until the grant ends whatever is done; [`FOREVER`] where there is no such end.
    pub hard_for: u32,
    /// The number of the call that brought the access token: a 401 counts only against the token it was sent with.
    pub serial: u32,
    /// Candidates held beside the current refresh token (STA-3).
    pub candidates: u8,
}

/// What went wrong since the last good answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Doubt {
    /// When the first refresh was sent whose answer was lost.
    pub lost: Lost,
    /// Rounds that ended in `invalid_grant`.
    pub refusals: u8,
    /// Tries in a row without a verdict.
    pub tries: u8,
    /// Something beside the token endpoint that speaks against the grant.
    pub hint: Hint,
    /// No request before this.
    pub not_before: Time,
}

/// Whether a refresh was sent whose answer was lost, and since when the token may be stale for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lost {
    /// No answer is missing.
    #[default]
    None,
    /// The first one without an answer was sent then.
    Since(Time),
}

/// Something beside the token endpoint that speaks against the grant. It proves nothing, but fewer refusals confirm it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hint {
    /// Nothing.
    #[default]
    None,
    /// The API rejected an access token that was not old (REV-2).
    Rejected,
    /// The disconnect redirect came (REV-2). Anyone can send it, so it proves nothing.
    Disconnected,
    /// The code was seen to be exchanged twice (EXC-5).
    Poisoned,
}

/// Why a grant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No refresh within the refresh token's lifetime (DUR-6). Undone where the clock turns out to have been wrong.
    Expired,
    /// The hard end, years after the consent. Undone where the clock turns out to have been wrong.
    HardEnd,
    /// `invalid_grant`, confirmed at spaced times (REF-4).
    Refused,
    /// A refresh was never answered, and the time in which its token could be sent again is over (STA-4).
    AnswerLost,
    /// Disconnected from outside: `invalid_grant` after a 401 or a disconnect redirect (REV-2).
    Disconnected,
    /// `invalid_grant` after the code was seen to be exchanged twice (EXC-5).
    Poisoned,
    /// Revoked by the app (REV-1).
    Revoked,
    /// Revoked here; the authority never answered (REV-1).
    RevokeUnanswered,
}

impl Reason {
    /// Whether the app itself put an end to it. Any other end is what was concluded here, and a token that arrives after it
    /// says otherwise.
    const fn is_by_the_app(self) -> bool {
        matches!(self, Self::Revoked | Self::RevokeUnanswered)
    }
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The record of this revision is durable.
    Saved {
        /// Its revision.
        revision: u32,
    },
    /// Time has passed: do what is due.
    Tick,
    /// Somebody needs an access token.
    Demand,
    /// Refresh now, whatever is left of the access token.
    Refresh,
    /// The user is sent to the authority.
    Ask,
    /// A callback with a valid `state` and a code.
    Callback(Proof),
    /// A callback with a valid `state` and an error.
    Declined(Proof),
    /// What became of a call.
    Answer {
        /// The call.
        call: Call,
        /// What became of it.
        outcome: Outcome,
    },
    /// The API rejected an access token (401).
    Unauthorized {
        /// The token's [`Held::serial`].
        serial: u32,
    },
    /// The disconnect redirect came.
    Disconnected,
    /// A writer that was fenced out brings tokens of this generation that the store never saw.
    Candidate {
        /// When their request was sent.
        issued_at: Time,
        /// Their lifetimes.
        issued: Issued,
    },
    /// The app gives the grant up.
    Revoke,
}

/// How the `state` of a callback was found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// It is the random one of the pending consent (CSR-3).
    Stored,
    /// It was signed by us (CSR-4).
    Signed {
        /// When.
        made_at: Time,
    },
}

/// A request that is to be sent, by number. It is made by the kernel alone and handed back with what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// Rises with each call.
    pub number: u32,
    /// The generation it was made in: an answer to a grant that was since replaced brings nothing.
    pub generation: u32,
    /// What for.
    pub purpose: Purpose,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Code for tokens.
    Exchange,
    /// Refresh token for tokens.
    Refresh,
    /// The end.
    Revoke,
}

/// What became of a call. Four classes, and only a verdict may change the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It provably never left: free to try again.
    NotSent,
    /// It left, or may have, and no answer that can be used came back.
    NoAnswer,
    /// An answer that says nothing of the grant: 5xx, 429, HTML.
    NoVerdict {
        /// Seconds that the authority asks to wait; 0 where it does not say.
        retry_after: u32,
    },
    /// Verdict: tokens.
    Tokens(Issued),
    /// Verdict: revoked.
    Revoked,
    /// Verdict: an OAuth error.
    Refused(Refusal),
}

/// The lifetimes that came with tokens, clamped by whoever read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Issued {
    /// Seconds that the access token is good for; 0 where it cannot be used.
    pub access_for: u32,
    /// Seconds that the refresh token is good for; 0 where the answer does not say.
    pub refresh_for: u32,
    /// Seconds to the hard end; 0 where the answer does not say.
    pub hard_for: u32,
    /// Which refresh token came with it.
    pub refresh: Rotation,
}

/// What an answer did to the refresh token (STA-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rotation {
    /// A new value.
    New,
    /// The value that is held already, or none at all: it stays.
    Same,
}

/// An OAuth error (RFC 6749 §5.2), as far as it matters to the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `invalid_grant`.
    InvalidGrant,
    /// Any other: the app's own fault, or ours. It says nothing of the grant.
    AppAtFault,
}

/// What is to be done, in the order of the members. At most one of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "an effect that is not carried out is a lost grant"]
pub struct Effects {
    /// Store the record of this revision, durably. Where that fails nothing is sent, and nothing is handed out.
    pub store: Option<u32>,
    /// Send this request.
    pub send: Option<Call>,
    /// Tell whoever listens.
    pub tell: Option<Tell>,
}

/// What is worth telling. Carries no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tell {
    /// A consent brought tokens.
    Linked,
    /// A refresh brought tokens.
    Refreshed(Rotation),
    /// The user declined, or the authority did on the way.
    Declined,
    /// No callback came in time.
    ConsentExpired,
    /// The exchange brought an OAuth error: a new consent is needed.
    ExchangeRefused(Refusal),
    /// It is unknown what became of the exchange: a new consent is needed (EXC-3).
    ExchangeLost,
    /// The request provably never left.
    NotSent {
        /// The next try.
        retry_at: Time,
    },
    /// A refresh was not answered.
    AnswerLost {
        /// The next try.
        retry_at: Time,
    },
    /// The authority answered, but not the question.
    NoVerdict {
        /// The next try.
        retry_at: Time,
    },
    /// The app's own fault, such as wrong keys. The grant is untouched.
    AppAtFault {
        /// The next try.
        retry_at: Time,
    },
    /// `invalid_grant`: read the stored record again, and adopt it where it is newer (REF-3).
    Suspect {
        /// The next try.
        retry_at: Time,
    },
    /// `invalid_grant`; a candidate is tried next (STA-3).
    NextCandidate,
    /// A token arrived late or from elsewhere and is kept as a candidate (I5).
    CandidateKept,
    /// The code was seen to be exchanged twice (EXC-5).
    Poisoned,
    /// The revocation was not answered.
    RevokeUnanswered {
        /// The next try.
        retry_at: Time,
    },
    /// The clock was wrong: the grant had not expired.
    Revived,
    /// The grant ended.
    Closed(Reason),
}

/// What the session must do with its bytes to follow a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bytes {
    /// Nothing.
    Keep,
    /// Hold the code of the callback.
    TakeCode,
    /// Wipe the code.
    DropCode,
    /// Hold the answer's tokens, and wipe every other token; after an exchange the code as well.
    TakeTokens,
    /// Hold the answer's refresh token as a candidate.
    TakeCandidate,
    /// Hold the answer's refresh token as the current one, and what was current as a candidate.
    TakeFront,
    /// Make the next candidate the current refresh token, and the current one the last candidate.
    NextCandidate,
    /// Wipe the access token.
    DropAccess,
    /// Wipe all but the refresh token, which the revocation needs.
    KeepRefresh,
    /// Wipe all.
    Forget,
}

/// A step that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// The phase after it.
    pub phase: Phase,
    /// What is to be done.
    pub effects: Effects,
    /// What becomes of the bytes.
    pub bytes: Bytes,
}

/// Why an event was refused. The phase is as it was (I7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// The clock was never set, and nothing is judged without one.
    ClockUnset,
    /// No consent is pending that this callback could belong to (CSR-2).
    NoConsent,
    /// The consent request is too old (CSR-4).
    ConsentExpired,
    /// The code is spent, and is never exchanged again (EXC-1).
    CodeSpent,
    /// A call is in flight (REF-2).
    Busy {
        /// Its own end at the latest.
        until: Time,
    },
    /// Nothing may be sent yet.
    Wait {
        /// Not before.
        until: Time,
    },
    /// No consent has brought tokens yet.
    NotLinked,
    /// The grant is being revoked (REV-1).
    BeingRevoked,
    /// The grant ended (REV-3).
    Ended(Reason),
    /// An answer to a call that nobody waits for, with nothing in it that is needed.
    Late,
    /// A 401 of an access token that was replaced since.
    OtherToken,
    /// There is no room for a further candidate: refresh first, then hand it in again.
    CandidatesFull,
}

/// What a phase waits for (I8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Due {
    /// The record is to be stored, now.
    Store,
    /// A [`Event::Tick`] at this moment; at once where it has passed. Whoever sleeps until then wakes up once an hour all
    /// the same, for a tick that costs nothing: a clock that was ahead and is put right leaves deadlines years away, which
    /// a tick finds out, and a sleeper does not.
    Tick(Time),
    /// The user: nothing happens without a consent.
    Consent,
}

impl Phase {
    /// Before the first consent.
    pub const NEW: Self = Self {
        consent: Consent::None,
        grant: Grant::Unlinked,
        calls: 0,
        generation: 0,
        consumed: Time::UNSET,
        revision: 0,
        unsaved: false,
    };

    /// This phase, read back from a store: what was in flight counts as sent and unanswered (STA-4, EXC-3).
    #[must_use]
    pub const fn restored(self) -> Self {
        let consent = match self.consent {
            // The code itself is never stored, so an exchange that had not left cannot leave any more either.
            Consent::Unsent { .. } => Consent::Over { call: self.calls, refused: false },
            Consent::Exchanging { call, .. } => Consent::Over { call, refused: false },
            Consent::None | Consent::Pending { .. } | Consent::Over { .. } => self.consent,
        };
        let grant = match self.grant {
            Grant::Refreshing { held, doubt, sent_at, .. } => {
                Grant::Uncertain { held, doubt: Doubt { not_before: Time::UNSET, ..doubt.lost_at(sent_at) } }
            }
            Grant::Revoking { tries, .. } => {
                Grant::Unrevoked { retry_at: Time::UNSET, tries: tries.saturating_add(1) }
            }
            Grant::Unlinked
            | Grant::Linked { .. }
            | Grant::Uncertain { .. }
            | Grant::Suspect { .. }
            | Grant::Unrevoked { .. }
            | Grant::Closed { .. } => self.grant,
        };
        Self { consent, grant, unsaved: false, ..self }
    }

    /// This phase, as the successor of another session's of the same realm: its record counts as the newer one.
    #[must_use]
    pub(crate) fn after(self, other: &Self) -> Self {
        Self {
            revision: self.revision.max(other.revision).saturating_add(1),
            generation: self.generation.max(other.generation.saturating_add(1)),
            consumed: self.consumed.max(other.consumed),
            unsaved: true,
            ..self
        }
    }

    /// What this phase waits for: the earliest of its deadlines, or somebody. A function of the phase alone, so it
    /// survives a restart.
    #[must_use]
    pub fn due(&self, policy: &Policy) -> Due {
        if self.unsaved {
            return Due::Store;
        }
        // While a call is in flight nothing else can be sent, so nothing that would be is due before its end.
        let free_at = self.busy_until(policy).unwrap_or(Time::UNSET);
        let consent = match self.consent {
            Consent::Pending { until } => Some(until),
            Consent::Unsent { until, retry_at, .. } => Some(until.min(retry_at.max(free_at))),
            Consent::Exchanging { sent_at, .. } => Some(sent_at.plus(policy.call_for)),
            Consent::None | Consent::Over { .. } => None,
        };
        let grant = match self.grant {
            Grant::Linked { held, doubt }
            | Grant::Uncertain { held, doubt }
            | Grant::Suspect { held, doubt } => {
                Some(refresh_due(policy, &held, &doubt).max(free_at).min(held.end()))
            }
            Grant::Refreshing { sent_at, .. } | Grant::Revoking { sent_at, .. } => {
                Some(sent_at.plus(policy.call_for))
            }
            Grant::Unrevoked { retry_at, .. } => Some(retry_at.max(free_at)),
            Grant::Unlinked | Grant::Closed { .. } => None,
        };
        match (consent, grant) {
            (Some(one), Some(other)) => Due::Tick(one.min(other)),
            (Some(one), None) | (None, Some(one)) => Due::Tick(one),
            (None, None) => Due::Consent,
        }
    }

    /// The call that is in flight, if any (REF-2: there is never a second).
    #[must_use]
    pub const fn in_flight(&self) -> Option<Call> {
        let (number, purpose) = match (self.consent, self.grant) {
            (Consent::Exchanging { call, .. }, _) => (call, Purpose::Exchange),
            (_, Grant::Refreshing { call, .. }) => (call, Purpose::Refresh),
            (_, Grant::Revoking { call, .. }) => (call, Purpose::Revoke),
            _ => return None,
        };
        Some(Call { number, generation: self.generation, purpose })
    }

    /// What is known of the tokens, while there are any that may be used.
    #[must_use]
    pub const fn held(&self) -> Option<Held> {
        match self.grant {
            Grant::Linked { held, .. }
            | Grant::Refreshing { held, .. }
            | Grant::Uncertain { held, .. }
            | Grant::Suspect { held, .. } => Some(held),
            Grant::Unlinked | Grant::Revoking { .. } | Grant::Unrevoked { .. } | Grant::Closed { .. } => None,
        }
    }

    /// Until when the call in flight is waited for.
    fn busy_until(&self, policy: &Policy) -> Option<Time> {
        match (self.consent, self.grant) {
            (Consent::Exchanging { sent_at, .. }, _)
            | (_, Grant::Refreshing { sent_at, .. } | Grant::Revoking { sent_at, .. }) => {
                Some(sent_at.plus(policy.call_for))
            }
            _ => None,
        }
    }

    /// The latest moment that this phase knows of.
    fn latest(&self) -> Time {
        let consent = match self.consent {
            Consent::Exchanging { sent_at, .. } => sent_at,
            Consent::None | Consent::Pending { .. } | Consent::Unsent { .. } | Consent::Over { .. } => {
                Time::UNSET
            }
        };
        let grant = match self.grant {
            Grant::Refreshing { sent_at, .. } | Grant::Revoking { sent_at, .. } => sent_at,
            Grant::Linked { held, .. }
            | Grant::Uncertain { held, .. }
            | Grant::Suspect { held, .. }
            | Grant::Closed { held, .. } => held.issued_at,
            Grant::Unlinked | Grant::Unrevoked { .. } => Time::UNSET,
        };
        consent.max(grant)
    }

    const fn next_call(&self, purpose: Purpose) -> Call {
        Call { number: self.calls.saturating_add(1), generation: self.generation, purpose }
    }
}

impl Held {
    /// When the access token ends by the clock (DUR-1).
    #[must_use]
    pub const fn access_end(&self) -> Time {
        self.issued_at.plus(self.access_for)
    }

    /// When the refresh token dies of age (DUR-3, DUR-6).
    #[must_use]
    pub const fn rolling_end(&self) -> Time {
        self.issued_at.plus(self.refresh_for)
    }

    /// When the grant ends whatever is done; the end of time where there is no such end.
    #[must_use]
    pub const fn hard_end(&self) -> Time {
        if self.hard_for == FOREVER { Time::from_unix(u64::MAX) } else { self.issued_at.plus(self.hard_for) }
    }

    /// The earlier of the two ends.
    #[must_use]
    pub fn end(&self) -> Time {
        self.rolling_end().min(self.hard_end())
    }

    /// Seconds that the access token may still be handed out for; 0 where it may not (DUR-1, DUR-2, USE-3). A clock that
    /// shows a moment before the token's issue has stepped back: the token's age is unknown, so it is not handed out.
    #[must_use]
    pub fn access_left(&self, now: Time) -> u32 {
        if now < self.issued_at || !now.is_set() || now >= self.end() {
            return 0;
        }
        self.access_end().since(now)
    }

    fn ended(&self, now: Time) -> Option<Reason> {
        if now >= self.hard_end() {
            Some(Reason::HardEnd)
        } else if now >= self.rolling_end() {
            Some(Reason::Expired)
        } else {
            None
        }
    }

    /// When it is renewed with nobody asking: ahead of the end (DUR-8), but not in the first half of its life. Renewing
    /// does not move the hard end, so near it there is nothing to renew for.
    fn renew_at(&self, policy: &Policy) -> Time {
        if self.hard_end() <= self.rolling_end() {
            return self.hard_end();
        }
        let half = (self.refresh_for / 2).max(PACE);
        self.rolling_end().minus(policy.renew_ahead).max(self.issued_at.plus(half))
    }
}

impl Doubt {
    /// With an answer lost to a request of that time. The first one counts: the token may be stale since then (STA-4).
    const fn lost_at(self, sent_at: Time) -> Self {
        match self.lost {
            Lost::None => Self { lost: Lost::Since(sent_at), ..self },
            Lost::Since(_) => self,
        }
    }

    /// Whether the same token may be sent (again): always, unless an answer was lost too long ago (STA-4, I2).
    fn may_send(&self, policy: &Policy, now: Time) -> bool {
        match self.lost {
            Lost::None => true,
            Lost::Since(first) => now.since(first) < policy.replay_for,
        }
    }

    const fn is_clear(&self) -> bool {
        matches!(self, Self { lost: Lost::None, refusals: 0, tries: 0, hint: Hint::None, .. })
    }

    /// After one more try without a verdict, with the next one due then.
    fn tried(self, retry_at: Time) -> Self {
        Self { tries: self.tries.saturating_add(1), not_before: retry_at, ..self }
    }

    /// What the end is called where nothing but `invalid_grant` is left.
    const fn reason(&self) -> Reason {
        match (self.hint, self.lost) {
            (Hint::Poisoned, _) => Reason::Poisoned,
            (Hint::Disconnected | Hint::Rejected, _) => Reason::Disconnected,
            (Hint::None, Lost::Since(_)) => Reason::AnswerLost,
            (Hint::None, Lost::None) => Reason::Refused,
        }
    }
}

/// Whether a deadline is reached, of a kind that is never set further ahead than `most` seconds. One that is further
/// ahead was set by a clock that was wrong and has been put right since: it counts as reached, or it would block for
/// years.
fn reached(now: Time, deadline: Time, most: u32) -> bool {
    now >= deadline || deadline.since(now) > most
}

/// Whether a call is given up. A clock that was put back by up to an hour only makes that later.
fn timed_out(policy: &Policy, now: Time, sent_at: Time) -> bool {
    reached(now, sent_at.plus(policy.call_for), policy.call_for.saturating_add(3_600))
}

/// When the next refresh is due with nobody asking: at once (but not before it may be) where something is open, else
/// ahead of the end.
fn refresh_due(policy: &Policy, held: &Held, doubt: &Doubt) -> Time {
    if doubt.is_clear() && held.access_for > 0 { held.renew_at(policy) } else { doubt.not_before }
}

fn is_due(policy: &Policy, held: &Held, doubt: &Doubt, now: Time) -> bool {
    if doubt.is_clear() && held.access_for > 0 {
        now >= held.renew_at(policy)
    } else {
        reached(now, doubt.not_before, RETRY_AFTER_MOST)
    }
}

/// `first`, doubled with each further try (`growth` 1) or quadrupled (2), and never above `most`.
const fn backoff(first: u32, growth: u32, tries: u8, most: u32) -> u32 {
    let shift = (tries as u32).saturating_mul(growth);
    let seconds = if shift < 24 { first.saturating_mul(1 << shift) } else { most };
    if seconds > most { most } else { seconds }
}

/// A next try that would come after the token's own end, or after the time in which it may be sent again (STA-4), is moved
/// to shortly before: whatever was waited for may be over by then, and there is no later.
fn in_time(policy: &Policy, now: Time, held: &Held, doubt: &Doubt, retry_at: Time) -> Time {
    let replay_end = match doubt.lost {
        Lost::None => held.end(),
        Lost::Since(first) => first.plus(policy.replay_for),
    };
    let last_look = held.end().min(replay_end).minus(LAST_LOOK);
    retry_at.min(last_look.max(now.plus(PACE)))
}

/// A step under way: the phase as it will be, and what goes with it.
struct Move {
    phase: Phase,
    send: Option<Call>,
    tell: Option<Tell>,
    bytes: Bytes,
}

impl Move {
    const fn to(phase: Phase) -> Self {
        Self { phase, send: None, tell: None, bytes: Bytes::Keep }
    }

    const fn consent(phase: Phase, consent: Consent) -> Self {
        Self::to(Phase { consent, ..phase })
    }

    const fn grant(phase: Phase, grant: Grant) -> Self {
        Self::to(Phase { grant, ..phase })
    }

    const fn tell(self, tell: Tell) -> Self {
        Self { tell: Some(tell), ..self }
    }

    const fn bytes(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }

    const fn send(self, call: Call) -> Self {
        Self { phase: Phase { calls: call.number, ..self.phase }, send: Some(call), ..self }
    }

    /// A changed phase is stored before anything follows from it (I1, I3, REF-1); so is one that a store has failed to
    /// take before.
    fn sealed(self, before: &Phase) -> Step {
        let changed = self.phase != *before;
        let unsaved = changed || before.unsaved;
        let revision = if changed { before.revision.saturating_add(1) } else { before.revision };
        Step {
            phase: Phase { revision, unsaved, ..self.phase },
            effects: Effects {
                store: if unsaved { Some(revision) } else { None },
                send: self.send,
                tell: self.tell,
            },
            bytes: self.bytes,
        }
    }
}

type Moved = Result<Move, Refused>;

/// Takes one step.
///
/// # Errors
/// The event does not fit the phase, or may not be acted on yet. Nothing has changed then (I7).
pub fn step(policy: &Policy, phase: Phase, now: Time, event: Event) -> Result<Step, Refused> {
    let moved = match event {
        Event::Saved { revision } => {
            let unsaved = phase.unsaved && revision != phase.revision;
            return Ok(Step {
                phase: Phase { unsaved, ..phase },
                effects: Effects::default(),
                bytes: Bytes::Keep,
            });
        }
        Event::Answer { call, outcome } => answer(policy, phase, now, call, outcome)?,
        _ if !now.is_set() => return Err(Refused::ClockUnset),
        Event::Tick => tick(policy, phase, now)?,
        Event::Demand => demand(policy, phase, now)?,
        Event::Refresh => refresh(policy, phase, now)?,
        Event::Ask => ask(policy, phase, now)?,
        Event::Callback(proof) => callback(policy, phase, now, proof)?,
        Event::Declined(proof) => declined(policy, phase, now, proof)?,
        Event::Unauthorized { serial } => unauthorized(policy, phase, now, serial)?,
        Event::Disconnected => disconnected(policy, phase, now)?,
        Event::Candidate { issued_at, issued } => {
            let call = Call { number: phase.calls, generation: phase.generation, purpose: Purpose::Refresh };
            candidate(policy, phase, now, issued_at, call, issued)?
        }
        Event::Revoke => revoke(policy, phase, now)?,
    };
    Ok(moved.sealed(&phase))
}

// ---------------------------------------------------------------------------------------------------- deadlines

fn tick(policy: &Policy, phase: Phase, now: Time) -> Moved {
    match phase.consent {
        Consent::Pending { until } if reached(now, until, policy.consent_for) => {
            return Ok(Move::consent(phase, Consent::None).tell(Tell::ConsentExpired));
        }
        Consent::Unsent { until, .. } if reached(now, until, policy.code_for) => {
            let over = Consent::Over { call: phase.calls, refused: false };
            return Ok(Move::consent(phase, over).tell(Tell::ExchangeLost).bytes(Bytes::DropCode));
        }
        Consent::Unsent { until, retry_at, tries } if reached(now, retry_at, BACKOFF_MOST) => {
            return if phase.busy_until(policy).is_none() {
                Ok(exchange(phase, now, until, tries))
            } else {
                tick_grant(policy, phase, now)
            };
        }
        Consent::Exchanging { call, sent_at, .. } if timed_out(policy, now, sent_at) => {
            return Ok(exchange_lost(phase, call));
        }
        Consent::None
        | Consent::Pending { .. }
        | Consent::Unsent { .. }
        | Consent::Exchanging { .. }
        | Consent::Over { .. } => {}
    }
    tick_grant(policy, phase, now)
}

fn tick_grant(policy: &Policy, phase: Phase, now: Time) -> Moved {
    match phase.grant {
        Grant::Linked { held, doubt } | Grant::Uncertain { held, doubt } | Grant::Suspect { held, doubt } => {
            if let Some(reason) = held.ended(now) {
                return Ok(close(phase, held, doubt, reason));
            }
            if is_due(policy, &held, &doubt, now) && phase.busy_until(policy).is_none() {
                return Ok(begin_refresh(policy, phase, now, held, doubt));
            }
            Ok(Move::to(phase))
        }
        Grant::Refreshing { held, doubt, sent_at, .. } if timed_out(policy, now, sent_at) => {
            Ok(refresh_lost(phase, now, held, doubt, sent_at))
        }
        Grant::Revoking { sent_at, tries, .. } if timed_out(policy, now, sent_at) => {
            Ok(revoke_again_later(policy, phase, now, tries, 0))
        }
        Grant::Unrevoked { retry_at, tries }
            if reached(now, retry_at, RETRY_AFTER_MOST) && phase.busy_until(policy).is_none() =>
        {
            Ok(send_revoke(phase, now, tries))
        }
        // The clock was ahead and has been put right: what died by it alone lives again.
        Grant::Closed { reason, held, doubt } if revives(policy, now, reason, &held, &doubt) => {
            Ok(Move::grant(phase, rest(held, doubt)).tell(Tell::Revived))
        }
        Grant::Unlinked
        | Grant::Refreshing { .. }
        | Grant::Revoking { .. }
        | Grant::Unrevoked { .. }
        | Grant::Closed { .. } => Ok(Move::to(phase)),
    }
}

/// The grant at rest, by what speaks against it.
const fn rest(held: Held, doubt: Doubt) -> Grant {
    match (doubt.refusals, doubt.lost) {
        (0, Lost::None) => Grant::Linked { held, doubt },
        (0, Lost::Since(_)) => Grant::Uncertain { held, doubt },
        _ => Grant::Suspect { held, doubt },
    }
}

/// Whether what the clock alone has ended lives again, the clock having been put right.
fn revives(policy: &Policy, now: Time, reason: Reason, held: &Held, doubt: &Doubt) -> bool {
    held.ended(now).is_none()
        && match reason {
            Reason::Expired | Reason::HardEnd => true,
            // Unless it was refused often enough besides.
            Reason::AnswerLost => doubt.may_send(policy, now) && doubt.refusals < policy.refusals,
            Reason::Refused
            | Reason::Disconnected
            | Reason::Poisoned
            | Reason::Revoked
            | Reason::RevokeUnanswered => false,
        }
}

/// The end (I4): the access token goes with it (USE-3); the refresh token's bytes stay until a new consent or the user.
fn close(phase: Phase, held: Held, doubt: Doubt, reason: Reason) -> Move {
    let held = Held { access_for: 0, ..held };
    Move::grant(phase, Grant::Closed { reason, held, doubt })
        .tell(Tell::Closed(reason))
        .bytes(Bytes::DropAccess)
}

// ------------------------------------------------------------------------------------------------------ consent

fn ask(policy: &Policy, phase: Phase, now: Time) -> Moved {
    match (phase.consent, phase.grant) {
        (Consent::Exchanging { .. } | Consent::Unsent { .. }, _) => Err(busy(policy, &phase, now)),
        (_, Grant::Revoking { .. } | Grant::Unrevoked { .. }) => Err(Refused::BeingRevoked),
        // A second request supersedes the first, whose callback then fits nothing any more (CSR-1).
        // The grant in place goes on working (SCO-4); after its end this is the only way on (REV-3).
        (
            Consent::None | Consent::Pending { .. } | Consent::Over { .. },
            Grant::Unlinked
            | Grant::Linked { .. }
            | Grant::Refreshing { .. }
            | Grant::Uncertain { .. }
            | Grant::Suspect { .. }
            | Grant::Closed { .. },
        ) => Ok(Move::consent(phase, Consent::Pending { until: now.plus(policy.consent_for) })),
    }
}

/// What makes a callback unfit, whatever it brings: no consent that it belongs to, or one that is over or used (CSR-2).
fn unfit(policy: &Policy, phase: &Phase, now: Time, proof: Proof) -> Option<Refused> {
    match (phase.consent, proof) {
        (Consent::Exchanging { .. } | Consent::Unsent { .. }, _) => Some(Refused::CodeSpent),
        (Consent::Pending { until }, Proof::Stored) if now < until => None,
        (Consent::Pending { .. }, Proof::Stored) => Some(Refused::ConsentExpired),
        (Consent::Over { .. }, Proof::Stored) => Some(Refused::CodeSpent),
        (Consent::None, Proof::Stored) => Some(Refused::NoConsent),
        // Nothing is stored for a signed state, so its time is what is used up: once, and every older one with it.
        (Consent::None | Consent::Pending { .. } | Consent::Over { .. }, Proof::Signed { made_at }) => {
            // A time that is still ahead was used up under a clock that was wrong: its state would be refused anyway.
            let future = now.plus(policy.call_for);
            if made_at <= phase.consumed && phase.consumed <= future {
                Some(Refused::CodeSpent)
            } else if made_at > future || now.since(made_at) >= policy.consent_for {
                Some(Refused::ConsentExpired)
            } else {
                None
            }
        }
    }
}

/// The phase with this proof used up.
fn consumed(phase: Phase, proof: Proof) -> Phase {
    match proof {
        Proof::Stored => phase,
        Proof::Signed { made_at } => Phase { consumed: made_at, ..phase },
    }
}

fn callback(policy: &Policy, phase: Phase, now: Time, proof: Proof) -> Moved {
    if let Some(refused) = unfit(policy, &phase, now, proof) {
        return Err(refused);
    }
    match phase.grant {
        Grant::Refreshing { .. } => Err(busy(policy, &phase, now)),
        Grant::Revoking { .. } | Grant::Unrevoked { .. } => Err(Refused::BeingRevoked),
        Grant::Unlinked
        | Grant::Linked { .. }
        | Grant::Uncertain { .. }
        | Grant::Suspect { .. }
        | Grant::Closed { .. } => {
            Ok(exchange(consumed(phase, proof), now, now.plus(policy.code_for), 0).bytes(Bytes::TakeCode))
        }
    }
}

fn declined(policy: &Policy, phase: Phase, now: Time, proof: Proof) -> Moved {
    match unfit(policy, &phase, now, proof) {
        Some(refused) => Err(refused),
        // SCO-4: the grant in place is not touched.
        None => Ok(Move::consent(consumed(phase, proof), Consent::None).tell(Tell::Declined)),
    }
}

// ----------------------------------------------------------------------------------------------------- exchange

/// EXC-1: the code counts as spent with this phase, which is stored before the request leaves (I1).
fn exchange(phase: Phase, now: Time, until: Time, tries: u8) -> Move {
    let call = phase.next_call(Purpose::Exchange);
    Move::consent(phase, Consent::Exchanging { call: call.number, sent_at: now, until, tries }).send(call)
}

/// EXC-3: never again.
fn exchange_lost(phase: Phase, call: u32) -> Move {
    Move::consent(phase, Consent::Over { call, refused: false })
        .tell(Tell::ExchangeLost)
        .bytes(Bytes::DropCode)
}

fn exchange_answer(policy: &Policy, phase: Phase, now: Time, call: Call, outcome: Outcome) -> Moved {
    match phase.consent {
        Consent::Exchanging { call: number, sent_at, until, tries } if number == call.number => match outcome
        {
            Outcome::NotSent => {
                let retry_at = now.plus(backoff(1, 1, tries, BACKOFF_MOST));
                let unsent = Consent::Unsent { until, retry_at, tries: tries.saturating_add(1) };
                Ok(Move::consent(phase, unsent).tell(Tell::NotSent { retry_at }))
            }
            Outcome::NoAnswer | Outcome::NoVerdict { .. } | Outcome::Revoked => {
                Ok(exchange_lost(phase, number))
            }
            Outcome::Refused(refusal) => {
                let over = Consent::Over { call: number, refused: matches!(refusal, Refusal::InvalidGrant) };
                let moved = Move::consent(phase, over).tell(Tell::ExchangeRefused(refusal));
                Ok(moved.bytes(Bytes::DropCode))
            }
            Outcome::Tokens(issued) => {
                Ok(link(policy, phase, sent_at.min(now), call, issued, Doubt::default()))
            }
        },
        Consent::Over { call: number, refused } if number == call.number => match outcome {
            // The answer that was given up, after all (I5).
            Outcome::Tokens(issued) if !refused => {
                Ok(link(policy, phase, now, call, unproven(issued), Doubt::default()))
            }
            // EXC-2, EXC-5: a second exchange was refused, so these were revoked in the same moment: a refresh will tell.
            Outcome::Tokens(issued) => Ok(link(policy, phase, now, call, unproven(issued), poisoned())),
            Outcome::NotSent
            | Outcome::NoAnswer
            | Outcome::NoVerdict { .. }
            | Outcome::Revoked
            | Outcome::Refused(_) => Err(Refused::Late),
        },
        Consent::None
        | Consent::Pending { .. }
        | Consent::Unsent { .. }
        | Consent::Exchanging { .. }
        | Consent::Over { .. } => exchange_answered_twice(phase, call, outcome),
    }
}

/// Tokens whose age is not known: the access token is not handed out before a refresh has proved the pair.
const fn unproven(issued: Issued) -> Issued {
    Issued { access_for: 0, ..issued }
}

fn poisoned() -> Doubt {
    Doubt { hint: Hint::Poisoned, ..Doubt::default() }
}

/// `invalid_grant` for the very exchange whose tokens are held: something on the way sent it twice, and the tokens are
/// revoked (EXC-2). A refresh will tell (EXC-5); until then nothing is handed out (USE-3).
fn exchange_answered_twice(phase: Phase, call: Call, outcome: Outcome) -> Moved {
    match (phase.grant, outcome) {
        (Grant::Linked { held, doubt }, Outcome::Refused(Refusal::InvalidGrant))
            if held.serial == call.number =>
        {
            let doubt = Doubt { hint: Hint::Poisoned, ..doubt };
            let held = Held { access_for: 0, ..held };
            Ok(Move::grant(phase, Grant::Linked { held, doubt })
                .tell(Tell::Poisoned)
                .bytes(Bytes::DropAccess))
        }
        _ => Err(Refused::Late),
    }
}

/// A consent brought tokens: they replace what there was, whole (SCO-4), under a new generation.
fn link(policy: &Policy, phase: Phase, issued_at: Time, call: Call, issued: Issued, doubt: Doubt) -> Move {
    let or = |seconds: u32, default: u32| if seconds == 0 { default } else { seconds };
    let held = Held {
        issued_at,
        access_for: issued.access_for,
        refresh_for: or(issued.refresh_for, policy.refresh_for),
        hard_for: or(issued.hard_for, policy.hard_for),
        serial: call.number,
        candidates: 0,
    };
    let generation = phase.generation.saturating_add(1);
    let phase = Phase { consent: Consent::None, grant: rest(held, doubt), generation, ..phase };
    Move::to(phase).tell(Tell::Linked).bytes(Bytes::TakeTokens)
}

// ------------------------------------------------------------------------------------------------------ refresh

fn demand(policy: &Policy, phase: Phase, now: Time) -> Moved {
    match phase.held() {
        Some(held) if held.access_left(now) >= policy.access_margin.min(held.access_for / 2).max(1) => {
            Ok(Move::to(phase))
        }
        Some(held) => match refresh(policy, phase, now) {
            // A refresh that cannot be had now never withdraws an access token that still has life in it.
            Err(Refused::Busy { .. } | Refused::Wait { .. }) if held.access_left(now) > 0 => {
                Ok(Move::to(phase))
            }
            other => other,
        },
        None => refresh(policy, phase, now),
    }
}

/// DUR-7: as often as anybody likes; nothing here counts refreshes.
fn refresh(policy: &Policy, phase: Phase, now: Time) -> Moved {
    match phase.grant {
        Grant::Linked { held, doubt } | Grant::Uncertain { held, doubt } | Grant::Suspect { held, doubt } => {
            if phase.busy_until(policy).is_some() {
                Err(busy(policy, &phase, now))
            } else if let Some(reason) = held.ended(now) {
                Ok(close(phase, held, doubt, reason))
            } else if !reached(now, doubt.not_before, RETRY_AFTER_MOST) {
                Err(Refused::Wait { until: doubt.not_before })
            } else {
                Ok(begin_refresh(policy, phase, now, held, doubt))
            }
        }
        Grant::Refreshing { .. } => Err(busy(policy, &phase, now)),
        Grant::Closed { reason, held, doubt } if revives(policy, now, reason, &held, &doubt) => {
            if phase.busy_until(policy).is_some() {
                return Err(busy(policy, &phase, now));
            }
            Ok(begin_refresh(policy, phase, now, held, doubt))
        }
        Grant::Unlinked => Err(Refused::NotLinked),
        Grant::Revoking { .. } | Grant::Unrevoked { .. } => Err(Refused::BeingRevoked),
        Grant::Closed { reason, .. } => Err(Refused::Ended(reason)),
    }
}

fn busy(policy: &Policy, phase: &Phase, now: Time) -> Refused {
    Refused::Busy { until: phase.busy_until(policy).unwrap_or(now) }
}

/// A new round, which begins with the current refresh token (DUR-4, STA-3).
fn begin_refresh(policy: &Policy, phase: Phase, now: Time, held: Held, doubt: Doubt) -> Move {
    let last_round = policy.refusals.saturating_sub(1);
    if doubt.may_send(policy, now) {
        send_refresh(phase, now, held, doubt, held.candidates)
    } else if held.candidates > 0 && last_round > doubt.refusals {
        // The one in front may not be sent again, but the next may: one last round, without the one in front.
        let doubt = Doubt { lost: Lost::None, refusals: last_round, ..doubt };
        let moved = send_refresh(phase, now, held, doubt, held.candidates.saturating_sub(1));
        moved.tell(Tell::NextCandidate).bytes(Bytes::NextCandidate)
    } else {
        close(phase, held, doubt, Reason::AnswerLost)
    }
}

fn send_refresh(phase: Phase, now: Time, held: Held, doubt: Doubt, untried: u8) -> Move {
    let call = phase.next_call(Purpose::Refresh);
    Move::grant(phase, Grant::Refreshing { held, doubt, call: call.number, sent_at: now, untried }).send(call)
}

/// STA-4: the token may be stale now; the same one may be sent again for a while.
fn refresh_lost(phase: Phase, now: Time, held: Held, doubt: Doubt, sent_at: Time) -> Move {
    let retry_at = now.plus(backoff(1, 1, doubt.tries, BACKOFF_MOST));
    let doubt = doubt.lost_at(sent_at).tried(retry_at);
    Move::grant(phase, rest(held, doubt)).tell(Tell::AnswerLost { retry_at })
}

fn refresh_answer(policy: &Policy, phase: Phase, now: Time, call: Call, outcome: Outcome) -> Moved {
    if call.generation != phase.generation {
        // Tokens of a grant that a new consent has replaced whole (SCO-3, SCO-4).
        return Err(Refused::Late);
    }
    match phase.grant {
        Grant::Refreshing { held, doubt, call: number, sent_at, untried } if number == call.number => {
            match outcome {
                Outcome::NotSent => {
                    let retry_at = now.plus(backoff(1, 1, doubt.tries, BACKOFF_MOST));
                    Ok(Move::grant(phase, rest(held, doubt.tried(retry_at))).tell(Tell::NotSent { retry_at }))
                }
                Outcome::NoAnswer | Outcome::Revoked => Ok(refresh_lost(phase, now, held, doubt, sent_at)),
                Outcome::NoVerdict { retry_after } => {
                    let wait = now.plus(pause(retry_after, doubt.tries));
                    let retry_at = in_time(policy, now, &held, &doubt, wait);
                    Ok(Move::grant(phase, rest(held, doubt.tried(retry_at)))
                        .tell(Tell::NoVerdict { retry_at }))
                }
                Outcome::Refused(Refusal::AppAtFault) => {
                    let wait = now.plus(backoff(FAULT_FIRST, 2, doubt.tries, FAULT_MOST));
                    let retry_at = in_time(policy, now, &held, &doubt, wait);
                    Ok(Move::grant(phase, rest(held, doubt.tried(retry_at)))
                        .tell(Tell::AppAtFault { retry_at }))
                }
                Outcome::Refused(Refusal::InvalidGrant) => {
                    Ok(refresh_refused(policy, phase, now, held, doubt, untried))
                }
                Outcome::Tokens(issued) => Ok(refreshed(policy, phase, sent_at.min(now), call, held, issued)),
            }
        }
        _ => match outcome {
            Outcome::Tokens(issued) => late_tokens(policy, phase, now, call, issued),
            Outcome::NotSent
            | Outcome::NoAnswer
            | Outcome::NoVerdict { .. }
            | Outcome::Revoked
            | Outcome::Refused(_) => Err(Refused::Late),
        },
    }
}

/// How long to wait after an answer without a verdict: as asked, or longer each time.
fn pause(retry_after: u32, tries: u8) -> u32 {
    let own = backoff(2, 1, tries, BACKOFF_MOST);
    if retry_after == 0 { own } else { retry_after.clamp(own.min(PACE), RETRY_AFTER_MOST) }
}

/// Tokens: every doubt is settled. With a new value the old one is stale from now on, and is wiped (STA-1, STA-3);
/// with the same value only its lifetime changes (STA-5, DUR-5).
fn refreshed(
    policy: &Policy,
    phase: Phase,
    issued_at: Time,
    call: Call,
    before: Held,
    issued: Issued,
) -> Move {
    let refresh_for = match (issued.refresh_for, issued.refresh) {
        (0, Rotation::New) => policy.refresh_for,
        // The same token, and no word of its end: it keeps the one it had.
        (0, Rotation::Same) => before.rolling_end().since(issued_at),
        (seconds, _) => seconds,
    };
    let hard_for = match (issued.hard_for, before.hard_for) {
        (0, FOREVER) => FOREVER,
        (0, _) => before.hard_end().since(issued_at),
        (seconds, _) => seconds,
    };
    let held = Held {
        issued_at,
        access_for: issued.access_for,
        refresh_for,
        hard_for,
        serial: call.number,
        candidates: 0,
    };
    // An access token that cannot be used, as where the body broke off behind the refresh token: ask again, but not at once.
    let not_before = if issued.access_for == 0 { issued_at.plus(PACE) } else { Time::UNSET };
    let grant = rest(held, Doubt { not_before, ..Doubt::default() });
    Move::grant(phase, grant).tell(Tell::Refreshed(issued.refresh)).bytes(Bytes::TakeTokens)
}

/// REF-4: `invalid_grant` is evidence. The candidates come first, then time; the end is confirmed, never guessed.
fn refresh_refused(policy: &Policy, phase: Phase, now: Time, held: Held, doubt: Doubt, untried: u8) -> Move {
    // DUR-6: the end by age came while it was in flight, and that explains it.
    if let Some(reason) = held.ended(now) {
        return close(phase, held, doubt, reason);
    }
    if untried > 0 && doubt.may_send(policy, now) {
        let moved = send_refresh(phase, now, held, doubt, untried.saturating_sub(1));
        return moved.tell(Tell::NextCandidate).bytes(Bytes::NextCandidate);
    }
    let refusals = doubt.refusals.saturating_add(1);
    let enough = if matches!(doubt.hint, Hint::None) { policy.refusals } else { policy.refusals.min(2) };
    let doubt = Doubt { refusals, tries: 0, ..doubt };
    if refusals >= enough || !doubt.may_send(policy, now) {
        return close(phase, held, doubt, doubt.reason());
    }
    let wait = now.plus(backoff(PROBE_FIRST, 2, refusals.saturating_sub(1), PROBE_MOST));
    let retry_at = in_time(policy, now, &held, &doubt, wait);
    Move::grant(phase, rest(held, Doubt { not_before: retry_at, ..doubt })).tell(Tell::Suspect { retry_at })
}

/// Tokens of a call that nobody waits for any more (I5): they never move the session back, and are never dropped.
fn late_tokens(policy: &Policy, phase: Phase, now: Time, call: Call, issued: Issued) -> Moved {
    match phase.grant {
        // The value that is held already: nothing in it is new.
        _ if matches!(issued.refresh, Rotation::Same) => Err(Refused::Late),
        // Nothing has come since that call was sent with the current token, so what it brings is newer (STA-1).
        Grant::Uncertain { held, .. } | Grant::Suspect { held, .. } if call.number > held.serial => {
            Ok(refreshed(policy, phase, now, call, held, unproven(issued)))
        }
        Grant::Closed { reason, held, .. } if call.number > held.serial && !reason.is_by_the_app() => {
            Ok(refreshed(policy, phase, now, call, held, unproven(issued)))
        }
        _ => candidate(policy, phase, now, now, call, issued),
    }
}

/// A refresh token of which it is not known whether it is newer than the current one (STA-3).
fn candidate(policy: &Policy, phase: Phase, now: Time, issued_at: Time, call: Call, issued: Issued) -> Moved {
    let longer = |held: Held| {
        let refresh_for = if issued.refresh_for == 0 { policy.refresh_for } else { issued.refresh_for };
        let end = held.rolling_end().max(issued_at.min(now).plus(refresh_for));
        Held { refresh_for: end.since(held.issued_at), candidates: held.candidates.saturating_add(1), ..held }
    };
    let full = |held: &Held| held.candidates >= CANDIDATES;
    let kept =
        |grant: Grant, bytes: Bytes| Ok(Move::grant(phase, grant).tell(Tell::CandidateKept).bytes(bytes));
    match phase.grant {
        _ if matches!(issued.refresh, Rotation::Same) => Err(Refused::Late),
        // What is held may not be sent again (STA-4), or is known to be dead: this one takes its place, whole.
        Grant::Suspect { held, doubt } if !doubt.may_send(policy, now) => {
            Ok(refreshed(policy, phase, issued_at.min(now), call, held, unproven(issued)))
        }
        Grant::Closed {
            reason: Reason::AnswerLost | Reason::Disconnected | Reason::Poisoned, held, ..
        } => Ok(refreshed(policy, phase, issued_at.min(now), call, held, unproven(issued))),
        Grant::Linked { held, .. }
        | Grant::Refreshing { held, .. }
        | Grant::Uncertain { held, .. }
        | Grant::Suspect { held, .. }
        | Grant::Closed { held, .. }
            if full(&held) =>
        {
            Err(Refused::CandidatesFull)
        }
        Grant::Linked { held, doubt } | Grant::Uncertain { held, doubt } => {
            kept(rest(longer(held), doubt), Bytes::TakeCandidate)
        }
        Grant::Refreshing { held, doubt, call, sent_at, untried } => {
            let untried = untried.saturating_add(1);
            kept(
                Grant::Refreshing { held: longer(held), doubt, call, sent_at, untried },
                Bytes::TakeCandidate,
            )
        }
        // The current one was refused: this one is tried first, and at once.
        Grant::Suspect { held, doubt } => {
            kept(rest(longer(held), Doubt { not_before: Time::UNSET, ..doubt }), Bytes::TakeFront)
        }
        Grant::Closed { reason, held, doubt } if !reason.is_by_the_app() => {
            // Refused before, it is suspect. Ended otherwise, nothing speaks against the one that came.
            let doubt = Doubt { refusals: doubt.refusals.min(1), ..Doubt::default() };
            kept(rest(longer(held), doubt), Bytes::TakeFront)
        }
        Grant::Unlinked => Err(Refused::NotLinked),
        Grant::Revoking { .. } | Grant::Unrevoked { .. } => Err(Refused::BeingRevoked),
        Grant::Closed { reason, .. } => Err(Refused::Ended(reason)),
    }
}

// -------------------------------------------------------------------------------------------- signs from outside

/// DUR-2, REV-2: the token is not handed out again, and a refresh follows.
fn unauthorized(policy: &Policy, phase: Phase, now: Time, serial: u32) -> Moved {
    let reject = |held: Held, doubt: Doubt| {
        // Rejected while it should have been good: a sign, though no proof, of a disconnect.
        let early = held.access_left(now) > 0 && matches!(doubt.hint, Hint::None);
        let hint = if early { Hint::Rejected } else { doubt.hint };
        let not_before = doubt.not_before.max(held.issued_at.plus(PACE).min(now.plus(PACE)));
        (Held { access_for: 0, ..held }, Doubt { hint, not_before, ..doubt })
    };
    match phase.grant {
        Grant::Linked { held, .. }
        | Grant::Refreshing { held, .. }
        | Grant::Uncertain { held, .. }
        | Grant::Suspect { held, .. }
            if held.serial != serial || held.access_for == 0 =>
        {
            Err(Refused::OtherToken)
        }
        Grant::Linked { held, doubt } | Grant::Uncertain { held, doubt } | Grant::Suspect { held, doubt } => {
            let (held, doubt) = reject(held, doubt);
            let marked = Phase { grant: rest(held, doubt), ..phase };
            // Refused means not now: it stays due.
            let moved = refresh(policy, marked, now).unwrap_or_else(|_| Move::to(marked));
            // The bytes can do one thing at a time. What is not wiped now is not handed out, and goes with the next answer.
            Ok(if moved.bytes == Bytes::Keep { moved.bytes(Bytes::DropAccess) } else { moved })
        }
        Grant::Refreshing { held, doubt, call, sent_at, untried } => {
            let (held, doubt) = reject(held, doubt);
            let grant = Grant::Refreshing { held, doubt, call, sent_at, untried };
            Ok(Move::grant(phase, grant).bytes(Bytes::DropAccess))
        }
        Grant::Unlinked => Err(Refused::NotLinked),
        Grant::Revoking { .. } | Grant::Unrevoked { .. } => Err(Refused::BeingRevoked),
        Grant::Closed { reason, .. } => Err(Refused::Ended(reason)),
    }
}

/// REV-2: anyone can call the disconnect address, so it only makes a refresh due, which will tell.
fn disconnected(policy: &Policy, phase: Phase, now: Time) -> Moved {
    match phase.grant {
        Grant::Linked { held, doubt } | Grant::Uncertain { held, doubt } | Grant::Suspect { held, doubt } => {
            let not_before = doubt.not_before.max(held.issued_at.plus(PACE).min(now.plus(PACE)));
            let doubt = Doubt { hint: Hint::Disconnected, not_before, ..doubt };
            let marked = Phase { grant: rest(held, doubt), ..phase };
            // Refused means not now: it stays due.
            Ok(refresh(policy, marked, now).unwrap_or_else(|_| Move::to(marked)))
        }
        Grant::Refreshing { held, doubt, call, sent_at, untried } => {
            let doubt = Doubt { hint: Hint::Disconnected, ..doubt };
            Ok(Move::grant(phase, Grant::Refreshing { held, doubt, call, sent_at, untried }))
        }
        Grant::Unlinked => Err(Refused::NotLinked),
        Grant::Revoking { .. } | Grant::Unrevoked { .. } => Err(Refused::BeingRevoked),
        Grant::Closed { reason, .. } => Err(Refused::Ended(reason)),
    }
}

// ------------------------------------------------------------------------------------------------------- revoke

/// REV-1: from here on nothing is handed out, whatever the answer.
fn revoke(policy: &Policy, phase: Phase, now: Time) -> Moved {
    if phase.busy_until(policy).is_some() {
        return Err(busy(policy, &phase, now));
    }
    // A consent that is under way goes with it.
    let phase = Phase { consent: Consent::None, ..phase };
    match phase.grant {
        Grant::Linked { held, .. } | Grant::Uncertain { held, .. } | Grant::Suspect { held, .. } => {
            if held.ended(now).is_some() {
                return Ok(revoked(phase, held, Reason::Revoked));
            }
            Ok(send_revoke(phase, now, 0).bytes(Bytes::KeepRefresh))
        }
        // Believed dead, but alive perhaps: the authority is told all the same.
        Grant::Closed { reason: Reason::Refused | Reason::AnswerLost, .. } => {
            Ok(send_revoke(phase, now, 0).bytes(Bytes::KeepRefresh))
        }
        Grant::Closed {
            reason: Reason::Expired | Reason::HardEnd | Reason::Disconnected | Reason::Poisoned,
            held,
            ..
        } => Ok(revoked(phase, held, Reason::Revoked)),
        Grant::Unlinked => Err(Refused::NotLinked),
        Grant::Refreshing { .. } | Grant::Revoking { .. } | Grant::Unrevoked { .. } => {
            Err(Refused::BeingRevoked)
        }
        Grant::Closed { reason, .. } => Err(Refused::Ended(reason)),
    }
}

fn send_revoke(phase: Phase, now: Time, tries: u8) -> Move {
    let call = phase.next_call(Purpose::Revoke);
    Move::grant(phase, Grant::Revoking { call: call.number, sent_at: now, tries }).send(call)
}

/// REF-6: a revoked token is never sent again, so nothing of it is kept.
fn revoked(phase: Phase, held: Held, reason: Reason) -> Move {
    let held = Held { access_for: 0, candidates: 0, ..held };
    let grant = Grant::Closed { reason, held, doubt: Doubt::default() };
    Move::grant(phase, grant).tell(Tell::Closed(reason)).bytes(Bytes::Forget)
}

fn revoke_answer(policy: &Policy, phase: Phase, now: Time, call: Call, outcome: Outcome) -> Moved {
    match phase.grant {
        Grant::Revoking { call: number, tries, .. } if number == call.number => match outcome {
            // A verdict of any kind: the authority knows no such grant any more.
            Outcome::Revoked | Outcome::Refused(Refusal::InvalidGrant) | Outcome::Tokens(_) => {
                Ok(revoked(phase, NOTHING, Reason::Revoked))
            }
            Outcome::NotSent | Outcome::NoAnswer | Outcome::Refused(Refusal::AppAtFault) => {
                Ok(revoke_again_later(policy, phase, now, tries, 0))
            }
            Outcome::NoVerdict { retry_after } => {
                Ok(revoke_again_later(policy, phase, now, tries, retry_after))
            }
        },
        // The answer to a try that was given up: it counts as well.
        Grant::Unrevoked { .. } if matches!(outcome, Outcome::Revoked) => {
            Ok(revoked(phase, NOTHING, Reason::Revoked))
        }
        _ => Err(Refused::Late),
    }
}

/// After a revocation nothing is held.
const NOTHING: Held =
    Held { issued_at: Time::UNSET, access_for: 0, refresh_for: 0, hard_for: 0, serial: 0, candidates: 0 };

fn revoke_again_later(policy: &Policy, phase: Phase, now: Time, tries: u8, retry_after: u32) -> Move {
    let tries = tries.saturating_add(1);
    if tries >= policy.revoke_tries {
        return revoked(phase, NOTHING, Reason::RevokeUnanswered);
    }
    let retry_at = now.plus(pause(retry_after, tries));
    Move::grant(phase, Grant::Unrevoked { retry_at, tries }).tell(Tell::RevokeUnanswered { retry_at })
}

fn answer(policy: &Policy, phase: Phase, now: Time, call: Call, outcome: Outcome) -> Moved {
    let outcome = match (outcome, call.purpose) {
        // Without a clock no grant is declared dead and no candidate sent: the question is asked again once there is one.
        (Outcome::Refused(Refusal::InvalidGrant), Purpose::Refresh) if !now.is_set() => {
            Outcome::NoVerdict { retry_after: 0 }
        }
        (outcome, _) => outcome,
    };
    // What arrives is taken in even if the clock has meanwhile been lost (I5): by the latest time that is known.
    let now = if now.is_set() { now } else { phase.latest() };
    if !now.is_set() {
        return Err(Refused::ClockUnset);
    }
    match call.purpose {
        Purpose::Exchange => exchange_answer(policy, phase, now, call, outcome),
        Purpose::Refresh => refresh_answer(policy, phase, now, call, outcome),
        Purpose::Revoke => revoke_answer(policy, phase, now, call, outcome),
    }
}
