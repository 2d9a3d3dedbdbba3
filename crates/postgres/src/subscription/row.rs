//! Rows of `subscriptions` with the connections that they serve, and what they mean.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::connection::ConnectionId;
use waypost_core::id::{ConnectionKey, EnvironmentId, IntegrationId, SubscriptionId, TenantId};
use waypost_core::integration::UniqueKey;
use waypost_core::page::Page;
use waypost_core::subscription::{Status, Subscription};

use super::{Managed, SubscriptionFilter};
use crate::StoreError;

/// Which rows to read.
#[derive(Debug, Default)]
pub(super) struct Select {
    pub(super) id: Option<SubscriptionId>,
    pub(super) graph_id: Option<Uuid>,
    pub(super) filter: SubscriptionFilter,
    pub(super) page: Page<SubscriptionId>,
}

/// A subscription's row.
#[derive(Debug)]
pub(super) struct SubscriptionRow {
    id: Uuid,
    pub(super) integration_id: Uuid,
    unique_key: String,
    graph_id: Option<Uuid>,
    tenant_id: Uuid,
    status: String,
    resource: String,
    change_type: String,
    include_resource_data: bool,
    auto_renew: bool,
    lifetime_seconds: Option<i64>,
    expires_at: Option<DateTime<Utc>>,
    renew_at: Option<DateTime<Utc>>,
    granted_at: Option<DateTime<Utc>>,
    acted_at: Option<DateTime<Utc>>,
    notification_url: Option<String>,
    own_certificate: Option<String>,
    client_id: Option<String>,
    creator_id: Option<String>,
    last_error: Option<Value>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    connections: Vec<String>,
    connection_keys: Vec<i64>,
}

impl SubscriptionRow {
    /// One row more than the page holds, so that its end can be seen.
    pub(super) async fn read(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        select: &Select,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query_file_as!(
            Self,
            "queries/list_subscriptions.sql",
            environment.uuid(),
            select.id.map(SubscriptionId::uuid) as Option<Uuid>,
            select.graph_id as Option<Uuid>,
            select.page.after.map(SubscriptionId::uuid) as Option<Uuid>,
            select.filter.status.map(Status::as_str) as Option<&str>,
            select.filter.integration.as_deref() as Option<&str>,
            select.filter.connection.as_deref() as Option<&str>,
            i64::from(select.page.limit) + 1,
        )
        .fetch_all(tx)
        .await?;
        Ok(rows)
    }

    pub(super) async fn one(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        id: SubscriptionId,
    ) -> Result<Option<Self>, StoreError> {
        let select = Select { id: Some(id), ..Select::default() };
        Ok(Self::read(tx, environment, &select).await?.pop())
    }

    pub(super) fn into_managed(self) -> Result<Managed, StoreError> {
        let id = SubscriptionId::from_uuid(self.id);
        let broken = |column| StoreError::inconsistent("subscriptions", column, id);
        let connections = self.connections.iter().map(|name| ConnectionId::parse(name.as_str()));
        let last_error = self.last_error.map(serde_json::from_value).transpose();
        Ok(Managed {
            integration: IntegrationId::from_uuid(self.integration_id),
            tenant: TenantId::from_uuid(self.tenant_id),
            manager: self.connection_keys.first().copied().map(ConnectionKey::from_number),
            granted_at: self.granted_at,
            acted_at: self.acted_at,
            notification_url: self.notification_url,
            own_certificate: self.own_certificate,
            client_id: self.client_id,
            creator_id: self.creator_id,
            subscription: Subscription {
                id,
                integration: UniqueKey::parse(self.unique_key)
                    .map_err(|_| StoreError::inconsistent("integrations", "unique_key", id))?,
                graph_id: self.graph_id,
                status: self.status.parse().map_err(|_| broken("status"))?,
                resource: self.resource,
                change_type: self.change_type,
                include_resource_data: self.include_resource_data,
                auto_renew: self.auto_renew,
                lifetime_seconds: self.lifetime_seconds,
                expires_at: self.expires_at,
                renew_at: self.renew_at,
                connections: connections
                    .collect::<Result<_, _>>()
                    .map_err(|_| StoreError::inconsistent("connections", "connection_id", id))?,
                last_error: last_error.map_err(|_| broken("last_error"))?,
                created_at: self.created_at,
                updated_at: self.updated_at,
            },
        })
    }
}
