//! Spellings of Nango's wire format that several resources share.

use serde::{Deserialize as _, Deserializer};

use crate::error::ApiError;

/// Reads a text that `null` clears as well as `""`.
pub(crate) fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| Some(text.unwrap_or_default()))
}

/// What this version has no answer to yet: refused, so that nobody relies on it unawares.
pub(crate) fn not_built(path: &[&str], what: &str) -> ApiError {
    ApiError::invalid_field(path, format!("{what} is not available in this version of Waypost"))
}

/// The body of an action that takes none.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}
