//! Getting due work by lease: what was left when there was no place, what failed before, what a lost process had.
//!
//! Woken by the bell, by freed places, and by the time of what is due next. Never takes more than there are places.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use waypost_core::delivery::{Ending, Next, Settlement};
use waypost_core::id::{EndpointId, EnvironmentId};
use waypost_postgres::StoreError;
use waypost_postgres::lease::{ClaimLimits, TakenBack, Unsendable};

use super::Deliverer;
use super::places::Ledger;
use crate::patience::{STEP, within};

/// The longest sleep when nothing is known to be due: a lost hint costs at most this.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// How often to look at least for leases that have run out: others lease for as long as they like.
const TAKE_BACK_EVERY: Duration = Duration::from_secs(10);
/// How often to look at most: those of a process that died run out one after the other.
const TAKE_BACK_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait after the store has failed.
const AFTER_FAULT: Duration = Duration::from_millis(500);
/// How long to wait at least when what is due can't be taken yet.
const BREATH: Duration = Duration::from_millis(20);
/// How long to wait at most then: another process may have had it, and lost it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The most deliveries of one claim.
const LARGEST_CLAIM: u32 = 256;

/// How long a delivery waits that can't be opened here: whoever runs this has a key to mend.
const PUT_OFF: TimeDelta = TimeDelta::minutes(1);

/// A turn over all endpoints, of several claims when there are many.
#[derive(Default)]
struct Turn {
    /// The last endpoint that was looked at; `None` at the beginning.
    after: Option<(EnvironmentId, EndpointId)>,
    /// Whether anything was taken since the beginning.
    taken: bool,
}

/// Runs until the deliverer stops.
pub(super) async fn run(deliverer: &Deliverer) {
    let stopping = deliverer.0.stopping.clone();
    let mut turn = Turn::default();
    let mut take_back_at = Instant::now();
    while !stopping.is_cancelled() {
        if Instant::now() >= take_back_at {
            take_back_at = Instant::now() + take_back(deliverer).await;
        }
        let sleep = match within(STEP, round(deliverer, &mut turn)).await {
            Ok(Round::Again) => continue,
            Ok(Round::Full) => {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = deliverer.0.ledger.freed() => {}
                    () = tokio::time::sleep_until(take_back_at.into()) => {}
                }
                continue;
            }
            Ok(Round::Blocked) => {
                tokio::time::sleep(BREATH).await;
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = deliverer.0.ledger.freed() => {}
                    () = deliverer.0.parts.bell.rung() => {}
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
                continue;
            }
            Ok(Round::Idle(sleep)) => sleep,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "can't lease deliveries");
                AFTER_FAULT
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = deliverer.0.parts.bell.rung() => {}
            () = tokio::time::sleep(sleep) => {}
            () = tokio::time::sleep_until(take_back_at.into()) => {}
        }
    }
}

enum Round {
    /// There may be more.
    Again,
    /// No place is free.
    Full,
    /// Something is due, but its endpoint has all it may have in flight, or another process has it locked.
    Blocked,
    /// Nothing more is due for that long.
    Idle(Duration),
}

async fn round(deliverer: &Deliverer, turn: &mut Turn) -> Result<Round, StoreError> {
    let open = deliverer.0.ledger.open_for_leases();
    if open.all == 0 {
        return Ok(Round::Full);
    }
    let limits = ClaimLimits {
        total: open.all.min(LARGEST_CLAIM),
        per_endpoint: deliverer.0.ledger.per_endpoint(),
        endpoints: &open.endpoints,
        per_environment: deliverer.0.ledger.per_environment(),
        environments: &open.environments,
        after: turn.after,
    };
    let now = deliverer.0.parts.clock.now();
    let claimed =
        deliverer.0.parts.store.claim_across_environments(&limits, now, deliverer.lease_term()).await?;
    turn.after = claimed.last;
    turn.taken |= !claimed.is_empty();
    for delivery in claimed.ready {
        let place = Ledger::take_leased(&deliverer.0.ledger, delivery.environment, delivery.target.endpoint);
        deliverer.start(place, delivery);
    }
    for unsendable in claimed.to_hold {
        deliverer.settle(without_attempt(unsendable, Next::Held)).await;
    }
    for unsendable in claimed.to_put_off {
        let next = Next::Retry { due_at: now + PUT_OFF, step: unsendable.step };
        deliverer.settle(without_attempt(unsendable, next)).await;
    }
    for unsendable in claimed.to_discard {
        deliverer.settle(without_attempt(unsendable, Next::Ended(Ending::Discarded))).await;
    }
    // Only a whole turn without any work shows that there is none.
    if turn.after.is_some() || std::mem::take(&mut turn.taken) {
        return Ok(Round::Again);
    }
    let due = deliverer.0.parts.store.next_due_across_environments().await?;
    Ok(until_due(due, now))
}

fn until_due(due: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Round {
    let late = due.map_or(0, |due| (now - due).num_milliseconds().max(0));
    metrics::gauge!("waypost_oldest_due_seconds")
        .set(Duration::from_millis(late.unsigned_abs()).as_secs_f64());
    match due {
        Some(due) if due <= now => Round::Blocked,
        Some(due) => Round::Idle((due - now).to_std().unwrap_or_default().min(LONGEST_SLEEP)),
        None => Round::Idle(LONGEST_SLEEP),
    }
}

/// Takes back what has run out; tells when to look again: when the next lease could have run out, so that the work of a
/// process that died waits for nothing but its leases, and a system at rest asks no more than it has to.
async fn take_back(deliverer: &Deliverer) -> Duration {
    let now = deliverer.0.parts.clock.now();
    match within(STEP, deliverer.0.parts.store.take_back_expired_across_environments(now)).await {
        Ok(TakenBack { count, next }) => {
            if count > 0 {
                metrics::counter!("waypost_leases_taken_back_total").increment(count);
                tracing::info!(count, "took back leases that had run out");
            }
            next_look(next, now)
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "can't take back leases");
            TAKE_BACK_PAUSE
        }
    }
}

fn next_look(runs_out: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Duration {
    let wait = runs_out.map_or(TAKE_BACK_EVERY, |at| (at - now).to_std().unwrap_or_default());
    wait.clamp(TAKE_BACK_PAUSE, TAKE_BACK_EVERY)
}

fn without_attempt(unsendable: Unsendable, next: Next) -> Settlement {
    Settlement {
        delivery: unsendable.delivery,
        event: unsendable.event,
        environment: unsendable.environment,
        endpoint: unsendable.endpoint,
        token: unsendable.token,
        attempt: None,
        next,
        gone: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_looked_at_when_the_next_one_runs_out_but_neither_all_the_time_nor_too_seldom() {
        let now = DateTime::UNIX_EPOCH;
        let look = |seconds| next_look(Some(now + TimeDelta::seconds(seconds)), now).as_secs();
        assert_eq!([look(-5), look(0), look(4), look(60)], [1, 1, 4, 10]);
        assert_eq!(next_look(None, now), TAKE_BACK_EVERY);
    }
}
