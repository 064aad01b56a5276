//! The verbs of a store as futures.

use std::{future::Future, pin::Pin};

use crate::{
    Claim, Commit, Due, Error, Fingerprint, KeyUse, Lease, Loaded, Name, Owner, Removal, Resealed, Row,
    Spend, Then, Write,
};

/// What a verb of an [`AsyncStore`] gives: a future that can be moved between threads.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// [`Store`](crate::Store) with futures instead of blocking: the same verbs under the same names, and the same contract. Each
/// verb's meaning is told there.
///
/// Nothing happens before a future is polled. One that is dropped before it is ready is an error like any other: it is not
/// known whether the write happened. A refresh must therefore not hang on a caller that may be cancelled.
///
/// It can stand behind `dyn`: a box for each call is nothing beside the disk or the server that the call waits for.
pub trait AsyncStore: Send + Sync {
    /// As [`Store::clock`](crate::Store::clock).
    fn clock(&self, now: u64) -> Pending<'_, u64>;

    /// As [`Store::writer`](crate::Store::writer).
    fn writer(&self) -> u64;

    /// As [`Store::load`](crate::Store::load).
    fn load<'a>(&'a self, name: &'a Name) -> Pending<'a, Option<Loaded>>;

    /// As [`Store::claim`](crate::Store::claim).
    fn claim<'a>(
        &'a self,
        now: u64,
        name: &'a Name,
        expected: Option<u64>,
        lease_seconds: u32,
        intent: Write<'a>,
    ) -> Pending<'a, Claim>;

    /// As [`Store::commit`](crate::Store::commit).
    fn commit<'a>(&'a self, now: u64, lease: &'a Lease, write: Write<'a>, then: Then) -> Pending<'a, Commit>;

    /// As [`Store::release`](crate::Store::release).
    fn release<'a>(&'a self, lease: &'a Lease) -> Pending<'a, ()>;

    /// As [`Store::remove`](crate::Store::remove).
    fn remove<'a>(&'a self, lease: &'a Lease) -> Pending<'a, Removal>;

    /// As [`Store::list`](crate::Store::list).
    fn list<'a>(&'a self, after: Option<&'a Name>, limit: usize) -> Pending<'a, Vec<Row>>;

    /// As [`Store::due`](crate::Store::due).
    fn due<'a>(&'a self, now: u64, owner: Owner<'a>, limit: usize) -> Pending<'a, Vec<Row>>;

    /// As [`Store::claim_due`](crate::Store::claim_due).
    fn claim_due<'a>(
        &'a self,
        now: u64,
        owner: Owner<'a>,
        limit: usize,
        lease_seconds: u32,
    ) -> Pending<'a, Vec<Due>>;

    /// As [`Store::keys_in_use`](crate::Store::keys_in_use).
    fn keys_in_use(&self) -> Pending<'_, Vec<KeyUse>>;

    /// As [`Store::reseal`](crate::Store::reseal).
    fn reseal<'a>(&'a self, after: Option<&'a Name>, limit: usize) -> Pending<'a, Resealed>;

    /// As [`Store::spend`](crate::Store::spend).
    fn spend<'a>(&'a self, now: u64, fingerprint: &'a Fingerprint, keep_until: u64) -> Pending<'a, Spend>;
}
