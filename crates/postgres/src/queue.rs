//! How much work waits: what operators ask first when something is slow.
//!
//! Counted over a bounded part of the hot table, so that the question costs the same whatever the backlog. Must not be used
//! to decide anything.

use chrono::{DateTime, Utc};

use crate::{Store, StoreError};

/// The most deliveries that are counted.
pub const MOST_COUNTED: i64 = 500_000;

/// One class of open deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// How many there are.
    pub depth: i64,
    /// When the oldest was, or is, due.
    pub oldest_due_at: Option<DateTime<Utc>>,
}

/// The open deliveries by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Could be sent now.
    pub due: Class,
    /// Being sent.
    pub sending: Class,
    /// Wait for their endpoint to come back.
    pub held: Class,
    /// Due later.
    pub waiting: Class,
    /// Whether all were counted; otherwise there are more than [`MOST_COUNTED`].
    pub complete: bool,
}

impl Store {
    /// How much work waits, of all environments.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn queue_across_environments(&self) -> Result<Queue, StoreError> {
        let row = sqlx::query!(
            r#"SELECT count(*) AS "all!",
                      count(*) FILTER (WHERE class = 'due') AS "due!",
                      min(due_at) FILTER (WHERE class = 'due') AS due_since,
                      count(*) FILTER (WHERE class = 'sending') AS "sending!",
                      min(due_at) FILTER (WHERE class = 'sending') AS sending_since,
                      count(*) FILTER (WHERE class = 'held') AS "held!",
                      min(due_at) FILTER (WHERE class = 'held') AS held_since,
                      count(*) FILTER (WHERE class = 'waiting') AS "waiting!",
                      min(due_at) FILTER (WHERE class = 'waiting') AS waiting_since
               FROM (
                   SELECT due_at,
                          CASE WHEN held_at IS NOT NULL THEN 'held'
                               -- A lease that is over will be taken again: it is due.
                               WHEN lease_until > $1 THEN 'sending'
                               WHEN due_at > $1 THEN 'waiting'
                               ELSE 'due' END AS class
                   FROM deliveries LIMIT $2
               ) AS counted"#,
            self.clock().now(),
            MOST_COUNTED,
        )
        .fetch_one(self.requests())
        .await?;
        let class = |depth, oldest_due_at| Class { depth, oldest_due_at };
        Ok(Queue {
            due: class(row.due, row.due_since),
            sending: class(row.sending, row.sending_since),
            held: class(row.held, row.held_since),
            waiting: class(row.waiting, row.waiting_since),
            complete: row.all < MOST_COUNTED,
        })
    }
}
