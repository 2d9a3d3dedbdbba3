//! Webhook settings of an environment, and its signing key.

use reqwest::Method;
use serde_json::{Value, json};
use waypost_harness::{Receiver, TestApp};

const PATH: &str = "/environment/webhook-settings";

#[tokio::test]
async fn a_new_environment_sends_nowhere_and_keeps_nangos_switches() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    let shown = tenant.api.get(PATH).await.expect(200);

    assert_eq!(shown["primary_url"], json!(null));
    assert_eq!(shown["secondary_url"], json!(null));
    for switch in ["on_auth_creation", "on_auth_refresh_error", "forward_client_state"] {
        assert_eq!(shown[switch], true, "{switch} in {shown}");
    }
}

#[tokio::test]
async fn settings_are_changed_one_by_one() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;

    tenant.api.patch(PATH, &json!({"primary_url": receiver.url()})).await.expect(200);
    tenant.api.patch(PATH, &json!({"forward_client_state": false})).await.expect(200);

    let shown = tenant.api.get(PATH).await.expect(200);
    assert_eq!(shown["primary_url"], receiver.url());
    assert_eq!(shown["forward_client_state"], false);
    assert_eq!(shown["on_auth_creation"], true);
    for cleared in [json!(""), json!(null)] {
        tenant.api.patch(PATH, &json!({"primary_url": receiver.url()})).await.expect(200);
        tenant.api.patch(PATH, &json!({"primary_url": cleared})).await.expect(200);
        assert_eq!(tenant.api.get(PATH).await.expect(200)["primary_url"], json!(null), "{cleared}");
    }
}

#[tokio::test]
async fn the_two_urls_are_the_endpoints_named_primary_and_secondary() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    let urls = json!({"primary_url": receiver.at("/one"), "secondary_url": receiver.at("/two")});
    tenant.api.patch(PATH, &urls).await.expect(200);

    let endpoints = tenant.list("/endpoints").await;

    let url = |kind: &str| {
        endpoints.iter().find(|endpoint| endpoint["kind"] == kind).map(|endpoint| endpoint["url"].clone())
    };
    assert_eq!(url("primary"), Some(json!(receiver.at("/one"))), "{endpoints:#?}");
    assert_eq!(url("secondary"), Some(json!(receiver.at("/two"))));
}

#[tokio::test]
async fn urls_that_may_not_be_reached_and_unknown_settings_are_refused() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for body in [
        json!({"primary_url": "not a url"}),
        json!({"primary_url": "http://10.0.0.1/"}),
        json!({"primary_url": "https://169.254.169.254/latest"}),
        json!({"secondary_url": "ftp://127.0.0.1/"}),
        json!({"primary_url": 7}),
        json!({"on_auth_creation": "yes"}),
        json!({"colour": "red"}),
        json!({}),
    ] {
        let answer = tenant.api.patch(PATH, &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let refused = tenant.api.patch(PATH, &json!({"primary_url": "http://10.0.0.1/"})).await.json();
    assert!(!refused.to_string().contains("panick"), "{refused}");
    assert_eq!(tenant.api.get(PATH).await.expect(200)["primary_url"], json!(null));
}

#[tokio::test]
async fn the_signing_key_is_replaced_for_its_own_environment_only() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    let rotated = tenant.api.post("/environment/webhook-signing-key/rotate", &json!({})).await.expect(200);

    let key: uuid::Uuid = rotated["data"]["webhook_signing_key"].as_str().unwrap().parse().unwrap();
    assert_eq!(key.get_version_num(), 4);
    assert_ne!(key.to_string(), tenant.signing_key);
    let plain: Value = tenant
        .api
        .send(tenant.api.request(Method::POST, "/environment/webhook-signing-key/rotate"))
        .await
        .expect(200);
    assert_ne!(plain["data"]["webhook_signing_key"], rotated["data"]["webhook_signing_key"]);
}
