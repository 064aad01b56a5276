//! The verbs of a store, and what they answer.

use crate::{Error, KeyId, Name, Record};

/// Longest lease that can be taken, in seconds. A lease outlives one request with room to spare; more would only
/// lengthen the wait where a whole machine is lost.
pub const MAX_LEASE_SECONDS: u32 = 3600;

/// The latest moment that a store tells apart, in Unix seconds; later ones are taken for this one.
pub(crate) const LATEST: u64 = i64::MAX as u64;

/// A store of grants with fenced leases: the few verbs that the fleet protocol needs.
///
/// # The contract
///
/// * **Durable.** When a verb that writes returns `Ok`, its effect survives a loss of power. (REF-1)
/// * **One step.** Each verb is one transaction. None is open when it returns, so none is open while a request is
///   on the wire.
/// * **One at a time.** [`claim`](Self::claim) gives a row's lease to one caller at a time, across threads,
///   processes and (where the store is shared) machines. (REF-2, I2)
/// * **Read again.** A claim is refused when the record is not the one that the caller read. (REF-3)
/// * **Fenced.** Each claim raises the row's epoch above all numbers that the store ever gave. A writer whose
///   epoch is not the row's any more changes nothing, and gets the current record to merge into. (I5)
/// * **Refused is unchanged.** A verb that answers anything but success has changed nothing that a caller can see.
///   (I7)
/// * **An error is "not known".** After `Err` (or after the future of an [`AsyncStore`](crate::AsyncStore) was dropped),
///   the write may have happened or not. [`commit`](Self::commit),
///   [`release`](Self::release) and [`remove`](Self::remove) may be repeated with the same arguments until one
///   answers. After a failed `claim` or
///   [`claim_due`](Self::claim_due) nothing may be sent; if it did happen, the leases run out by themselves. After a
///   failed [`spend`](Self::spend) the code must be taken for spent. (EXC-3)
///
/// # Time
///
/// `now` is Unix seconds. It is the clock that leases are judged by where the store has none of its own (SQLite:
/// one machine, one clock). A database server judges by its own clock, and takes `now` for nothing but the measure of
/// the caller's: [`Lease::until`] and [`Claim::Held`] are told in the terms of the `now` that the verb was given, and
/// `keep_until` is understood in them, so that a caller whose clock is wrong waits and keeps as long as any other.
/// Moments that callers write into rows ([`Write::due_at`]) come back as they were written and are judged by the
/// store's clock; a fleet on several machines therefore lives by [`clock`](Self::clock).
///
/// # Two faces
///
/// These verbs block. [`AsyncStore`](crate::AsyncStore) has the same ones as futures. A store is written in the face
/// that its driver has; `OnThreads` and `OnRuntime` (feature `tokio`) put the other one over it.
pub trait Store: Send + Sync {
    /// The time by the clock that the store judges by: `now` itself where it has none of its own.
    fn clock(&self, now: u64) -> Result<u64, Error>;

    /// The number that stands in what this open vault writes ([`Loaded::written_by`]). Drawn when it is opened: no other has it.
    fn writer(&self) -> u64;

    /// Reads a row, whoever holds its lease. `None` where there is none.
    ///
    /// Returns [`Error::Altered`] or [`Error::KeyNotInRing`] where the record does not open.
    fn load(&self, name: &Name) -> Result<Option<Loaded>, Error>;

    /// Takes the lease of a row, raises its epoch, and writes the intent, in one durable step. Makes the row where
    /// there is none.
    ///
    /// `expected` is the [`generation`](Loaded::generation) that the caller read, or `None` where it found no row.
    /// `intent` is the record as it must be read after a crash: its phase says which token is about to be sent.
    /// Only after [`Claim::Claimed`] may it be sent: the lease is held, the record is the newest, and the store
    /// has just shown that it can be written.
    ///
    /// The lease lives for `lease_seconds` (`1..=MAX_LEASE_SECONDS`); the request's deadline must be well inside.
    ///
    /// A lease counts while it has not run out and its holder lives. One that ends later than its own length from
    /// now was taken before the clock was put back: it is cut to its length from now, so that no wait is longer.
    fn claim(
        &self,
        now: u64,
        name: &Name,
        expected: Option<u64>,
        lease_seconds: u32,
        intent: Write<'_>,
    ) -> Result<Claim, Error>;

    /// Writes the record that came out of it, if the lease's epoch is still the row's, and then keeps the lease
    /// alive or gives it back in the same step.
    ///
    /// A lease that ran out still commits as long as nobody else claimed the row: tokens that arrived late are
    /// never dropped. (I5)
    fn commit(&self, now: u64, lease: &Lease, write: Write<'_>, then: Then) -> Result<Commit, Error>;

    /// Gives the lease back and leaves the record as it is. Does nothing where the lease is no longer the row's:
    /// nobody's lease but one's own is ever released.
    fn release(&self, lease: &Lease) -> Result<(), Error>;

    /// Removes the row with its record, if the lease's epoch is still the row's.
    ///
    /// For slots that have served (a consent that ended) and for rows that the user has done away with. A grant
    /// that died is not removed but committed as closed: no error path deletes token bytes. (I4)
    fn remove(&self, lease: &Lease) -> Result<Removal, Error>;

    /// Rows in the order of their names, at most `limit`, beginning after `after`. Nothing is unsealed.
    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Row>, Error>;

    /// The owner's rows with `due_at <= now` whose lease was given back or has run out, at most `limit`. (I8)
    ///
    /// Of everything that is due those come first that are lost soonest ([`Write::ends_at`]); before them those of which that is not
    /// known; among equals the longest due.
    ///
    /// A hint, not a promise: another process may claim them first. A row whose holder died comes when its lease has
    /// run out; a claim that somebody waits for does not wait for that.
    fn due(&self, now: u64, owner: Owner<'_>, limit: usize) -> Result<Vec<Row>, Error>;

    /// Takes the leases of rows that [`due`](Self::due) would name, in its order, at most `limit`, and reads
    /// their records. A row that another process is just claiming is passed over, not waited for. (APP-3)
    ///
    /// What this costs does not grow with the rows that are not due, nor (but for those that are leased, or were put off) with
    /// those that are.
    ///
    /// Each row's epoch is raised, so that an earlier holder is fenced out; its record and generation stay what they are. No
    /// intent is written yet: **nothing may be sent** before the holder has committed one with [`Then::Hold`]. A holder that
    /// dies before that leaves a record that says so, as it names no request. (REF-2, I1)
    ///
    /// A row that does not open is given with its error and stays leased, so that it holds up no other and does not come
    /// again before its lease has run out.
    fn claim_due(
        &self,
        now: u64,
        owner: Owner<'_>,
        limit: usize,
        lease_seconds: u32,
    ) -> Result<Vec<Due>, Error>;

    /// How many rows are sealed under which key, the keys in the order of their ids. A key that is not named any more can
    /// leave the ring. Empty for a store that seals nothing.
    fn keys_in_use(&self) -> Result<Vec<KeyUse>, Error>;

    /// Seals the next rows (at most `limit`, in the order of their names, beginning after `after`) that stand under
    /// another key than the newest again, under that one. Their records, generations and leases stay what they are.
    ///
    /// Safe beside writers: a row that is written meanwhile is left to its writer, who seals it under its own newest key.
    /// Call it with [`Resealed::next`] until that is `None`; after a crash, from the beginning: what is done is passed over.
    fn reseal(&self, after: Option<&Name>, limit: usize) -> Result<Resealed, Error>;

    /// Marks a fingerprint (of an authorization code, or of a signed state) as spent, before it is used. Of all
    /// callers, in all processes, exactly one is answered [`Spend::Fresh`]. (EXC-1, CSR-2)
    ///
    /// The mark stays until `keep_until` at least, which must be after the latest moment at which the callback
    /// could still be accepted.
    fn spend(&self, now: u64, fingerprint: &Fingerprint, keep_until: u64) -> Result<Spend, Error>;
}

/// A hash of something that may be used once. Not the thing itself: the store keeps it in the clear.
pub type Fingerprint = [u8; 32];

/// What a write puts into a row.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// The record, in the clear; the store seals it. At most [`MAX_RECORD_BYTES`](crate::MAX_RECORD_BYTES).
    pub record: &'a [u8],
    /// How many pairs of tokens the grant has had. For readers that want to know whether there is a newer pair;
    /// the store binds it to the record and does not judge it.
    pub revision: u32,
    /// When the row asks for attention by itself, in Unix seconds; `None` where it waits for somebody.
    pub due_at: Option<u64>,
    /// When what the row holds is lost unless somebody attends to it, in Unix seconds: the nearest of its ends. Of what is due
    /// the nearest is handed out first. `None` where nobody knows: such rows come before all others.
    pub ends_at: Option<u64>,
}

impl std::fmt::Debug for Write<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write")
            .field("record", &format_args!("{} bytes, redacted", self.record.len()))
            .field("revision", &self.revision)
            .field("due_at", &self.due_at)
            .field("ends_at", &self.ends_at)
            .finish()
    }
}

/// A row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The record, opened.
    pub record: Record,
    /// The number of the write that it came with. Rises with every write, and no number is given twice in a vault,
    /// so "the generation is the same" means "nothing was written since".
    pub generation: u64,
    /// See [`Write::revision`].
    pub revision: u32,
    /// See [`Write::due_at`].
    pub due_at: Option<u64>,
    /// Which open vault has made that write, with a claim or a commit ([`Store::writer`]). Where a claim failed, this tells its intent
    /// from one that another process has written, to the letter the same: the claim went through, or it did not. `None`: nobody knows.
    pub written_by: Option<u64>,
}

/// The right to write one row, until somebody else claims it.
///
/// Not `Clone`: a lease has one owner. Dropping it changes nothing; the lease is given back by
/// [`release`](Store::release), by a commit with [`Then::Release`], by its end, or by the death of its process.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Lease {
    pub(crate) name: Name,
    pub(crate) epoch: u64,
    pub(crate) until: u64,
}

impl Lease {
    /// For whoever writes a [`Store`]: only a store that has just given the lease may make this value.
    pub fn new(name: Name, epoch: u64, until: u64) -> Self {
        Self { name, epoch, until }
    }

    /// The row.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The fencing epoch: above every number that the vault gave before this lease. Where an intent was written with
    /// it, equal to the generation of that.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When it ends, in Unix seconds by the caller's clock, unless a commit with [`Then::Hold`] has lengthened it since.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// For whoever carries it to another thread inside of this crate: still one owner, as the other one waits.
    #[cfg(feature = "tokio")]
    pub(crate) fn duplicate(&self) -> Self {
        Self { name: self.name.clone(), epoch: self.epoch, until: self.until }
    }
}

/// The answer to [`Store::claim`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Claim {
    /// The lease is the caller's, and the intent is durable.
    Claimed(Lease),
    /// Somebody alive holds the lease (perhaps another thread of this process). Wait, with a deadline, then load
    /// again.
    Held {
        /// When that lease ends at the latest, in Unix seconds by the caller's clock; it is often given back long before.
        until: u64,
    },
    /// The record is not the expected one any more. Here is the current one (`None`: the row is gone): judge it
    /// before anything is sent. (REF-3)
    MovedOn(Option<Loaded>),
}

/// What becomes of the lease after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is given back, in the same step.
    Release,
    /// It is held from now on for this many seconds (`1..=MAX_LEASE_SECONDS`): another request follows.
    Hold {
        /// The new length.
        seconds: u32,
    },
}

/// The answer to [`Store::commit`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Commit {
    /// The record is durable.
    Committed {
        /// Its generation.
        generation: u64,
    },
    /// Somebody else claimed the row in the meantime. Nothing was written. Here is the current record (`None`: the
    /// row is gone): merge what was to be written into it, and commit that under a lease of its own. (I5)
    FencedOut(Option<Loaded>),
}

/// The answer to [`Store::remove`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Removal {
    /// There is no such row (any more).
    Removed,
    /// Somebody else claimed the row in the meantime. Nothing was removed.
    FencedOut(Loaded),
}

/// The answer to [`Store::spend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Spend {
    /// This caller is the first, and the mark is durable.
    Fresh,
    /// It was spent before: it must not be used.
    SpentBefore,
}

/// A row that [`Store::claim_due`] has claimed.
#[derive(Debug)]
#[must_use]
pub struct Due {
    /// Its lease.
    pub lease: Lease,
    /// Its record, or why it does not open.
    pub row: Result<Loaded, Error>,
}

/// How many rows are sealed under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key: KeyId,
    /// Its rows.
    pub rows: u64,
}

/// What a step of [`Store::reseal`] did.
#[derive(Debug, Default)]
pub struct Resealed {
    /// So many rows are sealed under the newest key now.
    pub resealed: u64,
    /// Rows that could not be opened, and why: their keys are missing from the ring, or they were altered. They are left
    /// as they are.
    pub stuck: Vec<(Name, Error)>,
    /// Where the next step goes on; `None` when there is nothing more.
    pub next: Option<Name>,
}

/// A row without its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which row.
    pub name: Name,
    /// See [`Loaded::generation`].
    pub generation: u64,
    /// See [`Write::revision`].
    pub revision: u32,
    /// See [`Write::due_at`].
    pub due_at: Option<u64>,
    /// When its lease ends, in Unix seconds, where it was not given back. The holder may be dead.
    pub leased_until: Option<u64>,
}

/// Whose rows are meant: the first two parts of their [`Name`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// As [`Name::app`].
    pub app: &'a str,
    /// As [`Name::environment`].
    pub environment: &'a str,
}

impl Write<'_> {
    /// Refuses what no store takes; the same for all of them.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.record.len() {
            bytes if bytes > crate::MAX_RECORD_BYTES => Err(Error::RecordTooLong { bytes }),
            _ => Ok(()),
        }
    }

    /// The deadline as it is stored.
    pub(crate) fn stored_due_at(&self) -> Option<u64> {
        self.due_at.map(|at| at.min(LATEST))
    }

    /// The end as it is stored.
    pub(crate) fn stored_ends_at(&self) -> Option<u64> {
        self.ends_at.map(|at| at.min(LATEST))
    }
}

/// When a lease of this length ends that begins now.
pub(crate) fn lease_end(now: u64, seconds: u32) -> Result<u64, Error> {
    if seconds == 0 || seconds > MAX_LEASE_SECONDS {
        return Err(Error::BadLease { seconds });
    }
    Ok(now.saturating_add(u64::from(seconds)).min(LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_renders_a_record() {
        let secret = b"RT1-0987654321";
        let write = Write { record: secret, revision: 1, due_at: None, ends_at: None };
        let loaded = Loaded {
            record: Record::from(&secret[..]),
            generation: 1,
            revision: 1,
            due_at: None,
            written_by: Some(1),
        };
        let shown = format!(
            "{write:?} {:?} {:?} {:?}",
            Claim::MovedOn(Some(loaded.clone())),
            Commit::FencedOut(Some(loaded.clone())),
            Removal::FencedOut(loaded)
        );
        assert!(!shown.contains("RT1") && !shown.contains("82, 84, 49"), "{shown}");
    }
}
