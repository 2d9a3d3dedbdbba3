//! One run of each kind of measurement: what is done before, during and after, so that the figures of all runs mean the
//! same. Must not decide what is measured when, nor print.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{
    bare::{self, BareServer},
    database::Database,
    figures::{self, Latency, per},
    insert::{self, Rows},
    ledger::{Ledger, Reconciliation},
    load::{self, Outcome, Pace, Plan},
    machine::{self, Cores, Moment},
    notification::{self, Fleet, Notifications, Same, UNWANTED, WANTED},
    receiver::Receiver,
    relay::Relay,
};

const WARM_UP: Duration = Duration::from_secs(1);
/// How long what was accepted may take to arrive once the load has ended.
const DRAIN_PATIENCE: Duration = Duration::from_secs(90);
const DRAIN_PAUSE: Duration = Duration::from_millis(20);
const THOUSAND: f64 = 1_000.0;
const MILLION: f64 = 1_000_000.0;

/// What measurements work with.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The database.
    pub(crate) database: Database,
    /// Waypost.
    pub(crate) relay: Relay,
    /// The customers' backend.
    pub(crate) receiver: Receiver,
    /// Whom notifications are for.
    pub(crate) fleet: Arc<Fleet>,
    /// Seconds of each measurement.
    pub(crate) measured: Duration,
}

/// The figures of one run. What does not apply is left out.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(crate) struct Run {
    /// What was counted, for each second of the measured time: requests, rows or deliveries.
    pub(crate) rate: f64,
    /// Accepted notifications a second, where deliveries are what is counted.
    pub(crate) accepted_rate: Option<f64>,
    /// From due to answer (of a row's commit: from begin to end).
    pub(crate) accept: Latency,
    /// From due to arrival at the receiver.
    pub(crate) deliver: Option<Latency>,
    /// Processor time of the server under test for each event.
    pub(crate) server_cpu_us: Option<f64>,
    /// Processor time of PostgreSQL for each event.
    pub(crate) postgres_cpu_us: Option<f64>,
    /// Statements for 1,000 events.
    pub(crate) statements_per_1000: Option<f64>,
    /// Write-ahead log for each event.
    pub(crate) wal_bytes: Option<f64>,
    /// Requests in a batch of the intake; rows in a commit of the insert.
    pub(crate) batch: Option<f64>,
    /// Results in a batch of the settler.
    pub(crate) settle_batch: Option<f64>,
    /// From the end of the load until all had arrived and was written down.
    pub(crate) drained_in_s: Option<f64>,
    /// The server's greatest memory so far.
    pub(crate) peak_memory_mb: Option<f64>,
    /// Answers other than 202.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Broken connections.
    pub(crate) errors: u64,
    /// Whether what was promised arrived.
    pub(crate) reconciliation: Option<Reconciliation>,
    /// What the machine's cores did.
    pub(crate) cores: Cores,
}

/// Requests a second that a bare server answers.
pub(crate) async fn bare(connections: usize, measured: Duration) -> anyhow::Result<Run> {
    let server = BareServer::start(bare::WORKERS.min(machine::cores()))?;
    let request = Same::new(server.address)?;
    let plan = Plan { address: server.address, connections, pace: Pace::Closed, warm_up: WARM_UP, measured };
    let before = Moment::now(Some(server.pid()), None);
    let outcome =
        tokio::task::spawn_blocking(move || load::run(plan, Instant::now(), |_| Ok(request.clone())))
            .await??;
    let spent = before.until_now(Some(server.pid()), None);
    Ok(Run {
        rate: per_second(outcome.accepted_in_window, measured),
        accept: outcome.latency,
        server_cpu_us: Some(per(spent.server * MILLION, outcome.accepted)),
        peak_memory_mb: machine::memory_mb(server.pid(), "VmHWM"),
        refused: outcome.refused,
        errors: outcome.errors,
        cores: spent.cores,
        ..Run::default()
    })
}

impl Bench {
    /// Rows a second in commits of `batch` rows, as large as those that the ingress stored last.
    pub(crate) async fn insert(&mut self, batch: usize) -> anyhow::Result<Run> {
        let url = self.database.url();
        let mut table = insert::Table::create(&url).await?;
        let rows = Rows { batch, body: self.database.average_body().await? };
        insert::run(&url, rows, WARM_UP).await?;
        table.empty().await?;
        self.database.begin_run().await?;
        let before = Moment::now(None, self.database.postmaster);
        let log = self.database.counters().await?.log_bytes;
        let reached = insert::run(&url, rows, self.measured).await?;
        let log = self.database.counters().await?.log_bytes - log;
        let spent = before.until_now(None, self.database.postmaster);
        table.drop().await?;
        Ok(Run {
            rate: per_second(reached.rows, self.measured),
            accept: reached.latency,
            postgres_cpu_us: Some(per(spent.postgres * MILLION, reached.rows)),
            wal_bytes: Some(per(float(log), reached.rows)),
            batch: Some(figures::float(u64::try_from(batch)?)),
            cores: spent.cores,
            ..Run::default()
        })
    }

    /// Notifications that no endpoint wants: what accepting costs.
    pub(crate) async fn accept(&mut self, connections: usize) -> anyhow::Result<Run> {
        self.relay_run(connections, Pace::Closed, UNWANTED).await
    }

    /// Notifications that one endpoint each gets.
    pub(crate) async fn deliver(&mut self, connections: usize, pace: Pace) -> anyhow::Result<Run> {
        self.relay_run(connections, pace, WANTED).await
    }

    async fn relay_run(&mut self, connections: usize, pace: Pace, change: &str) -> anyhow::Result<Run> {
        self.database.begin_run().await?;
        let (server, postmaster) = (Some(self.relay.pid()), self.database.postmaster);
        let counted = self.database.counters().await?;
        let batches = self.relay.batches().await?;
        let before = Moment::now(server, postmaster);
        let (outcome, ledger) = self.load(connections, pace, change).await?;
        let ended = Instant::now();
        let expected = change == WANTED;
        if expected {
            self.drain(&ledger).await?;
        }
        let drained = ended.elapsed();
        let spent = before.until_now(server, postmaster);
        let batches_now = self.relay.batches().await?;
        let counted_now = self.database.counters().await?;
        let events = outcome.accepted;
        let accepted_rate = per_second(outcome.accepted_in_window, self.measured);
        let delivered_rate = per_second(ledger.arrived_in_window(), self.measured);
        let statements = counted_now.statements.zip(counted.statements).map(|(now, then)| now - then);
        Ok(Run {
            rate: if expected { delivered_rate } else { accepted_rate },
            accepted_rate: expected.then_some(accepted_rate),
            accept: outcome.latency,
            deliver: expected.then(|| ledger.latency()),
            server_cpu_us: Some(per(spent.server * MILLION, events)),
            postgres_cpu_us: postmaster.map(|_| per(spent.postgres * MILLION, events)),
            statements_per_1000: statements.map(|count| per(float(count) * THOUSAND, events)),
            wal_bytes: Some(per(float(counted_now.log_bytes - counted.log_bytes), events)),
            batch: Some(batches_now.intake_since(&batches)),
            settle_batch: expected.then(|| batches_now.settle_since(&batches)),
            drained_in_s: expected.then_some(drained.as_secs_f64()),
            peak_memory_mb: machine::memory_mb(self.relay.pid(), "VmHWM"),
            refused: outcome.refused,
            errors: outcome.errors,
            reconciliation: expected.then(|| ledger.reconcile()),
            cores: spent.cores,
        })
    }

    async fn load(
        &self,
        connections: usize,
        pace: Pace,
        change: &str,
    ) -> anyhow::Result<(Outcome, Arc<Ledger>)> {
        let (address, measured) = (self.relay.public, self.measured);
        let end = WARM_UP + measured;
        let ledger = Arc::new(Ledger::new(notification::capacity(end), (WARM_UP, end))?);
        self.receiver.note_in(Arc::clone(&ledger));
        let (fleet, noted, change) = (Arc::clone(&self.fleet), Arc::clone(&ledger), change.to_owned());
        let plan = Plan { address, connections, pace, warm_up: WARM_UP, measured };
        let outcome = tokio::task::spawn_blocking(move || {
            load::run(plan, noted.origin(), |number| {
                Notifications::new(address, &change, &fleet, &noted, number)
            })
        });
        Ok((outcome.await.context("the load panicked")??, ledger))
    }

    /// Waits until all that was accepted has arrived and is written down; what is missing then is lost.
    async fn drain(&mut self, ledger: &Ledger) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < DRAIN_PATIENCE {
            if ledger.reconcile().lost == 0 && !self.database.has_open_deliveries().await? {
                break;
            }
            tokio::time::sleep(DRAIN_PAUSE).await;
        }
        Ok(())
    }
}

fn per_second(count: u64, measured: Duration) -> f64 {
    figures::float(count) / measured.as_secs_f64()
}

/// A difference of the database's counters, which never run backwards.
fn float(count: i64) -> f64 {
    figures::float(u64::try_from(count).unwrap_or_default())
}
