//! Making and changing connections.

use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;
use waypost_core::account::Name;
use waypost_core::connection::{ClientCredentials, Connection, ConnectionId, ConnectionRef};
use waypost_core::endpoint::{DisabledReason, EndpointUrl};
use waypost_core::event::EventKind;
use waypost_core::id::{ConnectionKey, EndpointId, IntegrationId, TenantId};
use waypost_core::integration::UniqueKey;
use waypost_core::notice::{AuthNotice, AuthOutcome};
use waypost_core::tags::Tags;

use super::row::{self, ConnectionRow};
use super::{Found, object};
use crate::audit::Change;
use crate::conflict::retry_conflicts;
use crate::endpoint::UrlChange;
use crate::integration::IntegrationRow;
use crate::notice::Notice;
use crate::{StoreError, TenantStore};

/// A connection that is about to be made, or to replace the one of its id. Parts that are `None` are kept then.
#[derive(Debug)]
pub struct NewConnection {
    /// The integration it belongs to.
    pub integration: UniqueKey,
    /// Its name on the wire.
    pub id: ConnectionId,
    /// The tenant that `config` names.
    pub tenant: Option<TenantId>,
    /// Non-secret parameters; those before are replaced.
    pub config: Map<String, Value>,
    /// Its credentials; those before are replaced.
    pub credentials: ClientCredentials,
    /// The customer's own data.
    pub metadata: Option<Map<String, Value>>,
    /// Labels, whom it belongs to, where its events go.
    pub changes: ConnectionChanges,
}

/// What of a connection is changed; `None` leaves a part as it is.
#[derive(Debug, Default)]
pub struct ConnectionChanges {
    /// Labels, in place of those before.
    pub tags: Option<Tags>,
    /// Whom it belongs to.
    pub end_user: Option<Map<String, Value>>,
    /// Where its events go in place of `primary` and `secondary`.
    pub webhook_url_override: Option<UrlChange>,
}

impl ConnectionChanges {
    /// The names of the changed parts: what they hold is personal and not for the audit log.
    fn names(&self) -> Vec<&'static str> {
        [
            ("tags", self.tags.is_some()),
            ("end_user", self.end_user.is_some()),
            ("webhook_url_override", self.webhook_url_override.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, changed)| changed.then_some(name))
        .collect()
    }

    fn override_text(&self) -> Option<&str> {
        self.webhook_url_override.as_ref()?.url().map(EndpointUrl::as_str)
    }
}

/// A connection that was made or replaced.
#[derive(Debug)]
pub struct Upserted {
    /// As it stands now.
    pub connection: Connection,
    /// Whether it is new.
    pub created: bool,
}

/// What is told of connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling {
    /// What happened to them.
    pub(super) kind: EventKind,
    /// After which the notices are given up.
    pub(super) max_age: TimeDelta,
}

impl TenantStore {
    /// Makes a connection, or replaces the one of that id, and tells it. The notice is given up after `max_age`. `None`
    /// when there is no such integration.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn upsert_connection(
        &self,
        new: NewConnection,
        max_age: TimeDelta,
    ) -> Result<Option<Upserted>, StoreError> {
        let write = async || self.write_upsert(self.begin().await?, &new, max_age).await;
        self.clear_after(retry_conflicts(write).await?).await
    }

    /// As [`Self::upsert_connection`], in a transaction that was begun for more, and ends here: what was done in it
    /// before holds if the connection does.
    pub(crate) async fn upsert_connection_within(
        &self,
        tx: Transaction<'static, Postgres>,
        new: NewConnection,
        max_age: TimeDelta,
    ) -> Result<Option<Upserted>, StoreError> {
        self.clear_after(self.write_upsert(tx, &new, max_age).await?).await
    }

    async fn clear_after(
        &self,
        written: Option<(Upserted, Option<EndpointId>)>,
    ) -> Result<Option<Upserted>, StoreError> {
        let Some((upserted, cleared)) = written else { return Ok(None) };
        self.discard_cleared(cleared).await?;
        Ok(Some(upserted))
    }

    /// Tells which endpoint was removed, too.
    async fn write_upsert(
        &self,
        mut tx: Transaction<'static, Postgres>,
        new: &NewConnection,
        max_age: TimeDelta,
    ) -> Result<Option<(Upserted, Option<EndpointId>)>, StoreError> {
        let Some(integration) =
            IntegrationRow::lock_for_connections(&mut tx, self.environment, &new.integration).await?
        else {
            return Ok(None);
        };
        let (key, created) = self.write_connection(&mut tx, integration.id(), new).await?;
        if created {
            self.plan_templates(&mut tx, integration.id(), key, new.tenant).await?;
        }
        let cleared = self.apply_override(&mut tx, key, &new.changes).await?;
        let row = ConnectionRow::lock(&mut tx, self.environment, integration.id(), &new.id).await?;
        let row =
            row.ok_or_else(|| StoreError::inconsistent("connections", "connection_id", key.number()))?;
        let connection = row.into_connection(&self.store, self.environment)?;
        let kind = if created { EventKind::AuthCreation } else { EventKind::AuthOverride };
        let what = Telling { kind, max_age };
        self.tell(&mut tx, integration.id(), std::slice::from_ref(&connection), what).await?;
        let detail = json!({
            "tenant": connection.tenant,
            "connection_config": connection.connection_config.keys().collect::<Vec<_>>(),
            "credentials": "***",
            "changed": new.changes.names(),
        });
        let action = if created { "connection.create" } else { "connection.override" };
        self.record(&mut tx, Change { action, object: &object(&new.integration, &new.id), detail }).await?;
        tx.commit().await?;
        Ok(Some((Upserted { connection, created }, cleared)))
    }

    async fn write_connection(
        &self,
        tx: &mut PgConnection,
        integration: IntegrationId,
        new: &NewConnection,
    ) -> Result<(ConnectionKey, bool), StoreError> {
        let written = sqlx::query!(
            r#"INSERT INTO connections AS c (environment_id, integration_id, connection_id, tenant_id, connection_config,
                                             metadata, tags, end_user, webhook_url_override, credentials, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, coalesce($6::jsonb, '{}'), coalesce($7::jsonb, '{}'), $8::jsonb, $9, $10, $11, $11)
               ON CONFLICT (environment_id, integration_id, connection_id) WHERE deleted_at IS NULL DO UPDATE SET
                   tenant_id = excluded.tenant_id,
                   connection_config = excluded.connection_config,
                   metadata = coalesce($6::jsonb, c.metadata),
                   tags = coalesce($7::jsonb, c.tags),
                   end_user = coalesce($8::jsonb, c.end_user),
                   webhook_url_override = CASE WHEN $12 THEN excluded.webhook_url_override ELSE c.webhook_url_override END,
                   credentials = excluded.credentials,
                   updated_at = excluded.updated_at
               -- a row that was just inserted has no deleter
               RETURNING id, (xmax = 0) AS "created!""#,
            self.environment.uuid(),
            integration.uuid(),
            new.id.as_str(),
            new.tenant.map(TenantId::uuid) as Option<Uuid>,
            Value::Object(new.config.clone()),
            new.metadata.clone().map(Value::Object) as Option<Value>,
            new.changes.tags.clone().map(|tags| Value::Object(tags.into_map())) as Option<Value>,
            new.changes.end_user.clone().map(Value::Object) as Option<Value>,
            new.changes.override_text(),
            row::sealed_credentials(&self.store, self.environment, integration, &new.id, &new.credentials),
            self.store.clock().now(),
            new.changes.webhook_url_override.is_some(),
        )
        .fetch_one(tx)
        .await?;
        Ok((ConnectionKey::from_number(written.id), written.created))
    }

    /// Changes a connection.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn update_connection(
        &self,
        integration: &UniqueKey,
        id: &ConnectionId,
        changes: ConnectionChanges,
    ) -> Result<Found<()>, StoreError> {
        let written = retry_conflicts(|| self.try_update_connection(integration, id, &changes)).await?;
        Ok(match written {
            Found::Connection(cleared) => Found::Connection(self.discard_cleared(cleared).await?),
            Found::UnknownConnection => Found::UnknownConnection,
            Found::UnknownIntegration => Found::UnknownIntegration,
        })
    }

    /// Tells which endpoint was removed.
    async fn try_update_connection(
        &self,
        integration: &UniqueKey,
        id: &ConnectionId,
        changes: &ConnectionChanges,
    ) -> Result<Found<Option<EndpointId>>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(owner) =
            IntegrationRow::lock_for_connections(&mut tx, self.environment, integration).await?
        else {
            return Ok(Found::UnknownIntegration);
        };
        let Some(row) = ConnectionRow::lock(&mut tx, self.environment, owner.id(), id).await? else {
            return Ok(Found::UnknownConnection);
        };
        let key = ConnectionKey::from_number(row.id);
        sqlx::query!(
            "UPDATE connections SET
                 tags = coalesce($3, tags), end_user = coalesce($4, end_user),
                 webhook_url_override = CASE WHEN $5 THEN $6 ELSE webhook_url_override END,
                 updated_at = $7
             WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            key.number(),
            changes.tags.clone().map(|tags| Value::Object(tags.into_map())) as Option<Value>,
            changes.end_user.clone().map(Value::Object) as Option<Value>,
            changes.webhook_url_override.is_some(),
            changes.override_text(),
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        let cleared = self.apply_override(&mut tx, key, changes).await?;
        let detail = json!({ "changed": changes.names() });
        self.record(
            &mut tx,
            Change { action: "connection.update", object: &object(integration, id), detail },
        )
        .await?;
        tx.commit().await?;
        Ok(Found::Connection(cleared))
    }

    /// Makes, moves or removes the endpoint that stands for a connection's override; tells which one was removed.
    async fn apply_override(
        &self,
        tx: &mut PgConnection,
        connection: ConnectionKey,
        changes: &ConnectionChanges,
    ) -> Result<Option<EndpointId>, StoreError> {
        let Some(wanted) = &changes.webhook_url_override else { return Ok(None) };
        let now = self.store.clock().now();
        let UrlChange::Set(url) = wanted else {
            let removed = sqlx::query_scalar!(
                "DELETE FROM endpoints WHERE environment_id = $1 AND connection = $2 AND kind = 'override' RETURNING id",
                self.environment.uuid(),
                connection.number(),
            )
            .fetch_optional(tx)
            .await?;
            return Ok(removed.map(EndpointId::from_uuid));
        };
        sqlx::query!(
            "INSERT INTO endpoints AS e (id, environment_id, kind, connection, url, created_at, updated_at)
             VALUES ($1, $2, 'override', $3, $4, $5, $5)
             ON CONFLICT (connection) WHERE kind = 'override'
             DO UPDATE SET
                 url = excluded.url, updated_at = excluded.updated_at,
                 -- what its old URL had disabled is enabled by another, as in TenantStore::enable_for_new_url
                 status = CASE WHEN e.url <> excluded.url AND e.disabled_reason <> $6 THEN 'enabled' ELSE e.status END,
                 disabled_reason = CASE WHEN e.url <> excluded.url AND e.disabled_reason <> $6 THEN NULL ELSE e.disabled_reason END,
                 disabled_at = CASE WHEN e.url <> excluded.url AND e.disabled_reason <> $6 THEN NULL ELSE e.disabled_at END",
            EndpointId::at(now).uuid(),
            self.environment.uuid(),
            connection.number(),
            url.as_str(),
            now,
            DisabledReason::Manual.as_str(),
        )
        .execute(tx)
        .await?;
        Ok(None)
    }

    async fn discard_cleared(&self, cleared: Option<EndpointId>) -> Result<(), StoreError> {
        if let Some(endpoint) = cleared {
            self.discard_deliveries(endpoint).await?;
        }
        Ok(())
    }

    /// Writes the `auth` notices of connections of one integration.
    pub(super) async fn tell(
        &self,
        tx: &mut PgConnection,
        integration: IntegrationId,
        connections: &[Connection],
        what: Telling,
    ) -> Result<(), StoreError> {
        let numbers: Vec<i64> = connections.iter().map(|connection| connection.key.number()).collect();
        let audience = self.audience(tx, &numbers).await?;
        let references: Vec<ConnectionRef> = connections
            .iter()
            .map(|connection| ConnectionRef {
                key: connection.key,
                id: connection.id.clone(),
                override_endpoint: audience.override_of(connection.key),
            })
            .collect();
        let notice = |(connection, reference)| {
            notice_of(connection, reference, integration, what.kind, &audience.environment)
        };
        let notices = connections.iter().zip(&references).map(notice).collect();
        self.append_notices(tx, &audience, notices, what.max_age).await
    }
}

fn notice_of<'a>(
    connection: &'a Connection,
    reference: &'a ConnectionRef,
    integration: IntegrationId,
    kind: EventKind,
    environment: &Name,
) -> Notice<'a> {
    let notice = AuthNotice {
        kind,
        environment,
        integration: &connection.integration,
        provider: connection.provider,
        connection: &connection.id,
        end_user: connection.end_user.as_ref(),
        tags: &connection.tags,
        outcome: AuthOutcome::Success,
    };
    Notice {
        kind,
        integration: (integration, &connection.integration),
        connection: reference,
        tenant: connection.tenant,
        body: notice.body(),
    }
}
