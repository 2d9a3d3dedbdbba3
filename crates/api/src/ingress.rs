//! The public way in: notifications of providers, and nothing else. No credentials, no cookies, no CORS.
//!
//! [`receive`] checks a request and puts it on a bounded queue; [`intake`] stores what has gathered in one commit and
//! answers; [`rejections`] counts what was refused. A request is answered with success only when it is on disk, and in
//! time or not at all: a provider that hears "not now" comes again.
//!
//! Must not: decide who vouches for a notification (the provider in core does), deliver anything, or cache.

mod address;
mod body;
mod intake;
mod rate_limit;
mod receive;
mod refusal;
mod rejections;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use waypost_core::clock::SharedClock;
use waypost_core::hand_off::HandOff;
use waypost_postgres::Store;

use self::body::Budget;
use self::intake::Flusher;
use self::intake::queue::{Bounds, Lane, Queue};
use self::rate_limit::RateLimit;
use self::rejections::Rejections;

pub use self::receive::configure;

/// How ingress is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// The largest body that is taken.
    pub max_body_bytes: usize,
    /// How long a request waits, once it is read, for being on disk.
    pub ack_deadline: Duration,
    /// The limit for each environment and integration; 0 is none.
    pub rate_limit_per_minute: u32,
    /// How old a delivery gets at most.
    pub delivery_max_age: TimeDelta,
    /// The most requests that wait.
    pub queue_requests: usize,
    /// The most bytes that wait; as many again may be under way from senders.
    pub queue_bytes: usize,
    /// How many batches are stored at once; heavy ones one at a time.
    pub flushers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_body_bytes: 4 * 1024 * 1024,
            ack_deadline: Duration::from_millis(2500),
            rate_limit_per_minute: 0,
            delivery_max_age: TimeDelta::days(7),
            queue_requests: 8192,
            queue_bytes: 64 * 1024 * 1024,
            flushers: 2,
        }
    }
}

/// What the handlers of ingress share: `web::Data<Ingress>`.
#[derive(Debug)]
pub struct Ingress {
    max_body_bytes: usize,
    ack_deadline: Duration,
    rate_limit: Option<RateLimit>,
    reading: Arc<Budget>,
    queue: Arc<Queue>,
    clock: SharedClock,
}

impl Ingress {
    /// Starts the flushers on `tracker`. Deliveries that are ready to go are handed to `hand_off`. The tasks are given back
    /// beside it, for whoever must know when one panics.
    #[must_use]
    pub fn new(
        config: &Config,
        store: &Store,
        hand_off: &Arc<dyn HandOff>,
        clock: &SharedClock,
        tracker: &TaskTracker,
    ) -> (Self, Vec<JoinHandle<()>>) {
        describe_metrics();
        let queue =
            Arc::new(Queue::new(Bounds { requests: config.queue_requests, bytes: config.queue_bytes }));
        let rejections = Arc::new(Rejections::default());
        let flusher = Arc::new(Flusher {
            store: store.clone(),
            hand_off: Arc::clone(hand_off),
            clock: Arc::clone(clock),
            max_age: config.delivery_max_age,
            queue: Arc::clone(&queue),
            rejections: Arc::clone(&rejections),
        });
        let flushers = TaskTracker::new();
        let flushing = |lane| tracker.spawn(flushers.track_future(Arc::clone(&flusher).run(lane)));
        let lanes = std::iter::once(Lane::All).chain(std::iter::repeat(Lane::Light));
        let mut tasks: Vec<_> = lanes.take(config.flushers.max(1)).map(flushing).collect();
        flushers.close();
        let store = store.clone();
        tasks.push(tracker.spawn(async move { rejections.run(&store, &flushers).await }));
        let ingress = Self {
            max_body_bytes: config.max_body_bytes,
            ack_deadline: config.ack_deadline,
            rate_limit: RateLimit::new(config.rate_limit_per_minute),
            reading: Budget::new(config.queue_bytes),
            queue,
            clock: Arc::clone(clock),
        };
        (ingress, tasks)
    }

    /// Takes nothing more. What has been taken is still stored and answered; then the tasks on the tracker end.
    ///
    /// Best called once the server has stopped: requests that come later are told to come again.
    pub fn stop(&self) {
        self.queue.close();
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.stop();
    }
}

fn describe_metrics() {
    describe_counter!(
        "waypost_ingress_requests_total",
        "Requests to ingress URLs by what they were answered."
    );
    describe_counter!("waypost_ingress_items_total", "Notifications by what became of them at ingress.");
    describe_histogram!(
        "waypost_ingress_accept_seconds",
        Unit::Seconds,
        "From a request's last byte to its answer, for requests that were accepted."
    );
    describe_histogram!("waypost_intake_batch_requests", "Requests that were stored together.");
    describe_histogram!(
        "waypost_intake_flush_seconds",
        Unit::Seconds,
        "Time of each step of storing a batch."
    );
    describe_gauge!("waypost_intake_queue_requests", "Requests that wait to be stored.");
    describe_gauge!("waypost_intake_queue_bytes", Unit::Bytes, "Bytes that wait to be stored.");
}
