//! Sealed storage of grants with fenced leases, for evergrant.

mod entropy;
mod error;
mod files;
mod holder;
mod key;
mod memory;
mod name;
mod record;
mod seal;
mod sqlite;
mod store;

pub use entropy::{Entropy, SystemEntropy};
pub use error::{Blame, Error};
pub use key::{KeyId, Keyring, Keys};
pub use memory::{Fault, Memory};
pub use name::{MAX_NAME_PART_BYTES, Name};
pub use record::{MAX_RECORD_BYTES, Record};
pub use sqlite::{Options, Sqlite};
pub use store::{
    Claim, Commit, Fingerprint, Lease, Loaded, MAX_LEASE_SECONDS, Removal, Row, Spend, Store, Then, Write,
};
