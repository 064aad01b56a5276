//! The store of a run: a folder for SQLite, or a PostgreSQL server of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Lives as long as this does.
pub struct Ground {
    /// As a worker is told it.
    pub address: String,
    _kind: Kind,
}

enum Kind {
    Folder {
        _folder: TempDir,
    },
    /// The script ends its server when its input ends.
    Server {
        script: Child,
    },
}

impl Ground {
    /// `sqlite` or `postgres`.
    ///
    /// # Errors
    /// There is no such store, or it cannot be had here.
    pub fn new(store: &str) -> Result<Self, String> {
        match store {
            "sqlite" => Self::folder(),
            "postgres" => Self::server(),
            other => Err(format!("there is no store {other:?}; sqlite and postgres are there")),
        }
    }

    /// In memory where the system has such a folder. A process that is killed loses nothing that the system was given, on disk or
    /// not, so what is measured is the same; only the loss of power is not tried here.
    fn folder() -> Result<Self, String> {
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let folder = made.map_err(|error| format!("no folder for the store: {error}"))?;
        Ok(Self { address: folder.path().display().to_string(), _kind: Kind::Folder { _folder: folder } })
    }

    /// The way that the vault's own tests take.
    fn server() -> Result<Self, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../adapters/vault/tests/postgres.sh");
        let failed = |error: std::io::Error| format!("no PostgreSQL: {error}");
        let mut child = Command::new("sh")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let output = child.stdout.take().ok_or("the script has no output")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address).map_err(failed)?;
        if !address.starts_with("postgres://") {
            return Err(
                "no PostgreSQL server: see above, or run `cargo xtask test chaos`, which installs one".into(),
            );
        }
        Ok(Self { address: address.trim().into(), _kind: Kind::Server { script: child } })
    }
}

impl Drop for Kind {
    fn drop(&mut self) {
        if let Self::Server { script } = self {
            drop(script.stdin.take());
            let _ = script.wait();
        }
    }
}
