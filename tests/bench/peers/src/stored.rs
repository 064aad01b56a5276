//! The record as it is written where nobody prescribes one: the tokens, their deadlines, the company; by serde_json.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Stored<T> {
    pub(crate) access: T,
    pub(crate) refresh: T,
    pub(crate) realm: T,
    pub(crate) access_until: u64,
    pub(crate) refresh_until: u64,
}
