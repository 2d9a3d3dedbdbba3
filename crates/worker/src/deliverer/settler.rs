//! Writing down what came of attempts, in batches: whatever has gathered goes in one transaction, without a timer.
//!
//! Goes on until it is told that nothing more will come, and everything that came is written. While the store is away it
//! tries again and again; the queue behind it fills up, attempts wait for room, places stay taken, and so no new work is
//! taken that could not be written down either.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use waypost_core::clock::SharedClock;
use waypost_core::delivery::{Next, Settlement};
use waypost_postgres::{Store, StoreError};

use super::Parts;
use crate::bell::Bell;
use crate::patience::{STEP, within};

/// The most settlements of one transaction.
const LARGEST_BATCH: usize = 1000;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Settler {
    store: Store,
    clock: SharedClock,
    bell: Bell,
    max_age: TimeDelta,
    received: mpsc::Receiver<Settlement>,
}

impl Settler {
    /// A settler of what is `received`. Notices that it causes are given up after `max_age` at the latest.
    pub(super) fn new(parts: &Parts, max_age: TimeDelta, received: mpsc::Receiver<Settlement>) -> Self {
        let (store, clock, bell) = (parts.store.clone(), Arc::clone(&parts.clock), parts.bell.clone());
        Self { store, clock, bell, max_age, received }
    }

    /// Runs until `last` is cancelled and the queue is empty.
    pub(super) async fn run(mut self, last: CancellationToken) {
        let mut batch = Vec::with_capacity(LARGEST_BATCH);
        loop {
            batch.clear();
            tokio::select! {
                biased;
                _ = self.received.recv_many(&mut batch, LARGEST_BATCH) => {}
                () = last.cancelled() => self.received.close(),
            }
            if batch.is_empty() && self.received.is_closed() && self.received.is_empty() {
                return;
            }
            self.write(&batch).await;
        }
    }

    async fn write(&self, batch: &[Settlement]) {
        metrics::histogram!("waypost_settle_batch_deliveries")
            .record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        match self.write_when_possible(batch).await {
            Ok(()) => {}
            Err(error) if batch.len() == 1 => {
                tracing::error!(
                    delivery.id = %batch[0].delivery, error = &error as &dyn std::error::Error,
                    "a result can't be written: the delivery will be sent again"
                );
            }
            Err(_) => {
                // One of them is at fault: the others must not pay for it.
                for settlement in batch {
                    Box::pin(self.write(std::slice::from_ref(settlement))).await;
                }
            }
        }
    }

    async fn write_when_possible(&self, batch: &[Settlement]) -> Result<(), StoreError> {
        let mut wait = FIRST_WAIT;
        loop {
            let settling = self.store.settle_across_environments(batch, self.clock.now(), self.max_age);
            match within(STEP, settling).await {
                Ok(settled) => {
                    metrics::counter!("waypost_leases_lost_total").increment(settled.lost);
                    if batch.iter().any(|settlement| settlement.gone) {
                        // Its notices are for whoever comes first.
                        self.bell.ring();
                    } else if batch.iter().any(|settlement| matches!(settlement.next, Next::Retry { .. })) {
                        // It may be due before anything that the sleeping leaser knows of.
                        self.bell.ring_here();
                    }
                    return Ok(());
                }
                Err(error) if error.is_passing() => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "can't write results, trying again"
                    );
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
