//! A server that the vault's own script starts and ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Database {
    script: Child,
    pub url: String,
}

impl Database {
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vault/tests/postgres.sh");
        let mut script =
            Command::new("sh").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        assert!(url.starts_with("postgres://"), "the server did not start: see above");
        Self { script, url }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The script ends its server when its input ends.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
