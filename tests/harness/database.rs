//! A database for each test, copied from one that was migrated once.
//!
//! The template's name holds a hash of the migrations and the day (its partitions are made ahead from that day), so a
//! stale one is never used. Whoever comes first makes it, under an advisory lock and another name until it is whole.

use std::str::FromStr as _;

use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use url::Url;
use uuid::Uuid;
use waypost_core::clock::{self, Clock as _, SystemClock};
use waypost_postgres::{Config, MIGRATOR, Store};

/// Names the server that the tests may make databases on.
const VARIABLE: &str = "WAYPOST_TEST_POSTGRES";
/// Guards the making of the template.
const LOCK: i64 = 0x77_6179_706f_7374;

/// One test's database.
#[derive(Debug)]
pub(crate) struct Database {
    name: String,
}

impl Database {
    /// Makes one.
    pub(crate) async fn create() -> Self {
        let template = template().await;
        let name = format!("waypost_test_{}", Uuid::new_v4().simple());
        let mut server = connect(&server_url()).await;
        run(&mut server, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self { name }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        url_of(&self.name)
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> PgConnection {
        connect(&self.url()).await
    }

    /// Deletes it.
    pub(crate) async fn delete(&self) {
        let mut server = connect(&server_url()).await;
        run(&mut server, format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await;
    }
}

fn server_url() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} is not set: these tests need a PostgreSQL to make databases on. Run them with `make test`, or \
             some of them with `scripts/with-postgres -- cargo nextest run -p waypost-tests …`"
        )
    })
}

fn url_of(database: &str) -> String {
    let mut url =
        Url::parse(&server_url()).unwrap_or_else(|error| panic!("{VARIABLE} is not a URL: {error}"));
    url.set_path(database);
    url.into()
}

async fn connect(url: &str) -> PgConnection {
    let options = PgConnectOptions::from_str(url).unwrap().application_name("waypost tests");
    PgConnection::connect_with(&options)
        .await
        .unwrap_or_else(|error| panic!("can't connect to {url}: {error}"))
}

async fn run(connection: &mut PgConnection, statement: String) {
    connection
        .execute(AssertSqlSafe(statement.as_str()))
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

async fn template() -> String {
    let name = template_name();
    let mut server = connect(&server_url()).await;
    // Held until the connection closes, which the end of this function sees to.
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut server).await.unwrap();
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut server)
        .await
        .unwrap();
    if !exists {
        let unfinished = format!("{name}_unfinished");
        run(&mut server, format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)")).await;
        run(&mut server, format!("CREATE DATABASE {unfinished}")).await;
        let config = Config { url: SecretString::from(url_of(&unfinished)), max_connections: 4 };
        Store::migrate(&config, &clock::system()).await.expect("the migrations apply to an empty database");
        run(&mut server, format!("ALTER DATABASE {unfinished} RENAME TO {name}")).await;
    }
    server.close().await.unwrap();
    name
}

fn template_name() -> String {
    let mut hash = Sha256::new();
    for migration in MIGRATOR.iter() {
        hash.update(&migration.checksum);
    }
    let day = SystemClock.now().format("%Y%m%d");
    format!("waypost_template_{day}_{}", &hex::encode(hash.finalize())[..16])
}
