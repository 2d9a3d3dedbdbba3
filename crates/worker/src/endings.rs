//! Endings: warns customers before a client secret or certificate ends whose end is known, once thirty and once seven days
//! ahead, tries sign-ins again that failed, so that customers learn when they work, and destroys the tokens of those that
//! nobody uses any more.
//!
//! Where there is nothing to do, that is one statement a minute. Every step may run twice, in several processes: what was
//! announced stands in the store.
//! Must not: decide when a sign-in may be tried again, or what is told of it.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;
use waypost_core::clock::SharedClock;
use waypost_core::id::ConnectionKey;
use waypost_postgres::grant::EndingCredential;
use waypost_postgres::{Actor, ActorKind, Store, StoreError};
use waypost_upstream::tokens::{TokenError, Tokens};

use crate::bell::Bell;
use crate::patience::{SWEEP, within};

/// How often to look.
const PERIOD: Duration = Duration::from_mins(1);
/// How often to destroy what nobody uses.
const CLEANING: Duration = Duration::from_hours(1);
/// How soon to look again when it failed.
const AGAIN: Duration = Duration::from_secs(30);
/// How many days ahead it is announced, the nearer one first: what was announced as near isn't announced as far.
const DAYS_AHEAD: [i16; 2] = [7, 30];
/// How many connections are looked at in one go.
const CHUNK: i64 = 200;
/// How many sign-ins are tried again in one go.
const MOST_RETRIES: i64 = 50;
/// How long a grant that no connection uses is left alone.
const UNUSED: TimeDelta = TimeDelta::days(1);

/// What endings are watched with.
#[derive(Debug)]
pub struct Endings {
    store: Store,
    tokens: Tokens,
    clock: SharedClock,
    bell: Bell,
    max_age: TimeDelta,
}

impl Endings {
    /// Watches the credentials in `store`; rings `bell` when a warning is to be delivered, which is given up after
    /// `max_age`.
    #[must_use]
    pub fn new(store: Store, tokens: Tokens, clock: SharedClock, bell: Bell, max_age: TimeDelta) -> Self {
        Self { store, tokens, clock, bell, max_age }
    }

    /// Runs at once and then every minute, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut cleaned: Option<Instant> = None;
        loop {
            let cleans = cleaned.is_none_or(|at| at.elapsed() >= CLEANING);
            let done = tokio::select! {
                () = stop.cancelled() => return,
                done = within(SWEEP, self.sweep(cleans)) => done,
            };
            let pause = match done {
                Ok(()) => {
                    cleaned = if cleans { Some(Instant::now()) } else { cleaned };
                    PERIOD
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "sign-ins could not be watched; it is tried again"
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

    /// Warns of all that ends soon, tries again what failed, and cleans up where it is told to.
    ///
    /// # Errors
    /// When the store fails; what was done until then stays done.
    async fn sweep(&self, cleans: bool) -> Result<(), StoreError> {
        let found = self.store.glance_at_grants_across_environments(&DAYS_AHEAD).await?;
        let left = found.soonest_end.map(|end| (end - self.clock.now()).as_seconds_f64() / 86_400.0);
        // Where no end is known, none comes.
        metrics::gauge!("waypost_soonest_credential_end_days").set(left.unwrap_or(f64::INFINITY));
        if found.ends_soon {
            for days in DAYS_AHEAD {
                self.announce(days).await?;
            }
        }
        if found.has_failed {
            self.tokens.retry_failed(MOST_RETRIES).await?;
        }
        if cleans {
            self.store.forget_unused_grants_across_environments(self.clock.now() - UNUSED).await?;
        }
        Ok(())
    }

    async fn announce(&self, days: i16) -> Result<(), StoreError> {
        let mut after = ConnectionKey::from_number(0);
        loop {
            let found = self.store.ending_credentials_across_environments(days, after, CHUNK).await?;
            let Some(last) = found.last() else { return Ok(()) };
            after = last.connection;
            for ending in found {
                match self.warn(ending, days).await {
                    Ok(true) => self.bell.ring(),
                    Ok(false) => {}
                    Err(error) if error.is_passing() => return Err(error),
                    // One row that can't be right must not keep the others from being warned.
                    Err(error) => tracing::error!(
                        connection.id = ending.connection.number(),
                        error = &error as &dyn std::error::Error,
                        "a customer can't be warned that a credential ends"
                    ),
                }
            }
        }
    }

    async fn warn(&self, ending: EndingCredential, days: i16) -> Result<bool, StoreError> {
        // The credential may have been replaced since its last use: then there is nothing to warn of.
        let noted = self.tokens.note_credentials(ending.environment, ending.connection).await;
        if let Err(error @ TokenError::Store(_)) = noted {
            tracing::debug!(error = &error as &dyn std::error::Error, "a credential can't be looked at");
            return Ok(false);
        }
        let actor = Actor { kind: ActorKind::System, name: "endings".to_owned(), request_id: String::new() };
        let tenant = self.store.tenant(ending.environment, actor);
        tenant.warn_of_end(ending, days, self.max_age).await
    }
}
