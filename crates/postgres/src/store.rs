//! The store itself: its pools, its keys, and the scope of a tenant.

use std::io;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::migrate::MigrateDatabase as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Postgres, Transaction};
use waypost_core::clock::SharedClock;
use waypost_core::id::EnvironmentId;
use waypost_crypto::seal::{KeyRing, Place};
use waypost_crypto::token::HashKey;
use zeroize::Zeroizing;

use crate::{MIGRATOR, StoreError};

/// How the statements of workers are planned: once and by index. A planner that meets an almost empty table would choose
/// scans, and keep them.
pub const PLANNED_ONCE: [(&str, &str); 4] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// How long a connection is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the store is reached.
#[derive(Debug, Clone)]
pub struct Config {
    /// `postgres://…`.
    pub url: SecretString,
    /// The most connections of this process, workers and API together; at least 4.
    pub max_connections: u32,
}

/// The store. Cheap to clone; all clones share their pools.
#[derive(Debug, Clone)]
pub struct Store {
    workers: PgPool,
    requests: PgPool,
    keys: Arc<Keys>,
    clock: SharedClock,
    url: SecretString,
}

#[derive(Debug)]
struct Keys {
    ring: KeyRing,
    hash: HashKey,
}

/// Who makes a change.
#[derive(Debug, Clone)]
pub struct Actor {
    /// What kind of actor it is.
    pub kind: ActorKind,
    /// Who: a token's `sub`, or an API key's id.
    pub name: String,
    /// The request that the change came with.
    pub request_id: String,
}

/// The kinds of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A person or script with an admin token.
    Admin,
    /// An API key of the environment.
    ApiKey,
    /// Waypost itself.
    System,
    /// Whoever connects by a link.
    EndUser,
}

impl ActorKind {
    /// The word in the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::ApiKey => "api_key",
            Self::System => "system",
            Self::EndUser => "end_user",
        }
    }
}

/// The store, seen from one environment. Nothing of another can be reached through it.
#[derive(Debug, Clone)]
pub struct TenantStore {
    pub(crate) store: Store,
    pub(crate) environment: EnvironmentId,
    pub(crate) actor: Actor,
}

impl Store {
    /// Connects, checks the schema, and reads (or, once, makes) the key that look-ups are hashed with.
    ///
    /// # Errors
    /// [`StoreError::Schema`] when the database is not migrated, [`StoreError::Sealed`] when none of the encryption keys
    /// opens what is there, else why the database can't be reached.
    pub async fn connect(config: Config, ring: KeyRing, clock: SharedClock) -> Result<Self, StoreError> {
        let options = options(&config)?;
        reach(&options).await?;
        let for_requests = (config.max_connections / 4).max(2);
        let for_workers = config.max_connections.saturating_sub(for_requests).max(2);
        let worker_options = options
            .clone()
            .options(PLANNED_ONCE)
            .options([("statement_timeout", "30s"), ("idle_in_transaction_session_timeout", "60s")]);
        // Lists are planned for the filters that they have: a plan for all of them would use no index.
        let request_options = options.options([
            ("plan_cache_mode", "force_custom_plan"),
            ("statement_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "30s"),
        ]);
        let workers = pool(for_workers).connect_with(worker_options).await?;
        // A worker's failed statement is tried again; a person's request should not meet a connection that has died.
        let requests = pool(for_requests).test_before_acquire(true).connect_lazy_with(request_options);
        check_schema(&workers).await?;
        let hash = own_hash_key(&workers, &ring).await?;
        Ok(Self { workers, requests, keys: Arc::new(Keys { ring, hash }), clock, url: config.url })
    }

    /// Brings the database to the schema of this executable. Safe to run twice, at once, and beside old processes.
    ///
    /// # Errors
    /// When the database can't be reached or a migration fails.
    pub async fn migrate(config: &Config, clock: &SharedClock) -> Result<(), StoreError> {
        let options = options(config)?;
        reach(&options).await?;
        let pool = pool(1).connect_with(options).await?;
        MIGRATOR.run(&pool).await.map_err(StoreError::Migrate)?;
        crate::partition::make_ahead(&pool, clock.now()).await?;
        pool.close().await;
        Ok(())
    }

    /// Makes the database that `config` names when its server doesn't have it yet.
    ///
    /// # Errors
    /// When the server can't be reached, or refuses.
    pub async fn create_database(config: &Config) -> Result<(), StoreError> {
        let url = config.url.expose_secret();
        if !Postgres::database_exists(url).await? {
            Postgres::create_database(url).await?;
        }
        Ok(())
    }

    /// The store as the environment `id` sees it, for changes that `actor` makes.
    #[must_use]
    pub fn tenant(&self, id: EnvironmentId, actor: Actor) -> TenantStore {
        TenantStore { store: self.clone(), environment: id, actor }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.workers.execute("SELECT 1").await?;
        Ok(())
    }

    /// The key that look-ups are hashed with.
    #[must_use]
    pub fn hash_key(&self) -> &HashKey {
        &self.keys.hash
    }

    /// Closes all connections, once what is under way is done.
    pub async fn close(&self) {
        self.requests.close().await;
        self.workers.close().await;
    }

    pub(crate) fn workers(&self) -> &PgPool {
        &self.workers
    }

    /// For what admins ask across environments; requests of one environment go through [`TenantStore`].
    pub(crate) fn requests(&self) -> &PgPool {
        &self.requests
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    pub(crate) fn url(&self) -> &SecretString {
        &self.url
    }

    pub(crate) fn seal(
        &self,
        table: &'static str,
        column: &'static str,
        row: &[u8],
        plain: &[u8],
    ) -> Vec<u8> {
        self.keys.ring.seal(Place { table, column, row }, plain)
    }

    pub(crate) fn open(
        &self,
        table: &'static str,
        column: &'static str,
        row: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let place = Place { table, column, row };
        self.keys.ring.open(place, sealed).map_err(|source| StoreError::Sealed { table, column, source })
    }

    /// Opens a sealed text.
    pub(crate) fn open_text(
        &self,
        table: &'static str,
        column: &'static str,
        row: &[u8],
        sealed: &[u8],
    ) -> Result<SecretString, StoreError> {
        let plain = self.open(table, column, row, sealed)?;
        let text =
            std::str::from_utf8(&plain).map_err(|_| StoreError::inconsistent(table, column, "(sealed)"))?;
        Ok(SecretString::from(text))
    }
}

impl TenantStore {
    /// The environment that this scope is bound to.
    #[must_use]
    pub const fn environment(&self) -> EnvironmentId {
        self.environment
    }

    /// Who makes the changes.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Begins a transaction that sees this environment's rows and no others.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut tx = self.store.requests.begin().await?;
        // Both hold for this transaction only, so a connection goes back to the pool as it came.
        sqlx::query(
            "SELECT set_config('role', 'waypost_tenant', true), set_config('waypost.environment', $1, true)",
        )
        .bind(self.environment.to_string())
        .execute(&mut *tx)
        .await?;
        Ok(tx)
    }
}

fn options(config: &Config) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(config.url.expose_secret())?;
    // What fails is told by whoever asked, with its cause; the driver would print whole statements.
    Ok(options.application_name("waypost").disable_statement_logging())
}

/// Connects once: a pool would only tell that it waited in vain, and not why.
async fn reach(options: &PgConnectOptions) -> Result<(), StoreError> {
    let connected = tokio::time::timeout(PATIENCE, options.connect()).await;
    let connection = connected.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(StoreError::Unreachable)?;
    // It served its purpose, however it closes.
    connection.close().await.unwrap_or_default();
    Ok(())
}

fn pool(size: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(PATIENCE)
        .idle_timeout(Duration::from_mins(5))
        .test_before_acquire(false)
        // Whose machine is gone without a word would keep its place in the pool for as long as the network hopes.
        .after_release(|connection, _| {
            Box::pin(async move {
                let answered = tokio::time::timeout(PATIENCE, connection.ping()).await;
                let silence = || Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()));
                answered.unwrap_or_else(|_| silence()).map(|()| true)
            })
        })
}

async fn check_schema(pool: &PgPool) -> Result<(), StoreError> {
    let wanted = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default();
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    let found: Option<i64> = if exists {
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(pool).await?
    } else {
        None
    };
    // A newer schema is fine: migrations expand first, so the version before still runs beside them.
    if found.is_some_and(|found| found >= wanted) {
        return Ok(());
    }
    let found = found.map_or_else(|| "empty".to_owned(), |found| found.to_string());
    Err(StoreError::Schema { found, wanted })
}

/// Reads the hash key, or makes it when this database has none. Never replaced: every stored hash depends on it.
async fn own_hash_key(pool: &PgPool, ring: &KeyRing) -> Result<HashKey, StoreError> {
    const NAME: &str = "lookup";
    let place = Place { table: "own_keys", column: "sealed", row: NAME.as_bytes() };
    let fresh = ring.seal(place, HashKey::generate().expose_bytes());
    sqlx::query!(
        "INSERT INTO own_keys (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        NAME,
        fresh
    )
    .execute(pool)
    .await?;
    let sealed =
        sqlx::query_scalar!("SELECT sealed FROM own_keys WHERE name = $1", NAME).fetch_one(pool).await?;
    let opened = ring.open(place, &sealed).map_err(|source| StoreError::Sealed {
        table: "own_keys",
        column: "sealed",
        source,
    })?;
    let bytes = <[u8; 32]>::try_from(opened.as_slice())
        .map_err(|_| StoreError::inconsistent("own_keys", "sealed", NAME))?;
    Ok(HashKey::from_bytes(bytes))
}
