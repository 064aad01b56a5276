//! The store of a run: a file for SQLite, or a PostgreSQL server of its own; and a folder.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Lives as long as this does.
pub struct Ground {
    /// As a worker is told it: `sqlite`, or the server's address.
    pub address: String,
    folder: TempDir,
    _server: Option<Server>,
}

/// The script ends its server when its input ends.
struct Server {
    script: Child,
}

impl Ground {
    /// `sqlite` or `postgres`.
    ///
    /// # Errors
    /// There is no such store, or it cannot be had here.
    pub fn new(store: &str) -> Result<Self, String> {
        let folder = folder()?;
        match store {
            "sqlite" => Ok(Self { address: store.into(), folder, _server: None }),
            "postgres" => {
                let (address, server) = Server::start()?;
                Ok(Self { address, folder, _server: Some(server) })
            }
            other => Err(format!("there is no store {other:?}; sqlite and postgres are there")),
        }
    }

    /// Where SQLite's files lie, and what is spilled on either store.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// In memory where the system has such a folder. A process that is killed loses nothing that the system was given, on disk or
/// not, so what is measured is the same; only the loss of power is not tried here.
fn folder() -> Result<TempDir, String> {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.map_err(|error| format!("no folder for the store: {error}"))
}

impl Server {
    /// The way that the vault's own tests take.
    fn start() -> Result<(String, Self), String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../adapters/vault/tests/postgres.sh");
        let failed = |error: std::io::Error| format!("no PostgreSQL: {error}");
        let mut child = Command::new("sh")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let output = child.stdout.take().ok_or("the script has no output")?;
        let server = Self { script: child };
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address).map_err(failed)?;
        if !address.starts_with("postgres://") {
            return Err(
                "no PostgreSQL server: see above, or run `cargo xtask test chaos`, which installs one".into(),
            );
        }
        Ok((address.trim().into(), server))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
