//! Deliveries: one event on its way to one endpoint, and what may happen to it.
//!
//! [`Progress::settle`] is the only place that decides what an attempt's result means. It is pure; the store writes
//! down what it says, if the lease still holds.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderName;
use rand::Rng;
use secrecy::SecretString;
use uuid::Uuid;
use waypost_crypto::signature::{EndpointSecret, SigningKey};

use crate::endpoint::{EndpointStatus, EndpointUrl};
use crate::event::UnknownWord;
use crate::id::{AttemptId, DeliveryId, EndpointId, EnvironmentId, EventId};
use crate::provider::graph::fetch::Wish;
use crate::retry::{DEFAULT_THROTTLE, Schedule};

/// The most bytes of a response body that are kept.
pub const KEPT_BODY: usize = 16 * 1024;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Waits for its time.
    Pending,
    /// Leased by a process.
    Sending,
    /// Waits for its endpoint.
    Held,
    /// Its endpoint has it.
    Delivered,
    /// Given up; can be retried by hand.
    Dead,
    /// Its endpoint or connection is gone.
    Discarded,
}

impl DeliveryStatus {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Sending, Self::Held, Self::Delivered, Self::Dead, Self::Discarded];

    /// All of them, the worst first: the worst one of an event's deliveries is the event's status.
    pub const WORST_FIRST: [Self; 6] =
        [Self::Dead, Self::Held, Self::Pending, Self::Sending, Self::Discarded, Self::Delivered];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }
}

impl FromStr for DeliveryStatus {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownWord)
    }
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A 2xx.
    Delivered,
    /// The schedule is used up.
    Exhausted,
    /// It grew older than `delivery.max_age`.
    TooOld,
    /// Its day left the history while it was still open.
    Retention,
    /// Its endpoint or connection was deleted, or its URL cleared.
    Discarded,
}

impl Ending {
    /// The number that stands for it in the store. Never changes.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Delivered => 0,
            Self::Exhausted => 1,
            Self::TooOld => 2,
            Self::Retention => 3,
            Self::Discarded => 4,
        }
    }

    /// The ending that a number of the store stands for.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        [Self::Delivered, Self::Exhausted, Self::TooOld, Self::Retention, Self::Discarded]
            .into_iter()
            .find(|end| end.code() == code)
    }

    /// The status it gives.
    #[must_use]
    pub const fn status(self) -> DeliveryStatus {
        match self {
            Self::Delivered => DeliveryStatus::Delivered,
            Self::Exhausted | Self::TooOld | Self::Retention => DeliveryStatus::Dead,
            Self::Discarded => DeliveryStatus::Discarded,
        }
    }

    /// Why it isn't delivered, as a word.
    #[must_use]
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Delivered => None,
            Self::Exhausted => Some("exhausted"),
            Self::TooOld => Some("max_age"),
            Self::Retention => Some("retention"),
            Self::Discarded => Some("discarded"),
        }
    }
}

/// A delivery that is about to be stored with its event.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event.
    pub event: EventId,
    /// The environment of both.
    pub environment: EnvironmentId,
    /// Where to.
    pub endpoint: EndpointId,
    /// How it starts.
    pub start: Start,
    /// When it is given up at the latest (time held doesn't count).
    pub give_up_at: DateTime<Utc>,
}

/// How a new delivery starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// This process has a place for it and sends it at once.
    Leased(Lease),
    /// Whoever comes first takes it, from this time on.
    Due(DateTime<Utc>),
    /// Its endpoint takes nothing now.
    Held,
}

/// The right to send a delivery, for a while. Nothing that is settled with an old token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Random; names this lease and no other.
    pub token: Uuid,
    /// When others may take the delivery.
    pub until: DateTime<Utc>,
}

impl Lease {
    /// A new lease of `term`.
    #[must_use]
    pub fn starting(now: DateTime<Utc>, term: TimeDelta) -> Self {
        Self { token: Uuid::new_v4(), until: now + term }
    }
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Attempts made so far.
    pub attempts: u32,
    /// Which step of the schedule the next attempt is (from 0); throttled attempts spend none.
    pub step: u16,
    /// When it is given up at the latest.
    pub give_up_at: DateTime<Utc>,
}

/// Where a delivery goes and how it is signed.
#[derive(Debug)]
pub struct Target {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its URL.
    pub url: EndpointUrl,
    /// Headers that it wants added.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// Its secrets, the newest first; two while one is being replaced.
    pub secrets: Vec<EndpointSecret>,
    /// The environment's webhook signing key.
    pub signing_key: SigningKey,
    /// Whether it takes deliveries now.
    pub status: EndpointStatus,
}

/// What is sent. Its `Debug` keeps the body to itself.
#[derive(Clone)]
pub struct Message {
    /// The event: the `webhook-id`.
    pub event: EventId,
    /// The bytes.
    pub body: Bytes,
    /// The value of `waypost-item-keys`.
    pub item_keys: Arc<str>,
    /// Whether it holds encrypted items, which must be opened first.
    pub rich: bool,
    /// That changed resources are to be read first, to go along.
    pub fetch: Option<Wish>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("event", &self.event)
            .field("rich", &self.rich)
            .finish_non_exhaustive()
    }
}

/// A delivery under a lease, with all that an attempt needs.
#[derive(Debug)]
pub struct Leased {
    /// Its id.
    pub id: DeliveryId,
    /// Its environment.
    pub environment: EnvironmentId,
    /// The lease.
    pub lease: Lease,
    /// How far it has come.
    pub progress: Progress,
    /// What to send.
    pub message: Message,
    /// Where to.
    pub target: Arc<Target>,
}

/// An answer as far as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// Header names (lower case) and values as they came, without `set-cookie`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The first [`KEPT_BODY`] bytes of the body.
    pub body: Vec<u8>,
    /// Whether there was more, or the body broke off.
    pub truncated: bool,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The guard forbids the host, its addresses or the scheme.
    Forbidden,
    /// The host's name could not be resolved.
    Dns,
    /// No connection.
    Connect,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// The deadline passed.
    Timeout,
    /// The connection broke before a status line.
    Reset,
    /// The answer isn't HTTP.
    Protocol,
    /// The request could not be built.
    Request,
    /// An encrypted item can't be opened yet: its certificate isn't known here.
    UnknownCertificate,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Forbidden,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Reset,
        Self::Protocol,
        Self::Request,
        Self::UnknownCertificate,
    ];

    /// The word on the wire, in metrics and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden_address",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Request => "request",
            Self::UnknownCertificate => "unknown_certificate",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What came of one HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A status line came.
    Answered {
        /// The status code.
        status: u16,
        /// What `Retry-After` asked for, clamped; `None` without a usable one.
        retry_after: Option<TimeDelta>,
        /// The rest.
        response: Response,
    },
    /// None came.
    Failed(Failure),
}

/// One HTTP request of a delivery, done.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// From 1.
    pub number: u32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What an outcome means for the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx, whatever the body did.
    Delivered,
    /// 429, or 503 with a usable `Retry-After`: wait, and spend no step.
    Throttled(TimeDelta),
    /// 410: the endpoint is to be disabled, the delivery is held.
    Gone,
    /// Anything else.
    Failed,
}

impl Outcome {
    /// The same without the body of the answer, which may repeat what was sent.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        if let Self::Answered { response, .. } = &mut self {
            response.truncated |= !response.body.is_empty();
            response.body = Vec::new();
        }
        self
    }

    /// Decides by the status line alone (3xx is a failure: redirects are never followed).
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Answered { status: 200..=299, .. } => Verdict::Delivered,
            Self::Answered { status: 410, .. } => Verdict::Gone,
            Self::Answered { status: 429, retry_after, .. } => {
                Verdict::Throttled(retry_after.unwrap_or(DEFAULT_THROTTLE))
            }
            Self::Answered { status: 503, retry_after: Some(wait), .. } => Verdict::Throttled(*wait),
            Self::Answered { .. } | Self::Failed(_) => Verdict::Failed,
        }
    }
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It ended.
    Ended(Ending),
    /// It is tried again.
    Retry {
        /// When.
        due_at: DateTime<Utc>,
        /// Which step of the schedule that is.
        step: u16,
    },
    /// It waits for its endpoint.
    Held,
}

impl Progress {
    /// What becomes of the delivery after an attempt that ended at `now`.
    #[must_use]
    pub fn settle(
        &self,
        verdict: Verdict,
        schedule: &Schedule,
        now: DateTime<Utc>,
        rng: &mut impl Rng,
    ) -> Next {
        let too_old = now >= self.give_up_at;
        match verdict {
            Verdict::Delivered => Next::Ended(Ending::Delivered),
            Verdict::Gone => Next::Held,
            _ if too_old => Next::Ended(Ending::TooOld),
            Verdict::Throttled(wait) => {
                Next::Retry { due_at: (now + wait).min(self.give_up_at), step: self.step }
            }
            Verdict::Failed => {
                let step = self.step.saturating_add(1);
                match schedule.due(step, now, rng) {
                    Some(due_at) => Next::Retry { due_at: due_at.min(self.give_up_at), step },
                    None => Next::Ended(Ending::Exhausted),
                }
            }
        }
    }
}

/// An attempt's result on its way to the store.
#[derive(Debug)]
pub struct Settlement {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its event.
    pub event: EventId,
    /// Its environment.
    pub environment: EnvironmentId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// The token of the lease under which it was done.
    pub token: Uuid,
    /// The request, when one was made; `None` when the delivery only goes back.
    pub attempt: Option<Attempt>,
    /// What becomes of the delivery.
    pub next: Next,
    /// Whether the endpoint said 410 and is to be disabled.
    pub gone: bool,
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn noon() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 22, 12, 0, 0).unwrap()
    }

    fn answered(status: u16, retry_after: Option<i64>) -> Outcome {
        Outcome::Answered {
            status,
            retry_after: retry_after.map(TimeDelta::seconds),
            response: Response::default(),
        }
    }

    #[test]
    fn the_status_line_alone_decides() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(answered(status, None).verdict(), Verdict::Delivered, "{status}");
        }
        for status in [100, 301, 302, 304, 307, 400, 401, 404, 408, 413, 425, 500, 502, 503, 504] {
            assert_eq!(answered(status, None).verdict(), Verdict::Failed, "{status}");
        }
        assert_eq!(answered(410, Some(5)).verdict(), Verdict::Gone);
        assert_eq!(answered(429, None).verdict(), Verdict::Throttled(TimeDelta::seconds(60)));
        assert_eq!(answered(429, Some(7)).verdict(), Verdict::Throttled(TimeDelta::seconds(7)));
        assert_eq!(answered(503, Some(7)).verdict(), Verdict::Throttled(TimeDelta::seconds(7)));
        assert_eq!(answered(500, Some(7)).verdict(), Verdict::Failed);
    }

    #[test]
    fn a_delivery_fails_as_often_as_the_schedule_has_waits_and_then_dies() {
        let mut rng = StdRng::seed_from_u64(3);
        let schedule = Schedule::default();
        let mut progress = Progress { attempts: 0, step: 0, give_up_at: noon() + TimeDelta::days(7) };
        let mut now = noon();
        for _ in 1..schedule.attempts() {
            let Next::Retry { due_at, step } = progress.settle(Verdict::Failed, &schedule, now, &mut rng)
            else {
                panic!("too early")
            };
            assert!(due_at > now);
            now = due_at;
            progress = Progress { attempts: progress.attempts + 1, step, ..progress };
        }
        assert_eq!(
            progress.settle(Verdict::Failed, &schedule, now, &mut rng),
            Next::Ended(Ending::Exhausted)
        );
    }

    proptest! {
        #[test]
        fn throttling_spends_no_step_but_age_ends_it(step in 0_u16..10, wait in 1_i64..=3600, age in 0_i64..=700_000) {
            let start = noon();
            let progress = Progress { attempts: 5, step, give_up_at: start + TimeDelta::days(7) };
            let now = start + TimeDelta::seconds(age);
            let next = progress.settle(
                Verdict::Throttled(TimeDelta::seconds(wait)), &Schedule::default(), now, &mut StdRng::seed_from_u64(1),
            );
            if now >= progress.give_up_at {
                prop_assert_eq!(next, Next::Ended(Ending::TooOld));
            } else {
                let due_at = (now + TimeDelta::seconds(wait)).min(progress.give_up_at);
                prop_assert_eq!(next, Next::Retry { due_at, step });
            }
        }
    }
}
