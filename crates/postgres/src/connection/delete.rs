//! Deleting connections: their credentials are overwritten, what is on its way ends, and it is told.

use chrono::TimeDelta;
use serde_json::json;
use sqlx::PgConnection;
use waypost_core::connection::{ClientCredentials, Connection, ConnectionId};
use waypost_core::event::EventKind;
use waypost_core::id::{ConnectionKey, IntegrationId};
use waypost_core::integration::UniqueKey;

use super::row::{self, ConnectionRow};
use super::write::Telling;
use super::{Found, object};
use crate::audit::Change;
use crate::conflict::retry_conflicts;
use crate::integration::IntegrationRow;
use crate::subscription::leave_subscriptions;
use crate::{StoreError, TenantStore};

impl TenantStore {
    /// Deletes a connection and ends what is on its way for it. The notice of that is given up after `max_age`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_connection(
        &self,
        integration: &UniqueKey,
        id: &ConnectionId,
        max_age: TimeDelta,
    ) -> Result<Found<()>, StoreError> {
        Ok(match retry_conflicts(|| self.try_delete_connection(integration, id, max_age)).await? {
            Found::Connection(key) => {
                self.discard_deliveries_of_connection(key).await?;
                Found::Connection(())
            }
            Found::UnknownConnection => Found::UnknownConnection,
            Found::UnknownIntegration => Found::UnknownIntegration,
        })
    }

    async fn try_delete_connection(
        &self,
        integration: &UniqueKey,
        id: &ConnectionId,
        max_age: TimeDelta,
    ) -> Result<Found<ConnectionKey>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(owner) =
            IntegrationRow::lock_for_connections(&mut tx, self.environment, integration).await?
        else {
            return Ok(Found::UnknownIntegration);
        };
        let Some(row) = ConnectionRow::lock(&mut tx, self.environment, owner.id(), id).await? else {
            return Ok(Found::UnknownConnection);
        };
        let connection = row.without_credentials()?;
        let key = connection.key;
        self.delete_and_tell(&mut tx, owner.id(), &[connection], max_age).await?;
        let change =
            Change { action: "connection.delete", object: &object(integration, id), detail: json!({}) };
        self.record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(Found::Connection(key))
    }

    /// Deletes the connections of an integration that is being deleted, and tells how many there were.
    pub(crate) async fn delete_connections_of(
        &self,
        tx: &mut PgConnection,
        integration: IntegrationId,
        max_age: TimeDelta,
    ) -> Result<usize, StoreError> {
        let rows = ConnectionRow::lock_all(tx, self.environment, integration).await?;
        let connections =
            rows.into_iter().map(ConnectionRow::without_credentials).collect::<Result<Vec<_>, _>>()?;
        self.delete_and_tell(tx, integration, &connections, max_age).await?;
        Ok(connections.len())
    }

    /// The endpoint of an override stays: it gets the last notice.
    async fn delete_and_tell(
        &self,
        tx: &mut PgConnection,
        integration: IntegrationId,
        connections: &[Connection],
        max_age: TimeDelta,
    ) -> Result<(), StoreError> {
        let nothing = ClientCredentials::default();
        let (keys, emptied): (Vec<i64>, Vec<Vec<u8>>) = connections
            .iter()
            .map(|connection| {
                let sealed = row::sealed_credentials(
                    &self.store,
                    self.environment,
                    integration,
                    &connection.id,
                    &nothing,
                );
                (connection.key.number(), sealed)
            })
            .unzip();
        // Before the credentials are destroyed: what Graph must still forget takes them along.
        leave_subscriptions(tx, self.environment, &keys, self.store.clock().now()).await?;
        sqlx::query!(
            "UPDATE connections c SET credentials = w.credentials, deleted_at = $4, updated_at = $4
             FROM unnest($2::bigint[], $3::bytea[]) AS w (id, credentials)
             WHERE c.environment_id = $1 AND c.id = w.id",
            self.environment.uuid(),
            &keys,
            &emptied,
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        self.destroy_certificates(tx, integration, Some(&keys)).await?;
        self.forget_grants(tx, &keys).await?;
        let what = Telling { kind: EventKind::AuthDeletion, max_age };
        self.tell(tx, integration, connections, what).await
    }
}
