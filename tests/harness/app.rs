//! The application under test: started on free ports, spoken to over HTTP, and asked at the end whether it is done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use waypost::application::Application;
use waypost::config::Settings;
use waypost::roles::{Role, Roles};
use waypost::shutdown::Shutdown;
use waypost_core::clock::{Clock as _, SharedClock};
use waypost_postgres::{Config, Store};

use crate::client::Client;
use crate::clock::TestClock;
use crate::database::Database;
use crate::tenant::Tenant;
use crate::{logs, wait};

/// A key of 32 bytes; only tests have it.
const ENCRYPTION_KEYS: &str = "t1:bm90LWEtc2VjcmV0LW5vdC1hLXNlY3JldC1ub3QtYS0=";
const JWT_SECRET: &str = "a secret that only tests know, 32 bytes or more";
const AUDIENCE: &str = "waypost-admin";
/// How many deliveries are due or in flight.
const UNSETTLED: &str =
    "SELECT count(*) FROM deliveries WHERE lease_token IS NOT NULL OR (held_at IS NULL AND due_at <= $1)";

/// The application with a database of its own. Dropping it ends it in good order, fails the test if a delivery is left
/// (see [`TestApp::leave_work`]), and deletes the database.
#[derive(Debug)]
pub struct TestApp {
    instance: Instance,
    settings: Settings,
    roles: Roles,
    clock: TestClock,
    database: Arc<Database>,
    work_may_be_left: AtomicBool,
}

/// One process's worth of application. Dropping it ends it in good order.
#[derive(Debug)]
pub struct Instance {
    public: Option<SocketAddr>,
    admin: SocketAddr,
    http: Client,
    shutdown: Shutdown,
    killed: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

struct Addresses {
    public: Option<SocketAddr>,
    admin: SocketAddr,
}

impl TestApp {
    /// Starts it with all roles.
    pub async fn spawn() -> Self {
        Self::spawn_with(|_| {}).await
    }

    /// Starts it with settings that differ from a test's usual ones.
    pub async fn spawn_with(edit: impl FnOnce(&mut Settings)) -> Self {
        Self::spawn_as(&[], edit).await
    }

    /// Starts it with some roles only.
    pub async fn spawn_as(roles: &[Role], edit: impl FnOnce(&mut Settings)) -> Self {
        logs::keep();
        let database = Arc::new(Database::create().await);
        let mut settings = usual_settings(&database.url());
        edit(&mut settings);
        let clock = TestClock::default();
        let roles = Roles::chosen(roles);
        let instance = Instance::start(settings.clone(), roles.clone(), clock.shared()).await;
        Self { instance, settings, roles, clock, database, work_may_be_left: AtomicBool::new(false) }
    }

    /// Another process beside it, on the same database, with the same settings but for `edit`.
    pub async fn another(&self, roles: &[Role], edit: impl FnOnce(&mut Settings)) -> Instance {
        let mut settings = self.settings.clone();
        edit(&mut settings);
        Instance::start(settings, Roles::chosen(roles), self.clock.shared()).await
    }

    /// The process that it is.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The admin listener, as an operator.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.instance.admin_as("operator")
    }

    /// The admin listener, as a viewer.
    #[must_use]
    pub fn viewer(&self) -> Client {
        self.instance.admin_as("viewer")
    }

    /// The public listener, without credentials.
    #[must_use]
    pub fn public(&self) -> Client {
        self.instance.public()
    }

    /// Makes an account of that name with an environment `dev`.
    pub async fn tenant(&self, name: &str) -> Tenant {
        Tenant::create(self, name, "dev").await
    }

    /// The clock of all its processes.
    #[must_use]
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Moves the clock on and wakes the workers.
    pub async fn advance(&self, by: TimeDelta) {
        self.clock.advance(by);
        self.db_wake_workers().await;
    }

    /// Waits until no delivery is due or in flight.
    pub async fn until_settled(&self) {
        let mut connection = self.database.connect().await;
        wait::until_true("all deliveries to be settled", async || {
            unsettled(&mut connection, self.clock.now()).await == 0
        })
        .await;
    }

    /// Permits that deliveries are left when it is dropped: held, waiting for their next try, or in flight.
    pub fn leave_work(&self) {
        self.work_may_be_left.store(true, Ordering::SeqCst);
    }

    /// Ends it in good order, as SIGTERM does; panics when it ended otherwise.
    pub async fn stop(&mut self) {
        self.instance.stop().await;
    }

    /// Starts it again after [`TestApp::stop`] or [`TestApp::kill`], with the same settings on the same database.
    pub async fn restart(&mut self) {
        self.instance = Instance::start(self.settings.clone(), self.roles.clone(), self.clock.shared()).await;
    }

    /// Ends it as SIGKILL would: whatever it was doing, it stops.
    pub async fn kill(&mut self) {
        self.instance.kill().await;
    }

    /// What all applications of this process have logged so far.
    #[must_use]
    pub fn logs(&self) -> String {
        logs::text()
    }

    /// A connection to its database, for what no API shows.
    pub async fn db_connect(&self) -> PgConnection {
        self.database.connect().await
    }

    /// Where its database is.
    #[must_use]
    pub fn db_url(&self) -> String {
        self.database.url()
    }

    /// The store of its database, for the keys that look-ups are hashed with.
    pub async fn db_store(&self) -> Store {
        let config = Config { url: SecretString::from(self.database.url()), max_connections: 4 };
        let keys = self.settings.security.encryption_keys.clone().expect("tests have keys");
        Store::connect(config, keys, self.clock.shared()).await.expect("the database is there and migrated")
    }

    /// Tells the workers of all processes to look for work.
    pub async fn db_wake_workers(&self) {
        sqlx::query("NOTIFY waypost_work").execute(&mut self.database.connect().await).await.unwrap();
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        self.instance.end(failing);
        let (database, may_be_left) =
            (Arc::clone(&self.database), self.work_may_be_left.load(Ordering::SeqCst));
        // A thread of its own, since a runtime can't wait inside another.
        let left = std::thread::spawn(move || {
            runtime().block_on(async move {
                let left = if may_be_left || failing { Vec::new() } else { deliveries(&database).await };
                database.delete().await;
                left
            })
        });
        match left.join() {
            Ok(left) if failing || left.is_empty() => {}
            Ok(left) => panic!("deliveries were left (leave_work permits it): {left:#?}"),
            Err(_) if failing => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Instance {
    async fn start(settings: Settings, roles: Roles, clock: SharedClock) -> Self {
        let (shutdown, killed) = (Shutdown::new(), CancellationToken::new());
        let (tell, told) = oneshot::channel();
        let thread = std::thread::spawn({
            let (shutdown, killed) = (shutdown.clone(), killed.clone());
            move || {
                let runtime = runtime();
                let result = runtime.block_on(async {
                    tokio::select! {
                        result = run(settings, roles, clock, shutdown, tell) => result,
                        () = killed.cancelled() => Ok(()),
                    }
                });
                runtime.shutdown_background();
                result
            }
        });
        let Ok(Addresses { public, admin }) = told.await else {
            match thread.join() {
                Ok(result) => panic!("the application did not start: {result:?}"),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        };
        let http = Client::new(format!("http://{admin}"));
        Self { public, admin, http, shutdown, killed, thread: Some(thread) }
    }

    /// The public listener, without credentials; panics where the roles have none.
    #[must_use]
    pub fn public(&self) -> Client {
        let address = self.public.expect("these roles have a public listener");
        self.http.at(&format!("http://{address}"))
    }

    /// Whether it has a public listener.
    #[must_use]
    pub fn has_public(&self) -> bool {
        self.public.is_some()
    }

    /// The admin listener, without credentials.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.http.clone()
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The address of the public listener; panics where the roles have none.
    #[must_use]
    pub fn public_address(&self) -> SocketAddr {
        self.public.expect("these roles have a public listener")
    }

    /// The admin listener, with a token of `role`.
    #[must_use]
    pub fn admin_as(&self, role: &str) -> Client {
        let token = admin_token(&json!({"sub": format!("test-{role}"), "role": role, "aud": AUDIENCE}));
        self.http.with_token(token)
    }

    /// Asks it to end in good order, without waiting for it.
    pub fn request_stop(&self) {
        self.shutdown.request();
    }

    /// Ends it in good order, as SIGTERM does; panics when it ended otherwise.
    pub async fn stop(&mut self) {
        self.shutdown.request();
        self.joined().await;
    }

    /// Ends it as SIGKILL would: whatever it was doing, it stops.
    pub async fn kill(&mut self) {
        self.killed.cancel();
        self.joined().await;
    }

    async fn joined(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let result = tokio::task::spawn_blocking(move || thread.join()).await.unwrap();
        result.expect("the application did not panic").expect("the application ended in good order");
    }

    /// Ends it while being dropped.
    fn end(&mut self, failing: bool) {
        self.shutdown.request();
        let Some(thread) = self.thread.take() else { return };
        let result = thread.join();
        if !failing {
            result.expect("the application did not panic").expect("the application ended in good order");
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.end(std::thread::panicking());
    }
}

/// An admin token with these claims; `exp` is added where it is missing.
#[must_use]
pub fn admin_token(claims: &Value) -> String {
    let mut claims = claims.clone();
    if claims.get("exp").is_none() {
        claims["exp"] = json!(TestClock::default().now().timestamp() + 365 * 24 * 3600);
    }
    encode(&Header::default(), &claims, &EncodingKey::from_secret(JWT_SECRET.as_bytes())).unwrap()
}

async fn run(
    settings: Settings,
    roles: Roles,
    clock: SharedClock,
    shutdown: Shutdown,
    tell: oneshot::Sender<Addresses>,
) -> anyhow::Result<()> {
    let application = Application::build(settings, roles, clock).await?;
    let addresses = Addresses { public: application.public_address(), admin: application.admin_address() };
    // Only fails when the test has given up already.
    let _told = tell.send(addresses);
    application.run(shutdown).await
}

fn usual_settings(database_url: &str) -> Settings {
    let values = [
        ("SERVER__PUBLIC_LISTEN", "127.0.0.1:0"),
        ("SERVER__ADMIN_LISTEN", "127.0.0.1:0"),
        ("DATABASE__URL", database_url),
        ("DATABASE__MAX_CONNECTIONS", "8"),
        ("SECURITY__ENCRYPTION_KEYS", ENCRYPTION_KEYS),
        ("ADMIN__JWT_SECRET", JWT_SECRET),
        ("EGRESS__ALLOW", "127.0.0.0/8"),
        // Nobody listens there: a test that needs Graph or Entra brings its own.
        ("GRAPH__BASE_URL", "http://127.0.0.1:9"),
        ("GRAPH__LOGIN_URL", "http://127.0.0.1:9"),
    ];
    let environment = values.map(|(key, value)| (format!("WAYPOST__{key}"), value.to_owned()));
    Settings::from_sources(None, &environment).expect("the settings of tests are right")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn unsettled(connection: &mut PgConnection, now: DateTime<Utc>) -> i64 {
    sqlx::query_scalar(UNSETTLED).bind(now).fetch_one(connection).await.unwrap()
}

async fn deliveries(database: &Database) -> Vec<String> {
    let rows = "SELECT row_to_json(d)::text FROM deliveries d ORDER BY id LIMIT 10";
    sqlx::query_scalar(rows).fetch_all(&mut database.connect().await).await.unwrap()
}
