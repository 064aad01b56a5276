//! The name of a row: whose keys, which environment, which company.

use crate::{Error, Owner};

/// Longest part of a [`Name`], in bytes.
pub const MAX_NAME_PART_BYTES: usize = 200;

/// Names one row of the vault: the app, its environment, and the realm (or a slot of the app's own making).
///
/// The name is bound into the sealed record as associated data, so a record that is moved to another row is
/// refused when it is opened (APP-3: tokens of one environment are never used in the other).
///
/// Names are not secret: they stand in the clear in the store, in errors and in logs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    app: String,
    environment: String,
    realm: String,
}

impl Name {
    /// Puts a name together.
    ///
    /// * `app`: a short text that tells apps apart, such as a fingerprint of the client ID; never the secret.
    /// * `environment`: such as `intuit-sandbox`.
    /// * `realm`: the company's realm ID, or a slot such as `consent:<fingerprint>` for a pending consent, or `user:<realm>` for
    ///   who signed in: what is no grant begins with such a word.
    ///
    /// Returns [`Error::BadName`] when a part is empty, longer than [`MAX_NAME_PART_BYTES`], or holds a
    /// control character.
    pub fn new(
        app: impl Into<String>,
        environment: impl Into<String>,
        realm: impl Into<String>,
    ) -> Result<Self, Error> {
        Ok(Self {
            app: checked("app", app.into())?,
            environment: checked("environment", environment.into())?,
            realm: checked("realm", realm.into())?,
        })
    }

    /// Whose row it is.
    pub fn owner(&self) -> Owner<'_> {
        Owner { app: &self.app, environment: &self.environment }
    }

    /// The app's short text.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The environment.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The realm, or the slot.
    pub fn realm(&self) -> &str {
        &self.realm
    }
}

fn checked(part: &'static str, text: String) -> Result<String, Error> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > MAX_NAME_PART_BYTES {
        "it is longer than 200 bytes"
    } else if text.chars().any(char::is_control) {
        "it holds a control character"
    } else {
        return Ok(text);
    };
    Err(Error::BadName { part, why })
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.environment, self.app, self.realm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_be_a_name() {
        assert!(Name::new("app", "intuit-sandbox", "9130").is_ok());
        for bad in [String::new(), "x".repeat(MAX_NAME_PART_BYTES + 1), "a\0b".into(), "a\nb".into()] {
            assert!(matches!(Name::new("app", "env", bad), Err(Error::BadName { part: "realm", .. })));
        }
    }
}
