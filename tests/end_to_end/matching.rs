//! Events of a tenant that has no connection yet: kept, shown, and sent when the connection appears.

use serde_json::json;
use waypost_harness::notification::{OTHER_TENANT, TENANT, item, item_with};
use waypost_harness::{Receiver, TestApp, wait};

#[tokio::test]
async fn an_unmatched_event_is_sent_when_its_connection_appears() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    let first = item(TENANT);
    tenant.accept(&[first.clone(), item(OTHER_TENANT)]).await;
    let waiting = tenant.list("/events?status=unmatched").await;
    assert_eq!(waiting.len(), 2);
    assert!(waiting.iter().all(|event| event["connection_id"].is_null()), "{waiting:#?}");

    tenant.connection("conn-1", &TENANT.to_uppercase()).await;

    let received = receiver.wait_for(1).await;
    assert_eq!(received[0].connection(), "conn-1");
    assert_eq!(received[0].items(), [first]);
    app.until_settled().await;
    assert_eq!(tenant.list("/events?status=unmatched").await.len(), 1);
    assert_eq!(tenant.only("/events?status=delivered").await["connection_id"], "conn-1");
}

#[tokio::test]
async fn all_that_waited_is_sent_once_and_in_its_order() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    for number in 0..20 {
        tenant.accept(&[item_with(TENANT, &json!({"resourceData": {"id": number}}))]).await;
    }

    tenant.connection("conn-1", TENANT).await;

    let received = receiver.wait_for(20).await;
    let mut numbers: Vec<i64> =
        received.iter().map(|request| request.items()[0]["resourceData"]["id"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<i64>>());
    app.until_settled().await;
    receiver.wait_for(20).await;
    assert!(tenant.list("/events?status=unmatched").await.is_empty());
}

#[tokio::test]
async fn two_connections_that_appear_do_not_lose_what_waited() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.accept(&[item(TENANT)]).await;

    tenant.connection("conn-1", TENANT).await;
    tenant.connection("conn-2", TENANT).await;

    receiver.wait_for_at_least(1).await;
    app.until_settled().await;
    wait::until_true("nothing to be unmatched", async || {
        tenant.list("/events?status=unmatched").await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_moved_to_the_tenant_counts_as_well() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", OTHER_TENANT).await;
    tenant.accept(&[item(TENANT)]).await;
    assert_eq!(tenant.list("/events?status=unmatched").await.len(), 1);

    tenant.connection("conn-1", TENANT).await;

    assert_eq!(receiver.wait_for(1).await[0].connection(), "conn-1");
}

#[tokio::test]
async fn a_connection_in_another_environment_or_integration_matches_nothing() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let (acme, umbrella) = (app.tenant("acme").await, app.tenant("umbrella").await);
    umbrella.primary(&receiver).await;
    acme.accept(&[item(TENANT)]).await;
    acme.integration_with(&json!({"unique_key": "second"})).await;

    umbrella.connection("conn-1", TENANT).await;
    acme.connection_with(&json!({"connection_id": "conn-2", "provider_config_key": "second"})).await;

    // What is sent meanwhile shows that the matcher had its turn.
    umbrella.accept(&[item(TENANT)]).await;
    receiver.wait_for(1).await;
    assert_eq!(acme.list("/events?status=unmatched").await.len(), 1);
}

#[tokio::test]
async fn what_is_matched_without_an_endpoint_is_unrouted() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.accept(&[item(TENANT)]).await;

    tenant.connection("conn-1", TENANT).await;

    wait::until_true("it to be unrouted", async || {
        tenant.list("/events?kind=forward&status=unrouted").await.len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_deleted_gets_nothing_more_and_its_tenant_is_unmatched_again() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.api.delete("/connections/conn-1?provider_config_key=graph-cc").await.expect(200);
    app.until_settled().await;
    let before = receiver.count();

    tenant.accept(&[item(TENANT)]).await;

    assert_eq!(tenant.list("/events?status=unmatched").await.len(), 1);
    app.until_settled().await;
    assert_eq!(receiver.count(), before);
}
