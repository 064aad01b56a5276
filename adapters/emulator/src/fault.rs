//! Faults as data: what goes wrong, at which endpoint, and when.
//!
//! As JSON (the body of `POST /_emulator/faults` is one of these, or a list of them):
//!
//! ```json
//! [{"at": "refresh", "when": {"next": 1}, "harm": "answer_lost_after_work"},
//!  {"at": "token", "when": {"for_virtual_seconds": 3600}, "harm": {"invalid_grant": {}}},
//!  {"at": "any", "when": {"per_million": 20000}, "harm": {"delay": {"milliseconds": 300}}},
//!  {"at": "exchange", "when": {"nth": 2}, "harm": {"id_token": "wrong_audience"}}]
//! ```
//!
//! Several faults may meet in one request; all of them are drawn, and their harms are combined: state first (clock,
//! disconnect, keys), then whether the work is done, then what its answer looks like, then whether it arrives.

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// Where a fault strikes, and what a request is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// The browser's way to the consent page and through it.
    Authorize,
    /// The token endpoint, whatever is asked of it. Only a fault's place, no request's.
    Token,
    /// The token endpoint, with `grant_type=authorization_code`.
    Exchange,
    /// The token endpoint, with any other `grant_type`.
    Refresh,
    /// Revocation.
    Revoke,
    /// Userinfo.
    Userinfo,
    /// The public keys.
    Jwks,
    /// A discovery document.
    Discovery,
    /// The accounting API.
    Api,
    /// Everywhere (but never at the control path). Only a fault's place, no request's.
    Any,
}

impl Endpoint {
    /// Whether a fault set at `self` strikes a request counted as `request`.
    pub const fn covers(self, request: Self) -> bool {
        match self {
            Self::Any => true,
            Self::Token => matches!(request, Self::Token | Self::Exchange | Self::Refresh),
            _ => self as u8 == request as u8,
        }
    }
}

/// When a fault strikes, counted over the requests that its place covers, from the moment it was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Each time, until the faults are cleared.
    #[default]
    Always,
    /// The next so many times.
    Next(u32),
    /// Only the k-th time, counted from 1.
    Nth(u32),
    /// With this probability, in millionths, by the seed.
    PerMillion(u32),
    /// Each time within so many seconds of the emulator's clock.
    ForVirtualSeconds(u64),
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// The request is read, nothing is done, and the connection is closed without an answer.
    AnswerLostBeforeWork,
    /// The work is done, and the connection is closed without an answer.
    AnswerLostAfterWork,
    /// The answer comes late.
    Delay(Delay),
    /// The connection is reset (TCP RST).
    Reset(Reset),
    /// The work is done; `Content-Length` promises the whole body, half of it comes, and the connection is closed.
    TruncatedBody,
    /// The work is done; the body is empty.
    EmptyBody,
    /// The work is done; the body comes chunked, without `Content-Length`. (No failure, but not every client reads it.)
    ChunkedBody,
    /// Nothing is done; 503 with a page of HTML.
    #[serde(rename = "html_503")]
    Html503,
    /// Nothing is done; 429, with `Retry-After` if seconds are given.
    TooManyRequests(TooManyRequests),
    /// Nothing is done; 400 `invalid_grant`, as in an outage (REF-4). At the API and at userinfo: 401, code 3200.
    InvalidGrant(InvalidGrant),
    /// Before the work, the user disconnects the company from outside.
    Disconnect(Disconnect),
    /// At authorize, with an approval: the emulator itself calls the redirect URI a second time, after the browser was
    /// sent there (wire-facts section 3). Only `http://localhost` can be called so; elsewhere nothing happens, and the
    /// log says so. With the consent page, the page is one request and the decision the next.
    CallbackTwice(CallbackTwice),
    /// Before the work, the emulator's clock jumps.
    ClockJump(ClockJump),
    /// The work is done; the token answer has an odd form.
    OddAnswer(OddAnswer),
    /// The work is done; the ID token is not what it should be.
    IdToken(IdTokenHarm),
    /// Userinfo speaks of another user.
    UserinfoOfAnotherSubject,
    /// Before the work, a new signing key takes the place of the old one.
    RotateKey(RotateKey),
}

/// See [`Harm::Delay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// Real milliseconds.
    pub milliseconds: u64,
    /// Whether to wait before the work is done instead of after it.
    #[serde(default)]
    pub before_work: bool,
}

/// See [`Harm::Reset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// Whether the work is done first.
    #[serde(default)]
    pub after_work: bool,
}

/// See [`Harm::TooManyRequests`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TooManyRequests {
    /// `Retry-After`, seconds; absent: no such header, as at Intuit.
    #[serde(default)]
    pub retry_after_seconds: Option<u64>,
}

/// See [`Harm::InvalidGrant`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvalidGrant {
    /// `error_description`.
    #[serde(default)]
    pub description: Option<String>,
}

/// See [`Harm::Disconnect`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    /// The company; absent: every company there is a grant for.
    #[serde(default)]
    pub realm: Option<String>,
}

/// See [`Harm::CallbackTwice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackTwice {
    /// Real milliseconds after the redirect until the second one is sent.
    #[serde(default = "CallbackTwice::usual")]
    pub after_milliseconds: u64,
}

impl CallbackTwice {
    const fn usual() -> u64 {
        100
    }
}

impl Default for CallbackTwice {
    fn default() -> Self {
        Self { after_milliseconds: Self::usual() }
    }
}

/// See [`Harm::ClockJump`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockJump {
    /// Seconds forward, or backward if negative.
    pub seconds: i64,
}

/// See [`Harm::OddAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OddAnswer {
    /// Numbers as strings: `"expires_in":"3600"` (wire-facts section 4).
    NumbersAsStrings,
    /// No `expires_in`, and no `x_refresh_token_expires_in`.
    WithoutExpiry,
    /// Both are -1.
    NegativeExpiry,
    /// Both are 10 to the power of 30, which no integer type holds.
    AbsurdExpiry,
    /// Both are `null`.
    NullExpiry,
    /// Both are fractions: `3600.5`.
    FractionalExpiry,
    /// No `refresh_token`.
    WithoutRefreshToken,
    /// `refresh_token` is an empty string.
    EmptyRefreshToken,
    /// No `access_token`.
    WithoutAccessToken,
    /// Members that nobody knows, nested ones among them, come before the known ones.
    ExtraMembers,
    /// The members in reverse order, with blanks and line breaks between them.
    Reordered,
    /// The characters of the tokens are written as `\u00XX`.
    Escaped,
}

/// See [`Harm::IdToken`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdTokenHarm {
    /// `aud` names another client.
    WrongAudience,
    /// `iss` is another issuer.
    WrongIssuer,
    /// It expired an hour ago.
    Expired,
    /// `realmid` is another company.
    WrongRealm,
    /// `alg` is `none`, and there is no signature.
    Unsigned,
    /// `alg` is `HS256`, with the public key (PEM) as the secret.
    SymmetricWithPublicKey,
    /// `kid` is in no key set.
    UnknownKey,
    /// One bit of the signature is wrong.
    BrokenSignature,
    /// There is none, though `openid` was consented to.
    Absent,
    /// It is no token at all.
    Garbage,
}

/// See [`Harm::RotateKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// Whether the key set still lists the keys before.
    #[serde(default = "RotateKey::usual")]
    pub keep_old: bool,
}

impl RotateKey {
    const fn usual() -> bool {
        true
    }
}

/// A fault: where, when, what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where.
    pub at: Endpoint,
    /// When; each time, if it is not said.
    #[serde(default)]
    pub when: When,
    /// What.
    pub harm: Harm,
}

impl Fault {
    /// A fault that strikes each time.
    pub const fn always(at: Endpoint, harm: Harm) -> Self {
        Self { at, when: When::Always, harm }
    }

    /// A fault that strikes once, at the next request that `at` covers.
    pub const fn once(at: Endpoint, harm: Harm) -> Self {
        Self { at, when: When::Next(1), harm }
    }
}

/// A fault that was set, with its counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Armed {
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// The emulator's time when it was set, Unix seconds.
    pub since: u64,
    /// Requests that it could have struck.
    pub seen: u32,
    /// Requests that it did strike.
    pub struck: u32,
}

impl Armed {
    fn strikes(&mut self, now: u64, rng: &mut Rng) -> bool {
        self.seen = self.seen.saturating_add(1);
        let strikes = match self.fault.when {
            When::Always => true,
            When::Next(count) => self.seen <= count,
            When::Nth(k) => self.seen == k,
            When::PerMillion(share) => rng.below(1_000_000) < u64::from(share),
            When::ForVirtualSeconds(seconds) => now < self.since.saturating_add(seconds),
        };
        self.struck = self.struck.saturating_add(strikes.into());
        strikes
    }

    /// Whether it can never strike again.
    fn is_spent(&self, now: u64) -> bool {
        match self.fault.when {
            When::Always | When::PerMillion(_) => false,
            When::Next(count) | When::Nth(count) => self.seen >= count,
            When::ForVirtualSeconds(seconds) => now >= self.since.saturating_add(seconds),
        }
    }
}

/// The faults that are set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Faults {
    armed: Vec<Armed>,
    rng: Rng,
}

impl Faults {
    /// None yet; probabilities are drawn from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { armed: Vec::new(), rng: Rng::new(seed) }
    }

    /// Sets one more.
    pub fn arm(&mut self, now: u64, fault: Fault) {
        self.armed.push(Armed { fault, since: now, seen: 0, struck: 0 });
    }

    /// Takes all of them away.
    pub fn clear(&mut self) {
        self.armed.clear();
    }

    /// Those that can still strike.
    pub fn armed(&self) -> &[Armed] {
        &self.armed
    }

    /// What strikes a request at this endpoint, in the order in which the faults were set. Each call counts.
    pub fn draw(&mut self, now: u64, request: Endpoint) -> Vec<Harm> {
        let Self { armed, rng } = self;
        let harms = armed
            .iter_mut()
            .filter(|armed| armed.fault.at.covers(request))
            .filter_map(|armed| armed.strikes(now, rng).then(|| armed.fault.harm.clone()))
            .collect();
        armed.retain(|armed| !armed.is_spent(now));
        harms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: Harm = Harm::AnswerLostAfterWork;

    fn pattern(when: When, requests: usize) -> Vec<bool> {
        let mut faults = Faults::new(3);
        faults.arm(1_000, Fault { at: Endpoint::Token, when, harm: LOST });
        (0..requests).map(|n| !faults.draw(1_000 + n as u64, Endpoint::Refresh).is_empty()).collect()
    }

    #[test]
    fn when() {
        assert_eq!(pattern(When::Always, 3), [true; 3]);
        assert_eq!(pattern(When::Next(2), 4), [true, true, false, false]);
        assert_eq!(pattern(When::Next(0), 2), [false; 2]);
        assert_eq!(pattern(When::Nth(2), 4), [false, true, false, false]);
        assert_eq!(pattern(When::ForVirtualSeconds(2), 4), [true, true, false, false]);
        assert_eq!(pattern(When::PerMillion(1_000_000), 3), [true; 3]);
        let half = pattern(When::PerMillion(500_000), 1_000);
        assert_eq!(half, pattern(When::PerMillion(500_000), 1_000), "by the seed");
        assert!((400..600).contains(&half.iter().filter(|hit| **hit).count()));
    }

    #[test]
    fn places() {
        use Endpoint::{Any, Api, Exchange, Refresh, Token};
        assert!(Any.covers(Api) && Token.covers(Exchange) && Token.covers(Refresh) && Api.covers(Api));
        assert!(!Token.covers(Api) && !Exchange.covers(Refresh) && !Refresh.covers(Exchange));
    }

    #[test]
    fn a_spent_fault_leaves_the_list() {
        let mut faults = Faults::new(0);
        faults.arm(0, Fault::once(Endpoint::Any, LOST));
        faults.arm(0, Fault::always(Endpoint::Api, LOST));
        assert_eq!(faults.draw(0, Endpoint::Api), [LOST, LOST]);
        assert_eq!(faults.armed().len(), 1);
        faults.clear();
        assert!(faults.armed().is_empty());
    }
}
