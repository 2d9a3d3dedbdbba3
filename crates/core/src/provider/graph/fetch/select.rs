//! Which properties of a resource are asked for.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest list, in characters.
const LONGEST: usize = 2_000;

/// A list of property names, as `$select` takes it: `subject,from,receivedDateTime`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Select(Arc<str>);

/// A text that is no list of property names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "property names separated by commas are wanted, as \"subject,from\", of at most {LONGEST} characters"
)]
pub struct SelectError;

impl Select {
    /// Reads a list. Spaces around names don't count, nor do repeats.
    ///
    /// # Errors
    /// [`SelectError`] when a name is none, or there are too many.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let mut names: Vec<&str> = Vec::new();
        for name in text.split(',').map(str::trim) {
            if !is_name(name) {
                return Err(SelectError);
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let list = names.join(",");
        if text.len() <= LONGEST { Ok(Self(list.into())) } else { Err(SelectError) }
    }

    /// The list.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether it is a property, or one of a property (`employeeOrgData/division`).
fn is_name(text: &str) -> bool {
    text.split('/').all(|part| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

impl TryFrom<String> for Select {
    type Error = SelectError;

    fn try_from(text: String) -> Result<Self, SelectError> {
        Self::parse(&text)
    }
}

impl From<Select> for String {
    fn from(select: Select) -> Self {
        select.as_str().to_owned()
    }
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
