//! The holder: brings open deliveries in line with their endpoints when nobody else did.
//!
//! Whoever enables, disables or deletes an endpoint moves its deliveries at once; work that was appended in the same
//! moment, or a process that died half-way, is what this loop is for. It looks at endpoints with open work, not at the
//! work itself, so an idle or a healthy system costs it next to nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use waypost_postgres::holding::Moved;
use waypost_postgres::{Store, StoreError};

use crate::bell::Bell;
use crate::patience::{SWEEP, within};

/// How often to look without a hint.
const PERIOD: Duration = Duration::from_secs(5);

/// The holder.
#[derive(Debug)]
pub struct Holder {
    store: Store,
    bell: Bell,
    hint: Arc<Notify>,
}

impl Holder {
    /// A holder that rings `bell` when deliveries go out again.
    #[must_use]
    pub fn new(store: Store, bell: Bell) -> Self {
        Self { store, bell, hint: Arc::new(Notify::new()) }
    }

    /// Wakes it: an endpoint has changed.
    #[must_use]
    pub fn hint(&self) -> Arc<Notify> {
        Arc::clone(&self.hint)
    }

    /// Runs until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            match within(SWEEP, self.sweep()).await {
                Ok(moved) if moved.total() > 0 => tracing::info!(
                    deliveries.held = moved.held,
                    deliveries.released = moved.released,
                    deliveries.discarded = moved.discarded,
                    "deliveries were brought in line with their endpoints"
                ),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "holding failed; it is tried again"
                    );
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.hint.notified() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// Moves all that must be moved now.
    ///
    /// # Errors
    /// When the store fails; what was moved until then stays moved.
    pub async fn sweep(&self) -> Result<Moved, StoreError> {
        let moved = self.store.reconcile_held_across_environments().await?;
        if moved.released > 0 {
            self.bell.ring();
        }
        Ok(moved)
    }
}
