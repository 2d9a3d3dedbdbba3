//! Rows of `endpoints`, and what they mean.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::endpoint::{
    Candidate, DisabledReason, Endpoint, EndpointKind, EndpointStatus, EndpointUrl,
};
use waypost_core::filter::{Filter, FilterSpec};
use waypost_core::id::{ConnectionKey, EndpointId, EnvironmentId};
use waypost_core::page::Page;

use crate::StoreError;

/// An endpoint's row without its secrets.
#[derive(Debug)]
pub(crate) struct EndpointRow {
    id: Uuid,
    environment_id: Uuid,
    kind: String,
    pub(crate) connection: Option<i64>,
    pub(crate) url: Option<String>,
    description: String,
    header_names: Vec<String>,
    filter: Value,
    status: String,
    disabled_reason: Option<String>,
    disabled_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl EndpointRow {
    /// The endpoints of a page, and one more; those of deleted connections only wait for their last deliveries.
    pub(super) async fn page(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        page: &Page<EndpointId>,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query_as!(
            Self,
            "SELECT id, environment_id, kind, connection, url, description, header_names, filter, status, disabled_reason,
                    disabled_at, created_at, updated_at
             FROM endpoints e
             WHERE environment_id = $1 AND url IS NOT NULL AND id > $2
               AND NOT EXISTS (SELECT FROM connections c WHERE c.id = e.connection AND c.deleted_at IS NOT NULL)
             ORDER BY id LIMIT $3",
            environment.uuid(),
            page.after.map_or(Uuid::nil(), EndpointId::uuid),
            i64::from(page.limit) + 1,
        )
        .fetch_all(tx)
        .await?;
        Ok(rows)
    }

    pub(super) async fn find(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        id: EndpointId,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query_as!(
            Self,
            "SELECT id, environment_id, kind, connection, url, description, header_names, filter, status, disabled_reason,
                    disabled_at, created_at, updated_at
             FROM endpoints e
             WHERE environment_id = $1 AND id = $2 AND url IS NOT NULL
               AND NOT EXISTS (SELECT FROM connections c WHERE c.id = e.connection AND c.deleted_at IS NOT NULL)",
            environment.uuid(),
            id.uuid(),
        )
        .fetch_optional(tx)
        .await?;
        Ok(row)
    }

    /// As [`Self::find`]; nobody else changes it until the transaction ends.
    pub(super) async fn lock(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        id: EndpointId,
    ) -> Result<Option<Self>, StoreError> {
        sqlx::query!(
            "SELECT id FROM endpoints WHERE environment_id = $1 AND id = $2 FOR UPDATE",
            environment.uuid(),
            id.uuid()
        )
        .fetch_optional(&mut *tx)
        .await?;
        Self::find(tx, environment, id).await
    }

    /// All that could get an event of `connections`. An override of a connection that was just deleted is among them: it
    /// gets the notice of that.
    pub(crate) async fn for_routing(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        connections: &[i64],
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query_as!(
            Self,
            "SELECT id, environment_id, kind, connection, url, description, header_names, filter, status, disabled_reason,
                    disabled_at, created_at, updated_at
             FROM endpoints
             WHERE environment_id = $1 AND url IS NOT NULL AND (kind <> 'override' OR connection = ANY($2))
             ORDER BY id",
            environment.uuid(),
            connections,
        )
        .fetch_all(tx)
        .await?;
        Ok(rows)
    }

    pub(super) const fn id(&self) -> EndpointId {
        EndpointId::from_uuid(self.id)
    }

    pub(super) fn kind(&self) -> Result<EndpointKind, StoreError> {
        EndpointKind::from_word(&self.kind).ok_or_else(|| self.broken("kind"))
    }

    pub(super) fn status(&self) -> Result<EndpointStatus, StoreError> {
        match self.status.as_str() {
            "enabled" => Ok(EndpointStatus::Enabled),
            "disabled" => Ok(EndpointStatus::Disabled),
            _ => Err(self.broken("status")),
        }
    }

    fn broken(&self, column: &'static str) -> StoreError {
        StoreError::inconsistent("endpoints", column, self.id)
    }

    fn filter(&self) -> Result<Filter, StoreError> {
        let spec: FilterSpec =
            serde_json::from_value(self.filter.clone()).map_err(|_| self.broken("filter"))?;
        Filter::parse(spec).map_err(|_| self.broken("filter"))
    }

    fn disabled(&self) -> Result<Option<(DisabledReason, DateTime<Utc>)>, StoreError> {
        let (Some(word), Some(at)) = (&self.disabled_reason, self.disabled_at) else { return Ok(None) };
        let reason = DisabledReason::from_word(word).ok_or_else(|| self.broken("disabled_reason"))?;
        Ok(Some((reason, at)))
    }

    /// What people see.
    pub(crate) fn into_endpoint(self) -> Result<Endpoint, StoreError> {
        let url = self.url.as_deref().map(EndpointUrl::parse).transpose().map_err(|_| self.broken("url"))?;
        Ok(Endpoint {
            id: EndpointId::from_uuid(self.id),
            environment: EnvironmentId::from_uuid(self.environment_id),
            kind: self.kind()?,
            url,
            filter: self.filter()?,
            status: self.status()?,
            disabled: self.disabled()?,
            description: self.description,
            header_names: self.header_names,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }

    /// What routing must know.
    pub(crate) fn into_candidate(self) -> Result<Candidate, StoreError> {
        Ok(Candidate {
            id: EndpointId::from_uuid(self.id),
            kind: self.kind()?,
            connection: self.connection.map(ConnectionKey::from_number),
            filter: self.filter()?,
            status: self.status()?,
            backlog: false,
        })
    }
}
