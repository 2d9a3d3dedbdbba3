//! The deliverer: gets work, sends it, and sees that what came of it is written down.
//!
//! Work comes by hand-over from the intake of the same process ([`HandOff`]) or by lease ([`leaser`]). Each delivery in
//! flight holds a place ([`places`]); attempts run as tasks of their own; results go to the [`settler`] in batches. A
//! result that can't be written is tried again until it is, or the process ends: then the lease runs out and the
//! delivery is sent again, which at-least-once permits.

mod body;
mod fetching;
mod leaser;
mod opener;
mod places;
mod settler;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waypost_core::clock::SharedClock;
use waypost_core::delivery::{Attempt, Ending, Leased, Message, Next, Outcome, Settlement, Verdict};
use waypost_core::endpoint::EndpointStatus;
use waypost_core::hand_off::{HandOff, Place};
use waypost_core::id::{AttemptId, EndpointId, EnvironmentId};
use waypost_core::retry::Schedule;
use waypost_egress::webhook::{Overloaded, Stamp, WebhookClient};
use waypost_postgres::Store;
use waypost_upstream::fetch::Fetcher;
use waypost_upstream::proofs::Prover;

use crate::bell::Bell;
use body::{Bodies, Prepared};
use fetching::Fetching;
use opener::Opener;
use places::Ledger;

/// How much longer than a request a lease lasts: time to write down what came of it.
const LEASE_MARGIN: Duration = Duration::from_secs(15);
/// How long a delivery waits for which this process had no means just now.
const TOO_BUSY_WAIT: TimeDelta = TimeDelta::seconds(10);
/// How many results may wait to be written before attempts wait too.
const UNSETTLED: usize = 8192;

/// How deliveries are made.
#[derive(Debug, Clone)]
pub struct Config {
    /// The waits before each attempt.
    pub schedule: Schedule,
    /// The deadline of one request, from connect to the end of the response.
    pub timeout: Duration,
    /// The most deliveries in flight in this process.
    pub max_in_flight: u32,
    /// The most deliveries in flight to one endpoint.
    pub max_in_flight_per_endpoint: u32,
    /// How old the delivery of a notice may grow.
    pub max_age: TimeDelta,
}

/// What the deliverer works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The store.
    pub store: Store,
    /// Sends requests.
    pub client: WebhookClient,
    /// The time.
    pub clock: SharedClock,
    /// Wakes it.
    pub bell: Bell,
    /// Tells who sent encrypted items.
    pub prover: Prover,
    /// Reads what changed.
    pub fetcher: Fetcher,
}

/// The deliverer. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Deliverer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    parts: Parts,
    bodies: Bodies,
    ledger: Arc<Ledger>,
    attempts: TaskTracker,
    settlements: mpsc::Sender<Settlement>,
    stopping: CancellationToken,
    /// Cancelled when requests under way have to be dropped.
    cut: CancellationToken,
}

/// The deliverer's loops, to be run until they end.
#[derive(Debug)]
pub struct Running {
    deliverer: Deliverer,
    settler: settler::Settler,
}

impl Deliverer {
    /// A deliverer that begins to stop when `stopping` is cancelled: it takes no new work then, and finishes what is in
    /// flight.
    #[must_use]
    pub fn new(config: Config, parts: Parts, stopping: CancellationToken) -> (Self, Running) {
        let (settlements, received) = mpsc::channel(UNSETTLED);
        let settler = settler::Settler::new(&parts, config.max_age, received);
        let ledger = Arc::new(Ledger::new(config.max_in_flight, config.max_in_flight_per_endpoint));
        let bodies = Bodies {
            opener: Opener::new(parts.store.clone(), parts.prover.clone(), Arc::clone(&parts.clock)),
            fetching: Fetching::new(parts.fetcher.clone(), Arc::clone(&parts.clock)),
        };
        let inner = Inner {
            config,
            parts,
            bodies,
            ledger,
            attempts: TaskTracker::new(),
            settlements,
            stopping,
            cut: CancellationToken::new(),
        };
        let deliverer = Self(Arc::new(inner));
        (deliverer.clone(), Running { deliverer, settler })
    }

    fn lease_term(&self) -> TimeDelta {
        TimeDelta::from_std(self.0.config.timeout + LEASE_MARGIN).unwrap_or(TimeDelta::MAX)
    }

    /// Starts the attempt of a delivery that has its place.
    fn start(&self, place: Place, delivery: Leased) {
        let deliverer = self.clone();
        self.0.attempts.spawn(async move {
            let settlement = deliverer.attempt(delivery).await;
            // It keeps its place until its result is on the queue: what can't be written down holds back new work.
            deliverer.settle(settlement).await;
            drop(place);
        });
    }

    async fn settle(&self, settlement: Settlement) {
        if self.0.settlements.send(settlement).await.is_err() {
            tracing::error!("a result came after the settler's end: its lease will run out");
        }
    }

    async fn attempt(&self, delivery: Leased) -> Settlement {
        let now = self.0.parts.clock.now();
        if let Some(next) = self.not_now(&delivery, now) {
            return settlement(&delivery, None, next);
        }
        if body::is_fixed(&delivery.message) {
            return self.send(&delivery, &delivery.message).await;
        }
        let prepared = tokio::select! {
            biased;
            () = self.0.cut.cancelled() => {
                return settlement(&delivery, None, Next::Retry { due_at: now, step: delivery.progress.step });
            }
            prepared = self.0.bodies.prepare(&delivery) => prepared,
        };
        match prepared {
            Prepared::Ready(message) => match self.not_now(&delivery, self.0.parts.clock.now()) {
                Some(next) => settlement(&delivery, None, next),
                None => self.send(&delivery, &message).await,
            },
            Prepared::Wait(wait, reason) => self.waiting(&delivery, wait, reason),
            Prepared::Nothing => settlement(&delivery, None, Next::Ended(Ending::Discarded)),
        }
    }

    /// One request: `message` is the delivery's, as it was prepared.
    async fn send(&self, delivery: &Leased, message: &Message) -> Settlement {
        let inner = &self.0;
        let started_at = inner.parts.clock.now();
        let number = delivery.progress.attempts + 1;
        let stamp = Stamp { delivery: delivery.id, attempt: number, at: started_at };
        let clock = Instant::now();
        let outcome = tokio::select! {
            biased;
            // Whether it arrived nobody knows: it is given back, and others may send it again at once.
            () = inner.cut.cancelled() => {
                let next = Next::Retry { due_at: inner.parts.clock.now(), step: delivery.progress.step };
                return settlement(delivery, None, next);
            }
            sent = inner.parts.client.send(&delivery.target, message, stamp) => match sent {
                Ok(outcome) => outcome,
                Err(Overloaded) => return self.put_off(delivery),
            },
        };
        let duration = clock.elapsed();
        count(&outcome, duration);
        // What answers decrypted or fetched content may repeat it.
        let outcome = if body::is_fixed(message) { outcome } else { outcome.without_body() };
        let now = inner.parts.clock.now();
        let verdict = outcome.verdict();
        let next = delivery.progress.settle(verdict, &inner.config.schedule, now, &mut rand::rng());
        tracing::debug!(
            delivery.id = %delivery.id, event.id = %delivery.message.event, attempt.number = number,
            attempt.outcome = outcome_class(&outcome), ?next, "attempted"
        );
        let attempt = Attempt { id: AttemptId::at(started_at), number, started_at, duration, outcome };
        Settlement { gone: verdict == Verdict::Gone, ..settlement(delivery, Some(attempt), next) }
    }

    /// Where a delivery goes that can't be attempted at `now`; `None` when it can.
    fn not_now(&self, delivery: &Leased, now: DateTime<Utc>) -> Option<Next> {
        let Config { schedule, timeout, .. } = &self.0.config;
        let step = delivery.progress.step;
        if delivery.target.status == EndpointStatus::Disabled {
            return Some(Next::Held);
        }
        if delivery.lease.until - now < TimeDelta::from_std(*timeout).unwrap_or(TimeDelta::MAX) {
            // It waited so long for its turn that the lease could end before the request: whoever is free takes it.
            return Some(Next::Retry { due_at: now, step });
        }
        let made_at = delivery.id.made_at();
        if delivery.progress.attempts == 0 && step == 0 && now < made_at + schedule.first_wait() {
            // Schedules mostly begin at once; this one waits, whichever way its delivery came here.
            return schedule.due(0, made_at, &mut rand::rng()).map(|due_at| Next::Retry { due_at, step });
        }
        None
    }

    /// This process was too busy to make a request: the delivery goes back soon and spends no attempt, until it is too
    /// old.
    fn put_off(&self, delivery: &Leased) -> Settlement {
        metrics::counter!("waypost_deliveries_put_off_total").increment(1);
        let now = self.0.parts.clock.now();
        let verdict = Verdict::Throttled(TOO_BUSY_WAIT);
        settlement(
            delivery,
            None,
            delivery.progress.settle(verdict, &self.0.config.schedule, now, &mut rand::rng()),
        )
    }

    /// A delivery that can't be prepared yet is tried again later and spends no attempt, until it is too old.
    fn waiting(&self, delivery: &Leased, wait: TimeDelta, reason: &'static str) -> Settlement {
        metrics::counter!("waypost_deliveries_waiting_total", "reason" => reason).increment(1);
        let now = self.0.parts.clock.now();
        let next = delivery.progress.settle(
            Verdict::Throttled(wait),
            &self.0.config.schedule,
            now,
            &mut rand::rng(),
        );
        tracing::info!(
            delivery.id = %delivery.id, event.id = %delivery.message.event, reason, "a delivery has to wait"
        );
        settlement(delivery, None, next)
    }
}

impl HandOff for Deliverer {
    fn reserve(&self, environment: EnvironmentId, endpoint: EndpointId) -> Option<Place> {
        if self.0.stopping.is_cancelled() {
            return None;
        }
        Ledger::take_fresh(&self.0.ledger, environment, endpoint)
    }

    fn lease_term(&self) -> TimeDelta {
        Self::lease_term(self)
    }

    fn give(&self, place: Place, delivery: Leased) {
        self.start(place, delivery);
    }

    fn unleased_work(&self) {
        self.0.parts.bell.ring();
    }

    fn unproven_events(&self) {
        self.0.parts.bell.unproven_events();
    }

    fn unmatched_work(&self) {
        self.0.parts.bell.may_match().notify_one();
    }
}

impl Running {
    /// Cancelling it drops the requests under way and gives their deliveries back.
    #[must_use]
    pub fn cut(&self) -> CancellationToken {
        self.deliverer.0.cut.clone()
    }

    /// Runs until the deliverer has stopped and everything in flight is written down. `handed_over` tells when nothing
    /// more will be handed over: what has its place by then is still sent.
    pub async fn run(self, handed_over: CancellationToken) {
        let Self { deliverer, settler } = self;
        let last = CancellationToken::new();
        let settling = settler.run(last.clone());
        let leasing = async {
            leaser::run(&deliverer).await;
            handed_over.cancelled().await;
            deliverer.0.attempts.close();
            deliverer.0.attempts.wait().await;
            last.cancel();
        };
        tokio::join!(settling, leasing);
    }
}

fn settlement(delivery: &Leased, attempt: Option<Attempt>, next: Next) -> Settlement {
    Settlement {
        delivery: delivery.id,
        event: delivery.message.event,
        environment: delivery.environment,
        endpoint: delivery.target.endpoint,
        token: delivery.lease.token,
        attempt,
        next,
        gone: false,
    }
}

const fn outcome_class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answered { status: 200..=299, .. } => "2xx",
        Outcome::Answered { status: 300..=399, .. } => "3xx",
        Outcome::Answered { status: 429, .. } => "429",
        Outcome::Answered { status: 400..=499, .. } => "4xx",
        Outcome::Answered { status: 500..=599, .. } => "5xx",
        Outcome::Answered { .. } => "other",
        Outcome::Failed(failure) => failure.as_str(),
    }
}

fn count(outcome: &Outcome, duration: Duration) {
    let class = outcome_class(outcome);
    metrics::counter!("waypost_delivery_attempts_total", "class" => class).increment(1);
    metrics::histogram!("waypost_delivery_attempt_seconds").record(duration.as_secs_f64());
}
