//! Endpoints as sending sees them: URL, headers and secrets, sealed until they are needed.
//!
//! An override signs with the secrets of its environment's `primary`.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgExecutor;
use uuid::Uuid;
use waypost_core::delivery::Target;
use waypost_core::endpoint::{Candidate, EndpointKind, EndpointStatus, EndpointUrl};
use waypost_core::filter::{Filter, FilterSpec};
use waypost_core::id::{ConnectionKey, EndpointId, EnvironmentId};
use waypost_crypto::signature::{EndpointSecret, SigningKey};

use crate::endpoint::open_headers;
use crate::{Store, StoreError, TenantStore};

/// An endpoint whose secrets are still sealed.
#[derive(Debug)]
pub(crate) struct SealedTarget {
    environment: EnvironmentId,
    endpoint: EndpointId,
    url: EndpointUrl,
    status: EndpointStatus,
    headers: Option<Vec<u8>>,
    secrets: Vec<(Uuid, Vec<u8>)>,
    signing_key: Vec<u8>,
}

impl SealedTarget {
    /// Opens the secrets.
    pub(crate) fn open(&self, store: &Store) -> Result<Target, StoreError> {
        let secrets = self.secrets.iter().map(|(id, sealed)| {
            let text = store.open_text("endpoint_secrets", "sealed", id.as_bytes(), sealed)?;
            EndpointSecret::parse(text.expose_secret())
                .map_err(|_| StoreError::inconsistent("endpoint_secrets", "sealed", self.endpoint))
        });
        let environment = self.environment.uuid();
        let key =
            store.open_text("environments", "signing_key", environment.as_bytes(), &self.signing_key)?;
        Ok(Target {
            endpoint: self.endpoint,
            url: self.url.clone(),
            headers: self.open_headers(store)?,
            secrets: secrets.collect::<Result<_, _>>()?,
            signing_key: SigningKey::new(key.expose_secret().to_owned()),
            status: self.status,
        })
    }

    fn open_headers(&self, store: &Store) -> Result<Vec<(HeaderName, SecretString)>, StoreError> {
        let Some(sealed) = &self.headers else { return Ok(Vec::new()) };
        let broken = || StoreError::inconsistent("endpoints", "headers", self.endpoint);
        open_headers(store, self.endpoint, sealed)?
            .into_iter()
            .map(|(name, value)| Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken())?, value)))
            .collect()
    }
}

/// An endpoint's row with its secrets.
#[derive(Debug)]
pub(crate) struct TargetRow {
    pub(crate) environment_id: Uuid,
    pub(crate) id: Uuid,
    kind: String,
    connection: Option<i64>,
    url: String,
    headers: Option<Vec<u8>>,
    filter: serde_json::Value,
    status: String,
    signing_key: Vec<u8>,
    secret_ids: Option<Vec<Uuid>>,
    secrets: Option<Vec<Vec<u8>>>,
    backlog: bool,
}

impl TargetRow {
    /// What routing must know, and what sending must know.
    pub(crate) fn split(self) -> Result<(Candidate, SealedTarget), StoreError> {
        let id = EndpointId::from_uuid(self.id);
        let broken = |column| StoreError::inconsistent("endpoints", column, id);
        let kind = EndpointKind::from_word(&self.kind).ok_or_else(|| broken("kind"))?;
        let spec: FilterSpec = serde_json::from_value(self.filter).map_err(|_| broken("filter"))?;
        let status = match self.status.as_str() {
            "enabled" => EndpointStatus::Enabled,
            "disabled" => EndpointStatus::Disabled,
            _ => return Err(broken("status")),
        };
        let candidate = Candidate {
            id,
            kind,
            connection: self.connection.map(ConnectionKey::from_number),
            filter: Filter::parse(spec).map_err(|_| broken("filter"))?,
            status,
            backlog: self.backlog,
        };
        let target = SealedTarget {
            environment: EnvironmentId::from_uuid(self.environment_id),
            endpoint: id,
            url: EndpointUrl::parse(&self.url).map_err(|_| broken("url"))?,
            status,
            headers: self.headers,
            secrets: self
                .secret_ids
                .unwrap_or_default()
                .into_iter()
                .zip(self.secrets.unwrap_or_default())
                .collect(),
            signing_key: self.signing_key,
        };
        Ok((candidate, target))
    }
}

/// The endpoints of `environments` that have a URL, and the overrides that are named.
pub(crate) async fn rows_for_routing(
    store: &Store,
    environments: &BTreeSet<EnvironmentId>,
    overrides: &BTreeSet<EndpointId>,
    now: DateTime<Utc>,
) -> Result<Vec<TargetRow>, StoreError> {
    let environments: Vec<Uuid> = environments.iter().map(|id| id.uuid()).collect();
    let overrides: Vec<Uuid> = overrides.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query_as!(
        TargetRow,
        r#"
        -- find_endpoints
        SELECT e.environment_id AS "environment_id!", e.id AS "id!", e.kind AS "kind!", e.connection, e.url AS "url!", e.headers,
               e.filter AS "filter!", e.status AS "status!", v.signing_key,
               s.ids AS "secret_ids?", s.sealed AS "secrets?", coalesce(b.backlog, false) AS "backlog!"
        FROM (
            SELECT e.* FROM unnest($1::uuid[]) AS w (environment_id)
            CROSS JOIN LATERAL (
                SELECT * FROM endpoints
                WHERE environment_id = w.environment_id AND kind <> 'override' AND url IS NOT NULL ORDER BY id
            ) e
            UNION ALL
            SELECT e.* FROM unnest($2::uuid[]) AS w (id)
            CROSS JOIN LATERAL (SELECT * FROM endpoints WHERE id = w.id AND url IS NOT NULL LIMIT 1) e
        ) e
        CROSS JOIN LATERAL (
            SELECT signing_key FROM environments WHERE id = e.environment_id AND deleted_at IS NULL LIMIT 1
        ) v
        LEFT JOIN LATERAL (
            -- an override signs as primary
            SELECT id FROM endpoints
            WHERE e.kind = 'override' AND environment_id = e.environment_id AND kind = 'primary' LIMIT 1
        ) p ON true
        LEFT JOIN LATERAL (
            SELECT array_agg(id ORDER BY id DESC) AS ids, array_agg(sealed ORDER BY id DESC) AS sealed
            FROM endpoint_secrets
            WHERE endpoint_id = coalesce(p.id, e.id) AND (valid_until IS NULL OR valid_until > $3)
        ) s ON true
        -- A look-up for each endpoint: an EXISTS is planned as one scan of all that is due, of everybody.
        LEFT JOIN LATERAL (
            SELECT true AS backlog FROM deliveries
            WHERE environment_id = e.environment_id AND endpoint_id = e.id
              AND lease_token IS NULL AND held_at IS NULL AND due_at <= $3
            LIMIT 1
        ) b ON true
        "#,
        &environments,
        &overrides,
        now,
    )
    .fetch_all(store.workers())
    .await?;
    Ok(rows)
}

/// The endpoints of that ids, whatever they are; those without a URL or an environment are left out.
pub(crate) async fn rows_by_id(
    executor: impl PgExecutor<'_>,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<TargetRow>, StoreError> {
    let rows = sqlx::query_as!(
        TargetRow,
        r#"
        -- find_targets
        SELECT e.environment_id AS "environment_id!", e.id AS "id!", e.kind AS "kind!", e.connection, e.url AS "url!", e.headers,
               e.filter AS "filter!", e.status AS "status!", v.signing_key,
               s.ids AS "secret_ids?", s.sealed AS "secrets?", false AS "backlog!"
        FROM unnest($1::uuid[]) AS w (id)
        CROSS JOIN LATERAL (SELECT * FROM endpoints WHERE id = w.id AND url IS NOT NULL LIMIT 1) e
        CROSS JOIN LATERAL (
            SELECT signing_key FROM environments WHERE id = e.environment_id AND deleted_at IS NULL LIMIT 1
        ) v
        LEFT JOIN LATERAL (
            SELECT id FROM endpoints
            WHERE e.kind = 'override' AND environment_id = e.environment_id AND kind = 'primary' LIMIT 1
        ) p ON true
        LEFT JOIN LATERAL (
            SELECT array_agg(id ORDER BY id DESC) AS ids, array_agg(sealed ORDER BY id DESC) AS sealed
            FROM endpoint_secrets
            WHERE endpoint_id = coalesce(p.id, e.id) AND (valid_until IS NULL OR valid_until > $2)
        ) s ON true
        "#,
        ids,
        now,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

impl TenantStore {
    /// What sending to an endpoint of this environment must know; `None` when there is none of that id, or it has no URL.
    ///
    /// # Errors
    /// When the store fails, or a secret can't be opened.
    pub async fn endpoint_target(&self, id: EndpointId) -> Result<Option<Target>, StoreError> {
        let mut tx = self.begin().await?;
        let rows = rows_by_id(&mut *tx, &[id.uuid()], self.store.clock().now()).await?;
        tx.commit().await?;
        rows.into_iter().next().map(|row| row.split()?.1.open(&self.store)).transpose()
    }
}
