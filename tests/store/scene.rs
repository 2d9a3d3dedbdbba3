//! What the suite works with: a database of its own, the store on it, and a clock that moves only when it is told to.
//!
//! Helpers that touch the database behind the store's back start with `db_`.

mod clock;
mod tenant;
mod work;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool};
use waypost_core::account::Name;
use waypost_core::clock::Clock as _;
use waypost_core::delivery::{NewDelivery, Settlement, Start};
use waypost_core::event::NewEvent;
use waypost_core::id::{DeliveryId, EndpointId};
use waypost_crypto::seal::KeyRing;
use waypost_postgres::append::Batch;
use waypost_postgres::delivery::RetryBounds;
use waypost_postgres::lease::{ClaimLimits, Claimed, Settled};
use waypost_postgres::{Actor, ActorKind, Config, Store};

use crate::database::Database;

pub(crate) use clock::ManualClock;
pub(crate) use tenant::{KEY, Tenant, forward_only, some_tenant};
pub(crate) use work::{OpenRow, answered, attempt, ids, settlement, tried};

/// A key of 32 bytes; only tests have it.
const ENCRYPTION_KEYS: &str = "t1:bm90LWEtc2VjcmV0LW5vdC1hLXNlY3JldC1ub3QtYS0=";
/// How long a delivery may be tried.
pub(crate) const MAX_AGE: TimeDelta = TimeDelta::days(7);
/// Within which bounds a delivery may be retried by hand.
pub(crate) const RETRY: RetryBounds = RetryBounds { max_age: MAX_AGE, keep: TimeDelta::days(14) };
/// How long a claim lasts.
pub(crate) const TERM: TimeDelta = TimeDelta::seconds(30);
/// All that is due.
pub(crate) const EVERYTHING: ClaimLimits<'static> = ClaimLimits {
    total: 20_000,
    per_endpoint: 20_000,
    endpoints: &[],
    per_environment: 20_000,
    environments: &[],
    after: None,
};

/// A database with its store. Dropping it deletes the database.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The store, as one process has it.
    pub(crate) store: Store,
    /// The clock of all its processes.
    pub(crate) clock: ManualClock,
    /// For what no function of the store shows.
    pub(crate) pool: PgPool,
    database: Arc<Database>,
}

impl Scene {
    /// A migrated database without a tenant, at noon of today.
    pub(crate) async fn start() -> Self {
        let database = Arc::new(Database::create().await);
        let clock = ManualClock::at_noon();
        let store = connect(&database, &clock).await;
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&database.url()).unwrap();
        Self { store, clock, pool, database }
    }

    /// The store, as another process has it.
    pub(crate) async fn another_process(&self) -> Store {
        connect(&self.database, &self.clock).await
    }

    /// Makes an account of that name with an environment and the integration [`KEY`].
    pub(crate) async fn tenant(&self, name: &str) -> Tenant {
        let actor = actor();
        let account = self.store.create_account(Name::parse(name).unwrap(), &actor).await.unwrap();
        let dev = Name::parse("dev").unwrap();
        let made = self.store.create_environment(account.id, dev, &actor).await.unwrap();
        Tenant::create(self.store.tenant(made.environment.id, actor), self.clock.clone()).await
    }

    /// What time it is.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Stores events and deliveries.
    pub(crate) async fn append(&self, events: Vec<NewEvent>, deliveries: Vec<NewDelivery>) {
        self.store.append_across_environments(&Batch { events, deliveries }).await.unwrap();
    }

    /// Stores that many events, each with a delivery that is due now; the deliveries in the order they were made.
    pub(crate) async fn due(&self, tenant: &Tenant, endpoint: EndpointId, count: usize) -> Vec<DeliveryId> {
        self.starting(tenant, endpoint, count, Start::Due(self.now())).await
    }

    /// Stores that many events, each with a delivery that starts so.
    pub(crate) async fn starting(
        &self,
        tenant: &Tenant,
        endpoint: EndpointId,
        count: usize,
        start: Start,
    ) -> Vec<DeliveryId> {
        let events: Vec<NewEvent> = (0..count).map(|_| tenant.event()).collect();
        let deliveries: Vec<NewDelivery> =
            events.iter().map(|event| tenant.delivery(event.id, endpoint, start)).collect();
        let ids = deliveries.iter().map(|delivery| delivery.id).collect();
        self.append(events, deliveries).await;
        ids
    }

    /// Stores one event with a delivery that is due now.
    pub(crate) async fn one_due(&self, tenant: &Tenant, endpoint: EndpointId) -> DeliveryId {
        self.due(tenant, endpoint, 1).await[0]
    }

    /// Claims within those limits.
    pub(crate) async fn claim(&self, limits: &ClaimLimits<'_>) -> Claimed {
        self.store.claim_across_environments(limits, self.now(), TERM).await.unwrap()
    }

    /// Claims all that is due.
    pub(crate) async fn claim_all(&self) -> Claimed {
        self.claim(&EVERYTHING).await
    }

    /// Settles a batch.
    pub(crate) async fn settle(&self, batch: &[Settlement]) -> Settled {
        self.store.settle_across_environments(batch, self.now(), MAX_AGE).await.unwrap()
    }

    /// A connection of its own, for what holds locks.
    pub(crate) async fn db_connect(&self) -> PgConnection {
        self.database.connect().await
    }

    /// What a query without parameters counts.
    pub(crate) async fn db_count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    /// Runs a statement without parameters.
    pub(crate) async fn db_run(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.pool).await.unwrap();
    }

    /// A delivery's row in the hot table; `None` when it isn't open.
    pub(crate) async fn db_open(&self, id: DeliveryId) -> Option<OpenRow> {
        work::open_row(&self.pool, id).await
    }

    /// How many deliveries are open.
    pub(crate) async fn db_open_count(&self) -> i64 {
        self.db_count("SELECT count(*) FROM deliveries").await
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let database = Arc::clone(&self.database);
        // A thread of its own, since a runtime can't wait inside another.
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(database.delete());
        });
        let deleted = deleted.join();
        assert!(deleted.is_ok() || std::thread::panicking(), "the test's database could not be deleted");
    }
}

async fn connect(database: &Database, clock: &ManualClock) -> Store {
    let config = Config { url: SecretString::from(database.url()), max_connections: 8 };
    let ring = KeyRing::parse(&SecretString::from(ENCRYPTION_KEYS)).unwrap();
    Store::connect(config, ring, clock.shared()).await.expect("the database is there and migrated")
}

/// Who makes the changes of this suite.
pub(crate) fn actor() -> Actor {
    Actor { kind: ActorKind::System, name: "test".to_owned(), request_id: "test".to_owned() }
}
