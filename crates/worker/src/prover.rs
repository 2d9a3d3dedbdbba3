//! The prover: sees that validation tokens are checked soon after their events were stored, whatever becomes of the
//! deliveries. The keys that sign them roll, and what is not known by then can't be found out any more.
//!
//! Woken by intake of the same process and by a timer. Must not: judge anything itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use waypost_core::clock::SharedClock;
use waypost_postgres::{Store, StoreError};
use waypost_upstream::proofs::Prover as Judge;

use crate::patience::{SWEEP, within};

/// The longest sleep: a lost hint, or an intake in another process, costs at most this.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// The shortest sleep while something is due that others have taken.
const BREATH: Duration = Duration::from_millis(200);
/// How long to wait after a failure.
const AFTER_FAULT: Duration = Duration::from_secs(2);

/// Proves what is due.
#[derive(Debug)]
pub struct Prover {
    store: Store,
    judge: Judge,
    clock: SharedClock,
    hint: Arc<Notify>,
}

impl Prover {
    /// A prover of the events in `store`, woken by `hint`.
    #[must_use]
    pub const fn new(store: Store, judge: Judge, clock: SharedClock, hint: Arc<Notify>) -> Self {
        Self { store, judge, clock, hint }
    }

    /// Runs until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let pause = match within(SWEEP, self.sweep()).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "proving failed; it is tried again"
                    );
                    AFTER_FAULT
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.hint.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Proves all that is due now, and tells how long to sleep.
    ///
    /// # Errors
    /// When the store fails; what was proven until then stays proven.
    pub async fn sweep(&self) -> Result<Duration, StoreError> {
        loop {
            let due = self.store.take_due_proofs_across_environments(self.clock.now()).await?;
            if due.is_empty() {
                break;
            }
            self.judge.prove(&due).await?;
        }
        let next = self.store.next_proof_due_across_environments().await?;
        let wait = next.map(|due| (due - self.clock.now()).to_std().unwrap_or_default());
        Ok(wait.map_or(LONGEST_SLEEP, |wait| wait.clamp(BREATH, LONGEST_SLEEP)))
    }
}
