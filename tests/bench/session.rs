//! The order of a whole benchmark: set-up, measurements one after the other, comparison, and the end, whatever happened.

use std::{
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use chrono::SecondsFormat;
use waypost_core::clock::{Clock, SystemClock};

use crate::{
    database::{Database, Statement},
    figures,
    load::Pace,
    machine::{self, Machine},
    measure::{self, Bench, Run},
    receiver::Receiver,
    relay::Relay,
    report::{self, AtRest, Measurement, Ratio, Report, Setting},
    seed,
    settings::{CONNECTIONS_PER_ENVIRONMENT, ENDPOINTS_PER_ENVIRONMENT, Settings},
};

const SATURATIONS: [usize; 2] = [64, 256];
const RATES: [u32; 2] = [2_000, 5_000];
const OPEN_LOOP_CONNECTIONS: usize = 64;
/// Requests so far apart that each finds everything at rest.
const LONE_RATE: u32 = 25;
const REST: Duration = Duration::from_secs(6);

/// A benchmark under way.
#[derive(Debug)]
pub(crate) struct Session {
    settings: Settings,
    directory: PathBuf,
    work: Option<tempfile::TempDir>,
    bench: Option<Bench>,
    measurements: Vec<Measurement>,
    statements: Vec<Statement>,
}

impl Session {
    /// Nothing is started yet.
    pub(crate) fn new(settings: Settings, directory: PathBuf) -> Self {
        Self {
            settings,
            directory,
            work: None,
            bench: None,
            measurements: Vec::new(),
            statements: Vec::new(),
        }
    }

    /// Measures everything.
    pub(crate) async fn run(&mut self) -> anyhow::Result<Report> {
        let started_at = SystemClock.now().to_rfc3339_opts(SecondsFormat::Secs, true);
        let machine = Machine::look(&self.directory)?;
        self.bare_servers().await?;
        let (filled_in, postgres) = self.set_up().await?;
        let at_rest = self.rest().await?;
        self.relay().await?;
        let setting = Setting {
            seconds: self.settings.seconds,
            runs: self.settings.runs,
            environments: self.settings.environments,
            connections: self.settings.environments * CONNECTIONS_PER_ENVIRONMENT,
            endpoints: self.settings.environments * ENDPOINTS_PER_ENVIRONMENT,
            filled_in_s: filled_in.as_secs_f64(),
        };
        Ok(Report {
            started_at,
            source: source(),
            machine,
            postgres,
            setting,
            at_rest,
            ratios: self.ratios(),
            measurements: std::mem::take(&mut self.measurements),
            statements: std::mem::take(&mut self.statements),
        })
    }

    /// Stops what was started and deletes the database.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        let Some(Bench { database, relay, receiver, .. }) = self.bench.take() else { return Ok(()) };
        let stopped = relay.stop();
        receiver.stop().await?;
        database.destroy()?;
        stopped
    }

    async fn bare_servers(&mut self) -> anyhow::Result<()> {
        for connections in SATURATIONS {
            let mut runs = Vec::new();
            if !self.begins(&bare(), connections) {
                continue;
            }
            for _ in 0..self.settings.runs {
                runs.push(measure::bare(connections, Duration::from_secs(self.settings.seconds)).await?);
            }
            self.note(bare(), connections, runs)?;
        }
        Ok(())
    }

    async fn set_up(&mut self) -> anyhow::Result<(Duration, String)> {
        let work = tempfile::Builder::new().prefix("waypost-bench-").tempdir()?;
        let folder = self.directory.join(format!("cluster-{}", std::process::id()));
        let mut database = Database::start(&folder).await?;
        let postgres = database.version().await?;
        let relay = Relay::start(&self.settings.program, work.path(), &database.url()).await;
        self.work = Some(work);
        let (relay, receiver) = match relay.and_then(|relay| Ok((relay, Receiver::start()?))) {
            Ok(both) => both,
            Err(error) => {
                database.destroy()?;
                return Err(error);
            }
        };
        let measured = Duration::from_secs(self.settings.seconds);
        let bench = self.bench.insert(Bench { database, relay, receiver, fleet: Arc::default(), measured });
        report::progress(&format!("filling {} environments over the APIs", self.settings.environments));
        let start = Instant::now();
        let fleet = seed::fill(&bench.relay, bench.receiver.address, self.settings.environments).await;
        let filled_in = start.elapsed();
        bench.fleet = Arc::new(fleet.with_context(|| bench.relay.last_lines())?);
        bench.database.settle().await?;
        Ok((filled_in, postgres))
    }

    async fn rest(&mut self) -> anyhow::Result<Option<AtRest>> {
        if !self.settings.wants("rest") {
            return Ok(None);
        }
        report::progress("at rest");
        let bench = self.bench.as_mut().context("nothing runs")?;
        bench.database.begin_run().await?;
        let before = bench.database.counters().await?.statements;
        tokio::time::sleep(REST).await;
        let statements =
            bench.database.counters().await?.statements.zip(before).map(|(now, then)| now - then);
        Ok(Some(AtRest {
            ready_in_ms: bench.relay.started_in.as_secs_f64() * 1_000.0,
            statements_per_minute: statements
                .map(|count| figures::float(count.unsigned_abs()) * 60.0 / REST.as_secs_f64()),
            memory_mb: machine::memory_mb(bench.relay.pid(), "VmRSS"),
        }))
    }

    async fn relay(&mut self) -> anyhow::Result<()> {
        self.deliver("d lone request at rest", 1, Pace::Rate(LONE_RATE), 1).await?;
        for connections in SATURATIONS {
            if self.begins(&accept(), connections) {
                let runs = self.settings.runs;
                let bench = self.bench.as_mut().context("nothing runs")?;
                bench.database.empty_history().await?;
                let mut done = Vec::new();
                for _ in 0..runs {
                    done.push(bench.accept(connections).await?);
                }
                self.note(accept(), connections, done)?;
            }
            self.insert(connections).await?;
        }
        for connections in SATURATIONS {
            self.deliver(&deliver(), connections, Pace::Closed, self.settings.runs).await?;
            let bench = self.bench.as_mut().context("nothing runs")?;
            self.statements = bench.database.dearest_statements().await?;
        }
        for rate in RATES {
            let name = format!("d end to end, open loop {rate}/s");
            self.deliver(&name, OPEN_LOOP_CONNECTIONS, Pace::Rate(rate), 1).await?;
        }
        Ok(())
    }

    /// With the batches that the ingress was seen to make at so many connections.
    async fn insert(&mut self, connections: usize) -> anyhow::Result<()> {
        let Some(batch) = self.found(&accept(), connections).and_then(|found| found.median.batch) else {
            return Ok(());
        };
        let name = insert(connections);
        if !self.begins(&name, 2) {
            return Ok(());
        }
        // Rounded by the formatter, which cannot overflow.
        let batch: usize = format!("{:.0}", batch.max(1.0)).parse()?;
        let runs = self.settings.runs;
        let bench = self.bench.as_mut().context("nothing runs")?;
        let mut done = Vec::new();
        for _ in 0..runs {
            done.push(bench.insert(batch).await?);
        }
        self.note(name, 2, done)
    }

    async fn deliver(
        &mut self,
        name: &str,
        connections: usize,
        pace: Pace,
        runs: usize,
    ) -> anyhow::Result<()> {
        if !self.begins(name, connections) {
            return Ok(());
        }
        let bench = self.bench.as_mut().context("nothing runs")?;
        bench.database.empty_history().await?;
        let mut done = Vec::new();
        for _ in 0..runs {
            done.push(bench.deliver(connections, pace).await?);
        }
        self.note(name.to_owned(), connections, done)
    }

    fn begins(&self, name: &str, connections: usize) -> bool {
        let wanted = self.settings.wants(name);
        if wanted {
            report::progress(&format!("{name}, {connections} connections"));
        }
        wanted
    }

    fn note(&mut self, name: String, connections: usize, runs: Vec<Run>) -> anyhow::Result<()> {
        self.measurements.push(Measurement::of(name, connections, runs)?);
        Ok(())
    }

    fn found(&self, name: &str, connections: usize) -> Option<&Measurement> {
        self.measurements.iter().find(|found| found.name == name && found.connections == connections)
    }

    fn ratios(&self) -> Vec<Ratio> {
        let mut ratios = Vec::new();
        let mut compare = |name: String, first: Option<&Measurement>, second: Option<&Measurement>| {
            if let Some((first, second)) = first.zip(second) {
                ratios.push(Ratio { name, value: first.median.rate / second.median.rate.max(1.0) });
            }
        };
        for at in SATURATIONS {
            let accepted = self.found(&accept(), at);
            compare(
                format!("(c)/(a) at {at}: accepted for each bare request"),
                accepted,
                self.found(&bare(), at),
            );
            let inserted = self.found(&insert(at), 2);
            compare(format!("(c)/(b) at {at}: accepted for each bare row"), accepted, inserted);
            let delivered = self.found(&deliver(), at);
            compare(format!("(d)/(c) at {at}: delivered for each accepted alone"), delivered, accepted);
        }
        ratios
    }
}

fn bare() -> String {
    "a bare server".to_owned()
}

fn insert(connections: usize) -> String {
    format!("b bare insert, batch of c at {connections}")
}

fn accept() -> String {
    "c accept only".to_owned()
}

fn deliver() -> String {
    "d end to end".to_owned()
}

/// The version of the source, where git knows it.
fn source() -> Option<String> {
    let done = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}
