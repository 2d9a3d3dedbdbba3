//! What the tables hold, in the form that the model can say as well.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;
use waypost_core::delivery::Ending;
use waypost_core::id::DeliveryId;

use crate::scene::OpenRow;

/// Everything about the deliveries of a case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    /// The hot table.
    pub(super) open: BTreeMap<DeliveryId, OpenRow>,
    /// How the others ended, and after how many attempts. A list, to show two results of one delivery.
    pub(super) ended: Vec<(DeliveryId, Ending, u32)>,
    /// All attempts: the delivery's, their number, and whether they came too late.
    pub(super) attempts: Vec<(DeliveryId, u32, bool)>,
}

/// Reads them.
pub(super) async fn all(pool: &PgPool) -> Rows {
    let open: Vec<Open> = sqlx::query_as("SELECT * FROM deliveries").fetch_all(pool).await.unwrap();
    let ended: Vec<(Uuid, i16, i32)> =
        sqlx::query_as("SELECT delivery_id, ending, attempts FROM delivery_results ORDER BY delivery_id")
            .fetch_all(pool)
            .await
            .unwrap();
    let attempts: Vec<(Uuid, i32, bool)> = sqlx::query_as(
        "SELECT delivery_id, number, lease_lost FROM attempts ORDER BY delivery_id, number, lease_lost",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let id = DeliveryId::from_uuid;
    let count = |number: i32| u32::try_from(number).unwrap();
    Rows {
        open: open.into_iter().map(|row| (id(row.id), row.into())).collect(),
        ended: ended
            .into_iter()
            .map(|(row, ending, attempts)| (id(row), Ending::from_code(ending).unwrap(), count(attempts)))
            .collect(),
        attempts: attempts.into_iter().map(|(row, number, lost)| (id(row), count(number), lost)).collect(),
    }
}

#[derive(sqlx::FromRow)]
struct Open {
    id: Uuid,
    due_at: DateTime<Utc>,
    give_up_at: DateTime<Utc>,
    held_at: Option<DateTime<Utc>>,
    lease_token: Option<Uuid>,
    lease_until: Option<DateTime<Utc>>,
    attempts: i32,
    step: i16,
}

impl From<Open> for OpenRow {
    fn from(row: Open) -> Self {
        Self {
            due_at: row.due_at,
            give_up_at: row.give_up_at,
            held_at: row.held_at,
            lease_token: row.lease_token,
            lease_until: row.lease_until,
            attempts: row.attempts,
            step: row.step,
        }
    }
}
