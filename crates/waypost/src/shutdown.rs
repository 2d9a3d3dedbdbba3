//! How the process ends: asked softly first, cut hard when that takes too long.
//!
//! The soft token says "take no new work"; the hard one, its parent, "drop what you are doing". Everything
//! that has to be finished runs on the tracker. A first SIGTERM or SIGINT, or a part that failed, cancels the
//! soft token; a second signal, or the end of the grace period, the hard one. Must not know what the parts do.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What tasks get to put things back after the hard token.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// How the process ended before its work was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The grace period is over and work is still in flight.
    #[error("work was still in flight when server.shutdown_grace ({}) was over", humantime::format_duration(*grace))]
    GraceOver {
        /// The grace period.
        grace: Duration,
    },
    /// A second signal, or a part, asked to stop at once.
    #[error("a second signal stopped work that was in flight")]
    SecondSignal,
    /// A part of the program failed, and the rest was shut down for it.
    #[error("{0}")]
    PartFailed(String),
}

/// The end of the process, shared by all its parts. Clones are the same shutdown.
#[derive(Debug, Clone)]
pub struct Shutdown {
    hard: CancellationToken,
    soft: CancellationToken,
    tracker: TaskTracker,
    failure: Arc<OnceLock<String>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// One that nobody has asked for yet.
    #[must_use]
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        let soft = hard.child_token();
        Self { hard, soft, tracker: TaskTracker::new(), failure: Arc::default() }
    }

    /// Cancelled when no new work may be taken.
    #[must_use]
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when work in flight has to be dropped.
    #[must_use]
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Where every task runs that has to be finished before the process ends.
    #[must_use]
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Turns SIGTERM and SIGINT into this shutdown: the first one is soft, the second one hard.
    ///
    /// # Errors
    ///
    /// When the operating system refuses to deliver signals.
    pub fn on_signals(&self) -> io::Result<()> {
        let mut signals = Signals::listen()?;
        let (soft, hard) = (self.soft.clone(), self.hard.clone());
        // Not on the tracker: the process ends without waiting for more signals.
        TaskTracker::new().spawn(async move {
            let name = signals.next().await;
            tracing::info!(signal = name, "shutting down");
            soft.cancel();
            let name = signals.next().await;
            tracing::warn!(signal = name, "stopping at once");
            hard.cancel();
        });
        Ok(())
    }

    /// Asks all parts to finish.
    pub fn request(&self) {
        self.soft.cancel();
    }

    /// Asks all parts to finish because one of them cannot go on. The first reason is the one that counts.
    pub fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(reason, "a part failed; shutting down");
        self.failure.get_or_init(|| reason);
        self.soft.cancel();
    }

    /// Waits until somebody asks for the end, and then until all work is done.
    ///
    /// # Errors
    ///
    /// [`ShutdownError`] when work had to be cut off, or when a part failed. All tasks have been told then,
    /// and had a last moment to put things back.
    pub async fn finished(&self, grace: Duration) -> Result<(), ShutdownError> {
        self.soft.cancelled().await;
        self.tracker.close();
        let cut = tokio::select! {
            () = self.tracker.wait() => None,
            () = self.hard.cancelled() => Some(ShutdownError::SecondSignal),
            () = sleep(grace) => Some(ShutdownError::GraceOver { grace }),
        };
        if let Some(cut) = &cut {
            tracing::warn!(reason = %cut, "work in flight is cut off");
            self.hard.cancel();
            if timeout(LAST_MOMENT, self.tracker.wait()).await.is_err() {
                tracing::warn!("some of it could not be given back; others take it when its leases end");
            }
        }
        match (self.failure.get(), cut) {
            (Some(reason), _) => Err(ShutdownError::PartFailed(reason.clone())),
            (None, Some(cut)) => Err(cut),
            (None, None) => Ok(()),
        }
    }
}

/// The two signals that ask for the end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::{Shutdown, ShutdownError};

    const GRACE: Duration = Duration::from_secs(25);

    #[tokio::test]
    async fn it_waits_until_the_tracked_work_is_done() {
        let shutdown = Shutdown::new();
        let (done, wait) = oneshot::channel::<()>();
        let soft = shutdown.soft().clone();
        shutdown.tracker().spawn(async move {
            soft.cancelled().await;
            done.send(()).unwrap();
        });

        shutdown.request();

        shutdown.finished(GRACE).await.unwrap();
        wait.await.unwrap();
        assert!(!shutdown.hard().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_outlives_the_grace_period_is_cut_off() {
        let shutdown = Shutdown::new();
        let hard = shutdown.hard().clone();
        shutdown.tracker().spawn(async move { hard.cancelled().await });

        shutdown.request();

        let error = shutdown.finished(GRACE).await.unwrap_err();
        assert!(matches!(error, ShutdownError::GraceOver { .. }));
        assert!(error.to_string().contains("server.shutdown_grace (25s)"), "{error}");
        assert!(shutdown.tracker().is_empty());
    }

    #[tokio::test]
    async fn a_part_that_fails_ends_the_others_and_the_first_reason_is_told() {
        let shutdown = Shutdown::new();
        let soft = shutdown.soft().clone();
        shutdown.tracker().spawn(async move { soft.cancelled().await });

        shutdown.fail("the public listener closed");
        shutdown.fail("the admin listener closed");

        let error = shutdown.finished(GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "the public listener closed");
    }

    #[tokio::test]
    async fn the_hard_token_is_above_the_soft_one() {
        let shutdown = Shutdown::new();

        shutdown.hard().cancel();

        assert!(shutdown.soft().is_cancelled());
    }
}
