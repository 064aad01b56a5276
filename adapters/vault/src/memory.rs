//! A store in memory: the contract without a disk, for tests and models.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    Claim, Commit, Due, Error, Fingerprint, KeyUse, Lease, Loaded, Name, Owner, Record, Removal, Resealed,
    Row, Spend, Store, Then, Write, store::lease_end,
};

/// A [`Store`] that keeps everything in this process, unsealed and wiped on drop.
///
/// It is written for itself, not on top of what SQLite's store is made of, so that each can judge the other.
///
/// A `Memory` is one holder, as an open vault is one process. [`another`](Self::another) opens the same store once
/// more; dropping a `Memory` is that process's death: its leases no longer count.
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
    holder: u64,
}

/// When an injected failure strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write does not happen.
    BeforeEffect,
    /// The write happens, and its answer is lost.
    AfterEffect,
}

#[derive(Debug, Default)]
struct Shared {
    rows: BTreeMap<Name, Slot>,
    spent: BTreeMap<Fingerprint, u64>,
    last_number: u64,
    alive: Vec<u64>,
    writes: u64,
    faults: BTreeMap<u64, Fault>,
}

#[derive(Debug)]
struct Slot {
    loaded: Loaded,
    ends_at: Option<u64>,
    epoch: u64,
    lease: Option<Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    holder: u64,
    seconds: u32,
    until: u64,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::enrol(Arc::default())
    }

    /// The same store, seen from another process.
    pub fn another(&self) -> Self {
        Self::enrol(Arc::clone(&self.shared))
    }

    /// Lets the `nth` write from now (1: the next one) fail with [`Error::Injected`]. Writes are `claim`, `commit`,
    /// `release`, `remove`, `claim_due` and `spend`, by any holder, whatever they would have answered.
    pub fn fail_write(&self, nth: u64, fault: Fault) {
        let mut shared = self.lock();
        let at = shared.writes.saturating_add(nth);
        shared.faults.insert(at, fault);
    }

    fn enrol(shared: Arc<Mutex<Shared>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let holder = NEXT.fetch_add(1, Ordering::Relaxed);
        let store = Self { shared, holder };
        store.lock().alive.push(holder);
        store
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, verb: impl FnOnce(&mut Shared) -> Result<T, Error>) -> Result<T, Error> {
        let mut shared = self.lock();
        shared.writes += 1;
        let count = shared.writes;
        match shared.faults.remove(&count) {
            None => verb(&mut shared),
            Some(Fault::BeforeEffect) => Err(Error::Injected),
            Some(Fault::AfterEffect) => verb(&mut shared).and(Err(Error::Injected)),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let holder = self.holder;
        self.lock().alive.retain(|other| *other != holder);
    }
}

impl Shared {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn load(&self, name: &Name) -> Option<Loaded> {
        self.rows.get(name).map(|slot| slot.loaded.clone())
    }

    /// The end of a lease that a claim has to wait for. A lease that seems to begin in the future, as after the
    /// clock was put back, is cut to its length from now.
    fn held_until(&mut self, now: u64, name: &Name) -> Option<u64> {
        let lease = self.rows.get_mut(name)?.lease.as_mut()?;
        if now >= lease.until || !self.alive.contains(&lease.holder) {
            return None;
        }
        lease.until = lease.until.min(now.saturating_add(u64::from(lease.seconds)));
        Some(lease.until)
    }

    /// The owner's rows that are due and whose lease was given back, has run out, or seems to begin in the future, the nearest end
    /// first.
    fn due(&self, now: u64, owner: Owner<'_>, limit: usize) -> Vec<Row> {
        let offered =
            |lease: &Held| lease.until <= now || lease.until > now.saturating_add(u64::from(lease.seconds));
        let is_due = |slot: &Slot| {
            slot.loaded.due_at.is_some_and(|at| at <= now) && slot.lease.as_ref().is_none_or(offered)
        };
        let mut due: Vec<_> =
            self.rows.iter().filter(|(name, slot)| name.owner() == owner && is_due(slot)).collect();
        // `None` stands before all moments.
        due.sort_by_key(|(_, slot)| (slot.ends_at, slot.loaded.due_at));
        due.into_iter().take(limit).map(|(name, slot)| Self::row(name, slot)).collect()
    }

    fn row(name: &Name, slot: &Slot) -> Row {
        Row {
            name: name.clone(),
            generation: slot.loaded.generation,
            revision: slot.loaded.revision,
            due_at: slot.loaded.due_at,
            leased_until: slot.lease.map(|lease| lease.until),
        }
    }
}

impl Slot {
    fn new(write: Write<'_>, generation: u64, writer: u64, epoch: u64, lease: Option<Held>) -> Self {
        let loaded = Loaded {
            record: Record::from(write.record),
            generation,
            revision: write.revision,
            due_at: write.stored_due_at(),
            written_by: Some(writer),
        };
        Self { loaded, ends_at: write.stored_ends_at(), epoch, lease }
    }
}

impl Store for Memory {
    fn clock(&self, now: u64) -> Result<u64, Error> {
        Ok(now)
    }

    fn writer(&self) -> u64 {
        self.holder
    }

    fn load(&self, name: &Name) -> Result<Option<Loaded>, Error> {
        Ok(self.lock().load(name))
    }

    fn claim(
        &self,
        now: u64,
        name: &Name,
        expected: Option<u64>,
        lease_seconds: u32,
        intent: Write<'_>,
    ) -> Result<Claim, Error> {
        intent.check()?;
        let until = lease_end(now, lease_seconds)?;
        self.write(|shared| {
            if let Some(until) = shared.held_until(now, name) {
                return Ok(Claim::Held { until });
            }
            let current = shared.load(name);
            if current.as_ref().map(|row| row.generation) != expected {
                return Ok(Claim::MovedOn(current));
            }
            let epoch = shared.next_number();
            let lease = Some(Held { holder: self.holder, seconds: lease_seconds, until });
            shared.rows.insert(name.clone(), Slot::new(intent, epoch, self.holder, epoch, lease));
            Ok(Claim::Claimed(Lease::new(name.clone(), epoch, until)))
        })
    }

    fn commit(&self, now: u64, lease: &Lease, write: Write<'_>, then: Then) -> Result<Commit, Error> {
        write.check()?;
        let held = match then {
            Then::Release => None,
            Then::Hold { seconds } => {
                Some(Held { holder: self.holder, seconds, until: lease_end(now, seconds)? })
            }
        };
        self.write(|shared| {
            if shared.rows.get(&lease.name).is_none_or(|slot| slot.epoch != lease.epoch) {
                return Ok(Commit::FencedOut(shared.load(&lease.name)));
            }
            let generation = shared.next_number();
            let slot = Slot::new(write, generation, self.holder, lease.epoch, held);
            shared.rows.insert(lease.name.clone(), slot);
            Ok(Commit::Committed { generation })
        })
    }

    fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.write(|shared| {
            if let Some(slot) = shared.rows.get_mut(&lease.name).filter(|slot| slot.epoch == lease.epoch) {
                slot.lease = None;
            }
            Ok(())
        })
    }

    fn remove(&self, lease: &Lease) -> Result<Removal, Error> {
        self.write(|shared| match shared.rows.get(&lease.name) {
            Some(slot) if slot.epoch != lease.epoch => Ok(Removal::FencedOut(slot.loaded.clone())),
            _ => {
                shared.rows.remove(&lease.name);
                Ok(Removal::Removed)
            }
        })
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Row>, Error> {
        let shared = self.lock();
        let rows = shared.rows.iter().filter(|(name, _)| after.is_none_or(|after| *name > after));
        Ok(rows.take(limit).map(|(name, slot)| Shared::row(name, slot)).collect())
    }

    fn due(&self, now: u64, owner: Owner<'_>, limit: usize) -> Result<Vec<Row>, Error> {
        Ok(self.lock().due(now, owner, limit))
    }

    fn claim_due(
        &self,
        now: u64,
        owner: Owner<'_>,
        limit: usize,
        lease_seconds: u32,
    ) -> Result<Vec<Due>, Error> {
        let until = lease_end(now, lease_seconds)?;
        self.write(|shared| {
            let rows = shared.due(now, owner, limit);
            let claim = |row: Row| {
                let epoch = shared.last_number + 1;
                let slot = shared.rows.get_mut(&row.name)?;
                if let Some(lease) = slot.lease.as_mut().filter(|lease| lease.until > now) {
                    lease.until = now.saturating_add(u64::from(lease.seconds));
                    return None;
                }
                shared.last_number = epoch;
                slot.epoch = epoch;
                slot.lease = Some(Held { holder: self.holder, seconds: lease_seconds, until });
                Some(Due { lease: Lease::new(row.name, epoch, until), row: Ok(slot.loaded.clone()) })
            };
            Ok(rows.into_iter().filter_map(claim).collect())
        })
    }

    fn keys_in_use(&self) -> Result<Vec<KeyUse>, Error> {
        Ok(Vec::new())
    }

    fn reseal(&self, _after: Option<&Name>, _limit: usize) -> Result<Resealed, Error> {
        Ok(Resealed::default())
    }

    fn spend(&self, now: u64, fingerprint: &Fingerprint, keep_until: u64) -> Result<Spend, Error> {
        self.write(|shared| {
            if shared.spent.contains_key(fingerprint) {
                return Ok(Spend::SpentBefore);
            }
            shared.spent.retain(|_, keep_until| *keep_until > now);
            shared.spent.insert(*fingerprint, keep_until);
            Ok(Spend::Fresh)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_strikes_before_or_after_the_effect() {
        let store = Memory::new();
        let name = Name::new("app", "env", "1").unwrap();
        let write = Write { record: b"intent", revision: 0, due_at: None, ends_at: None };
        store.fail_write(1, Fault::BeforeEffect);
        store.fail_write(2, Fault::AfterEffect);
        assert!(matches!(store.claim(0, &name, None, 60, write), Err(Error::Injected)));
        assert_eq!(store.load(&name).unwrap(), None);
        assert!(matches!(store.claim(0, &name, None, 60, write), Err(Error::Injected)));
        assert_eq!(store.load(&name).unwrap().unwrap().record.expose(), b"intent");
        assert_eq!(store.claim(1, &name, Some(1), 60, write).unwrap(), Claim::Held { until: 60 });
    }
}
