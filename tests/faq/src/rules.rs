//! The list of rules.
