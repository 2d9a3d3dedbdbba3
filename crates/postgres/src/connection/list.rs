//! Lists of connections, as Nango shows them: newest first, without credentials and configuration.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use waypost_core::id::{ConnectionKey, EventId};
use waypost_core::tags::Tags;

use crate::{StoreError, TenantStore};

/// Which connections are wanted: those that meet all that is set.
#[derive(Debug, Default)]
pub struct ConnectionFilter {
    /// Exactly this id.
    pub connection_id: Option<String>,
    /// A part of the id, or of the end user's id, name or address; letter case doesn't matter.
    pub search: Option<String>,
    /// Of this end user.
    pub end_user_id: Option<String>,
    /// Of an end user of this organization.
    pub end_user_organization_id: Option<String>,
    /// Of one of these integrations, when there are any.
    pub integrations: Vec<String>,
    /// With all of these tags.
    pub tags: Tags,
}

/// A connection as it stands in a list.
#[derive(Debug)]
pub struct ListedConnection {
    /// Its number.
    pub key: ConnectionKey,
    /// Its name on the wire.
    pub connection_id: String,
    /// Its integration's key.
    pub integration: String,
    /// That integration's provider.
    pub provider: String,
    /// Whom it belongs to.
    pub end_user: Option<Value>,
    /// Its labels.
    pub tags: Value,
    /// The customer's own data.
    pub metadata: Option<Value>,
    /// The event that told of its failing sign-in, while it fails.
    pub failed_event: Option<EventId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl TenantStore {
    /// Page `page` (from 0) of the connections that meet `filter`, `limit` a page.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_connections(
        &self,
        filter: &ConnectionFilter,
        limit: u32,
        page: u32,
    ) -> Result<Vec<ListedConnection>, StoreError> {
        let tags: Map<String, Value> = filter.tags.clone().into_map();
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            "SELECT c.id, c.connection_id, i.unique_key, i.provider, c.end_user, c.tags, c.metadata, c.created_at,
                    (SELECT l.told_event FROM connection_grants l WHERE l.connection = c.id) AS told_event
             FROM connections c JOIN integrations i ON i.id = c.integration_id
             WHERE c.environment_id = $1 AND i.environment_id = $1 AND c.deleted_at IS NULL AND i.deleted_at IS NULL
               AND ($2::text IS NULL OR c.connection_id = $2)
               AND ($3::text IS NULL OR strpos(lower(concat_ws(E'\\n', c.connection_id, c.end_user ->> 'id',
                    c.end_user ->> 'display_name', c.end_user ->> 'email')), lower($3)) > 0)
               AND ($4::text IS NULL OR $4 IN (c.end_user ->> 'id', c.tags ->> 'end_user_id'))
               AND ($5::text IS NULL OR $5 IN (c.end_user #>> '{organization,id}', c.tags ->> 'organization_id'))
               AND (cardinality($6::text[]) = 0 OR i.unique_key = ANY($6))
               AND c.tags @> $7
             ORDER BY c.id DESC
             LIMIT $8 OFFSET $9",
            self.environment.uuid(),
            filter.connection_id,
            filter.search,
            filter.end_user_id,
            filter.end_user_organization_id,
            &filter.integrations,
            Value::Object(tags),
            i64::from(limit),
            i64::from(page) * i64::from(limit),
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let listed = rows.into_iter().map(|row| ListedConnection {
            key: ConnectionKey::from_number(row.id),
            connection_id: row.connection_id,
            integration: row.unique_key,
            provider: row.provider,
            end_user: row.end_user,
            tags: row.tags,
            metadata: row.metadata,
            failed_event: row.told_event.map(EventId::from_uuid),
            created_at: row.created_at,
        });
        Ok(listed.collect())
    }
}
