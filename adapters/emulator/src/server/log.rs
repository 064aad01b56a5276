//! What was asked of the emulator, with secrets shortened.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::authority::Fingerprint;
use crate::fault::{Endpoint, Harm};

const KEPT: usize = 2_000;

/// Parameters whose values are shown whole. Everything else might be a secret, or one in the wrong place.
const SHOWN: [&str; 8] = [
    "client_id",
    "code_challenge_method",
    "decision",
    "emulator_realm",
    "grant_type",
    "redirect_uri",
    "response_type",
    "scope",
];

/// A request that was seen, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct LogEntry {
    /// Counted from 1, over the emulator's life.
    pub number: u64,
    /// The emulator's time, Unix seconds.
    pub at: u64,
    /// What it counts as; absent for paths that do not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// HTTP method.
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// Parameters of query and body. Values that may be secret are cut to four characters and a fingerprint.
    pub parameters: BTreeMap<String, String>,
    /// The `Authorization` header: its scheme, and the client ID or the shortened token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    /// The status that was sent, or would have been, had the answer not been lost; absent if the work was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What really was the matter, where a request was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Faults that struck.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub harms: Vec<Harm>,
    /// `intuit_tid` of the answer.
    pub intuit_tid: String,
}

/// The latest entries.
#[derive(Debug, Default)]
pub(super) struct Log {
    seen: u64,
    entries: VecDeque<LogEntry>,
}

impl Log {
    pub(super) fn push(&mut self, mut entry: LogEntry) {
        self.seen += 1;
        entry.number = self.seen;
        self.entries.push_back(entry);
        if self.entries.len() > KEPT {
            self.entries.pop_front();
        }
    }

    pub(super) fn entries(&self) -> Vec<LogEntry> {
        self.entries.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// A parameter's value as the log shows it.
pub(super) fn shown(name: &str, value: &str) -> String {
    if SHOWN.contains(&name) { value.chars().take(200).collect() } else { shortened(value) }
}

/// Four characters and a fingerprint; of a short value the fingerprint alone.
pub(super) fn shortened(value: &str) -> String {
    let start: String =
        if value.chars().count() >= 16 { value.chars().take(4).collect() } else { String::new() };
    format!("{start}…#{}", Fingerprint::of(value))
}
