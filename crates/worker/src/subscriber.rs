//! The subscriber: looks after subscriptions that are pending, and deletes at Graph what nobody wants any more.
//!
//! What it does next stands in the store; a new connection with templates is only a hint. Must not renew: that has a
//! loop and a pace of its own.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use waypost_core::subscription::Status;
use waypost_postgres::{Store, StoreError};
use waypost_upstream::subscriptions::Subscriptions;

/// How often to look without a hint.
const PERIOD: Duration = Duration::from_secs(5);
/// How many looks go by between two counts.
const LOOKS_PER_COUNT: u32 = 6;

/// The subscriber.
#[derive(Debug)]
pub struct Subscriber {
    store: Store,
    subscriptions: Subscriptions,
}

impl Subscriber {
    /// A subscriber of what `store` holds.
    #[must_use]
    pub const fn new(store: Store, subscriptions: Subscriptions) -> Self {
        Self { store, subscriptions }
    }

    /// Runs until told to stop. A call that is under way then is settled by whoever looks next.
    pub async fn run(self, stop: CancellationToken) {
        let mut looks = 0_u32;
        loop {
            let round = async {
                self.round().await;
                if looks.is_multiple_of(LOOKS_PER_COUNT) {
                    self.count().await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = round => {}
            }
            looks = looks.wrapping_add(1);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.subscriptions.woken() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn round(&self) {
        told(self.subscriptions.settle_due().await, "pending subscriptions were looked after");
        told(self.subscriptions.clean(None).await, "subscriptions were to be deleted at Graph");
    }

    async fn count(&self) {
        match self.store.count_subscriptions_across_environments().await {
            Ok(counts) => {
                for status in Status::ALL {
                    let count = counts.get(status.as_str()).copied().unwrap_or_default();
                    metrics::gauge!("waypost_subscriptions", "status" => status.as_str())
                        .set(as_gauge(count));
                }
            }
            Err(error) => tracing::debug!(%error, "subscriptions can't be counted"),
        }
        match self.store.count_graph_deletions_across_environments().await {
            Ok(count) => metrics::gauge!("waypost_subscription_deletions_waiting").set(as_gauge(count)),
            Err(error) => tracing::debug!(%error, "deletions can't be counted"),
        }
    }
}

fn told(outcome: Result<usize, StoreError>, what: &str) {
    match outcome {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "{what}"),
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "looking after subscriptions failed; it is tried again"
        ),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of subscriptions need not be exact beyond 2^52")]
const fn as_gauge(count: i64) -> f64 {
    count as f64
}
