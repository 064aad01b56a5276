//! A PostgreSQL server for the tests of one program, and vaults in it.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use evergrant_vault::{Clock, OnRuntime, Postgres, PostgresOptions};

use super::{KEY, ring};

/// A server of its own script. It ends with the script's input, so however this program ends.
pub struct Server {
    _script: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub url: String,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With what the script reads from its environment.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres.sh");
        let mut script = Command::new("sh")
            .arg(script)
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let (orders, answers) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let mut server =
            Self { _script: script, orders, answers: BufReader::new(answers), url: String::new() };
        server.url = server.answer();
        assert!(server.url.starts_with("postgres://"), "the server did not start: see above");
        server
    }

    /// `stop`, `crash` or `start`.
    pub fn order(&mut self, verb: &str) {
        writeln!(self.orders, "{verb}").unwrap();
        assert_eq!(self.answer(), "ok", "{verb}");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

/// The address of a server that all tests of this program share.
pub fn url() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    &SERVER.get_or_init(Server::start).url
}

/// The name of a schema that no other test has.
pub fn schema() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn options(schema: &str, clock: Clock) -> PostgresOptions {
    let mut options = PostgresOptions::default();
    options.schema = schema.into();
    options.clock = clock;
    options.connections = 4;
    options.patience = Duration::from_secs(20);
    options
}

/// A blocking vault on a virtual clock.
pub fn open_at(schema: &str) -> OnRuntime<Postgres> {
    OnRuntime::open(Postgres::open(url(), ring(KEY), options(schema, Clock::Caller))).unwrap()
}
