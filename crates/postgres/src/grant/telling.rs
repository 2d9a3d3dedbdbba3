//! Telling customers of a grant that fails, and of one that works again: each connection once.

use chrono::TimeDelta;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::account::Name;
use waypost_core::connection::{ConnectionId, ConnectionRef};
use waypost_core::event::EventKind;
use waypost_core::id::{ConnectionKey, EnvironmentId, EventId, IntegrationId, TenantId};
use waypost_core::integration::UniqueKey;
use waypost_core::notice::{AuthNotice, AuthOutcome};
use waypost_core::provider::Provider;
use waypost_core::token::{Failure, GrantKey};

use crate::notice::Notice;
use crate::{StoreError, TenantStore};

/// A connection as its notices show it.
#[derive(Debug)]
pub(super) struct ToldRow {
    id: i64,
    connection_id: String,
    tenant_id: Option<Uuid>,
    tags: Value,
    end_user: Option<Value>,
    integration_id: Uuid,
    unique_key: String,
    provider: String,
}

/// The parts of a [`ToldRow`] that a notice borrows.
#[derive(Debug)]
struct Told {
    reference: ConnectionRef,
    integration: IntegrationId,
    unique_key: UniqueKey,
    provider: Provider,
    tenant: Option<TenantId>,
    tags: serde_json::Map<String, Value>,
    end_user: Option<serde_json::Map<String, Value>>,
}

impl ToldRow {
    /// One connection, if it lives.
    pub(super) async fn find(
        tx: &mut PgConnection,
        environment: EnvironmentId,
        connection: ConnectionKey,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query_as!(
            Self,
            "SELECT c.id, c.connection_id, c.tenant_id, c.tags, c.end_user, c.integration_id, i.unique_key, i.provider
             FROM connections c JOIN integrations i ON i.id = c.integration_id AND i.environment_id = $1
             WHERE c.environment_id = $1 AND c.id = $2 AND c.deleted_at IS NULL",
            environment.uuid(),
            connection.number(),
        )
        .fetch_all(tx)
        .await?;
        Ok(rows)
    }

    fn into_told(self) -> Result<Told, StoreError> {
        let broken = |column| StoreError::inconsistent("connections", column, self.id);
        let id = ConnectionId::parse(self.connection_id.as_str()).map_err(|_| broken("connection_id"))?;
        Ok(Told {
            reference: ConnectionRef {
                key: ConnectionKey::from_number(self.id),
                id,
                override_endpoint: None,
            },
            integration: IntegrationId::from_uuid(self.integration_id),
            unique_key: UniqueKey::parse(self.unique_key.as_str()).map_err(|_| broken("unique_key"))?,
            provider: Provider::named(&self.provider).ok_or_else(|| broken("provider"))?,
            tenant: self.tenant_id.map(TenantId::from_uuid),
            tags: self.tags.as_object().cloned().ok_or_else(|| broken("tags"))?,
            end_user: self.end_user.and_then(|end_user| end_user.as_object().cloned()),
        })
    }
}

impl Told {
    fn notice(&self, environment: &Name, outcome: AuthOutcome<'_>) -> Notice<'_> {
        let kind = EventKind::AuthRefresh;
        let notice = AuthNotice {
            kind,
            environment,
            integration: &self.unique_key,
            provider: self.provider,
            connection: &self.reference.id,
            end_user: self.end_user.as_ref(),
            tags: &self.tags,
            outcome,
        };
        Notice {
            kind,
            integration: (self.integration, &self.unique_key),
            connection: &self.reference,
            tenant: self.tenant,
            body: notice.body(),
        }
    }
}

impl TenantStore {
    /// Brings what the customers of a grant know in line with it: that it fails, where it is worth telling, or that it
    /// works again. Each is told once.
    pub(super) async fn tell_of_grant(
        &self,
        tx: &mut PgConnection,
        key: GrantKey,
        max_age: TimeDelta,
    ) -> Result<(), StoreError> {
        // Locked, so that of two who tell at once the second sees what the first has told.
        let grant = sqlx::query!(
            r#"SELECT failure, told, (token IS NOT NULL) AS "has_token!" FROM grants
               WHERE environment_id = $1 AND key = $2 FOR UPDATE"#,
            self.environment.uuid(),
            key.as_bytes(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(grant) = grant else { return Ok(()) };
        let failure: Option<Failure> = grant
            .failure
            .map(serde_json::from_value)
            .transpose()
            .map_err(|_| StoreError::inconsistent("grants", "failure", self.environment))?;
        let (outcome, known) = match &failure {
            Some(failure) if grant.told => (AuthOutcome::Failure(failure), false),
            None if grant.has_token => (AuthOutcome::Success, true),
            _ => return Ok(()),
        };
        let rows = self.rows_to_tell(tx, key, known).await?;
        let numbers: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let events = self.tell_rows(tx, rows, outcome, max_age).await?;
        let events: Vec<Option<Uuid>> =
            events.into_iter().map(|event| (!known).then(|| event.uuid())).collect();
        sqlx::query!(
            "UPDATE connection_grants l SET told_event = w.event
             FROM unnest($2::bigint[], $3::uuid[]) AS w (connection, event)
             WHERE l.environment_id = $1 AND l.connection = w.connection",
            self.environment.uuid(),
            &numbers,
            &events as &[Option<Uuid>],
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    /// The connections of a grant whose customers know of a failure, or don't.
    async fn rows_to_tell(
        &self,
        tx: &mut PgConnection,
        key: GrantKey,
        known: bool,
    ) -> Result<Vec<ToldRow>, StoreError> {
        let rows = sqlx::query_as!(
            ToldRow,
            "SELECT c.id, c.connection_id, c.tenant_id, c.tags, c.end_user, c.integration_id, i.unique_key, i.provider
             FROM connection_grants l
             JOIN connections c ON c.id = l.connection AND c.environment_id = $1 AND c.deleted_at IS NULL
             JOIN integrations i ON i.id = c.integration_id AND i.environment_id = $1
             WHERE l.environment_id = $1 AND l.grant_key = $2 AND (l.told_event IS NOT NULL) = $3
             ORDER BY c.id",
            self.environment.uuid(),
            key.as_bytes(),
            known,
        )
        .fetch_all(tx)
        .await?;
        Ok(rows)
    }

    /// Writes one notice for each connection, and tells the events' ids in their order.
    pub(super) async fn tell_rows(
        &self,
        tx: &mut PgConnection,
        rows: Vec<ToldRow>,
        outcome: AuthOutcome<'_>,
        max_age: TimeDelta,
    ) -> Result<Vec<EventId>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let audience = self.audience(tx, &numbers).await?;
        let mut told = rows.into_iter().map(ToldRow::into_told).collect::<Result<Vec<_>, _>>()?;
        for connection in &mut told {
            connection.reference.override_endpoint = audience.override_of(connection.reference.key);
        }
        let notices =
            told.iter().map(|connection| connection.notice(&audience.environment, outcome)).collect();
        self.append_named_notices(tx, &audience, notices, max_age).await
    }
}
