//! What leaves the store by age: deliveries that are still open when their event's day is due to leave, waiting events
//! of such days, counts of refusals, and secrets past their grace. (The days themselves leave in [`crate::partition`].)
//!
//! Crosses environments: for workers only. Must not: decide how long anything is kept.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;
use waypost_core::delivery::Ending;
use waypost_core::event::EventKind;
use waypost_core::id::{DeliveryId, EndpointId, EnvironmentId};

use crate::conflict::retry_conflicts;
use crate::delivery::end_deliveries;
use crate::endpoint_notice::EndpointNotice;
use crate::partition::{self, day_floor};
use crate::{Store, StoreError};

/// How many rows one transaction changes at most.
const CHUNK: usize = 1000;

/// The first day that is kept when history is kept for `keep`: all of any day before it is older, and due to leave.
#[must_use]
pub fn kept_from(now: DateTime<Utc>, keep: TimeDelta) -> NaiveDate {
    (now - keep).date_naive()
}

/// What became of open deliveries whose day is due to leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndedByAge {
    /// Ended as dead.
    pub dead: usize,
    /// Deleted without a trace: the day that would tell of their end had left already.
    pub lost: usize,
}

impl Store {
    /// Makes the partitions of the days to come.
    ///
    /// # Errors
    /// When the database fails, or another transaction keeps a table locked for seconds.
    pub async fn make_partitions_ahead(&self) -> Result<(), StoreError> {
        partition::make_ahead(self.workers(), self.clock().now()).await
    }

    /// The days out of today and tomorrow that lack a partition: nothing can be accepted on such a day.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn missing_partitions(&self) -> Result<Vec<NaiveDate>, StoreError> {
        partition::missing_days(self.workers(), self.clock().now()).await
    }

    /// Drops the history of the days before `cutoff`.
    ///
    /// # Errors
    /// When the database fails, or readers keep a day busy for too long; what was dropped until then stays dropped.
    pub async fn drop_history_across_environments(&self, cutoff: NaiveDate) -> Result<(), StoreError> {
        partition::drop_before(self.workers(), cutoff).await
    }

    /// Ends the open deliveries of events made before `cutoff` as dead, whoever has leased them. One whose own day has
    /// left already has no place for its end: it goes without, so that it keeps nothing else from ending.
    ///
    /// # Errors
    /// When the database fails; what was ended until then stays ended.
    pub async fn end_old_deliveries_across_environments(
        &self,
        cutoff: NaiveDate,
    ) -> Result<EndedByAge, StoreError> {
        let mut total = EndedByAge::default();
        loop {
            let (ended, found) = retry_conflicts(|| self.end_old_chunk(cutoff)).await?;
            total.dead += ended.dead;
            total.lost += ended.lost;
            if found < CHUNK {
                return Ok(total);
            }
        }
    }

    /// Ends one chunk; tells how many it found, too.
    async fn end_old_chunk(&self, cutoff: NaiveDate) -> Result<(EndedByAge, usize), StoreError> {
        let mut tx = self.workers().begin().await?;
        let ids = sqlx::query_scalar!(
            "-- find_old_deliveries
             SELECT id FROM deliveries WHERE event_id < $1 ORDER BY event_id LIMIT 1000 FOR UPDATE SKIP LOCKED",
            day_floor(cutoff),
        );
        let ids = ids.fetch_all(&mut *tx).await?;
        let days = partition::days_of_results(&mut tx).await?;
        let has_place = |id: &Uuid| days.contains(&DeliveryId::from_uuid(*id).made_at().date_naive());
        let (placed, homeless): (Vec<Uuid>, Vec<Uuid>) = ids.iter().copied().partition(has_place);
        let dead = end_deliveries(&mut tx, &placed, Ending::Retention, self.clock().now()).await?;
        let lost = sqlx::query!("DELETE FROM deliveries WHERE id = ANY($1)", &homeless);
        let lost = count(lost.execute(&mut *tx).await?.rows_affected());
        tx.commit().await?;
        Ok((EndedByAge { dead, lost }, ids.len()))
    }

    /// Endpoints with open deliveries of events of `day` that were not told of it yet on `today`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn endpoints_to_warn_across_environments(
        &self,
        day: NaiveDate,
        today: NaiveDate,
    ) -> Result<Vec<(EnvironmentId, EndpointId)>, StoreError> {
        let rows = sqlx::query!(
            r#"-- find_endpoints_to_warn
               SELECT open.environment_id, open.endpoint_id
               FROM (SELECT DISTINCT environment_id, endpoint_id FROM deliveries WHERE event_id >= $1 AND event_id < $2) open
               CROSS JOIN LATERAL (SELECT retention_warned_on FROM endpoints WHERE id = open.endpoint_id LIMIT 1) endpoint
               WHERE endpoint.retention_warned_on IS DISTINCT FROM $3"#,
            day_floor(day),
            day_floor(day.succ_opt().unwrap_or(day)),
            today,
        );
        let rows = rows.fetch_all(self.workers()).await?;
        let pair =
            |environment, endpoint| (EnvironmentId::from_uuid(environment), EndpointId::from_uuid(endpoint));
        let pairs: BTreeSet<_> =
            rows.into_iter().map(|row| pair(row.environment_id, row.endpoint_id)).collect();
        Ok(pairs.into_iter().collect())
    }

    /// Tells that undelivered events of an endpoint are about to leave: once a day, whoever asks first. Their deliveries
    /// are given up after `max_age` at the latest.
    ///
    /// # Errors
    /// When the database fails; then nothing was told.
    pub async fn warn_of_retention_across_environments(
        &self,
        (environment, endpoint): (EnvironmentId, EndpointId),
        today: NaiveDate,
        max_age: TimeDelta,
    ) -> Result<bool, StoreError> {
        let candidates = self.notice_candidates(environment).await?;
        let mut tx = self.workers().begin().await?;
        let url = sqlx::query_scalar!(
            r#"UPDATE endpoints SET retention_warned_on = $3
               WHERE id = $1 AND environment_id = $2 AND url IS NOT NULL AND retention_warned_on IS DISTINCT FROM $3
               RETURNING url AS "url!""#,
            endpoint.uuid(),
            environment.uuid(),
            today,
        );
        let Some(url) = url.fetch_optional(&mut *tx).await? else { return Ok(false) };
        let kind = EventKind::EndpointRetentionWarning;
        let notice = EndpointNotice { kind, environment, endpoint, url: &url, reason: "retention" };
        self.append_endpoint_notice(&mut tx, &notice, &candidates, max_age).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Lets the waiting events made before `cutoff` wait no longer: they stay `unmatched` until their day leaves.
    ///
    /// # Errors
    /// When the database fails; what was done until then stays done.
    pub async fn forget_old_unmatched_across_environments(
        &self,
        cutoff: NaiveDate,
    ) -> Result<usize, StoreError> {
        let floor = day_floor(cutoff);
        in_chunks(|| async {
            let done = sqlx::query!(
                "-- forget_old_unmatched
                 WITH old AS MATERIALIZED (
                     SELECT event_id FROM unmatched WHERE event_id < $1 ORDER BY event_id LIMIT 1000
                     FOR UPDATE SKIP LOCKED
                 )
                 DELETE FROM unmatched USING old WHERE unmatched.event_id = old.event_id",
                floor,
            );
            Ok(done.execute(self.workers()).await?.rows_affected())
        })
        .await
    }

    /// Deletes counts of refusals from before `time`.
    ///
    /// # Errors
    /// When the database fails; what was deleted until then stays deleted.
    pub async fn forget_old_rejections_across_environments(
        &self,
        time: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        in_chunks(|| async {
            let done = sqlx::query!(
                "-- forget_old_rejections
                 WITH old AS MATERIALIZED (
                     SELECT environment_id, minute, integration_id, reason FROM rejections
                     WHERE minute < $1 ORDER BY minute LIMIT 1000 FOR UPDATE SKIP LOCKED
                 )
                 DELETE FROM rejections USING old
                 WHERE rejections.environment_id = old.environment_id AND rejections.minute = old.minute
                   AND rejections.integration_id = old.integration_id AND rejections.reason = old.reason",
                time,
            );
            Ok(done.execute(self.workers()).await?.rows_affected())
        })
        .await
    }

    /// Deletes replaced secrets whose grace is over: nobody may use them any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_expired_secrets_across_environments(&self) -> Result<usize, StoreError> {
        let now = self.clock().now();
        let of_endpoints = sqlx::query!("DELETE FROM endpoint_secrets WHERE valid_until < $1", now);
        let of_endpoints = of_endpoints.execute(self.workers()).await?.rows_affected();
        let of_integrations = sqlx::query!("DELETE FROM integration_secrets WHERE valid_until < $1", now);
        let of_integrations = of_integrations.execute(self.workers()).await?.rows_affected();
        Ok(count(of_endpoints + of_integrations))
    }
}

/// Repeats a step until it finds less than a whole chunk.
async fn in_chunks<F>(step: impl Fn() -> F) -> Result<usize, StoreError>
where
    F: Future<Output = Result<u64, StoreError>>,
{
    let mut total = 0;
    loop {
        let done = count(step().await?);
        total += done;
        if done < CHUNK {
            return Ok(total);
        }
    }
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
