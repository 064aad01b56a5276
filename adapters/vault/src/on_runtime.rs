//! The blocking face of an async store.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    AsyncStore, Claim, Commit, Due, Error, Fingerprint, KeyUse, Lease, Loaded, Name, Owner, Removal,
    Resealed, Row, Spend, Store, Then, Write,
};

/// An [`AsyncStore`] as a blocking [`Store`], with a small runtime of its own (one thread): for programs that have none.
///
/// A verb blocks the thread that calls it, as those of any blocking store do. It may be called from a thread of another runtime
/// without a panic, and then holds that thread up: there, use the async store itself.
pub struct OnRuntime<S> {
    // Dropped before the runtime that its connections live on.
    store: Option<S>,
    runtime: Option<Runtime>,
}

impl<S: AsyncStore> OnRuntime<S> {
    /// Makes the runtime, and the store inside of it.
    ///
    /// Returns what `open` returns, or [`Error::Thread`] where the system gives no thread.
    pub fn open(open: impl Future<Output = Result<S, Error>>) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("evergrant-vault")
            .enable_all()
            .build()
            .map_err(|source| Error::Thread { source })?;
        let store = wait(&runtime, open);
        let mut this = Self { store: None, runtime: Some(runtime) };
        this.store = Some(store?);
        Ok(this)
    }

    /// The store itself. `None` never, while this lives.
    pub fn inner(&self) -> Option<&S> {
        self.store.as_ref()
    }

    /// Waits for any future on this store's runtime.
    ///
    /// Returns [`Error::CutOff`] only while it is being dropped.
    pub fn wait<'a, T, F: Future<Output = Result<T, Error>>>(
        &'a self,
        verb: impl FnOnce(&'a S) -> F,
    ) -> Result<T, Error> {
        match (&self.store, &self.runtime) {
            (Some(store), Some(runtime)) => wait(runtime, verb(store)),
            _ => Err(Error::CutOff),
        }
    }
}

impl<S> Drop for OnRuntime<S> {
    fn drop(&mut self) {
        drop(self.store.take());
        // Dropping a runtime waits, and is forbidden inside of another one; this does neither.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for OnRuntime<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnRuntime").field(&self.store).finish()
    }
}

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls on the caller's thread, so that borrowed arguments will do; sockets and timers are the runtime's. Not
/// `Runtime::block_on`, which panics inside of another runtime.
fn wait<F: Future>(runtime: &Runtime, future: F) -> F::Output {
    let _inside = runtime.enter();
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

impl<S: AsyncStore> Store for OnRuntime<S> {
    fn clock(&self, now: u64) -> Result<u64, Error> {
        self.wait(|store| store.clock(now))
    }

    /// 0 only while it is being dropped.
    fn writer(&self) -> u64 {
        self.store.as_ref().map_or(0, AsyncStore::writer)
    }

    fn load(&self, name: &Name) -> Result<Option<Loaded>, Error> {
        self.wait(|store| store.load(name))
    }

    fn claim(
        &self,
        now: u64,
        name: &Name,
        expected: Option<u64>,
        lease_seconds: u32,
        intent: Write<'_>,
    ) -> Result<Claim, Error> {
        self.wait(|store| store.claim(now, name, expected, lease_seconds, intent))
    }

    fn commit(&self, now: u64, lease: &Lease, write: Write<'_>, then: Then) -> Result<Commit, Error> {
        self.wait(|store| store.commit(now, lease, write, then))
    }

    fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.wait(|store| store.release(lease))
    }

    fn remove(&self, lease: &Lease) -> Result<Removal, Error> {
        self.wait(|store| store.remove(lease))
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Row>, Error> {
        self.wait(|store| store.list(after, limit))
    }

    fn due(&self, now: u64, owner: Owner<'_>, limit: usize) -> Result<Vec<Row>, Error> {
        self.wait(|store| store.due(now, owner, limit))
    }

    fn claim_due(
        &self,
        now: u64,
        owner: Owner<'_>,
        limit: usize,
        lease_seconds: u32,
    ) -> Result<Vec<Due>, Error> {
        self.wait(|store| store.claim_due(now, owner, limit, lease_seconds))
    }

    fn keys_in_use(&self) -> Result<Vec<KeyUse>, Error> {
        self.wait(|store| store.keys_in_use())
    }

    fn reseal(&self, after: Option<&Name>, limit: usize) -> Result<Resealed, Error> {
        self.wait(|store| store.reseal(after, limit))
    }

    fn spend(&self, now: u64, fingerprint: &Fingerprint, keep_until: u64) -> Result<Spend, Error> {
        self.wait(|store| store.spend(now, fingerprint, keep_until))
    }
}
