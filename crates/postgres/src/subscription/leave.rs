//! Connections that leave their subscriptions, and subscriptions that end with the last of them.
//!
//! Runs in the transaction that deletes, before it destroys credentials: what must still be deleted at Graph takes them
//! along.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::id::{ConnectionKey, EnvironmentId, SubscriptionId};

use crate::audit::Change;
use crate::{StoreError, TenantStore};

/// Takes `connections` out of their subscriptions. What serves nobody then ends.
pub(crate) async fn leave_subscriptions(
    tx: &mut PgConnection,
    environment: EnvironmentId,
    connections: &[i64],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let served = sqlx::query_scalar!(
        "SELECT id FROM subscriptions WHERE environment_id = $1 AND id IN (
             SELECT subscription_id FROM subscription_connections WHERE environment_id = $1 AND connection = ANY($2)
         ) ORDER BY id FOR UPDATE",
        environment.uuid(),
        connections,
    )
    .fetch_all(&mut *tx)
    .await?;
    let ended = sqlx::query_scalar!(
        "SELECT id FROM subscriptions s WHERE s.environment_id = $1 AND s.id = ANY($2) AND NOT EXISTS (
             SELECT FROM subscription_connections sc JOIN connections c ON c.id = sc.connection
             WHERE sc.subscription_id = s.id AND c.deleted_at IS NULL AND c.id <> ALL($3)
         )",
        environment.uuid(),
        &served,
        connections,
    )
    .fetch_all(&mut *tx)
    .await?;
    end_subscriptions(tx, environment, &ended, now).await?;
    sqlx::query!(
        "DELETE FROM subscription_connections WHERE environment_id = $1 AND connection = ANY($2)",
        environment.uuid(),
        connections,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets subscriptions and leaves a note to delete them at Graph; returns the notes' ids.
pub(crate) async fn end_subscriptions(
    tx: &mut PgConnection,
    environment: EnvironmentId,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, StoreError> {
    let notes = sqlx::query_file_scalar!("queries/end_subscriptions.sql", environment.uuid(), ids, now);
    Ok(notes.fetch_all(tx).await?)
}

/// What came of a connection's wish to leave a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It serves nobody else: it is to be deleted instead.
    Unshared,
    /// It serves only others now.
    Left,
    /// It serves others, and did not serve this connection.
    NotServed,
}

impl TenantStore {
    /// Deletes a subscription whomever it serves, and leaves a note to delete it at Graph: that note's id, if there is
    /// anything to delete. `None` when there is no such subscription.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_subscription(&self, id: SubscriptionId) -> Result<Option<Option<Uuid>>, StoreError> {
        let mut tx = self.begin().await?;
        if !self.lock_subscription(&mut tx, id).await? {
            return Ok(None);
        }
        let now = self.store.clock().now();
        let notes = end_subscriptions(&mut tx, self.environment, &[id.uuid()], now).await?;
        let change = Change { action: "subscription.delete", object: &id.to_string(), detail: json!({}) };
        self.record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(Some(notes.first().copied()))
    }

    /// Forgets a subscription that a person deleted at Graph.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_subscription(&self, id: SubscriptionId) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        if !self.lock_subscription(&mut tx, id).await? {
            return Ok(false);
        }
        sqlx::query!(
            "DELETE FROM subscriptions WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id.uuid(),
        )
        .execute(&mut *tx)
        .await?;
        let detail = json!({"deleted_through": "proxy"});
        self.record(&mut tx, Change { action: "subscription.delete", object: &id.to_string(), detail })
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Lets a connection leave a subscription that serves others as well.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn leave_shared_subscription(
        &self,
        id: SubscriptionId,
        connection: ConnectionKey,
    ) -> Result<Leaving, StoreError> {
        let mut tx = self.begin().await?;
        if !self.lock_subscription(&mut tx, id).await? {
            return Ok(Leaving::Unshared);
        }
        let others = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                   SELECT FROM subscription_connections o JOIN connections c ON c.id = o.connection
                   WHERE o.environment_id = $1 AND o.subscription_id = $2 AND o.connection <> $3 AND c.deleted_at IS NULL
               ) AS "others!""#,
            self.environment.uuid(),
            id.uuid(),
            connection.number(),
        );
        if !others.fetch_one(&mut *tx).await? {
            return Ok(Leaving::Unshared);
        }
        let left = sqlx::query!(
            "DELETE FROM subscription_connections
             WHERE environment_id = $1 AND subscription_id = $2 AND connection = $3",
            self.environment.uuid(),
            id.uuid(),
            connection.number(),
        );
        if left.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(Leaving::NotServed);
        }
        let (object, detail) = (id.to_string(), json!({"connection": connection}));
        self.record(&mut tx, Change { action: "subscription.leave", object: &object, detail }).await?;
        tx.commit().await?;
        Ok(Leaving::Left)
    }

    async fn lock_subscription(&self, tx: &mut PgConnection, id: SubscriptionId) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar!(
            "SELECT id FROM subscriptions WHERE environment_id = $1 AND id = $2 FOR UPDATE",
            self.environment.uuid(),
            id.uuid(),
        );
        Ok(found.fetch_optional(tx).await?.is_some())
    }
}
