//! Borrowed connections, failures that pass, and how long to wait for that.

use std::{
    error::Error as StdError,
    future::Future,
    io,
    ops::Deref,
    time::{Duration, Instant},
};

use deadpool_postgres::{
    Client, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    Timeouts,
};
use tokio_postgres::{NoTls, error::SqlState, types::ToSql};

use super::{Postgres, address::Address};
use crate::Error;

/// A failure before it is known at which vault, in doing what.
pub(super) enum Fail {
    Ours(Error),
    Sql(tokio_postgres::Error),
    Pool(PoolError),
    /// No answer in time.
    Late,
    /// Somebody else was faster: look again.
    Outrun,
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<tokio_postgres::Error> for Fail {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<PoolError> for Fail {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                Self::Sql(error)
            }
            other => Self::Pool(other),
        }
    }
}

impl Fail {
    /// Whether the same again, on a new connection, may succeed.
    fn may_pass(&self) -> bool {
        match self {
            Self::Ours(_) => false,
            Self::Pool(_) | Self::Late | Self::Outrun => true,
            Self::Sql(error) => match error.code() {
                Some(code) => passes(code),
                None => error.is_closed() || is_of_the_wire(error),
            },
        }
    }

    pub(super) fn named(self, place: &str, doing: &'static str) -> Error {
        let vault = place.to_owned();
        let lost = self.may_pass();
        let error = match self {
            Self::Ours(error) => return error,
            Self::Outrun => return Error::Locked { vault },
            Self::Late => {
                let source = Box::new(io::Error::from(io::ErrorKind::TimedOut));
                return Error::Unreachable { vault, doing, source };
            }
            Self::Pool(error) => return Error::Unreachable { vault, doing, source: Box::new(error) },
            Self::Sql(error) => error,
        };
        let detail = || error.to_string();
        match error.code() {
            Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Error::ReadOnly { vault },
            Some(code) if *code == SqlState::DISK_FULL => Error::Full { vault },
            Some(code)
                if *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::T_R_DEADLOCK_DETECTED =>
            {
                Error::Locked { vault }
            }
            Some(code) if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
                Error::Damaged { vault, detail: detail() }
            }
            _ if lost => Error::Unreachable { vault, doing, source: Box::new(error) },
            _ => Error::Database { vault, doing, source: Box::new(error) },
        }
    }
}

/// Connection exceptions, a server on its way down or up, one that is full, and transactions that the server gave up.
fn passes(code: &SqlState) -> bool {
    code.code().starts_with("08")
        || [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .contains(code)
}

fn is_of_the_wire(error: &tokio_postgres::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<io::Error>() {
            return true;
        }
        source = error.source();
    }
    // The driver's own time-out has no source.
    error.to_string().contains("timeout")
}

/// Bounds the repetitions of one verb.
pub(super) struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, pause: Duration::from_millis(10) }
    }

    /// What is left of it, for one attempt.
    pub(super) async fn within<T>(&self, attempt: impl Future<Output = Result<T, Fail>>) -> Result<T, Fail> {
        let left = self.until.saturating_duration_since(Instant::now());
        tokio::time::timeout(left, attempt).await.unwrap_or(Err(Fail::Late))
    }

    /// Waits until it is worth the while to try again, or gives the failure back.
    pub(super) async fn after(&mut self, fail: Fail) -> Result<(), Fail> {
        if !fail.may_pass() || Instant::now() + self.pause >= self.until {
            return Err(fail);
        }
        if !matches!(fail, Fail::Outrun) {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(Duration::from_millis(500));
        }
        Ok(())
    }
}

/// A borrowed connection. It goes back to the pool only when it is given back: after a failure, a time-out or a dropped future
/// something of it may still be under way.
pub(super) struct Lent(Option<Object>);

impl Lent {
    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }

    /// Carries out a statement that the connection knows, or learns now.
    pub(super) async fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Fail> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.execute(&statement, values).await?)
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, Fail> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query(&statement, values).await?)
    }

    fn client(&self) -> Result<&Client, Fail> {
        self.0.as_ref().ok_or(Fail::Late)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl Postgres {
    pub(super) async fn lend(&self) -> Result<Lent, Fail> {
        Ok(Lent(Some(self.pool.get().await?)))
    }

    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.patience)
    }
}

/// The pool. It opens connections as they are wanted, and sets each one up as it must be.
pub(super) fn pool(
    address: &Address,
    schema: &str,
    connections: usize,
    patience: Duration,
) -> Result<Pool, Error> {
    let recycle = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match &address.tls {
        Some(tls) => Manager::from_config(address.config.clone(), tls.clone(), recycle),
        None => Manager::from_config(address.config.clone(), NoTls, recycle),
    };
    // The server gives up a lock before this side gives up the server, so that the two are told apart.
    let longest_lock = (patience * 3 / 4).as_millis().clamp(1, 3_600_000);
    let set_up = format!(
        "{}SET search_path TO \"{schema}\"; SET lock_timeout TO {longest_lock};",
        include_str!("connection.sql")
    );
    let hook = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
        let set_up = set_up.clone();
        Box::pin(async move { client.deref().batch_execute(&set_up).await.map_err(HookError::Backend) })
    });
    Pool::builder(manager)
        .max_size(connections.max(1))
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts { wait: Some(patience), create: Some(patience), recycle: Some(patience) })
        .post_create(hook)
        .build()
        .map_err(|error| Error::Database {
            vault: address.place.clone(),
            doing: "make its pool",
            source: Box::new(error),
        })
}
