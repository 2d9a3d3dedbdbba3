//! What one run of the benchmark is to do: from flags, else from the environment, else the defaults. Must not hold
//! anything that tunes Waypost itself: it runs with the settings that a user would get.

use std::{env, path::PathBuf, str::FromStr};

use anyhow::Context;
use clap::{Parser, Subcommand};

const SECONDS: u64 = 6;
const RUNS: usize = 3;
const ENVIRONMENTS: usize = 1_000;
/// Each environment's fleet, the same for every size of the benchmark.
pub(crate) const CONNECTIONS_PER_ENVIRONMENT: usize = 20;
pub(crate) const ENDPOINTS_PER_ENVIRONMENT: usize = 10;

const VARIABLES: &str =
    "WAYPOST_BENCH_SECONDS, _RUNS, _ENVIRONMENTS and _PROGRAM in the environment do the same; flags win.";

/// Measures Waypost on this machine: the limits, the ingress, and the whole way. The release executable `waypost` must
/// stand beside this program.
#[derive(Debug, Parser)]
#[command(name = "waypost-bench", after_help = VARIABLES)]
struct Flags {
    /// One part on its own
    #[command(subcommand)]
    part: Option<Part>,
    /// Seconds of each measurement [default: 6]
    #[arg(long)]
    seconds: Option<u64>,
    /// Runs of which the median counts [default: 3]
    #[arg(long)]
    runs: Option<usize>,
    /// Environments, each with 20 connections and 10 endpoints [default: 1000]
    #[arg(long)]
    environments: Option<usize>,
    /// Whether everything still works: 1 s, 1 run, 20 environments; its figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Another executable to measure [default: waypost beside this program]
    #[arg(long)]
    program: Option<PathBuf>,
    /// Only measurements whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Keep the bare server of the comparison running with this many workers (used by the benchmark itself)
    #[arg(long, hide = true)]
    bare_server: Option<usize>,
}

/// A part of the benchmark that is measured on its own.
#[derive(Debug, Clone, Copy, Subcommand)]
enum Part {
    /// What the proxy adds to a call
    Proxy,
    /// How many encrypted notifications one core opens
    Rich,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Be the bare server, with that many workers.
    BareServer(usize),
    /// Measure.
    Measure(Settings),
    /// Measure what the proxy adds to a call.
    Proxy(Settings),
    /// Measure how many encrypted notifications one core opens.
    Rich(Settings),
}

/// How to measure.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Seconds of each measurement, after its warm-up.
    pub(crate) seconds: u64,
    /// Runs of which the median counts.
    pub(crate) runs: usize,
    /// How many environments the database is filled with.
    pub(crate) environments: usize,
    /// The executable under test.
    pub(crate) program: PathBuf,
    /// Measurements whose name does not contain it are left out.
    pub(crate) only: Option<String>,
}

impl Settings {
    /// Whether the measurement of that name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }
}

/// Reads flags and environment; ends the process on a flag that cannot be read, as command lines do.
pub(crate) fn read() -> anyhow::Result<Wish> {
    let flags = Flags::parse();
    if let Some(workers) = flags.bare_server {
        return Ok(Wish::BareServer(workers));
    }
    let (seconds, runs, environments) = if flags.quick { (1, 1, 20) } else { (SECONDS, RUNS, ENVIRONMENTS) };
    let beside = env::current_exe().context("this program cannot be found")?.with_file_name("waypost");
    let settings = Settings {
        seconds: chosen(flags.seconds, "WAYPOST_BENCH_SECONDS", seconds)?.max(1),
        runs: chosen(flags.runs, "WAYPOST_BENCH_RUNS", runs)?.max(1),
        environments: chosen(flags.environments, "WAYPOST_BENCH_ENVIRONMENTS", environments)?.max(1),
        program: chosen(flags.program, "WAYPOST_BENCH_PROGRAM", beside)?,
        only: flags.only,
    };
    Ok(match flags.part {
        None => Wish::Measure(settings),
        Some(Part::Proxy) => Wish::Proxy(settings),
        Some(Part::Rich) => Wish::Rich(settings),
    })
}

fn chosen<T: FromStr>(flag: Option<T>, variable: &str, default: T) -> anyhow::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    if let Some(value) = flag {
        return Ok(value);
    }
    match env::var(variable) {
        Ok(text) if !text.is_empty() => text.parse().with_context(|| format!("{variable} cannot be read")),
        _ => Ok(default),
    }
}
