//! What became of a create, a renewal, or a subscription that Graph lost.
//!
//! Each function is conditional on the state that it settles: one that comes late changes nothing.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;
use waypost_core::connection::{ConnectionId, ConnectionRef};
use waypost_core::event::EventKind;
use waypost_core::id::{ConnectionKey, SubscriptionId};
use waypost_core::notice::SubscriptionNotice;
use waypost_core::subscription::LastError;

use super::Managed;
use super::intent::protect;
use super::row::SubscriptionRow;
use crate::audit::Change;
use crate::notice::Notice;
use crate::{StoreError, TenantStore};

/// The index that keeps Graph's ids apart.
const ONE_OF_A_GRAPH_ID: &str = "subscriptions_graph_id";

/// The index that lets one subscription alone be led by what Graph calls by an id, in all environments.
pub const ONE_LIVE_OF_A_GRAPH_ID: &str = "subscriptions_live_graph_id";

/// What Graph granted.
#[derive(Debug, Clone)]
pub struct Granted {
    /// Graph's id.
    pub graph_id: Uuid,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// When to renew it; `None` when nobody is to.
    pub renew_at: Option<DateTime<Utc>>,
    /// Graph's id of whoever created it.
    pub creator_id: Option<String>,
    /// Where its notifications go.
    pub notification_url: Option<String>,
    /// The label of the certificate that it encrypts for; `None` leaves what is known.
    pub certificate_label: Option<String>,
}

impl TenantStore {
    /// A pending one was granted: it is active, and that is told. `None` when nobody wants it any more: then whoever
    /// asked deletes it at Graph.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscription_granted(
        &self,
        id: SubscriptionId,
        granted: &Granted,
        max_age: TimeDelta,
    ) -> Result<Option<Managed>, StoreError> {
        match self.try_granted(id, granted, max_age).await {
            Err(error) if error.breaks(ONE_OF_A_GRAPH_ID) => self.merge(id, granted.graph_id).await,
            outcome => outcome,
        }
    }

    async fn try_granted(
        &self,
        id: SubscriptionId,
        granted: &Granted,
        max_age: TimeDelta,
    ) -> Result<Option<Managed>, StoreError> {
        let now = self.store.clock().now();
        let mut tx = self.begin().await?;
        self.withdraw_deletions(&mut tx, granted.graph_id).await?;
        // One that was over when it was led elsewhere may come back.
        sqlx::query!(
            "DELETE FROM subscriptions o USING subscriptions s
             WHERE s.environment_id = $1 AND s.id = $2 AND s.status = 'pending' AND o.environment_id = $1
               AND o.integration_id = s.integration_id AND o.graph_id = $3 AND o.status IN ('removed', 'expired')",
            self.environment.uuid(),
            id.uuid(),
            granted.graph_id,
        )
        .execute(&mut *tx)
        .await?;
        let updated = sqlx::query!(
            "UPDATE subscriptions SET
                 status = 'active', graph_id = $3, expires_at = $4, renew_at = $5, creator_id = $6,
                 notification_url = coalesce($7, notification_url), certificate_label = coalesce($9, certificate_label),
                 granted_at = $8, acted_at = NULL, posted_at = NULL, due_at = NULL, tries = 0, last_error = NULL, updated_at = $8
             WHERE environment_id = $1 AND id = $2 AND status = 'pending'",
            self.environment.uuid(),
            id.uuid(),
            granted.graph_id,
            granted.expires_at,
            granted.renew_at,
            granted.creator_id,
            granted.notification_url,
            now,
            granted.certificate_label,
        )
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            return Ok(None);
        }
        let detail = json!({"graph_id": granted.graph_id, "expires_at": granted.expires_at});
        let managed = self
            .told(
                &mut tx,
                id,
                Transition {
                    kind: EventKind::SubscriptionCreated,
                    action: "subscription.create",
                    detail,
                    max_age,
                },
            )
            .await?;
        tx.commit().await?;
        Ok(managed)
    }

    /// Graph's answer names one that is tracked already: its connections are served by that one.
    async fn merge(&self, id: SubscriptionId, graph_id: Uuid) -> Result<Option<Managed>, StoreError> {
        let mut tx = self.begin().await?;
        let other = sqlx::query_scalar!(
            "SELECT o.id FROM subscriptions o
             JOIN subscriptions s ON s.environment_id = o.environment_id AND s.integration_id = o.integration_id
             WHERE s.environment_id = $1 AND s.id = $2 AND o.graph_id = $3 FOR UPDATE OF o",
            self.environment.uuid(),
            id.uuid(),
            graph_id,
        );
        let Some(other) = other.fetch_optional(&mut *tx).await? else { return Ok(None) };
        self.withdraw_deletions(&mut tx, graph_id).await?;
        sqlx::query!(
            "INSERT INTO subscription_connections (environment_id, subscription_id, connection)
             SELECT environment_id, $3, connection FROM subscription_connections
             WHERE environment_id = $1 AND subscription_id = $2
             ON CONFLICT DO NOTHING",
            self.environment.uuid(),
            id.uuid(),
            other,
        )
        .execute(&mut *tx)
        .await?;
        self.drop_pending(&mut tx, id).await?;
        let other = SubscriptionId::from_uuid(other);
        let (object, detail) = (other.to_string(), json!({"instead_of": id}));
        self.record(&mut tx, Change { action: "subscription.join", object: &object, detail }).await?;
        let row = SubscriptionRow::one(&mut tx, self.environment, other).await?;
        tx.commit().await?;
        row.map(SubscriptionRow::into_managed).transpose()
    }

    /// What is wanted again must not be deleted at Graph any more.
    async fn withdraw_deletions(&self, tx: &mut PgConnection, graph_id: Uuid) -> Result<(), StoreError> {
        let withdrawn = sqlx::query!(
            "DELETE FROM graph_deletions WHERE environment_id = $1 AND graph_id = $2",
            self.environment.uuid(),
            graph_id,
        );
        withdrawn.execute(tx).await?;
        Ok(())
    }

    /// A pending one takes over another one of Graph's, whose `clientState` vouches from now on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscription_takes_state(
        &self,
        id: SubscriptionId,
        state: &SecretString,
    ) -> Result<(), StoreError> {
        let (hash, sealed) = protect(&self.store, id, state);
        let mut tx = self.begin().await?;
        sqlx::query!(
            "UPDATE subscriptions SET state_hash = $3, state_sealed = $4, updated_at = $5
             WHERE environment_id = $1 AND id = $2 AND status = 'pending'",
            self.environment.uuid(),
            id.uuid(),
            hash.as_slice(),
            sealed,
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A pending one was refused. One that is kept stays wanted and is tried again at
    /// `retry_at`; any other is forgotten. Tells whether it stays.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscription_refused(
        &self,
        id: SubscriptionId,
        error: &LastError,
        retry_at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let stays = sqlx::query!(
            "UPDATE subscriptions SET last_error = $3, due_at = $4, posted_at = NULL, updated_at = $5
             WHERE environment_id = $1 AND id = $2 AND status = 'pending' AND kept",
            self.environment.uuid(),
            id.uuid(),
            json_of(error),
            retry_at,
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected()
            == 1;
        if !stays {
            self.drop_pending(&mut tx, id).await?;
        }
        tx.commit().await?;
        Ok(stays)
    }

    /// It is not known yet what became of a pending one: it is looked for at `due_at`, and nothing is sent before.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscription_unclear(
        &self,
        id: SubscriptionId,
        error: &LastError,
        due_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "UPDATE subscriptions SET last_error = $3, due_at = $4, updated_at = $5
             WHERE environment_id = $1 AND id = $2 AND status = 'pending'",
            self.environment.uuid(),
            id.uuid(),
            json_of(error),
            due_at,
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// One that Graph has was renewed, by us or by a person. `None` when it isn't tracked any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscription_renewed(
        &self,
        id: SubscriptionId,
        granted: &Granted,
    ) -> Result<Option<Managed>, StoreError> {
        let now = self.store.clock().now();
        let mut tx = self.begin().await?;
        let updated = sqlx::query!(
            "UPDATE subscriptions SET
                 status = 'active', expires_at = $4, renew_at = $5, notification_url = coalesce($6, notification_url),
                 certificate_label = coalesce($8, certificate_label), granted_at = $7, acted_at = $7, last_error = NULL, updated_at = $7
             WHERE environment_id = $1 AND id = $2 AND graph_id = $3 AND status IN ('active', 'renewal_failing')",
            self.environment.uuid(),
            id.uuid(),
            granted.graph_id,
            granted.expires_at,
            granted.renew_at,
            granted.notification_url,
            now,
            granted.certificate_label,
        )
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            return Ok(None);
        }
        let (object, detail) = (id.to_string(), json!({"expires_at": granted.expires_at}));
        self.record(&mut tx, Change { action: "subscription.renew", object: &object, detail }).await?;
        let row = SubscriptionRow::one(&mut tx, self.environment, id).await?;
        tx.commit().await?;
        row.map(SubscriptionRow::into_managed).transpose()
    }

    /// Something went wrong with one that Graph has; it stays as it is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscription_troubled(
        &self,
        id: SubscriptionId,
        error: &LastError,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "UPDATE subscriptions SET last_error = $3, updated_at = $4 WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id.uuid(),
            json_of(error),
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Graph doesn't have it any more, though we did not delete it: it is removed, and that is told.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscription_lost(
        &self,
        id: SubscriptionId,
        error: &LastError,
        max_age: TimeDelta,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let updated = sqlx::query!(
            "UPDATE subscriptions SET status = 'removed', renew_at = NULL, last_error = $3, updated_at = $4
             WHERE environment_id = $1 AND id = $2 AND status IN ('active', 'renewal_failing')",
            self.environment.uuid(),
            id.uuid(),
            json_of(error),
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 1 {
            let (kind, action) = (EventKind::SubscriptionRemoved, "subscription.lost");
            self.told(&mut tx, id, Transition { kind, action, detail: json!({}), max_age }).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Writes down a transition, and the notices of it for all connections that are served.
    async fn told(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        id: SubscriptionId,
        transition: Transition,
    ) -> Result<Option<Managed>, StoreError> {
        let Some(row) = SubscriptionRow::one(tx, self.environment, id).await? else { return Ok(None) };
        let managed = row.into_managed()?;
        let connections = self.served(tx, id).await?;
        let keys: Vec<i64> = connections.iter().map(|(key, _)| key.number()).collect();
        let audience = self.audience(tx, &keys).await?;
        let references: Vec<ConnectionRef> = connections
            .into_iter()
            .map(|(key, id)| ConnectionRef { key, id, override_endpoint: audience.override_of(key) })
            .collect();
        let shown = &managed.subscription;
        let notice = |reference| Notice {
            kind: transition.kind,
            integration: (managed.integration, &shown.integration),
            connection: reference,
            tenant: Some(managed.tenant),
            body: SubscriptionNotice {
                kind: transition.kind,
                connection: &reference.id,
                subscription: shown,
            }
            .body(),
        };
        let notices = references.iter().map(notice).collect();
        self.append_notices(tx, &audience, notices, transition.max_age).await?;
        let (object, detail) = (id.to_string(), transition.detail);
        self.record(tx, Change { action: transition.action, object: &object, detail }).await?;
        Ok(Some(managed))
    }

    async fn served(
        &self,
        tx: &mut PgConnection,
        id: SubscriptionId,
    ) -> Result<Vec<(ConnectionKey, ConnectionId)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT c.id, c.connection_id FROM subscription_connections sc JOIN connections c ON c.id = sc.connection
             WHERE sc.environment_id = $1 AND sc.subscription_id = $2 AND c.deleted_at IS NULL ORDER BY c.id",
            self.environment.uuid(),
            id.uuid(),
        )
        .fetch_all(tx)
        .await?;
        rows.into_iter()
            .map(|row| {
                let name = ConnectionId::parse(row.connection_id)
                    .map_err(|_| StoreError::inconsistent("connections", "connection_id", row.id))?;
                Ok((ConnectionKey::from_number(row.id), name))
            })
            .collect()
    }
}

/// What is told of a subscription, and written down.
struct Transition {
    kind: EventKind,
    action: &'static str,
    detail: Value,
    max_age: TimeDelta,
}

fn json_of(error: &LastError) -> Value {
    json!(error)
}
