//! Rows of `integrations`, and what they mean.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::account::Name;
use waypost_core::id::{EnvironmentId, IntegrationId};
use waypost_core::integration::{AppCredentials, Integration, UniqueKey};
use waypost_core::provider::Provider;
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
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

/// What is sealed of an app registration.
#[derive(Serialize)]
struct CredentialsToSeal<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    scopes: Option<&'a str>,
}

#[derive(Deserialize)]
struct OpenedCredentials {
    client_id: String,
    client_secret: SecretString,
    scopes: Option<String>,
}

/// The credentials of the integration `id`, sealed for its row.
pub(super) fn sealed_credentials(store: &Store, id: IntegrationId, credentials: &AppCredentials) -> Vec<u8> {
    let plain = CredentialsToSeal {
        client_id: &credentials.client_id,
        client_secret: credentials.client_secret.expose_secret(),
        scopes: credentials.scopes.as_deref(),
    };
    let text = Zeroizing::new(serde_json::json!(plain).to_string());
    store.seal("integrations", "credentials", id.uuid().as_bytes(), text.as_bytes())
}

impl IntegrationRow {
    pub(crate) async fn find(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        key: &UniqueKey,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query_as!(
            Self,
            "SELECT id, environment_id, unique_key, provider, display_name, forward_webhooks, credentials, created_at, updated_at
             FROM integrations WHERE environment_id = $1 AND unique_key = $2 AND deleted_at IS NULL",
            environment.uuid(),
            key.as_str(),
        )
        .fetch_optional(tx)
        .await?;
        Ok(row)
    }

    /// As [`Self::find`]; nobody else changes it, or makes connections of it, until the transaction ends.
    pub(super) async fn lock(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        key: &UniqueKey,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query_as!(
            Self,
            "SELECT id, environment_id, unique_key, provider, display_name, forward_webhooks, credentials, created_at, updated_at
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
            "SELECT id, environment_id, unique_key, provider, display_name, forward_webhooks, credentials, created_at, updated_at
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

    /// The integration, its credentials opened.
    pub(crate) fn into_integration(self, store: &Store) -> Result<Integration, StoreError> {
        let broken = |column| StoreError::inconsistent("integrations", column, self.id);
        let credentials = self.credentials.as_deref().map(|sealed| {
            let plain = store.open("integrations", "credentials", self.id.as_bytes(), sealed)?;
            let opened: OpenedCredentials =
                serde_json::from_slice(&plain).map_err(|_| broken("credentials"))?;
            Ok::<_, StoreError>(AppCredentials {
                client_id: opened.client_id,
                client_secret: opened.client_secret,
                scopes: opened.scopes,
            })
        });
        Ok(Integration {
            id: IntegrationId::from_uuid(self.id),
            environment: EnvironmentId::from_uuid(self.environment_id),
            credentials: credentials.transpose()?,
            provider: Provider::named(&self.provider).ok_or_else(|| broken("provider"))?,
            display_name: Name::parse(self.display_name.clone()).map_err(|_| broken("display_name"))?,
            unique_key: UniqueKey::parse(self.unique_key.clone()).map_err(|_| broken("unique_key"))?,
            forward_webhooks: self.forward_webhooks,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
