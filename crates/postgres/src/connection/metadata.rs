//! The customer's own data on connections.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use waypost_core::connection::ConnectionId;
use waypost_core::integration::UniqueKey;

use super::object;
use crate::audit::Change;
use crate::conflict::retry_conflicts;
use crate::{StoreError, TenantStore};

/// How metadata changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataChange {
    /// The new takes the place of the old.
    Replace,
    /// The new's members are added, over those of the same name.
    Merge,
}

/// What came of a change of metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataOutcome {
    /// All were changed.
    Done,
    /// This one does not exist, so none was changed.
    Unknown(ConnectionId),
}

impl TenantStore {
    /// Changes the metadata of several connections, or of none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn change_metadata(
        &self,
        integration: &UniqueKey,
        ids: &[ConnectionId],
        metadata: &Map<String, Value>,
        change: MetadataChange,
    ) -> Result<MetadataOutcome, StoreError> {
        retry_conflicts(|| self.try_change_metadata(integration, ids, metadata, change)).await
    }

    async fn try_change_metadata(
        &self,
        integration: &UniqueKey,
        ids: &[ConnectionId],
        metadata: &Map<String, Value>,
        change: MetadataChange,
    ) -> Result<MetadataOutcome, StoreError> {
        let wanted: Vec<String> =
            ids.iter().collect::<BTreeSet<_>>().into_iter().map(|id| id.as_str().to_owned()).collect();
        let mut tx = self.begin().await?;
        let changed = sqlx::query_scalar!(
            "WITH chosen AS (
                 SELECT c.id FROM connections c JOIN integrations i ON i.id = c.integration_id
                 WHERE c.environment_id = $1 AND i.unique_key = $2 AND i.deleted_at IS NULL AND c.deleted_at IS NULL
                   AND c.connection_id = ANY($3)
                 ORDER BY c.id FOR UPDATE OF c
             )
             UPDATE connections c SET
                 metadata = CASE WHEN $4 THEN coalesce(c.metadata, '{}') || $5 ELSE $5 END,
                 updated_at = $6
             FROM chosen WHERE c.id = chosen.id
             RETURNING c.connection_id",
            self.environment.uuid(),
            integration.as_str(),
            &wanted,
            change == MetadataChange::Merge,
            Value::Object(metadata.clone()),
            self.store.clock().now(),
        )
        .fetch_all(&mut *tx)
        .await?;
        let changed: BTreeSet<String> = changed.into_iter().collect();
        if let Some(missing) = ids.iter().find(|id| !changed.contains(id.as_str())) {
            return Ok(MetadataOutcome::Unknown(missing.clone()));
        }
        for id in ids {
            let detail = json!({ "members": metadata.keys().collect::<Vec<_>>(), "merged": change == MetadataChange::Merge });
            let change = Change { action: "connection.metadata", object: &object(integration, id), detail };
            self.record(&mut tx, change).await?;
        }
        tx.commit().await?;
        Ok(MetadataOutcome::Done)
    }
}
