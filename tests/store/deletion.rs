//! Deletions: nothing of what is deleted stays open, not even what is being sent.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use sqlx::AssertSqlSafe;
use waypost_core::delivery::{DeliveryStatus, Ending, Lease, Next, Start};
use waypost_core::event::{EventKind, NewEvent};
use waypost_core::id::{ConnectionKey, DeliveryId, EndpointId, EnvironmentId};
use waypost_core::page::Page;
use waypost_postgres::event::EventFilter;

use crate::scene::{Scene, TERM, Tenant, actor, some_tenant, tried};

const WAITING: &str = "SELECT count(*) FROM unmatched";

/// Deliveries of a connection's events in each open state: pending, later, held, sending, and sending for too long.
async fn open_of(
    scene: &Scene,
    tenant: &Tenant,
    endpoint: EndpointId,
    connection: Option<ConnectionKey>,
) -> Vec<DeliveryId> {
    let now = scene.now();
    let starts = [
        Start::Due(now),
        Start::Due(now + TimeDelta::hours(1)),
        Start::Held,
        Start::Leased(Lease::starting(now, TERM)),
        Start::Leased(Lease::starting(now, -TERM)),
    ];
    let events: Vec<NewEvent> = starts.iter().map(|_| NewEvent { connection, ..tenant.event() }).collect();
    let deliveries: Vec<_> = starts
        .iter()
        .zip(&events)
        .map(|(start, event)| tenant.delivery(event.id, endpoint, *start))
        .collect();
    let ids = deliveries.iter().map(|delivery| delivery.id).collect();
    scene.append(events, deliveries).await;
    ids
}

async fn assert_all(tenant: &Tenant, ids: &[DeliveryId], ending: Ending) {
    for id in ids {
        assert_eq!(tenant.find(*id).await.ending, Some(ending), "{id}");
    }
}

#[tokio::test]
async fn deleting_an_environment_leaves_nothing_open() {
    let scene = Scene::start().await;
    let (tenant, other) = (scene.tenant("acme").await, scene.tenant("umbrella").await);
    let (endpoint, of_other) = (tenant.endpoint().await, other.endpoint().await);
    let open = open_of(&scene, &tenant, endpoint, None).await;
    let kept = open_of(&scene, &other, of_other, None).await;
    // More than one step of the deletion takes.
    let event = tenant.event();
    let many = (0..6000).map(|_| tenant.delivery(event.id, endpoint, Start::Due(scene.now()))).collect();
    scene.append(vec![event], many).await;
    let waiting = [&tenant, &other].map(|one| one.unmatched(Some(some_tenant())));
    scene.append(waiting.into(), Vec::new()).await;

    assert!(scene.store.delete_environment(tenant.environment(), &actor()).await.unwrap());

    assert_all(&tenant, &open, Ending::Discarded).await;
    assert_eq!(scene.db_open_count().await, i64::try_from(kept.len()).unwrap());
    assert_eq!(scene.db_count("SELECT count(*) FROM delivery_results WHERE ending = 4").await, 6005);
    assert_eq!(scene.db_count(WAITING).await, 1, "nothing of it waits");
    assert!(!scene.store.delete_environment(tenant.environment(), &actor()).await.unwrap(), "only once");

    // What was accepted in that very moment goes with the next look.
    let late = open_of(&scene, &tenant, endpoint, None).await;
    scene.append(vec![tenant.unmatched(Some(some_tenant()))], Vec::new()).await;
    let mut discarded = 0;
    loop {
        let round = scene.store.discard_of_deleted_across_environments().await.unwrap();
        if round == 0 {
            break;
        }
        discarded += round;
    }
    assert_eq!(discarded, 6);
    assert_eq!(scene.db_count(WAITING).await, 1, "that of the other one");
    assert_all(&tenant, &late, Ending::Discarded).await;
}

#[tokio::test]
async fn deleting_a_connection_ends_its_own_deliveries_and_still_tells_of_it() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.primary().await;
    let (first, second) =
        (tenant.connection("conn-1", some_tenant()).await, tenant.connection("conn-2", some_tenant()).await);
    let open = open_of(&scene, &tenant, endpoint, Some(first)).await;
    let kept = open_of(&scene, &tenant, endpoint, Some(second)).await;
    let sending = scene.claim_all().await.ready;
    let one = sending.iter().find(|leased| open.contains(&leased.id)).unwrap();

    tenant.delete_connection("conn-1").await;

    assert_all(&tenant, &open, Ending::Discarded).await;
    for id in &kept {
        assert!(tenant.find(*id).await.ending.is_none(), "{id}");
    }
    let told = EventFilter { kinds: Some(vec![EventKind::AuthDeletion]), ..EventFilter::default() };
    let told = tenant.store.list_events(&told, &Page::default()).await.unwrap().rows;
    assert_eq!(told.len(), 1);
    let notice = tenant.store.find_event(told[0].id).await.unwrap().unwrap();
    let pending: Vec<_> = notice.deliveries.iter().map(|one| (one.endpoint, one.status)).collect();
    assert_eq!(pending, [(endpoint, DeliveryStatus::Pending)]);
    // The one that was on its way comes too late to be delivered.
    let late = tried(one, scene.now(), 200, Next::Ended(Ending::Delivered));
    assert_eq!(scene.settle(&[late]).await.lost, 1);
    assert_eq!(tenant.status(one.id).await, DeliveryStatus::Discarded);
}

#[tokio::test]
async fn deleting_an_integration_leaves_nothing_of_its_connections_open() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let connections =
        [tenant.connection("conn-1", some_tenant()).await, tenant.connection("conn-2", some_tenant()).await];
    let mut open = open_of(&scene, &tenant, endpoint, None).await;
    for connection in connections {
        open.extend(open_of(&scene, &tenant, endpoint, Some(connection)).await);
    }
    let of_nothing = NewEvent { integration: None, ..tenant.event() };
    let kept = tenant.delivery(of_nothing.id, endpoint, Start::Due(scene.now()));
    let kept_id = kept.id;
    scene.append(vec![of_nothing], vec![kept]).await;

    tenant.delete_integration().await;

    assert_all(&tenant, &open, Ending::Discarded).await;
    assert_eq!(tenant.status(kept_id).await, DeliveryStatus::Pending, "it belongs to no integration");
    assert_eq!(scene.db_open_count().await, 1);
    assert_eq!(scene.db_count("SELECT count(*) FROM connections WHERE deleted_at IS NULL").await, 0);
}

#[tokio::test]
async fn deleting_a_connection_ends_what_goes_to_its_override() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    tenant.primary().await;
    let connection = tenant.connection_with_override("conn-1", some_tenant()).await;
    let endpoint = tenant.endpoint_of_kind(waypost_core::endpoint::EndpointKind::Override).await;
    let open = open_of(&scene, &tenant, endpoint, Some(connection)).await;

    tenant.delete_connection("conn-1").await;

    assert_all(&tenant, &open, Ending::Discarded).await;
    assert_eq!(scene.db_open_count().await, 1, "the notice of it");
}

#[tokio::test]
async fn what_was_accepted_in_the_moment_of_a_deletion_is_discarded_when_its_turn_comes() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.primary().await;
    let (gone, there) =
        (tenant.connection("conn-1", some_tenant()).await, tenant.connection("conn-2", some_tenant()).await);
    scene.claim_all().await;
    tenant.delete_connection("conn-1").await;
    let notices: Vec<DeliveryId> = scene.claim_all().await.ready.iter().map(|leased| leased.id).collect();
    let late = open_of(&scene, &tenant, endpoint, Some(gone)).await;
    let kept = open_of(&scene, &tenant, endpoint, Some(there)).await;

    let claimed = scene.claim_all().await;

    assert_eq!(notices.len(), 1, "the notice of the deletion itself goes out");
    assert_eq!(claimed.ready.iter().map(|leased| leased.id).collect::<Vec<_>>(), kept[..1]);
    assert_eq!(claimed.to_discard.iter().map(|row| row.delivery).collect::<Vec<_>>(), late[..1]);
}

#[tokio::test]
async fn a_connection_whose_credentials_can_not_be_opened_can_be_deleted() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    tenant.connection("conn-1", some_tenant()).await;
    tenant.connection("conn-2", some_tenant()).await;
    scene.db_run("UPDATE connections SET credentials = 'no sealed value'").await;

    tenant.delete_connection("conn-1").await;
    tenant.delete_integration().await;

    assert_eq!(scene.db_count("SELECT count(*) FROM connections WHERE deleted_at IS NULL").await, 0);
}

/// Sealed and hashed columns that outlive their environment: history, which leaves with its day, and hashes, which open
/// nothing and match nothing once the environment is unknown.
const KEPT: [&str; 5] =
    ["api_keys.hash", "attempts.response", "events.body", "events.proof", "subscriptions.state_hash"];

/// In how many rows of an environment each column of bytes holds something.
async fn bytes_left(scene: &Scene, environment: EnvironmentId) -> BTreeMap<String, i64> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname::text, a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE a.atttypid = 'bytea'::regtype AND a.attnum > 0 AND NOT a.attisdropped AND NOT c.relispartition
           AND c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND c.relname NOT IN ('own_keys', '_sqlx_migrations')",
    )
    .fetch_all(&scene.pool)
    .await
    .unwrap();
    let mut left = BTreeMap::new();
    for (table, column) in columns {
        let key = if table == "environments" { "id" } else { "environment_id" };
        let query = format!("SELECT count(*) FROM {table} WHERE {key} = $1 AND octet_length({column}) > 0");
        let count = sqlx::query_scalar(AssertSqlSafe(query)).bind(environment.uuid());
        left.insert(format!("{table}.{column}"), count.fetch_one(&scene.pool).await.unwrap());
    }
    left
}

#[tokio::test]
async fn deleting_an_environment_destroys_its_secrets_and_no_others() {
    let scene = Scene::start().await;
    let (tenant, other) = (scene.tenant("acme").await, scene.tenant("umbrella").await);
    for one in [&tenant, &other] {
        one.secrets().await;
    }
    let (before, of_other) =
        (bytes_left(&scene, tenant.environment()).await, bytes_left(&scene, other.environment()).await);

    scene.store.delete_environment(tenant.environment(), &actor()).await.unwrap();

    let mut after = bytes_left(&scene, tenant.environment()).await;
    after.retain(|column, count| *count > 0 && !KEPT.contains(&column.as_str()));
    assert_eq!(after, BTreeMap::new());
    for column in [
        "connections.credentials",
        "endpoint_secrets.sealed",
        "endpoints.headers",
        "environments.signing_key",
        "integration_secrets.sealed",
        "integrations.credentials",
    ] {
        assert!(before[column] > 0, "{column} held nothing to destroy");
    }
    assert_eq!(bytes_left(&scene, other.environment()).await, of_other);
    assert_eq!(scene.db_count("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL").await, 1);
}
