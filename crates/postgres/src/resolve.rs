//! What intake must know to judge and route a batch of requests: three statements, whatever the batch's size.
//!
//! Keys come in deduplicated and sorted; each table is looked up by its whole key in a `LATERAL … LIMIT 1` of its own,
//! never by plain joins, whose plans go wrong on tables that are empty at first. Crosses environments: for workers only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;
use waypost_core::connection::{ConnectionId, ConnectionRef};
use waypost_core::delivery::Target;
use waypost_core::endpoint::Candidate;
use waypost_core::id::{ConnectionKey, EndpointId, EnvironmentId, IntegrationId, SubscriptionId, TenantId};
use waypost_core::integration::UniqueKey;
use waypost_core::provider::{IntegrationFacts, Provider, Routes, Wants, WebhookSecret};
use waypost_core::subscription::Tracked;
use waypost_crypto::token::LookupHash;

use crate::integration::read_select;
use crate::target::{self, SealedTarget};
use crate::{Store, StoreError};

/// An ingress URL's two parts, looked up.
#[derive(Debug, Clone)]
pub enum Found {
    /// Both exist.
    Integration(Arc<IntegrationFacts>),
    /// The environment exists, the integration doesn't.
    UnknownIntegration,
    /// The environment doesn't exist.
    UnknownEnvironment,
}

/// What is wanted of the integrations of a batch.
pub type WantsByIntegration = BTreeMap<(EnvironmentId, IntegrationId), Wants>;

/// The endpoints of an environment that have a URL.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// What routing must know.
    pub candidates: Vec<Candidate>,
    targets: HashMap<EndpointId, (SealedTarget, OnceLock<Arc<Target>>)>,
}

impl EndpointSet {
    /// What sending to `endpoint` must know, its secrets opened; opened once, however often it is asked for. `None` for
    /// an endpoint that isn't in the set.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when a secret can't be opened, [`StoreError::Inconsistent`] when it can't be right.
    pub fn target(&self, store: &Store, endpoint: EndpointId) -> Result<Option<Arc<Target>>, StoreError> {
        let Some((sealed, opened)) = self.targets.get(&endpoint) else { return Ok(None) };
        if let Some(target) = opened.get() {
            return Ok(Some(Arc::clone(target)));
        }
        let target = Arc::new(sealed.open(store)?);
        Ok(Some(Arc::clone(opened.get_or_init(|| target))))
    }

    fn add(&mut self, candidate: Candidate, target: SealedTarget) {
        self.targets.insert(candidate.id, (target, OnceLock::new()));
        self.candidates.push(candidate);
    }
}

impl Store {
    /// Looks up environments and integrations by what stands in ingress URLs, with their valid webhook secrets and
    /// their subscriptions whose create is in flight.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn find_integrations_across_environments(
        &self,
        named: &BTreeSet<(EnvironmentId, UniqueKey)>,
        now: DateTime<Utc>,
    ) -> Result<HashMap<(EnvironmentId, UniqueKey), Found>, StoreError> {
        let environments: Vec<Uuid> = named.iter().map(|(environment, _)| environment.uuid()).collect();
        let keys: Vec<String> = named.iter().map(|(_, key)| key.as_str().to_owned()).collect();
        let rows = sqlx::query_as!(
            IntegrationRow,
            r#"
            -- find_integrations
            SELECT w.environment_id AS "environment_id!", w.unique_key AS "unique_key!",
                   e.forward_client_state AS "forward_client_state?", i.id AS "id?", i.provider AS "provider?",
                   i.forward_webhooks AS "forward_webhooks?", i.fetch_resource AS "fetch_resource?",
                   i.fetch_select AS "fetch_select?", s.ids AS "secret_ids?", s.hashes AS "secret_hashes?",
                   s.sealed AS "secrets?", p.pending AS "pending?"
            FROM unnest($1::uuid[], $2::text[]) AS w (environment_id, unique_key)
            LEFT JOIN LATERAL (
                SELECT forward_client_state FROM environments
                WHERE id = w.environment_id AND deleted_at IS NULL LIMIT 1
            ) e ON true
            LEFT JOIN LATERAL (
                SELECT id, provider, forward_webhooks, fetch_resource, fetch_select FROM integrations
                WHERE environment_id = w.environment_id AND unique_key = w.unique_key AND deleted_at IS NULL LIMIT 1
            ) i ON true
            LEFT JOIN LATERAL (
                SELECT array_agg(id ORDER BY id) AS ids, array_agg(hash ORDER BY id) AS hashes,
                       array_agg(sealed ORDER BY id) AS sealed
                FROM integration_secrets
                WHERE environment_id = w.environment_id AND integration_id = i.id
                  AND (valid_until IS NULL OR valid_until > $3)
            ) s ON true
            LEFT JOIN LATERAL (
                SELECT jsonb_agg(jsonb_build_object(
                           'id', q.id, 'tenant', q.tenant_id, 'state', encode(q.state_hash, 'hex'),
                           'connections', (
                               SELECT coalesce(jsonb_agg(jsonb_build_object('key', c.id, 'id', c.connection_id, 'endpoint', o.id)), '[]')
                               FROM subscription_connections sc
                               JOIN connections c ON c.id = sc.connection AND c.deleted_at IS NULL
                               LEFT JOIN LATERAL (
                                   SELECT id FROM endpoints WHERE connection = c.id AND kind = 'override' LIMIT 1
                               ) o ON true
                               WHERE sc.subscription_id = q.id
                           )
                       )) AS pending
                FROM subscriptions q
                WHERE q.environment_id = w.environment_id AND q.integration_id = i.id AND q.graph_id IS NULL
            ) p ON true
            "#,
            &environments,
            &keys,
            now,
        )
        .fetch_all(self.workers())
        .await?;
        rows.into_iter().map(|row| row.into_found(self)).collect()
    }

    /// Looks up where items go: tracked subscriptions, connections of tenants, connections by name.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn find_routes_across_environments(
        &self,
        wants: &WantsByIntegration,
    ) -> Result<HashMap<IntegrationId, Routes>, StoreError> {
        let keys = RouteKeys::of(wants);
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = sqlx::query_file_as!(
            RouteRow,
            "queries/find_routes.sql",
            &keys.subscriptions.0,
            &keys.subscriptions.1,
            &keys.subscriptions.2,
            &keys.tenants.0,
            &keys.tenants.1,
            &keys.tenants.2,
            &keys.connections.0,
            &keys.connections.1,
            &keys.connections.2,
        )
        .fetch_all(self.workers())
        .await?;
        let mut routes: HashMap<IntegrationId, Routes> = HashMap::new();
        for row in rows {
            row.add_to(routes.entry(IntegrationId::from_uuid(row.integration_id)).or_default())?;
        }
        Ok(routes)
    }

    /// Looks up the endpoints of environments, and the `overrides` that connections name.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn find_endpoints_across_environments(
        &self,
        environments: &BTreeSet<EnvironmentId>,
        overrides: &BTreeSet<EndpointId>,
        now: DateTime<Utc>,
    ) -> Result<HashMap<EnvironmentId, EndpointSet>, StoreError> {
        let rows = target::rows_for_routing(self, environments, overrides, now).await?;
        let mut sets: HashMap<EnvironmentId, EndpointSet> = HashMap::new();
        for row in rows {
            let environment = EnvironmentId::from_uuid(row.environment_id);
            let (candidate, target) = row.split()?;
            sets.entry(environment).or_default().add(candidate, target);
        }
        Ok(sets)
    }
}

struct IntegrationRow {
    environment_id: Uuid,
    unique_key: String,
    forward_client_state: Option<bool>,
    id: Option<Uuid>,
    provider: Option<String>,
    forward_webhooks: Option<bool>,
    fetch_resource: Option<bool>,
    fetch_select: Option<String>,
    secret_ids: Option<Vec<Uuid>>,
    secret_hashes: Option<Vec<Vec<u8>>>,
    secrets: Option<Vec<Vec<u8>>>,
    pending: Option<serde_json::Value>,
}

impl IntegrationRow {
    fn into_found(self, store: &Store) -> Result<((EnvironmentId, UniqueKey), Found), StoreError> {
        let environment = EnvironmentId::from_uuid(self.environment_id);
        let unique_key = UniqueKey::parse(self.unique_key)
            .map_err(|_| StoreError::inconsistent("integrations", "unique_key", environment))?;
        let key = (environment, unique_key.clone());
        let Some(forward_client_state) = self.forward_client_state else {
            return Ok((key, Found::UnknownEnvironment));
        };
        let (Some(id), Some(provider), Some(forward_webhooks)) =
            (self.id, self.provider, self.forward_webhooks)
        else {
            return Ok((key, Found::UnknownIntegration));
        };
        let id = IntegrationId::from_uuid(id);
        let provider = Provider::named(&provider)
            .ok_or_else(|| StoreError::inconsistent("integrations", "provider", id))?;
        let secrets = SecretRows { ids: self.secret_ids, hashes: self.secret_hashes, sealed: self.secrets };
        let facts = IntegrationFacts {
            environment,
            id,
            unique_key,
            provider,
            forward_webhooks,
            forward_client_state,
            fetch_resource: self.fetch_resource.unwrap_or_default(),
            fetch_select: read_select(self.fetch_select.as_deref(), id.uuid())?,
            secrets: secrets.read(store, provider.dialect().signs_bodies())?,
            pending: read_pending(self.pending)?,
        };
        Ok((key, Found::Integration(Arc::new(facts))))
    }
}

struct SecretRows {
    ids: Option<Vec<Uuid>>,
    hashes: Option<Vec<Vec<u8>>>,
    sealed: Option<Vec<Vec<u8>>>,
}

impl SecretRows {
    fn read(self, store: &Store, with_text: bool) -> Result<Vec<WebhookSecret>, StoreError> {
        let rows = self.ids.unwrap_or_default().into_iter().zip(self.hashes.unwrap_or_default());
        rows.zip(self.sealed.unwrap_or_default())
            .map(|((id, hash), sealed)| {
                let hash = read_hash("integration_secrets", "hash", &hash)?;
                let open = || store.open_text("integration_secrets", "sealed", id.as_bytes(), &sealed);
                Ok(WebhookSecret { hash, text: if with_text { Some(open()?) } else { None } })
            })
            .collect()
    }
}

fn read_hash(table: &'static str, column: &'static str, bytes: &[u8]) -> Result<LookupHash, StoreError> {
    LookupHash::try_from(bytes).map_err(|_| StoreError::inconsistent(table, column, "(hash)"))
}

#[derive(Deserialize)]
struct PendingRow {
    id: Uuid,
    tenant: Uuid,
    state: String,
    connections: Vec<PendingConnection>,
}

#[derive(Deserialize)]
struct PendingConnection {
    key: i64,
    id: ConnectionId,
    endpoint: Option<Uuid>,
}

fn read_pending(rows: Option<serde_json::Value>) -> Result<Vec<Tracked>, StoreError> {
    let Some(rows) = rows else { return Ok(Vec::new()) };
    let broken = || StoreError::inconsistent("subscriptions", "state_hash", "(pending)");
    let rows: Vec<PendingRow> = serde_json::from_value(rows).map_err(|_| broken())?;
    rows.into_iter()
        .map(|row| {
            let state = hex::decode(&row.state).map_err(|_| broken())?;
            Ok(Tracked {
                id: SubscriptionId::from_uuid(row.id),
                tenant: TenantId::from_uuid(row.tenant),
                state: read_hash("subscriptions", "state_hash", &state)?,
                connections: row
                    .connections
                    .into_iter()
                    .map(|row| ConnectionRef {
                        key: ConnectionKey::from_number(row.key),
                        id: row.id,
                        override_endpoint: row.endpoint.map(EndpointId::from_uuid),
                    })
                    .collect(),
            })
        })
        .collect()
}

/// The keys of all that is wanted, column by column, without repeats and in order.
#[derive(Default)]
struct RouteKeys {
    subscriptions: (Vec<Uuid>, Vec<Uuid>, Vec<Uuid>),
    tenants: (Vec<Uuid>, Vec<Uuid>, Vec<Uuid>),
    connections: (Vec<Uuid>, Vec<Uuid>, Vec<String>),
}

impl RouteKeys {
    fn of(wants: &WantsByIntegration) -> Self {
        let mut keys = Self::default();
        for ((environment, integration), wants) in wants {
            for id in wants.subscriptions.iter().collect::<BTreeSet<_>>() {
                push(&mut keys.subscriptions, *environment, *integration, *id);
            }
            for tenant in wants.tenants.iter().collect::<BTreeSet<_>>() {
                push(&mut keys.tenants, *environment, *integration, tenant.uuid());
            }
            for name in wants.connections.iter().collect::<BTreeSet<_>>() {
                push(&mut keys.connections, *environment, *integration, name.as_str().to_owned());
            }
        }
        keys
    }

    const fn is_empty(&self) -> bool {
        self.subscriptions.0.is_empty() && self.tenants.0.is_empty() && self.connections.0.is_empty()
    }
}

fn push<T>(
    columns: &mut (Vec<Uuid>, Vec<Uuid>, Vec<T>),
    environment: EnvironmentId,
    integration: IntegrationId,
    key: T,
) {
    columns.0.push(environment.uuid());
    columns.1.push(integration.uuid());
    columns.2.push(key);
}

struct RouteRow {
    integration_id: Uuid,
    graph_id: Option<Uuid>,
    tenant: Option<Uuid>,
    name: Option<String>,
    subscription: Option<Uuid>,
    subscription_tenant: Option<Uuid>,
    state_hash: Option<Vec<u8>>,
    connection: Option<i64>,
    connection_id: Option<String>,
    override_endpoint: Option<Uuid>,
}

impl RouteRow {
    fn connection(&self) -> Result<Option<ConnectionRef>, StoreError> {
        let (Some(key), Some(id)) = (self.connection, &self.connection_id) else { return Ok(None) };
        let id = ConnectionId::parse(id.as_str())
            .map_err(|_| StoreError::inconsistent("connections", "connection_id", key))?;
        let override_endpoint = self.override_endpoint.map(EndpointId::from_uuid);
        Ok(Some(ConnectionRef { key: ConnectionKey::from_number(key), id, override_endpoint }))
    }

    fn add_to(&self, routes: &mut Routes) -> Result<(), StoreError> {
        let connection = self.connection()?;
        if let (Some(graph_id), Some(id), Some(tenant), Some(hash)) =
            (self.graph_id, self.subscription, self.subscription_tenant, &self.state_hash)
        {
            let state = read_hash("subscriptions", "state_hash", hash)?;
            let tracked = routes.subscriptions.entry(graph_id).or_insert_with(|| Tracked {
                id: SubscriptionId::from_uuid(id),
                tenant: TenantId::from_uuid(tenant),
                state,
                connections: Vec::new(),
            });
            tracked.connections.extend(connection);
        } else if let Some(tenant) = self.tenant {
            routes.tenants.entry(TenantId::from_uuid(tenant)).or_default().extend(connection);
        } else if let (Some(_), Some(connection)) = (&self.name, connection) {
            routes.connections.insert(connection.id.clone(), connection);
        }
        Ok(())
    }
}
