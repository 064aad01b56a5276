//! The async face of a blocking store.

use std::sync::Arc;

use crate::{
    AsyncStore, Claim, Commit, Due, Error, Fingerprint, KeyUse, Lease, Loaded, Name, Owner, Pending, Record,
    Removal, Resealed, Row, Spend, Store, Then, Write,
};

/// A blocking [`Store`] as an [`AsyncStore`]: each verb runs on one of tokio's threads for blocking work.
///
/// A verb that has begun goes on to its end even if its future is dropped. The futures must be polled in a tokio runtime.
#[derive(Debug)]
pub struct OnThreads<S>(Arc<S>);

impl<S: Store + 'static> OnThreads<S> {
    /// Takes the store over.
    pub fn new(store: S) -> Self {
        Self(Arc::new(store))
    }

    /// The store itself.
    pub fn inner(&self) -> &S {
        &self.0
    }

    fn run<'a, T: Send + 'static>(
        &self,
        verb: impl FnOnce(&S) -> Result<T, Error> + Send + 'static,
    ) -> Pending<'a, T> {
        let store = Arc::clone(&self.0);
        Box::pin(async move {
            // The thread ends without an answer where the runtime shuts down or the store panics.
            tokio::task::spawn_blocking(move || verb(&store)).await.unwrap_or(Err(Error::CutOff))
        })
    }
}

impl<S: Store + 'static> Clone for OnThreads<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A [`Write`] that owns its record, wiped on drop.
struct Owned {
    record: Record,
    revision: u32,
    due_at: Option<u64>,
    ends_at: Option<u64>,
}

impl Owned {
    fn of(write: Write<'_>) -> Self {
        let Write { record, revision, due_at, ends_at } = write;
        Self { record: Record::from(record), revision, due_at, ends_at }
    }

    fn as_write(&self) -> Write<'_> {
        let Self { record, revision, due_at, ends_at } = self;
        Write { record: record.expose(), revision: *revision, due_at: *due_at, ends_at: *ends_at }
    }
}

impl<S: Store + 'static> AsyncStore for OnThreads<S> {
    fn clock(&self, now: u64) -> Pending<'_, u64> {
        self.run(move |store| store.clock(now))
    }

    fn writer(&self) -> u64 {
        self.0.writer()
    }

    fn load<'a>(&'a self, name: &'a Name) -> Pending<'a, Option<Loaded>> {
        let name = name.clone();
        self.run(move |store| store.load(&name))
    }

    fn claim<'a>(
        &'a self,
        now: u64,
        name: &'a Name,
        expected: Option<u64>,
        lease_seconds: u32,
        intent: Write<'a>,
    ) -> Pending<'a, Claim> {
        let (name, intent) = (name.clone(), Owned::of(intent));
        self.run(move |store| store.claim(now, &name, expected, lease_seconds, intent.as_write()))
    }

    fn commit<'a>(&'a self, now: u64, lease: &'a Lease, write: Write<'a>, then: Then) -> Pending<'a, Commit> {
        let (lease, write) = (lease.duplicate(), Owned::of(write));
        self.run(move |store| store.commit(now, &lease, write.as_write(), then))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> Pending<'a, ()> {
        let lease = lease.duplicate();
        self.run(move |store| store.release(&lease))
    }

    fn remove<'a>(&'a self, lease: &'a Lease) -> Pending<'a, Removal> {
        let lease = lease.duplicate();
        self.run(move |store| store.remove(&lease))
    }

    fn list<'a>(&'a self, after: Option<&'a Name>, limit: usize) -> Pending<'a, Vec<Row>> {
        let after = after.cloned();
        self.run(move |store| store.list(after.as_ref(), limit))
    }

    fn due<'a>(&'a self, now: u64, owner: Owner<'a>, limit: usize) -> Pending<'a, Vec<Row>> {
        let (app, environment) = (owner.app.to_owned(), owner.environment.to_owned());
        self.run(move |store| store.due(now, Owner { app: &app, environment: &environment }, limit))
    }

    fn claim_due<'a>(
        &'a self,
        now: u64,
        owner: Owner<'a>,
        limit: usize,
        lease_seconds: u32,
    ) -> Pending<'a, Vec<Due>> {
        let (app, environment) = (owner.app.to_owned(), owner.environment.to_owned());
        self.run(move |store| {
            store.claim_due(now, Owner { app: &app, environment: &environment }, limit, lease_seconds)
        })
    }

    fn keys_in_use(&self) -> Pending<'_, Vec<KeyUse>> {
        self.run(Store::keys_in_use)
    }

    fn reseal<'a>(&'a self, after: Option<&'a Name>, limit: usize) -> Pending<'a, Resealed> {
        let after = after.cloned();
        self.run(move |store| store.reseal(after.as_ref(), limit))
    }

    fn spend<'a>(&'a self, now: u64, fingerprint: &'a Fingerprint, keep_until: u64) -> Pending<'a, Spend> {
        let fingerprint = *fingerprint;
        self.run(move |store| store.spend(now, &fingerprint, keep_until))
    }
}
