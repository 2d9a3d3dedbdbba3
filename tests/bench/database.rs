//! The benchmark's own PostgreSQL: durable, private, gone afterwards, with its defaults but for the statistics of
//! statements where that module is installed. Also what is read from it: log written, statements run, work left.

use std::path::Path;

use anyhow::Context;
use sqlx::{Connection, PgConnection};
use waypost_cluster::{Cluster, Options};

use crate::machine;

const DATABASE: &str = "waypost";
const SHOWN_STATEMENTS: i64 = 14;
/// What runs fill; emptied between measurements, so that the last one meets what the first one met.
const EMPTY_HISTORY: &str =
    "TRUNCATE events, unmatched, deliveries, delivery_results, attempts, rejections /* waypost-bench */";

/// A running database.
#[derive(Debug)]
pub(crate) struct Database {
    cluster: Cluster,
    connection: PgConnection,
    counts_statements: bool,
    /// The process all sessions belong to.
    pub(crate) postmaster: Option<u32>,
}

/// What the database has counted so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    /// Bytes of write-ahead log.
    pub(crate) log_bytes: i64,
    /// Statements, where they are counted.
    pub(crate) statements: Option<i64>,
}

/// A statement and what it cost.
#[derive(Debug, Clone, serde::Serialize, sqlx::FromRow)]
pub(crate) struct Statement {
    /// How often it ran.
    pub(crate) calls: i64,
    /// Its rows, in all.
    pub(crate) rows: i64,
    /// Its time, in all.
    pub(crate) total_ms: f64,
    /// Its write-ahead log, in all.
    pub(crate) wal_bytes: f64,
    /// Its text.
    pub(crate) query: String,
}

impl Database {
    /// Makes a cluster in `directory` and a database in it.
    pub(crate) async fn start(directory: &Path) -> anyhow::Result<Self> {
        let mut cluster = Cluster::open(directory, Options { durable: true })?;
        cluster.start()?;
        let mut connection = PgConnection::connect(&cluster.url("postgres")).await?;
        let counts_statements = has_statistics(&mut connection).await?;
        if counts_statements {
            sqlx::query("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
                .execute(&mut connection)
                .await?;
            connection.close().await?;
            cluster.stop()?;
            cluster.start()?;
            connection = PgConnection::connect(&cluster.url("postgres")).await?;
        }
        sqlx::query("CREATE DATABASE waypost").execute(&mut connection).await?;
        connection.close().await?;
        let mut connection = PgConnection::connect(&cluster.url(DATABASE)).await?;
        if counts_statements {
            sqlx::query("CREATE EXTENSION pg_stat_statements").execute(&mut connection).await?;
        }
        let session: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        let postmaster = u32::try_from(session).ok().and_then(machine::parent_of);
        Ok(Self { cluster, connection, counts_statements, postmaster })
    }

    /// Where Waypost finds it.
    pub(crate) fn url(&self) -> String {
        self.cluster.url(DATABASE)
    }

    /// Its version, as it tells it.
    pub(crate) async fn version(&mut self) -> anyhow::Result<String> {
        Ok(sqlx::query_scalar("SHOW server_version").fetch_one(&mut self.connection).await?)
    }

    /// What a database that has been in use for a while has done by itself.
    pub(crate) async fn settle(&mut self) -> anyhow::Result<()> {
        self.run("VACUUM ANALYZE").await
    }

    /// Empties what runs have filled.
    pub(crate) async fn empty_history(&mut self) -> anyhow::Result<()> {
        self.run(EMPTY_HISTORY).await
    }

    /// So that each run begins with nothing to write out, and its log holds the pages it touches first, whole.
    pub(crate) async fn begin_run(&mut self) -> anyhow::Result<()> {
        self.run("CHECKPOINT").await?;
        if self.counts_statements {
            self.run("SELECT pg_stat_statements_reset()").await?;
        }
        Ok(())
    }

    /// What has been counted since [`Self::begin_run`].
    pub(crate) async fn counters(&mut self) -> anyhow::Result<Counters> {
        let log_bytes =
            sqlx::query_scalar("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
                .fetch_one(&mut self.connection)
                .await?;
        let statements = if self.counts_statements {
            let sum = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
                       WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                         AND query NOT LIKE '%pg\\_stat\\_%' AND query NOT LIKE '%pg_current_wal_insert_lsn%'
                         AND query NOT LIKE '%waypost-bench%'";
            Some(sqlx::query_scalar(sum).fetch_one(&mut self.connection).await?)
        } else {
            None
        };
        Ok(Counters { log_bytes, statements })
    }

    /// The dearest statements since [`Self::begin_run`].
    pub(crate) async fn dearest_statements(&mut self) -> anyhow::Result<Vec<Statement>> {
        if !self.counts_statements {
            return Ok(Vec::new());
        }
        let statements = sqlx::query_as(
            "SELECT calls, rows, total_exec_time AS total_ms, wal_bytes::float8 AS wal_bytes, query
             FROM pg_stat_statements
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND query NOT LIKE '%pg\\_stat\\_%' AND query NOT LIKE '%waypost-bench%'
             ORDER BY total_exec_time DESC LIMIT $1",
        );
        Ok(statements.bind(SHOWN_STATEMENTS).fetch_all(&mut self.connection).await?)
    }

    /// Bytes of a stored event's body, on average.
    pub(crate) async fn average_body(&mut self) -> anyhow::Result<usize> {
        let average = "SELECT coalesce(avg(octet_length(body)), 0)::bigint FROM events /* waypost-bench */";
        let bytes: i64 = sqlx::query_scalar(average).fetch_one(&mut self.connection).await?;
        Ok(usize::try_from(bytes)?)
    }

    /// Whether a delivery is not finished yet.
    pub(crate) async fn has_open_deliveries(&mut self) -> anyhow::Result<bool> {
        let open = sqlx::query_scalar("SELECT EXISTS (SELECT FROM deliveries) /* waypost-bench */");
        Ok(open.fetch_one(&mut self.connection).await?)
    }

    /// Stops the server and deletes its data.
    pub(crate) fn destroy(self) -> anyhow::Result<()> {
        drop(self.connection);
        self.cluster.destroy().context("the benchmark's database was left behind")
    }

    async fn run(&mut self, statement: &'static str) -> anyhow::Result<()> {
        sqlx::raw_sql(statement).execute(&mut self.connection).await?;
        Ok(())
    }
}

async fn has_statistics(connection: &mut PgConnection) -> anyhow::Result<bool> {
    let installed = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')";
    Ok(sqlx::query_scalar(installed).fetch_one(connection).await?)
}
