//! Access tokens for connections: kept in the store, shared by all connections that sign in alike, and asked for by one
//! caller at a time.
//!
//! Each call reads what the connection signs in with and the grant that belongs to it, in one statement: nothing is
//! cached, so changed credentials count at once. A new token is asked for in a *flight*: one per grant in this process,
//! which all callers of the grant wait for, and one per grant among all processes, by a lease in the store. A flight goes
//! on when its callers hang up: a refresh token that was used must not be lost.
//!
//! Must not: decide when a token is due or what a refusal means (that is `waypost_core::token` and `…::sign_in`), or keep
//! a transaction open while the sign-in host is asked.

mod flight;
pub mod metrics_meaning;
mod once;
mod plan;

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::StreamExt as _;
use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use waypost_core::clock::SharedClock;
use waypost_core::cloud::{Cloud, Clouds};
use waypost_core::hand_off::HandOff;
use waypost_core::id::{ConnectionKey, EnvironmentId, TenantId};
use waypost_core::provider::graph::sign_in::Class;
use waypost_core::token::{FORCED_PAUSE, Failure, HeldToken, Step};
use waypost_egress::graph::TrustedClient;
use waypost_postgres::grant::{SignIn, StoredGrant};
use waypost_postgres::{Actor, ActorKind, Store, StoreError, TenantStore};

pub use waypost_core::token::{Freshness, TokenMark};

use flight::Flights;
use plan::Plan;

/// How often a caller boards a flight before it gives up: the first may have left for another reason than its own.
const MOST_FLIGHTS: usize = 3;
/// How many sign-ins that failed are tried again at a time.
const TRIES_AT_ONCE: usize = 4;

/// A token, and what goes with it.
#[derive(Debug, Clone)]
pub struct Access {
    /// The access token.
    pub token: SecretString,
    /// Which one it is, for [`Freshness::Instead`].
    pub mark: TokenMark,
    /// The cloud that it is for, after the operator's replacements.
    pub cloud: Cloud,
    /// The tenant that it is for, when the connection names one.
    pub tenant: Option<TenantId>,
    /// The app that it was issued to.
    pub client_id: String,
    /// When it ends; the far future for one that was brought along without an end.
    pub expires_at: DateTime<Utc>,
}

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// There is no such connection.
    #[error("there is no such connection")]
    UnknownConnection,
    /// It names no tenant.
    #[error("the connection names no tenant: set connection_config.tenantId")]
    NoTenant,
    /// Neither it nor its integration holds credentials that could be used.
    #[error("neither the connection nor its integration holds credentials to sign in with")]
    NoCredentials,
    /// The sign-in host refused.
    #[error("the sign-in host refused")]
    Refused {
        /// Who must act.
        class: Class,
        /// All about it.
        failure: Box<Failure>,
    },
    /// It failed before, and it is too soon to ask again.
    #[error("it failed before, and is tried again later")]
    CoolingDown {
        /// When it is tried again.
        until: DateTime<Utc>,
        /// What failed.
        failure: Box<Failure>,
    },
    /// The sign-in host gave no answer.
    #[error("the sign-in host can't be reached")]
    Unreachable {
        /// All about it.
        failure: Box<Failure>,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl TokenError {
    /// What happened and what to do, in words for people; without secrets.
    #[must_use]
    pub fn message(&self) -> String {
        match self.failure() {
            Some(failure) => failure.description.clone(),
            None => self.to_string(),
        }
    }

    /// When it is tried again, in words; `None` where nothing says so.
    #[must_use]
    pub fn next_try(&self) -> Option<String> {
        let Self::CoolingDown { until, .. } = self else { return None };
        Some(format!("it is tried again at {}", until.to_rfc3339_opts(SecondsFormat::Secs, true)))
    }

    /// The same for somebody who could force a try, which moves nothing where the sign-in host asked for patience.
    #[must_use]
    pub fn next_forced_try(&self) -> Option<String> {
        let words = self.next_try()?;
        if self.failure().is_some_and(Failure::withstands_force) {
            return Some(format!("{words}, and force_refresh=true doesn't change that"));
        }
        let pause = FORCED_PAUSE.num_seconds();
        Some(format!("{words}, or with force_refresh=true, {pause} seconds after the last try"))
    }

    /// What failed at the sign-in host.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused { failure, .. }
            | Self::CoolingDown { failure, .. }
            | Self::Unreachable { failure } => Some(failure),
            Self::UnknownConnection | Self::NoTenant | Self::NoCredentials | Self::Store(_) => None,
        }
    }
}

/// A token with all that the sign-in host said of it.
#[derive(Debug, Clone)]
pub struct LiveCredentials {
    /// The token.
    pub access: Access,
    /// Everything else.
    pub held: HeldToken,
}

/// What tokens are gotten with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where they are kept.
    pub store: Store,
    /// Over which they are asked for.
    pub client: TrustedClient,
    /// Where.
    pub clouds: Clouds,
    /// The time.
    pub clock: SharedClock,
    /// Who delivers the notices of failures.
    pub hand_off: Arc<dyn HandOff>,
    /// How old the delivery of such a notice may grow.
    pub max_age: TimeDelta,
}

/// Gets tokens. Cheap to clone; all clones share their flights.
#[derive(Debug, Clone)]
pub struct Tokens {
    parts: Parts,
    flights: Flights,
    tasks: TaskTracker,
    /// Where they are gotten, whoever asks: a connection to the database ends with the runtime that opened it, and a
    /// listener's threads have short-lived ones of their own.
    runtime: Handle,
}

impl Tokens {
    /// Gets tokens with these parts. Must be called within the runtime that everything else runs on.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts, flights: Flights::default(), tasks: TaskTracker::new(), runtime: Handle::current() }
    }

    /// A token of a connection.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn access(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
        freshness: Freshness,
    ) -> Result<Access, TokenError> {
        self.credentials(environment, connection, freshness).await.map(|live| live.access)
    }

    /// As [`Self::access`], with all that the sign-in host said.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn credentials(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
        freshness: Freshness,
    ) -> Result<LiveCredentials, TokenError> {
        let tokens = self.clone();
        let work = async move { tokens.get(environment, connection, freshness).await };
        match self.tasks.spawn_on(work, &self.runtime).await {
            Ok(gotten) => gotten,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(TokenError::from(StoreError::Silent)),
        }
    }

    async fn get(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
        freshness: Freshness,
    ) -> Result<LiveCredentials, TokenError> {
        let sign_in = self.sign_in(environment, connection).await?;
        let plan = Arc::new(self.plan(environment, &sign_in)?);
        let grant = self.grant_of(&plan, sign_in).await?;
        let first = grant.standing.generation;
        match grant.standing.step(freshness, first, self.now()) {
            Step::Use => plan.live(grant),
            Step::Fail => Err(given_up(&grant, first)),
            // Nothing to ask with: what was brought along is all there is.
            Step::Ask | Step::Wait
                if plan.means.is_err() && matches!(freshness, Freshness::Cached | Freshness::Mended) =>
            {
                if grant.standing.has_token(self.now()) {
                    plan.live(grant)
                } else {
                    Err(plan.lack())
                }
            }
            Step::Ask | Step::Wait if plan.means.is_err() => Err(plan.lack()),
            Step::Ask | Step::Wait => self.fly(plan, freshness, first).await,
        }
    }

    /// Notes which grant a connection uses, should its credentials have changed since it last got a token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn note_credentials(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
    ) -> Result<(), TokenError> {
        let sign_in = self.sign_in(environment, connection).await?;
        let plan = self.plan(environment, &sign_in)?;
        self.grant_of(&plan, sign_in).await.map(drop)
    }

    /// Forgets that a sign-in failed, and the token from before: somebody has just proven that it works. The connection
    /// may yet have to be made; its first use gets a token at once.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn forget_failure(
        &self,
        environment: EnvironmentId,
        sign_in: &SignIn,
    ) -> Result<(), TokenError> {
        let plan = self.plan(environment, sign_in)?;
        Ok(self.tenant(environment).forget_grant_failure(plan.grant.key).await?)
    }

    /// Tries the sign-ins again that failed and are due, so that customers learn when they work; at most `most`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retry_failed(&self, most: i64) -> Result<(), StoreError> {
        let failed = self.parts.store.failed_grants_across_environments(most).await?;
        let tries = futures_util::stream::iter(failed).for_each_concurrent(
            TRIES_AT_ONCE,
            async |(environment, connection)| {
                if let Err(error) = self.access(environment, connection, Freshness::Working).await {
                    tracing::debug!(
                        connection.id = connection.number(),
                        error = &error as &dyn std::error::Error,
                        "a sign-in that failed fails still"
                    );
                }
            },
        );
        tries.await;
        Ok(())
    }

    /// Waits for the flights that are under way. None leaves any more.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn sign_in(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
    ) -> Result<SignIn, TokenError> {
        let found = self.parts.store.sign_in_across_environments(environment, connection).await?;
        found.ok_or(TokenError::UnknownConnection)
    }

    fn plan(&self, environment: EnvironmentId, sign_in: &SignIn) -> Result<Plan, TokenError> {
        Plan::of(environment, sign_in, &self.parts.clouds, self.parts.store.hash_key(), self.now())
    }

    /// The grant of a plan: the one that the connection used last, or another that it uses from now on.
    async fn grant_of(&self, plan: &Plan, sign_in: SignIn) -> Result<StoredGrant, TokenError> {
        match sign_in.grant {
            Some((key, grant)) if key == plan.grant.key => Ok(grant),
            _ => {
                let tenant = self.tenant(plan.environment);
                let linked = tenant.link_grant(plan.connection, &plan.grant, self.parts.max_age).await?;
                // The link may have told of a failure that others of the grant have met already.
                self.parts.hand_off.unleased_work();
                linked.ok_or(TokenError::UnknownConnection)
            }
        }
    }

    async fn fly(
        &self,
        plan: Arc<Plan>,
        freshness: Freshness,
        first: i64,
    ) -> Result<LiveCredentials, TokenError> {
        let mut last = None;
        for _ in 0..MOST_FLIGHTS {
            match self.board(&plan, freshness, first).await {
                Ok(grant) => match grant.standing.step(freshness, first, self.now()) {
                    Step::Use => return plan.live(grant),
                    Step::Fail => return Err(given_up(&grant, first)),
                    Step::Ask | Step::Wait => last = Some(given_up(&grant, first)),
                },
                // It may have left for somebody who takes no for an answer sooner.
                Err(error @ TokenError::CoolingDown { .. })
                    if matches!(freshness, Freshness::Forced | Freshness::Mended) =>
                {
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| no_answer("the sign-in takes too long: it is tried again", self.now())))
    }

    fn tenant(&self, environment: EnvironmentId) -> TenantStore {
        let actor = Actor { kind: ActorKind::System, name: "tokens".to_owned(), request_id: String::new() };
        self.parts.store.tenant(environment, actor)
    }

    fn now(&self) -> DateTime<Utc> {
        self.parts.clock.now()
    }
}

/// Why a grant gives no token now, to a caller who found it at the generation `first`.
fn given_up(grant: &StoredGrant, first: i64) -> TokenError {
    match &grant.standing.failure {
        Some(failure) if grant.standing.generation > first => failed(failure.clone()),
        Some(failure) => {
            TokenError::CoolingDown { until: failure.next_try_at, failure: Box::new(failure.clone()) }
        }
        None => no_answer("the token was replaced too often while it was waited for", DateTime::default()),
    }
}

/// A failure that has just happened.
fn failed(failure: Failure) -> TokenError {
    let failure = Box::new(failure);
    match failure.class {
        Class::Unreachable => TokenError::Unreachable { failure },
        class => TokenError::Refused { class, failure },
    }
}

/// No answer, for a reason that isn't the sign-in host's and isn't kept.
fn no_answer(words: &str, now: DateTime<Utc>) -> TokenError {
    let failure = Failure {
        class: Class::Unreachable,
        error: String::new(),
        codes: Vec::new(),
        description: words.to_owned(),
        since: now,
        count: 1,
        failed_at: now,
        next_try_at: now,
    };
    TokenError::Unreachable { failure: Box::new(failure) }
}
