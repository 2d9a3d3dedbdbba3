//! Reading what changed on the way out, within places and a deadline of its own.
//!
//! A delivery that finds no place, or meets throttling, an outage or a failed sign-in, goes back and spends no attempt;
//! once it has been under way for a quarter of an hour it goes out with `fetchError` instead. A place is never waited
//! for, so that deliveries which read can't fill up the places of those that don't; only the turn within a connection
//! is, since Graph allows few calls at a time to one mailbox. A connection that is throttled is left alone meanwhile.
//!
//! Must not write what is read anywhere, nor log it.

mod desk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use waypost_core::clock::SharedClock;
use waypost_core::delivery::{Leased, Message};
use waypost_core::provider::graph::fetch::{FetchError, Found, Plan, Wish};
use waypost_core::retry::with_jitter;
use waypost_upstream::fetch::{Fetcher, Read, Wanted};

use super::body::{PATIENCE, Prepared};
use desk::Desk;

/// How long reading for one event may take, its turn included.
const READING: Duration = Duration::from_secs(10);
/// How long a delivery waits that finds no place.
const CROWDED_WAIT: TimeDelta = TimeDelta::seconds(1);
/// The least that one waits after a setback.
const LEAST_WAIT: TimeDelta = TimeDelta::seconds(1);

/// Reads what changed. One for all attempts of a process.
#[derive(Debug)]
pub(super) struct Fetching {
    fetcher: Fetcher,
    clock: SharedClock,
    desk: Arc<Desk>,
}

impl Fetching {
    pub(super) fn new(fetcher: Fetcher, clock: SharedClock) -> Self {
        Self { fetcher, clock, desk: Arc::default() }
    }

    /// The message of a delivery with what changed, or how long to wait for it; in at most `limit`.
    pub(super) async fn add_what_changed(
        &self,
        delivery: &Leased,
        message: Message,
        wish: &Wish,
        limit: Duration,
    ) -> Prepared {
        let plan = match Plan::read(&message.body) {
            Ok(plan) if plan.is_empty() => return Prepared::Ready(message),
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(event.id = %message.event, %error, "nothing can be read for an event");
                return Prepared::Ready(message);
            }
        };
        let found = match self.read(delivery, &plan, wish, limit.min(READING)).await {
            Ok(found) => found,
            Err((wait, reason)) => return Prepared::Wait(wait, reason),
        };
        // Wiped once nobody sends it any more.
        let body = Bytes::from_owner(plan.outgoing(&found));
        let holds_content = found.iter().any(|one| matches!(one, Found::Content(_)));
        let fetch = holds_content.then(|| wish.clone());
        Prepared::Ready(Message { body, fetch, ..message })
    }

    async fn read(
        &self,
        delivery: &Leased,
        plan: &Plan<'_>,
        wish: &Wish,
        limit: Duration,
    ) -> Result<Vec<Found>, (TimeDelta, &'static str)> {
        if plan.targets().is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let give_up_at = delivery.id.made_at() + PATIENCE;
        let (now, connection) = (self.clock.now(), wish.connection);
        if let Some(wait) = self.desk.paused(connection, now) {
            if now < give_up_at {
                return Err((until(now, wait, give_up_at), "throttled"));
            }
            let throttled = || Found::Failed(FetchError::answered(429, "", ""));
            return Ok(plan.targets().iter().map(|_| throttled()).collect());
        }
        let crowded = || (with_jitter(CROWDED_WAIT, &mut rand::rng()), "crowded");
        let place = Desk::take(&self.desk, delivery.environment, connection).ok_or_else(crowded)?;
        let turn = tokio::time::timeout(limit, place.turn()).await.map_err(|_| crowded())?;
        let wanted = Wanted {
            environment: delivery.environment,
            connection,
            targets: plan.targets(),
            select: wish.select.as_ref(),
        };
        let Read { found, setback } =
            self.fetcher.read(wanted, limit.saturating_sub(started.elapsed())).await;
        drop((turn, place));
        let Some(setback) = setback else { return Ok(found) };
        let now = self.clock.now();
        if setback.throttled {
            self.desk.pause(connection, now, setback.wait);
        }
        if now < give_up_at { Err((until(now, setback.wait, give_up_at), setback.reason)) } else { Ok(found) }
    }
}

/// How long to wait: as asked and a little more, since others wait for the same, but not past the time at which it goes
/// out anyway.
fn until(now: DateTime<Utc>, wait: TimeDelta, give_up_at: DateTime<Utc>) -> TimeDelta {
    with_jitter(wait, &mut rand::rng()).min(give_up_at - now).max(LEAST_WAIT)
}
