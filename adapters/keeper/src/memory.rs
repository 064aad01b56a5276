//! The access tokens that are held ready, each in one piece of memory of its own size.
//!
//! A grant costs its token's bytes, its realm's, and a header of [`HEADER`] bytes, in one allocation, and one slot of a hash table:
//! not a session with buffers of the largest size. Behind it stands the store, which has everything else.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use evergrant::Time;
use zeroize::{Zeroize, Zeroizing};

use crate::schedule::{Draw, mix};

/// Tokens are looked up far more often than replaced, by many threads at once.
const SHARDS: usize = 16;
/// Bytes before realm and token: issue 4, lifetime 4, generation 4, serial 4, write 6, length of the realm 1.
const HEADER: usize = 23;

/// An access token, alive when it was handed out, and durable together with the refresh token that came with it (I3).
///
/// Cheap to clone. Its `Debug` does not show it, it has no `Display`, and it is wiped when the last copy goes (I6).
#[derive(Clone)]
pub struct AccessToken(Arc<Inside>);

struct Inside {
    text: Zeroizing<Box<str>>,
    id: TokenId,
    issued_at: Time,
    seconds: u32,
}

/// Names a token without showing it: which consent brought the grant, and which answer the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId {
    pub(crate) generation: u32,
    pub(crate) serial: u32,
}

impl AccessToken {
    pub(crate) fn new(text: &str, id: TokenId, issued_at: Time, seconds: u32) -> Self {
        Self(Arc::new(Inside { text: Zeroizing::new(text.into()), id, issued_at, seconds }))
    }

    /// The bare token, for whoever writes the header `Authorization: Bearer …` (RFC 6750 §2.1). It belongs nowhere else: not into
    /// a URL, a log or an error (USE-1).
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0.text
    }

    /// The value of the `Authorization` header, wiped when it is dropped.
    #[must_use]
    pub fn authorization(&self) -> Zeroizing<String> {
        let mut value = Zeroizing::new(String::with_capacity(7 + self.0.text.len()));
        value.push_str("Bearer ");
        value.push_str(&self.0.text);
        value
    }

    /// Names it without showing it.
    #[must_use]
    pub fn id(&self) -> TokenId {
        self.0.id
    }

    /// When it ends by the clock of the store, if it is not rejected before.
    #[must_use]
    pub fn good_until(&self) -> Time {
        self.0.issued_at.plus(self.0.seconds)
    }

    pub(crate) fn age(&self, now: Time, thresholds: Thresholds, realm_seed: u64) -> Age {
        thresholds.age(self.0.issued_at, self.0.seconds, now, realm_seed ^ u64::from(self.0.id.serial))
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("id", &self.0.id)
            .field("good_until", &self.good_until())
            .finish_non_exhaustive()
    }
}

/// Seconds before an access token's end. A token that lives for less is replaced in the last part of its life: a quarter, an eighth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// From here on a refresh is begun, and the token still served.
    pub advisory_seconds: u32,
    /// From here on whoever asks waits for the refresh.
    pub mandatory_seconds: u32,
}

impl Default for Thresholds {
    /// 15 minutes, and one.
    fn default() -> Self {
        Self { advisory_seconds: 900, mandatory_seconds: 60 }
    }
}

/// What a token is still good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// Serve it.
    Fresh,
    /// Serve it, and refresh.
    Ahead,
    /// Refresh first; while that cannot be had, it still works.
    Last,
    /// It has ended.
    Over,
}

impl Thresholds {
    /// The advisory moment is drawn for each token from the last part before the mandatory one, so that processes do not all begin
    /// at once, nor all grants that were refreshed together.
    fn age(&self, issued_at: Time, seconds: u32, now: Time, seed: u64) -> Age {
        if now < issued_at || now >= issued_at.plus(seconds) {
            return Age::Over;
        }
        let left = issued_at.plus(seconds).since(now);
        let advisory = self.advisory_seconds.min(seconds / 4);
        let mandatory = self.mandatory_seconds.min(seconds / 8);
        let drawn = advisory.saturating_sub(Draw(mix(seed)).up_to(advisory.saturating_sub(mandatory) / 4));
        match left {
            _ if left > drawn => Age::Fresh,
            _ if left > mandatory => Age::Ahead,
            _ => Age::Last,
        }
    }
}

/// Realm, header and token in one piece. Compared and hashed by its realm alone.
struct Held(Box<[u8]>);

impl Held {
    fn new(realm: &str, token: &AccessToken, write: u64) -> Option<Self> {
        let length = u8::try_from(realm.len()).ok()?;
        let text = token.expose().as_bytes();
        let since_2020 = u32::try_from(token.0.issued_at.unix().checked_sub(Time::EARLIEST.unix())?).ok()?;
        let mut bytes = Vec::with_capacity(HEADER + realm.len() + text.len());
        bytes.extend_from_slice(&since_2020.to_le_bytes());
        bytes.extend_from_slice(&token.0.seconds.to_le_bytes());
        bytes.extend_from_slice(&token.0.id.generation.to_le_bytes());
        bytes.extend_from_slice(&token.0.id.serial.to_le_bytes());
        bytes.extend_from_slice(write.to_le_bytes().first_chunk::<6>()?);
        bytes.push(length);
        bytes.extend_from_slice(realm.as_bytes());
        bytes.extend_from_slice(text);
        Some(Self(bytes.into_boxed_slice()))
    }

    fn number(&self, at: usize) -> u32 {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk::<4>());
        u32::from_le_bytes(bytes.copied().unwrap_or_default())
    }

    fn id(&self) -> TokenId {
        TokenId { generation: self.number(8), serial: self.number(12) }
    }

    /// The generation of the row that it was read from.
    fn write(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(self.0.get(16..22).unwrap_or_default()).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(bytes)
    }

    fn issued_at(&self) -> Time {
        Time::EARLIEST.plus(self.number(0))
    }

    fn split(&self) -> (&[u8], &[u8]) {
        let length = self.0.get(HEADER - 1).copied().map_or(0, usize::from);
        self.0.get(HEADER..).and_then(|rest| rest.split_at_checked(length)).unwrap_or_default()
    }

    fn token(&self) -> Option<AccessToken> {
        let text = std::str::from_utf8(self.split().1).ok()?;
        Some(AccessToken::new(text, self.id(), self.issued_at(), self.number(4)))
    }
}

impl Borrow<[u8]> for Held {
    fn borrow(&self) -> &[u8] {
        self.split().0
    }
}

impl Hash for Held {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.split().0.hash(state);
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.split().0 == other.split().0
    }
}

impl Eq for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

type Shard = RwLock<HashSet<Held, RandomState>>;

/// The tokens that are held ready.
pub(crate) struct Memory {
    shards: [Shard; SHARDS],
    hasher: RandomState,
    thresholds: Thresholds,
}

impl Memory {
    pub(crate) fn new(thresholds: Thresholds) -> Self {
        Self { shards: std::array::from_fn(|_| Shard::default()), hasher: RandomState::new(), thresholds }
    }

    /// A seed that is the same for a realm as long as this process lives, and another in each process.
    pub(crate) fn seed(&self, realm: &str) -> u64 {
        self.hasher.hash_one(realm)
    }

    fn shard(&self, realm: &str) -> &Shard {
        let [first, ..] = &self.shards;
        let at = usize::try_from(self.seed(realm) >> 60).unwrap_or_default();
        self.shards.get(at).unwrap_or(first)
    }

    /// The token, and what it is good for; `None` where none is held that lives.
    pub(crate) fn look(&self, realm: &str, now: Time) -> Option<(AccessToken, Age)> {
        let shard = self.shard(realm).read().unwrap_or_else(PoisonError::into_inner);
        let held = shard.get(realm.as_bytes())?;
        let seed = self.seed(realm) ^ u64::from(held.id().serial);
        match self.thresholds.age(held.issued_at(), held.number(4), now, seed) {
            Age::Over => None,
            age => Some((held.token()?, age)),
        }
    }

    /// Whether a token is one that need not be replaced yet.
    pub(crate) fn age(&self, realm: &str, token: &AccessToken, now: Time) -> Age {
        token.age(now, self.thresholds, self.seed(realm))
    }

    /// Holds a token that was read from the row's write of that number, unless a later one is held (I5).
    pub(crate) fn put(&self, realm: &str, token: &AccessToken, write: u64) {
        let Some(held) = Held::new(realm, token, write) else { return };
        let mut shard = self.shard(realm).write().unwrap_or_else(PoisonError::into_inner);
        if shard.get(realm.as_bytes()).is_none_or(|other| other.write() <= write) {
            shard.replace(held);
        }
    }

    /// Drops a token that was rejected; says whether it was the one that is held.
    pub(crate) fn reject(&self, realm: &str, id: TokenId) -> bool {
        self.drop_where(realm, |held| held.id() == id)
    }

    #[cfg(any(test, feature = "postgres"))]
    /// Drops what was read from an earlier write than this one.
    pub(crate) fn outdate(&self, realm: &str, write: u64) {
        self.drop_where(realm, |held| held.write() < write);
    }

    pub(crate) fn forget(&self, realm: &str) {
        self.drop_where(realm, |_| true);
    }

    fn drop_where(&self, realm: &str, which: impl Fn(&Held) -> bool) -> bool {
        let mut shard = self.shard(realm).write().unwrap_or_else(PoisonError::into_inner);
        shard.get(realm.as_bytes()).is_some_and(which) && shard.remove(realm.as_bytes())
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_unix(1_800_000_000);

    fn token(serial: u32) -> AccessToken {
        AccessToken::new("canary-token", TokenId { generation: 1, serial }, NOW, 3_600)
    }

    fn age(at: u32) -> Option<Age> {
        let memory = Memory::new(Thresholds::default());
        memory.put("1", &token(1), 1);
        memory.look("1", NOW.plus(at)).map(|(_, age)| age)
    }

    #[test]
    fn a_token_is_served_then_replaced_ahead_then_waited_for_then_over() {
        assert_eq!(age(0), Some(Age::Fresh));
        assert_eq!(age(2_699), Some(Age::Fresh));
        assert_eq!(age(3_000), Some(Age::Ahead));
        assert_eq!(age(3_540), Some(Age::Last));
        assert_eq!(age(3_600), None);
        let memory = Memory::new(Thresholds::default());
        memory.put("1", &token(1), 1);
        assert!(memory.look("1", NOW.minus(1)).is_none(), "the clock stepped back");
    }

    #[test]
    fn what_comes_out_is_what_was_put_in() {
        let memory = Memory::new(Thresholds::default());
        memory.put("9130347", &token(7), 1 << 40);
        let (found, _) = memory.look("9130347", NOW).unwrap();
        assert_eq!(
            (found.expose(), found.id(), found.good_until()),
            ("canary-token", token(7).id(), NOW.plus(3_600))
        );
        assert!(memory.look("913034", NOW).is_none());
        assert_eq!(&*found.authorization(), "Bearer canary-token");
    }

    #[test]
    fn an_older_write_never_takes_the_place_of_a_newer_one() {
        let memory = Memory::new(Thresholds::default());
        memory.put("1", &token(2), 9);
        memory.put("1", &token(1), 8);
        assert_eq!(memory.look("1", NOW).unwrap().0.id(), token(2).id());
        assert!(!memory.reject("1", token(1).id()), "a late 401 of the old token");
        memory.outdate("1", 9);
        assert_eq!(memory.len(), 1, "news of what is held already");
        memory.outdate("1", 10);
        assert_eq!(memory.len(), 0);
    }

    #[test]
    fn nothing_renders_a_token() {
        assert!(!format!("{:?}", token(1)).contains("canary"));
    }
}
