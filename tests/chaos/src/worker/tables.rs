//! The store of the baselines: one row for each grant, as most programs have it. Each verb is one durable statement.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

/// What is stored of a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) access: String,
    pub(crate) refresh: String,
    /// The access token's end, Unix seconds.
    pub(crate) access_until: i64,
}

/// Where a client and its store are.
pub(crate) enum Place {
    Sqlite { folder: std::path::PathBuf },
    Postgres { url: String, schema: String },
}

pub(crate) enum Tables {
    Sqlite(Box<Connection>),
    Postgres { runtime: Box<Runtime>, client: Box<Client> },
}

impl Place {
    /// `postgres://…`, or SQLite in that folder.
    pub(crate) fn of(store: &str, folder: &Path, schema: &str) -> Self {
        if store.starts_with("postgres://") {
            Self::Postgres { url: store.into(), schema: schema.into() }
        } else {
            Self::Sqlite { folder: folder.into() }
        }
    }
}

type Result<T> = std::result::Result<T, String>;

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A refresh token, the access token beside it, and a lock with a time limit.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS token (realm TEXT PRIMARY KEY, access TEXT NOT NULL, refresh TEXT NOT NULL, \
                      access_until BIGINT NOT NULL);
                      CREATE TABLE IF NOT EXISTS held (realm TEXT PRIMARY KEY, owner TEXT NOT NULL, until BIGINT NOT NULL)";
const GET: &str = "SELECT access, refresh, access_until FROM token WHERE realm = $1";
const PUT: &str = "INSERT INTO token (realm, access, refresh, access_until) VALUES ($1, $2, $3, $4) ON CONFLICT (realm) DO \
                   UPDATE SET access = excluded.access, refresh = excluded.refresh, access_until = excluded.access_until";
const REPLACE: &str =
    "UPDATE token SET access = $2, refresh = $3, access_until = $4 WHERE realm = $1 AND refresh = $5";
const DELETE: &str = "DELETE FROM token WHERE realm = $1";
const LOCK: &str = "INSERT INTO held (realm, owner, until) VALUES ($1, $2, $3) ON CONFLICT (realm) DO UPDATE \
                    SET owner = excluded.owner, until = excluded.until WHERE held.until <= $4";
const UNLOCK: &str = "DELETE FROM held WHERE realm = $1 AND owner = $2";

impl Tables {
    pub(crate) fn open(place: &Place) -> Result<Self> {
        match place {
            Place::Sqlite { folder } => Self::open_sqlite(&folder.join("plain.db")),
            Place::Postgres { url, schema } => Self::open_postgres(url, schema),
        }
    }

    fn open_sqlite(file: &Path) -> Result<Self> {
        let connection = Connection::open(file).map_err(told)?;
        connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(told)?;
        // As durable as the vault.
        let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
        connection.execute_batch(&format!("{settings} {SCHEMA}")).map_err(told)?;
        Ok(Self::Sqlite(Box::new(connection)))
    }

    fn open_postgres(url: &str, schema: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(told)?;
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(told)?;
            tokio::spawn(connection);
            // Several workers start at once: one of them makes the tables.
            let open = format!(
                "SELECT pg_advisory_lock(4711); CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path TO {schema}; \
                 {SCHEMA}; SELECT pg_advisory_unlock(4711)"
            );
            client.batch_execute(&open).await.map_err(told)?;
            Ok::<_, String>(client)
        })?;
        Ok(Self::Postgres { runtime: Box::new(runtime), client: Box::new(client) })
    }

    pub(crate) fn get(&self, realm: &str) -> Result<Option<Row>> {
        match self {
            Self::Sqlite(connection) => connection
                .prepare(&numbered(GET))
                .and_then(|mut get| {
                    get.query_row([realm], |row| {
                        Ok(Row { access: row.get(0)?, refresh: row.get(1)?, access_until: row.get(2)? })
                    })
                    .optional()
                })
                .map_err(told),
            Self::Postgres { runtime, client } => {
                let found = wait(runtime, client.query_opt(GET, &[&realm])).map_err(told)?;
                Ok(found.map(|row| Row { access: row.get(0), refresh: row.get(1), access_until: row.get(2) }))
            }
        }
    }

    pub(crate) fn put(&self, realm: &str, row: &Row) -> Result<()> {
        match self {
            Self::Sqlite(connection) => connection
                .prepare(&numbered(PUT))
                .and_then(|mut put| put.execute(params![realm, row.access, row.refresh, row.access_until]))
                .map(|_| ())
                .map_err(told),
            Self::Postgres { runtime, client } => {
                wait(runtime, client.execute(PUT, &[&realm, &row.access, &row.refresh, &row.access_until]))
                    .map(|_| ())
                    .map_err(told)
            }
        }
    }

    /// Whether the row still had that refresh token, and has the new one now.
    pub(crate) fn replace(&self, realm: &str, before: &str, row: &Row) -> Result<bool> {
        let count = match self {
            Self::Sqlite(connection) => connection
                .prepare(&numbered(REPLACE))
                .and_then(|mut replace| {
                    replace.execute(params![realm, row.access, row.refresh, row.access_until, before])
                })
                .map(|count| count as u64)
                .map_err(told)?,
            Self::Postgres { runtime, client } => wait(
                runtime,
                client.execute(REPLACE, &[&realm, &row.access, &row.refresh, &row.access_until, &before]),
            )
            .map_err(told)?,
        };
        Ok(count == 1)
    }

    pub(crate) fn delete(&self, realm: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => connection.execute(DELETE, [realm]).map(|_| ()).map_err(told),
            Self::Postgres { runtime, client } => {
                wait(runtime, client.execute(DELETE, &[&realm])).map(|_| ()).map_err(told)
            }
        }
    }

    /// Whether the lock is this owner's now.
    pub(crate) fn lock(&self, realm: &str, owner: &str, now: i64, until: i64) -> Result<bool> {
        let count = match self {
            Self::Sqlite(connection) => connection
                .prepare(&numbered(LOCK))
                .and_then(|mut lock| lock.execute(params![realm, owner, until, now]))
                .map(|count| count as u64)
                .map_err(told)?,
            Self::Postgres { runtime, client } => {
                wait(runtime, client.execute(LOCK, &[&realm, &owner, &until, &now])).map_err(told)?
            }
        };
        Ok(count == 1)
    }

    pub(crate) fn unlock(&self, realm: &str, owner: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => connection.execute(UNLOCK, [realm, owner]).map(|_| ()).map_err(told),
            Self::Postgres { runtime, client } => {
                wait(runtime, client.execute(UNLOCK, &[&realm, &owner])).map(|_| ()).map_err(told)
            }
        }
    }
}

/// On a thread of its own: the caller's may be another runtime's, which must not be blocked from within.
fn wait<T: Send>(runtime: &Runtime, verb: impl Future<Output = T> + Send) -> T {
    let done = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(verb)).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// SQLite numbers `$1` by where it first stands, and `?1` by its number.
fn numbered(statement: &str) -> String {
    statement.replace('$', "?")
}
