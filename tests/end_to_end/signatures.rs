//! Signatures as a customer checks them, also while keys and secrets are being replaced.

use chrono::TimeDelta;
use standardwebhooks::Webhook;
use waypost_harness::notification::{TENANT, item};
use waypost_harness::{Receiver, TestApp, Trust};

#[tokio::test]
async fn the_official_library_takes_what_is_sent_and_refuses_what_was_touched() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.accept(&[item(TENANT)]).await;
    let received = receiver.wait_for(1).await;
    let secret = tenant.trust(&endpoint).await.secret;

    let webhook = Webhook::new(&secret).unwrap();

    webhook.verify(&received[0].body, &received[0].headers).unwrap();
    let mut touched = received[0].body.clone();
    touched[20] ^= 1;
    assert!(webhook.verify(&touched, &received[0].headers).is_err());
}

#[tokio::test]
async fn a_replaced_secret_signs_along_until_its_grace_is_over() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    let old = tenant.trust(&endpoint).await;
    let path = format!("/endpoints/{endpoint}/secret/rotate");
    tenant.api.post(&path, &serde_json::json!({})).await.expect(200);
    let new = tenant.trust(&endpoint).await;
    receiver.trust(new.clone());

    tenant.accept(&[item(TENANT)]).await;
    let during = receiver.wait_for(1).await;
    let both = during[0].header("webhook-signature");
    assert_eq!(both.split(' ').count(), 2);
    for trust in [&old, &new] {
        Webhook::new(&trust.secret).unwrap().verify(&during[0].body, &during[0].headers).unwrap();
    }

    app.advance(TimeDelta::hours(25)).await;
    tenant.accept(&[item(TENANT)]).await;
    let after = receiver.wait_for(2).await;
    assert_eq!(after[1].header("webhook-signature").split(' ').count(), 1);
    let stated = after[1].header("webhook-timestamp").parse().unwrap();
    let by_new = Webhook::new(&new.secret).unwrap().sign(after[1].event(), stated, &after[1].body).unwrap();
    assert_eq!(after[1].header("webhook-signature"), by_new);
}

#[tokio::test]
async fn a_secret_that_was_replaced_twice_signs_as_long_as_was_promised() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    let path = format!("/endpoints/{endpoint}/secret/rotate");
    let mut all = vec![tenant.trust(&endpoint).await];
    for _ in 0..4 {
        app.advance(TimeDelta::minutes(1)).await;
        tenant.api.post(&path, &serde_json::json!({})).await.expect(200);
        all.push(tenant.trust(&endpoint).await);
    }

    tenant.api.post(&path, &serde_json::json!({})).await.refused(409, "too_many_secrets");
    receiver.trust(all[4].clone());
    tenant.accept(&[item(TENANT)]).await;

    let during = receiver.wait_for(1).await;
    assert_eq!(during[0].header("webhook-signature").split(' ').count(), 5);
    for trust in &all {
        Webhook::new(&trust.secret).unwrap().verify(&during[0].body, &during[0].headers).unwrap();
    }
    // The grace of the first is over, that of the others isn't.
    app.advance(TimeDelta::hours(24) - TimeDelta::seconds(150)).await;
    tenant.accept(&[item(TENANT)]).await;
    let after = receiver.wait_for(2).await;
    assert_eq!(after[1].header("webhook-signature").split(' ').count(), 4);
    tenant.api.post(&path, &serde_json::json!({})).await.expect(200);
}

#[tokio::test]
async fn each_endpoint_signs_with_its_own_secret() {
    let app = TestApp::spawn().await;
    let (one, other) = (Receiver::start().await, Receiver::start().await);
    let tenant = app.tenant("acme").await;
    let first = tenant.endpoint(&one).await;
    let second = tenant.endpoint(&other).await;
    tenant.connection("conn-1", TENANT).await;

    tenant.accept(&[item(TENANT)]).await;

    let (one, other) = (one.wait_for(1).await, other.wait_for(1).await);
    let (first, second) = (tenant.trust(&first).await, tenant.trust(&second).await);
    assert_ne!(first.secret, second.secret);
    assert!(Webhook::new(&second.secret).unwrap().verify(&one[0].body, &one[0].headers).is_err());
    assert!(Webhook::new(&first.secret).unwrap().verify(&other[0].body, &other[0].headers).is_err());
}

#[tokio::test]
async fn a_new_signing_key_signs_from_then_on() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(1).await;

    let rotated =
        tenant.api.post("/environment/webhook-signing-key/rotate", &serde_json::json!({})).await.expect(200);
    let signing_key = rotated["data"]["webhook_signing_key"].as_str().unwrap().to_owned();
    receiver.trust(Trust { signing_key, ..tenant.trust(&endpoint).await });
    tenant.accept(&[item(TENANT)]).await;

    let received = receiver.wait_for(2).await;
    assert_ne!(received[0].header("x-nango-signature"), received[1].header("x-nango-signature"));
}
