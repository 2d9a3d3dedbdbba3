//! Flights: one request for a token at a time, in this process and among all.
//!
//! In this process all callers of a grant board the same flight. Among processes the lease in the store decides: who
//! doesn't get it looks again, a little later each time, until the one who has it is done, or its lease is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;
use uuid::Uuid;
use waypost_core::id::EnvironmentId;
use waypost_core::token::{Failure, Freshness, GrantKey, HeldToken, Standing, Step, TokenMark, Trouble};
use waypost_egress::graph::sign_in::TokenRequest;
use waypost_postgres::grant::{Outcome, StoredGrant};

use super::plan::{Means, Plan};
use super::{TokenError, Tokens, failed, given_up, no_answer};

/// How long whoever asks may take: a little longer than a request may.
const LEASE: TimeDelta = TimeDelta::seconds(11);
/// How long another process is waited for: a little longer than its lease, so that somebody takes it over.
const PATIENCE: Duration = Duration::from_secs(12);
/// How soon to look again, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LAST_PAUSE: Duration = Duration::from_millis(400);
/// How often a result is written before it is given up.
const MOST_WRITES: u32 = 5;

type Landing = Result<StoredGrant, TokenError>;
type Number = (EnvironmentId, GrantKey);

/// The flights of this process that are under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<Number, watch::Receiver<Option<Landing>>>>>);

/// Takes a flight off the board, however it ends.
struct Departed {
    flights: Flights,
    number: Number,
}

impl Flights {
    /// The flight of that number, or a new one that `leave` starts.
    fn board(
        &self,
        number: Number,
        leave: impl FnOnce(watch::Sender<Option<Landing>>),
    ) -> watch::Receiver<Option<Landing>> {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = board.get(&number) {
            return flight.clone();
        }
        let (landed, flight) = watch::channel(None);
        board.insert(number, flight.clone());
        drop(board);
        leave(landed);
        flight
    }
}

impl Drop for Departed {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Tokens {
    /// Waits for the flight of a grant, and starts it where there is none.
    pub(super) async fn board(&self, plan: &Arc<Plan>, freshness: Freshness, first: i64) -> Landing {
        let number = (plan.environment, plan.grant.key);
        let mut flight = self.flights.board(number, |landed| {
            let (tokens, plan) = (self.clone(), Arc::clone(plan));
            let departed = Departed { flights: self.flights.clone(), number };
            self.tasks.spawn(async move {
                let landing = tokens.travel(&plan, freshness, first).await;
                // Off the board before it is told, so that nobody boards what has landed.
                drop(departed);
                landed.send_replace(Some(landing));
            });
        });
        let landing = flight.wait_for(Option::is_some).await.ok().and_then(|landing| landing.clone());
        landing.unwrap_or_else(|| Err(no_answer("the sign-in was broken off", self.now())))
    }

    async fn travel(&self, plan: &Plan, freshness: Freshness, first: i64) -> Landing {
        let (started, mut pause) = (Instant::now(), FIRST_PAUSE);
        let number = (plan.environment, plan.grant.key);
        loop {
            let found = self.parts.store.grant_across_environments(number.0, number.1).await?;
            let grant = found.ok_or(TokenError::UnknownConnection)?;
            match grant.standing.step(freshness, first, self.now()) {
                Step::Use => return Ok(grant),
                // Whoever boarded for less may still take the token that is there.
                Step::Fail if grant.standing.has_token(self.now()) => return Ok(grant),
                Step::Fail => return Err(given_up(&grant, first)),
                Step::Ask => {
                    let lease = Uuid::new_v4();
                    let seen = (number.1, grant.standing.generation);
                    let until = self.now() + LEASE;
                    if self.parts.store.lease_grant_across_environments(number.0, seen, lease, until).await? {
                        return self.ask(plan, &grant, lease).await;
                    }
                }
                Step::Wait => {}
            }
            if started.elapsed() >= PATIENCE {
                return Err(no_answer("another process takes too long to sign in", self.now()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Asks for a token, under the lease, and writes down what came of it.
    async fn ask(&self, plan: &Plan, before: &StoredGrant, lease: Uuid) -> Landing {
        let means = plan.means.clone()?;
        let outcome = self.request(plan, &means, before).await;
        let settled = self.settle(plan, lease, &outcome).await?;
        self.parts.hand_off.unleased_work();
        match (outcome, settled) {
            // The token before may serve some of those who wait, until it ends.
            (Outcome::Failed(_), Some(grant)) if grant.standing.has_token(self.now()) => Ok(grant),
            (Outcome::Failed(failure), _) => Err(failed(failure)),
            (Outcome::Granted(_), Some(grant)) => Ok(grant),
            // The lease was over and somebody else asked as well: both tokens are good.
            (Outcome::Granted(token), None) => Ok(StoredGrant {
                standing: Standing {
                    generation: before.standing.generation + 1,
                    token: Some((TokenMark::of(&token.access_token), token.lifetime)),
                    leased_until: None,
                    failure: None,
                },
                token: Some(token),
            }),
        }
    }

    pub(super) async fn request(&self, plan: &Plan, means: &Means, before: &StoredGrant) -> Outcome {
        let (now, started, id) = (self.now(), Instant::now(), Uuid::new_v4().to_string());
        let newest = before.token.as_ref().and_then(|token| token.refresh_token.as_ref());
        let answer = match means.form(&plan.grant.client_id, newest, now) {
            Ok(form) => {
                let form: Vec<(&'static str, &str)> =
                    form.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
                self.parts.client.token(TokenRequest { url: &means.url, form: &form, id: &id, now }).await
            }
            Err(trouble) => Err(trouble),
        };
        metrics::histogram!("waypost_token_request_seconds").record(started.elapsed().as_secs_f64());
        match answer {
            Ok(granted) => {
                metrics::counter!("waypost_token_requests_total", "outcome" => "granted").increment(1);
                Outcome::Granted(HeldToken::granted(granted, newest.cloned(), now))
            }
            Err(trouble) => {
                let before = before.standing.failure.as_ref();
                let failure = Failure::after(before, &trouble, self.now(), &mut rand::rng());
                let outcome = failure.class.as_str();
                metrics::counter!("waypost_token_requests_total", "outcome" => outcome).increment(1);
                log(plan, &trouble, &failure, &id);
                Outcome::Failed(failure)
            }
        }
    }

    /// Writes a result down. Where a refresh token was used up for it, a store that is away for a moment is waited for.
    async fn settle(
        &self,
        plan: &Plan,
        lease: Uuid,
        outcome: &Outcome,
    ) -> Result<Option<StoredGrant>, TokenError> {
        let tenant = self.tenant(plan.environment);
        let most = if plan.means.as_ref().is_ok_and(Means::refreshes) { MOST_WRITES } else { 1 };
        let mut tries = 1;
        loop {
            match tenant.settle_grant(plan.grant.key, lease, outcome, self.parts.max_age).await {
                Err(error) if error.is_passing() && tries < most => {
                    tokio::time::sleep(LAST_PAUSE * tries).await;
                    tries += 1;
                }
                result => return Ok(result?),
            }
        }
    }
}

/// One line for each failure, with what Microsoft's support asks for.
fn log(plan: &Plan, trouble: &Trouble, failure: &Failure, id: &str) {
    let refusal = match trouble {
        Trouble::Refused(refusal) => Some(refusal),
        Trouble::Unreachable(_) => None,
    };
    tracing::warn!(
        environment.id = %plan.environment,
        tenant.id = plan.grant.tenant.map(tracing::field::display),
        client.id = plan.grant.client_id,
        request.id = id,
        trace.id = refusal.and_then(|refusal| refusal.trace_id.as_deref()),
        correlation.id = refusal.and_then(|refusal| refusal.correlation_id.as_deref()),
        error.class = %failure.class,
        error.codes = ?failure.codes,
        failures = failure.count,
        "a token could not be gotten: {}",
        failure.description
    );
}
