//! Retention: the days to come get their place in the store, the days that are too old leave it.
//!
//! History is kept in whole UTC days. A day is *due to leave* once all of it is older than the setting: then what is
//! still open of its events ends as dead, to be seen for one day more; after that the day is dropped. A day before it is
//! due, endpoints with open deliveries of it are announced. Every step may run twice, in several processes.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;
use waypost_core::certificate::overlap;
use waypost_core::clock::SharedClock;
use waypost_postgres::retention::kept_from;
use waypost_postgres::{Store, StoreError};

use crate::bell::Bell;
use crate::patience::{SWEEP, within};

/// How often to look.
const PERIOD: Duration = Duration::from_hours(1);
/// How soon to look again when it failed.
const AGAIN: Duration = Duration::from_secs(30);

/// How long a connect session stays after its end, so that its link can still say that it has ended.
const SESSIONS_STAY: TimeDelta = TimeDelta::hours(24);

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Events, deliveries and attempts, and counts of refusals.
    pub events: TimeDelta,
    /// How old a delivery of an announcement may grow.
    pub max_age: TimeDelta,
}

/// Keeps the history within its bounds.
#[derive(Debug)]
pub struct Retention {
    store: Store,
    clock: SharedClock,
    bell: Bell,
    config: Config,
}

/// Which days are how far, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Calendar {
    today: NaiveDate,
    /// Is due to leave tomorrow.
    announced: NaiveDate,
    /// This day and later ones are kept; what is before is due to leave.
    kept_from: NaiveDate,
    /// What is before this day is dropped.
    dropped_before: NaiveDate,
}

impl Calendar {
    fn at(now: DateTime<Utc>, keep: TimeDelta) -> Self {
        let kept_from = kept_from(now, keep);
        let dropped_before = kept_from.checked_sub_days(Days::new(1)).unwrap_or(kept_from);
        Self { today: now.date_naive(), announced: kept_from, kept_from, dropped_before }
    }
}

impl Retention {
    /// Keeps the history of `store` as `config` says; rings `bell` when an announcement is to be delivered.
    #[must_use]
    pub fn new(store: Store, clock: SharedClock, bell: Bell, config: Config) -> Self {
        Self { store, clock, bell, config }
    }

    /// Runs at once and then every hour, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let pause = match within(SWEEP, self.sweep()).await {
                Ok(()) => PERIOD,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "retention failed; it is tried again"
                    );
                    AGAIN
                }
            };
            let jitter = pause.mul_f64(rand::rng().random_range(0.0..0.1));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause + jitter) => {}
            }
        }
    }

    /// Does all that is due now.
    ///
    /// # Errors
    /// When the store fails; what was done until then stays done. Partitions to come are made first, whatever follows.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.store.make_partitions_ahead().await?;
        let now = self.clock.now();
        let calendar = Calendar::at(now, self.config.events);
        self.end_old(calendar).await?;
        self.announce(calendar).await?;
        self.store.forget_old_unmatched_across_environments(calendar.kept_from).await?;
        self.store.drop_history_across_environments(calendar.dropped_before).await?;
        self.store.forget_old_proofs_across_environments(calendar.dropped_before).await?;
        let retired =
            self.store.retire_certificates_across_environments(now - overlap(self.config.events)).await?;
        if retired > 0 {
            tracing::info!(
                certificates = retired,
                "private keys were destroyed that nothing can name any more"
            );
        }
        self.store.forget_old_rejections_across_environments(now - self.config.events).await?;
        self.store.forget_expired_secrets_across_environments().await?;
        self.store.forget_connect_sessions_across_environments(now - SESSIONS_STAY).await?;
        // What was accepted at the very moment its environment was deleted.
        while self.store.discard_of_deleted_across_environments().await? > 0 {}
        Ok(())
    }

    async fn end_old(&self, calendar: Calendar) -> Result<(), StoreError> {
        let ended = self.store.end_old_deliveries_across_environments(calendar.kept_from).await?;
        if ended.dead > 0 {
            tracing::warn!(
                deliveries.dead = ended.dead,
                "deliveries ended because their day is due to leave"
            );
        }
        if ended.lost > 0 {
            metrics::counter!("waypost_deliveries_lost_total")
                .increment(u64::try_from(ended.lost).unwrap_or(u64::MAX));
            tracing::error!(
                deliveries.lost = ended.lost,
                "open deliveries were deleted: their day had left before them"
            );
        }
        Ok(())
    }

    async fn announce(&self, calendar: Calendar) -> Result<(), StoreError> {
        for endpoint in
            self.store.endpoints_to_warn_across_environments(calendar.announced, calendar.today).await?
        {
            let max_age = self.config.max_age;
            match self.store.warn_of_retention_across_environments(endpoint, calendar.today, max_age).await {
                Ok(true) => self.bell.ring(),
                Ok(false) => {}
                Err(error) if error.is_passing() => return Err(error),
                // One row that can't be right must not keep the days from leaving.
                Err(error) => tracing::error!(
                    endpoint.id = %endpoint.1, error = &error as &dyn std::error::Error, "an endpoint can't be warned"
                ),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, day).unwrap()
    }

    #[test]
    fn a_day_is_announced_then_due_then_dropped_one_day_after_the_other() {
        let keep = TimeDelta::days(14);
        for (at, announced) in [((22, 0, 0), 8), ((22, 23, 59), 8), ((23, 0, 0), 9)] {
            let now = Utc.with_ymd_and_hms(2026, 11, at.0, at.1, at.2, 0).unwrap();
            let calendar = Calendar::at(now, keep);
            assert_eq!(calendar.announced, day(announced), "{now}");
            assert_eq!(calendar.kept_from, day(announced), "{now}");
            assert_eq!(calendar.dropped_before, day(announced - 1), "{now}");
        }
    }

    #[test]
    fn nothing_younger_than_the_setting_is_due() {
        for hours in 1..=72 {
            let now = Utc.with_ymd_and_hms(2026, 11, 22, 7, 0, 0).unwrap();
            let keep = TimeDelta::hours(hours);
            let first_kept = Calendar::at(now, keep).kept_from.and_hms_opt(0, 0, 0).unwrap().and_utc();
            assert!(first_kept <= now - keep, "{hours}");
        }
    }
}
