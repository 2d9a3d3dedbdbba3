//! From the queue onto the disk: a few flushers, each taking what has gathered and storing it in one commit.
//!
//! There is no timer: a lone request is flushed at once, and under load batches grow by themselves while the flushers are
//! busy. A flusher never ends on a fault: a batch that can't be stored is told to come again. A batch of several that
//! fails for a reason of its own is halved until the culprit stands alone, so that one request can't sink its neighbours.
//! Heavy requests go through one flusher only, so that the others are never all behind such.
//!
//! Must not answer a request before its events are committed.

mod batch;
mod placing;
pub(super) mod queue;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::FutureExt as _;
use metrics::{counter, histogram};
use waypost_core::clock::SharedClock;
use waypost_core::event::Routing;
use waypost_core::hand_off::HandOff;
use waypost_core::provider::Request;
use waypost_postgres::{Store, StoreError};

pub(super) use self::batch::RefusedParts;
use self::batch::{Batch, Stored};
use self::placing::Placed;
use self::queue::{Bounds, Lane, Queue, Reply, Waiting};
use super::rejections::Rejections;
use crate::error::chain;

/// What one batch may hold at most.
const BATCH: Bounds = Bounds { requests: 500, bytes: 8 * 1024 * 1024 };
/// Before a batch is tried again while the store is away for a moment, as when it restarts.
const PAUSE_BETWEEN_TRIES: Duration = Duration::from_millis(25);
/// How long a batch may take: past it nobody waits any more, and the connection is likely dead.
const LONGEST_FLUSH: Duration = Duration::from_secs(10);

/// Takes batches from the queue and stores them.
#[derive(Debug)]
pub(super) struct Flusher {
    pub(super) store: Store,
    pub(super) hand_off: Arc<dyn HandOff>,
    pub(super) clock: SharedClock,
    pub(super) max_age: TimeDelta,
    pub(super) queue: Arc<Queue>,
    pub(super) rejections: Arc<Rejections>,
}

/// Why a batch is not stored.
#[derive(Debug, thiserror::Error)]
enum FlushError {
    #[error("the batch could not be stored")]
    Store(#[from] StoreError),
    #[error("the batch was not stored within {} s", LONGEST_FLUSH.as_secs())]
    TooSlow,
    #[error("the batch is to be copied for too many connections at once")]
    TooMuch,
    #[error("reading the batch panicked")]
    Panicked,
}

impl FlushError {
    /// Whether the same batch may be stored at the next try.
    const fn is_passing(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_passing())
    }

    /// Whether a part of the batch may be the reason.
    const fn is_of_the_batch(&self) -> bool {
        match self {
            Self::Store(error) => !error.is_passing(),
            Self::Panicked | Self::TooMuch => true,
            Self::TooSlow => false,
        }
    }
}

impl Flusher {
    /// Stores what comes until the queue is closed and empty.
    pub(super) async fn run(self: Arc<Self>, lane: Lane) {
        while let Some(gathered) = self.queue.take(lane, BATCH).await {
            self.flush(gathered).await;
        }
    }

    async fn flush(&self, gathered: Vec<Waiting>) {
        histogram!("waypost_intake_batch_requests").record(u32::try_from(gathered.len()).unwrap_or(u32::MAX));
        let (requests, replies) = apart(gathered);
        let all: Vec<&Request> = requests.iter().collect();
        let mut parts = vec![(all.as_slice(), replies)];
        while let Some((requests, mut replies)) = parts.pop() {
            // Who was told to come again while another part was stored would be stored twice.
            if !replies.iter().any(Reply::is_awaited) {
                continue;
            }
            match self.store_soon(requests, &replies).await {
                Ok(stored) => self.settle(stored, replies),
                Err(error) if error.is_of_the_batch() && requests.len() > 1 => {
                    tracing::debug!(requests = requests.len(), error = %chain(&error), "a batch is taken apart");
                    let (left, right) = requests.split_at(requests.len() / 2);
                    let right_replies = replies.split_off(left.len());
                    parts.extend([(right, right_replies), (left, replies)]);
                }
                // The senders learn it by their replies, which are dropped.
                Err(error) => {
                    tracing::error!(requests = requests.len(), error = %chain(&error), "requests could not be stored");
                }
            }
        }
    }

    /// Stores a batch, trying again while the store is away and somebody still waits.
    async fn store_soon(&self, requests: &[&Request], replies: &[Reply]) -> Result<Stored, FlushError> {
        loop {
            match self.store_now(requests).await {
                Err(error) if error.is_passing() && replies.iter().any(Reply::is_awaited) => {
                    tracing::debug!(requests = requests.len(), error = %chain(&error), "a batch is tried again");
                    tokio::time::sleep(PAUSE_BETWEEN_TRIES).await;
                }
                result => return result,
            }
        }
    }

    async fn store_now(&self, requests: &[&Request]) -> Result<Stored, FlushError> {
        let batch = Batch::new(self, requests);
        // What a request holds is a stranger's: should it ever make reading panic, only that request may be lost.
        let storing = AssertUnwindSafe(batch.store()).catch_unwind();
        match tokio::time::timeout(LONGEST_FLUSH, storing).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_panic)) => Err(FlushError::Panicked),
            Err(_elapsed) => Err(FlushError::TooSlow),
        }
    }

    /// What follows once a batch is on disk.
    fn settle(&self, stored: Stored, replies: Vec<Reply>) {
        for (reply, answer) in replies.into_iter().zip(stored.answers) {
            reply.send(answer);
        }
        count(&stored.placed);
        for (place, delivery) in stored.placed.leased {
            self.hand_off.give(place, delivery);
        }
        if stored.placed.unleased {
            self.hand_off.unleased_work();
        }
        if stored.placed.batch.events.iter().any(|event| event.rich) {
            self.hand_off.unproven_events();
        }
        if stored.placed.copies_wait {
            self.hand_off.unmatched_work();
        }
        for refused in stored.rejections {
            self.rejections.add(refused);
        }
    }
}

fn apart(gathered: Vec<Waiting>) -> (Vec<Request>, Vec<Reply>) {
    gathered.into_iter().map(|waiting| (waiting.request, waiting.reply)).unzip()
}

fn count(placed: &Placed) {
    for event in &placed.batch.events {
        let verdict = match event.routing {
            Routing::Routed => "routed",
            Routing::Unrouted => "unrouted",
            Routing::Unmatched => "unmatched",
            Routing::Quarantined => "quarantined",
        };
        counter!("waypost_ingress_items_total", "verdict" => verdict).increment(event.items.into());
    }
}
