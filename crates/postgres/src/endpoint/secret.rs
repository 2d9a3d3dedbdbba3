//! Signing secrets of endpoints: read, and replaced while those before go on signing for a while.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::endpoint::EndpointKind;
use waypost_core::id::EndpointId;
use waypost_core::id::uuid_at;
use waypost_crypto::signature::EndpointSecret;

use super::row::EndpointRow;
use crate::audit::Change;
use crate::conflict::retry_conflicts;
use crate::{StoreError, TenantStore};

/// The most secrets that an endpoint signs with at a time.
const MOST_SECRETS: i64 = 5;

/// A secret that was replaced.
#[derive(Debug)]
pub struct Rotated {
    /// The new one, as text.
    pub secret: SecretString,
    /// Until when the one before stays valid; `None` when there was none.
    pub previous_valid_until: Option<DateTime<Utc>>,
}

/// What came of asking for a new secret.
#[derive(Debug)]
pub enum Rotation {
    /// There is a new one.
    Done(Rotated),
    /// The endpoint is an override: it signs with the secret of `primary`.
    SignsAsPrimary,
    /// As many as can be sign along already.
    TooMany {
        /// When the first of them no longer does.
        until: DateTime<Utc>,
    },
    /// There is no such endpoint.
    Unknown,
}

impl TenantStore {
    /// The secret that an endpoint signs with; `None` when there is no endpoint of that id.
    ///
    /// # Errors
    /// When the store fails, or the secret doesn't open.
    pub async fn endpoint_secret(&self, id: EndpointId) -> Result<Option<SecretString>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(row) = EndpointRow::find(&mut tx, self.environment, id).await? else { return Ok(None) };
        let found = sqlx::query!(
            "SELECT s.id, s.sealed FROM endpoint_secrets s JOIN endpoints e ON e.id = s.endpoint_id
             WHERE s.environment_id = $1 AND s.valid_until IS NULL AND e.environment_id = $1
               AND CASE WHEN $3 THEN e.kind = 'primary' ELSE e.id = $2 END",
            self.environment.uuid(),
            id.uuid(),
            row.kind()? == EndpointKind::Override,
        )
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        let found = found.ok_or_else(|| StoreError::inconsistent("endpoint_secrets", "endpoint_id", id))?;
        self.store.open_text("endpoint_secrets", "sealed", found.id.as_bytes(), &found.sealed).map(Some)
    }

    /// Gives an endpoint a new secret. The one before signs along for `grace`, older ones for as long as they were to; of
    /// all of them [`MOST_SECRETS`] at most.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn rotate_endpoint_secret(
        &self,
        id: EndpointId,
        grace: TimeDelta,
    ) -> Result<Rotation, StoreError> {
        retry_conflicts(|| self.try_rotate_secret(id, grace)).await
    }

    async fn try_rotate_secret(&self, id: EndpointId, grace: TimeDelta) -> Result<Rotation, StoreError> {
        let mut tx = self.begin().await?;
        let Some(row) = EndpointRow::lock(&mut tx, self.environment, id).await? else {
            return Ok(Rotation::Unknown);
        };
        if row.kind()? == EndpointKind::Override {
            return Ok(Rotation::SignsAsPrimary);
        }
        let now = self.store.clock().now();
        sqlx::query!(
            "DELETE FROM endpoint_secrets WHERE environment_id = $1 AND endpoint_id = $2 AND valid_until <= $3",
            self.environment.uuid(),
            id.uuid(),
            now,
        )
        .execute(&mut *tx)
        .await?;
        if let Some(until) = self.is_full_of_secrets(&mut tx, id).await? {
            return Ok(Rotation::TooMany { until });
        }
        let previous_valid_until = now + grace;
        let replaced = sqlx::query!(
            "UPDATE endpoint_secrets SET valid_until = $3
             WHERE environment_id = $1 AND endpoint_id = $2 AND valid_until IS NULL",
            self.environment.uuid(),
            id.uuid(),
            previous_valid_until,
        )
        .execute(&mut *tx)
        .await?;
        let secret = self.insert_secret(&mut tx, id).await?;
        let previous_valid_until = (replaced.rows_affected() > 0).then_some(previous_valid_until);
        let detail = json!({ "previous_valid_until": previous_valid_until });
        self.record(&mut tx, Change { action: "endpoint.rotate_secret", object: &id.to_string(), detail })
            .await?;
        tx.commit().await?;
        Ok(Rotation::Done(Rotated { secret, previous_valid_until }))
    }

    /// When an endpoint can have a further secret, if it has as many as it can have now.
    async fn is_full_of_secrets(
        &self,
        tx: &mut PgConnection,
        id: EndpointId,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let held = sqlx::query!(
            r#"SELECT count(*) AS "count!", min(valid_until) AS until FROM endpoint_secrets
               WHERE environment_id = $1 AND endpoint_id = $2"#,
            self.environment.uuid(),
            id.uuid(),
        )
        .fetch_one(tx)
        .await?;
        Ok(held.until.filter(|_| held.count >= MOST_SECRETS))
    }

    /// Makes the secret that an endpoint signs with from now on.
    pub(crate) async fn insert_secret(
        &self,
        tx: &mut PgConnection,
        endpoint: EndpointId,
    ) -> Result<SecretString, StoreError> {
        let now = self.store.clock().now();
        let id: Uuid = uuid_at(now);
        let text = EndpointSecret::generate().to_text();
        sqlx::query!(
            "INSERT INTO endpoint_secrets (id, environment_id, endpoint_id, sealed, created_at) VALUES ($1, $2, $3, $4, $5)",
            id,
            self.environment.uuid(),
            endpoint.uuid(),
            self.store.seal("endpoint_secrets", "sealed", id.as_bytes(), text.expose_secret().as_bytes()),
            now,
        )
        .execute(tx)
        .await?;
        Ok(text)
    }
}
