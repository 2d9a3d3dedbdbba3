//! Accounts and environments: who owns what.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{AccountId, EnvironmentId};

/// A name that a person gives: 1 to 255 characters, no control characters, not only spaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that can't be a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 255 characters, is not blank and holds no control characters")]
pub struct NameError;

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// [`NameError`] when it is blank, too long or holds control characters.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let fits = (1..=255).contains(&text.chars().count());
        if fits && !text.trim().is_empty() && !text.chars().any(char::is_control) {
            Ok(Self(text))
        } else {
            Err(NameError)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A company that uses this Waypost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What people call it.
    pub name: Name,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// An environment (`dev`, `prod`, …) of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its id, as in ingress URLs.
    pub id: EnvironmentId,
    /// Whose it is.
    pub account: AccountId,
    /// What people call it; unique in the account.
    pub name: Name,
    /// Its settings for webhooks.
    pub webhooks: WebhookSettings,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// The switches of an environment (the two URLs are the endpoints `primary` and `secondary`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSettings {
    /// Tell `primary` and `secondary` of created and overridden connections.
    pub on_auth_creation: bool,
    /// Tell `primary` and `secondary` when a connection's token can't be refreshed, and when it can again.
    pub on_auth_refresh_error: bool,
    /// Leave `clientState` in forwarded items, as Nango does.
    pub forward_client_state: bool,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self { on_auth_creation: true, on_auth_refresh_error: true, forward_client_state: true }
    }
}
