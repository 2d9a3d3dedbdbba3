//! The load: senders that post notifications one after the other, each until it is accepted, as Graph does, and a ledger of
//! what they were answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use waypost_harness::Client;
use waypost_harness::program::{Environment, within};

use crate::estate::Fate;

const SENDERS: usize = 12;
/// The pause of a sender between two notifications.
const PACE: Duration = Duration::from_millis(5);
/// The pause before a notification that was not accepted is sent again.
const AGAIN: Duration = Duration::from_millis(50);
/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many more accepted notifications show that all is well.
const PROGRESS: usize = 150;

/// The senders at work.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    senders: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    ingress: Client,
    environment: Environment,
    stopping: CancellationToken,
    ledger: Mutex<Ledger>,
}

/// What was sent and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Every notification that was sent, by the id of its resource, with its fate.
    pub(crate) sent: HashMap<Uuid, Fate>,
    /// Those that were answered 202.
    pub(crate) accepted: HashMap<Uuid, Fate>,
    /// How often the answer was 503.
    pub(crate) unavailable: usize,
    /// How often there was no answer.
    pub(crate) unanswered: usize,
    /// Answers that no sender should ever get.
    pub(crate) wrong: Vec<String>,
}

impl Load {
    /// Begins to send to the ingress at `public`.
    pub(crate) fn start(public: Client, environment: &Environment) -> Self {
        let shared = Arc::new(Shared {
            ingress: public,
            environment: environment.clone(),
            stopping: CancellationToken::new(),
            ledger: Mutex::default(),
        });
        let senders = TaskTracker::new();
        for sender in 0..SENDERS {
            senders.spawn(Arc::clone(&shared).send(sender));
        }
        Self { shared, senders }
    }

    /// How often the answer was 503 so far.
    pub(crate) fn unavailable(&self) -> usize {
        self.shared.ledger().unavailable
    }

    /// Waits until some more notifications have been accepted.
    pub(crate) async fn until_more_is_accepted(&self, logs: impl Fn() -> String) {
        let wanted = self.shared.ledger().accepted.len() + PROGRESS;
        let accepted = async || (self.shared.ledger().accepted.len() >= wanted).then_some(());
        let missing = async || {
            format!("{wanted} accepted notifications: {}, {}", self.shared.ledger().summary(), logs())
        };
        within(PATIENCE * 3, accepted, missing).await;
    }

    /// Stops sending, and gives the ledger.
    pub(crate) async fn stop(self) -> Ledger {
        self.shared.stopping.cancel();
        self.senders.close();
        self.senders.wait().await;
        std::mem::take(&mut *self.shared.ledger())
    }
}

impl Ledger {
    /// One line about it.
    pub(crate) fn summary(&self) -> String {
        let Self { sent, accepted, unavailable, unanswered, wrong } = self;
        let (sent, accepted) = (sent.len(), accepted.len());
        format!(
            "{sent} sent, {accepted} accepted; answers: {unavailable} times 503, {unanswered} times none, wrong: {wrong:?}"
        )
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(self: Arc<Self>, sender: usize) {
        for number in (sender..).step_by(SENDERS) {
            let (id, fate) = (Uuid::new_v4(), Fate::of(number));
            self.ledger().sent.insert(id, fate);
            while !self.post(id, fate).await {
                if self.stopping.is_cancelled() {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
            if self.stopping.is_cancelled() {
                return;
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Whether it was accepted.
    async fn post(&self, id: Uuid, fate: Fate) -> bool {
        let body = self.environment.notification(fate.tenant(), id);
        let request = self.ingress.request(Method::POST, &self.environment.ingress()).json(&body);
        let Ok(answer) = request.timeout(PATIENCE).send().await else {
            self.ledger().unanswered += 1;
            return false;
        };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let Ok(text) = answer.text().await else {
            self.ledger().unanswered += 1;
            return false;
        };
        let mut ledger = self.ledger();
        match status {
            202 => {
                ledger.accepted.insert(id, fate);
            }
            503 if says_when_to_come_again(&headers, &text) => ledger.unavailable += 1,
            _ => ledger.wrong.push(format!("{status} {headers:?} {text}")),
        }
        status == 202
    }
}

fn says_when_to_come_again(headers: &reqwest::header::HeaderMap, body: &str) -> bool {
    let retry_after = headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    retry_after.is_some() && body["error"]["code"] == "temporarily_unavailable"
}
