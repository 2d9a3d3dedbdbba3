//! Deliveries whose endpoint takes nothing now, again, or never more: held, released, discarded.
//!
//! Whoever changes an endpoint changes its own row first and then calls the function here that fits; what that misses
//! (a process that died, work that was appended in the same moment) is found by
//! [`Store::reconcile_held_across_environments`], which compares what is open with the endpoints as they are. All of it
//! goes in chunks, so that no transaction is long and no row stays locked while a backlog of any size is moved.
//!
//! Must not: touch a delivery under a valid lease (only the deletion of its connection or integration does); decide
//! whether an endpoint is enabled.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::delivery::Ending;
use waypost_core::event::EventKind;
use waypost_core::id::{ConnectionKey, EndpointId, EnvironmentId, IntegrationId};

use crate::conflict::retry_conflicts;
use crate::delivery::end_deliveries;
use crate::{Store, StoreError, TenantStore};

/// How many deliveries one transaction changes at most.
const CHUNK: usize = 1000;

/// What happens to the open deliveries of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// They wait for it.
    Hold,
    /// They go out again, spread over half a minute.
    Release,
    /// They end.
    Discard,
}

/// An endpoint whose open deliveries are not as its state wants them.
#[derive(Debug, Clone, Copy)]
struct Task {
    environment: EnvironmentId,
    endpoint: EndpointId,
    what: Move,
}

/// How many deliveries were moved, and where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Now wait for their endpoint.
    pub held: usize,
    /// Go out again.
    pub released: usize,
    /// Ended.
    pub discarded: usize,
}

impl Moved {
    /// All of them together.
    #[must_use]
    pub const fn total(self) -> usize {
        self.held + self.released + self.discarded
    }
}

impl TenantStore {
    /// Holds the open deliveries of an endpoint that takes nothing now.
    ///
    /// # Errors
    /// When the database fails; what was done until then stays done.
    pub async fn hold_deliveries(&self, endpoint: EndpointId) -> Result<usize, StoreError> {
        self.move_all(endpoint, Move::Hold).await
    }

    /// Lets the held deliveries of an endpoint go, spread over half a minute; the time they were held doesn't count.
    ///
    /// # Errors
    /// When the database fails; what was done until then stays done.
    pub async fn release_deliveries(&self, endpoint: EndpointId) -> Result<usize, StoreError> {
        self.move_all(endpoint, Move::Release).await
    }

    /// Ends the open deliveries of an endpoint, held or not. One that is being sent is left to its sender.
    ///
    /// # Errors
    /// When the database fails; what was done until then stays done.
    pub async fn discard_deliveries(&self, endpoint: EndpointId) -> Result<usize, StoreError> {
        self.move_all(endpoint, Move::Discard).await
    }

    /// Ends the open deliveries of a connection's events, even those that are being sent.
    ///
    /// # Errors
    /// When the database fails; what was done until then stays done.
    pub async fn discard_deliveries_of_connection(
        &self,
        connection: ConnectionKey,
    ) -> Result<usize, StoreError> {
        self.discard_of(Some(connection.number()), None).await
    }

    /// Ends the open deliveries of an integration's events, even those that are being sent.
    ///
    /// # Errors
    /// When the database fails; what was done until then stays done.
    pub async fn discard_deliveries_of_integration(
        &self,
        integration: IntegrationId,
    ) -> Result<usize, StoreError> {
        self.discard_of(None, Some(integration.uuid())).await
    }

    async fn move_all(&self, endpoint: EndpointId, what: Move) -> Result<usize, StoreError> {
        let task = Task { environment: self.environment, endpoint, what };
        let mut total = 0;
        loop {
            let moved = retry_conflicts(|| async {
                let mut tx = self.begin().await?;
                let moved = task.step(&mut tx, self.store.clock().now()).await?;
                tx.commit().await?;
                Ok(moved)
            })
            .await?;
            total += moved;
            if moved < CHUNK {
                return Ok(total);
            }
        }
    }

    async fn discard_of(
        &self,
        connection: Option<i64>,
        integration: Option<Uuid>,
    ) -> Result<usize, StoreError> {
        let mut tx = self.begin().await?;
        let ids = sqlx::query_scalar!(
            "SELECT deliveries.id FROM deliveries
             -- Row by row: a join could choose to read the whole history instead.
             CROSS JOIN LATERAL (
                 SELECT connection, integration_id, kind FROM events WHERE id = deliveries.event_id LIMIT 1
             ) event
             WHERE deliveries.environment_id = $1
               -- The notice of the deletion itself still goes out.
               AND event.kind <> $4
               AND ($2::bigint IS NULL OR event.connection = $2)
               AND ($3::uuid IS NULL OR event.integration_id = $3)",
            self.environment.uuid(),
            connection,
            integration,
            EventKind::AuthDeletion.code(),
        );
        let ids = ids.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let mut total = 0;
        for chunk in ids.chunks(CHUNK) {
            total += retry_conflicts(|| async {
                let mut tx = self.begin().await?;
                let ended =
                    end_deliveries(&mut tx, chunk, Ending::Discarded, self.store.clock().now()).await?;
                tx.commit().await?;
                Ok(ended)
            })
            .await?;
        }
        Ok(total)
    }
}

impl Store {
    /// One pass that brings open deliveries in line with their endpoints: held where the endpoint is disabled, released
    /// where it is enabled, ended where it is gone, has no URL, or belongs to an environment that was deleted.
    ///
    /// # Errors
    /// When the database fails; what was done until then stays done.
    pub async fn reconcile_held_across_environments(&self) -> Result<Moved, StoreError> {
        let mut moved = Moved::default();
        for task in self.open_tasks().await? {
            let count = self.finish_task(task).await?;
            match task.what {
                Move::Hold => moved.held += count,
                Move::Release => moved.released += count,
                Move::Discard => moved.discarded += count,
            }
        }
        Ok(moved)
    }

    async fn finish_task(&self, task: Task) -> Result<usize, StoreError> {
        let mut total = 0;
        loop {
            let moved = retry_conflicts(|| async {
                let mut tx = self.workers().begin().await?;
                let moved = task.step(&mut tx, self.clock().now()).await?;
                tx.commit().await?;
                Ok(moved)
            })
            .await?;
            total += moved;
            if moved < CHUNK {
                return Ok(total);
            }
        }
    }

    /// Reads one index entry per endpoint that has open work, however much there is of it.
    async fn open_tasks(&self) -> Result<Vec<Task>, StoreError> {
        let rows = sqlx::query!(
            r#"WITH RECURSIVE due AS (
                   (SELECT environment_id, endpoint_id FROM deliveries WHERE lease_token IS NULL AND held_at IS NULL
                    ORDER BY environment_id, endpoint_id LIMIT 1)
                   UNION ALL
                   SELECT following.environment_id, following.endpoint_id FROM due CROSS JOIN LATERAL (
                       SELECT environment_id, endpoint_id FROM deliveries
                       WHERE lease_token IS NULL AND held_at IS NULL
                         AND (environment_id, endpoint_id) > (due.environment_id, due.endpoint_id)
                       ORDER BY environment_id, endpoint_id LIMIT 1
                   ) following
               ), held AS (
                   (SELECT environment_id, endpoint_id FROM deliveries WHERE held_at IS NOT NULL
                    ORDER BY endpoint_id LIMIT 1)
                   UNION ALL
                   SELECT following.environment_id, following.endpoint_id FROM held CROSS JOIN LATERAL (
                       SELECT environment_id, endpoint_id FROM deliveries
                       WHERE held_at IS NOT NULL AND endpoint_id > held.endpoint_id
                       ORDER BY endpoint_id LIMIT 1
                   ) following
               ), open AS (
                   SELECT environment_id, endpoint_id, false AS held FROM due
                   UNION ALL
                   SELECT environment_id, endpoint_id, true FROM held
               )
               SELECT open.environment_id AS "environment!", open.endpoint_id AS "endpoint!", open.held AS "held!",
                      endpoint.status AS "status?"
               FROM open
               LEFT JOIN LATERAL (
                   SELECT status FROM endpoints
                   WHERE id = open.endpoint_id AND environment_id = open.environment_id AND url IS NOT NULL
                     AND EXISTS (SELECT FROM environments WHERE id = open.environment_id AND deleted_at IS NULL)
                   LIMIT 1
               ) endpoint ON true
               WHERE endpoint.status IS DISTINCT FROM (CASE WHEN open.held THEN 'disabled' ELSE 'enabled' END)"#
        );
        let rows = rows.fetch_all(self.workers()).await?;
        let task = |what, environment, endpoint| Task {
            environment: EnvironmentId::from_uuid(environment),
            endpoint: EndpointId::from_uuid(endpoint),
            what,
        };
        let what = |status: Option<&str>, held| match (status, held) {
            (None, _) => Move::Discard,
            (Some(_), true) => Move::Release,
            (Some(_), false) => Move::Hold,
        };
        Ok(rows
            .iter()
            .map(|row| task(what(row.status.as_deref(), row.held), row.environment, row.endpoint))
            .collect())
    }
}

impl Task {
    /// Moves one chunk; fewer than [`CHUNK`] mean that nothing is left but what others hold locked.
    async fn step(self, connection: &mut PgConnection, now: DateTime<Utc>) -> Result<usize, StoreError> {
        match self.what {
            Move::Hold => self.hold(connection, now).await,
            Move::Release => self.release(connection, now).await,
            Move::Discard => {
                let ids = self.open(connection, now).await?;
                end_deliveries(connection, &ids, Ending::Discarded, now).await
            }
        }
    }

    async fn hold(self, connection: &mut PgConnection, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let done = sqlx::query!(
            "WITH chosen AS (
                 SELECT id FROM deliveries
                 WHERE environment_id = $1 AND endpoint_id = $2 AND lease_token IS NULL AND held_at IS NULL
                 ORDER BY due_at LIMIT 1000 FOR UPDATE SKIP LOCKED
             )
             UPDATE deliveries SET held_at = $3 FROM chosen WHERE deliveries.id = chosen.id",
            self.environment.uuid(),
            self.endpoint.uuid(),
            now,
        );
        Ok(count(done.execute(connection).await?.rows_affected()))
    }

    async fn release(self, connection: &mut PgConnection, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let done = sqlx::query!(
            "WITH chosen AS (
                 SELECT id FROM deliveries WHERE environment_id = $1 AND endpoint_id = $2 AND held_at IS NOT NULL
                 ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED
             ), placed AS (
                 SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM chosen
             )
             UPDATE deliveries SET
                 held_at = NULL,
                 give_up_at = give_up_at + greatest($3 - held_at, interval '0'),
                 -- A full chunk fills half a minute, the oldest first; a small backlog goes at once.
                 due_at = $3 + placed.place * interval '30 milliseconds'
             FROM placed WHERE deliveries.id = placed.id",
            self.environment.uuid(),
            self.endpoint.uuid(),
            now,
        );
        Ok(count(done.execute(connection).await?.rows_affected()))
    }

    /// Locks a chunk of what is open and under no valid lease, each kind by its own index.
    async fn open(self, connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Uuid>, StoreError> {
        let ids = sqlx::query_scalar!(
            r#"WITH due AS (
                   SELECT id FROM deliveries
                   WHERE environment_id = $1 AND endpoint_id = $2 AND lease_token IS NULL AND held_at IS NULL
                   ORDER BY due_at LIMIT 1000 FOR UPDATE SKIP LOCKED
               ), held AS (
                   SELECT id FROM deliveries WHERE environment_id = $1 AND endpoint_id = $2 AND held_at IS NOT NULL
                   ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED
               ), lost AS (
                   SELECT id FROM deliveries
                   WHERE environment_id = $1 AND endpoint_id = $2 AND lease_token IS NOT NULL AND lease_until < $3
                   ORDER BY lease_until LIMIT 1000 FOR UPDATE SKIP LOCKED
               )
               SELECT id AS "id!" FROM due UNION ALL SELECT id FROM held UNION ALL SELECT id FROM lost LIMIT 1000"#,
            self.environment.uuid(),
            self.endpoint.uuid(),
            now,
        );
        Ok(ids.fetch_all(connection).await?)
    }
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
