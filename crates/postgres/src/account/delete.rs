//! Deleting an environment: at once for everybody who asks, its open deliveries and what waits in chunks.
//!
//! What is appended while that goes on, or left over by a crash, is discarded by whoever keeps the store in order.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{Postgres, Transaction};
use waypost_core::id::EnvironmentId;

use crate::audit::Change;
use crate::conflict::retry_conflicts;
use crate::store::Actor;
use crate::subscription::end_subscriptions;
use crate::{Store, StoreError};

/// How many deliveries leave the hot table at a time.
const CHUNK: i64 = 5_000;

impl Store {
    /// Deletes an environment: unknown to everybody from then on, its keys and credentials destroyed, its open deliveries
    /// discarded. Tells whether there was one.
    ///
    /// # Errors
    /// When the store fails. If that happens after the environment is deleted, what is left over of its deliveries goes
    /// with [`Store::discard_of_deleted_across_environments`].
    pub async fn delete_environment(&self, id: EnvironmentId, actor: &Actor) -> Result<bool, StoreError> {
        let deleted = retry_conflicts(|| self.try_delete_environment(id, actor)).await?;
        if deleted {
            while self.discard_chunk(id).await? > 0 {}
            while self.forget_unmatched_of(id).await? > 0 {}
        }
        Ok(deleted)
    }

    async fn try_delete_environment(&self, id: EnvironmentId, actor: &Actor) -> Result<bool, StoreError> {
        let now = self.clock().now();
        let mut tx = self.requests().begin().await?;
        let deleted = sqlx::query!(
            "UPDATE environments SET deleted_at = $2, updated_at = $2 WHERE id = $1 AND deleted_at IS NULL",
            id.uuid(),
            now,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if deleted == 0 {
            return Ok(false);
        }
        end_all_subscriptions(&mut tx, id, now).await?;
        destroy_secrets(&mut tx, id, now).await?;
        let change = Change { action: "environment.delete", object: &id.to_string(), detail: json!({}) };
        self.record(&mut tx, Some(id), actor, change).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Discards open deliveries of environments that are deleted, and forgets what waits there for a connection: what was
    /// appended while the deletion went on, or what a crash left over. Returns how many; call it again while that isn't 0.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn discard_of_deleted_across_environments(&self) -> Result<u64, StoreError> {
        let environments = sqlx::query_scalar!(
            "SELECT e.id FROM environments e
             WHERE e.deleted_at IS NOT NULL
               AND (EXISTS (SELECT FROM deliveries d WHERE d.environment_id = e.id)
                 OR EXISTS (SELECT FROM unmatched u WHERE u.environment_id = e.id AND u.tenant_id IS NOT NULL))
             ORDER BY e.id LIMIT 10",
        )
        .fetch_all(self.requests())
        .await?;
        let mut discarded = 0;
        for id in environments {
            let id = EnvironmentId::from_uuid(id);
            discarded += self.discard_chunk(id).await? + self.forget_unmatched_of(id).await?;
        }
        Ok(discarded)
    }

    /// Lets a chunk of a deleted environment's events wait no longer: no connection can come. What has no tenant isn't
    /// looked at by anybody, and leaves with its day.
    async fn forget_unmatched_of(&self, id: EnvironmentId) -> Result<u64, StoreError> {
        let forgotten = sqlx::query!(
            "DELETE FROM unmatched WHERE event_id IN (
                 SELECT event_id FROM unmatched WHERE environment_id = $1 AND tenant_id IS NOT NULL
                 ORDER BY event_id LIMIT $2 FOR UPDATE SKIP LOCKED
             )",
            id.uuid(),
            CHUNK,
        )
        .execute(self.requests())
        .await?;
        Ok(forgotten.rows_affected())
    }

    async fn discard_chunk(&self, id: EnvironmentId) -> Result<u64, StoreError> {
        retry_conflicts(|| self.try_discard_chunk(id)).await
    }

    async fn try_discard_chunk(&self, id: EnvironmentId) -> Result<u64, StoreError> {
        let discarded = sqlx::query!(
            "WITH open AS (
                 -- In id order, as everybody locks deliveries, so that nobody waits in a circle.
                 SELECT id FROM deliveries WHERE environment_id = $1 ORDER BY id LIMIT $2 FOR UPDATE
             ), gone AS (
                 DELETE FROM deliveries d USING open WHERE d.id = open.id
                 RETURNING d.id, d.event_id, d.environment_id, d.endpoint_id, d.attempts
             )
             INSERT INTO delivery_results (delivery_id, event_id, environment_id, endpoint_id, ending, attempts, ended_at)
             SELECT id, event_id, environment_id, endpoint_id, 4, attempts, $3 FROM gone",
            id.uuid(),
            CHUNK,
            self.clock().now(),
        )
        .execute(self.requests())
        .await?;
        Ok(discarded.rows_affected())
    }
}

/// Ends all subscriptions, before the credentials that their deletion at Graph needs are destroyed.
async fn end_all_subscriptions(
    tx: &mut Transaction<'_, Postgres>,
    id: EnvironmentId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let all = sqlx::query_scalar!(
        "SELECT id FROM subscriptions WHERE environment_id = $1 ORDER BY id FOR UPDATE",
        id.uuid()
    )
    .fetch_all(&mut **tx)
    .await?;
    end_subscriptions(tx, id, &all, now).await?;
    Ok(())
}

/// Destroys every secret of a deleted environment: nothing that is sealed for it is left, and no key opens it. What
/// came and was sent stays sealed in its history until that leaves.
async fn destroy_secrets(
    tx: &mut Transaction<'_, Postgres>,
    id: EnvironmentId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let id = id.uuid();
    sqlx::query!(
        "UPDATE api_keys SET revoked_at = $2 WHERE environment_id = $1 AND revoked_at IS NULL",
        id,
        now
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "UPDATE integrations SET credentials = NULL, updated_at = $2 WHERE environment_id = $1",
        id,
        now
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("DELETE FROM integration_secrets WHERE environment_id = $1", id).execute(&mut **tx).await?;
    sqlx::query!("DELETE FROM connection_grants WHERE environment_id = $1", id).execute(&mut **tx).await?;
    sqlx::query!("DELETE FROM grants WHERE environment_id = $1", id).execute(&mut **tx).await?;
    sqlx::query!("DELETE FROM connect_sessions WHERE environment_id = $1", id).execute(&mut **tx).await?;
    sqlx::query!(
        "UPDATE certificates SET status = 'retired', private_key = NULL, retired_at = $2
         WHERE environment_id = $1 AND status <> 'retired'",
        id,
        now
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "UPDATE connections SET credentials = '', updated_at = $2 WHERE environment_id = $1",
        id,
        now
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("DELETE FROM endpoint_secrets WHERE environment_id = $1", id).execute(&mut **tx).await?;
    sqlx::query!(
        "UPDATE endpoints SET headers = NULL, header_names = '{}', updated_at = $2
         WHERE environment_id = $1 AND headers IS NOT NULL",
        id,
        now
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("UPDATE environments SET signing_key = '' WHERE id = $1", id).execute(&mut **tx).await?;
    Ok(())
}
