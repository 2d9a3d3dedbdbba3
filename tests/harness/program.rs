//! The built executable as a process of its own: started with settings in a file, asked over HTTP, signalled, killed, and
//! read when something went wrong.
//!
//! For what the application inside a test can't show: exit codes, signals, SIGKILL, several processes on one database.
//! A [`Site`] is what the processes of one installation share. Must end only processes that it started.

mod environment;
mod executable;
mod ports;
mod site;

use std::fmt::Debug;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use tokio::process::Child;

pub use environment::Environment;
pub use executable::executable;
pub use ports::{Listen, free_address};
pub use site::Site;

use crate::client::Client;

/// How long a process may take to begin or to end. Generous, since it is only spent when something is broken.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How many lines of a log are shown.
const TAIL: usize = 40;
const PAUSE: Duration = Duration::from_millis(20);

/// A running `waypost serve`. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    listen: Listen,
    log: PathBuf,
    http: Client,
    operator: String,
}

impl Program {
    /// Its public listener, without credentials.
    #[must_use]
    pub fn public(&self) -> Client {
        self.http.at(&format!("http://{}", self.listen.public))
    }

    /// Its admin listener, as an operator.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.http.at(&format!("http://{}", self.listen.admin)).with_token(&self.operator)
    }

    /// Where it listens.
    #[must_use]
    pub fn listen(&self) -> Listen {
        self.listen
    }

    /// Waits until it says that it is ready.
    pub async fn until_ready(&mut self) {
        self.until_readiness(200).await;
    }

    /// Waits until its readiness is answered with `status`.
    pub async fn until_readiness(&mut self, status: u16) {
        let health = self.admin().anonymous();
        let begun = Instant::now();
        loop {
            assert!(self.is_running(), "{} has ended: {}", self.name, self.log_tail());
            let answer = health.request(Method::GET, "/health/ready").timeout(PATIENCE).send().await;
            if answer.as_ref().is_ok_and(|answer| answer.status().as_u16() == status) {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let told = match answer {
                    Ok(answer) => format!("{} {:?}", answer.status(), answer.text().await),
                    Err(error) => format!("{error:?}"),
                };
                panic!(
                    "{} did not answer {status} in {PATIENCE:?}, but {told}: {}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().unwrap_or_else(|| panic!("{} has ended: {}", self.name, self.log_tail()));
        kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let waited = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        waited
            .unwrap_or_else(|_| panic!("{} did not end in {PATIENCE:?}: {}", self.name, self.log_tail()))
            .unwrap()
    }

    /// All that it, and those before it under the same name, wrote to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log())
    }
}

/// Looks until `look` finds something, for as long as `limit`; then panics and says what `missing` tells.
pub async fn within<T, F, M>(limit: Duration, mut look: impl FnMut() -> F, missing: impl FnOnce() -> M) -> T
where
    F: Future<Output = Option<T>>,
    M: Future<Output: Debug>,
{
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        let elapsed = begun.elapsed();
        if elapsed > limit {
            let missing = missing().await;
            panic!("waited {elapsed:?} in vain: {missing:#?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The end of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    format!("the end of its log:\n{}", lines[lines.len().saturating_sub(TAIL)..].join("\n"))
}
