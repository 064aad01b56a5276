//! The latest failures, with what support asks for (wire-facts section 4): a few lines beside the vault, no secret in
//! them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use evergrant::Time;
use evergrant_ureq::Reply;
use serde::{Deserialize, Serialize};

use crate::output;

/// Beyond this the older half goes.
const BYTES_MOST: u64 = 64 * 1024;

/// Where failures are noted; nowhere, where the commands leave nothing behind.
pub(crate) struct Journal(Option<PathBuf>);

/// A failure.
#[derive(Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Unix seconds.
    pub(crate) at: u64,
    pub(crate) realm: String,
    /// What was asked: `exchange`, `refresh`, `revoke`, `api`.
    pub(crate) asked: String,
    pub(crate) status: Option<u16>,
    pub(crate) why: Option<String>,
    pub(crate) intuit_tid: Option<String>,
}

impl Journal {
    pub(crate) fn beside_the_vault(home: &Path) -> Self {
        Self(Some(home.join("failures.jsonl")))
    }

    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Notes an answer that was none, or no success. Where that fails nothing else does.
    pub(crate) fn note(&self, now: Time, realm: &str, asked: &str, reply: &Reply) {
        let Some(file) = &self.0 else { return };
        if reply.status().is_some_and(|status| (200..300).contains(&status)) {
            return;
        }
        let entry = Entry {
            at: now.unix(),
            realm: realm.to_owned(),
            asked: asked.to_owned(),
            status: reply.status(),
            why: reply.failure().map(|why| why.to_string()),
            intuit_tid: reply.correlation().map(output::printable),
        };
        let Ok(mut line) = serde_json::to_vec(&entry) else { return };
        line.push(b'\n');
        if fs::metadata(file).is_ok_and(|metadata| metadata.len() > BYTES_MOST) {
            halve(file);
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let _ = options.open(file).and_then(|mut file| file.write_all(&line));
    }

    /// The latest failures of a realm, the last one last.
    pub(crate) fn latest(&self, realm: &str, count: usize) -> Vec<Entry> {
        let text = self.0.as_ref().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let mut entries: Vec<Entry> = text
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<Entry>(line).ok())
            .filter(|entry| entry.realm == realm)
            .take(count)
            .collect();
        entries.reverse();
        entries
    }
}

/// Two processes at once may lose a line or two of it, which is no harm.
fn halve(file: &Path) {
    let Ok(text) = fs::read_to_string(file) else { return };
    let lines: Vec<&str> = text.lines().collect();
    let kept: String = lines.iter().skip(lines.len() / 2).flat_map(|line| [*line, "\n"]).collect();
    let _ = fs::write(file, kept);
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", output::moment(Time::from_unix(self.at)), self.asked)?;
        match (self.status, &self.why) {
            (Some(status), _) => write!(f, " answered {status}")?,
            (None, Some(why)) => write!(f, " failed: {why}")?,
            (None, None) => {}
        }
        self.intuit_tid.iter().try_for_each(|tid| write!(f, ", intuit_tid {tid}"))
    }
}
