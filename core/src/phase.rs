//! The kernel: every transition of a grant's life, and nothing else decides.
//!
//! [`step`] is pure: (policy, phase, now, event) → (phase, effects, what becomes of the bytes), or a refusal that changes
//! nothing. No clock, no random numbers, no bytes: what is here can be explored whole by a model checker. Inside, one
//! `Move` is worked on in place, and thrown away whole where the event is refused.
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
/// Refresh tokens that a session can hold.
const TOKENS: usize = 1 + CANDIDATES as usize;

/// An access token that was rejected this soon after its issue is not replaced sooner (seconds): no busy loop (I8).
const PACE: u32 = 60;
const BACKOFF_MOST: u32 = 900;
const FAULT_FIRST: u32 = 60;
const FAULT_MOST: u32 = 3_600;
const PROBE_FIRST: u32 = 60;
const PROBE_MOST: u32 = 43_200;
const RETRY_AFTER_MOST: u32 = 86_400;
/// The share of the time in which a stale token may be sent, after which tokens that overtook a lost request are renewed.
const OVERTAKEN_SHARE: u32 = 4;
/// So many seconds ahead of a token's end it is tried a last time.
const LAST_LOOK: u32 = 300;

/// Where a grant stands: the consent under way, the grant itself, and the counters that tell calls and records apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Phase {
    /// The consent under way.
    pub consent: Consent,
    /// The grant in place.
    pub grant: Grant,
    /// What is known of its tokens; [`Held::NOTHING`] where there are none, or none that will ever be sent again.
    pub held: Held,
    /// What went wrong since its last good answer.
    pub doubt: Doubt,
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

/// The grant in place. What is known of its tokens stands beside it, in [`Phase::held`] and [`Phase::doubt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    /// No consent has brought tokens yet.
    Unlinked,
    /// Tokens are held, and nothing speaks against them.
    Linked,
    /// A refresh is in flight.
    Refreshing {
        /// The number of the call.
        call: u32,
        /// When it was sent.
        sent_at: Time,
        /// Candidates that this round has not sent yet.
        untried: u8,
    },
    /// A refresh was sent and not answered: the token may be stale at the authority (STA-4).
    Uncertain,
    /// A refresh was answered `invalid_grant`, which alone proves nothing (REF-4).
    Suspect,
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
    /// The end; the only way on is a new consent (REV-3). What had gone wrong before stays known: a grant that lives again
    /// has not forgotten it.
    Closed {
        /// Why.
        reason: Reason,
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
    /// When each token was first sent with no answer, the current one and then the candidates in their order; unset where
    /// no answer is missing. Each has a time of its own in which it may be sent again (STA-4).
    pub lost: [Time; TOKENS],
    /// Rounds that ended in `invalid_grant`.
    pub refusals: u8,
    /// Tries in a row without a verdict.
    pub tries: u8,
    /// Something beside the token endpoint that speaks against the grant.
    pub hint: Hint,
    /// The tokens held came after an answer was lost. If that request was only held up, the authority may yet carry it out,
    /// and what is held would be stale for it with nobody the wiser (STA-4): so they are renewed well in time.
    pub overtaken: bool,
    /// No request before this.
    pub not_before: Time,
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
    pub(crate) const fn is_by_the_app(self) -> bool {
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
        /// When their refresh token was first sent with no answer; unset where no answer is missing.
        lost_since: Time,
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
    /// Make the next candidate the current refresh token, and the current one the last candidate: so many times.
    NextCandidate {
        /// How many times.
        steps: u8,
    },
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
        held: Held::NOTHING,
        doubt: Doubt::NONE,
        calls: 0,
        generation: 0,
        consumed: Time::UNSET,
        revision: 0,
        unsaved: false,
    };

    /// This phase, read back from a store: what was in flight counts as sent and unanswered (STA-4, EXC-3).
    #[must_use]
    pub const fn restored(mut self) -> Self {
        match self.consent {
            // The code itself is never stored, so an exchange that had not left cannot leave any more either.
            Consent::Unsent { .. } => self.consent = Consent::Over { call: self.calls, refused: false },
            Consent::Exchanging { call, .. } => self.consent = Consent::Over { call, refused: false },
            Consent::None | Consent::Pending { .. } | Consent::Over { .. } => {}
        }
        match self.grant {
            Grant::Refreshing { sent_at, .. } => {
                self.doubt = Doubt { not_before: Time::UNSET, ..self.doubt.lost_at(sent_at) };
                self.rest();
            }
            Grant::Revoking { tries, .. } => {
                self.grant = Grant::Unrevoked { retry_at: Time::UNSET, tries: tries.saturating_add(1) };
            }
            Grant::Unlinked
            | Grant::Linked
            | Grant::Uncertain
            | Grant::Suspect
            | Grant::Unrevoked { .. }
            | Grant::Closed { .. } => {}
        }
        self.unsaved = false;
        self
    }

    /// This phase, as the successor of another session's of the same realm: its record counts as the newer one.
    pub(crate) fn follow(&mut self, other: &Self) {
        self.generation = self.generation.max(other.generation.saturating_add(1));
        self.supersede(other);
    }

    /// This phase in the place of an older one of the same grant.
    pub(crate) fn supersede(&mut self, other: &Self) {
        self.revision = self.revision.max(other.revision).saturating_add(1);
        self.consumed = self.consumed.max(other.consumed);
        self.unsaved = true;
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
            Consent::Exchanging { .. } => Some(free_at),
            Consent::None | Consent::Over { .. } => None,
        };
        let grant = match self.grant {
            Grant::Linked | Grant::Uncertain | Grant::Suspect => {
                Some(self.refresh_due(policy).max(free_at).min(self.held.end()))
            }
            Grant::Refreshing { .. } | Grant::Revoking { .. } => Some(free_at),
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
    pub const fn usable(&self) -> Option<&Held> {
        match self.grant {
            Grant::Linked | Grant::Refreshing { .. } | Grant::Uncertain | Grant::Suspect => Some(&self.held),
            Grant::Unlinked | Grant::Revoking { .. } | Grant::Unrevoked { .. } | Grant::Closed { .. } => None,
        }
    }

    /// Until when the call in flight is waited for.
    const fn busy_until(&self, policy: &Policy) -> Option<Time> {
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
        let consent =
            if let Consent::Exchanging { sent_at, .. } = self.consent { sent_at } else { Time::UNSET };
        let grant = match self.grant {
            Grant::Refreshing { sent_at, .. } | Grant::Revoking { sent_at, .. } => sent_at,
            Grant::Unlinked
            | Grant::Linked
            | Grant::Uncertain
            | Grant::Suspect
            | Grant::Unrevoked { .. }
            | Grant::Closed { .. } => self.held.issued_at,
        };
        consent.max(grant)
    }

    /// When the next refresh is due with nobody asking: at once (but not before it may be) where something is open, else
    /// ahead of the end.
    fn refresh_due(&self, policy: &Policy) -> Time {
        let renew_at = self.held.renew_at(policy);
        if !self.is_at_peace() {
            self.doubt.not_before
        } else if self.doubt.overtaken {
            renew_at.min(self.held.issued_at.plus(policy.replay_for / OVERTAKEN_SHARE))
        } else {
            renew_at
        }
    }

    /// The grant at rest, by what speaks against it.
    const fn rest(&mut self) {
        self.grant = if self.doubt.refusals > 0 {
            Grant::Suspect
        } else if self.doubt.lost_since().is_unset() {
            Grant::Linked
        } else {
            Grant::Uncertain
        };
    }

    /// The app itself put an end to it, or is about to (REV-1).
    pub(crate) const fn is_given_up(&self) -> bool {
        match self.grant {
            Grant::Revoking { .. } | Grant::Unrevoked { .. } => true,
            Grant::Closed { reason } => reason.is_by_the_app(),
            Grant::Unlinked
            | Grant::Linked
            | Grant::Refreshing { .. }
            | Grant::Uncertain
            | Grant::Suspect => false,
        }
    }

    /// Nothing is open: both tokens are good for all that is known.
    const fn is_at_peace(&self) -> bool {
        self.doubt.is_clear() && self.held.access_for > 0
    }
}

impl Held {
    /// No tokens: before the first consent, and from a revocation on.
    pub const NOTHING: Self =
        Self { issued_at: Time::UNSET, access_for: 0, refresh_for: 0, hard_for: 0, serial: 0, candidates: 0 };

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
        if self.hard_for == FOREVER { Time::END } else { self.issued_at.plus(self.hard_for) }
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
    /// Nothing went wrong.
    pub const NONE: Self = Self {
        lost: [Time::UNSET; TOKENS],
        refusals: 0,
        tries: 0,
        hint: Hint::None,
        overtaken: false,
        not_before: Time::UNSET,
    };

    /// When the current token was first sent with no answer; unset where no answer is missing.
    #[must_use]
    pub const fn lost_since(&self) -> Time {
        let [lost, ..] = self.lost;
        lost
    }

    /// With an answer lost to a request of that time. The first one counts: the token may be stale since then (STA-4).
    const fn lost_at(mut self, sent_at: Time) -> Self {
        let [lost, ..] = &mut self.lost;
        if lost.is_unset() {
            *lost = sent_at;
        }
        self
    }

    /// Whether the same token may be sent (again): always, unless an answer was lost too long ago (STA-4, I2).
    const fn may_send(&self, policy: &Policy, now: Time) -> bool {
        let lost = self.lost_since();
        lost.is_unset() || now.since(lost) < policy.replay_for
    }

    /// With the next candidate in front, and the current one behind the last.
    const fn turned(mut self, candidates: u8) -> Self {
        let [current, first, second] = self.lost;
        self.lost = match candidates {
            0 => self.lost,
            1 => [first, current, second],
            _ => [first, second, current],
        };
        self
    }

    /// With one more token in front of those, of which nothing was lost yet.
    const fn behind_a_new_one(mut self, candidates: u8) -> Self {
        let [current, first, _] = self.lost;
        self.lost =
            if candidates == 0 { [Time::UNSET, current, Time::UNSET] } else { [Time::UNSET, first, current] };
        self
    }

    /// How often to turn until a token is in front that may be sent, and the doubt then; `None` where there is none.
    fn turned_to_sendable(self, policy: &Policy, now: Time, candidates: u8) -> Option<(u8, Self)> {
        let mut turned = self;
        for steps in 0..=candidates {
            if turned.may_send(policy, now) {
                return Some((steps, turned));
            }
            turned = turned.turned(candidates);
        }
        None
    }

    const fn is_clear(&self) -> bool {
        self.lost_since().is_unset() && matches!(self, Self { refusals: 0, tries: 0, hint: Hint::None, .. })
    }

    /// What the end is called where nothing but `invalid_grant` is left.
    const fn reason(&self) -> Reason {
        match self.hint {
            Hint::Poisoned => Reason::Poisoned,
            Hint::Disconnected | Hint::Rejected => Reason::Disconnected,
            Hint::None if self.lost_since().is_unset() => Reason::Refused,
            Hint::None => Reason::AnswerLost,
        }
    }
}

/// Whether a deadline is reached, of a kind that is never set further ahead than `most` seconds. One that is further
/// ahead was set by a clock that was wrong and has been put right since: it counts as reached, or it would block for
/// years.
fn reached(now: Time, deadline: Time, most: u32) -> bool {
    now >= deadline || deadline.since(now) > most
}

/// `first`, doubled with each further try (`growth` 1) or quadrupled (2), and never above `most`.
const fn backoff(first: u32, growth: u32, tries: u8, most: u32) -> u32 {
    let shift = (tries as u32).saturating_mul(growth);
    let seconds = if shift < 24 { first.saturating_mul(1 << shift) } else { most };
    if seconds > most { most } else { seconds }
}

/// How long to wait after an answer without a verdict: as asked, or longer each time.
fn pause(retry_after: u32, tries: u8) -> u32 {
    let own = backoff(2, 1, tries, BACKOFF_MOST);
    if retry_after == 0 { own } else { retry_after.clamp(own.min(PACE), RETRY_AFTER_MOST) }
}

/// Tokens whose age is not known: the access token is not handed out before a refresh has proved the pair.
const fn unproven(issued: Issued) -> Issued {
    Issued { access_for: 0, ..issued }
}

/// Takes one step.
///
/// # Errors
/// The event does not fit the phase, or may not be acted on yet. Nothing has changed then (I7).
pub fn step(policy: &Policy, phase: &Phase, now: Time, event: Event) -> Result<Step, Refused> {
    if let Event::Saved { revision } = event {
        let unsaved = phase.unsaved && revision != phase.revision;
        let phase = Phase { unsaved, ..*phase };
        return Ok(Step { phase, effects: Effects::default(), bytes: Bytes::Keep });
    }
    let mut step = Move { policy, now, phase: *phase, send: None, tell: None, bytes: Bytes::Keep };
    step.take(event)?;
    Ok(step.sealed(phase))
}

/// A step under way: the phase as it is becoming, and what goes with it. A refusal leaves the caller's phase alone (I7),
/// for this one is thrown away; where a refusal is overlooked here, what refused has changed nothing before.
struct Move<'p> {
    policy: &'p Policy,
    now: Time,
    phase: Phase,
    send: Option<Call>,
    tell: Option<Tell>,
    bytes: Bytes,
}

type Moved = Result<(), Refused>;

impl Move<'_> {
    fn take(&mut self, event: Event) -> Moved {
        if let Event::Answer { call, outcome } = event {
            return self.answer(call, outcome);
        }
        if !self.now.is_set() {
            return Err(Refused::ClockUnset);
        }
        match event {
            Event::Tick => self.tick(),
            Event::Demand => return self.demand(),
            Event::Refresh => return self.refresh(),
            Event::Ask => return self.ask(),
            Event::Callback(proof) => return self.callback(proof),
            Event::Declined(proof) => return self.declined(proof),
            Event::Unauthorized { serial } => return self.unauthorized(serial),
            Event::Disconnected => return self.disconnected(),
            Event::Candidate { issued_at, lost_since, issued } => {
                return self.brought(issued_at, lost_since, issued);
            }
            Event::Revoke => return self.revoke(),
            Event::Answer { .. } | Event::Saved { .. } => {}
        }
        Ok(())
    }

    /// A changed phase is stored before anything follows from it (I1, I3, REF-1); so is one that a store has failed to
    /// take before.
    fn sealed(mut self, before: &Phase) -> Step {
        if self.phase != *before {
            self.phase.revision = before.revision.saturating_add(1);
            self.phase.unsaved = true;
        }
        let store = if self.phase.unsaved { Some(self.phase.revision) } else { None };
        let effects = Effects { store, send: self.send, tell: self.tell };
        Step { phase: self.phase, effects, bytes: self.bytes }
    }

    const fn tell(&mut self, tell: Tell) {
        self.tell = Some(tell);
    }

    const fn is_free(&self) -> bool {
        self.phase.busy_until(self.policy).is_none()
    }

    fn busy(&self) -> Refused {
        Refused::Busy { until: self.phase.busy_until(self.policy).unwrap_or(self.now) }
    }

    /// The number of a new call.
    const fn send(&mut self, purpose: Purpose) -> u32 {
        let number = self.phase.calls.saturating_add(1);
        self.phase.calls = number;
        self.send = Some(Call { number, generation: self.phase.generation, purpose });
        number
    }

    /// Whether a call is given up. A clock that was put back by up to an hour only makes that later.
    fn timed_out(&self, sent_at: Time) -> bool {
        let most = self.policy.call_for;
        reached(self.now, sent_at.plus(most), most.saturating_add(3_600))
    }

    /// Why nothing can be done with a grant that holds no tokens for use.
    const fn without_a_grant(&self) -> Refused {
        match self.phase.grant {
            Grant::Unlinked => Refused::NotLinked,
            Grant::Closed { reason } => Refused::Ended(reason),
            Grant::Linked
            | Grant::Refreshing { .. }
            | Grant::Uncertain
            | Grant::Suspect
            | Grant::Revoking { .. }
            | Grant::Unrevoked { .. } => Refused::BeingRevoked,
        }
    }

    // ------------------------------------------------------------------------------------------------ deadlines

    fn tick(&mut self) {
        match self.phase.consent {
            Consent::Pending { until } if reached(self.now, until, self.policy.consent_for) => {
                self.phase.consent = Consent::None;
                self.tell(Tell::ConsentExpired);
            }
            Consent::Unsent { until, .. } if reached(self.now, until, self.policy.code_for) => {
                self.exchange_lost(self.phase.calls);
            }
            Consent::Unsent { until, retry_at, tries }
                if reached(self.now, retry_at, BACKOFF_MOST) && self.is_free() =>
            {
                self.exchange(until, tries);
            }
            Consent::Exchanging { call, sent_at, .. } if self.timed_out(sent_at) => self.exchange_lost(call),
            Consent::None
            | Consent::Pending { .. }
            | Consent::Unsent { .. }
            | Consent::Exchanging { .. }
            | Consent::Over { .. } => self.tick_grant(),
        }
    }

    fn tick_grant(&mut self) {
        match self.phase.grant {
            Grant::Linked | Grant::Uncertain | Grant::Suspect => {
                if let Some(reason) = self.phase.held.ended(self.now) {
                    self.close(reason);
                } else if self.is_due() && self.is_free() {
                    self.begin_refresh();
                }
            }
            Grant::Refreshing { sent_at, .. } if self.timed_out(sent_at) => self.refresh_lost(sent_at),
            Grant::Revoking { sent_at, tries, .. } if self.timed_out(sent_at) => {
                self.revoke_again_later(tries, 0);
            }
            Grant::Unrevoked { retry_at, tries }
                if reached(self.now, retry_at, RETRY_AFTER_MOST) && self.is_free() =>
            {
                self.send_revoke(tries);
            }
            // The clock was ahead and has been put right: what died by it alone lives again.
            Grant::Closed { reason } if self.revives(reason) => {
                self.phase.rest();
                self.tell(Tell::Revived);
            }
            Grant::Unlinked
            | Grant::Refreshing { .. }
            | Grant::Revoking { .. }
            | Grant::Unrevoked { .. }
            | Grant::Closed { .. } => {}
        }
    }

    fn is_due(&self) -> bool {
        let due = self.phase.refresh_due(self.policy);
        if self.phase.is_at_peace() { self.now >= due } else { reached(self.now, due, RETRY_AFTER_MOST) }
    }

    /// At rest after one more try without a verdict, with the next one due then.
    const fn rest_until(&mut self, retry_at: Time) {
        self.phase.doubt.tries = self.phase.doubt.tries.saturating_add(1);
        self.phase.doubt.not_before = retry_at;
        self.phase.rest();
    }

    /// Whether what the clock alone has ended lives again, the clock having been put right.
    fn revives(&self, reason: Reason) -> bool {
        let Phase { held, doubt, .. } = &self.phase;
        held.ended(self.now).is_none()
            && match reason {
                Reason::Expired | Reason::HardEnd => true,
                // Unless it was refused often enough besides.
                Reason::AnswerLost => self.sendable().is_some() && doubt.refusals < self.policy.refusals,
                Reason::Refused
                | Reason::Disconnected
                | Reason::Poisoned
                | Reason::Revoked
                | Reason::RevokeUnanswered => false,
            }
    }

    /// How often to turn the tokens held until one is in front that may be sent, and the doubt then.
    fn sendable(&self) -> Option<(u8, Doubt)> {
        let Phase { held, doubt, .. } = &self.phase;
        doubt.turned_to_sendable(self.policy, self.now, held.candidates)
    }

    /// The end (I4): the access token goes with it (USE-3); the refresh token's bytes stay until a new consent or the
    /// user.
    const fn close(&mut self, reason: Reason) {
        self.phase.held.access_for = 0;
        self.phase.grant = Grant::Closed { reason };
        self.tell(Tell::Closed(reason));
        self.bytes = Bytes::DropAccess;
    }

    // -------------------------------------------------------------------------------------------------- consent

    fn ask(&mut self) -> Moved {
        if let Consent::Exchanging { .. } | Consent::Unsent { .. } = self.phase.consent {
            return Err(self.busy());
        }
        match self.phase.grant {
            Grant::Revoking { .. } | Grant::Unrevoked { .. } => Err(Refused::BeingRevoked),
            // A second request supersedes the first, whose callback then fits nothing any more (CSR-1).
            // The grant in place goes on working (SCO-4); after its end this is the only way on (REV-3).
            Grant::Unlinked
            | Grant::Linked
            | Grant::Refreshing { .. }
            | Grant::Uncertain
            | Grant::Suspect
            | Grant::Closed { .. } => {
                self.phase.consent = Consent::Pending { until: self.now.plus(self.policy.consent_for) };
                Ok(())
            }
        }
    }

    /// Refuses a callback that is unfit whatever it brings: no consent that it belongs to, or one that is over or used
    /// (CSR-2). A signed `state` is used up with it, and every older one.
    fn consume(&mut self, proof: Proof) -> Moved {
        let made_at = match (self.phase.consent, proof) {
            (Consent::Exchanging { .. } | Consent::Unsent { .. }, _) => return Err(Refused::CodeSpent),
            (Consent::Pending { until }, Proof::Stored) if self.now < until => return Ok(()),
            (Consent::Pending { .. }, Proof::Stored) => return Err(Refused::ConsentExpired),
            (Consent::Over { .. }, Proof::Stored) => return Err(Refused::CodeSpent),
            (Consent::None, Proof::Stored) => return Err(Refused::NoConsent),
            // Nothing is stored for a signed state, so its time is what is used up.
            (Consent::None | Consent::Pending { .. } | Consent::Over { .. }, Proof::Signed { made_at }) => {
                made_at
            }
        };
        // A time that is still ahead was used up under a clock that was wrong: its state would be refused anyway.
        let future = self.now.plus(self.policy.call_for);
        if made_at <= self.phase.consumed && self.phase.consumed <= future {
            Err(Refused::CodeSpent)
        } else if made_at > future || self.now.since(made_at) >= self.policy.consent_for {
            Err(Refused::ConsentExpired)
        } else {
            self.phase.consumed = made_at;
            Ok(())
        }
    }

    fn callback(&mut self, proof: Proof) -> Moved {
        self.consume(proof)?;
        match self.phase.grant {
            Grant::Refreshing { .. } => Err(self.busy()),
            Grant::Revoking { .. } | Grant::Unrevoked { .. } => Err(Refused::BeingRevoked),
            Grant::Unlinked | Grant::Linked | Grant::Uncertain | Grant::Suspect | Grant::Closed { .. } => {
                self.exchange(self.now.plus(self.policy.code_for), 0);
                self.bytes = Bytes::TakeCode;
                Ok(())
            }
        }
    }

    /// SCO-4: the grant in place is not touched.
    fn declined(&mut self, proof: Proof) -> Moved {
        self.consume(proof)?;
        self.phase.consent = Consent::None;
        self.tell(Tell::Declined);
        Ok(())
    }

    // ------------------------------------------------------------------------------------------------- exchange

    /// EXC-1: the code counts as spent with this phase, which is stored before the request leaves (I1).
    const fn exchange(&mut self, until: Time, tries: u8) {
        let call = self.send(Purpose::Exchange);
        self.phase.consent = Consent::Exchanging { call, sent_at: self.now, until, tries };
    }

    /// EXC-3: never again.
    const fn exchange_lost(&mut self, call: u32) {
        self.exchange_over(call, false, Tell::ExchangeLost);
    }

    const fn exchange_over(&mut self, call: u32, refused: bool, tell: Tell) {
        self.phase.consent = Consent::Over { call, refused };
        self.tell(tell);
        self.bytes = Bytes::DropCode;
    }

    fn exchange_answer(&mut self, call: Call, outcome: Outcome) -> Moved {
        match (self.phase.consent, outcome) {
            (Consent::Exchanging { call: number, sent_at, until, tries }, _) if number == call.number => {
                match outcome {
                    Outcome::NotSent => {
                        let retry_at = self.now.plus(backoff(1, 1, tries, BACKOFF_MOST));
                        self.phase.consent =
                            Consent::Unsent { until, retry_at, tries: tries.saturating_add(1) };
                        self.tell(Tell::NotSent { retry_at });
                    }
                    Outcome::NoAnswer | Outcome::NoVerdict { .. } | Outcome::Revoked => {
                        self.exchange_lost(number);
                    }
                    Outcome::Refused(refusal) => {
                        let refused = matches!(refusal, Refusal::InvalidGrant);
                        self.exchange_over(number, refused, Tell::ExchangeRefused(refusal));
                    }
                    Outcome::Tokens(issued) => self.link(sent_at.min(self.now), number, issued, Hint::None),
                }
                Ok(())
            }
            // The answer that was given up, after all (I5). EXC-2, EXC-5: where a second exchange was refused, these were
            // revoked in the same moment: a refresh will tell.
            (Consent::Over { call: number, refused }, Outcome::Tokens(issued)) if number == call.number => {
                let hint = if refused { Hint::Poisoned } else { Hint::None };
                self.link(self.now, number, unproven(issued), hint);
                Ok(())
            }
            (Consent::Over { call: number, .. }, _) if number == call.number => Err(Refused::Late),
            (_, Outcome::Refused(Refusal::InvalidGrant)) => self.exchange_answered_twice(call),
            _ => Err(Refused::Late),
        }
    }

    /// `invalid_grant` for the very exchange whose tokens are held: something on the way sent it twice, and the tokens are
    /// revoked (EXC-2). A refresh will tell (EXC-5); until then nothing is handed out (USE-3).
    fn exchange_answered_twice(&mut self, call: Call) -> Moved {
        if self.phase.grant != Grant::Linked || self.phase.held.serial != call.number {
            return Err(Refused::Late);
        }
        self.phase.doubt.hint = Hint::Poisoned;
        self.phase.held.access_for = 0;
        self.tell(Tell::Poisoned);
        self.bytes = Bytes::DropAccess;
        Ok(())
    }

    /// A consent brought tokens: they replace what there was, whole (SCO-4), under a new generation.
    fn link(&mut self, issued_at: Time, serial: u32, issued: Issued, hint: Hint) {
        let or = |seconds: u32, default: u32| if seconds == 0 { default } else { seconds };
        self.phase.held = Held {
            issued_at,
            access_for: issued.access_for,
            refresh_for: or(issued.refresh_for, self.policy.refresh_for),
            hard_for: or(issued.hard_for, self.policy.hard_for),
            serial,
            candidates: 0,
        };
        self.phase.doubt = Doubt { hint, ..Doubt::NONE };
        self.phase.consent = Consent::None;
        self.phase.generation = self.phase.generation.saturating_add(1);
        self.phase.rest();
        self.tell(Tell::Linked);
        self.bytes = Bytes::TakeTokens;
    }

    // -------------------------------------------------------------------------------------------------- refresh

    fn demand(&mut self) -> Moved {
        let (left, access_for) = match self.phase.usable() {
            Some(held) => (held.access_left(self.now), held.access_for),
            None => (0, 0),
        };
        if left >= self.policy.access_margin.min(access_for / 2).max(1) {
            return Ok(());
        }
        match self.refresh() {
            // A refresh that cannot be had now never withdraws an access token that still has life in it.
            Err(Refused::Busy { .. } | Refused::Wait { .. }) if left > 0 => Ok(()),
            other => other,
        }
    }

    /// DUR-7: as often as anybody likes; nothing here counts refreshes.
    fn refresh(&mut self) -> Moved {
        match self.phase.grant {
            Grant::Linked | Grant::Uncertain | Grant::Suspect => {
                let not_before = self.phase.doubt.not_before;
                if !self.is_free() {
                    return Err(self.busy());
                } else if let Some(reason) = self.phase.held.ended(self.now) {
                    self.close(reason);
                } else if !reached(self.now, not_before, RETRY_AFTER_MOST) {
                    return Err(Refused::Wait { until: not_before });
                } else {
                    self.begin_refresh();
                }
                Ok(())
            }
            Grant::Refreshing { .. } => Err(self.busy()),
            Grant::Closed { reason } if self.revives(reason) => {
                if !self.is_free() {
                    return Err(self.busy());
                }
                self.begin_refresh();
                Ok(())
            }
            Grant::Unlinked | Grant::Revoking { .. } | Grant::Unrevoked { .. } | Grant::Closed { .. } => {
                Err(self.without_a_grant())
            }
        }
    }

    /// A new round, which begins with the current refresh token (DUR-4, STA-3), or with a candidate where the current one
    /// may not be sent again (STA-4).
    fn begin_refresh(&mut self) {
        match self.sendable() {
            Some((steps, doubt)) => {
                let untried = self.phase.held.candidates.saturating_sub(steps);
                self.send_refresh(doubt, steps, untried);
            }
            None => self.close(Reason::AnswerLost),
        }
    }

    /// Sends the token that is in front after so many turns.
    const fn send_refresh(&mut self, doubt: Doubt, steps: u8, untried: u8) {
        let call = self.send(Purpose::Refresh);
        self.phase.doubt = doubt;
        self.phase.grant = Grant::Refreshing { call, sent_at: self.now, untried };
        if steps > 0 {
            self.tell(Tell::NextCandidate);
            self.bytes = Bytes::NextCandidate { steps };
        }
    }

    /// STA-4: the token may be stale now; the same one may be sent again for a while.
    fn refresh_lost(&mut self, sent_at: Time) {
        let retry_at = self.now.plus(backoff(1, 1, self.phase.doubt.tries, BACKOFF_MOST));
        self.phase.doubt = self.phase.doubt.lost_at(sent_at);
        self.rest_until(retry_at);
        self.tell(Tell::AnswerLost { retry_at });
    }

    /// A next try after `wait` seconds. One that would come after the token's own end, or after the time in which it may
    /// be sent again (STA-4), is moved to shortly before: whatever was waited for may be over by then, and there is no
    /// later.
    fn in_time(&self, wait: u32) -> Time {
        let end = self.phase.held.end();
        let lost = self.phase.doubt.lost_since();
        let replay_end = if lost.is_unset() { end } else { lost.plus(self.policy.replay_for) };
        let last_look = end.min(replay_end).minus(LAST_LOOK);
        self.now.plus(wait).min(last_look.max(self.now.plus(PACE)))
    }

    fn refresh_answer(&mut self, call: Call, outcome: Outcome) -> Moved {
        if call.generation != self.phase.generation {
            // Tokens of a grant that a new consent has replaced whole (SCO-3, SCO-4).
            return Err(Refused::Late);
        }
        match (self.phase.grant, outcome) {
            (Grant::Refreshing { call: number, sent_at, untried }, _) if number == call.number => {
                self.refresh_answered(sent_at, untried, outcome, number);
                Ok(())
            }
            (_, Outcome::Tokens(issued)) => self.late_tokens(call.number, issued),
            _ => Err(Refused::Late),
        }
    }

    fn refresh_answered(&mut self, sent_at: Time, untried: u8, outcome: Outcome, call: u32) {
        let tries = self.phase.doubt.tries;
        match outcome {
            Outcome::NotSent => {
                let retry_at = self.now.plus(backoff(1, 1, tries, BACKOFF_MOST));
                self.rest_until(retry_at);
                self.tell(Tell::NotSent { retry_at });
            }
            Outcome::NoAnswer | Outcome::Revoked => self.refresh_lost(sent_at),
            Outcome::NoVerdict { retry_after } => {
                let retry_at = self.in_time(pause(retry_after, tries));
                self.rest_until(retry_at);
                self.tell(Tell::NoVerdict { retry_at });
            }
            Outcome::Refused(Refusal::AppAtFault) => {
                let retry_at = self.in_time(backoff(FAULT_FIRST, 2, tries, FAULT_MOST));
                self.rest_until(retry_at);
                self.tell(Tell::AppAtFault { retry_at });
            }
            Outcome::Refused(Refusal::InvalidGrant) => self.refresh_refused(untried),
            Outcome::Tokens(issued) => self.refreshed(sent_at.min(self.now), call, issued),
        }
    }

    /// Tokens: every doubt is settled. With a new value the old one is stale from now on, and is wiped (STA-1, STA-3);
    /// with the same value only its lifetime changes (STA-5, DUR-5).
    fn refreshed(&mut self, issued_at: Time, serial: u32, issued: Issued) {
        let before = self.phase.held;
        // Where a stale token is refused at once, a request that was held up can do no harm.
        let lost = self.phase.doubt.lost.iter().any(|lost| !lost.is_unset());
        // A renewal that comes at once, as when another clock is behind, may itself come ahead of that request.
        let soon = issued_at.since(before.issued_at) < self.policy.replay_for / OVERTAKEN_SHARE;
        let overtaken = (lost || self.phase.doubt.overtaken && soon) && self.policy.replay_for > 0;
        let refresh_for = match (issued.refresh_for, issued.refresh) {
            (0, Rotation::New) => self.policy.refresh_for,
            // The same token, and no word of its end: it keeps the one it had.
            (0, Rotation::Same) => before.rolling_end().since(issued_at),
            (seconds, _) => seconds,
        };
        let hard_for = match (issued.hard_for, before.hard_for) {
            (0, FOREVER) => FOREVER,
            (0, _) => before.hard_end().since(issued_at),
            (seconds, _) => seconds,
        };
        let access_for = issued.access_for;
        self.phase.held = Held { issued_at, access_for, refresh_for, hard_for, serial, candidates: 0 };
        // An access token that cannot be used, as where the body broke off behind the refresh token: ask again, but not at
        // once.
        let not_before = if access_for == 0 { issued_at.plus(PACE) } else { Time::UNSET };
        self.phase.doubt = Doubt { overtaken, not_before, ..Doubt::NONE };
        self.phase.rest();
        self.tell(Tell::Refreshed(issued.refresh));
        self.bytes = Bytes::TakeTokens;
    }

    /// REF-4: `invalid_grant` is evidence. The candidates come first, then time; the end is confirmed, never guessed.
    fn refresh_refused(&mut self, untried: u8) {
        let Phase { held, doubt, .. } = self.phase;
        // DUR-6: the end by age came while it was in flight, and that explains it.
        if let Some(reason) = held.ended(self.now) {
            return self.close(reason);
        }
        if let Some(untried) = untried.checked_sub(1)
            && let turned = doubt.turned(held.candidates)
            && let Some((steps, doubt)) = turned.turned_to_sendable(self.policy, self.now, held.candidates)
            && let Some(untried) = untried.checked_sub(steps)
        {
            return self.send_refresh(doubt, steps.saturating_add(1), untried);
        }
        let refusals = doubt.refusals.saturating_add(1);
        let enough =
            if doubt.hint == Hint::None { self.policy.refusals } else { self.policy.refusals.min(2) };
        self.phase.doubt.refusals = refusals;
        self.phase.doubt.tries = 0;
        if refusals >= enough {
            return self.close(doubt.reason());
        }
        // Not confirmed, and never to be: no token held may be sent again (STA-4).
        if self.sendable().is_none() {
            return self.close(Reason::AnswerLost);
        }
        let retry_at = self.in_time(backoff(PROBE_FIRST, 2, refusals.saturating_sub(1), PROBE_MOST));
        self.phase.doubt.not_before = retry_at;
        self.phase.rest();
        self.tell(Tell::Suspect { retry_at });
    }

    /// Tokens of a call that nobody waits for any more (I5): they never move the session back, and are never dropped.
    fn late_tokens(&mut self, call: u32, issued: Issued) -> Moved {
        let newer = call > self.phase.held.serial;
        match self.phase.grant {
            // The value that is held already: nothing in it is new.
            _ if issued.refresh == Rotation::Same => Err(Refused::Late),
            // Nothing has come since that call was sent with the current token, so what it brings is newer (STA-1).
            Grant::Uncertain | Grant::Suspect if newer => self.replaced(self.now, call, issued),
            Grant::Closed { reason } if newer && !reason.is_by_the_app() => {
                self.replaced(self.now, call, issued)
            }
            _ => self.candidate(self.now, call, issued),
        }
    }

    /// Tokens of which nothing is proven yet take the place of what is held, whole.
    fn replaced(&mut self, issued_at: Time, call: u32, issued: Issued) -> Moved {
        self.refreshed(issued_at, call, unproven(issued));
        Ok(())
    }

    /// Tokens from elsewhere. What was lost of their refresh token stays known: its time runs on (STA-4, I2).
    fn brought(&mut self, issued_at: Time, lost_since: Time, issued: Issued) -> Moved {
        let behind = usize::from(self.phase.held.candidates);
        self.candidate(issued_at, self.phase.calls, issued)?;
        let place = if self.bytes == Bytes::TakeCandidate { behind.saturating_add(1) } else { 0 };
        if let Some(lost) = self.phase.doubt.lost.get_mut(place) {
            *lost = lost_since;
        }
        if !matches!(self.phase.grant, Grant::Refreshing { .. }) {
            self.phase.rest();
        }
        Ok(())
    }

    /// A refresh token of which it is not known whether it is newer than the current one (STA-3).
    fn candidate(&mut self, issued_at: Time, call: u32, issued: Issued) -> Moved {
        let issued_at = issued_at.min(self.now);
        if issued.refresh == Rotation::Same {
            return Err(Refused::Late);
        }
        match self.phase.grant {
            Grant::Unlinked | Grant::Revoking { .. } | Grant::Unrevoked { .. } => {
                return Err(self.without_a_grant());
            }
            // What is held may not be sent again (STA-4), or is known to be dead: this one takes its place, whole.
            Grant::Suspect if self.sendable().is_none() => return self.replaced(issued_at, call, issued),
            Grant::Closed { reason: Reason::AnswerLost | Reason::Disconnected | Reason::Poisoned } => {
                return self.replaced(issued_at, call, issued);
            }
            _ if self.phase.held.candidates >= CANDIDATES => return Err(Refused::CandidatesFull),
            Grant::Linked | Grant::Uncertain => self.bytes = Bytes::TakeCandidate,
            Grant::Refreshing { call, sent_at, untried } => {
                self.phase.grant = Grant::Refreshing { call, sent_at, untried: untried.saturating_add(1) };
                self.bytes = Bytes::TakeCandidate;
            }
            // The current one was refused: this one is tried first, and at once.
            Grant::Suspect => {
                self.put_in_front();
                self.phase.doubt.not_before = Time::UNSET;
            }
            Grant::Closed { reason } if !reason.is_by_the_app() => {
                // Refused before, it is suspect. Ended otherwise, nothing speaks against the one that came.
                self.put_in_front();
                let Doubt { lost, refusals, .. } = self.phase.doubt;
                self.phase.doubt = Doubt { lost, refusals: refusals.min(1), ..Doubt::NONE };
                self.phase.rest();
            }
            Grant::Closed { .. } => return Err(self.without_a_grant()),
        }
        let refresh_for = if issued.refresh_for == 0 { self.policy.refresh_for } else { issued.refresh_for };
        let held = &mut self.phase.held;
        let end = held.rolling_end().max(issued_at.plus(refresh_for));
        held.refresh_for = end.since(held.issued_at);
        held.candidates = held.candidates.saturating_add(1);
        self.tell(Tell::CandidateKept);
        Ok(())
    }

    const fn put_in_front(&mut self) {
        self.phase.doubt = self.phase.doubt.behind_a_new_one(self.phase.held.candidates);
        self.bytes = Bytes::TakeFront;
    }

    // --------------------------------------------------------------------------------------- signs from outside

    /// DUR-2, REV-2: the token is not handed out again, and a refresh follows.
    fn unauthorized(&mut self, serial: u32) -> Moved {
        let Phase { held, doubt, .. } = self.phase;
        if self.phase.usable().is_none() {
            return Err(self.without_a_grant());
        }
        if held.serial != serial || held.access_for == 0 {
            return Err(Refused::OtherToken);
        }
        // Rejected while it should have been good: a sign, though no proof, of a disconnect.
        let early = held.access_left(self.now) > 0 && doubt.hint == Hint::None;
        let hint = if early { Hint::Rejected } else { doubt.hint };
        self.phase.held.access_for = 0;
        self.refresh_on_a_sign(hint);
        // The bytes can do one thing at a time. What is not wiped now is not handed out, and goes with the next answer.
        if self.bytes == Bytes::Keep {
            self.bytes = Bytes::DropAccess;
        }
        Ok(())
    }

    /// REV-2: anyone can call the disconnect address, so it only makes a refresh due, which will tell.
    fn disconnected(&mut self) -> Moved {
        if self.phase.usable().is_none() {
            return Err(self.without_a_grant());
        }
        if let Grant::Refreshing { .. } = self.phase.grant {
            self.phase.doubt.hint = Hint::Disconnected;
        } else {
            self.refresh_on_a_sign(Hint::Disconnected);
        }
        Ok(())
    }

    /// A refresh, but not right after the last one, or signs in a row would make a busy loop (I8).
    fn refresh_on_a_sign(&mut self, hint: Hint) {
        let pace = self.phase.held.issued_at.plus(PACE).min(self.now.plus(PACE));
        let doubt = &mut self.phase.doubt;
        doubt.hint = hint;
        doubt.not_before = doubt.not_before.max(pace);
        if !matches!(self.phase.grant, Grant::Refreshing { .. }) {
            // Refused means not now: it stays due.
            let _ = self.refresh();
        }
    }

    // --------------------------------------------------------------------------------------------------- revoke

    /// REV-1: from here on nothing is handed out, whatever the answer.
    fn revoke(&mut self) -> Moved {
        if !self.is_free() {
            return Err(self.busy());
        }
        // A consent that is under way goes with it.
        self.phase.consent = Consent::None;
        match self.phase.grant {
            Grant::Linked | Grant::Uncertain | Grant::Suspect => {
                if self.phase.held.ended(self.now).is_none() {
                    self.send_revoke(0);
                    self.bytes = Bytes::KeepRefresh;
                } else {
                    self.revoked(Reason::Revoked);
                }
                Ok(())
            }
            // Believed dead, but alive perhaps: the authority is told all the same.
            Grant::Closed { reason: Reason::Refused | Reason::AnswerLost } => {
                self.send_revoke(0);
                self.bytes = Bytes::KeepRefresh;
                Ok(())
            }
            Grant::Closed {
                reason: Reason::Expired | Reason::HardEnd | Reason::Disconnected | Reason::Poisoned,
            } => {
                self.revoked(Reason::Revoked);
                Ok(())
            }
            Grant::Unlinked
            | Grant::Refreshing { .. }
            | Grant::Revoking { .. }
            | Grant::Unrevoked { .. }
            | Grant::Closed { .. } => Err(self.without_a_grant()),
        }
    }

    const fn send_revoke(&mut self, tries: u8) {
        let call = self.send(Purpose::Revoke);
        self.phase.held = Held::NOTHING;
        self.phase.doubt = Doubt::NONE;
        self.phase.grant = Grant::Revoking { call, sent_at: self.now, tries };
    }

    /// REF-6: a revoked token is never sent again, so nothing of it is kept.
    const fn revoked(&mut self, reason: Reason) {
        self.phase.held.access_for = 0;
        self.phase.held.candidates = 0;
        self.phase.doubt = Doubt::NONE;
        self.phase.grant = Grant::Closed { reason };
        self.tell(Tell::Closed(reason));
        self.bytes = Bytes::Forget;
    }

    fn revoke_answer(&mut self, call: Call, outcome: Outcome) -> Moved {
        match (self.phase.grant, outcome) {
            (Grant::Revoking { call: number, tries, .. }, _) if number == call.number => {
                match outcome {
                    // A verdict of any kind: the authority knows no such grant any more.
                    Outcome::Revoked | Outcome::Refused(Refusal::InvalidGrant) | Outcome::Tokens(_) => {
                        self.revoked(Reason::Revoked);
                    }
                    Outcome::NotSent | Outcome::NoAnswer | Outcome::Refused(Refusal::AppAtFault) => {
                        self.revoke_again_later(tries, 0);
                    }
                    Outcome::NoVerdict { retry_after } => self.revoke_again_later(tries, retry_after),
                }
                Ok(())
            }
            // The answer to a try that was given up: it counts as well.
            (Grant::Unrevoked { .. }, Outcome::Revoked) => {
                self.revoked(Reason::Revoked);
                Ok(())
            }
            _ => Err(Refused::Late),
        }
    }

    fn revoke_again_later(&mut self, tries: u8, retry_after: u32) {
        let tries = tries.saturating_add(1);
        if tries >= self.policy.revoke_tries {
            return self.revoked(Reason::RevokeUnanswered);
        }
        let retry_at = self.now.plus(pause(retry_after, tries));
        self.phase.grant = Grant::Unrevoked { retry_at, tries };
        self.tell(Tell::RevokeUnanswered { retry_at });
    }

    // -------------------------------------------------------------------------------------------------- answers

    fn answer(&mut self, call: Call, outcome: Outcome) -> Moved {
        let outcome = match (outcome, call.purpose) {
            // Without a clock no grant is declared dead and no candidate sent: the question is asked again once there is
            // one.
            (Outcome::Refused(Refusal::InvalidGrant), Purpose::Refresh) if !self.now.is_set() => {
                Outcome::NoVerdict { retry_after: 0 }
            }
            (outcome, _) => outcome,
        };
        // What arrives is taken in even if the clock has meanwhile been lost (I5): by the latest time that is known.
        if !self.now.is_set() {
            self.now = self.phase.latest();
        }
        if !self.now.is_set() {
            return Err(Refused::ClockUnset);
        }
        match call.purpose {
            Purpose::Exchange => self.exchange_answer(call, outcome),
            Purpose::Refresh => self.refresh_answer(call, outcome),
            Purpose::Revoke => self.revoke_answer(call, outcome),
        }
    }
}
