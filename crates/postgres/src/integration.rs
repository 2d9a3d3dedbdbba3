//! Integrations: read, made, changed and deleted.
//!
//! Deleting one deletes its connections as well; a deleted row stays, so that history goes on naming it, but its
//! credentials and secrets are destroyed.

mod row;
mod secret;

use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use waypost_core::account::Name;
use waypost_core::id::IntegrationId;
use waypost_core::integration::{AppCredentials, Integration, UniqueKey};
use waypost_core::provider::Provider;
use waypost_core::provider::graph::fetch::Select;
use waypost_core::proxy::TokenHost;

pub(crate) use row::{
    CertificateToSeal, IntegrationRow, OpenedCertificate, client_id, opened_credentials, read_select,
};

use crate::audit::Change;
use crate::conflict::retry_conflicts;
use crate::{StoreError, TenantStore};

/// The constraint that keeps unique keys unique in their environment.
const UNIQUE_KEY: &str = "integrations_unique_key";

/// An integration that is about to be made.
#[derive(Debug)]
pub struct NewIntegration {
    /// Its name on the wire.
    pub unique_key: UniqueKey,
    /// What it speaks.
    pub provider: Provider,
    /// What people call it.
    pub display_name: Name,
    /// Whether its events are sent on.
    pub forward_webhooks: bool,
    /// The app registration.
    pub credentials: Option<AppCredentials>,
    /// The webhook secret.
    pub webhook_secret: Option<SecretString>,
    /// Hosts beside the provider's own that proxied calls may take a token to.
    pub proxy_token_hosts: Vec<TokenHost>,
    /// Whether anybody of an organization that consented before may connect it.
    pub connect_without_admin_proof: bool,
    /// Whether changed resources are read at delivery.
    pub fetch_resource: bool,
    /// Which of their properties; all when `None`.
    pub fetch_select: Option<Select>,
}

/// What of an integration is changed; `None` leaves a part as it is.
#[derive(Debug, Default)]
pub struct IntegrationChanges {
    /// A new name on the wire.
    pub unique_key: Option<UniqueKey>,
    /// What people call it.
    pub display_name: Option<Name>,
    /// Whether its events are sent on.
    pub forward_webhooks: Option<bool>,
    /// The app registration.
    pub credentials: Option<AppCredentials>,
    /// The webhook secret; an empty one takes all of them away at once.
    pub webhook_secret: Option<SecretString>,
    /// Hosts beside the provider's own that proxied calls may take a token to, in place of all before.
    pub proxy_token_hosts: Option<Vec<TokenHost>>,
    /// Whether anybody of an organization that consented before may connect it.
    pub connect_without_admin_proof: Option<bool>,
    /// Whether changed resources are read at delivery.
    pub fetch_resource: Option<bool>,
    /// Which of their properties; `Some(None)` asks for all.
    pub fetch_select: Option<Option<Select>>,
}

/// What came of writing an integration.
#[derive(Debug)]
pub enum Written {
    /// It stands so now.
    Done(Box<Integration>),
    /// There is no integration of that key.
    Unknown,
    /// Another integration has the new key.
    KeyTaken,
    /// It has connections, whose wire names hold its key.
    HasConnections,
}

impl TenantStore {
    /// All integrations, by provider and age.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn list_integrations(&self) -> Result<Vec<Integration>, StoreError> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query_as!(
            IntegrationRow,
            "SELECT id, environment_id, unique_key, provider, display_name, forward_webhooks, credentials, proxy_token_hosts,
                    connect_without_admin_proof, fetch_resource, fetch_select, created_at, updated_at
             FROM integrations WHERE environment_id = $1 AND deleted_at IS NULL ORDER BY provider, created_at, id",
            self.environment.uuid(),
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        rows.into_iter().map(|row| row.into_integration(&self.store)).collect()
    }

    /// The integration of that key.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn find_integration(&self, key: &UniqueKey) -> Result<Option<Integration>, StoreError> {
        let mut tx = self.begin().await?;
        let row = IntegrationRow::find(&mut tx, self.environment, key).await?;
        tx.commit().await?;
        row.map(|row| row.into_integration(&self.store)).transpose()
    }

    /// Makes an integration.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create_integration(&self, new: NewIntegration) -> Result<Written, StoreError> {
        match self.try_create_integration(new).await {
            Ok(integration) => Ok(Written::Done(Box::new(integration))),
            Err(error) if error.breaks(UNIQUE_KEY) => Ok(Written::KeyTaken),
            Err(error) => Err(error),
        }
    }

    async fn try_create_integration(&self, new: NewIntegration) -> Result<Integration, StoreError> {
        let now = self.store.clock().now();
        let id = IntegrationId::at(now);
        let mut tx = self.begin().await?;
        sqlx::query!(
            "INSERT INTO integrations (id, environment_id, unique_key, provider, display_name, forward_webhooks, credentials,
                                       proxy_token_hosts, fetch_resource, fetch_select, connect_without_admin_proof,
                                       created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)",
            id.uuid(),
            self.environment.uuid(),
            new.unique_key.as_str(),
            new.provider.name(),
            new.display_name.as_str(),
            new.forward_webhooks,
            new.credentials.as_ref().map(|credentials| row::sealed_credentials(&self.store, id, credentials)),
            &texts(&new.proxy_token_hosts),
            new.fetch_resource,
            new.fetch_select.as_ref().map(Select::as_str),
            new.connect_without_admin_proof,
            now,
        )
        .execute(&mut *tx)
        .await?;
        if let Some(secret) = &new.webhook_secret {
            self.set_webhook_secret(&mut tx, id, secret, TimeDelta::zero()).await?;
        }
        let detail = json!({
            "provider": new.provider.name(),
            "display_name": new.display_name,
            "forward_webhooks": new.forward_webhooks,
            "client_id": new.credentials.as_ref().map(|credentials| &credentials.client_id),
            "webhook_secret": new.webhook_secret.as_ref().map(|_| "***"),
            "proxy_token_hosts": new.proxy_token_hosts,
            "connect_without_admin_proof": new.connect_without_admin_proof,
            "fetch_resource": new.fetch_resource,
            "fetch_select": new.fetch_select,
        });
        let change = Change { action: "integration.create", object: new.unique_key.as_str(), detail };
        self.record(&mut tx, change).await?;
        let made = self.existing_integration(&mut tx, &new.unique_key).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Changes an integration. A webhook secret that is replaced stays valid for `grace`.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn update_integration(
        &self,
        key: &UniqueKey,
        changes: IntegrationChanges,
        grace: TimeDelta,
    ) -> Result<Written, StoreError> {
        match retry_conflicts(|| self.try_update_integration(key, &changes, grace)).await {
            Err(error) if error.breaks(UNIQUE_KEY) => Ok(Written::KeyTaken),
            result => result,
        }
    }

    async fn try_update_integration(
        &self,
        key: &UniqueKey,
        changes: &IntegrationChanges,
        grace: TimeDelta,
    ) -> Result<Written, StoreError> {
        let mut tx = self.begin().await?;
        let Some(row) = IntegrationRow::lock(&mut tx, self.environment, key).await? else {
            return Ok(Written::Unknown);
        };
        let id = row.id();
        let renamed = changes.unique_key.as_ref().is_some_and(|wanted| wanted != key);
        if renamed && self.has_connections(&mut tx, id).await? {
            return Ok(Written::HasConnections);
        }
        self.write_integration(&mut tx, id, changes).await?;
        if let Some(secret) = &changes.webhook_secret {
            self.set_webhook_secret(&mut tx, id, secret, grace).await?;
        }
        let change =
            Change { action: "integration.update", object: key.as_str(), detail: detail_of(changes) };
        self.record(&mut tx, change).await?;
        let now_named = changes.unique_key.as_ref().unwrap_or(key);
        let integration = self.existing_integration(&mut tx, now_named).await?;
        tx.commit().await?;
        Ok(Written::Done(Box::new(integration)))
    }

    async fn write_integration(
        &self,
        tx: &mut PgConnection,
        id: IntegrationId,
        changes: &IntegrationChanges,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE integrations SET
                 unique_key = coalesce($3, unique_key),
                 display_name = coalesce($4, display_name),
                 forward_webhooks = coalesce($5, forward_webhooks),
                 credentials = coalesce($6, credentials),
                 proxy_token_hosts = coalesce($7, proxy_token_hosts),
                 fetch_resource = coalesce($8, fetch_resource),
                 fetch_select = CASE WHEN $9 THEN $10 ELSE fetch_select END,
                 connect_without_admin_proof = coalesce($11, connect_without_admin_proof),
                 updated_at = $12
             WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id.uuid(),
            changes.unique_key.as_ref().map(UniqueKey::as_str),
            changes.display_name.as_ref().map(Name::as_str),
            changes.forward_webhooks,
            changes.credentials.as_ref().map(|credentials| row::sealed_credentials(
                &self.store,
                id,
                credentials
            )),
            changes.proxy_token_hosts.as_deref().map(texts) as Option<Vec<String>>,
            changes.fetch_resource,
            changes.fetch_select.is_some(),
            changes.fetch_select.as_ref().and_then(Option::as_ref).map(Select::as_str),
            changes.connect_without_admin_proof,
            self.store.clock().now(),
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn has_connections(&self, tx: &mut PgConnection, id: IntegrationId) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                   SELECT FROM connections WHERE environment_id = $1 AND integration_id = $2 AND deleted_at IS NULL
               ) AS "found!""#,
            self.environment.uuid(),
            id.uuid(),
        )
        .fetch_one(tx)
        .await?;
        Ok(found)
    }

    /// Deletes an integration and its connections, and ends what is on its way. False when there is none of that key.
    /// The notices of the deleted connections are given up after `max_age`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_integration(&self, key: &UniqueKey, max_age: TimeDelta) -> Result<bool, StoreError> {
        let deleted = retry_conflicts(|| self.try_delete_integration(key, max_age)).await?;
        if let Some(id) = deleted {
            self.discard_deliveries_of_integration(id).await?;
        }
        Ok(deleted.is_some())
    }

    async fn try_delete_integration(
        &self,
        key: &UniqueKey,
        max_age: TimeDelta,
    ) -> Result<Option<IntegrationId>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(row) = IntegrationRow::lock(&mut tx, self.environment, key).await? else { return Ok(None) };
        let id = row.id();
        let deleted = self.delete_connections_of(&mut tx, id, max_age).await?;
        sqlx::query!(
            "UPDATE integrations SET credentials = NULL, deleted_at = $3, updated_at = $3
             WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id.uuid(),
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "DELETE FROM integration_secrets WHERE environment_id = $1 AND integration_id = $2",
            self.environment.uuid(),
            id.uuid(),
        )
        .execute(&mut *tx)
        .await?;
        self.destroy_certificates(&mut tx, id, None).await?;
        let detail = json!({ "connections": deleted });
        self.record(&mut tx, Change { action: "integration.delete", object: key.as_str(), detail }).await?;
        tx.commit().await?;
        Ok(Some(id))
    }

    /// The integration that this transaction has written.
    async fn existing_integration(
        &self,
        tx: &mut PgConnection,
        key: &UniqueKey,
    ) -> Result<Integration, StoreError> {
        let row = IntegrationRow::find(tx, self.environment, key).await?;
        row.ok_or_else(|| StoreError::inconsistent("integrations", "unique_key", key))?
            .into_integration(&self.store)
    }
}

fn detail_of(changes: &IntegrationChanges) -> Value {
    let mut detail = Map::new();
    let mut note = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            detail.insert(name.to_owned(), value);
        }
    };
    note("unique_key", changes.unique_key.as_ref().map(|key| json!(key)));
    note("display_name", changes.display_name.as_ref().map(|name| json!(name)));
    note("forward_webhooks", changes.forward_webhooks.map(|on| json!(on)));
    note("fetch_resource", changes.fetch_resource.map(|on| json!(on)));
    note("fetch_select", changes.fetch_select.as_ref().map(|select| json!(select)));
    note("client_id", changes.credentials.as_ref().map(|credentials| json!(credentials.client_id)));
    let secret = |found: bool| found.then(|| json!("***"));
    let credentials = changes.credentials.as_ref();
    note("client_secret", secret(credentials.is_some_and(|found| found.client_secret.is_some())));
    note("client_certificate", secret(credentials.is_some_and(|found| found.certificate.is_some())));
    note("webhook_secret", changes.webhook_secret.as_ref().map(|_| json!("***")));
    note("connect_without_admin_proof", changes.connect_without_admin_proof.map(|on| json!(on)));
    note("proxy_token_hosts", changes.proxy_token_hosts.as_ref().map(|hosts| json!(hosts)));
    Value::Object(detail)
}

fn texts(hosts: &[TokenHost]) -> Vec<String> {
    hosts.iter().map(|host| host.as_str().to_owned()).collect()
}
