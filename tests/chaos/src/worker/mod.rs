//! The other end: a process of the fleet, of whichever client.

mod huskarl;
mod keeper;
mod plain;
mod port;
mod tables;

use std::path::Path;

use evergrant_emulator::authority::Fingerprint;

pub(crate) use self::tables::{Place, Row, Tables};
use plain::Way;
use port::{Ask, Port};

/// What came of what was asked.
struct Done {
    /// The fingerprint of the access token that is handed out, or why there is none.
    token: Result<String, String>,
    /// When the worker wants to be woken, by its own clock.
    due: Option<u64>,
}

impl Done {
    fn line(&self) -> String {
        let due = self.due.map_or_else(|| "-".into(), |at| at.to_string());
        match &self.token {
            Ok(fingerprint) => format!("ok {fingerprint} {due}"),
            Err(why) => format!("err {due} {}", why.replace('\n', " ")),
        }
    }
}

fn fingerprint_of(token: &str) -> String {
    Fingerprint::of(token).to_string()
}

fn parameter(query: &str, name: &str) -> String {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(found, _)| found == name).map_or_else(String::new, |(_, value)| value.into_owned())
}

/// Serves until the harness goes away.
///
/// # Errors
/// The store cannot be opened, or there is no such client.
pub fn serve(client: &str, store: &str, folder: &Path, schema: &str, authority: &str) -> Result<(), String> {
    // For as long as the process lives: what a client holds of it must not be borrowed.
    let port: &'static Port = Box::leak(Box::default());
    let place = Place::of(store, folder, schema);
    let plain = |way| plain::Worker::new(port, authority, &place, way);
    match client {
        "keeper" => {
            let mut worker = keeper::Worker::new(port, authority, &place, folder)?;
            answer(port, |ask| worker.carry_out(ask));
        }
        "no-lock" => serve_plain(port, &plain(Way::NoLock)?),
        "timed-lock" => serve_plain(port, &plain(Way::TimedLock)?),
        "compare-and-swap" => serve_plain(port, &plain(Way::CompareAndSwap)?),
        "delete-on-invalid-grant" => serve_plain(port, &plain(Way::DeleteOnInvalidGrant)?),
        "huskarl" => {
            let mut worker = huskarl::Worker::new(port, authority, &place)?;
            answer(port, |ask| worker.carry_out(ask));
        }
        other => return Err(format!("there is no client {other:?}")),
    }
    Ok(())
}

fn serve_plain(port: &Port, worker: &plain::Worker<'_>) {
    answer(port, |ask| worker.carry_out(ask));
}

fn answer(port: &Port, mut carry_out: impl FnMut(&Ask) -> Done) {
    port.say("ready");
    while let Some(ask) = port.asked() {
        let done = carry_out(&ask);
        port.say(&done.line());
    }
}
