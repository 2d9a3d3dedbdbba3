//! Another try by hand.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgConnection;
use waypost_core::delivery::{DeliveryStatus, Ending};
use waypost_core::id::DeliveryId;

use super::StoredDelivery;
use crate::audit::Change;
use crate::conflict::retry_conflicts;
use crate::retention::kept_from;
use crate::{StoreError, TenantStore};

/// What came of the wish to retry a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retry {
    /// It goes out again, or waits for its endpoint if that is disabled.
    Begun(StoredDelivery),
    /// It stands in a way that allows no retry: being sent, held, delivered or discarded.
    Refused(DeliveryStatus),
    /// Its endpoint is gone or has no URL.
    NoEndpoint,
    /// Its event has left the history.
    NoEvent,
    /// Its event's day is due to leave the history: it could end before it is sent.
    Leaving,
}

/// Within which bounds a delivery may be retried.
#[derive(Debug, Clone, Copy)]
pub struct RetryBounds {
    /// After which it is given up again.
    pub max_age: TimeDelta,
    /// How long events are kept.
    pub keep: TimeDelta,
}

impl TenantStore {
    /// Tries a delivery once more: a dead one becomes open again under its id, its attempts count on, its schedule
    /// starts anew and it is given up after `bounds.max_age`; a pending one becomes due at once. `None` when there is none of
    /// that id.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn retry_delivery(
        &self,
        id: DeliveryId,
        bounds: RetryBounds,
    ) -> Result<Option<Retry>, StoreError> {
        retry_conflicts(|| self.try_retry_delivery(id, bounds)).await
    }

    async fn try_retry_delivery(
        &self,
        id: DeliveryId,
        bounds: RetryBounds,
    ) -> Result<Option<Retry>, StoreError> {
        let mut tx = self.begin().await?;
        let now = self.store.clock().now();
        // Between one look and the next it may pass from one table to the other.
        for _ in 0..3 {
            let Some(found) = self.select_delivery(&mut tx, id).await? else { return Ok(None) };
            let changed = match found.status {
                DeliveryStatus::Pending => self.hasten(&mut tx, id, now).await?,
                DeliveryStatus::Dead => {
                    match self.obstacle(&mut tx, &found, kept_from(now, bounds.keep)).await? {
                        Some(obstacle) => return Ok(Some(obstacle)),
                        None => self.reopen(&mut tx, id, now, now + bounds.max_age).await?,
                    }
                }
                status => return Ok(Some(Retry::Refused(status))),
            };
            if changed {
                let object = id.to_string();
                let detail = json!({"from": found.status.as_str(), "attempts": found.attempts});
                self.record(&mut tx, Change { action: "delivery.retry", object: &object, detail }).await?;
                let again = self.select_delivery(&mut tx, id).await?;
                tx.commit().await?;
                return Ok(again.map(Retry::Begun));
            }
        }
        // It is being sent and settled so fast that it needs no help.
        Ok(Some(Retry::Refused(DeliveryStatus::Sending)))
    }

    async fn obstacle(
        &self,
        tx: &mut PgConnection,
        found: &StoredDelivery,
        kept_from: NaiveDate,
    ) -> Result<Option<Retry>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT EXISTS (SELECT FROM events WHERE id = $1 AND environment_id = $3) AS "event!",
                      EXISTS (
                          SELECT FROM endpoints WHERE id = $2 AND environment_id = $3 AND url IS NOT NULL
                      ) AS "endpoint!""#,
            found.event.uuid(),
            found.endpoint.uuid(),
            self.environment.uuid(),
        );
        let row = row.fetch_one(tx).await?;
        Ok(match (row.event, row.endpoint) {
            (false, _) => Some(Retry::NoEvent),
            (true, false) => Some(Retry::NoEndpoint),
            (true, true) if found.event.made_at().date_naive() < kept_from => Some(Retry::Leaving),
            (true, true) => None,
        })
    }

    async fn hasten(
        &self,
        tx: &mut PgConnection,
        id: DeliveryId,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "UPDATE deliveries SET due_at = least(due_at, $3)
             WHERE id = $1 AND environment_id = $2 AND lease_token IS NULL AND held_at IS NULL",
            id.uuid(),
            self.environment.uuid(),
            now,
        );
        Ok(done.execute(tx).await?.rows_affected() > 0)
    }

    async fn reopen(
        &self,
        tx: &mut PgConnection,
        id: DeliveryId,
        now: DateTime<Utc>,
        give_up_at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let dead = [Ending::Exhausted, Ending::TooOld, Ending::Retention].map(Ending::code);
        let done = sqlx::query!(
            "WITH ended AS (
                 DELETE FROM delivery_results WHERE delivery_id = $1 AND environment_id = $2 AND ending = ANY($3)
                 RETURNING *
             )
             INSERT INTO deliveries (id, event_id, environment_id, endpoint_id, due_at, give_up_at, held_at, attempts)
             SELECT ended.delivery_id, ended.event_id, ended.environment_id, ended.endpoint_id, $4, $5,
                    CASE WHEN endpoints.status = 'disabled' THEN $4::timestamptz END, ended.attempts
             FROM ended JOIN endpoints ON endpoints.id = ended.endpoint_id",
            id.uuid(),
            self.environment.uuid(),
            &dead,
            now,
            give_up_at,
        );
        Ok(done.execute(tx).await?.rows_affected() > 0)
    }
}
