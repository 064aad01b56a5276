//! Sealed storage of grants with fenced leases, for evergrant.
//!
//! A refresh spends a token that works for one that nobody has seen yet. Between the two lies a moment at which a
//! crash, a full disk or a second process costs the grant. This crate makes that moment safe: whoever wants to
//! refresh takes the row's lease, and with the same durable write says what is about to be sent; whoever comes back
//! with the answer writes it only if the row is still its own.
//!
//! ```
//! use evergrant_vault::{Claim, Commit, Keys, Name, Sqlite, Store, Then, Write};
//! # let home = tempfile::tempdir()?;
//! # let (file, key) = (home.path().join("vault.db"), home.path().join("vault.key"));
//!
//! // Makes the vault and its key on first use, both for their owner alone.
//! let vault = Sqlite::open(&file, Keys::File(&key))?;
//! let row = Name::new("app-1f3a", "intuit-sandbox", "9130347957983546")?;
//! let now = 1_700_000_000; // Unix seconds: time is an argument
//!
//! // 1. What is there? Nothing yet; otherwise its generation says which record was read.
//! let expected = vault.load(&row)?.map(|loaded| loaded.generation);
//!
//! // 2. Take the lease, and make the intent durable, in one step.
//! let intent = Write { record: b"refreshing with RT1", revision: 1, due_at: None, ends_at: None };
//! let lease = match vault.claim(now, &row, expected, 60, intent)? {
//!     Claim::Claimed(lease) => lease,
//!     Claim::Held { until } => panic!("wait until {until} at the latest, then load again"),
//!     Claim::MovedOn(current) => panic!("judge what is there now: {current:?}"),
//! };
//!
//! // 3. Only now send. No transaction is open meanwhile.
//!
//! // 4. The answer is durable before it is used.
//! let (due_at, ends_at) = (Some(now + 3_000), Some(now + 100 * 86_400));
//! let answer = Write { record: b"linked with RT2", revision: 2, due_at, ends_at };
//! match vault.commit(now + 1, &lease, answer, Then::Release)? {
//!     Commit::Committed { .. } => {}
//!     Commit::FencedOut(current) => panic!("merge into {current:?}, under a new lease"),
//! }
//! assert_eq!(vault.due(now + 3_000, row.owner(), 10)?[0].name, row);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The contract, and where it comes from
//!
//! [`Store`] is a few verbs; [`Sqlite`] keeps it for one machine, `Postgres` (feature `postgres`) for a fleet, [`Memory`] for
//! tests. The record is opaque here: its bytes, its revision and its deadline are the core's.
//!
//! | Verb | What it is for |
//! | --- | --- |
//! | [`load`](Store::load) | read, whoever holds the lease |
//! | [`claim`](Store::claim) | lease, epoch and intent in one durable write; refused where the record moved on (REF-2, REF-3, I2) |
//! | [`commit`](Store::commit) | the answer, guarded by the epoch; keeps the lease or gives it back (REF-1, I3, I5) |
//! | [`release`](Store::release), [`remove`](Store::remove) | give back, do away with; one's own only (I4) |
//! | [`spend`](Store::spend) | a code or a signed state, once (EXC-1, I1) |
//! | [`list`](Store::list), [`due`](Store::due) | what there is, and what asks for attention (I8) |
//! | [`claim_due`](Store::claim_due) | the leases of what an app has that is due, the nearest end first, shared out among a fleet (REF-2, I8, APP-3) |
//! | [`clock`](Store::clock) | the time that all of a fleet live by |
//! | [`keys_in_use`](Store::keys_in_use), [`reseal`](Store::reseal) | replacing a sealing key |
//!
//! # Two faces, one way
//!
//! [`Store`] blocks; [`AsyncStore`] has the same verbs as futures. Each store is written in the face that its driver has, and
//! feature `tokio` brings the two bridges: `OnThreads` makes a blocking store async, `OnRuntime` an async one blocking. One suite
//! of tests holds all of them to the contract, over both bridges as well.
//!
//! | Feature | What it adds |
//! | --- | --- |
//! | `tokio` | `OnThreads`, `OnRuntime` |
//! | `postgres` | `Postgres`, and a stream of what other processes change |
//! | `export` | `export`, `import`: a whole vault in one encrypted stream |
//!
//! # Numbers
//!
//! A vault has one counter. Each write of a record draws the next number from it: the record's *generation*. The
//! number drawn by a claim is also the row's *epoch* until the next claim. So epochs rise strictly, a generation
//! names one write and no other, and a row that was removed and made again does not let its old writer in. The
//! *revision* is the core's own count of token pairs; the vault binds it and does not judge it.
//!
//! Claiming is one step and not two (lease first, intent later), because the step in between would have to be
//! guarded as well: a lease without an intent is a process of which nobody knows whether it has sent. The caller
//! reads first, without a lease; if that was too early, the claim is answered with the current record.
//!
//! [`claim_due`](Store::claim_due) seems to break that rule: it takes leases and writes no intent, because nobody can write the
//! intent of a record that it has not read. What keeps it safe is the order behind it. The holder commits the intent with
//! [`Then::Hold`], guarded by its epoch, and sends only then: a record without an intent is a request that was not sent.
//!
//! # Leases
//!
//! A lease counts while it has not run out *and* its holder lives. Each open [`Sqlite`] locks a file of its own in the folder
//! `<vault>.holders`; the operating system takes that lock back when the process ends, however it ends. So a
//! process killed in mid-refresh holds nobody up: the next one finds its intent, at once. A lease that did run out
//! may be taken from a living process, and what that one brings home later is fenced out, handed the current
//! record, and merged: neither written over nor dropped.
//!
//! Across machines there is no such lock: in PostgreSQL a lease ends by being given back, or by the server's clock.
//!
//! Otherwise leases are judged by the clock that is passed in. All processes of one machine have the same one. If it is put
//! back, a lease is waited for no longer than its own length; if it jumps ahead, leases end early, and fencing does
//! the rest.
//!
//! # Sealing
//!
//! Records are sealed with XChaCha20-Poly1305 under a key from a file or a text ([`Keys`]); the crate never reads
//! the environment itself. A sealed record names its key and is bound to app, environment, realm, field,
//! generation and revision: it opens in no other row, no other environment (APP-3), and not in place of a later
//! write. The schedule and the lease are not bound; whoever changes those can delay, not forge. A canary for each
//! key refuses a wrong key when the vault is opened, before anything is written.
//!
//! To replace a key, give the new one first and the old one after it, in all processes; each write seals again
//! under the new one, and [`reseal`](Store::reseal) does so for rows that nobody writes. When
//! [`keys_in_use`](Store::keys_in_use) no longer names the old one, it can go.
//!
//! What came from the authority while the store could not be written waits in a [`Spill`]: a folder of sealed files, each for one
//! record, from which it is merged into its row later.
//!
//! What sealing cannot tell: that the *whole* row, or the whole file, was put back as it once was, as a restored
//! backup is. Its tokens are then old; the authority will say so.
//!
//! # Secrets
//!
//! Records and keys are wiped when they are dropped, and nothing renders them: not `Debug`, not an error (I6).
//! Names, key ids, generations, deadlines and the fingerprints of spent codes stand in the clear.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod async_store;
mod entropy;
mod error;
#[cfg(feature = "export")]
mod export;
mod files;
mod holder;
mod key;
mod memory;
mod name;
#[cfg(feature = "tokio")]
mod on_runtime;
#[cfg(feature = "tokio")]
mod on_threads;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod seal;
mod spill;
mod sqlite;
mod store;

pub use async_store::{AsyncStore, Pending};
pub use entropy::{Entropy, SystemEntropy};
pub use error::{Blame, Error};
#[cfg(feature = "export")]
pub use export::{ExportKey, Exported, Imported, export, import, inspect};
pub use key::{KeyId, Keyring, Keys};
pub use memory::{Fault, Memory};
pub use name::{MAX_NAME_PART_BYTES, Name};
#[cfg(feature = "tokio")]
pub use on_runtime::OnRuntime;
#[cfg(feature = "tokio")]
pub use on_threads::OnThreads;
#[cfg(feature = "postgres")]
pub use postgres::{Change, Changes, Clock, Postgres, PostgresOptions};
pub use record::{MAX_RECORD_BYTES, Record};
pub use spill::{Spill, Spilled};
pub use sqlite::{Options, Sqlite};
pub use store::{
    Claim, Commit, Due, Fingerprint, KeyUse, Lease, Loaded, MAX_LEASE_SECONDS, Owner, Removal, Resealed, Row,
    Spend, Store, Then, Write,
};
