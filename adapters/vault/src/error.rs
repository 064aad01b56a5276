//! What can go wrong, whose fault it is, and the way out.

use std::{fmt, io, path::PathBuf};

use crate::{KeyId, Name};

/// Whose fault an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blame {
    /// The program that called: it must be changed.
    Caller,
    /// Whoever runs the program: a file, a mode or a key must be changed.
    Operator,
    /// The store's ground: the disk, or another process that holds it. Trying again may help.
    Storage,
    /// The stored bytes are not what this vault wrote: damage, or somebody's hand.
    Contents,
}

/// An error of the vault.
///
/// It names the place (file or row) and the way out, and never holds a secret: no token, no key, no record (I6).
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A part of a [`Name`] cannot stand in one.
    BadName {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A lease's length is outside of `1..=MAX_LEASE_SECONDS`.
    BadLease {
        /// The length that was asked for.
        seconds: u32,
    },
    /// A record is longer than [`MAX_RECORD_BYTES`](crate::MAX_RECORD_BYTES).
    RecordTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A sealing key cannot be read from its text.
    BadKey {
        /// Where the text came from.
        origin: String,
        /// Which entry, counted from 1; 0 where it is the text as a whole.
        entry: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Other users of the machine may read (or write) the key file.
    KeyFileOpenToOthers {
        /// The file.
        file: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// The vault holds sealed records, and its key file is not there. No new one is made, as it could not open
    /// them.
    KeyFileMissing {
        /// The key file.
        file: PathBuf,
        /// The vault.
        vault: String,
    },
    /// The vault was sealed under keys that are not in the ring.
    WrongKey {
        /// The vault.
        vault: String,
        /// The keys that the vault knows.
        sealed_under: Vec<KeyId>,
        /// The keys that were given.
        given: Vec<KeyId>,
    },
    /// One row is sealed under a key that is not in the ring (any more).
    KeyNotInRing {
        /// The vault.
        vault: String,
        /// The row.
        name: Name,
        /// The key that it is sealed under.
        key: KeyId,
    },
    /// A sealed record does not belong where it stands: altered, moved from another row, realm or environment,
    /// or put back from an earlier generation.
    Altered {
        /// The vault.
        vault: String,
        /// The row; `None` where it is the vault's canary.
        name: Option<Name>,
    },
    /// The file is not a vault.
    Foreign {
        /// The file.
        vault: String,
        /// What it seems to be.
        why: String,
    },
    /// The vault was written by a newer version of this program.
    Newer {
        /// The vault.
        vault: String,
        /// Its schema version.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },
    /// The database file is damaged.
    Damaged {
        /// The vault.
        vault: String,
        /// What the database says.
        detail: String,
    },
    /// The file, its folder or its disk cannot be written.
    ReadOnly {
        /// The vault.
        vault: String,
    },
    /// The disk (or a quota) is full.
    Full {
        /// The vault.
        vault: String,
    },
    /// Another process kept the database locked for longer than the busy time-out.
    Locked {
        /// The vault.
        vault: String,
    },
    /// A file or folder could not be read, made or changed.
    File {
        /// Which.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// The database failed in a way that has no name of its own here.
    Database {
        /// The vault.
        vault: String,
        /// What was being done.
        doing: &'static str,
        /// What the database says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No random bytes could be had.
    Entropy {
        /// What the source says.
        source: io::Error,
    },
    /// The address of a database server cannot be used.
    BadAddress {
        /// What is wrong with it. Never the address itself: it may hold a password.
        why: String,
    },
    /// The database server could not be reached, or the connection to it was lost, for longer than the patience that was
    /// given. Whether the write happened is not known.
    Unreachable {
        /// The vault.
        vault: String,
        /// What was being done.
        doing: &'static str,
        /// What the driver says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The thread or runtime that carried a verb out ended before it answered. Whether the write happened is not known.
    CutOff,
    /// The operating system gave no thread.
    Thread {
        /// What it says.
        source: io::Error,
    },
    /// What is to be imported cannot be: not an export, for another key, altered, or cut short.
    Export {
        /// Which of these.
        why: &'static str,
    },
    /// An export could not be written, or read.
    Stream {
        /// What was being done.
        doing: &'static str,
        /// What the stream says.
        source: io::Error,
    },
    /// A failure that a test asked for ([`Memory::fail_write`](crate::Memory::fail_write)).
    Injected,
}

impl Error {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::BadName { .. } | Self::BadLease { .. } | Self::RecordTooLong { .. } => Blame::Caller,
            Self::BadKey { .. }
            | Self::KeyFileOpenToOthers { .. }
            | Self::KeyFileMissing { .. }
            | Self::WrongKey { .. }
            | Self::KeyNotInRing { .. }
            | Self::Newer { .. }
            | Self::ReadOnly { .. }
            | Self::BadAddress { .. }
            | Self::File { .. } => Blame::Operator,
            Self::Full { .. }
            | Self::Locked { .. }
            | Self::Database { .. }
            | Self::Unreachable { .. }
            | Self::CutOff
            | Self::Thread { .. }
            | Self::Stream { .. }
            | Self::Entropy { .. }
            | Self::Injected => Blame::Storage,
            Self::Altered { .. } | Self::Foreign { .. } | Self::Damaged { .. } | Self::Export { .. } => {
                Blame::Contents
            }
        }
    }
}

/// Opening words, and then the way out.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName { part, why } => {
                write!(f, "the {part} of a vault row's name cannot be used: {why}")
            }
            Self::BadLease { seconds } => write!(
                f,
                "a lease of {seconds} s cannot be taken: ask for 1 to {} s",
                crate::MAX_LEASE_SECONDS
            ),
            Self::RecordTooLong { bytes } => {
                write!(f, "a record of {bytes} bytes is too long: at most {} fit", crate::MAX_RECORD_BYTES)
            }
            Self::File { path, doing, source } => write!(f, "could not {doing} {}: {source}", path.display()),
            Self::Entropy { source } => write!(f, "the source of random bytes failed: {source}"),
            Self::CutOff => f.write_str(
                "the thread that carried this out ended before it answered: whether it happened is not known; read again",
            ),
            Self::Thread { source } => write!(f, "no thread could be started: {source}"),
            Self::Export { why } => write!(f, "the export cannot be read: {why}"),
            Self::Stream { doing, source } => write!(f, "could not {doing}: {source}"),
            Self::Injected => f.write_str("this write fails because a test asked for it"),
            Self::BadKey { .. }
            | Self::KeyFileOpenToOthers { .. }
            | Self::KeyFileMissing { .. }
            | Self::WrongKey { .. }
            | Self::KeyNotInRing { .. } => self.fmt_key(f),
            Self::Altered { .. }
            | Self::Foreign { .. }
            | Self::Newer { .. }
            | Self::Damaged { .. }
            | Self::ReadOnly { .. }
            | Self::Full { .. }
            | Self::Locked { .. }
            | Self::BadAddress { .. }
            | Self::Unreachable { .. }
            | Self::Database { .. } => self.fmt_store(f),
        }
    }
}

impl Error {
    fn fmt_key(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadKey { origin, entry: 0, why } => write!(f, "no sealing key in {origin}: {why}"),
            Self::BadKey { origin, entry, why } => write!(
                f,
                "sealing key {entry} in {origin} cannot be used: {why}; a key is 32 random bytes in base64 or hex"
            ),
            Self::KeyFileOpenToOthers { file, mode } => write!(
                f,
                "others on this machine may use the key file {} (mode {mode:03o}): run `chmod 600 {}`, and \
                 replace the key if somebody may have read it",
                file.display(),
                file.display()
            ),
            Self::KeyFileMissing { file, vault } => write!(
                f,
                "the vault {vault} is sealed, and its key file {} is not there: put the file back, or move the \
                 vault away to begin a new one (every company must then consent again)",
                file.display()
            ),
            Self::WrongKey { vault, sealed_under, given } => write!(
                f,
                "the vault {vault} is sealed under key {}, and the key given is {}: give the key that it was made \
                 with",
                Listed(sealed_under),
                Listed(given)
            ),
            Self::KeyNotInRing { vault, name, key } => write!(
                f,
                "the row {name} of the vault {vault} is sealed under key {key}, which is not among the keys given: \
                 add that key after the newest one"
            ),
            _ => Ok(()),
        }
    }

    fn fmt_store(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered { vault, name: Some(name) } => write!(
                f,
                "the row {name} of the vault {vault} does not open: its bytes were altered, moved from another row \
                 or put back from an earlier time; restore the vault, or let this company consent again"
            ),
            Self::Altered { vault, name: None } => {
                write!(f, "the canary of the vault {vault} does not open: restore the vault from a backup")
            }
            Self::Foreign { vault, why } => {
                write!(f, "{vault} is not a vault ({why}): it was left as it is; name another file")
            }
            Self::Newer { vault, found, known } => write!(
                f,
                "the vault {vault} has schema version {found}, and this program knows up to {known}: update it"
            ),
            Self::Damaged { vault, detail } => {
                write!(f, "the vault {vault} is damaged ({detail}): restore it from a backup")
            }
            Self::ReadOnly { vault } => write!(
                f,
                "the vault {vault} cannot be written: check the mode and owner of the file and of its folder, and \
                 whether the disk is mounted read-only; nothing may be refreshed until it can be stored"
            ),
            Self::Full { vault } => {
                write!(f, "no room left to write the vault {vault}: free some on its disk")
            }
            Self::Locked { vault } => write!(
                f,
                "the vault {vault} stayed locked by another process: try again, and look for a program that keeps \
                 a transaction open on it"
            ),
            Self::BadAddress { why } => write!(
                f,
                "the address of the database server cannot be used: {why}; it is written \
                 postgres://USER@HOST:PORT/DATABASE"
            ),
            Self::Unreachable { vault, doing, source } => write!(
                f,
                "the database server of the vault {vault} could not be reached to {doing} ({}): look whether it runs, \
                 and at the network; nothing may be refreshed until it can be stored",
                Chain(source.as_ref())
            ),
            Self::Database { vault, doing, source } => {
                write!(f, "the vault {vault} failed to {doing}: {}", Chain(source.as_ref()))
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. }
            | Self::Entropy { source }
            | Self::Thread { source }
            | Self::Stream { source, .. } => Some(source),
            Self::Database { source, .. } | Self::Unreachable { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

/// An error with what it came from: drivers say the interesting half in their sources.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

/// Key ids, with commas.
struct Listed<'a>(&'a [KeyId]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, key) in self.0.iter().enumerate() {
            write!(f, "{}{key}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
