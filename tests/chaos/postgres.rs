//! A durable PostgreSQL of a test's own, that may be killed. Wraps the cluster for asynchronous callers.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use waypost::cluster::{Cluster, ClusterError, Options};

const DATABASE: &str = "waypost";

/// A running server with an empty database. Dropping it stops the server and deletes its data.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// Only missing while a call is at work.
    cluster: Option<Cluster>,
    _folder: TempDir,
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The server's account, which may not be ours, has to pass through.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let data = folder.path().join("postgres");
        let cluster = tokio::task::spawn_blocking(move || Cluster::open(&data, Options { durable: true }));
        let mut postgres = Self { cluster: Some(cluster.await.unwrap().unwrap()), _folder: folder };
        postgres.start_again().await;
        let server = postgres.cluster.as_ref().unwrap().url("postgres");
        let mut server = PgConnection::connect(&server).await.unwrap();
        sqlx::query("CREATE DATABASE waypost").execute(&mut server).await.unwrap();
        postgres
    }

    /// Where the database is. Stays the same over kills.
    pub(crate) fn url(&self) -> String {
        self.cluster.as_ref().unwrap().url(DATABASE)
    }

    /// Ends the server as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.call(Cluster::kill).await;
    }

    /// Starts the server after a kill.
    pub(crate) async fn start_again(&mut self) {
        self.call(Cluster::start).await;
    }

    async fn call(&mut self, call: fn(&mut Cluster) -> Result<(), ClusterError>) {
        let mut cluster = self.cluster.take().unwrap();
        let called = tokio::task::spawn_blocking(move || {
            let result = call(&mut cluster);
            (cluster, result)
        });
        let (cluster, result) = called.await.unwrap();
        self.cluster = Some(cluster);
        result.unwrap();
    }
}
