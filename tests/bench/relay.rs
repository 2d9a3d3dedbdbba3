//! Waypost as a user runs it: the release executable as a process of its own, configured by a file, with every setting
//! but the necessary ones left at its default. Must not reach into it by any other way than its users have.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use uuid::Uuid;

use crate::http::{self, Connection};

const START_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(5);
const SHOWN_LINES: usize = 8;
/// Batches that the intake stored, and that the deliverer's results were written in.
const INTAKE_BATCH: &str = "waypost_intake_batch_requests";
const SETTLE_BATCH: &str = "waypost_settle_batch_deliveries";

/// A running Waypost that ends with this value.
#[derive(Debug)]
pub(crate) struct Relay {
    child: Child,
    log: PathBuf,
    /// Ingress and environment API.
    pub(crate) public: SocketAddr,
    /// Admin API and metrics.
    pub(crate) admin: SocketAddr,
    /// A token of an operator.
    pub(crate) token: String,
    /// From its start until it was ready, on a migrated database.
    pub(crate) started_in: Duration,
}

/// Sums and counts of histograms, as `/metrics` has them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Batches {
    intake: (f64, f64),
    settle: (f64, f64),
}

impl Relay {
    /// Migrates the database at `url`, starts Waypost on it and waits until it is ready. `directory` keeps its
    /// configuration and its log.
    pub(crate) async fn start(program: &Path, directory: &Path, url: &str) -> anyhow::Result<Self> {
        Self::start_with(program, directory, url, "").await
    }

    /// The same with more in its configuration.
    pub(crate) async fn start_with(
        program: &Path,
        directory: &Path,
        url: &str,
        more: &str,
    ) -> anyhow::Result<Self> {
        let (public, admin) = (free_address()?, free_address()?);
        let config = directory.join("waypost.toml");
        fs::write(&config, configuration(public, admin, url) + more)?;
        run_to_end(program, &config, &["migrate"])?;
        let token = run_to_end(program, &config, &["admin", "token", "--role", "operator", "--ttl", "12h"])?;
        let log = directory.join("waypost.log");
        let output = File::create(&log)?;
        let start = Instant::now();
        let child = command(program, &config, &["serve"])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let mut relay =
            Self { child, log, public, admin, token: token.trim().to_owned(), started_in: Duration::ZERO };
        relay.wait_until_ready(start).await?;
        relay.started_in = start.elapsed();
        Ok(relay)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has counted about batches.
    pub(crate) async fn batches(&self) -> anyhow::Result<Batches> {
        let mut connection = Connection::open(self.admin).await?;
        let request = http::request("GET", "/metrics", None, "");
        let answer = connection.exchange(&request).await.context("metrics cannot be read")?;
        anyhow::ensure!(answer.status == 200, "/metrics answered {}", answer.status);
        let text = String::from_utf8_lossy(answer.body);
        let pair = |name: &str| (sum_of(&text, name, "_sum"), sum_of(&text, name, "_count"));
        Ok(Batches { intake: pair(INTAKE_BATCH), settle: pair(SETTLE_BATCH) })
    }

    /// Asks it to end, as an init system does, and waits.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        let start = Instant::now();
        while start.elapsed() < STOP_PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "waypost ended with {status}: {}", self.last_lines());
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        anyhow::bail!("waypost did not end within {} s of SIGTERM", STOP_PATIENCE.as_secs())
    }

    /// The end of its log, to say why something failed.
    pub(crate) fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    async fn wait_until_ready(&mut self, start: Instant) -> anyhow::Result<()> {
        while start.elapsed() < START_PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("waypost ended with {status} instead of getting ready: {}", self.last_lines());
            }
            if is_ready(self.admin).await.unwrap_or(false) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::bail!("waypost was not ready within {} s: {}", START_PATIENCE.as_secs(), self.last_lines())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Reached only when something failed before; that is what is told.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill().and_then(|()| self.child.wait()));
        }
    }
}

impl Batches {
    /// Requests in a batch of the intake since `earlier`, on average.
    pub(crate) fn intake_since(&self, earlier: &Self) -> f64 {
        average(self.intake, earlier.intake)
    }

    /// Results in a batch of the settler since `earlier`, on average.
    pub(crate) fn settle_since(&self, earlier: &Self) -> f64 {
        average(self.settle, earlier.settle)
    }
}

fn average(now: (f64, f64), earlier: (f64, f64)) -> f64 {
    let count = now.1 - earlier.1;
    if count > 0.0 { (now.0 - earlier.0) / count } else { 0.0 }
}

async fn is_ready(admin: SocketAddr) -> anyhow::Result<bool> {
    let mut connection = Connection::open(admin).await?;
    Ok(connection.exchange(&http::request("GET", "/health/ready", None, "")).await?.status == 200)
}

/// All series of one histogram together.
fn sum_of(text: &str, name: &str, suffix: &str) -> f64 {
    let wanted = format!("{name}{suffix}");
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(&wanted)?;
        let value = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        value.strip_prefix(' ')?.split(' ').next()?.parse::<f64>().ok()
    });
    values.sum()
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn configuration(public: SocketAddr, admin: SocketAddr, url: &str) -> String {
    let random = || [*Uuid::new_v4().as_bytes(), *Uuid::new_v4().as_bytes()].concat();
    format!(
        "[server]\npublic_listen = \"{public}\"\nadmin_listen = \"{admin}\"\npublic_url = \"http://{public}\"\n\
         [database]\nurl = \"{url}\"\n\
         [security]\nencryption_keys = \"bench:{}\"\n\
         [admin]\njwt_secret = \"{}\"\n\
         [egress]\nallow = [\"127.0.0.0/8\"]\n",
        STANDARD.encode(random()),
        STANDARD.encode(random()),
    )
}

fn command(program: &Path, config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg("--config").arg(config);
    // Only the file counts, whatever the caller's environment says.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("WAYPOST_")) {
            command.env_remove(name);
        }
    }
    command
}

fn run_to_end(program: &Path, config: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let done = command(program, config, arguments)
        .output()
        .with_context(|| format!("{} cannot be run", program.display()))?;
    let errors = String::from_utf8_lossy(&done.stderr);
    anyhow::ensure!(done.status.success(), "waypost {} failed: {}", arguments.join(" "), errors.trim());
    Ok(String::from_utf8(done.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::sum_of;

    #[test]
    fn a_histogram_is_summed_over_its_labels() {
        let text = "# HELP a_sum x\na_sum{k=\"1\"} 2.5\na_sum{k=\"2\"} 1\na_sum_other 9\na_count 3\n";
        assert!((sum_of(text, "a", "_sum") - 3.5).abs() < f64::EPSILON);
        assert!((sum_of(text, "a", "_count") - 3.0).abs() < f64::EPSILON);
    }
}
