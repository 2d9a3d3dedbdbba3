//! Changes that wait for each other in a circle: the database undoes one of them, and it is made again.

use sqlx::{Connection as _, PgConnection};
use tokio_util::task::TaskTracker;
use waypost_core::endpoint::{EndpointKind, EndpointUrl};
use waypost_harness::wait;
use waypost_postgres::endpoint::{EndpointChanges, Update};

use crate::scene::{Scene, some_tenant};

const LOCK_ENDPOINT: &str = "SELECT id FROM endpoints WHERE kind = 'override' FOR UPDATE";
const LOCK_CONNECTION: &str = "SELECT id FROM connections FOR UPDATE";

async fn run(connection: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}

/// Waits until so many statements wait for locks.
async fn until_waiting(scene: &Scene, count: i64) {
    wait::until_true(&format!("{count} to wait for a lock"), async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        scene.db_count(waiting).await == count
    })
    .await;
}

#[tokio::test]
async fn a_change_that_the_database_undid_for_another_is_made_again_and_once() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    tenant.connection_with_override("conn-1", some_tenant()).await;
    let endpoint = tenant.endpoint_of_kind(EndpointKind::Override).await;
    let (mut first, mut rival) = (scene.db_connect().await, scene.db_connect().await);
    // The rival never gives way.
    run(&mut rival, "SET deadlock_timeout = '1h'").await;
    let mut of_first = first.begin().await.unwrap();
    run(&mut of_first, LOCK_ENDPOINT).await;
    run(&mut rival, "BEGIN").await;
    run(&mut rival, LOCK_CONNECTION).await;

    // The change takes the endpoint, then its connection; the rival has the connection, and wants the endpoint.
    let tasks = TaskTracker::new();
    let store = tenant.store.clone();
    let change = tasks.spawn(async move {
        let url = EndpointUrl::parse("https://moved.example/hook").unwrap();
        store
            .update_endpoint(endpoint, EndpointChanges { url: Some(url), ..EndpointChanges::default() })
            .await
    });
    until_waiting(&scene, 1).await;
    let rivalry = tasks.spawn(async move {
        run(&mut rival, LOCK_ENDPOINT).await;
        // It has both: so the change was undone.
        run(&mut rival, "COMMIT").await;
    });
    until_waiting(&scene, 2).await;
    of_first.commit().await.unwrap();

    rivalry.await.unwrap();
    let Update::Done(changed) = change.await.unwrap().unwrap() else { panic!("the endpoint is there") };
    assert_eq!(changed.url.unwrap().as_str(), "https://moved.example/hook");
    let overrides: Vec<String> = sqlx::query_scalar("SELECT webhook_url_override FROM connections")
        .fetch_all(&scene.pool)
        .await
        .unwrap();
    assert_eq!(overrides, ["https://moved.example/hook"]);
    assert_eq!(scene.db_count("SELECT count(*) FROM audit_log WHERE action = 'endpoint.update'").await, 1);
}
