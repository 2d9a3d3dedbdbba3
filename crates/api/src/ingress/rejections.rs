//! What was refused, gathered in memory and written every second while there is something.
//!
//! Bounded: a count per integration, reason and minute with a few samples, and so many of them at most. What a crash
//! loses is a second of statistics. Must not hold a secret or content: samples come without.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use metrics::counter;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use waypost_core::id::{EnvironmentId, IntegrationId};
use waypost_core::rejection::Reason;
use waypost_postgres::rejection::{MOST_SAMPLES, RejectionCount};
use waypost_postgres::{Store, StoreError};

use super::intake::RefusedParts;
use crate::error::chain;

const INTERVAL: Duration = Duration::from_secs(1);
/// How long the store is waited for: one whose machine is gone without a word would never answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most counts that are kept, for times when they can't be written.
const MOST_COUNTS: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    environment: EnvironmentId,
    integration: IntegrationId,
    minute: DateTime<Utc>,
    reason: Reason,
}

#[derive(Debug, Default)]
struct Count {
    count: u64,
    samples: Vec<Map<String, Value>>,
}

/// Gathers refusals.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    counts: Mutex<HashMap<Key, Count>>,
    news: Notify,
}

impl Rejections {
    /// Adds what was refused of one request.
    pub(super) fn add(&self, refused: RefusedParts) {
        let minute = refused.received_at.duration_trunc(TimeDelta::minutes(1)).unwrap_or(refused.received_at);
        let mut counts = self.counts();
        for rejection in refused.rejections {
            counter!("waypost_ingress_items_total", "verdict" => rejection.reason.as_str()).increment(1);
            let (environment, integration, reason) =
                (refused.environment, refused.integration, rejection.reason);
            let key = Key { environment, integration, minute, reason };
            merge(&mut counts, key, 1, vec![storable(rejection.sample)]);
        }
        drop(counts);
        self.news.notify_one();
    }

    /// Writes what was gathered, every second, until the last of `flushers` has ended; then once more.
    pub(super) async fn run(&self, store: &Store, flushers: &TaskTracker) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = self.news.notified() => {}
                () = flushers.wait() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = flushers.wait() => {}
            }
            failing = self.write(store, failing).await;
        }
        self.write(store, failing).await;
    }

    /// Writes what was gathered; what can't be written at the moment is kept. Tells of a row of failures once.
    async fn write(&self, store: &Store, failing: bool) -> bool {
        let rows = self.take();
        if rows.is_empty() {
            return failing;
        }
        let writing = tokio::time::timeout(PATIENCE, store.count_rejections_across_environments(&rows));
        match writing.await.unwrap_or(Err(StoreError::Silent)) {
            Ok(()) => false,
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %chain(&error), "refusals could not be written");
                }
                // What the store will never take would stand in the way of all that follows.
                if error.is_passing() {
                    self.put_back(rows);
                }
                true
            }
        }
    }

    fn take(&self) -> Vec<RejectionCount> {
        let counts = std::mem::take(&mut *self.counts());
        counts
            .into_iter()
            .map(|(key, count)| RejectionCount {
                environment: key.environment,
                integration: key.integration,
                minute: key.minute,
                reason: key.reason,
                count: count.count,
                samples: count.samples,
            })
            .collect()
    }

    fn put_back(&self, rows: Vec<RejectionCount>) {
        let mut counts = self.counts();
        for row in rows {
            let (environment, integration) = (row.environment, row.integration);
            let key = Key { environment, integration, minute: row.minute, reason: row.reason };
            merge(&mut counts, key, row.count, row.samples);
        }
        drop(counts);
        self.news.notify_one();
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Key, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn merge(counts: &mut HashMap<Key, Count>, key: Key, more: u64, samples: Vec<Map<String, Value>>) {
    let full = counts.len() >= MOST_COUNTS;
    let count = match counts.entry(key) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(_) if full => return,
        Entry::Vacant(entry) => entry.insert(Count::default()),
    };
    count.count += more;
    let room = MOST_SAMPLES.saturating_sub(count.samples.len());
    count.samples.extend(samples.into_iter().take(room));
}

/// The store can't keep U+0000 in a text, and a sample is a stranger's.
fn storable(mut sample: Map<String, Value>) -> Map<String, Value> {
    for value in sample.values_mut() {
        if let Value::String(text) = value
            && text.contains('\0')
        {
            *text = text.replace('\0', "\u{fffd}");
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use serde_json::json;
    use uuid::Uuid;
    use waypost_core::rejection::Rejection;

    use super::*;

    fn refused(integration: u128, second: u32, reason: Reason, sample: &str) -> RefusedParts {
        let sample = [("resource".to_owned(), json!(sample))].into_iter().collect();
        RefusedParts {
            environment: EnvironmentId::from_uuid(Uuid::nil()),
            integration: IntegrationId::from_uuid(Uuid::from_u128(integration)),
            received_at: Utc.with_ymd_and_hms(2026, 11, 22, 12, 0, 0).unwrap()
                + TimeDelta::seconds(second.into()),
            rejections: vec![Rejection { reason, sample }],
        }
    }

    #[test]
    fn refusals_are_counted_by_integration_reason_and_minute() {
        let rejections = Rejections::default();
        for (integration, second, reason) in [
            (1, 0, Reason::ClientStateMismatch),
            (1, 59, Reason::ClientStateMismatch),
            (1, 60, Reason::ClientStateMismatch),
            (1, 0, Reason::TenantMismatch),
            (2, 0, Reason::ClientStateMismatch),
        ] {
            rejections.add(refused(integration, second, reason, "Users"));
        }
        let mut counts: Vec<_> = rejections.take().iter().map(|row| row.count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 1, 1, 2]);
        assert!(rejections.take().is_empty(), "what was taken is gone");
    }

    #[test]
    fn only_a_few_samples_are_kept_and_they_can_be_stored() {
        let rejections = Rejections::default();
        for number in 0..20 {
            rejections.add(refused(1, 0, Reason::MalformedItem, &format!("a\0{number}")));
        }
        let rows = rejections.take();
        assert_eq!((rows.len(), rows[0].count, rows[0].samples.len()), (1, 20, MOST_SAMPLES));
        assert_eq!(rows[0].samples[0]["resource"], json!("a\u{fffd}0"));
    }

    #[test]
    fn what_could_not_be_written_is_added_to_what_came_since() {
        let rejections = Rejections::default();
        rejections.add(refused(1, 0, Reason::InvalidJson, "first"));
        let rows = rejections.take();
        rejections.add(refused(1, 1, Reason::InvalidJson, "second"));
        rejections.put_back(rows);
        assert_eq!(rejections.take()[0].count, 2);
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let rejections = Rejections::default();
        for integration in 0..u128::try_from(MOST_COUNTS).unwrap() + 5 {
            rejections.add(refused(integration, 0, Reason::InvalidJson, "x"));
        }
        assert_eq!(rejections.take().len(), MOST_COUNTS);
    }
}
