//! A worker's way to the harness: lines on standard input and output.
//!
//! | From the harness | Meaning |
//! | --- | --- |
//! | `use <time> <own time> <gated> <realm>` | an access token is needed |
//! | `tick <time> <own time> <gated> <realm>` | what the worker asked to be woken for |
//! | `callback <time> <own time> <gated> <realm> <query>` | the redirect of a consent came |
//! | `go`, `fail`, `done-fail` `<time> <own time> <gated>` | how it goes on at a gate |
//!
//! An answer of the authority's tells the time as well, for nobody else knows how late it is: `intuit_tid: <time>-<own time>-<gated>`.
//!
//! `<gated>` is 0 where the worker is to stand still at no gate, 1 where it is, and 2 where the store is down besides.
//!
//! | From the worker | Meaning |
//! | --- | --- |
//! | `ready` | it can be asked |
//! | `gate <name>` | it stands before or after a verb of the store |
//! | `sleep <seconds>` | it wants to wait |
//! | `hold <time>` | many refusals are an outage to it, since then |
//! | `ok <fingerprint> <due>` | it hands out that access token; and wants a `tick` then (Unix seconds of its own clock, or `-`) |
//! | `ok - <due>` | it was woken, and hands out nothing |
//! | `err <due> <why>` | it has none to hand out |
//!
//! `<realm>` is all the realms of the episode, with commas between them; only a keeper is asked for several. What became of each then
//! stands between commas as well: a fingerprint, or `!` and why there is none.

use std::io::{self, BufRead, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is asked of a worker.
pub(super) enum Ask {
    Use(String),
    Tick(String),
    Callback { realm: String, query: String },
}

/// How it goes on at a gate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    /// The verb fails, and nothing is done.
    Fail,
    /// The verb is carried out, and fails.
    DoneFail,
}

/// The two pipes, and the time as it was last told. All of a worker's time comes from there.
#[derive(Default)]
pub(super) struct Port(Mutex<Told>);

#[derive(Default)]
struct Told {
    /// The time, which the store's server has.
    truth: u64,
    /// This machine's clock.
    own: u64,
    gated: bool,
    is_down: bool,
}

impl Port {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This worker's clock.
    pub(super) fn own(&self) -> u64 {
        self.told().own
    }

    /// The clock of the store's server.
    pub(super) fn truth(&self) -> u64 {
        self.told().truth
    }

    pub(super) fn say(&self, line: &str) {
        let mut out = io::stdout().lock();
        let said =
            out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
        if said.is_err() {
            // Nobody is there any more.
            std::process::exit(0);
        }
    }

    fn heard(&self) -> String {
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(count) if count > 0 => line,
            _ => std::process::exit(0),
        }
    }

    /// The next thing that is asked.
    pub(super) fn asked(&self) -> Option<Ask> {
        let line = self.heard();
        let mut words = line.split_whitespace();
        let verb = words.next()?;
        self.set(&mut words)?;
        let realm = words.next()?.to_owned();
        match verb {
            "use" => Some(Ask::Use(realm)),
            "tick" => Some(Ask::Tick(realm)),
            "callback" => Some(Ask::Callback { realm, query: words.next()?.to_owned() }),
            _ => None,
        }
    }

    fn set<'w>(&self, words: &mut impl Iterator<Item = &'w str>) -> Option<()> {
        let mut number = || words.next()?.parse().ok();
        let (truth, own, gated): (u64, u64, u64) = (number()?, number()?, number()?);
        *self.told() = Told { truth, own, gated: gated > 0, is_down: gated == 2 };
        Some(())
    }

    fn wait(&self) -> Go {
        let line = self.heard();
        let mut words = line.split_whitespace();
        let go = match words.next() {
            Some("fail") => Go::Fail,
            Some("done-fail") => Go::DoneFail,
            _ => Go::On,
        };
        if self.set(&mut words).is_none() {
            std::process::exit(0);
        }
        go
    }

    fn gate(&self, name: &str) -> Go {
        if !self.told().gated {
            return Go::On;
        }
        self.say(&format!("gate {name}"));
        self.wait()
    }

    /// What an answer says of the time.
    pub(super) fn told_by(&self, intuit_tid: &str) {
        // Half an answer may say nothing that can be read: then the next gate tells.
        let _ = self.set(&mut intuit_tid.split('-'));
    }

    pub(super) fn sleep(&self, seconds: u64) {
        self.say(&format!("sleep {}", seconds.max(1)));
        self.wait();
    }

    /// A verb of the store that has no gates.
    pub(super) fn verb_without_gates<T, E>(
        &self,
        down: impl FnOnce() -> E,
        carry_out: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if self.told().is_down { Err(down()) } else { carry_out() }
    }

    /// A verb of the store, between two gates.
    pub(super) fn verb<T, E>(
        &self,
        name: &str,
        down: impl Fn() -> E,
        carry_out: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.gate(name);
        if before == Go::Fail {
            return Err(down());
        }
        let done = carry_out();
        let after = self.gate(name);
        if before == Go::DoneFail || after == Go::Fail { Err(down()) } else { done }
    }
}
