//! What a run of the benchmark says: a table for people, a JSON file for comparing runs. The only place that prints.
//! Must not measure.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{
    database::Statement,
    figures::{self, Latency},
    machine::Machine,
    measure::Run,
};

/// More than this many cores busy with something else, or taken by the host, and a run is marked.
const DISTURBED: f64 = 0.3;
const SHOWN_QUERY: usize = 70;

/// Everything that one run of the benchmark found.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Report {
    /// When it began (UTC).
    pub(crate) started_at: String,
    /// The version of the source, where git knows it.
    pub(crate) source: Option<String>,
    /// The machine.
    pub(crate) machine: Machine,
    /// PostgreSQL's version.
    pub(crate) postgres: String,
    /// How it was measured.
    pub(crate) setting: Setting,
    /// Waypost with nothing to do.
    pub(crate) at_rest: Option<AtRest>,
    /// The figures.
    pub(crate) measurements: Vec<Measurement>,
    /// How they compare.
    pub(crate) ratios: Vec<Ratio>,
    /// Where PostgreSQL's time went in the last measurement of deliveries at saturation.
    pub(crate) statements: Vec<Statement>,
}

/// How it was measured.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Setting {
    /// Seconds of each run after a warm-up.
    pub(crate) seconds: u64,
    /// Runs, of which the median counts.
    pub(crate) runs: usize,
    /// Environments.
    pub(crate) environments: usize,
    /// Connections of all environments.
    pub(crate) connections: usize,
    /// Endpoints of all environments.
    pub(crate) endpoints: usize,
    /// Filling all that in over the APIs.
    pub(crate) filled_in_s: f64,
}

/// Waypost with nothing to do.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct AtRest {
    /// From start to ready, on a migrated database.
    pub(crate) ready_in_ms: f64,
    /// Statements of all its roles.
    pub(crate) statements_per_minute: Option<f64>,
    /// Memory held.
    pub(crate) memory_mb: Option<f64>,
}

/// One kind of measurement and its runs.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Measurement {
    /// What was measured.
    pub(crate) name: String,
    /// Connections of the load.
    pub(crate) connections: usize,
    /// The run in the middle by rate.
    pub(crate) median: Run,
    /// All of them.
    pub(crate) runs: Vec<Run>,
}

/// Two rates compared.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Ratio {
    /// Which.
    pub(crate) name: String,
    /// The first in terms of the second.
    pub(crate) value: f64,
}

impl Measurement {
    /// Sums up its runs.
    pub(crate) fn of(name: String, connections: usize, runs: Vec<Run>) -> anyhow::Result<Self> {
        let median = figures::median_by(runs.clone(), |run| run.rate).context("nothing was measured")?;
        Ok(Self { name, connections, median, runs })
    }

    /// What broke a promise in one of its runs.
    pub(crate) fn faults(&self) -> Vec<String> {
        let found = self.runs.iter().filter_map(|run| run.reconciliation);
        found
            .filter(|found| found.lost > 0 || found.strangers > 0)
            .map(|found| {
                let (accepted, lost, strangers) = (found.accepted, found.lost, found.strangers);
                format!("{}: {lost} lost of {accepted} accepted, {strangers} strangers", self.name)
            })
            .collect()
    }

    /// What is worth knowing about one of its runs, and breaks no promise.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for run in &self.runs {
            let refused = run.refused.iter().map(|(status, count)| format!("{count} answered {status}"));
            let broken = (run.errors > 0).then(|| format!("{} broken connections", run.errors));
            let repeated = run.reconciliation.filter(|found| found.duplicates > 0);
            let repeated = repeated.map(|found| format!("{} delivered again", found.duplicates));
            let all = refused.chain(broken).chain(repeated);
            remarks.extend(
                all.map(|remark| format!("{}, {} connections: {remark}", self.name, self.connections)),
            );
        }
        remarks
    }
}

impl Report {
    /// Writes it beside the executable, as `bench/<time>.json`, and says where.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        let file = directory.join(format!("{}.json", self.started_at.replace(':', "")));
        fs::write(&file, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(file)
    }

    /// Prints it for people.
    pub(crate) fn print(&self) {
        let (machine, setting) = (&self.machine, &self.setting);
        say(&format!(
            "\n{} · {} cores · {} MB · {} · PostgreSQL {} · fdatasync of 8 kB {:.0} µs · load average {:.1} before",
            machine.processor,
            machine.cores,
            machine.memory_mb,
            machine.system,
            self.postgres,
            machine.fdatasync_us,
            machine.load_average
        ));
        say(&format!(
            "{} environments, {} connections, {} endpoints (filled in {:.0} s) · 1 kB basic notifications, drawn evenly · \
             median of {} × {} s after 1 s of warm-up and a checkpoint · load and receiver on the same cores",
            setting.environments,
            setting.connections,
            setting.endpoints,
            setting.filled_in_s,
            setting.runs,
            setting.seconds
        ));
        say("");
        say(HEADINGS);
        for measurement in &self.measurements {
            say(&row(measurement));
        }
        say(
            "\n!: more than 0.3 cores were busy with something else or taken by the host in the median run\n",
        );
        for remark in self.measurements.iter().flat_map(Measurement::remarks) {
            say(&remark);
        }
        for ratio in &self.ratios {
            say(&format!("{:<66} {:>6.2}", ratio.name, ratio.value));
        }
        self.print_rest();
        self.print_statements();
    }

    fn print_rest(&self) {
        let Some(rest) = self.at_rest else { return };
        let optional =
            |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), |value| format!("{value:.0}"));
        say(&format!(
            "\nat rest: ready {:.0} ms after its start, {} MB, {} statements a minute",
            rest.ready_in_ms,
            optional(rest.memory_mb),
            optional(rest.statements_per_minute)
        ));
    }

    fn print_statements(&self) {
        if self.statements.is_empty() {
            return;
        }
        say("\nPostgreSQL's time in the last run of deliveries at saturation:");
        say("    total ms      calls  ms a call  rows a call  WAL a row  statement");
        for statement in &self.statements {
            let calls = figures::float(statement.calls.unsigned_abs());
            let rows = statement.rows.unsigned_abs();
            let query: Vec<&str> = statement.query.split_whitespace().collect();
            let query: String = query.join(" ").chars().take(SHOWN_QUERY).collect();
            say(&format!(
                "  {:>10.0} {:>10.0} {:>10.3} {:>12.1} {:>10.0}  {query}",
                statement.total_ms,
                calls,
                statement.total_ms / calls.max(1.0),
                figures::float(rows) / calls.max(1.0),
                figures::per(statement.wal_bytes, rows)
            ));
        }
    }
}

const HEADINGS: &str = "\
measured                          at        per second [lowest..highest]   answered ms p50/p99/p99.9   at receiver p50/p99   \
CPU µs Waypost+PG   statements/1000   WAL B   batch   MB";

fn row(measurement: &Measurement) -> String {
    let run = &measurement.median;
    let rates = || measurement.runs.iter().map(|run| run.rate);
    let (lowest, highest) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
    let disturbed = run.cores.others > DISTURBED || run.cores.stolen > DISTURBED;
    let cpu = [run.server_cpu_us, run.postgres_cpu_us];
    let cpu: Vec<String> = cpu.iter().flatten().map(|value| format!("{value:.1}")).collect();
    format!(
        "{:<32} {:>3}c {:>10} {:<20} {:>27} {:>21} {:>19} {:>17} {:>7} {:>7} {:>4}",
        measurement.name,
        measurement.connections,
        format!("{:.0}{}", run.rate, if disturbed { "!" } else { "" }),
        format!("[{lowest:.0}..{highest:.0}]"),
        latency(&run.accept, true),
        run.deliver.as_ref().map_or_else(String::new, |deliver| latency(deliver, false)),
        cpu.join(" + "),
        number(run.statements_per_1000, 0),
        number(run.wal_bytes, 0),
        number(run.batch, 1),
        number(run.peak_memory_mb, 0)
    )
}

fn latency(latency: &Latency, tail: bool) -> String {
    let tail = if tail { format!(" / {:.1}", latency.p999_ms) } else { String::new() };
    format!("{:.2} / {:.1}{tail}", latency.p50_ms, latency.p99_ms)
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.digits$}"))
}

/// Tells how far the benchmark has come.
pub(crate) fn progress(text: &str) {
    say(text);
}

/// Tells why there is nothing to report.
#[expect(clippy::print_stderr, reason = "a program for people; this is where they look for errors")]
pub(crate) fn failure(error: &anyhow::Error) {
    eprintln!("waypost-bench: {error:#}");
}

#[expect(clippy::print_stdout, reason = "a program for people; this is its one way to them")]
fn say(line: &str) {
    println!("{line}");
}
