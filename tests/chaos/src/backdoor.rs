//! The harness's own way into a store: it empties a vault between two grants, and waits until a server has done with a dead process.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use crate::worker::Place;

/// SQLite's vault in the folder of a fleet.
pub(crate) const VAULT: &str = "vault.db";
/// What is spilled, in the folder of a fleet.
pub(crate) const SPILL: &str = "spill";

/// All that a vault holds of grants. What it knows of itself stays: its keys, and the number that rises with every write.
const EMPTY: &str = "DELETE FROM record; DELETE FROM slot; DELETE FROM spent;";
/// A session that is not gone by then hangs.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) enum Backdoor {
    Sqlite { file: std::path::PathBuf },
    Postgres { runtime: Runtime, client: Box<Client>, schema: String },
}

fn told(error: impl std::fmt::Display) -> String {
    format!("the harness's own way into the store: {error}")
}

impl Backdoor {
    pub(crate) fn open(place: &Place) -> Result<Self, String> {
        match place {
            Place::Sqlite { folder } => Ok(Self::Sqlite { file: folder.join(VAULT) }),
            Place::Postgres { url, schema } => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                let runtime = builder.worker_threads(1).enable_all().build().map_err(told)?;
                let (client, connection) =
                    runtime.block_on(tokio_postgres::connect(url, tokio_postgres::NoTls)).map_err(told)?;
                runtime.spawn(connection);
                Ok(Self::Postgres { runtime, client: Box::new(client), schema: schema.clone() })
            }
        }
    }

    /// The store's address, as a worker is told it whose sessions are to be known by that name.
    pub(crate) fn known_as(&self, store: &str, session: &str) -> String {
        match self {
            Self::Sqlite { .. } => store.into(),
            // Sessions die young here: they are not to plan each statement anew five times before they settle for one plan.
            Self::Postgres { .. } => {
                format!(
                    "{store}?application_name={session}&options=-c%20plan_cache_mode%3Dforce_generic_plan"
                )
            }
        }
    }

    /// Waits until the server has no session of that name any more.
    pub(crate) fn until_gone(&self, session: &str) -> Result<(), String> {
        let Self::Postgres { runtime, client, .. } = self else { return Ok(()) };
        let began = Instant::now();
        let look = "SELECT FROM pg_stat_activity WHERE application_name = $1";
        while !runtime.block_on(client.query(look, &[&session])).map_err(told)?.is_empty() {
            if began.elapsed() > PATIENCE {
                return Err(format!("the server still has the session {session} of a process that is dead"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Empties the vault, and what was spilled beside it. Nobody may be at work.
    pub(crate) fn empty(&self, folder: &Path) -> Result<(), String> {
        match self {
            Self::Sqlite { file } => {
                let connection = Connection::open(file).map_err(told)?;
                connection.busy_timeout(PATIENCE).map_err(told)?;
                connection.execute_batch(&format!("BEGIN IMMEDIATE; {EMPTY} COMMIT")).map_err(told)?;
            }
            Self::Postgres { runtime, client, schema } => {
                let empty = format!("BEGIN; SET LOCAL search_path TO {schema}; {EMPTY} COMMIT");
                runtime.block_on(client.batch_execute(&empty)).map_err(told)?;
            }
        }
        match std::fs::remove_dir_all(folder.join(SPILL)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(told(error)),
            _ => Ok(()),
        }
    }
}
