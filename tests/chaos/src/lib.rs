//! How many grants are lost per million refreshes, and whose fault it was.
//!
//! A fleet of real worker processes keeps a grant alive, or several, with a real store (SQLite, or a PostgreSQL server), against an
//! offline Intuit ([`evergrant_emulator::authority`]). A seed decides what goes wrong. The same seeds are lived by other clients as
//! well, so that the number means something.
//!
//! ```sh
//! cargo xtask chaos                                                                # a million on each store, beside the others
//! cargo xtask chaos --store sqlite --refreshes 100000 --seed 1 --grants 4          # four grants in a store, and the hold
//! cargo xtask chaos --store sqlite --refreshes 20000 --cut namespaces              # whoever is cut off has no network
//! cargo xtask chaos --store sqlite --episode 2 --harms "25 answer-lost worked" --client no-lock
//! cargo xtask test chaos                                                           # the slice that CI runs
//! ```
//!
//! The last figures, with machine and date, are in `RESULTS.md` beside this crate.
//!
//! # What an episode is
//!
//! One grant (of several, below): a consent, then 30 moments at which somebody needs an access token, an hour, a day or weeks apart (see
//! [`script::Script`]); two to eight harms at some of them; then calm, in which the client is asked at spaced times and has to come by a
//! token that the authority takes, and an hour later by another one. The authority's policy is drawn as well: mostly the FAQ's
//! (the token that was replaced works 24 hours more), with a token that stays the same for a day, and with one that is dead at once.
//!
//! | Harm | What it is |
//! | --- | --- |
//! | `kill` | `kill -9` of a worker, or of all of them, at a gate or so many real microseconds after it; it stays down for a while |
//! | `stall` | the process, the store or the answer stands still: past the lease, past the client's own deadline. A request that stands at the authority is given up after 30 s and worked on all the same, up to two minutes late |
//! | `store-down` | the store fails for everybody from that gate on; with `done`, the first verb is carried out and only its answer lost |
//! | `answer-lost`, `answer-torn` | the request is lost, or its answer, or half of it |
//! | `closed`, `unavailable`, `invalid-grant` | an outage: connections closed, 503, or 400 `invalid_grant` (REF-4) |
//! | `cut` | one worker does not reach the authority: its requests end at the endpoint, or, with `--cut namespaces`, it is in a network namespace of its own whose link goes down. That needs root and `ip` on Linux, and SQLite as the store; where it cannot be had the run says so, and what it did instead |
//! | `skew` | one worker's clock is wrong, by up to two hours |
//! | `callback-twice` | the redirect of the consent reaches two workers |
//!
//! With `--grants 4` four grants live in one store and are used together, each keeper serves all of them, and an outage with
//! `invalid_grant` comes in every episode, with two harms more in the midst of it. Three grants that are refused at once are a hold:
//! its row is read and written between real processes, with gates of its own. The table counts how often one began.
//!
//! # Why it can be run again
//!
//! Workers are processes that run as they like between two *gates*: before and after each verb of the store, when a request has
//! arrived, and when its answer is ready. At a gate they stand still until the harness lets them go on, so what meets what follows
//! from the script alone. Time is the harness's, too: every clock that a worker reads is told to it, waiting is a gate like any
//! other, and so a day takes no time. Only kills *between* gates come at a real moment, and may be missed when they are run again.
//!
//! A loss is run again with one harm less, and again, for as long as the grant is still lost: what is printed is what it takes.
//!
//! # What is counted
//!
//! The denominator is the number of refreshes that the *authority* judged itself. Requests that an outage answered, or that never
//! arrived, are none. How a loss is told from one that nobody could have avoided is written in [`book`]; it is decided from what the
//! authority issued, what of it arrived and who was able to run, never from what a client says.
//!
//! SQLite's file is put in memory where the system has such a folder, and the PostgreSQL server of a run does without `fsync`: a
//! process that is killed loses nothing that it had handed to the system, so this changes no result. The loss of power is not tried
//! here.
//!
//! # The clients
//!
//! | Client | How it refreshes |
//! | --- | --- |
//! | `keeper` | `evergrant-keeper` itself, each process with its scheduler and its spill folder, on tokio's paused clock |
//! | `no-lock` | reads the row, refreshes, writes the row |
//! | `timed-lock` | the same under a lock in the database that ends after 30 seconds |
//! | `compare-and-swap` | no lock; writes only if the row still has the token that was sent |
//! | `delete-on-invalid-grant` | under the lock; a row whose token is refused is deleted |
//! | `huskarl` | the crate, wired as its guide says; its store's `set` does not come back before the token is stored |
//! | `intuit-oauth` | Intuit's npm SDK under Node, a row for each company; the write is offered again until it is stored |
//!
//! A client that asks to be woken (the keeper: when a row is due) is woken, by any worker that lives; what a dead one has left in the
//! store is found by the others' sweep, every five minutes. Others are asked when the script says so. All grants of a fleet have one
//! store, which the harness empties between two episodes where it is a keeper's.
//!
//! # A further client
//!
//! A worker is one process that speaks the lines in `src/worker/port.rs`; a Rust one is a function from what is asked to what came of
//! it, with its store's verbs wrapped in `Port::verb` and its waiting in `Port::sleep` (`src/worker/plain.rs` is the shortest).

mod app;
mod backdoor;
pub mod book;
mod episode;
mod fleet;
pub mod netns;
pub mod report;
pub mod run;
pub mod script;
pub mod server;
mod wire;
pub mod worker;

pub use episode::Outcome;
pub use fleet::Start;
