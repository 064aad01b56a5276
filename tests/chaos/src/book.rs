//! What the authority's side knows of a grant, and whether its loss was anybody's fault.
//!
//! Decided from what the authority issued, what of it arrived, and who was able to run when: never from what a client says.
//!
//! - A refresh token is **held** once its answer came whole to a process that was then let go at least once: it had the chance to
//!   write it down, to the store or, where that was down, to a file. A process that dies before that never had it.
//! - A grant is **safe** while a held token is the newest of its chain.
//! - It is **in danger** from the moment at which the authority issues a token that nobody holds, until somebody holds a newest one
//!   again; its **window** ends when the last held token dies (24 hours later where the authority grants them, at once where
//!   it does not).
//! - An **opportunity** is a stretch of the window, [`OPPORTUNITY_SECONDS`] long, in which the store works, the authority works,
//!   and at least one worker lives, runs and reaches both.
//!
//! - A fleet is **unsure** from the moment at which a request was not answered, or a worker died at work, until tokens come: the token
//!   may be stale now. STA-4 lets it be sent again for 24 hours, and not after that. (A worker that died before it sent anything counts,
//!   too: what it had written before says that it was about to.)
//!
//! A grant that was lost could have been kept, unless nobody ever held a token of it, or it died in danger without an opportunity, or
//! STA-4's 24 hours went by without one. The last are counted apart: the authority would have taken the token, but no client could
//! know, and the rule forbids to try.

use evergrant_emulator::authority::{Authority, EndReason, RefreshState};

/// A client that tries every 15 minutes finds each of these. (evergrant's longest pause after an unanswered call is 15 minutes.)
pub const OPPORTUNITY_SECONDS: u64 = 900;

#[derive(Default)]
pub(crate) struct Book {
    held: Vec<String>,
    ever_held: bool,
    danger: Option<Window>,
    /// One for each time since tokens last came.
    unsure: Vec<Window>,
}

/// Seconds for which a token that was not answered may be sent again (STA-4).
const REPLAY_SECONDS: u64 = 86_400;

/// A time in which a grant must be used, or is lost.
#[derive(Clone, Copy)]
struct Window {
    until: u64,
    stretch: u64,
    longest: u64,
}

impl Window {
    const fn until(until: u64) -> Self {
        Self { until, stretch: 0, longest: 0 }
    }

    fn pass(&mut self, from: u64, to: u64, somebody: bool) {
        let within = to.min(self.until).saturating_sub(from);
        self.stretch = if somebody { self.stretch + within } else { 0 };
        self.longest = self.longest.max(self.stretch);
    }

    const fn had_an_opportunity(&self) -> bool {
        self.longest >= OPPORTUNITY_SECONDS
    }
}

/// What became of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It works at the end.
    Kept,
    /// No token of it ever reached a client that was able to keep it. The user connects once more.
    NeverHeld,
    /// It is lost, and no client could have kept it.
    NobodysFault,
    /// Its token would still work, but an answer was missing for 24 hours in which nobody could try again, and STA-4 forbids to send
    /// it after that.
    Forbidden,
    /// A token that works at the authority was held, and the client does not use it: it threw it away, overwrote it, or gave up.
    ThrownAway,
    /// The code was sent twice, and the authority ended the grant.
    CodeSentTwice,
    /// Only an older token was held, there was an opportunity to use it, and it was let die.
    LetDie,
}

impl Verdict {
    /// Whether another client would have kept it.
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::ThrownAway | Self::CodeSentTwice | Self::LetDie)
    }

    /// In a word or two.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::NeverHeld => "never held",
            Self::NobodysFault => "nobody's fault",
            Self::Forbidden => "forbidden by STA-4",
            Self::ThrownAway => "thrown away",
            Self::CodeSentTwice => "code sent twice",
            Self::LetDie => "let die",
        }
    }
}

impl Book {
    /// That token is held from now on.
    pub(crate) fn hold(&mut self, token: String) {
        self.ever_held = true;
        self.unsure.clear();
        if !self.held.contains(&token) {
            self.held.push(token);
        }
    }

    pub(crate) fn ever_held(&self) -> bool {
        self.ever_held
    }

    /// A request was not answered, or whoever may have sent one died.
    pub(crate) fn unanswered(&mut self, now: u64) {
        self.unsure.push(Window::until(now + REPLAY_SECONDS));
    }

    /// Looks at the chain again, after something was issued or held.
    pub(crate) fn review(&mut self, now: u64, authority: &Authority) {
        let state = |token: &String| authority.refresh_token_state(now, token);
        self.held.retain(|token| state(token).is_some_and(|state| state.works()));
        let is_safe =
            self.held.iter().any(|token| matches!(state(token), Some(RefreshState::Current { .. })));
        let until = self.held.iter().filter_map(state).filter_map(|state| match state {
            RefreshState::Stale { until } => Some(until),
            _ => None,
        });
        let until = until.max().unwrap_or(now);
        self.danger = match self.danger {
            _ if is_safe || !self.ever_held => None,
            None => Some(Window::until(until)),
            // A second token that nobody holds does not open the window anew; a newly held one lengthens it.
            Some(danger) => Some(Window { until: until.max(danger.until), ..danger }),
        };
    }

    /// Time passes, in which somebody was able to run, or nobody.
    pub(crate) fn pass(&mut self, from: u64, to: u64, somebody: bool) {
        let allowed = self.unsure.iter().map(|unsure| unsure.until).min().unwrap_or(u64::MAX);
        if let Some(danger) = &mut self.danger {
            danger.pass(from, to.min(allowed), somebody);
        }
        self.unsure.iter_mut().for_each(|unsure| unsure.pass(from, to, somebody));
    }

    /// Why it is lost, now that the client could not bring a token.
    pub(crate) fn verdict(&self, now: u64, authority: &Authority, grant: usize) -> Verdict {
        let works =
            |token: &String| authority.refresh_token_state(now, token).is_some_and(|state| state.works());
        let end = authority.grant(now, grant).and_then(|grant| grant.end);
        let missed = |window: &Window| !window.had_an_opportunity();
        let is_forbidden = self.unsure.iter().any(missed);
        if !self.ever_held {
            Verdict::NeverHeld
        } else if end.is_some_and(|end| end.reason == EndReason::CodeUsedTwice) {
            Verdict::CodeSentTwice
        } else if self.held.iter().any(works) {
            if is_forbidden { Verdict::Forbidden } else { Verdict::ThrownAway }
        } else if self.danger.as_ref().is_some_and(missed) {
            Verdict::NobodysFault
        } else if self.danger.is_none() && is_forbidden {
            // It died of age since.
            Verdict::Forbidden
        } else {
            Verdict::LetDie
        }
    }
}
