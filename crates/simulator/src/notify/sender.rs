//! Brings bodies to endpoints as Graph does: a short first try, then patient retries, and a record of each.
//!
//! Runs in the machine's time. Must not read or change a body.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use reqwest::{Client, header::CONTENT_TYPE};
use serde::Serialize;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;
use uuid::Uuid;
use waypost_core::clock::SharedClock;

use super::{
    NotifyError, Prepared,
    health::{Admission, Health},
};
use crate::{config::DeliveryPolicy, graph::store::Subscriptions, outbound};

/// Tries shown in a record; the oldest go first.
const MAX_TRIES: usize = 64;
/// Hosts that are judged at one time.
const MAX_HOSTS: usize = 1_024;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// A try is under way or due.
    Pending,
    /// Waits because the endpoint is slow.
    Held,
    /// Answered with 2xx.
    Delivered,
    /// The window for retries is over.
    GivenUp,
    /// Never tried, because the endpoint is far too slow.
    Dropped,
    /// None of its subscriptions lives any more.
    Abandoned,
    /// The simulator stopped.
    Stopped,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With this status.
    Answered(u16),
    /// Without an answer in time.
    TimedOut,
    /// Without an answer at all, for this reason.
    Failed(String),
}

impl Outcome {
    fn is_success(&self) -> bool {
        matches!(self, Self::Answered(200..=299))
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Try {
    /// When it was sent.
    pub at: DateTime<Utc>,
    /// How long it took; milliseconds in JSON.
    #[serde(rename = "tookMs", serialize_with = "as_millis")]
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// One body on its way to one URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRecord {
    /// Counts up from 1.
    pub id: u64,
    /// Where to.
    pub url: Url,
    /// Whom it tells something.
    pub subscriptions: Vec<Uuid>,
    /// Items in the body.
    pub items: usize,
    /// Length of the body.
    pub bytes: usize,
    /// When it was taken on.
    pub created_at: DateTime<Utc>,
    /// Where it stands.
    pub state: DeliveryState,
    /// What was tried, the latest up to 64.
    pub tries: Vec<Try>,
}

/// What a sender is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) policy: DeliveryPolicy,
    pub(crate) clock: SharedClock,
    pub(crate) subscriptions: Arc<Subscriptions>,
    /// Where the work runs: not on the server's threads, which end first.
    pub(crate) runtime: Handle,
}

#[derive(Debug)]
pub(crate) struct Sender {
    parts: Parts,
    tasks: TaskTracker,
    stop: CancellationToken,
    places: Semaphore,
    outstanding: watch::Sender<usize>,
    records: Mutex<Records>,
    hosts: Mutex<HashMap<String, Health>>,
}

#[derive(Debug, Default)]
struct Records {
    last_id: u64,
    by_id: BTreeMap<u64, DeliveryRecord>,
}

/// Counts a delivery as outstanding for as long as it lives.
struct Outstanding(watch::Sender<usize>);

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Sender {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            places: Semaphore::new(parts.policy.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            parts,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            outstanding: watch::Sender::new(0),
            records: Mutex::default(),
            hosts: Mutex::default(),
        })
    }

    /// Takes a body on and returns at once with the number of its record.
    pub(crate) fn send(self: &Arc<Self>, prepared: Prepared) -> Result<u64, NotifyError> {
        if !outbound::may_be_reached(&prepared.url) {
            return Err(NotifyError::ForbiddenTarget);
        }
        let limit = self.parts.policy.max_outstanding;
        let taken = self.outstanding.send_if_modified(|count| {
            let free = *count < limit && !self.stop.is_cancelled();
            *count += usize::from(free);
            free
        });
        if !taken {
            return Err(NotifyError::Overloaded);
        }
        let guard = Outstanding(self.outstanding.clone());
        let id = self.record(&prepared);
        let sender = Arc::clone(self);
        let work = async move {
            let state = tokio::select! {
                biased;
                () = sender.stop.cancelled() => DeliveryState::Stopped,
                state = sender.deliver(id, &prepared) => state,
            };
            sender.note(id, |record| record.state = state);
            drop(guard);
        };
        self.tasks.spawn_on(work, &self.parts.runtime);
        Ok(id)
    }

    /// Waits until every delivery has come to an end.
    pub(crate) async fn wait_settled(&self) {
        // The sender half lives in `self`, so the channel cannot close while this waits.
        let settled = self.outstanding.subscribe().wait_for(|count| *count == 0).await.is_ok();
        debug_assert!(settled, "the counter went away before its owner");
    }

    /// Gives up what is under way.
    pub(crate) fn cancel(&self) {
        self.stop.cancel();
    }

    /// Gives up what is under way and waits until it is gone.
    pub(crate) async fn stop(&self) {
        self.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn records(&self) -> Vec<DeliveryRecord> {
        self.lock_records().by_id.values().cloned().collect()
    }

    pub(crate) fn find(&self, id: u64) -> Option<DeliveryRecord> {
        self.lock_records().by_id.get(&id).cloned()
    }

    async fn deliver(&self, id: u64, prepared: &Prepared) -> DeliveryState {
        let policy = &self.parts.policy;
        match self.admit(&prepared.url) {
            Admission::Send => {}
            Admission::Drop => return DeliveryState::Dropped,
            Admission::Hold(wait) => {
                self.note(id, |record| record.state = DeliveryState::Held);
                tokio::time::sleep(wait).await;
                self.note(id, |record| record.state = DeliveryState::Pending);
                if self.is_orphaned(prepared) {
                    return DeliveryState::Abandoned;
                }
            }
        }
        let started = Instant::now();
        let mut backoff = policy.first_backoff;
        let mut limit = policy.first_limit;
        loop {
            if self.try_once(id, prepared, limit).await {
                return DeliveryState::Delivered;
            }
            if started.elapsed() + backoff > policy.window {
                return DeliveryState::GivenUp;
            }
            tokio::time::sleep(backoff).await;
            if self.is_orphaned(prepared) {
                return DeliveryState::Abandoned;
            }
            backoff = (backoff * 2).min(policy.max_backoff);
            limit = policy.retry_limit;
        }
    }

    /// One request; whether it was answered with success.
    async fn try_once(&self, id: u64, prepared: &Prepared, limit: Duration) -> bool {
        let Ok(_place) = self.places.acquire().await else { return false };
        let (at, started) = (self.parts.clock.now(), Instant::now());
        let request = self
            .parts
            .client
            .post(prepared.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(prepared.body.clone());
        let outcome = match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(response)) => Outcome::Answered(response.status().as_u16()),
            Ok(Err(error)) => Outcome::Failed(innermost(&error)),
            Err(_) => Outcome::TimedOut,
        };
        // A try that was cut short took its limit, no less: a timer's rounding must not make it look quicker.
        let took =
            if outcome == Outcome::TimedOut { started.elapsed().max(limit) } else { started.elapsed() };
        if !matches!(outcome, Outcome::Failed(_)) {
            self.judge(&prepared.url, took);
        }
        let success = outcome.is_success();
        self.note(id, |record| {
            if record.tries.len() >= MAX_TRIES {
                record.tries.remove(0);
            }
            record.tries.push(Try { at, took, outcome });
        });
        success
    }

    /// Whether it told of subscriptions that are all gone by now.
    fn is_orphaned(&self, prepared: &Prepared) -> bool {
        let now = self.parts.clock.now();
        let lives = |id: &Uuid| self.parts.subscriptions.get(*id, now).is_some();
        !prepared.subscriptions.is_empty() && !prepared.subscriptions.iter().any(lives)
    }

    fn admit(&self, url: &Url) -> Admission {
        self.with_health(url, |health, policy| health.admit(policy, Instant::now()))
    }

    fn judge(&self, url: &Url, took: Duration) {
        self.with_health(url, |health, policy| health.record(policy, Instant::now(), took));
    }

    fn with_health<T>(&self, url: &Url, work: impl FnOnce(&mut Health, &DeliveryPolicy) -> T) -> T {
        let policy = &self.parts.policy;
        let host = url.authority().to_owned();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(&host) {
            let now = Instant::now();
            hosts.retain(|_, health| !health.is_idle(policy, now));
            if hosts.len() >= MAX_HOSTS {
                return work(&mut Health::new(), policy);
            }
        }
        work(hosts.entry(host).or_insert_with(Health::new), policy)
    }

    fn record(&self, prepared: &Prepared) -> u64 {
        let created_at = self.parts.clock.now();
        let mut records = self.lock_records();
        records.last_id += 1;
        let id = records.last_id;
        if records.by_id.len() >= self.parts.policy.max_records.max(1) {
            // Deliveries settle roughly in order, so the first settled one is near the front.
            let settled = records
                .by_id
                .values()
                .find(|record| !matches!(record.state, DeliveryState::Pending | DeliveryState::Held));
            let oldest = settled.or_else(|| records.by_id.values().next()).map(|record| record.id);
            if let Some(oldest) = oldest {
                records.by_id.remove(&oldest);
            }
        }
        let record = DeliveryRecord {
            id,
            url: prepared.url.clone(),
            subscriptions: prepared.subscriptions.clone(),
            items: prepared.items,
            bytes: prepared.body.len(),
            created_at,
            state: DeliveryState::Pending,
            tries: Vec::new(),
        };
        records.by_id.insert(id, record);
        id
    }

    fn note(&self, id: u64, change: impl FnOnce(&mut DeliveryRecord)) {
        if let Some(record) = self.lock_records().by_id.get_mut(&id) {
            change(record);
        }
    }

    fn lock_records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_millis<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64() * 1000.0)
}

/// The cause at the bottom, which says more than "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
