//! JSON objects, read with bounds.

use serde::{Deserialize, Deserializer};

/// No document of a provider is taken to be longer, in bytes: keys, discovery, userinfo. A transport need not read more.
pub const BODY_MOST: usize = 65_536;

/// Reads an object. serde takes a list for a struct too; nothing on this wire is one. Its depth is bounded by
/// `serde_json`, and a member that is known and comes twice is an error.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    if !text.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(text).ok()
}

/// A member that is not worth failing for: of another type than expected, it counts as absent.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}
