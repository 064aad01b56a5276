//! The vault in PostgreSQL, for a fleet.

mod address;
mod changes;
mod connection;
mod open;
mod verbs;

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use deadpool_postgres::Pool;

use crate::{Entropy, KeyId, Keyring, Name, SystemEntropy};

pub use changes::{Change, Changes};

/// A vault in a PostgreSQL database: sealed records, fenced leases, for any number of threads, processes and machines.
///
/// An [`AsyncStore`](crate::AsyncStore); a program without a runtime puts [`OnRuntime`](crate::OnRuntime) over it. It must be
/// made and used inside of a tokio runtime.
///
/// ```no_run
/// use evergrant_vault::{AsyncStore, Change, Keys, Postgres, PostgresOptions};
///
/// # async fn run() -> Result<(), evergrant_vault::Error> {
/// let key = Keys::File("/etc/evergrant/vault.key".as_ref());
/// let mut options = PostgresOptions::default();
/// let password = std::fs::read_to_string("/run/secrets/database").unwrap_or_default();
/// options.password = Some(password.trim().to_owned());
/// let vault = Postgres::open("postgres://evergrant@db.internal/grants", key, options).await?;
///
/// let mut news = vault.changes().await?;
/// while let Some(change) = news.next().await {
///     match change {
///         Change::Row { name, generation } => println!("{name} is at {generation:?} now"),
///         _ => println!("read everything again"),
///     }
/// }
/// # Ok(()) }
/// ```
///
/// # Time
///
/// Leases are judged by the server's clock alone, whatever the processes' clocks say.
///
/// # Leases, and holders that die
///
/// A lease ends when it is given back or when it has run out, and in no other way. A session's advisory lock would tell of a
/// death at once, but of others as well that are none: a connection that was cut, a server that was started again. Its
/// process would live on with a request on the wire, and the taker would send a second one (REF-2, I2). On one machine the
/// operating system knows who is dead; across machines nobody does. So leases are short, and waited for.
///
/// # Lost connections
///
/// Each verb changes the database in one statement that commits by itself: no transaction is ever open while this side waits for
/// anything. A verb whose answer was lost is carried out again on a new connection, for as long as
/// [`patience`](PostgresOptions::patience) lasts. That is safe: a claim, a commit and a spent code know themselves again by
/// the number or the mark that only this call has.
///
/// # What it needs
///
/// PostgreSQL 12 or later, and a schema of its own in a database ([`PostgresOptions::schema`]); a role that may create that
/// schema, or one that owns it. Once it is there, rights on its tables and its sequence are enough. It speaks to the server
/// directly, or through a pooler that keeps sessions whole (`PgBouncer`: session mode).
pub struct Postgres {
    place: String,
    schema: String,
    holder: String,
    /// Tells what this vault has written from what others have. Not the holder: people choose that.
    writer: i64,
    ring: Keyring,
    clock: Clock,
    patience: Duration,
    pool: Pool,
    address: address::Address,
    entropy: Mutex<Box<dyn Entropy>>,
}

/// What can be chosen when a vault in PostgreSQL is opened. [`Default`] is right but for tests and for large fleets.
#[non_exhaustive]
pub struct PostgresOptions {
    /// The schema that the vault's tables lie in: `a-z`, `0-9` and `_`, at most 40, no digit first. Made if it is not there.
    pub schema: String,
    /// The password, where it does not stand in the address.
    pub password: Option<String>,
    /// Most connections at a time.
    pub connections: usize,
    /// How long a verb goes on when the server does not answer, is being started again, or all connections are in use. Keep it
    /// well inside of the lease; at most an hour counts.
    pub patience: Duration,
    /// What stands in the lease table as the holder's name, for people; random where it is empty.
    pub holder: String,
    /// Which clock leases are judged by.
    pub clock: Clock,
    /// Where nonces and marks come from.
    pub entropy: Box<dyn Entropy>,
}

/// Which clock the leases of a [`Postgres`] are judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The server's.
    #[default]
    Server,
    /// The `now` that each verb is given. For tests and simulations on a virtual clock, which all processes must then share.
    Caller,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            schema: "evergrant".into(),
            password: None,
            connections: 8,
            patience: Duration::from_secs(10),
            holder: String::new(),
            clock: Clock::Server,
            entropy: Box::new(SystemEntropy),
        }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("schema", &self.schema)
            .field("connections", &self.connections)
            .field("patience", &self.patience)
            .field("holder", &self.holder)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// Server, database and schema, for people. No password is in it.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The ids of the keys that the vault was opened with, the sealing one first.
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.ring.ids()
    }

    /// What a statement is told of the time: nothing, where the server's clock judges.
    fn said(&self, now: u64) -> Option<i64> {
        match self.clock {
            Clock::Server => None,
            Clock::Caller => Some(signed(now)),
        }
    }

    fn with_entropy<T>(&self, use_it: impl FnOnce(&mut dyn Entropy) -> T) -> T {
        use_it(self.entropy.lock().unwrap_or_else(PoisonError::into_inner).as_mut())
    }

    fn channel(&self) -> String {
        format!("evergrant vault {}", self.schema)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("place", &self.place)
            .field("keys", &self.ring.ids())
            .field("holder", &self.holder)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// PostgreSQL counts in `i64`, as SQLite does: moments beyond it are taken for its end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Nothing negative is ever written; what somebody else's hand made negative is taken for 0.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The three parts of a name, or three that stand before all names.
fn parts(name: Option<&Name>) -> [&str; 3] {
    name.map_or([""; 3], |name| [name.app(), name.environment(), name.realm()])
}
