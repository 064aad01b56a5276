//! The hold as the whole fleet sees it: a row of the store beside the grants.

use std::sync::{Mutex, MutexGuard, PoisonError};

use evergrant::Time;
use evergrant_vault::{Claim, Error as StoreError, Name, Write};
use sha2::{Digest, Sha256};

use crate::hold::{Hold, Leave, Rule, Seen};
use crate::inner::Inner;

/// Tries to write the row before this process goes on with what it knows itself.
const TRIES: usize = 8;
/// The row is held no longer than it takes to give it back.
const LEASE_SECONDS: u32 = 10;

/// What this process knows of the hold.
pub(crate) struct Fleet {
    rule: Rule,
    name: Name,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    seen: Seen,
    hold: Hold,
}

/// Grants stand in the row by hash: it says which are the same, and not which they are.
pub(crate) fn grant_hash(realm: &str) -> u64 {
    let digest = Sha256::digest(realm.as_bytes());
    digest.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Fleet {
    /// The row's name lies beside those of grants: no program that lists an app's grants finds it among them.
    pub(crate) fn new(app: &str, environment: &str, rule: Rule) -> Result<Self, StoreError> {
        let name = Name::new(format!("keeper-{app}"), environment, "hold")?;
        Ok(Self { rule, name, known: Mutex::default() })
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn row(&self) -> &Name {
        &self.name
    }

    pub(crate) fn held_since(&self) -> Option<Time> {
        self.known().hold.since()
    }

    /// Looks at the row; what this process knew stays where the store cannot be read.
    pub(crate) async fn look(&self, inner: &Inner) {
        if let Ok(Some(row)) = inner.store.load(&self.name).await {
            self.learn(parse(row.record.expose()));
        }
    }

    /// Whether a grant may be refreshed now. The probe is booked in the row, so that it is the only one of the whole fleet.
    pub(crate) async fn may_send(&self, inner: &Inner, realm: &str, end: Time) -> Result<(), Time> {
        let (grant, now) = (grant_hash(realm), inner.now());
        match self.leave(grant, end, now) {
            Leave::Free => return Ok(()),
            Leave::Wait(until) => return Err(until),
            Leave::Probe => {}
        }
        let mut booked = Leave::Probe;
        let known = self
            .change(inner, |hold| {
                booked = hold.leave(grant, end, now, &self.rule);
                matches!(booked, Leave::Probe).then(|| hold.probed(grant, now, &self.rule))
            })
            .await;
        match booked {
            Leave::Wait(until) => Err(until),
            // The row could not be had: somebody else is just booking it.
            Leave::Probe if known.is_none() => Err(now.plus(1)),
            Leave::Probe | Leave::Free => Ok(()),
        }
    }

    fn leave(&self, grant: u64, end: Time, now: Time) -> Leave {
        self.known().hold.leave(grant, end, now, &self.rule)
    }

    /// A refresh brought tokens: there is no outage (any more).
    pub(crate) async fn good(&self, inner: &Inner) {
        let was_on = {
            let mut known = self.known();
            known.seen.good(inner.now(), &self.rule);
            known.hold.since().is_some()
        };
        if was_on {
            let lifted = self.change(inner, |hold| hold.since().is_some().then(|| hold.lifted())).await;
            if lifted.is_none() {
                // It is lifted here all the same; the next look tells whether it is for all.
                self.learn(Hold::default());
            }
            tracing::info!(target: "evergrant", "the outage is over: the hold is lifted");
        }
    }

    /// A refresh was refused. Says whether that is to be taken for an outage, and until when to wait then.
    pub(crate) async fn refused(&self, inner: &Inner, realm: &str) -> Option<Time> {
        let (grant, now) = (grant_hash(realm), inner.now());
        let (share, was_on) = {
            let mut known = self.known();
            known.seen.refused(grant, now, &self.rule);
            (known.seen.is_share(now, &self.rule), known.hold.since().is_some())
        };
        let changed = self.change(inner, |hold| Some(hold.refused(grant, now, share, &self.rule))).await;
        if changed.is_none() {
            let mut known = self.known();
            known.hold = std::mem::take(&mut known.hold).refused(grant, now, share, &self.rule);
        }
        let hold = self.known().hold.clone();
        let since = hold.since()?;
        if !was_on {
            tracing::error!(
                target: "evergrant",
                since = since.unix(),
                "many grants were refused at once: taken for an outage, and nothing is sent but probes"
            );
        }
        Some(hold.probe_at())
    }

    /// Changes the row in one step of its own; `None` where it could not be had, or nothing was to be changed.
    async fn change(&self, inner: &Inner, mut change: impl FnMut(Hold) -> Option<Hold>) -> Option<Hold> {
        for _ in 0..TRIES {
            let row = inner.store.load(&self.name).await.ok()?;
            let hold = row.as_ref().map(|row| parse(row.record.expose())).unwrap_or_default();
            let Some(changed) = change(hold.clone()) else {
                self.learn(hold);
                return None;
            };
            let record = serde_json::to_vec(&changed).ok()?;
            let revision = row.as_ref().map_or(0, |row| row.revision.wrapping_add(1));
            let write = Write { record: &record, revision, due_at: None, ends_at: None };
            let expected = row.map(|row| row.generation);
            let now = inner.now().unix();
            match inner.store.claim(now, &self.name, expected, LEASE_SECONDS, write).await.ok()? {
                Claim::Claimed(lease) => {
                    // It runs out by itself in any case.
                    let _ = inner.store.release(&lease).await;
                    self.learn(changed.clone());
                    return Some(changed);
                }
                Claim::Held { .. } => inner.pause(20).await,
                Claim::MovedOn(_) => {}
            }
        }
        None
    }

    fn learn(&self, hold: Hold) {
        metrics::gauge!("evergrant_hold").set(if hold.since().is_some() { 1.0 } else { 0.0 });
        self.known().hold = hold;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row that cannot be read is none: at worst an outage is noticed anew.
fn parse(record: &[u8]) -> Hold {
    serde_json::from_slice(record).unwrap_or_default()
}
