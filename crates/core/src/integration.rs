//! Integrations: a provider and its settings in one environment.

use std::fmt;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use waypost_crypto::certificate::{Certificate, CertificateError, CertifiedKey, PrivateKey};

use crate::account::Name;
use crate::id::{EnvironmentId, IntegrationId};
use crate::provider::Provider;
use crate::provider::graph::fetch::Select;
use crate::proxy::TokenHost;

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

/// A client certificate and its private key, as they were given (PEM, or DER in base64).
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub private_key: SecretString,
}

impl ClientCertificate {
    /// Reads both, and sees that they belong together.
    ///
    /// # Errors
    /// [`CertificateError`] with the cure, for people.
    pub fn read(&self) -> Result<CertifiedKey, CertificateError> {
        let certificate = Certificate::read(self.certificate.as_bytes())?;
        let key = PrivateKey::read(self.private_key.expose_secret().as_bytes())?;
        CertifiedKey::of(certificate, key)
    }

    /// When the certificate ends; `None` when it can't be read.
    #[must_use]
    pub fn ends_at(&self) -> Option<DateTime<Utc>> {
        let certificate = Certificate::read(self.certificate.as_bytes()).ok()?;
        DateTime::from_timestamp(certificate.not_after(), 0)
    }
}

/// The app registration that an integration signs in with, when it isn't the connection that brings one.
#[derive(Debug, Clone)]
pub struct AppCredentials {
    /// The application (client) id.
    pub client_id: String,
    /// The client secret; `None` where a certificate takes its place.
    pub client_secret: Option<SecretString>,
    /// When the client secret ends, where somebody said so.
    pub client_secret_expires_at: Option<DateTime<Utc>>,
    /// The client certificate, which goes before the secret.
    pub certificate: Option<ClientCertificate>,
    /// The scopes to ask for, separated by commas; `None` leaves it to the provider's default.
    pub scopes: Option<String>,
}

impl AppCredentials {
    /// When what it signs in with ends, as far as that is known.
    #[must_use]
    pub fn ends_at(&self) -> Option<DateTime<Utc>> {
        match &self.certificate {
            Some(certificate) => certificate.ends_at(),
            None => self.client_secret_expires_at,
        }
    }
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
    /// Whether changed resources are read at delivery where notifications bring no data.
    pub fetch_resource: bool,
    /// Which of their properties; all when `None`.
    pub fetch_select: Option<Select>,
    /// Hosts beside the provider's own that proxied calls may take a token to.
    pub proxy_token_hosts: Vec<TokenHost>,
    /// Whether anybody of an organization that consented before may connect it.
    pub connect_without_admin_proof: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}
