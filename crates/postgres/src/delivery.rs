//! Deliveries as people see them: lists, attempts, and another try by hand.
//!
//! A delivery stands in the hot table while it is open and has one result row afterwards, never both. Leasing and
//! settling are not here but in [`crate::lease`].

mod response;
mod retry;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::delivery::{DeliveryStatus, Ending, Response};
use waypost_core::id::{AttemptId, DeliveryId, EndpointId, EventId, uuid_floor};
use waypost_core::page::{Listed, Page};

use crate::{StoreError, TenantStore};

pub(crate) use response::{open_response, seal_response};
pub use retry::{Retry, RetryBounds};

/// The most attempts that are shown of one delivery: the last ones.
const MOST_ATTEMPTS: i64 = 200;

/// A delivery as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event.
    pub event: EventId,
    /// Where to.
    pub endpoint: EndpointId,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is due, while it is pending.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ended, was held or last tried.
    pub updated_at: DateTime<Utc>,
}

/// An attempt as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAttempt {
    /// From 1.
    pub number: u32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration_ms: u32,
    /// The status of the answer.
    pub status_code: Option<u16>,
    /// Why there was none, as a word.
    pub error: Option<String>,
    /// The rest of the answer, where it was kept.
    pub response: Option<Response>,
}

/// Which deliveries are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryFilter {
    /// Of this event.
    pub event: Option<EventId>,
    /// To this endpoint.
    pub endpoint: Option<EndpointId>,
    /// That stand so.
    pub status: Option<DeliveryStatus>,
    /// Made at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Made before this time.
    pub until: Option<DateTime<Utc>>,
}

impl TenantStore {
    /// A page of deliveries, the newest first.
    ///
    /// # Errors
    /// When the database fails, or a row can't be right.
    pub async fn list_deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryId>,
    ) -> Result<Listed<StoredDelivery, DeliveryId>, StoreError> {
        let mut tx = self.begin().await?;
        let wanted =
            Wanted { filter: *filter, after: page.after, limit: i64::from(page.limit) + 1, id: None };
        let rows = self.select_deliveries(&mut tx, wanted).await?;
        tx.commit().await?;
        Ok(Listed::cut(rows, page.limit, |row| row.id))
    }

    /// A delivery; `None` when there is none of that id.
    ///
    /// # Errors
    /// When the database fails, or a row can't be right.
    pub async fn find_delivery(&self, id: DeliveryId) -> Result<Option<StoredDelivery>, StoreError> {
        let mut tx = self.begin().await?;
        let found = self.select_delivery(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// The last attempts of a delivery, the oldest first.
    ///
    /// # Errors
    /// When the database fails, or a row can't be right.
    pub async fn list_attempts(&self, delivery: DeliveryId) -> Result<Vec<StoredAttempt>, StoreError> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query_as!(
            AttemptRow,
            "SELECT id, number, started_at, duration_ms, status_code, error, response FROM attempts
             WHERE delivery_id = $1 AND environment_id = $2 ORDER BY id DESC LIMIT $3",
            delivery.uuid(),
            self.environment.uuid(),
            MOST_ATTEMPTS,
        );
        let rows = rows.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        rows.into_iter().rev().map(|row| row.read(self)).collect()
    }

    async fn select_delivery(
        &self,
        tx: &mut PgConnection,
        id: DeliveryId,
    ) -> Result<Option<StoredDelivery>, StoreError> {
        let wanted = Wanted { filter: DeliveryFilter::default(), after: None, limit: 1, id: Some(id) };
        Ok(self.select_deliveries(tx, wanted).await?.pop())
    }

    /// Reads open and ended deliveries as one list; what the filter rules out isn't read at all.
    pub(crate) async fn select_deliveries(
        &self,
        tx: &mut PgConnection,
        wanted: Wanted,
    ) -> Result<Vec<StoredDelivery>, StoreError> {
        let filter = wanted.filter;
        let rows = sqlx::query_as!(
            Row,
            r#"WITH found AS (
                   (SELECT id, event_id, endpoint_id, attempts, due_at, held_at, lease_token IS NOT NULL AS leased,
                           NULL::smallint AS ending, NULL::timestamptz AS ended_at
                    FROM deliveries
                    WHERE environment_id = $1
                      AND ($2::text IS NULL OR $2 IN ('pending', 'sending', 'held'))
                      AND ($2::text IS NULL OR $2 = CASE WHEN held_at IS NOT NULL THEN 'held'
                           WHEN lease_token IS NOT NULL THEN 'sending' ELSE 'pending' END)
                      AND ($3::uuid IS NULL OR event_id = $3) AND ($4::uuid IS NULL OR endpoint_id = $4)
                      AND ($5::uuid IS NULL OR id >= $5) AND ($6::uuid IS NULL OR id < $6)
                      AND ($7::uuid IS NULL OR id < $7) AND ($8::uuid IS NULL OR id = $8)
                    ORDER BY id DESC LIMIT $9)
                   UNION ALL
                   (SELECT delivery_id, event_id, endpoint_id, attempts, NULL, NULL, false, ending, ended_at
                    FROM delivery_results
                    WHERE environment_id = $1
                      AND ($2::text IS NULL OR $2 IN ('delivered', 'dead', 'discarded'))
                      AND ($2::text IS NULL OR $2 = 'delivered' OR ending <> 0)
                      AND ($2::text IS NULL OR $2 = CASE ending WHEN 0 THEN 'delivered' WHEN 4 THEN 'discarded'
                           ELSE 'dead' END)
                      AND ($3::uuid IS NULL OR event_id = $3) AND ($4::uuid IS NULL OR endpoint_id = $4)
                      AND ($5::uuid IS NULL OR delivery_id >= $5) AND ($6::uuid IS NULL OR delivery_id < $6)
                      AND ($7::uuid IS NULL OR delivery_id < $7) AND ($8::uuid IS NULL OR delivery_id = $8)
                    ORDER BY delivery_id DESC LIMIT $9)
               )
               SELECT page.id AS "id!", page.event_id AS "event_id!", page.endpoint_id AS "endpoint_id!",
                      page.attempts AS "attempts!", page.leased AS "leased!",
                      page.due_at, page.held_at, page.ending, page.ended_at, last.at AS "tried_at?"
               FROM (SELECT * FROM found ORDER BY id DESC LIMIT $9) page
               LEFT JOIN LATERAL (
                   SELECT started_at + duration_ms * interval '1 millisecond' AS at FROM attempts
                   WHERE delivery_id = page.id AND environment_id = $1 ORDER BY id DESC LIMIT 1
               ) last ON page.ending IS NULL
               ORDER BY page.id DESC"#,
            self.environment.uuid(),
            filter.status.map(DeliveryStatus::as_str),
            filter.event.map(EventId::uuid),
            filter.endpoint.map(EndpointId::uuid),
            filter.since.map(uuid_floor),
            filter.until.map(uuid_floor),
            wanted.after.map(DeliveryId::uuid),
            wanted.id.map(DeliveryId::uuid),
            wanted.limit,
        );
        let rows = rows.fetch_all(tx).await?;
        rows.into_iter().map(StoredDelivery::try_from).collect()
    }
}

/// What [`TenantStore::select_deliveries`] reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) filter: DeliveryFilter,
    pub(crate) after: Option<DeliveryId>,
    pub(crate) limit: i64,
    pub(crate) id: Option<DeliveryId>,
}

struct Row {
    id: Uuid,
    event_id: Uuid,
    endpoint_id: Uuid,
    attempts: i32,
    leased: bool,
    due_at: Option<DateTime<Utc>>,
    held_at: Option<DateTime<Utc>>,
    ending: Option<i16>,
    ended_at: Option<DateTime<Utc>>,
    tried_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for StoredDelivery {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let id = DeliveryId::from_uuid(row.id);
        let wrong = |column| StoreError::inconsistent("delivery_results", column, id);
        let ending =
            row.ending.map(|code| Ending::from_code(code).ok_or_else(|| wrong("ending"))).transpose()?;
        let status = match ending {
            Some(ending) => ending.status(),
            None if row.held_at.is_some() => DeliveryStatus::Held,
            None if row.leased => DeliveryStatus::Sending,
            None => DeliveryStatus::Pending,
        };
        let created_at = id.made_at();
        let moments = [row.ended_at, row.held_at, row.tried_at];
        Ok(Self {
            id,
            event: EventId::from_uuid(row.event_id),
            endpoint: EndpointId::from_uuid(row.endpoint_id),
            status,
            ending,
            attempts: u32::try_from(row.attempts).map_err(|_| wrong("attempts"))?,
            next_attempt_at: row.due_at.filter(|_| status == DeliveryStatus::Pending),
            created_at,
            updated_at: moments.into_iter().flatten().fold(created_at, DateTime::max),
        })
    }
}

struct AttemptRow {
    id: Uuid,
    number: i32,
    started_at: DateTime<Utc>,
    duration_ms: i32,
    status_code: Option<i16>,
    error: Option<String>,
    response: Option<Vec<u8>>,
}

impl AttemptRow {
    fn read(self, store: &TenantStore) -> Result<StoredAttempt, StoreError> {
        let id = AttemptId::from_uuid(self.id);
        let wrong = |column| StoreError::inconsistent("attempts", column, id);
        let response = self.response.map(|sealed| open_response(&store.store, id, &sealed)).transpose()?;
        Ok(StoredAttempt {
            number: u32::try_from(self.number).map_err(|_| wrong("number"))?,
            started_at: self.started_at,
            duration_ms: u32::try_from(self.duration_ms).map_err(|_| wrong("duration_ms"))?,
            status_code: self.status_code.map(u16::try_from).transpose().map_err(|_| wrong("status_code"))?,
            error: self.error,
            response,
        })
    }
}

/// Ends deliveries that are still open, whoever has leased them, and tells how many there were.
pub(crate) async fn end_deliveries(
    connection: &mut PgConnection,
    ids: &[Uuid],
    ending: Ending,
    now: DateTime<Utc>,
) -> Result<usize, StoreError> {
    let done = sqlx::query!(
        "WITH chosen AS (
             -- In the order of ids, as everybody locks them.
             SELECT id FROM deliveries WHERE id = ANY($1) ORDER BY id FOR UPDATE
         ), gone AS (
             DELETE FROM deliveries USING chosen WHERE deliveries.id = chosen.id RETURNING deliveries.*
         )
         INSERT INTO delivery_results (delivery_id, event_id, environment_id, endpoint_id, ending, attempts, ended_at)
         SELECT id, event_id, environment_id, endpoint_id, $2, attempts, $3 FROM gone",
        ids,
        ending.code(),
        now,
    );
    let rows = done.execute(connection).await?.rows_affected();
    Ok(usize::try_from(rows).unwrap_or(usize::MAX))
}
