//! Connections: one customer's authorization at the provider.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{ConnectionKey, EndpointId, TenantId};
use crate::integration::{ClientCertificate, UniqueKey};
use crate::provider::Provider;

/// A connection's name on the wire (`connection_id`): 1 to 255 characters out of Nango's set.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConnectionId(Arc<str>);

/// A text that can't be a [`ConnectionId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a connection id has 1 to 255 characters out of a-z, A-Z, 0-9, space and , . ; : = + ~ [ ] | @ $ {{ }} \" ' \\ / _ -"
)]
pub struct ConnectionIdError;

impl ConnectionId {
    /// Reads a connection id.
    ///
    /// # Errors
    /// [`ConnectionIdError`] when a character or the length is not allowed.
    pub fn parse(text: impl Into<Arc<str>>) -> Result<Self, ConnectionIdError> {
        let text = text.into();
        let fits = (1..=255).contains(&text.len());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" ,.;:=+~[]|@${}\"'\\/_-".contains(&byte);
        if fits && text.bytes().all(allowed) { Ok(Self(text)) } else { Err(ConnectionIdError) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ConnectionId {
    type Error = ConnectionIdError;

    fn try_from(text: String) -> Result<Self, ConnectionIdError> {
        Self::parse(text)
    }
}

impl From<ConnectionId> for String {
    fn from(id: ConnectionId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What intake needs to know of a connection to route to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRef {
    /// Its number.
    pub key: ConnectionKey,
    /// Its name on the wire.
    pub id: ConnectionId,
    /// The endpoint that takes the place of `primary` and `secondary` for this connection.
    pub override_endpoint: Option<EndpointId>,
}

/// Credentials as a connection holds them (sealed at rest). The token may be absent: Waypost gets one.
#[derive(Debug, Clone, Default)]
pub struct ClientCredentials {
    /// The application (client) id; `None` falls back on the integration's.
    pub client_id: Option<String>,
    /// The client secret; `None` falls back on the integration's, or leaves it to the certificate.
    pub client_secret: Option<SecretString>,
    /// When the client secret ends, where somebody said so.
    pub client_secret_expires_at: Option<DateTime<Utc>>,
    /// The client certificate, which goes before the secret.
    pub certificate: Option<ClientCertificate>,
    /// An access token that was brought along.
    pub token: Option<SecretString>,
    /// When that token ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// The refresh token that a user's sign-in brought; those that follow stand with the grant.
    pub refresh_token: Option<SecretString>,
}

impl ClientCredentials {
    /// When what it signs in with ends, as far as that is known.
    #[must_use]
    pub fn ends_at(&self) -> Option<DateTime<Utc>> {
        match &self.certificate {
            Some(certificate) => certificate.ends_at(),
            None => self.client_secret_expires_at,
        }
    }
}

/// A connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its number: Nango's `id`.
    pub key: ConnectionKey,
    /// Its name on the wire.
    pub id: ConnectionId,
    /// The integration it belongs to.
    pub integration: UniqueKey,
    /// The provider of that integration.
    pub provider: Provider,
    /// The Entra tenant, when the configuration names one.
    pub tenant: Option<TenantId>,
    /// Non-secret parameters, shown as they were given.
    pub connection_config: Map<String, Value>,
    /// The customer's own data; `None` until it is first set.
    pub metadata: Option<Map<String, Value>>,
    /// Labels.
    pub tags: Map<String, Value>,
    /// Whom it belongs to at the SaaS company (Nango's `end_user`), as given.
    pub end_user: Option<Map<String, Value>>,
    /// Where its events go in place of `primary` and `secondary`.
    pub webhook_url_override: Option<String>,
    /// Its credentials.
    pub credentials: ClientCredentials,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// When its credentials were last asked for.
    pub last_fetched_at: Option<DateTime<Utc>>,
}
