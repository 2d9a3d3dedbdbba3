//! The limit of the database part: how many rows like those of `events` it takes, in commits of a given size, over two
//! connections. One table of the same shape with the same indexes; nothing is looked up, and nothing else is written.

use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use hdrhistogram::Histogram;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;
use waypost_core::{
    clock::{Clock, SystemClock},
    id,
};

use crate::figures::{self, Latency};

/// As many as the intake has flushers.
const CONNECTIONS: usize = 2;
/// Bodies are taken from here, at another place each time.
const POOL_BYTES: usize = 256 * 1024;
const STEP: usize = 61;

const INSERT: &str = "
    INSERT INTO bench_rows (id, environment_id, integration_id, connection, tenant_id, subscriptions, kind, routing, rich,
                            items, received_at, item_keys, body)
    SELECT id, environment, $6, 1, $6, ARRAY[$6], 0, 0, false, 1, received_at, item_key, body
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::bytea[])
      AS r (id, environment, received_at, item_key, body) /* waypost-bench */";

/// What was reached.
#[derive(Debug)]
pub(crate) struct Reached {
    /// Rows within the measured time.
    pub(crate) rows: u64,
    /// Of one commit.
    pub(crate) latency: Latency,
}

/// A table like `events`, for as long as this is measured.
pub(crate) struct Table(PgConnection);

impl Table {
    /// Makes it.
    pub(crate) async fn create(url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql("CREATE TABLE bench_rows (LIKE events INCLUDING ALL)").execute(&mut connection).await?;
        Ok(Self(connection))
    }

    /// Empties it.
    pub(crate) async fn empty(&mut self) -> anyhow::Result<()> {
        sqlx::raw_sql("TRUNCATE bench_rows").execute(&mut self.0).await?;
        Ok(())
    }

    /// Drops it.
    pub(crate) async fn drop(mut self) -> anyhow::Result<()> {
        sqlx::raw_sql("DROP TABLE bench_rows").execute(&mut self.0).await?;
        Ok(())
    }
}

/// Rows to be inserted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    /// How many in one commit.
    pub(crate) batch: usize,
    /// Bytes of each one's body.
    pub(crate) body: usize,
}

/// Inserts rows for as long as asked.
pub(crate) async fn run(url: &str, wanted: Rows, measured: Duration) -> anyhow::Result<Reached> {
    let end = Instant::now() + measured;
    let mut writers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let url = url.to_owned();
        writers.spawn(async move { write(&url, wanted, end).await });
    }
    let mut rows = 0;
    let mut latency = figures::histogram()?;
    while let Some(done) = writers.join_next().await {
        let (written, times) = done.context("a writer panicked")??;
        rows += written;
        latency.add(&times)?;
    }
    Ok(Reached { rows, latency: Latency::of(&latency) })
}

async fn write(url: &str, wanted: Rows, end: Instant) -> anyhow::Result<(u64, Histogram<u64>)> {
    let mut connection = PgConnection::connect(url).await?;
    let pool: Vec<u8> = (0..POOL_BYTES / 16).flat_map(|_| *Uuid::new_v4().as_bytes()).collect();
    let (mut rows, mut place) = (0, 0);
    let mut latency = figures::histogram()?;
    while Instant::now() < end {
        let columns = Columns::fill(wanted, &pool, &mut place);
        let start = Instant::now();
        columns.insert(&mut connection).await?;
        if Instant::now() < end {
            rows += u64::try_from(wanted.batch)?;
            latency.saturating_record(figures::micros(start.elapsed()));
        }
    }
    Ok((rows, latency))
}

struct Columns {
    id: Vec<Uuid>,
    environment: Vec<Uuid>,
    received_at: Vec<DateTime<Utc>>,
    item_key: Vec<String>,
    body: Vec<Vec<u8>>,
}

impl Columns {
    fn fill(wanted: Rows, pool: &[u8], place: &mut usize) -> Self {
        let (batch, length) = (wanted.batch, wanted.body);
        let now = SystemClock.now();
        let mut body = Vec::with_capacity(batch);
        for _ in 0..batch {
            *place = (*place + STEP) % (pool.len() - length);
            body.push(pool[*place..*place + length].to_vec());
        }
        Self {
            id: (0..batch).map(|_| id::uuid_at(now)).collect(),
            environment: (0..batch).map(|_| Uuid::new_v4()).collect(),
            received_at: vec![now; batch],
            item_key: (0..batch).map(|_| Uuid::new_v4().to_string()).collect(),
            body,
        }
    }

    async fn insert(&self, connection: &mut PgConnection) -> anyhow::Result<()> {
        sqlx::query(INSERT)
            .bind(&self.id)
            .bind(&self.environment)
            .bind(&self.received_at)
            .bind(&self.item_key)
            .bind(&self.body)
            .bind(Uuid::nil())
            .execute(connection)
            .await?;
        Ok(())
    }
}
