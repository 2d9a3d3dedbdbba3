//! Webhook secrets of integrations: the current one, and those that stay valid for a while after it replaced them.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::id::{IntegrationId, uuid_at};
use waypost_core::integration::UniqueKey;
use waypost_crypto::token::{self, Purpose};

use super::row::IntegrationRow;
use crate::audit::Change;
use crate::endpoint::Rotated;
use crate::{StoreError, TenantStore};

impl TenantStore {
    /// The current webhook secret of an integration.
    ///
    /// # Errors
    /// When the store fails, or the secret doesn't open.
    pub async fn webhook_secret(
        &self,
        integration: IntegrationId,
    ) -> Result<Option<SecretString>, StoreError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query!(
            "SELECT id, sealed FROM integration_secrets
             WHERE environment_id = $1 AND integration_id = $2 AND valid_until IS NULL",
            self.environment.uuid(),
            integration.uuid(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        row.map(|row| self.store.open_text("integration_secrets", "sealed", row.id.as_bytes(), &row.sealed))
            .transpose()
    }

    /// Gives an integration a new webhook secret: the given one, or one that nobody can guess. The one before stays
    /// valid for `grace`. `None` when there is no integration of that key.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn rotate_webhook_secret(
        &self,
        key: &UniqueKey,
        secret: Option<SecretString>,
        grace: TimeDelta,
    ) -> Result<Option<Rotated>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(row) = IntegrationRow::lock(&mut tx, self.environment, key).await? else { return Ok(None) };
        let secret = secret.unwrap_or_else(token::random_secret);
        let previous_valid_until = self.set_webhook_secret(&mut tx, row.id(), &secret, grace).await?;
        let detail = json!({ "webhook_secret": "***", "previous_valid_until": previous_valid_until });
        let change = Change { action: "integration.rotate_webhook_secret", object: key.as_str(), detail };
        self.record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(Some(Rotated { secret, previous_valid_until }))
    }

    /// Makes `secret` the current one and tells until when the one before it stays valid. An empty one takes all away at
    /// once; the one that is current already changes nothing.
    pub(super) async fn set_webhook_secret(
        &self,
        tx: &mut PgConnection,
        integration: IntegrationId,
        secret: &SecretString,
        grace: TimeDelta,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let text = secret.expose_secret().as_bytes();
        if text.is_empty() {
            self.delete_webhook_secrets(tx, integration).await?;
            return Ok(None);
        }
        let hash = self.store.hash_key().hash(Purpose::ClientState, text);
        let previous = self.replace_current(tx, integration, hash.as_bytes(), grace).await?;
        let now = self.store.clock().now();
        let id: Uuid = uuid_at(now);
        sqlx::query!(
            "INSERT INTO integration_secrets (id, environment_id, integration_id, hash, sealed, created_at)
             SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (
                 SELECT FROM integration_secrets
                 WHERE environment_id = $2 AND integration_id = $3 AND hash = $4 AND valid_until IS NULL
             )",
            id,
            self.environment.uuid(),
            integration.uuid(),
            hash.as_bytes(),
            self.store.seal("integration_secrets", "sealed", id.as_bytes(), text),
            now,
        )
        .execute(tx)
        .await?;
        Ok(previous)
    }

    async fn delete_webhook_secrets(
        &self,
        tx: &mut PgConnection,
        integration: IntegrationId,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM integration_secrets WHERE environment_id = $1 AND integration_id = $2",
            self.environment.uuid(),
            integration.uuid(),
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Ends the current secret after `grace`, unless it is the one that comes, and clears away what has ended.
    async fn replace_current(
        &self,
        tx: &mut PgConnection,
        integration: IntegrationId,
        coming: &[u8],
        grace: TimeDelta,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let now = self.store.clock().now();
        let until = sqlx::query_scalar!(
            r#"UPDATE integration_secrets SET valid_until = $4
               WHERE environment_id = $1 AND integration_id = $2 AND valid_until IS NULL AND hash <> $3
               RETURNING valid_until AS "valid_until!""#,
            self.environment.uuid(),
            integration.uuid(),
            coming,
            now + grace,
        )
        .fetch_optional(&mut *tx)
        .await?;
        sqlx::query!(
            "DELETE FROM integration_secrets
             WHERE environment_id = $1 AND integration_id = $2 AND (valid_until <= $4 OR valid_until IS NOT NULL AND hash = $3)",
            self.environment.uuid(),
            integration.uuid(),
            coming,
            now,
        )
        .execute(tx)
        .await?;
        Ok(until)
    }
}
