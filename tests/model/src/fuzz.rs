//! The bodies of the fuzz targets: each takes any bytes and panics where something is wrong.
//!
//! `fuzz/` calls them from libFuzzer; a plain test replays its corpus, so the findings of the past are looked at on stable
//! and in every run.

mod answer;
mod api;
mod callback;
mod life;
mod record;

pub use answer::answer;
pub use api::api;
pub use callback::callback;
pub use life::life;
pub use record::record;

/// A target's name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// The targets, by the names of their files in `fuzz/fuzz_targets`.
pub const TARGETS: [Target; 5] =
    [("answer", answer), ("callback", callback), ("record", record), ("api", api), ("life", life)];
