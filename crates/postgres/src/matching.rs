//! Events that wait for a connection of their tenant, and the connections that have come.
//!
//! A round takes some of them under lock, gives what is needed to route them, and writes down where they go, in one
//! transaction. Rounds of several processes pass each other by. Crosses environments: for workers only.
//!
//! Must not: decide which endpoints want an event, or what its body looks like.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;
use waypost_core::connection::{ConnectionId, ConnectionRef};
use waypost_core::event::Routing;
use waypost_core::id::{ConnectionKey, EndpointId, EnvironmentId, EventId, IntegrationId, TenantId};
use waypost_core::integration::UniqueKey;
use waypost_core::provider::Provider;

use crate::append::Batch;
use crate::{Store, StoreError, proof};

/// How many events one round takes at most.
pub const ROUND: usize = 200;

/// An event without a connection, whose tenant has some now.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its id.
    pub event: EventId,
    /// Its environment.
    pub environment: EnvironmentId,
    /// Its integration.
    pub integration: Arc<MatchedIntegration>,
    /// Its tenant.
    pub tenant: TenantId,
    /// The live connections of that tenant, at least one, the oldest first.
    pub connections: Arc<[ConnectionRef]>,
    /// The Graph ids of the subscriptions that its items name.
    pub subscriptions: Vec<Uuid>,
    /// When its POST arrived.
    pub received_at: DateTime<Utc>,
    /// How many items it holds.
    pub items: u32,
    /// Their keys.
    pub item_keys: String,
    /// Whether an item is encrypted.
    pub rich: bool,
    /// The payload in its canonical form.
    pub payload: Bytes,
    /// The `validationTokens` of its POST.
    pub proof: Option<Bytes>,
}

/// What must be known of an integration to make an event's body.
#[derive(Debug, Clone)]
pub struct MatchedIntegration {
    /// Its id.
    pub id: IntegrationId,
    /// Its name on the wire.
    pub unique_key: UniqueKey,
    /// What it speaks.
    pub provider: Provider,
    /// Whether events are sent on.
    pub forward_webhooks: bool,
}

/// What becomes of a waiting event's own row.
#[derive(Debug, Clone)]
pub struct Matched {
    /// The event.
    pub event: EventId,
    /// The connection it is for now.
    pub connection: ConnectionKey,
    /// Where it goes.
    pub routing: Routing,
    /// The bytes to send.
    pub body: Bytes,
}

/// Waiting events, locked until the round is finished or dropped.
#[derive(Debug)]
pub struct Round {
    store: Store,
    tx: Transaction<'static, Postgres>,
    /// Those whose day has left the history.
    gone: Vec<Uuid>,
    /// The events.
    pub waiting: Vec<Waiting>,
}

/// Which connections an event waits for.
type Key = (Uuid, Uuid, Uuid);

impl Store {
    /// The newest event that waits for a connection.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_unmatched_across_environments(&self) -> Result<Option<EventId>, StoreError> {
        let newest = sqlx::query_scalar!(
            "-- newest_unmatched
             SELECT event_id FROM unmatched WHERE tenant_id IS NOT NULL ORDER BY event_id DESC LIMIT 1"
        );
        Ok(newest.fetch_optional(self.workers()).await?.map(EventId::from_uuid))
    }

    /// Takes the oldest events whose tenant has a connection now; `None` when there are none, or others are at them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_matchable_across_environments(&self) -> Result<Option<Round>, StoreError> {
        let candidates = self.matchable().await?;
        if candidates.is_empty() {
            return Ok(None);
        }
        let mut tx = self.workers().begin().await?;
        let locked = sqlx::query_scalar!(
            "SELECT event_id FROM unmatched WHERE event_id = ANY($1) ORDER BY event_id FOR UPDATE SKIP LOCKED",
            &candidates,
        );
        let locked = locked.fetch_all(&mut *tx).await?;
        if locked.is_empty() {
            return Ok(None);
        }
        let rows = read_events(&mut tx, &locked).await?;
        let gone = locked.into_iter().filter(|id| rows.iter().all(|row| row.id != *id)).collect();
        let found = read_connections(&mut tx, &rows).await?;
        let waiting =
            rows.into_iter().filter_map(|row| told(row.into_waiting(self, &found)).flatten()).collect();
        Ok(Some(Round { store: self.clone(), tx, gone, waiting }))
    }

    /// The oldest events that could be matched; reads one index entry per waiting tenant, however many events it has.
    async fn matchable(&self) -> Result<Vec<Uuid>, StoreError> {
        let ids = sqlx::query_scalar!(
            r#"-- find_matchable
               WITH RECURSIVE tenants AS (
                   (SELECT environment_id, integration_id, tenant_id FROM unmatched WHERE tenant_id IS NOT NULL
                    ORDER BY environment_id, integration_id, tenant_id LIMIT 1)
                   UNION ALL
                   SELECT following.environment_id, following.integration_id, following.tenant_id
                   FROM tenants CROSS JOIN LATERAL (
                       SELECT environment_id, integration_id, tenant_id FROM unmatched
                       WHERE tenant_id IS NOT NULL AND (environment_id, integration_id, tenant_id)
                           > (tenants.environment_id, tenants.integration_id, tenants.tenant_id)
                       ORDER BY environment_id, integration_id, tenant_id LIMIT 1
                   ) following
               )
               SELECT event_id AS "event_id!" FROM (
                   SELECT chosen.event_id, size, sum(size) OVER (ORDER BY chosen.event_id) AS sum FROM (
                       SELECT oldest.event_id FROM tenants
                       -- One look-up per tenant: an EXISTS would be made a join with all connections.
                       CROSS JOIN LATERAL (
                           SELECT FROM connections
                           WHERE environment_id = tenants.environment_id AND integration_id = tenants.integration_id
                             AND tenant_id = tenants.tenant_id AND deleted_at IS NULL LIMIT 1
                       ) connected
                       CROSS JOIN LATERAL (
                           SELECT event_id FROM unmatched
                           WHERE environment_id = tenants.environment_id AND integration_id = tenants.integration_id
                             AND tenant_id = tenants.tenant_id
                           ORDER BY event_id LIMIT 200
                       ) oldest
                       ORDER BY oldest.event_id LIMIT 200
                   ) chosen
                   LEFT JOIN LATERAL (
                       SELECT octet_length(body) AS size FROM events WHERE id = chosen.event_id LIMIT 1
                   ) event ON true
               ) sized
               -- Bounds the memory of a round: 2 MiB, compressed, and one event more.
               WHERE coalesce(sum - size, 0) < 2097152
               ORDER BY event_id"#
        );
        Ok(ids.fetch_all(self.workers()).await?)
    }
}

impl Round {
    /// Stores events for further connections, and deliveries, as a part of the round: nothing of it is there before the
    /// round is finished.
    ///
    /// # Errors
    /// When the database fails; then the round is lost, and all stays as it was.
    pub async fn append(&mut self, more: &Batch) -> Result<(), StoreError> {
        self.store.append_on(&mut self.tx, more).await
    }

    /// Writes down where the events go: their own rows, and in `more` what was not appended yet;
    /// `copies` tells whose copies the further events are. They wait no longer.
    ///
    /// # Errors
    /// When the database fails; then all stays as it was.
    pub async fn finish(
        mut self,
        matched: &[Matched],
        more: &Batch,
        copies: &[(EventId, EventId)],
    ) -> Result<(), StoreError> {
        let store = &self.store;
        let seal = |row: &Matched| store.seal("events", "body", row.event.uuid().as_bytes(), &row.body);
        let ids: Vec<Uuid> = matched.iter().map(|row| row.event.uuid()).collect();
        let connections: Vec<i64> = matched.iter().map(|row| row.connection.number()).collect();
        let routings: Vec<i16> = matched.iter().map(|row| row.routing.code()).collect();
        let bodies: Vec<Vec<u8>> = matched.iter().map(seal).collect();
        sqlx::query!(
            "-- match_events
             UPDATE events SET connection = matched.connection, routing = matched.routing, body = matched.body
             FROM unnest($1::uuid[], $2::bigint[], $3::smallint[], $4::bytea[])
                 AS matched (id, connection, routing, body)
             WHERE events.id = matched.id",
            &ids,
            &connections,
            &routings,
            &bodies,
        )
        .execute(&mut *self.tx)
        .await?;
        self.store.append_on(&mut self.tx, more).await?;
        proof::pass_on(&mut self.tx, &ids, copies, self.store.clock().now()).await?;
        let done = [ids, self.gone].concat();
        sqlx::query!("DELETE FROM unmatched WHERE event_id = ANY($1)", &done).execute(&mut *self.tx).await?;
        self.tx.commit().await?;
        Ok(())
    }
}

struct EventRow {
    id: Uuid,
    environment_id: Uuid,
    integration_id: Uuid,
    tenant_id: Uuid,
    subscriptions: Vec<Uuid>,
    received_at: DateTime<Utc>,
    items: i32,
    item_keys: String,
    rich: bool,
    body: Vec<u8>,
    proof: Option<Vec<u8>>,
}

impl EventRow {
    const fn key(&self) -> Key {
        (self.environment_id, self.integration_id, self.tenant_id)
    }

    /// `None` when the connections that it was chosen for are gone again: then it goes on waiting.
    fn into_waiting(self, store: &Store, found: &Found) -> Result<Option<Waiting>, StoreError> {
        let key = self.key();
        let Some((integration, connections)) = found.get(&key) else { return Ok(None) };
        let row = self.id.as_bytes();
        let open = |column, sealed: &[u8]| {
            Ok::<_, StoreError>(Bytes::copy_from_slice(&store.open("events", column, row, sealed)?))
        };
        Ok(Some(Waiting {
            event: EventId::from_uuid(self.id),
            environment: EnvironmentId::from_uuid(self.environment_id),
            integration: Arc::clone(integration),
            tenant: TenantId::from_uuid(self.tenant_id),
            connections: Arc::clone(connections),
            received_at: self.received_at,
            items: u32::try_from(self.items).unwrap_or_default(),
            payload: open("body", &self.body)?,
            proof: self.proof.as_deref().map(|proof| open("proof", proof)).transpose()?,
            subscriptions: self.subscriptions,
            item_keys: self.item_keys,
            rich: self.rich,
        }))
    }
}

/// One row that can't be read, as when its key is missing from this process, must not keep the others waiting.
fn told<T>(read: Result<T, StoreError>) -> Option<T> {
    if let Err(error) = &read {
        tracing::error!(error = error as &dyn std::error::Error, "a waiting event can't be matched");
    }
    read.ok()
}

async fn read_events(
    tx: &mut Transaction<'static, Postgres>,
    ids: &[Uuid],
) -> Result<Vec<EventRow>, StoreError> {
    let rows = sqlx::query_as!(
        EventRow,
        r#"-- find_unmatched_events
           SELECT unmatched.event_id AS "id!", unmatched.environment_id, unmatched.integration_id,
                  unmatched.tenant_id AS "tenant_id!", event.subscriptions, event.received_at, event.items,
                  event.item_keys, event.rich, event.body, event.proof
           FROM unnest($1::uuid[]) AS wanted (id)
           CROSS JOIN LATERAL (SELECT * FROM unmatched WHERE event_id = wanted.id AND tenant_id IS NOT NULL LIMIT 1) unmatched
           -- One by one, so that each look-up touches the partition of its day alone.
           CROSS JOIN LATERAL (SELECT * FROM events WHERE id = wanted.id LIMIT 1) event
           ORDER BY unmatched.event_id"#,
        ids,
    );
    Ok(rows.fetch_all(&mut **tx).await?)
}

type Found = HashMap<Key, (Arc<MatchedIntegration>, Arc<[ConnectionRef]>)>;

struct ConnectionRow {
    environment_id: Uuid,
    integration_id: Uuid,
    tenant_id: Uuid,
    unique_key: String,
    provider: String,
    forward_webhooks: bool,
    connection: i64,
    connection_id: String,
    override_endpoint: Option<Uuid>,
}

impl ConnectionRow {
    fn integration(&self) -> Result<MatchedIntegration, StoreError> {
        let id = IntegrationId::from_uuid(self.integration_id);
        let wrong = |column| StoreError::inconsistent("integrations", column, id);
        Ok(MatchedIntegration {
            id,
            unique_key: UniqueKey::parse(self.unique_key.as_str()).map_err(|_| wrong("unique_key"))?,
            provider: Provider::named(&self.provider).ok_or_else(|| wrong("provider"))?,
            forward_webhooks: self.forward_webhooks,
        })
    }

    fn connection(&self) -> Result<ConnectionRef, StoreError> {
        let wrong = |_| StoreError::inconsistent("connections", "connection_id", self.connection);
        Ok(ConnectionRef {
            key: ConnectionKey::from_number(self.connection),
            id: ConnectionId::parse(self.connection_id.as_str()).map_err(wrong)?,
            override_endpoint: self.override_endpoint.map(EndpointId::from_uuid),
        })
    }
}

async fn read_connections(
    tx: &mut Transaction<'static, Postgres>,
    events: &[EventRow],
) -> Result<Found, StoreError> {
    let keys: BTreeSet<Key> = events.iter().map(EventRow::key).collect();
    let rows = sqlx::query_as!(
        ConnectionRow,
        r#"-- find_connections_of_tenants
           SELECT wanted.environment_id AS "environment_id!", wanted.integration_id AS "integration_id!",
                  wanted.tenant_id AS "tenant_id!", integration.unique_key, integration.provider,
                  integration.forward_webhooks, connection.id AS connection, connection.connection_id,
                  override.id AS "override_endpoint?"
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS wanted (environment_id, integration_id, tenant_id)
           CROSS JOIN LATERAL (
               SELECT unique_key, provider, forward_webhooks FROM integrations
               WHERE id = wanted.integration_id AND environment_id = wanted.environment_id AND deleted_at IS NULL LIMIT 1
           ) integration
           CROSS JOIN LATERAL (
               SELECT id, connection_id FROM connections
               WHERE environment_id = wanted.environment_id AND integration_id = wanted.integration_id
                 AND tenant_id = wanted.tenant_id AND deleted_at IS NULL
               -- They must not be deleted before this has committed: then their deliveries would be left over.
               FOR SHARE
           ) connection
           LEFT JOIN LATERAL (
               SELECT id FROM endpoints WHERE connection = connection.id AND kind = 'override' LIMIT 1
           ) override ON true
           ORDER BY connection.id"#,
        &keys.iter().map(|key| key.0).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.1).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.2).collect::<Vec<_>>(),
    );
    let mut gathered: HashMap<Key, (Arc<MatchedIntegration>, Vec<ConnectionRef>)> = HashMap::new();
    for row in rows.fetch_all(&mut **tx).await? {
        let key = (row.environment_id, row.integration_id, row.tenant_id);
        let (Some(integration), Some(connection)) = (told(row.integration()), told(row.connection())) else {
            continue;
        };
        gathered.entry(key).or_insert_with(|| (Arc::new(integration), Vec::new())).1.push(connection);
    }
    Ok(gathered
        .into_iter()
        .map(|(key, (integration, connections))| (key, (integration, connections.into())))
        .collect())
}
