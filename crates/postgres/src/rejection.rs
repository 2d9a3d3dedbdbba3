//! What ingress refused: counted by integration, reason and minute, with a few samples.
//!
//! Processes gather counts in memory and add them up here. Must not: hold a secret or content; samples come without.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::types::Json;
use uuid::Uuid;
use waypost_core::id::{EnvironmentId, IntegrationId};
use waypost_core::integration::UniqueKey;
use waypost_core::page::{Listed, Page};
use waypost_core::rejection::Reason;

use crate::{Store, StoreError, TenantStore};

/// The most samples that are kept of one minute's refusals for one reason.
pub const MOST_SAMPLES: usize = 5;

/// Refusals that a process has counted.
#[derive(Debug, Clone)]
pub struct RejectionCount {
    /// The environment.
    pub environment: EnvironmentId,
    /// The integration.
    pub integration: IntegrationId,
    /// The minute: its first moment.
    pub minute: DateTime<Utc>,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: u64,
    /// What they looked like; the first [`MOST_SAMPLES`] count.
    pub samples: Vec<Map<String, Value>>,
}

/// Refusals of one minute, as people see them.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The integration's id, to page by.
    pub integration: IntegrationId,
    /// The integration.
    pub unique_key: UniqueKey,
    /// The minute: its first moment.
    pub minute: DateTime<Utc>,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: u64,
    /// What some of them looked like.
    pub samples: Vec<Map<String, Value>>,
}

/// Which refusals are wanted.
#[derive(Debug, Clone, Default)]
pub struct RejectionFilter {
    /// Of this integration.
    pub integration: Option<UniqueKey>,
    /// For this reason.
    pub reason: Option<Reason>,
    /// Not before.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
}

/// What the list is ordered by, the newest minute first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectionKey {
    /// The minute.
    pub minute: DateTime<Utc>,
    /// The integration.
    pub integration: IntegrationId,
    /// The reason.
    pub reason: Reason,
}

impl Store {
    /// Adds counts to what is there; of samples the first ones stay.
    ///
    /// # Errors
    /// When the database fails; then nothing was added.
    pub async fn count_rejections_across_environments(
        &self,
        counts: &[RejectionCount],
    ) -> Result<(), StoreError> {
        if counts.is_empty() {
            return Ok(());
        }
        // All writers lock in the same order.
        let mut counts: Vec<&RejectionCount> = counts.iter().collect();
        counts
            .sort_by_key(|count| (count.environment, count.minute, count.integration, count.reason.as_str()));
        let samples = |count: &&RejectionCount| {
            let kept = count.samples.iter().take(MOST_SAMPLES).cloned().map(Value::Object);
            Value::Array(kept.collect())
        };
        sqlx::query!(
            "-- count_rejections
             INSERT INTO rejections (environment_id, integration_id, minute, reason, count, samples)
             SELECT environment_id, integration_id, minute, reason, sum(count)::bigint, (array_agg(samples))[1]
             FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::bigint[], $6::jsonb[])
                 WITH ORDINALITY
                 AS counted (environment_id, integration_id, minute, reason, count, samples, place)
             GROUP BY environment_id, integration_id, minute, reason
             ORDER BY min(place)
             ON CONFLICT (environment_id, minute, integration_id, reason) DO UPDATE SET
                 count = rejections.count + excluded.count,
                 samples = CASE
                     WHEN jsonb_array_length(rejections.samples) >= 5 THEN rejections.samples
                     ELSE jsonb_path_query_array(rejections.samples || excluded.samples, '$[0 to 4]')
                 END",
            &counts.iter().map(|count| count.environment.uuid()).collect::<Vec<_>>(),
            &counts.iter().map(|count| count.integration.uuid()).collect::<Vec<_>>(),
            &counts.iter().map(|count| count.minute).collect::<Vec<_>>(),
            &counts.iter().map(|count| count.reason.as_str().to_owned()).collect::<Vec<_>>(),
            &counts.iter().map(|count| i64::try_from(count.count).unwrap_or(i64::MAX)).collect::<Vec<_>>(),
            &counts.iter().map(samples).collect::<Vec<_>>(),
        )
        .execute(self.workers())
        .await?;
        Ok(())
    }
}

impl TenantStore {
    /// A page of refusals, the newest minute first.
    ///
    /// # Errors
    /// When the database fails, or a row can't be right.
    pub async fn list_rejections(
        &self,
        filter: &RejectionFilter,
        page: &Page<RejectionKey>,
    ) -> Result<Listed<Refused, RejectionKey>, StoreError> {
        let after = page.after.as_ref();
        let mut tx = self.begin().await?;
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT rejections.integration_id, rejections.minute, rejections.reason, rejections.count,
                      rejections.samples AS "samples: Json<Vec<Map<String, Value>>>", integrations.unique_key
               FROM rejections JOIN integrations ON integrations.id = rejections.integration_id
               WHERE rejections.environment_id = $1
                 AND ($2::text IS NULL OR integrations.unique_key = $2)
                 AND ($3::text IS NULL OR rejections.reason = $3)
                 -- The minute that the time is in counts.
                 AND ($4::timestamptz IS NULL OR rejections.minute >= date_trunc('minute', $4::timestamptz))
                 AND ($5::timestamptz IS NULL OR rejections.minute < $5)
                 AND ($6::timestamptz IS NULL
                      OR (rejections.minute, rejections.integration_id, rejections.reason) < ($6, $7, $8))
               ORDER BY rejections.minute DESC, rejections.integration_id DESC, rejections.reason DESC
               LIMIT $9"#,
            self.environment.uuid(),
            filter.integration.as_ref().map(UniqueKey::as_str),
            filter.reason.map(Reason::as_str),
            filter.since,
            filter.until,
            after.map(|key| key.minute),
            after.map(|key| key.integration.uuid()),
            after.map(|key| key.reason.as_str()),
            i64::from(page.limit) + 1,
        );
        let rows = rows.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let rows = rows.into_iter().map(Refused::try_from).collect::<Result<_, _>>()?;
        Ok(Listed::cut(rows, page.limit, |row: &Refused| RejectionKey {
            minute: row.minute,
            integration: row.integration,
            reason: row.reason,
        }))
    }
}

struct Row {
    integration_id: Uuid,
    minute: DateTime<Utc>,
    reason: String,
    count: i64,
    samples: Json<Vec<Map<String, Value>>>,
    unique_key: String,
}

impl TryFrom<Row> for Refused {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let wrong = |table, column| StoreError::inconsistent(table, column, row.integration_id);
        Ok(Self {
            integration: IntegrationId::from_uuid(row.integration_id),
            unique_key: UniqueKey::parse(row.unique_key).map_err(|_| wrong("integrations", "unique_key"))?,
            minute: row.minute,
            reason: Reason::from_word(&row.reason).ok_or_else(|| wrong("rejections", "reason"))?,
            count: u64::try_from(row.count).map_err(|_| wrong("rejections", "count"))?,
            samples: row.samples.0,
        })
    }
}
