//! The log of attempts: what was answered, as far as it is kept.

use chrono::TimeDelta;
use serde_json::{Value, json};
use waypost_harness::notification::{TENANT, item};
use waypost_harness::{Receiver, Reply, Tenant, TestApp};

async fn delivered(app: &TestApp, receiver: &Receiver) -> (Tenant, Value) {
    let tenant = app.tenant("acme").await;
    tenant.primary(receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for_at_least(1).await;
    app.until_settled().await;
    let shown = shown(&tenant).await;
    (tenant, shown)
}

async fn shown(tenant: &Tenant) -> Value {
    let listed = tenant.only("/deliveries").await;
    tenant.api.get(&format!("/deliveries/{}", listed["id"].as_str().unwrap())).await.expect(200)
}

#[tokio::test]
async fn an_attempt_keeps_status_headers_and_the_beginning_of_the_body() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let body = "b".repeat(20_000);
    let reply = Reply::status(201)
        .header("x-theirs", "kept")
        .header("set-cookie", "session=secret")
        .body(body.clone());
    receiver.answer(reply);

    let (_tenant, shown) = delivered(&app, &receiver).await;

    let attempt = &shown["attempt_log"][0];
    assert_eq!((&attempt["number"], &attempt["status_code"]), (&json!(1), &json!(201)));
    let headers = attempt["response_headers"].to_string();
    assert!(headers.contains("x-theirs") && headers.contains("kept"), "{headers}");
    assert!(!headers.contains("session=secret"), "{headers}");
    assert_eq!(attempt["response_body"].as_str().unwrap(), &body[..16 * 1024]);
}

#[tokio::test]
async fn bytes_that_are_no_text_do_no_harm() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    receiver.answer(
        Reply::status(200).header("x-latin", "caf\u{e9}").body(b"nul \x00 and \xff\xfe\xc3".to_vec()),
    );

    let (_tenant, shown) = delivered(&app, &receiver).await;

    assert_eq!(shown["status"], "delivered");
    assert!(shown["attempt_log"][0]["response_body"].as_str().unwrap().starts_with("nul "), "{shown}");
}

#[tokio::test]
async fn attempts_stand_in_their_order_with_their_times() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    receiver.script([Reply::status(500).body("first"), Reply::reset()]);
    let (tenant, _) = delivered(&app, &receiver).await;
    for attempts in 2..=3 {
        app.advance(TimeDelta::minutes(7)).await;
        receiver.wait_for(attempts).await;
        app.until_settled().await;
    }

    let shown = shown(&tenant).await;

    let log = shown["attempt_log"].as_array().unwrap();
    let numbers: Vec<u64> = log.iter().map(|attempt| attempt["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let times: Vec<&str> = log.iter().map(|attempt| attempt["started_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(log[0]["response_body"], "first");
    assert_eq!((&log[1]["status_code"], &log[1]["error"]), (&json!(null), &json!("reset")));
    assert_eq!(log[2]["status_code"], 200);
}
