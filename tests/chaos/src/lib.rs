//! Chaos.

mod app;
pub mod book;
mod episode;
mod fleet;
pub mod report;
pub mod run;
pub mod script;
pub mod server;
mod wire;
pub mod worker;

pub use episode::Outcome;
pub use fleet::Start;
