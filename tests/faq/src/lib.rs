//! The room in which each rule of the FAQ is proven.
//!
//! A [`world::World`] is the real session, the pure authority, a store, a clock that jumps, and a log of everything that
//! crossed the wire. A [`script::Script`] drives it, from bytes, so that a property test and a fuzzer walk the same paths.
//! [`checks`] judges the log: one function for each invariant, called by every engine.
//!
//! The tests stand under `tests/`: a file for each question of the FAQ, a module for each rule.
//!
//! A refresh token cannot be put into an API request (USE-2). There is no way to make an access token out of text:
//!
//! ```compile_fail
//! let token = evergrant::AccessToken { token: "a refresh token", serial: 1, seconds_left: 1 };
//! ```

pub mod bridge;
pub mod checks;
pub mod fleet;
pub mod phases;
pub mod rules;
pub mod script;
pub mod world;
