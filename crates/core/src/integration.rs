//! Integrations: a provider and its settings in one environment.

use std::fmt;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::account::Name;
use crate::id::{EnvironmentId, IntegrationId};
use crate::provider::Provider;

/// An integration's name on the wire (`unique_key`, `provider_config_key`): 1 to 255 characters out of
/// `a-zA-Z0-9~:.@ _-`, as Nango has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UniqueKey(Box<str>);

/// A text that can't be a [`UniqueKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a unique key has 1 to 255 characters out of a-z, A-Z, 0-9, ~ : . @ _ - and space")]
pub struct UniqueKeyError;

impl UniqueKey {
    /// Reads a unique key.
    ///
    /// # Errors
    /// [`UniqueKeyError`] when a character or the length is not allowed.
    pub fn parse(text: impl Into<Box<str>>) -> Result<Self, UniqueKeyError> {
        let text = text.into();
        let fits = (1..=255).contains(&text.len());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"~:.@ _-".contains(&byte);
        if fits && text.bytes().all(allowed) { Ok(Self(text)) } else { Err(UniqueKeyError) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UniqueKey {
    type Error = UniqueKeyError;

    fn try_from(text: String) -> Result<Self, UniqueKeyError> {
        Self::parse(text)
    }
}

impl From<UniqueKey> for String {
    fn from(key: UniqueKey) -> Self {
        key.0.into()
    }
}

impl fmt::Display for UniqueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UniqueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The app registration that an integration signs in with, when it isn't the connection that brings one.
#[derive(Debug, Clone)]
pub struct AppCredentials {
    /// The application (client) id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: SecretString,
    /// The scopes to ask for, separated by commas; `None` leaves it to the provider's default.
    pub scopes: Option<String>,
}

/// An integration of an environment.
#[derive(Debug, Clone)]
pub struct Integration {
    /// Its id.
    pub id: IntegrationId,
    /// Where it belongs.
    pub environment: EnvironmentId,
    /// Its name on the wire.
    pub unique_key: UniqueKey,
    /// What it speaks.
    pub provider: Provider,
    /// What people call it.
    pub display_name: Name,
    /// Whether events are sent on; without it they are kept as `unrouted`.
    pub forward_webhooks: bool,
    /// The app registration, when the integration holds it.
    pub credentials: Option<AppCredentials>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}
