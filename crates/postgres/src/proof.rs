//! What was found out about the origin of encrypted items: which events wait for it, and what came of it.
//!
//! A row is written with its event. Whoever takes it moves its time on instead of locking it: to prove an event twice
//! costs a little and changes nothing. Crosses environments: for workers only.
//!
//! Must not: examine tokens, or open items.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;
use waypost_core::delivery::Ending;
use waypost_core::event::Routing;
use waypost_core::id::{ConnectionKey, EnvironmentId, EventId, IntegrationId, TenantId};
use waypost_core::proof::{ItemProof, Proof};
use waypost_core::provider::Provider;
use waypost_core::provider::graph::validation_token::Findings;
use zeroize::Zeroizing;

use crate::certificate::Owner;
use crate::delivery::end_deliveries;
use crate::{Store, StoreError, connection, integration};

/// How many events are taken at one time.
const AT_ONCE: i64 = 100;
/// How long an event that was taken is left to whoever took it.
const TAKEN_FOR: TimeDelta = TimeDelta::minutes(1);

/// An event with encrypted items, and what its proof is held against.
pub struct Unproven {
    /// The event.
    pub event: EventId,
    /// Its provider.
    pub provider: Provider,
    /// The connection it is for; `None` while it is unmatched.
    pub connection: Option<ConnectionKey>,
    /// The tenant that was named with it.
    pub tenant: Option<TenantId>,
    /// When its POST arrived.
    pub received_at: DateTime<Utc>,
    /// Its body: of an unmatched event the payload alone.
    pub body: Zeroizing<Vec<u8>>,
    /// The `validationTokens` of its POST.
    pub tokens: Option<Zeroizing<Vec<u8>>>,
    /// The client ids of its subscriptions, its connection and its integration.
    pub apps: Vec<String>,
    /// What was found out before.
    pub proof: Proof,
    /// How often somebody looked before.
    pub tries: u32,
}

/// What is known of an event that is about to be opened.
#[derive(Debug)]
pub struct Known {
    /// Whose certificates may open it.
    pub owner: Option<Owner>,
    /// What is thought of its items.
    pub proof: Proof,
}

struct UnprovenRow {
    id: Uuid,
    environment_id: Uuid,
    integration_id: Option<Uuid>,
    connection: Option<i64>,
    tenant_id: Option<Uuid>,
    received_at: DateTime<Utc>,
    body: Vec<u8>,
    tokens: Option<Vec<u8>>,
    provider: String,
    integration_credentials: Option<Vec<u8>>,
    connection_id: Option<String>,
    connection_credentials: Option<Vec<u8>>,
    findings: Option<serde_json::Value>,
    verdicts: Option<serde_json::Value>,
    tries: Option<i32>,
    client_ids: Option<Vec<String>>,
}

impl Store {
    /// Takes events whose proof is due; for a while nobody else is given them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take_due_proofs_across_environments(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Vec<EventId>, StoreError> {
        let ids = sqlx::query_scalar!(
            "-- take_due_proofs
             WITH due AS MATERIALIZED (
                 SELECT event_id FROM proofs WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
             )
             UPDATE proofs SET due_at = $2 FROM due WHERE proofs.event_id = due.event_id RETURNING proofs.event_id",
            now,
            now + TAKEN_FOR,
            AT_ONCE,
        );
        Ok(ids.fetch_all(self.workers()).await?.into_iter().map(EventId::from_uuid).collect())
    }

    /// When the next proof is due; `None` when none is waiting.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_proof_due_across_environments(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let due = sqlx::query_scalar!(
            r#"-- next_proof_due
               SELECT due_at AS "due_at!" FROM proofs WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1"#
        );
        Ok(due.fetch_optional(self.workers()).await?)
    }

    /// What is needed to prove events. Those are left out that are gone, and those that can't be read, which is logged.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find_unproven_across_environments(
        &self,
        events: &[EventId],
    ) -> Result<Vec<Unproven>, StoreError> {
        let ids: Vec<Uuid> = events.iter().map(|event| event.uuid()).collect();
        let rows = sqlx::query_as!(
            UnprovenRow,
            r#"-- find_unproven
               SELECT e.id, e.environment_id, e.integration_id, e.connection, e.tenant_id, e.received_at, e.body,
                      e.proof AS tokens, i.provider, i.credentials AS integration_credentials,
                      c.connection_id AS "connection_id?", c.credentials AS "connection_credentials?",
                      p.findings AS "findings?", p.verdicts AS "verdicts?", p.tries AS "tries?",
                      s.client_ids AS "client_ids?"
               FROM unnest($1::uuid[]) AS w (id)
               CROSS JOIN LATERAL (SELECT * FROM events WHERE id = w.id AND rich LIMIT 1) e
               CROSS JOIN LATERAL (SELECT provider, credentials FROM integrations WHERE id = e.integration_id LIMIT 1) i
               LEFT JOIN LATERAL (
                   SELECT connection_id, credentials FROM connections WHERE id = e.connection AND deleted_at IS NULL LIMIT 1
               ) c ON true
               LEFT JOIN LATERAL (SELECT findings, verdicts, tries FROM proofs WHERE event_id = w.id LIMIT 1) p ON true
               LEFT JOIN LATERAL (
                   SELECT array_agg(client_id) FILTER (WHERE client_id IS NOT NULL) AS client_ids FROM subscriptions
                   WHERE environment_id = e.environment_id AND integration_id = e.integration_id
                     AND graph_id = ANY(e.subscriptions)
               ) s ON true"#,
            &ids,
        );
        let rows = rows.fetch_all(self.workers()).await?;
        Ok(rows.into_iter().filter_map(|row| told(row.into_unproven(self))).collect())
    }

    /// Writes down what was found out about an event, and when to look again, if ever. Several may look at one time: what
    /// was decided before stays decided. Returns what stands now.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn keep_proof_across_environments(
        &self,
        event: EventId,
        proof: Proof,
        due_at: Option<DateTime<Utc>>,
    ) -> Result<Proof, StoreError> {
        let mut tx = self.workers().begin().await?;
        let before = sqlx::query!(
            "-- lock_proof
             SELECT findings, verdicts FROM proofs WHERE event_id = $1 FOR UPDATE",
            event.uuid(),
        );
        let proof = match before.fetch_optional(&mut *tx).await? {
            Some(row) => proof.after(proof_of(event, row.findings, row.verdicts)?),
            None => proof,
        };
        // There is nothing more to find out, whatever whoever writes last has seen.
        let is_final = proof.findings.as_ref().is_some_and(Findings::are_final);
        let due_at = due_at.filter(|_| !is_final);
        sqlx::query!(
            "-- keep_proof
             INSERT INTO proofs (event_id, environment_id, due_at, tries, checked_at, findings, verdicts)
             SELECT id, environment_id, $2, 1, $3, $4, $5 FROM events WHERE id = $1
             ON CONFLICT (event_id) DO UPDATE
             SET due_at = $2, tries = proofs.tries + 1, checked_at = $3, findings = $4, verdicts = $5",
            event.uuid(),
            due_at as Option<DateTime<Utc>>,
            self.clock().now(),
            proof.findings.as_ref().map(|findings| json!(findings)),
            proof.items.as_ref().map(|items| json!(items)),
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(proof)
    }

    /// What is known of an event that is about to be opened; `None` when it is gone.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn find_proof_across_environments(&self, event: EventId) -> Result<Option<Known>, StoreError> {
        let row = sqlx::query!(
            r#"-- find_proof
               SELECT e.environment_id, e.integration_id, e.connection, p.findings AS "findings?", p.verdicts AS "verdicts?"
               FROM (SELECT environment_id, integration_id, connection FROM events WHERE id = $1 LIMIT 1) e
               LEFT JOIN LATERAL (SELECT findings, verdicts FROM proofs WHERE event_id = $1 LIMIT 1) p ON true"#,
            event.uuid(),
        );
        let Some(row) = row.fetch_optional(self.workers()).await? else { return Ok(None) };
        let owner = row.integration_id.map(|integration| Owner {
            environment: EnvironmentId::from_uuid(row.environment_id),
            integration: IntegrationId::from_uuid(integration),
            connection: row.connection.map(ConnectionKey::from_number),
        });
        Ok(Some(Known { owner, proof: proof_of(event, row.findings, row.verdicts)? }))
    }

    /// Takes an event out of circulation: it counts as quarantined, waits for no connection any more, and its open
    /// deliveries end as discarded, but for those under lease, which whoever holds them ends.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn quarantine_across_environments(&self, event: EventId) -> Result<(), StoreError> {
        let mut tx = self.workers().begin().await?;
        // First of all: the matcher locks this row too, so that either sees what the other did.
        sqlx::query!("-- quarantine_unmatched\nDELETE FROM unmatched WHERE event_id = $1", event.uuid())
            .execute(&mut *tx)
            .await?;
        sqlx::query!(
            "-- quarantine_event
             UPDATE events SET routing = $2 WHERE id = $1 AND routing <> $2",
            event.uuid(),
            Routing::Quarantined.code(),
        )
        .execute(&mut *tx)
        .await?;
        let open = sqlx::query_scalar!(
            "-- find_open_deliveries_of_event
             SELECT id FROM deliveries WHERE event_id = $1 AND lease_token IS NULL ORDER BY id FOR UPDATE SKIP LOCKED",
            event.uuid(),
        );
        let open = open.fetch_all(&mut *tx).await?;
        end_deliveries(&mut tx, &open, Ending::Discarded, self.clock().now()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets the proofs of events made before `cutoff`.
    ///
    /// # Errors
    /// When the store fails; what was done until then stays done.
    pub async fn forget_old_proofs_across_environments(
        &self,
        cutoff: chrono::NaiveDate,
    ) -> Result<(), StoreError> {
        loop {
            let done = sqlx::query!(
                "-- forget_old_proofs
                 WITH old AS MATERIALIZED (
                     SELECT event_id FROM proofs WHERE event_id < $1 ORDER BY event_id LIMIT 1000 FOR UPDATE SKIP LOCKED
                 )
                 DELETE FROM proofs USING old WHERE proofs.event_id = old.event_id",
                crate::partition::day_floor(cutoff),
            );
            if done.execute(self.workers()).await?.rows_affected() < 1000 {
                return Ok(());
            }
        }
    }
}

/// Lets events that were matched be judged anew, now that it is known for whom they are; their further copies, given as
/// (original, copy), inherit what the tokens showed.
pub(crate) async fn pass_on(
    tx: &mut Transaction<'_, Postgres>,
    originals: &[Uuid],
    copies: &[(EventId, EventId)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (of, copy): (Vec<Uuid>, Vec<Uuid>) = copies.iter().map(|(of, copy)| (of.uuid(), copy.uuid())).unzip();
    sqlx::query!(
        "-- judge_matched_anew
         UPDATE proofs SET verdicts = NULL, due_at = $2 WHERE event_id = ANY($1)",
        originals,
        now,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "-- inherit_findings
         UPDATE proofs SET findings = original.findings, checked_at = original.checked_at, due_at = $3
         FROM unnest($1::uuid[], $2::uuid[]) AS w (original, copy)
         CROSS JOIN LATERAL (SELECT findings, checked_at FROM proofs WHERE event_id = w.original LIMIT 1) original
         WHERE proofs.event_id = w.copy",
        &of,
        &copy,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What is kept of an event's proof.
pub(crate) fn proof_of(
    event: EventId,
    findings: Option<serde_json::Value>,
    verdicts: Option<serde_json::Value>,
) -> Result<Proof, StoreError> {
    let findings = findings.map(serde_json::from_value::<Findings>).transpose();
    let items = verdicts.map(serde_json::from_value::<Vec<ItemProof>>).transpose();
    Ok(Proof {
        findings: findings.map_err(|_| StoreError::inconsistent("proofs", "findings", event))?,
        items: items.map_err(|_| StoreError::inconsistent("proofs", "verdicts", event))?,
    })
}

impl UnprovenRow {
    fn into_unproven(self, store: &Store) -> Result<Unproven, StoreError> {
        let event = EventId::from_uuid(self.id);
        let row = self.id.as_bytes();
        let (environment, integration) = (
            EnvironmentId::from_uuid(self.environment_id),
            self.integration_id.map(IntegrationId::from_uuid),
        );
        let mut apps = self.client_ids.unwrap_or_default();
        if let (Some(integration), Some(sealed)) = (integration, &self.integration_credentials) {
            apps.extend(integration::client_id(store, integration, sealed)?);
        }
        if let (Some(integration), Some(name), Some(sealed)) =
            (integration, &self.connection_id, &self.connection_credentials)
        {
            apps.extend(connection::client_id(store, (environment, integration, name), sealed)?);
        }
        Ok(Unproven {
            event,
            provider: Provider::named(&self.provider)
                .ok_or_else(|| StoreError::inconsistent("integrations", "provider", event))?,
            connection: self.connection.map(ConnectionKey::from_number),
            tenant: self.tenant_id.map(TenantId::from_uuid),
            received_at: self.received_at,
            body: store.open("events", "body", row, &self.body)?,
            tokens: self.tokens.map(|sealed| store.open("events", "proof", row, &sealed)).transpose()?,
            apps,
            proof: proof_of(event, self.findings, self.verdicts)?,
            tries: self.tries.and_then(|tries| u32::try_from(tries).ok()).unwrap_or_default(),
        })
    }
}

/// One row that can't be read must not keep the others from being proven.
fn told(read: Result<Unproven, StoreError>) -> Option<Unproven> {
    if let Err(error) = &read {
        tracing::error!(error = error as &dyn std::error::Error, "an event's proof can't be read");
    }
    read.ok()
}
