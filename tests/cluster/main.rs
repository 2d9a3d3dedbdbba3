//! The private PostgreSQL as its users see it: it starts, survives what kills it, and keeps to itself.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use waypost::cluster::{Cluster, ClusterError, Options};

const DURABLE: Options = Options { durable: true };
const QUICK: Options = Options { durable: false };

/// A folder that the server's account may pass through, also when that is not ours.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn started(folder: &Path, options: Options) -> Cluster {
    let mut cluster = Cluster::open(folder, options).unwrap();
    cluster.start().unwrap();
    cluster
}

async fn connected(cluster: &Cluster) -> PgConnection {
    PgConnection::connect(&cluster.url("postgres")).await.unwrap()
}

async fn run(connection: &mut PgConnection, statement: &'static str) {
    sqlx::query(statement).execute(connection).await.unwrap();
}

async fn number(connection: &mut PgConnection, question: &'static str) -> i32 {
    sqlx::query_scalar(question).fetch_one(connection).await.unwrap()
}

async fn text(connection: &mut PgConnection, question: &'static str) -> String {
    sqlx::query_scalar(question).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn it_takes_connections_from_the_moment_it_has_started() {
    let folder = folder();
    let cluster = started(folder.path(), QUICK);

    let mut connection = connected(&cluster).await;

    assert_eq!(number(&mut connection, "SELECT 1").await, 1);
    assert_eq!(text(&mut connection, "SHOW listen_addresses").await, "");
    assert_eq!(text(&mut connection, "SHOW server_encoding").await, "UTF8");
    assert_eq!(text(&mut connection, "SHOW max_connections").await, "300");
    assert_eq!(text(&mut connection, "SHOW fsync").await, "off");
}

#[tokio::test]
async fn a_durable_one_keeps_the_durable_defaults() {
    let folder = folder();
    let cluster = started(folder.path(), DURABLE);

    let mut connection = connected(&cluster).await;

    for setting in ["SHOW fsync", "SHOW synchronous_commit", "SHOW full_page_writes"] {
        assert_eq!(text(&mut connection, setting).await, "on", "{setting}");
    }
}

#[tokio::test]
async fn what_was_committed_survives_a_kill_and_the_address_stays() {
    let folder = folder();
    let mut cluster = started(folder.path(), DURABLE);
    let url = cluster.url("postgres");
    let mut connection = connected(&cluster).await;
    run(&mut connection, "CREATE TABLE kept AS SELECT 7 AS value").await;

    cluster.kill().unwrap();
    assert!(!cluster.is_running());
    assert!(sqlx::query("SELECT 1").execute(&mut connection).await.is_err());
    cluster.start().unwrap();

    assert_eq!(cluster.url("postgres"), url);
    assert_eq!(number(&mut connected(&cluster).await, "SELECT value FROM kept").await, 7);
}

#[tokio::test]
async fn it_stops_and_its_folder_can_be_opened_again() {
    let folder = folder();
    let mut cluster = started(folder.path(), QUICK);
    run(&mut connected(&cluster).await, "CREATE TABLE kept AS SELECT 7 AS value").await;
    cluster.stop().unwrap();
    assert!(!cluster.is_running());
    drop(cluster);

    let cluster = started(folder.path(), QUICK);

    assert_eq!(number(&mut connected(&cluster).await, "SELECT value FROM kept").await, 7);
}

#[tokio::test]
async fn the_note_of_a_server_that_is_gone_does_not_keep_it_from_starting() {
    let folder = folder();
    let mut cluster = started(folder.path(), QUICK);
    cluster.stop().unwrap();
    drop(cluster);
    let note = folder.path().join("data/postmaster.pid");
    // The id of a process that is alive and none of PostgreSQL's, as after a restart of the machine.
    fs::write(&note, format!("{}\n{}\n", std::process::id(), note.display())).unwrap();

    let cluster = started(folder.path(), QUICK);

    assert_eq!(number(&mut connected(&cluster).await, "SELECT 1").await, 1);
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = folder();
    let _cluster = Cluster::open(folder.path(), QUICK).unwrap();

    let error = Cluster::open(folder.path(), QUICK).unwrap_err();

    assert!(matches!(error, ClusterError::InUse { .. }));
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

#[test]
fn a_folder_that_somebody_else_filled_is_refused_and_left_alone() {
    let folder = folder();
    fs::write(folder.path().join("PG_VERSION"), "15\n").unwrap();

    let error = Cluster::open(folder.path(), QUICK).unwrap_err();

    assert!(matches!(error, ClusterError::NotOurs { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn nothing_is_left_of_one_that_is_destroyed() {
    let folder = folder();
    let cluster = started(folder.path(), QUICK);

    cluster.destroy().unwrap();

    assert!(!folder.path().exists());
}
