//! Rows of `connections`, and what they mean.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::connection::{ClientCredentials, Connection, ConnectionId};
use waypost_core::id::{ConnectionKey, EnvironmentId, IntegrationId, TenantId};
use waypost_core::integration::{ClientCertificate, UniqueKey};
use waypost_core::provider::Provider;
use zeroize::Zeroizing;

use crate::integration::{CertificateToSeal, OpenedCertificate};
use crate::{Store, StoreError};

/// A connection's row with its integration's names, its credentials still sealed.
#[derive(Debug)]
pub(super) struct ConnectionRow {
    pub(super) id: i64,
    integration_id: Uuid,
    unique_key: String,
    provider: String,
    connection_id: String,
    tenant_id: Option<Uuid>,
    connection_config: Value,
    metadata: Option<Value>,
    tags: Value,
    end_user: Option<Value>,
    webhook_url_override: Option<String>,
    credentials: Vec<u8>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    last_fetched_at: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
struct CredentialsToSeal<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateToSeal<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OpenedCredentials {
    client_id: Option<String>,
    client_secret: Option<SecretString>,
    client_secret_expires_at: Option<DateTime<Utc>>,
    certificate: Option<OpenedCertificate>,
    token: Option<SecretString>,
    expires_at: Option<DateTime<Utc>>,
    refresh_token: Option<SecretString>,
}

/// What the sealed credentials of a connection are bound to: its whole natural key, since its number is not known yet
/// when they are sealed.
fn row_key(environment: EnvironmentId, integration: IntegrationId, id: &str) -> Vec<u8> {
    [environment.uuid().as_bytes().as_slice(), integration.uuid().as_bytes(), id.as_bytes()].concat()
}

/// The credentials of a connection, sealed for its row.
pub(super) fn sealed_credentials(
    store: &Store,
    environment: EnvironmentId,
    integration: IntegrationId,
    id: &ConnectionId,
    credentials: &ClientCredentials,
) -> Vec<u8> {
    let plain = CredentialsToSeal {
        client_id: credentials.client_id.as_deref(),
        client_secret: credentials.client_secret.as_ref().map(SecretString::expose_secret),
        client_secret_expires_at: credentials.client_secret_expires_at,
        certificate: credentials.certificate.as_ref().map(CertificateToSeal::from),
        refresh_token: credentials.refresh_token.as_ref().map(SecretString::expose_secret),
        token: credentials.token.as_ref().map(SecretString::expose_secret),
        expires_at: credentials.expires_at,
    };
    let text = Zeroizing::new(serde_json::json!(plain).to_string());
    let row = row_key(environment, integration, id.as_str());
    store.seal("connections", "credentials", &row, text.as_bytes())
}

/// The credentials of the connection that is named, opened.
pub(crate) fn opened_credentials(
    store: &Store,
    environment: EnvironmentId,
    (integration, id): (IntegrationId, &str),
    sealed: &[u8],
) -> Result<ClientCredentials, StoreError> {
    let plain = store.open("connections", "credentials", &row_key(environment, integration, id), sealed)?;
    let opened: OpenedCredentials = serde_json::from_slice(&plain)
        .map_err(|_| StoreError::inconsistent("connections", "credentials", id))?;
    Ok(ClientCredentials {
        client_id: opened.client_id,
        client_secret: opened.client_secret,
        client_secret_expires_at: opened.client_secret_expires_at,
        certificate: opened.certificate.map(ClientCertificate::from),
        token: opened.token,
        expires_at: opened.expires_at,
        refresh_token: opened.refresh_token,
    })
}

impl ConnectionRow {
    pub(super) async fn find(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        integration: &UniqueKey,
        id: &ConnectionId,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query_as!(
            Self,
            "SELECT c.id, c.integration_id, i.unique_key, i.provider, c.connection_id, c.tenant_id, c.connection_config, c.metadata,
                    c.tags, c.end_user, c.webhook_url_override, c.credentials, c.created_at, c.updated_at, c.last_fetched_at
             FROM integrations i
             JOIN connections c ON c.environment_id = $1 AND c.integration_id = i.id AND c.connection_id = $3
                               AND c.deleted_at IS NULL
             WHERE i.environment_id = $1 AND i.unique_key = $2 AND i.deleted_at IS NULL",
            environment.uuid(),
            integration.as_str(),
            id.as_str(),
        )
        .fetch_optional(tx)
        .await?;
        Ok(row)
    }

    /// The live connections of an integration, locked until the transaction ends.
    pub(super) async fn lock_all(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        integration: IntegrationId,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query_as!(
            Self,
            "SELECT c.id, c.integration_id, i.unique_key, i.provider, c.connection_id, c.tenant_id, c.connection_config, c.metadata,
                    c.tags, c.end_user, c.webhook_url_override, c.credentials, c.created_at, c.updated_at, c.last_fetched_at
             FROM connections c JOIN integrations i ON i.id = c.integration_id
             WHERE c.environment_id = $1 AND c.integration_id = $2 AND c.deleted_at IS NULL
             ORDER BY c.id FOR UPDATE OF c",
            environment.uuid(),
            integration.uuid(),
        )
        .fetch_all(tx)
        .await?;
        Ok(rows)
    }

    /// As [`Self::find`]; nobody else changes it until the transaction ends.
    pub(super) async fn lock(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        integration: IntegrationId,
        id: &ConnectionId,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query_as!(
            Self,
            "SELECT c.id, c.integration_id, i.unique_key, i.provider, c.connection_id, c.tenant_id, c.connection_config, c.metadata,
                    c.tags, c.end_user, c.webhook_url_override, c.credentials, c.created_at, c.updated_at, c.last_fetched_at
             FROM connections c JOIN integrations i ON i.id = c.integration_id
             WHERE c.environment_id = $1 AND c.integration_id = $2 AND c.connection_id = $3 AND c.deleted_at IS NULL
             FOR UPDATE OF c",
            environment.uuid(),
            integration.uuid(),
            id.as_str(),
        )
        .fetch_optional(tx)
        .await?;
        Ok(row)
    }

    fn broken(&self, column: &'static str) -> StoreError {
        StoreError::inconsistent("connections", column, self.id)
    }

    fn map(&self, column: &'static str, value: &Value) -> Result<Map<String, Value>, StoreError> {
        value.as_object().cloned().ok_or_else(|| self.broken(column))
    }

    fn optional_map(
        &self,
        column: &'static str,
        value: Option<&Value>,
    ) -> Result<Option<Map<String, Value>>, StoreError> {
        value.map(|value| self.map(column, value)).transpose()
    }

    /// The connection, its credentials opened.
    pub(super) fn into_connection(
        self,
        store: &Store,
        environment: EnvironmentId,
    ) -> Result<Connection, StoreError> {
        let integration = IntegrationId::from_uuid(self.integration_id);
        let credentials =
            opened_credentials(store, environment, (integration, &self.connection_id), &self.credentials)?;
        Ok(Connection { credentials, ..self.without_credentials()? })
    }

    /// The connection but for its credentials: whoever deletes it needs no key for what is destroyed.
    pub(super) fn without_credentials(self) -> Result<Connection, StoreError> {
        Ok(Connection {
            key: ConnectionKey::from_number(self.id),
            id: ConnectionId::parse(self.connection_id.as_str()).map_err(|_| self.broken("connection_id"))?,
            integration: UniqueKey::parse(self.unique_key.as_str()).map_err(|_| self.broken("unique_key"))?,
            provider: Provider::named(&self.provider).ok_or_else(|| self.broken("provider"))?,
            tenant: self.tenant_id.map(TenantId::from_uuid),
            connection_config: self.map("connection_config", &self.connection_config)?,
            metadata: self.optional_map("metadata", self.metadata.as_ref())?,
            tags: self.map("tags", &self.tags)?,
            end_user: self.optional_map("end_user", self.end_user.as_ref())?,
            credentials: ClientCredentials::default(),
            webhook_url_override: self.webhook_url_override,
            created_at: self.created_at,
            updated_at: self.updated_at,
            last_fetched_at: self.last_fetched_at,
        })
    }
}

/// The client id in the sealed credentials of a connection, which is named by all that they are bound to.
pub(crate) fn client_id(
    store: &Store,
    (environment, integration, id): (EnvironmentId, IntegrationId, &str),
    sealed: &[u8],
) -> Result<Option<String>, StoreError> {
    #[derive(Deserialize)]
    struct Named {
        client_id: Option<String>,
    }
    let plain = store.open("connections", "credentials", &row_key(environment, integration, id), sealed)?;
    let named: Named = serde_json::from_slice(&plain)
        .map_err(|_| StoreError::inconsistent("connections", "credentials", id))?;
    Ok(named.client_id)
}
