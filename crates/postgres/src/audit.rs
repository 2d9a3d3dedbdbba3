//! The audit log: every change, with who and when, written in the transaction that makes the change.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;
use waypost_core::id::{EnvironmentId, uuid_floor};
use waypost_core::page::{Listed, Page};

use crate::store::Actor;
use crate::{Store, StoreError, TenantStore};

/// A change, as the audit log keeps it.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    /// What was done: `connection.create`, `endpoint.update`, …
    pub(crate) action: &'static str,
    /// To what: an id, or a name on the wire.
    pub(crate) object: &'a str,
    /// What changed; never a secret.
    pub(crate) detail: Value,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id, which sorts by time.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// In which environment, unless it was none's.
    pub environment: Option<EnvironmentId>,
    /// What kind of actor made it: see [`crate::ActorKind::as_str`].
    pub actor_kind: String,
    /// Who: a token's `sub`, or an API key's id.
    pub actor: String,
    /// With which request.
    pub request_id: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub object: String,
    /// What changed, without secrets.
    pub detail: Value,
}

/// Which changes are asked for; `None` filters nothing.
#[derive(Debug, Clone, Default)]
pub struct EntryFilter {
    /// Those of one environment.
    pub environment: Option<EnvironmentId>,
    /// Those from this time on.
    pub since: Option<DateTime<Utc>>,
    /// Those before this time.
    pub until: Option<DateTime<Utc>>,
}

struct EntryRow {
    id: Uuid,
    at: DateTime<Utc>,
    environment_id: Option<Uuid>,
    actor_kind: String,
    actor: String,
    request_id: String,
    action: String,
    object: String,
    detail: Value,
}

impl From<EntryRow> for Entry {
    fn from(row: EntryRow) -> Self {
        Self {
            id: row.id,
            at: row.at,
            environment: row.environment_id.map(EnvironmentId::from_uuid),
            actor_kind: row.actor_kind,
            actor: row.actor,
            request_id: row.request_id,
            action: row.action,
            object: row.object,
            detail: row.detail,
        }
    }
}

impl TenantStore {
    /// Writes down a change of this environment.
    pub(crate) async fn record(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        change: Change<'_>,
    ) -> Result<(), StoreError> {
        self.store.record(tx, Some(self.environment), &self.actor, change).await
    }
}

impl Store {
    /// Writes down a change.
    pub(crate) async fn record(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        environment: Option<EnvironmentId>,
        actor: &Actor,
        change: Change<'_>,
    ) -> Result<(), StoreError> {
        let now = self.clock().now();
        sqlx::query!(
            "INSERT INTO audit_log (id, at, environment_id, actor_kind, actor, request_id, action, object, detail)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            waypost_core::id::uuid_at(now),
            now,
            environment.map(EnvironmentId::uuid) as Option<Uuid>,
            actor.kind.as_str(),
            actor.name,
            actor.request_id,
            change.action,
            change.object,
            change.detail,
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// Changes of all environments, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn audit_log_across_environments(
        &self,
        filter: &EntryFilter,
        page: Page<Uuid>,
    ) -> Result<Listed<Entry, Uuid>, StoreError> {
        let rows = sqlx::query_as!(
            EntryRow,
            "SELECT id, at, environment_id, actor_kind, actor, request_id, action, object, detail
             FROM audit_log
             WHERE ($1::uuid IS NULL OR environment_id = $1)
               AND ($2::uuid IS NULL OR id >= $2)
               AND ($3::uuid IS NULL OR id < $3)
               AND ($4::uuid IS NULL OR id < $4)
             ORDER BY id DESC LIMIT $5",
            filter.environment.map(EnvironmentId::uuid) as Option<Uuid>,
            filter.since.map(uuid_floor) as Option<Uuid>,
            filter.until.map(uuid_floor) as Option<Uuid>,
            page.after as Option<Uuid>,
            i64::from(page.limit) + 1,
        )
        .fetch_all(self.requests())
        .await?;
        Ok(Listed::cut(rows.into_iter().map(Entry::from).collect(), page.limit, |entry| entry.id))
    }
}
