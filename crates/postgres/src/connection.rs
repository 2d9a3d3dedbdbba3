//! Connections: read, made, changed and deleted.
//!
//! Each change tells its `auth` notice in the same transaction. A deleted row stays, so that history goes on naming it;
//! its credentials are overwritten.

mod delete;
mod list;
mod metadata;
mod row;
mod write;

use waypost_core::connection::{Connection, ConnectionId};
use waypost_core::integration::UniqueKey;

pub use list::{ConnectionFilter, ListedConnection};
pub use metadata::{MetadataChange, MetadataOutcome};
pub use write::{ConnectionChanges, NewConnection, Upserted};

use row::ConnectionRow;
pub(crate) use row::client_id;
pub(crate) use row::opened_credentials;

use crate::integration::IntegrationRow;
use crate::{StoreError, TenantStore};

/// What a look-up by an integration's key and a connection's id found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// It is there.
    Connection(T),
    /// The integration is there, the connection isn't.
    UnknownConnection,
    /// There is no such integration.
    UnknownIntegration,
}

/// How a connection is named in the audit log.
fn object(integration: &UniqueKey, id: &ConnectionId) -> String {
    format!("{integration}/{id}")
}

impl TenantStore {
    /// A connection with its credentials, and a note that they were asked for (at most one a minute is written).
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn fetch_connection(
        &self,
        integration: &UniqueKey,
        id: &ConnectionId,
    ) -> Result<Found<Connection>, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "UPDATE connections c SET last_fetched_at = $4
             FROM integrations i
             WHERE c.environment_id = $1 AND i.environment_id = $1 AND i.unique_key = $2 AND i.deleted_at IS NULL
               AND c.integration_id = i.id AND c.connection_id = $3 AND c.deleted_at IS NULL
               AND (c.last_fetched_at IS NULL OR c.last_fetched_at < $4::timestamptz - interval '1 minute')",
            self.environment.uuid(),
            integration.as_str(),
            id.as_str(),
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        let found = ConnectionRow::find(&mut tx, self.environment, integration, id).await?;
        tx.commit().await?;
        self.opened(integration, found).await
    }

    /// A connection, as [`Self::fetch_connection`], for those who don't want its credentials.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn find_connection(
        &self,
        integration: &UniqueKey,
        id: &ConnectionId,
    ) -> Result<Found<Connection>, StoreError> {
        let mut tx = self.begin().await?;
        let found = ConnectionRow::find(&mut tx, self.environment, integration, id).await?;
        tx.commit().await?;
        self.opened(integration, found).await
    }

    async fn opened(
        &self,
        integration: &UniqueKey,
        row: Option<ConnectionRow>,
    ) -> Result<Found<Connection>, StoreError> {
        if let Some(row) = row {
            return Ok(Found::Connection(row.into_connection(&self.store, self.environment)?));
        }
        let mut tx = self.begin().await?;
        let known = IntegrationRow::find(&mut tx, self.environment, integration).await?.is_some();
        tx.commit().await?;
        Ok(if known { Found::UnknownConnection } else { Found::UnknownIntegration })
    }
}
