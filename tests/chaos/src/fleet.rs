//! The worker processes of one fleet, and the one endpoint that they ask.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::backdoor::Backdoor;
use crate::wire::Request;
use crate::worker::{Place, Tables};

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// This program.
    pub program: std::path::PathBuf,
    /// The client's name.
    pub client: String,
    /// `postgres://…`, or `sqlite`.
    pub store: String,
    /// The schema in PostgreSQL.
    pub schema: String,
    /// Where SQLite's files lie, and what is spilled.
    pub folder: std::path::PathBuf,
    /// The folder of the node worker with its packages installed; needed by `intuit-oauth` only.
    pub node: std::path::PathBuf,
}

pub(crate) struct Fleet {
    start: Start,
    listener: TcpListener,
    port: u16,
    workers: Vec<Option<Process>>,
    lives: Vec<u32>,
    backdoor: Backdoor,
    /// What the node worker stores: it has no driver of its own, so the harness does it.
    pub(crate) tables: Option<Tables>,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    read: Vec<u8>,
}

/// What a worker does next.
pub(crate) enum Event {
    Line(String),
    Request(Request),
    Died,
}

/// A worker that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

impl Fleet {
    pub(crate) fn new(start: Start, workers: usize) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no port: {error}"))?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let place = Place::of(&start.store, &start.folder, &start.schema);
        let tables = match start.client.as_str() {
            "intuit-oauth" => Some(Tables::open(&place)?),
            _ => None,
        };
        let backdoor = Backdoor::open(&place)?;
        let mut fleet = Self {
            start,
            listener,
            port,
            workers: (0..workers).map(|_| None).collect(),
            lives: vec![0; workers],
            backdoor,
            tables,
        };
        (0..workers).try_for_each(|worker| fleet.spawn(worker))?;
        Ok(fleet)
    }

    /// For the next grant: every worker lives, and a keeper's store is as empty as a new one. (The baselines tell grants apart by their
    /// realms alone.)
    pub(crate) fn begin(&mut self) -> Result<(), String> {
        for worker in 0..self.workers.len() {
            if self.workers[worker].is_none() {
                self.spawn(worker)?;
            }
        }
        if self.is_keeper() { self.backdoor.empty(&self.start.folder) } else { Ok(()) }
    }

    pub(crate) fn size(&self) -> usize {
        self.workers.len()
    }

    /// A keeper does something by itself as soon as it runs.
    pub(crate) fn looks_when_it_starts(&self) -> bool {
        self.is_keeper()
    }

    fn is_keeper(&self) -> bool {
        self.start.client == "keeper"
    }

    pub(crate) fn is_alive(&self, worker: usize) -> bool {
        self.workers[worker].is_some()
    }

    /// Starts a worker, and waits until it can be asked.
    pub(crate) fn spawn(&mut self, worker: usize) -> Result<(), String> {
        self.lives[worker] += 1;
        let authority = format!("http://127.0.0.1:{}/w{worker}.{}/token", self.port, self.lives[worker]);
        let Start { program, client, store, schema, folder, node } = &self.start;
        let mut command = if client == "intuit-oauth" {
            let mut command = Command::new("node");
            command.arg("worker.mjs").arg(&authority).current_dir(node);
            command
        } else {
            let mut command = Command::new(program);
            let store = self.backdoor.known_as(store, &self.session(worker));
            command.args(["worker", "--client", client, "--store", &store, "--schema", schema]);
            command.args(["--authority", &authority]).arg("--folder").arg(folder);
            command
        };
        let failed = |error: std::io::Error| format!("no worker: {error}");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a worker without pipes".into());
        };
        self.workers[worker] = Some(Process { child, input, output, read: Vec::new() });
        match self.wait(worker)? {
            Event::Line(line) if line == "ready" => Ok(()),
            _ => Err(format!(
                "a worker of {client} does not start; its own words are above",
                client = self.start.client
            )),
        }
    }

    /// `kill -9`, and waits until the process is gone and its locks with it.
    ///
    /// A server may still carry out a statement of the dead process. That takes milliseconds, which must not be hours of the harness's
    /// time: it waits until the session is gone.
    pub(crate) fn kill(&mut self, worker: usize) -> Result<(), String> {
        let Some(mut process) = self.workers[worker].take() else { return Ok(()) };
        // It may be gone already.
        let _ = process.child.kill();
        let _ = process.child.wait();
        self.backdoor.until_gone(&self.session(worker))
    }

    /// What a worker's sessions are known as to the server, in this life of it.
    fn session(&self, worker: usize) -> String {
        format!("{}.w{worker}.{}", self.start.schema, self.lives[worker])
    }

    pub(crate) fn say(&mut self, worker: usize, line: &str) {
        if let Some(process) = &mut self.workers[worker] {
            // One that is gone is noticed when it is waited for.
            let _ = process.input.write_all(line.as_bytes()).and_then(|()| process.input.write_all(b"\n"));
        }
    }

    /// Waits for what this worker does next; the others stand still.
    pub(crate) fn wait(&mut self, worker: usize) -> Result<Event, String> {
        let began = Instant::now();
        loop {
            let Some(process) = &mut self.workers[worker] else { return Ok(Event::Died) };
            if let Some(end) = process.read.iter().position(|byte| *byte == b'\n') {
                let line = process.read.drain(..=end).collect::<Vec<_>>();
                return Ok(Event::Line(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let (asked, spoke) = ready(&self.listener, Some(&process.output), 1_000);
            if asked {
                match Request::accept(&self.listener) {
                    Some(request) if request.worker == worker && request.life == self.lives[worker] => {
                        return Ok(Event::Request(request));
                    }
                    // Of a worker that died since.
                    _ => continue,
                }
            }
            if spoke && !process.hear() {
                self.kill(worker)?;
                return Ok(Event::Died);
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("a worker of {} hangs", self.start.client));
            }
        }
    }

    /// What a worker that was killed had sent off before.
    pub(crate) fn left_behind(&self) -> Option<Request> {
        while ready(&self.listener, None, 0).0 {
            if let Some(request) = Request::accept(&self.listener) {
                return Some(request);
            }
        }
        None
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        (0..self.workers.len()).for_each(|worker| {
            // Nobody waits for its session any more.
            let _ = self.kill(worker);
        });
    }
}

impl Process {
    /// Reads what has come; `false` at the end.
    fn hear(&mut self) -> bool {
        let mut piece = [0; 4_096];
        match self.output.read(&mut piece) {
            Ok(count) if count > 0 => {
                self.read.extend_from_slice(&piece[..count]);
                true
            }
            _ => false,
        }
    }
}

/// Whether a connection waits, and whether the worker has spoken.
fn ready(listener: &TcpListener, output: Option<&ChildStdout>, milliseconds: i64) -> (bool, bool) {
    let within = Timespec { tv_sec: milliseconds / 1_000, tv_nsec: (milliseconds % 1_000) * 1_000_000 };
    let mut places = vec![PollFd::new(listener, PollFlags::IN)];
    places.extend(output.map(|output| PollFd::new(output, PollFlags::IN)));
    // Interrupted: asked again.
    let _ = poll(&mut places, Some(&within));
    let is_ready = |place: &PollFd<'_>| !place.revents().is_empty();
    (places.first().is_some_and(is_ready), places.get(1).is_some_and(is_ready))
}
