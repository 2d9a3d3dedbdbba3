//! Notices of connections: Nango's `auth` webhook.

use serde_json::json;
use waypost_harness::notification::{TENANT, item};
use waypost_harness::{Receiver, Reply, TestApp};

#[tokio::test]
async fn making_a_connection_is_told_byte_for_byte_as_nango_tells_it() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.api.patch("/environment/webhook-settings", &json!({"on_auth_creation": true})).await.expect(200);
    let end_user = json!({"id": "u1", "email": "a@b.example", "tags": {}});

    tenant.connection("conn-1", TENANT).await;
    tenant
        .connection_with(&json!({"connection_id": "conn-2", "end_user": end_user, "tags": {"org": "x"}}))
        .await;

    let mut bodies: Vec<String> =
        receiver.wait_for(2).await.iter().map(waypost_harness::Received::text).collect();
    bodies.sort();
    assert_eq!(
        bodies[0],
        r#"{"authMode":"OAUTH2_CC","connectionId":"conn-1","environment":"dev","from":"nango","operation":"creation","provider":"microsoft-oauth2-cc","providerConfigKey":"graph-cc","success":true,"tags":{},"type":"auth"}"#
    );
    let second: serde_json::Value = serde_json::from_str(&bodies[1]).unwrap();
    assert_eq!(second["endUser"]["endUserId"], "u1");
    assert_eq!(second["endUser"]["endUserEmail"], "a@b.example");
    assert_eq!(second["tags"]["org"], "x");
}

#[tokio::test]
async fn making_it_again_and_deleting_it_are_told_too() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.endpoint_with(&receiver, &json!({"filter": {}})).await;

    tenant.connection("conn-1", TENANT).await;
    tenant.connection("conn-1", TENANT).await;
    // What is still on its way when a connection is deleted is discarded with it.
    receiver.wait_for(2).await;
    tenant.api.delete("/connections/conn-1?provider_config_key=graph-cc").await.expect(200);

    let received = receiver.wait_for(3).await;
    let mut operations: Vec<String> =
        received.iter().map(|request| request.json()["operation"].as_str().unwrap().to_owned()).collect();
    operations.sort();
    assert_eq!(operations, ["creation", "deletion", "override"]);
    assert!(received.iter().all(|request| request.json()["connectionId"] == "conn-1"));
}

#[tokio::test]
async fn the_switch_gates_primary_and_secondary_only() {
    let app = TestApp::spawn().await;
    let (primary, secondary, custom) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let tenant = app.tenant("acme").await;
    tenant.primary(&primary).await;
    tenant.secondary(&secondary).await;
    tenant.endpoint_with(&custom, &json!({"filter": {}})).await;

    tenant.connection("conn-1", TENANT).await;
    custom.wait_for(1).await;
    app.until_settled().await;
    assert_eq!((primary.count(), secondary.count()), (0, 0));

    tenant.api.patch("/environment/webhook-settings", &json!({"on_auth_creation": true})).await.expect(200);
    tenant.connection("conn-2", TENANT).await;
    primary.wait_for(1).await;
    secondary.wait_for(1).await;
    custom.wait_for(2).await;
}

#[tokio::test]
async fn a_notice_is_an_event_that_nobody_has_to_want() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    tenant.connection("conn-1", TENANT).await;

    let event = tenant.only("/events").await;
    assert_eq!((&event["kind"], &event["status"]), (&json!("auth.creation"), &json!("unrouted")));
    assert_eq!(event["connection_id"], "conn-1");
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_told_to_the_others_and_never_to_itself() {
    let app = TestApp::spawn().await;
    app.leave_work();
    let (gone, other) = (Receiver::start().await, Receiver::start().await);
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    let endpoint = tenant.endpoint_with(&gone, &json!({"filter": {}})).await;
    tenant.endpoint_with(&other, &json!({"filter": {"event_types": ["endpoint"]}})).await;
    gone.answer(Reply::status(410));

    tenant.accept(&[item(TENANT)]).await;

    let wanted = format!(
        r#"{{"endpoint":{{"id":"{endpoint}","url":"{}"}},"from":"waypost","operation":"disabled","reason":"gone","type":"endpoint"}}"#,
        gone.url()
    );
    assert_eq!(other.wait_for(1).await[0].text(), wanted);
    app.until_settled().await;
    gone.wait_for(1).await;
    assert_eq!(tenant.only("/events?kind=endpoint.disabled").await["status"], "delivered");
}

#[tokio::test]
async fn an_endpoint_that_is_disabled_by_hand_is_told_to_the_others_once_and_never_to_itself() {
    let app = TestApp::spawn().await;
    let (disabled, other, elsewhere) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.endpoint_with(&disabled, &json!({"filter": {}})).await;
    tenant.endpoint_with(&other, &json!({"filter": {"event_types": ["endpoint.disabled"]}})).await;
    tenant.endpoint_with(&elsewhere, &json!({"filter": {"event_types": ["forward"]}})).await;

    for _ in 0..2 {
        tenant.api.post(&format!("/endpoints/{endpoint}/disable"), &json!({})).await.expect(200);
    }

    let wanted = format!(
        r#"{{"endpoint":{{"id":"{endpoint}","url":"{}"}},"from":"waypost","operation":"disabled","reason":"manual","type":"endpoint"}}"#,
        disabled.url()
    );
    assert_eq!(other.wait_for(1).await[0].text(), wanted);
    app.until_settled().await;
    assert_eq!(tenant.only("/events?kind=endpoint.disabled").await["status"], "delivered");
    assert_eq!((disabled.count(), elsewhere.count()), (0, 0));
}
