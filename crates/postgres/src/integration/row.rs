//! Rows of `integrations`, and what they mean.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::account::Name;
use waypost_core::id::{EnvironmentId, IntegrationId};
use waypost_core::integration::{AppCredentials, ClientCertificate, Integration, UniqueKey};
use waypost_core::provider::Provider;
use waypost_core::provider::graph::fetch::Select;
use waypost_core::proxy::TokenHost;
use zeroize::Zeroizing;

use crate::{Store, StoreError};

/// An integration's row, its credentials still sealed.
#[derive(Debug)]
pub(crate) struct IntegrationRow {
    pub(super) id: Uuid,
    pub(super) environment_id: Uuid,
    pub(super) unique_key: String,
    pub(super) provider: String,
    pub(super) display_name: String,
    pub(super) forward_webhooks: bool,
    pub(super) credentials: Option<Vec<u8>>,
    pub(super) proxy_token_hosts: Vec<String>,
    pub(super) connect_without_admin_proof: bool,
    pub(super) fetch_resource: bool,
    pub(super) fetch_select: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

/// What is sealed of an app registration.
#[derive(Serialize)]
struct CredentialsToSeal<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateToSeal<'a>>,
    scopes: Option<&'a str>,
}

#[derive(Deserialize)]
struct OpenedCredentials {
    client_id: String,
    client_secret: Option<SecretString>,
    client_secret_expires_at: Option<DateTime<Utc>>,
    certificate: Option<OpenedCertificate>,
    scopes: Option<String>,
}

/// A client certificate inside something sealed.
#[derive(Serialize)]
pub(crate) struct CertificateToSeal<'a> {
    certificate: &'a str,
    private_key: &'a str,
}

/// As [`CertificateToSeal`], opened.
#[derive(Deserialize)]
pub(crate) struct OpenedCertificate {
    certificate: String,
    private_key: SecretString,
}

impl<'a> From<&'a ClientCertificate> for CertificateToSeal<'a> {
    fn from(given: &'a ClientCertificate) -> Self {
        Self { certificate: &given.certificate, private_key: given.private_key.expose_secret() }
    }
}

impl From<OpenedCertificate> for ClientCertificate {
    fn from(opened: OpenedCertificate) -> Self {
        Self { certificate: opened.certificate, private_key: opened.private_key }
    }
}

/// The credentials of the integration `id`, sealed for its row.
pub(super) fn sealed_credentials(store: &Store, id: IntegrationId, credentials: &AppCredentials) -> Vec<u8> {
    let plain = CredentialsToSeal {
        client_id: &credentials.client_id,
        client_secret: credentials.client_secret.as_ref().map(SecretString::expose_secret),
        client_secret_expires_at: credentials.client_secret_expires_at,
        certificate: credentials.certificate.as_ref().map(CertificateToSeal::from),
        scopes: credentials.scopes.as_deref(),
    };
    let text = Zeroizing::new(serde_json::json!(plain).to_string());
    store.seal("integrations", "credentials", id.uuid().as_bytes(), text.as_bytes())
}

/// The app registration of the integration `id`, opened.
pub(crate) fn opened_credentials(
    store: &Store,
    id: Uuid,
    sealed: &[u8],
) -> Result<AppCredentials, StoreError> {
    let plain = store.open("integrations", "credentials", id.as_bytes(), sealed)?;
    let opened: OpenedCredentials = serde_json::from_slice(&plain)
        .map_err(|_| StoreError::inconsistent("integrations", "credentials", id))?;
    Ok(AppCredentials {
        client_id: opened.client_id,
        client_secret: opened.client_secret,
        client_secret_expires_at: opened.client_secret_expires_at,
        certificate: opened.certificate.map(ClientCertificate::from),
        scopes: opened.scopes,
    })
}

impl IntegrationRow {
    pub(crate) async fn find(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        key: &UniqueKey,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query_as!(
            Self,
            "SELECT id, environment_id, unique_key, provider, display_name, forward_webhooks, credentials, proxy_token_hosts,
                    connect_without_admin_proof, fetch_resource, fetch_select, created_at, updated_at
             FROM integrations WHERE environment_id = $1 AND unique_key = $2 AND deleted_at IS NULL",
            environment.uuid(),
            key.as_str(),
        )
        .fetch_optional(tx)
        .await?;
        Ok(row)
    }

    /// As [`Self::find`]; nobody else changes it, or makes connections of it, until the transaction ends.
    pub(crate) async fn lock(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        key: &UniqueKey,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query_as!(
            Self,
            "SELECT id, environment_id, unique_key, provider, display_name, forward_webhooks, credentials, proxy_token_hosts,
                    connect_without_admin_proof, fetch_resource, fetch_select, created_at, updated_at
             FROM integrations WHERE environment_id = $1 AND unique_key = $2 AND deleted_at IS NULL FOR UPDATE",
            environment.uuid(),
            key.as_str(),
        )
        .fetch_optional(tx)
        .await?;
        Ok(row)
    }

    /// As [`Self::find`]; it is neither deleted nor renamed until the transaction ends.
    pub(crate) async fn lock_for_connections(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        key: &UniqueKey,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query_as!(
            Self,
            "SELECT id, environment_id, unique_key, provider, display_name, forward_webhooks, credentials, proxy_token_hosts,
                    connect_without_admin_proof, fetch_resource, fetch_select, created_at, updated_at
             FROM integrations WHERE environment_id = $1 AND unique_key = $2 AND deleted_at IS NULL FOR SHARE",
            environment.uuid(),
            key.as_str(),
        )
        .fetch_optional(tx)
        .await?;
        Ok(row)
    }

    pub(crate) const fn id(&self) -> IntegrationId {
        IntegrationId::from_uuid(self.id)
    }

    fn token_hosts(&self) -> Result<Vec<TokenHost>, StoreError> {
        let broken = |_| StoreError::inconsistent("integrations", "proxy_token_hosts", self.id);
        self.proxy_token_hosts.iter().map(|host| TokenHost::parse(host).map_err(broken)).collect()
    }

    /// The integration, its credentials opened.
    pub(crate) fn into_integration(self, store: &Store) -> Result<Integration, StoreError> {
        let broken = |column| StoreError::inconsistent("integrations", column, self.id);
        let credentials =
            self.credentials.as_deref().map(|sealed| opened_credentials(store, self.id, sealed));
        Ok(Integration {
            id: IntegrationId::from_uuid(self.id),
            environment: EnvironmentId::from_uuid(self.environment_id),
            credentials: credentials.transpose()?,
            provider: Provider::named(&self.provider).ok_or_else(|| broken("provider"))?,
            display_name: Name::parse(self.display_name.clone()).map_err(|_| broken("display_name"))?,
            unique_key: UniqueKey::parse(self.unique_key.clone()).map_err(|_| broken("unique_key"))?,
            forward_webhooks: self.forward_webhooks,
            proxy_token_hosts: self.token_hosts()?,
            connect_without_admin_proof: self.connect_without_admin_proof,
            fetch_resource: self.fetch_resource,
            fetch_select: read_select(self.fetch_select.as_deref(), self.id)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// The properties that are asked for of changed resources, as they were stored.
pub(crate) fn read_select(stored: Option<&str>, id: Uuid) -> Result<Option<Select>, StoreError> {
    let broken = |_| StoreError::inconsistent("integrations", "fetch_select", id);
    stored.map(|list| Select::parse(list).map_err(broken)).transpose()
}

/// The client id in the sealed credentials of an integration.
pub(crate) fn client_id(
    store: &Store,
    id: IntegrationId,
    sealed: &[u8],
) -> Result<Option<String>, StoreError> {
    #[derive(Deserialize)]
    struct Named {
        client_id: Option<String>,
    }
    let plain = store.open("integrations", "credentials", id.uuid().as_bytes(), sealed)?;
    let named: Named = serde_json::from_slice(&plain)
        .map_err(|_| StoreError::inconsistent("integrations", "credentials", id))?;
    Ok(named.client_id)
}
