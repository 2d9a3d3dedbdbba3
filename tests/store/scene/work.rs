//! Deliveries under lease, what came of them, and their rows.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;
use waypost_core::delivery::{Attempt, Leased, Next, Outcome, Response, Settlement};
use waypost_core::id::{AttemptId, DeliveryId};
use waypost_postgres::lease::Claimed;

/// A delivery's row in the hot table.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct OpenRow {
    pub(crate) due_at: DateTime<Utc>,
    pub(crate) give_up_at: DateTime<Utc>,
    pub(crate) held_at: Option<DateTime<Utc>>,
    pub(crate) lease_token: Option<Uuid>,
    pub(crate) lease_until: Option<DateTime<Utc>>,
    pub(crate) attempts: i32,
    pub(crate) step: i16,
}

pub(super) async fn open_row(pool: &PgPool, id: DeliveryId) -> Option<OpenRow> {
    sqlx::query_as(
        "SELECT due_at, give_up_at, held_at, lease_token, lease_until, attempts, step FROM deliveries WHERE id = $1",
    )
    .bind(id.uuid())
    .fetch_optional(pool)
    .await
    .unwrap()
}

/// What a claim brought to send.
pub(crate) fn ids(claimed: &Claimed) -> BTreeSet<DeliveryId> {
    claimed.ready.iter().map(|leased| leased.id).collect()
}

/// An answer of that status, with nothing to keep.
pub(crate) fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, retry_after: None, response: Response::default() }
}

/// The next attempt of a leased delivery.
pub(crate) fn attempt(leased: &Leased, at: DateTime<Utc>, outcome: Outcome) -> Attempt {
    Attempt {
        id: AttemptId::at(at),
        number: leased.progress.attempts + 1,
        started_at: at,
        duration: Duration::from_millis(250),
        outcome,
    }
}

/// What became of a leased delivery, with or without an attempt.
pub(crate) fn settlement(leased: &Leased, attempt: Option<Attempt>, next: Next) -> Settlement {
    Settlement {
        delivery: leased.id,
        event: leased.message.event,
        environment: leased.environment,
        endpoint: leased.target.endpoint,
        token: leased.lease.token,
        attempt,
        next,
        gone: false,
    }
}

/// An attempt at `at` that was answered so, and what became of the delivery.
pub(crate) fn tried(leased: &Leased, at: DateTime<Utc>, status: u16, next: Next) -> Settlement {
    let attempt = attempt(leased, at, answered(status));
    Settlement { gone: status == 410, ..settlement(leased, Some(attempt), next) }
}
