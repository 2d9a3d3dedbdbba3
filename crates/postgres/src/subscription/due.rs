//! Pending subscriptions that somebody must look after: creates whose sender is gone, and templates' wishes.
//!
//! Taking one moves its time ahead, so that several processes pass each other by and a crash is healed by waiting.
//! Crosses environments: for workers only.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use uuid::Uuid;
use waypost_core::id::{ConnectionKey, EnvironmentId, IntegrationId, SubscriptionId};
use waypost_core::integration::UniqueKey;
use waypost_core::provider::graph::resource::Resource;
use waypost_core::subscription::{ChangeTypes, Origin, Wish};

use crate::{Store, StoreError};

/// A pending subscription that is due.
#[derive(Debug)]
pub struct DuePending {
    /// Its id.
    pub id: SubscriptionId,
    /// Its environment.
    pub environment: EnvironmentId,
    /// Its integration.
    pub integration: IntegrationId,
    /// That integration's name on the wire.
    pub unique_key: UniqueKey,
    /// The connection as which Graph is called; `None` when none is left.
    pub connection: Option<ConnectionKey>,
    /// Who wanted it.
    pub origin: Origin,
    /// Whether it is tried again until Graph grants it.
    pub is_kept: bool,
    /// What is wanted.
    pub wish: Wish,
    /// Its `clientState`; `None` for one that was written without it.
    pub state: Option<SecretString>,
    /// Whether its create was sent and what came of that is not known.
    pub was_posted: bool,
    /// Where its notifications were to go.
    pub notification_url: Option<String>,
    /// How often it was taken.
    pub tries: i32,
    /// When it was wanted.
    pub created_at: DateTime<Utc>,
}

struct DueRow {
    id: Uuid,
    environment_id: Uuid,
    integration_id: Uuid,
    unique_key: String,
    connection: Option<i64>,
    kept: bool,
    origin: String,
    resource: String,
    change_type: String,
    include_resource_data: bool,
    lifetime_seconds: Option<i64>,
    auto_renew: bool,
    state_sealed: Option<Vec<u8>>,
    posted_at: Option<DateTime<Utc>>,
    notification_url: Option<String>,
    tries: i32,
    created_at: DateTime<Utc>,
}

impl Store {
    /// Takes up to `limit` pending subscriptions that are due; others get them again after `lease`.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn take_pending_subscriptions_across_environments(
        &self,
        limit: i64,
        lease: TimeDelta,
    ) -> Result<Vec<DuePending>, StoreError> {
        let now = self.clock().now();
        let rows = sqlx::query_as!(
            DueRow,
            r#"-- take_pending_subscriptions
               WITH due AS (
                   SELECT id FROM subscriptions WHERE status = 'pending' AND due_at IS NOT NULL AND due_at <= $1
                   ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
               ), taken AS (
                   UPDATE subscriptions s SET due_at = $3, tries = s.tries + 1 FROM due WHERE s.id = due.id
                   RETURNING s.*
               )
               SELECT t.id, t.environment_id, t.integration_id, i.unique_key, c.id AS "connection?",
                      t.kept, t.origin, t.resource, t.change_type,
                      t.include_resource_data, t.lifetime_seconds, t.auto_renew, t.state_sealed, t.posted_at,
                      t.notification_url, t.tries, t.created_at
               FROM taken t
               CROSS JOIN LATERAL (SELECT unique_key FROM integrations WHERE id = t.integration_id LIMIT 1) i
               LEFT JOIN LATERAL (
                   SELECT min(c.id) AS id
                   FROM subscription_connections sc
                   CROSS JOIN LATERAL (
                       SELECT id FROM connections WHERE id = sc.connection AND deleted_at IS NULL LIMIT 1
                   ) c
                   WHERE sc.subscription_id = t.id
               ) c ON true"#,
            now,
            limit,
            now + lease,
        )
        .fetch_all(self.workers())
        .await?;
        rows.into_iter().map(|row| row.into_due(self)).collect()
    }
}

impl DueRow {
    fn into_due(self, store: &Store) -> Result<DuePending, StoreError> {
        let id = SubscriptionId::from_uuid(self.id);
        let broken = |column| StoreError::inconsistent("subscriptions", column, id);
        let open =
            |sealed: Vec<u8>| store.open_text("subscriptions", "state_sealed", self.id.as_bytes(), &sealed);
        let origin = Origin::named(&self.origin).ok_or_else(|| broken("origin"))?;
        Ok(DuePending {
            id,
            environment: EnvironmentId::from_uuid(self.environment_id),
            integration: IntegrationId::from_uuid(self.integration_id),
            unique_key: UniqueKey::parse(self.unique_key)
                .map_err(|_| StoreError::inconsistent("integrations", "unique_key", id))?,
            connection: self.connection.map(ConnectionKey::from_number),
            origin,
            is_kept: self.kept,
            wish: Wish {
                resource: Resource::parse(&self.resource).map_err(|_| broken("resource"))?,
                change_types: ChangeTypes::parse(&self.change_type).map_err(|_| broken("change_type"))?,
                include_resource_data: self.include_resource_data,
                lifetime: self.lifetime_seconds.and_then(TimeDelta::try_seconds),
                auto_renew: self.auto_renew,
            },
            state: self.state_sealed.map(open).transpose()?,
            was_posted: self.posted_at.is_some(),
            notification_url: self.notification_url,
            tries: self.tries,
            created_at: self.created_at,
        })
    }
}
