//! Many at once: everything that was accepted arrives, once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use uuid::Uuid;
use waypost_harness::notification::{TENANT, collection, item, item_with};
use waypost_harness::{Received, Receiver, TestApp, WEBHOOK_SECRET, wait};

const POSTS: usize = 200;

fn marks(received: &[Received]) -> BTreeSet<String> {
    received.iter().map(|request| request.items()[0]["mark"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn many_notifications_at_once_are_all_taken_and_each_arrives_once() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;

    let posts = (0..POSTS).map(async |number| {
        tenant.accept(&[item_with(TENANT, &json!({"mark": format!("{number}")}))]).await;
    });
    join_all(posts).await;

    let received = receiver.wait_for(POSTS).await;
    assert_eq!(marks(&received).len(), POSTS);
    app.until_settled().await;
    receiver.wait_for(POSTS).await;
}

/// One POST whose copies, one for each connection of its tenant, are too much to be made while the sender waits.
#[tokio::test]
async fn a_notification_for_very_many_connections_is_taken_in_time_and_reaches_all_of_them() {
    const CONNECTIONS: usize = 60;
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let (tenant, other) = (app.tenant("acme").await, app.tenant("umbrella").await);
    tenant.primary(&receiver).await;
    for number in 0..CONNECTIONS {
        tenant.connection(&format!("conn-{number}"), TENANT).await;
    }
    let items: Vec<_> = (0..100).map(|_| item_with(TENANT, &json!({"x": "y".repeat(1000)}))).collect();

    tokio::join!(tenant.accept(&items), tenant.accept(&items), async {
        for _ in 0..20 {
            other.accept(&[item(TENANT)]).await;
        }
    });

    let received = receiver.wait_for(2 * CONNECTIONS).await;
    let connections: BTreeSet<_> = received.iter().map(Received::connection).collect();
    assert_eq!(connections.len(), CONNECTIONS);
    assert!(received.iter().all(|request| request.items() == items));
    app.until_settled().await;
    assert!(tenant.list("/events?status=unmatched").await.is_empty());
}

/// What a provider would never send, and whoever knows the URL and the secret can: as many items as fit, each of a tenant
/// and a subscription of its own.
#[tokio::test]
async fn a_notification_of_twenty_thousand_tenants_does_not_sink_those_beside_it() {
    let app = TestApp::spawn_with(|settings| settings.ingress.ack_deadline = Duration::from_secs(9)).await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    let small = |number: u32| {
        json!({
            "tenantId": Uuid::from_u128(u128::from(number)), "subscriptionId": Uuid::from_u128(u128::from(number)),
            "clientState": WEBHOOK_SECRET,
        })
    };
    let items: Vec<_> = (0..20_000).map(small).collect();
    let body = collection(&items).to_string();
    assert!(body.len() < 4 << 20);

    let hostile = async {
        app.public().post_bytes(&tenant.ingress(), body.clone()).await.expect(202);
    };
    let beside = join_all((0..20).map(async |number| {
        tenant.accept(&[item_with(TENANT, &json!({"mark": format!("{number}")}))]).await;
    }));
    tokio::join!(hostile, beside);

    receiver.wait_for(20).await;
    app.until_settled().await;
}

#[tokio::test]
async fn one_event_goes_to_many_endpoints() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    for _ in 0..30 {
        tenant.endpoint(&receiver).await;
    }

    tenant.accept(&[item(TENANT)]).await;

    let received = receiver.wait_for(30).await;
    let deliveries: BTreeSet<&str> =
        received.iter().map(|request| request.header("waypost-delivery-id")).collect();
    assert_eq!(deliveries.len(), 30);
    app.until_settled().await;
}

#[tokio::test]
async fn a_connection_that_appears_while_notifications_pour_in_misses_none() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;

    let posts = join_all((0..POSTS).map(async |number| {
        tenant.accept(&[item_with(TENANT, &json!({"mark": format!("{number}")}))]).await;
    }));
    tokio::join!(posts, tenant.connection("conn-1", TENANT));

    let received = receiver.wait_for(POSTS).await;
    assert_eq!(marks(&received).len(), POSTS);
    app.until_settled().await;
    wait::until_true("nothing to be unmatched", async || {
        tenant.list("/events?status=unmatched").await.is_empty()
    })
    .await;
    receiver.wait_for(POSTS).await;
}
