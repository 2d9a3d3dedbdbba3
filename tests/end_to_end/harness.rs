//! The harness itself: a check that can't fail is none.

use serde_json::json;
use waypost_harness::notification::{TENANT, item};
use waypost_harness::{Receiver, Reply, TestApp, Trust};

#[tokio::test]
#[should_panic(expected = "deliveries were left")]
async fn work_that_is_left_fails_the_test() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    receiver.answer(Reply::status(500));
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(1).await;
}

#[tokio::test]
#[should_panic(expected = "nobody whom the receiver trusts")]
async fn a_request_that_is_signed_by_somebody_else_fails_the_test() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    let made = tenant.api.post("/endpoints", &json!({"url": receiver.url()})).await.expect(201);
    let trust = tenant.trust(made["id"].as_str().unwrap()).await;
    receiver.trust(Trust { signing_key: "another key".to_owned(), ..trust });

    tenant.accept(&[item(TENANT)]).await;

    receiver.wait_for(1).await;
}

#[tokio::test]
#[should_panic(expected = "the receiver got more than was expected")]
async fn more_than_was_expected_fails_the_test() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.accept(&[item(TENANT)]).await;
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(2).await;

    receiver.wait_for(1).await;
}
