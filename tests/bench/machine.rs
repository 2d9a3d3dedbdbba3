//! The machine and its processes, as Linux tells of them under `/proc`; elsewhere these figures are left out. Must not
//! start or stop anything.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use crate::figures;

/// What `/proc` counts times in, on every platform that Linux gives user programs.
const TICKS_PER_SECOND: f64 = 100.0;
const DISK_BLOCK: usize = 8 * 1024;
const LONGEST_DISK_TEST: Duration = Duration::from_secs(2);

/// Facts that a run's figures depend on.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// The whole memory.
    pub(crate) memory_mb: u64,
    /// The operating system.
    pub(crate) system: String,
    /// Writing 8 kB and `fdatasync`, again and again: the median.
    pub(crate) fdatasync_us: f64,
    /// Runnable processes before anything was measured.
    pub(crate) load_average: f64,
}

impl Machine {
    /// Looks, and measures the disk that `directory` is on.
    pub(crate) fn look(directory: &Path) -> anyhow::Result<Self> {
        let processor = read_field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
        let memory = read_field("/proc/meminfo", "MemTotal").and_then(|text| number(&text));
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            processor,
            cores: cores(),
            memory_mb: memory.unwrap_or_default() / 1024,
            system: format!("{} {}", std::env::consts::OS, release.trim()),
            load_average: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default(),
            fdatasync_us: fdatasync(directory)?,
        })
    }
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Times, in seconds of one core, at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    at: Instant,
    server: f64,
    postgres: f64,
    own: f64,
    busy: f64,
    stolen: f64,
}

/// How many cores were busy between two moments, and with what.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Cores {
    /// The server under test.
    pub(crate) server: f64,
    /// PostgreSQL with all its sessions.
    pub(crate) postgres: f64,
    /// The load and the receiver.
    pub(crate) load: f64,
    /// Everything else on this machine: what disturbed the run.
    pub(crate) others: f64,
    /// What the host took away.
    pub(crate) stolen: f64,
}

/// Processor time between two moments, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// By the server under test.
    pub(crate) server: f64,
    /// By PostgreSQL with all its sessions.
    pub(crate) postgres: f64,
    /// In terms of cores.
    pub(crate) cores: Cores,
}

impl Moment {
    /// Now.
    pub(crate) fn now(server: Option<u32>, postmaster: Option<u32>) -> Self {
        let (busy, stolen) = whole_machine().unwrap_or_default();
        Self {
            at: Instant::now(),
            server: server.and_then(process_time).unwrap_or_default(),
            postgres: postmaster.map(family_time).unwrap_or_default(),
            own: process_time(std::process::id()).unwrap_or_default(),
            busy,
            stolen,
        }
    }

    /// What was spent since.
    pub(crate) fn until_now(&self, server: Option<u32>, postmaster: Option<u32>) -> Spent {
        let now = Self::now(server, postmaster);
        let seconds = (now.at - self.at).as_secs_f64().max(0.001);
        let (ours, postgres, load) =
            (now.server - self.server, now.postgres - self.postgres, now.own - self.own);
        let others = (now.busy - self.busy - ours - postgres - load).max(0.0);
        Spent {
            server: ours,
            postgres,
            cores: Cores {
                server: ours / seconds,
                postgres: postgres / seconds,
                load: load / seconds,
                others: others / seconds,
                stolen: (now.stolen - self.stolen) / seconds,
            },
        }
    }
}

/// The process that started the process `pid`.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    Status::read(pid).map(|status| status.parent)
}

/// Memory of a process in MB: `VmHWM` is its peak, `VmRSS` what it holds now.
pub(crate) fn memory_mb(pid: u32, field: &str) -> Option<f64> {
    let text = read_field(&format!("/proc/{pid}/status"), field)?;
    Some(figures::float(number(&text)?) / 1024.0)
}

struct Status {
    parent: u32,
    own: f64,
    ended_children: f64,
}

impl Status {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; what follows are numbers, the parent second.
        let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
        let ticks = |place: usize| fields.get(place)?.parse::<f64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            ended_children: (ticks(13)? + ticks(14)?) / TICKS_PER_SECOND,
        })
    }
}

fn process_time(pid: u32) -> Option<f64> {
    Status::read(pid).map(|status| status.own)
}

/// A process, its children that live, and those that have ended.
fn family_time(pid: u32) -> f64 {
    let own = Status::read(pid).map_or(0.0, |status| status.own + status.ended_children);
    let Ok(processes) = fs::read_dir("/proc") else { return own };
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let children = ids.filter_map(Status::read).filter(|status| status.parent == pid);
    own + children.map(|status| status.own).sum::<f64>()
}

/// Seconds that all cores together were busy, and that the host took.
fn whole_machine() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|text| text.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let [user, nice, system, _, _, irq, softirq, steal, ..] = ticks[..] else { return None };
    Some(((user + nice + system + irq + softirq) / TICKS_PER_SECOND, steal / TICKS_PER_SECOND))
}

fn read_field(file: &str, field: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let fields: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    fields.get(field).map(ToString::to_string)
}

fn number(text: &str) -> Option<u64> {
    text.split(' ').next()?.parse().ok()
}

/// The median of writing a block of the database's size to its disk and waiting until it is there.
fn fdatasync(directory: &Path) -> anyhow::Result<f64> {
    let path = directory.join("disk-test");
    let file = File::create(&path)?;
    let block = [0x5a_u8; DISK_BLOCK];
    let mut times = figures::histogram()?;
    let start = Instant::now();
    while start.elapsed() < LONGEST_DISK_TEST {
        let one = Instant::now();
        // Over the same block again, as a log that was allocated before.
        file.write_all_at(&block, 0)?;
        file.sync_data()?;
        times.saturating_record(figures::micros(one.elapsed()));
    }
    fs::remove_file(&path)?;
    Ok(figures::float(times.value_at_quantile(0.5)))
}
