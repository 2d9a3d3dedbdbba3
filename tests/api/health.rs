//! Health and metrics, and which listener has what.

use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;
use waypost::roles::Role;
use waypost_harness::TestApp;
use waypost_harness::notification::TENANT;

#[tokio::test]
async fn both_listeners_tell_their_health_to_anybody() {
    let app = TestApp::spawn().await;

    for client in [app.public(), app.instance().admin()] {
        client.get("/health/live").await.expect(200);
        client.get("/health/ready").await.expect(200);
    }
}

#[tokio::test]
async fn metrics_are_text_with_bounded_labels_on_the_admin_listener() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.accept(&[waypost_harness::notification::item(TENANT)]).await;

    let shown = app.instance().admin().get("/metrics").await;

    assert_eq!(shown.status, 200);
    assert!(shown.header("content-type").starts_with("text/plain"), "{}", shown.header("content-type"));
    let text = shown.text();
    assert!(text.contains("waypost_ingress_requests_total"), "{text}");
    for name in [&tenant.environment, "graph-cc", TENANT, "acme"] {
        assert!(!text.contains(name), "{name} in {text}");
    }
}

#[tokio::test]
async fn metrics_may_be_kept_behind_a_token() {
    let token = "a-metrics-token-of-some-length";
    let app =
        TestApp::spawn_with(|settings| settings.admin.metrics_token = Some(SecretString::from(token))).await;
    let admin = app.instance().admin();

    assert_eq!(admin.get("/metrics").await.status, 401);
    assert_eq!(admin.with_token("wrong").get("/metrics").await.status, 401);
    assert_eq!(admin.with_token(token).get("/metrics").await.status, 200);
}

#[tokio::test]
async fn the_public_listener_has_no_metrics_and_no_admin_api() {
    let app = TestApp::spawn().await;
    let operator = app.admin().at(&app.public().url(""));

    for path in ["/metrics", "/admin", "/admin/accounts", "/openapi.json"] {
        let answer = operator.get(path).await;
        assert!(matches!(answer.status, 404 | 401), "{path}: {}", answer.status);
        assert!(!answer.text().contains("\"data\""), "{path}: {}", answer.text());
    }
    assert_eq!(app.public().get("/metrics").await.status, 404);
    assert_eq!(app.public().get("/admin/accounts").await.status, 404);
}

#[tokio::test]
async fn a_process_without_ingress_and_api_has_no_public_listener_but_health_and_metrics() {
    let app = TestApp::spawn_as(&[Role::Relay], |_| {}).await;

    assert!(!app.instance().has_public());
    let admin = app.instance().admin();
    admin.get("/health/ready").await.expect(200);
    assert_eq!(admin.get("/metrics").await.status, 200);
    assert_eq!(app.admin().get("/admin/accounts").await.status, 404);
}

#[tokio::test]
async fn an_ingress_process_takes_notifications_and_has_no_environment_api() {
    let app = TestApp::spawn_as(&[Role::Api], |_| {}).await;
    let tenant = app.tenant("acme").await;
    let ingress = app.another(&[Role::Ingress], |_| {}).await;

    ingress.public().post(&tenant.ingress(), &tenant.notification(TENANT)).await.expect(202);

    let path = "/integrations";
    assert_eq!(ingress.public().with_token(&tenant.key).get(path).await.status, 404);
    assert_eq!(app.public().post(&tenant.ingress(), &json!({"value": []})).await.status, 404);
    assert_eq!(tenant.list("/events").await.len(), 1);
}

#[tokio::test]
async fn paths_that_are_not_there_are_404_and_other_methods_405() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    tenant.api.get("/nothing/here").await.refused(404, "not_found");
    let answer = tenant.api.send(tenant.api.request(Method::PUT, "/integrations").json(&json!({}))).await;
    answer.refused(405, "method_not_allowed");
    let mut allowed: Vec<&str> = answer.header("allow").split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let app = TestApp::spawn().await;

    let first = app.public().get("/health/live").await;
    let second = app.public().get("/health/live").await;

    assert!(!first.header("request-id").is_empty());
    assert_ne!(first.header("request-id"), second.header("request-id"));
}
