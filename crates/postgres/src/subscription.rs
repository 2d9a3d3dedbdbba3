//! Subscriptions: wanted, granted by Graph, shown, changed, and left by their connections.
//!
//! A row is written before Graph is asked, so that its `clientState` vouches for whatever comes first; what Graph answers
//! is settled on that row. The unique index over live wishes is what prevents two of the same.
//!
//! Must not: decide what an answer of Graph means, or talk to anybody.

pub mod deletion;
pub mod due;
pub mod intent;
mod leave;
mod row;
pub mod settle;
pub mod template;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use waypost_core::id::{ConnectionKey, IntegrationId, SubscriptionId, TenantId};
use waypost_core::integration::UniqueKey;
use waypost_core::page::{Listed, Page};
use waypost_core::provider::Provider;
use waypost_core::subscription::{Lifetime, Status, Subscription};

pub use leave::Leaving;
pub(crate) use leave::{end_subscriptions, leave_subscriptions};

use row::{Select, SubscriptionRow};

use crate::audit::Change;
use crate::{Store, StoreError, TenantStore};

/// A subscription, with what whoever manages it at Graph must know.
#[derive(Debug, Clone)]
pub struct Managed {
    /// The subscription.
    pub subscription: Subscription,
    /// Its integration.
    pub integration: IntegrationId,
    /// Its tenant.
    pub tenant: TenantId,
    /// The connection as which Graph is called; `None` when none is left.
    pub manager: Option<ConnectionKey>,
    /// When Graph last granted its life.
    pub granted_at: Option<DateTime<Utc>>,
    /// When it was last renewed or authorized again.
    pub acted_at: Option<DateTime<Utc>>,
    /// Where its notifications go.
    pub notification_url: Option<String>,
    /// The label of the certificate that it encrypts for, where that is one of ours.
    pub own_certificate: Option<String>,
    /// The app that created it.
    pub client_id: Option<String>,
    /// Graph's id of the identity that created it.
    pub creator_id: Option<String>,
}

/// A connection, as far as its subscriptions must know it.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// Its key.
    pub connection: ConnectionKey,
    /// Its integration.
    pub integration: IntegrationId,
    /// That integration's name on the wire.
    pub unique_key: UniqueKey,
    /// That integration's provider.
    pub provider: Provider,
}

/// Which subscriptions are wanted: those that meet all that is set.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionFilter {
    /// In this state.
    pub status: Option<Status>,
    /// Of the integration of this key.
    pub integration: Option<String>,
    /// That serve a connection of this id.
    pub connection: Option<String>,
}

/// What of a subscription is changed; `None` leaves a part as it is.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionChanges {
    /// Whether Waypost renews it.
    pub auto_renew: Option<bool>,
    /// How long it shall live at a time.
    pub lifetime: Option<Lifetime>,
    /// When it is to be renewed; never, when `auto_renew` is off.
    pub renew_at: Option<DateTime<Utc>>,
}

impl TenantStore {
    /// Subscriptions that meet `filter`, the oldest first.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn list_subscriptions(
        &self,
        filter: &SubscriptionFilter,
        page: &Page<SubscriptionId>,
    ) -> Result<Listed<Subscription, SubscriptionId>, StoreError> {
        let select = Select { filter: filter.clone(), page: page.clone(), ..Select::default() };
        let mut tx = self.begin().await?;
        let rows = SubscriptionRow::read(&mut tx, self.environment, &select).await?;
        tx.commit().await?;
        let found = rows.into_iter().map(|row| Ok(row.into_managed()?.subscription));
        Ok(Listed::cut(found.collect::<Result<_, StoreError>>()?, page.limit, |found| found.id))
    }

    /// One subscription.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn find_subscription(&self, id: SubscriptionId) -> Result<Option<Managed>, StoreError> {
        let mut tx = self.begin().await?;
        let row = SubscriptionRow::one(&mut tx, self.environment, id).await?;
        tx.commit().await?;
        row.map(SubscriptionRow::into_managed).transpose()
    }

    /// The connection of that key.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn find_subscriber(&self, connection: ConnectionKey) -> Result<Option<Subscriber>, StoreError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query!(
            "SELECT c.integration_id, i.unique_key, i.provider
             FROM connections c JOIN integrations i ON i.id = c.integration_id AND i.environment_id = $1
             WHERE c.environment_id = $1 AND c.id = $2 AND c.deleted_at IS NULL AND i.deleted_at IS NULL",
            self.environment.uuid(),
            connection.number(),
        );
        let row = row.fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        row.map(|row| {
            let broken = |column| StoreError::inconsistent("integrations", column, row.integration_id);
            Ok(Subscriber {
                connection,
                integration: IntegrationId::from_uuid(row.integration_id),
                unique_key: UniqueKey::parse(row.unique_key.as_str()).map_err(|_| broken("unique_key"))?,
                provider: Provider::named(&row.provider).ok_or_else(|| broken("provider"))?,
            })
        })
        .transpose()
    }

    /// The subscription of the integration `integration` that Graph calls `graph_id`.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn find_subscription_at_graph(
        &self,
        integration: IntegrationId,
        graph_id: Uuid,
    ) -> Result<Option<Managed>, StoreError> {
        let select = Select { graph_id: Some(graph_id), ..Select::default() };
        let mut tx = self.begin().await?;
        let rows = SubscriptionRow::read(&mut tx, self.environment, &select).await?;
        tx.commit().await?;
        let row = rows.into_iter().find(|row| row.integration_id == integration.uuid());
        row.map(SubscriptionRow::into_managed).transpose()
    }

    /// Changes what is wanted of a subscription; `None` when there is none of that id.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn update_subscription(
        &self,
        id: SubscriptionId,
        changes: &SubscriptionChanges,
    ) -> Result<Option<Subscription>, StoreError> {
        let mut tx = self.begin().await?;
        let updated = sqlx::query!(
            "UPDATE subscriptions SET
                 auto_renew = coalesce($3, auto_renew),
                 lifetime_seconds = CASE WHEN $4 THEN $5 ELSE lifetime_seconds END,
                 renew_at = CASE WHEN $3 IS FALSE THEN NULL ELSE coalesce($7, renew_at) END,
                 updated_at = $6
             WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id.uuid(),
            changes.auto_renew,
            changes.lifetime.is_some(),
            changes.lifetime.and_then(Lifetime::seconds),
            self.store.clock().now(),
            changes.renew_at,
        )
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            return Ok(None);
        }
        let mut detail = Map::new();
        if let Some(on) = changes.auto_renew {
            detail.insert("auto_renew".to_owned(), json!(on));
        }
        if let Some(lifetime) = changes.lifetime {
            detail.insert("lifetime_seconds".to_owned(), json!(lifetime.seconds()));
        }
        let (object, detail) = (id.to_string(), Value::Object(detail));
        self.record(&mut tx, Change { action: "subscription.update", object: &object, detail }).await?;
        let row = SubscriptionRow::one(&mut tx, self.environment, id).await?;
        tx.commit().await?;
        row.map(|row| Ok(row.into_managed()?.subscription)).transpose()
    }
}

impl Store {
    /// How many subscriptions there are in each state.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count_subscriptions_across_environments(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT s.status, count(*) AS "count!" FROM subscriptions s
               JOIN environments e ON e.id = s.environment_id AND e.deleted_at IS NULL
               GROUP BY s.status"#
        )
        .fetch_all(self.requests())
        .await?;
        Ok(rows.into_iter().map(|row| (row.status, row.count)).collect())
    }
}
