//! Items with encrypted content, while no certificate can be registered: kept as they came, never sent, never lost.

use chrono::TimeDelta;
use serde_json::{Value, json};
use waypost_harness::notification::{TENANT, collection, item, item_with};
use waypost_harness::{Receiver, TestApp};

fn rich() -> Value {
    item_with(
        TENANT,
        &json!({"encryptedContent": {
            "data": "AAAA", "dataSignature": "AAAA", "dataKey": "AAAA",
            "encryptionCertificateId": "unknown", "encryptionCertificateThumbprint": "00",
        }}),
    )
}

#[tokio::test]
async fn a_rich_item_waits_for_its_certificate_and_spends_no_attempt() {
    let app = TestApp::spawn().await;
    app.leave_work();
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;

    let mut body = collection(&[rich()]);
    body["validationTokens"] = json!(["a.b.c"]);
    tenant.post_notification(&body).await.expect(202);
    tenant.accept(&[item(TENANT)]).await;

    receiver.wait_for(1).await;
    app.until_settled().await;
    let pending = tenant.list("/deliveries?status=pending").await;
    assert_eq!(pending.len(), 1, "{pending:#?}");
    assert_eq!(pending[0]["attempts"], 0);
    assert!(!receiver.received()[0].text().contains("encryptedContent"));
}

#[tokio::test]
async fn a_rich_item_that_nobody_can_open_is_dead_when_it_is_too_old() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.accept(&[rich()]).await;
    app.until_settled().await;

    app.advance(TimeDelta::days(8)).await;

    waypost_harness::wait::until_true("it to be dead", async || {
        tenant.only("/deliveries").await["status"] == "dead"
    })
    .await;
    assert_eq!(receiver.count(), 0);
}
