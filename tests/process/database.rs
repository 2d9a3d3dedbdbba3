//! An empty database for each test, on the server that the tests may use.

use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use url::Url;
use uuid::Uuid;
use waypost_harness::program::Site;

/// Names the server.
const VARIABLE: &str = "WAYPOST_TEST_POSTGRES";

/// A database of a test's own. Dropping it deletes the database.
#[derive(Debug)]
pub(crate) struct Database {
    name: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let name = format!("waypost_process_{}", Uuid::new_v4().simple());
        execute(format!("CREATE DATABASE {name}")).await;
        Self { name }
    }

    /// An installation with this database.
    pub(crate) fn site(&self) -> Site {
        self.site_with(&[])
    }

    /// An installation with this database and more settings.
    pub(crate) fn site_with(&self, settings: &[(&str, &str)]) -> Site {
        Site::with(&self.url(), settings)
    }

    pub(crate) fn url(&self) -> String {
        let mut url = Url::parse(&server()).unwrap();
        url.set_path(&self.name);
        url.into()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A thread of its own, since a runtime can't wait inside another.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(execute(statement));
        });
        assert!(dropped.join().is_ok() || std::thread::panicking(), "{} could not be deleted", self.name);
    }
}

fn server() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!("{VARIABLE} is not set: run these tests with `make test`, or below `scripts/with-postgres --`")
    })
}

async fn execute(statement: String) {
    let mut server = PgConnectOptions::from_str(&server()).unwrap().connect().await.unwrap();
    server.execute(AssertSqlSafe(statement.as_str())).await.unwrap();
}
