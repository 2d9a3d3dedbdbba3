//! Settling: what attempts brought, a batch at a time, in one transaction.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;
use waypost_core::delivery::{Ending, Next, Outcome, Settlement};
use waypost_core::endpoint::DisabledReason;
use waypost_core::event::EventKind;
use waypost_core::id::{EndpointId, EnvironmentId};

use crate::audit::Change;
use crate::endpoint::EndpointRow;
use crate::endpoint_notice::EndpointNotice;
use crate::{Actor, ActorKind, Store, StoreError};

/// What a batch of settlements changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// Settlements whose lease still held.
    pub applied: u64,
    /// Settlements whose lease had passed to another: they changed nothing.
    pub lost: u64,
}

impl Store {
    /// Writes down a batch of settlements: attempts in, ended deliveries out of the hot table with a result each, the
    /// others with their new due time; endpoints that said 410 are disabled, and that is told by notices that are given
    /// up after `max_age` at the latest. Safe to repeat: a token counts once, and so does an attempt.
    ///
    /// # Errors
    /// When the store fails; then nothing of the batch is written.
    pub async fn settle_across_environments(
        &self,
        batch: &[Settlement],
        now: DateTime<Utc>,
        max_age: TimeDelta,
    ) -> Result<Settled, StoreError> {
        if batch.is_empty() {
            return Ok(Settled::default());
        }
        let columns = Columns::of(self, batch);
        let mut tx = self.workers().begin().await?;
        let written = sqlx::query_file!(
            "queries/settle.sql",
            &columns.n,
            &columns.delivery,
            &columns.event,
            &columns.environment,
            &columns.endpoint,
            &columns.token,
            &columns.ending as &[Option<i16>],
            &columns.due_at as &[Option<DateTime<Utc>>],
            &columns.step as &[Option<i16>],
            &columns.held,
            &columns.attempt.id as &[Option<Uuid>],
            &columns.attempt.number as &[Option<i32>],
            &columns.attempt.started_at as &[Option<DateTime<Utc>>],
            &columns.attempt.duration_ms as &[Option<i32>],
            &columns.attempt.status_code as &[Option<i16>],
            &columns.attempt.error as &[Option<String>],
            &columns.attempt.response as &[Option<Vec<u8>>],
            now,
        )
        .fetch_one(&mut *tx)
        .await?;
        let disabled = disable_gone(&mut tx, newly_gone(batch, &written.attempts), now).await?;
        for endpoint in &disabled {
            self.tell_gone(&mut tx, endpoint, max_age).await?;
        }
        tx.commit().await?;
        let applied = u64::try_from(written.applied).unwrap_or_default();
        let all = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        Ok(Settled { applied, lost: all.saturating_sub(applied) })
    }

    /// Tells the other endpoints of its environment that one is disabled.
    async fn tell_gone(
        &self,
        tx: &mut sqlx::Transaction<'_, sqlx::Postgres>,
        gone: &GoneRow,
        max_age: TimeDelta,
    ) -> Result<(), StoreError> {
        let environment = EnvironmentId::from_uuid(gone.environment_id);
        let endpoint = EndpointId::from_uuid(gone.id);
        let reason = DisabledReason::Gone.as_str();
        let actor = Actor { kind: ActorKind::System, name: "waypost".to_owned(), request_id: String::new() };
        let object = endpoint.to_string();
        let change =
            Change { action: "endpoint.disable", object: &object, detail: json!({ "reason": reason }) };
        self.record(tx, Some(environment), &actor, change).await?;
        let rows = EndpointRow::for_routing(tx, environment, &[]).await?;
        // An endpoint that can't be read is not told; what was settled must be written down all the same.
        let candidates: Vec<_> = rows.into_iter().filter_map(|row| row.into_candidate().ok()).collect();
        let kind = EventKind::EndpointDisabled;
        let notice = EndpointNotice { kind, environment, endpoint, url: &gone.url, reason };
        self.append_endpoint_notice(tx, &notice, &candidates, max_age).await
    }
}

/// An endpoint that was disabled because it said 410.
struct GoneRow {
    id: Uuid,
    environment_id: Uuid,
    url: String,
}

/// The endpoints that said 410 in attempts that are `written` just now. An attempt that is written again, because the
/// answer to its commit was lost, must not disable an endpoint that somebody has enabled since.
fn newly_gone(batch: &[Settlement], written: &[Uuid]) -> Vec<Uuid> {
    let is_new =
        |one: &&Settlement| one.attempt.as_ref().is_some_and(|attempt| written.contains(&attempt.id.uuid()));
    let gone: BTreeSet<Uuid> =
        batch.iter().filter(|one| one.gone).filter(is_new).map(|one| one.endpoint.uuid()).collect();
    gone.into_iter().collect()
}

async fn disable_gone(
    tx: &mut sqlx::Transaction<'_, sqlx::Postgres>,
    gone: Vec<Uuid>,
    now: DateTime<Utc>,
) -> Result<Vec<GoneRow>, StoreError> {
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    let disabled = sqlx::query_as!(
        GoneRow,
        r#"-- disable_gone
        WITH k AS MATERIALIZED (SELECT id FROM unnest($1::uuid[]) AS k (id))
        UPDATE endpoints e SET status = 'disabled', disabled_reason = 'gone', disabled_at = $2, updated_at = $2
        FROM k WHERE e.id = k.id AND e.status = 'enabled' AND e.url IS NOT NULL
        RETURNING e.id, e.environment_id, e.url AS "url!""#,
        &gone,
        now,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(disabled)
}

#[derive(Default)]
struct Columns {
    n: Vec<i32>,
    delivery: Vec<Uuid>,
    event: Vec<Uuid>,
    environment: Vec<Uuid>,
    endpoint: Vec<Uuid>,
    token: Vec<Uuid>,
    ending: Vec<Option<i16>>,
    due_at: Vec<Option<DateTime<Utc>>>,
    step: Vec<Option<i16>>,
    held: Vec<bool>,
    attempt: AttemptColumns,
}

#[derive(Default)]
struct AttemptColumns {
    id: Vec<Option<Uuid>>,
    number: Vec<Option<i32>>,
    started_at: Vec<Option<DateTime<Utc>>>,
    duration_ms: Vec<Option<i32>>,
    status_code: Vec<Option<i16>>,
    error: Vec<Option<String>>,
    response: Vec<Option<Vec<u8>>>,
}

impl Columns {
    /// The columns of a batch, in the order of the deliveries' ids, so that batches lock rows in one order.
    fn of(store: &Store, batch: &[Settlement]) -> Self {
        let mut sorted: Vec<&Settlement> = batch.iter().collect();
        sorted.sort_by_key(|settlement| settlement.delivery);
        let mut columns = Self::default();
        for (n, settlement) in (0..).zip(sorted) {
            columns.n.push(n);
            columns.delivery.push(settlement.delivery.uuid());
            columns.event.push(settlement.event.uuid());
            columns.environment.push(settlement.environment.uuid());
            columns.endpoint.push(settlement.endpoint.uuid());
            columns.token.push(settlement.token);
            let (ending, due_at, step, held) = match settlement.next {
                Next::Ended(ending) => (Some(Ending::code(ending)), None, None, false),
                Next::Retry { due_at, step } => (None, Some(due_at), i16::try_from(step).ok(), false),
                Next::Held => (None, None, None, true),
            };
            columns.ending.push(ending);
            columns.due_at.push(due_at);
            columns.step.push(step);
            columns.held.push(held);
            columns.attempt.push(store, settlement);
        }
        columns
    }
}

impl AttemptColumns {
    fn push(&mut self, store: &Store, settlement: &Settlement) {
        let attempt = settlement.attempt.as_ref();
        self.id.push(attempt.map(|attempt| attempt.id.uuid()));
        self.number.push(attempt.map(|attempt| i32::try_from(attempt.number).unwrap_or(i32::MAX)));
        self.started_at.push(attempt.map(|attempt| attempt.started_at));
        let millis = |attempt: &waypost_core::delivery::Attempt| {
            i32::try_from(attempt.duration.as_millis()).unwrap_or(i32::MAX)
        };
        self.duration_ms.push(attempt.map(millis));
        let (status_code, error, response) = match attempt.map(|attempt| (attempt.id, &attempt.outcome)) {
            Some((id, Outcome::Answered { status, response, .. })) => {
                (i16::try_from(*status).ok(), None, Some(crate::delivery::seal_response(store, id, response)))
            }
            Some((_, Outcome::Failed(failure))) => (None, Some(failure.as_str().to_owned()), None),
            None => (None, None, None),
        };
        self.status_code.push(status_code);
        self.error.push(error);
        self.response.push(response);
    }
}
