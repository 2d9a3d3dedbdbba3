//! The API keys of an environment, as its operators manage them.

use serde_json::json;
use uuid::Uuid;
use waypost_harness::{Tenant, TestApp};

fn keys(tenant: &Tenant) -> String {
    format!("/admin/environments/{}/api-keys", tenant.environment)
}

#[tokio::test]
async fn a_key_is_shown_once_and_listed_without_itself() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let wanted = json!({"display_name": "worker", "scopes": ["environment:connections:*"]});

    let made = app.admin().post(&keys(&tenant), &wanted).await.expect(201);
    let listed = app.viewer().get(&keys(&tenant)).await.expect(200);

    assert!(made["id"].as_str().unwrap().starts_with("key_"));
    assert_eq!(made["display_name"], "worker");
    assert_eq!(made["scopes"], json!(["environment:connections:*"]));
    assert!(made["created_at"].is_string());
    let secret: Uuid = made["secret"].as_str().unwrap().parse().unwrap();
    assert_eq!(secret.get_version_num(), 4);
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2), "{listed}");
    assert_eq!(listed["next_cursor"], json!(null));
    assert!(!listed.to_string().contains(&secret.to_string()));
    assert!(!listed.to_string().contains(&tenant.key));
}

#[tokio::test]
async fn a_key_that_makes_no_sense_is_refused() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for wanted in [
        json!({}),
        json!({"display_name": ""}),
        json!({"display_name": "a".repeat(256)}),
        json!({"display_name": "x", "scopes": []}),
        json!({"display_name": "x", "scopes": ["environment:nonsense"]}),
        json!({"display_name": "x", "scopes": "environment:*"}),
        json!({"display_name": "x", "expires_at": "2001-01-01T00:00:00Z"}),
        json!({"display_name": "x", "expires_at": "tomorrow"}),
        json!({"display_name": "x", "colour": "red"}),
        json!([]),
    ] {
        app.admin().post(&keys(&tenant), &wanted).await.refused(400, "invalid_body");
    }
}

#[tokio::test]
async fn an_environment_has_at_most_fifty_keys() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    for number in 1..50 {
        app.admin().post(&keys(&tenant), &json!({"display_name": format!("key {number}")})).await.expect(201);
    }

    app.admin()
        .post(&keys(&tenant), &json!({"display_name": "one too many"}))
        .await
        .refused(400, "resource_capped");
}

#[tokio::test]
async fn keys_of_an_environment_that_is_not_there_are_404() {
    let app = TestApp::spawn().await;
    let path = format!("/admin/environments/{}/api-keys", Uuid::new_v4());

    app.admin().get(&path).await.refused(404, "not_found");
    app.admin().post(&path, &json!({"display_name": "x"})).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_key_of_another_environment_can_not_be_revoked_here() {
    let app = TestApp::spawn().await;
    let (acme, umbrella) = (app.tenant("acme").await, app.tenant("umbrella").await);
    let theirs =
        app.admin().get(&keys(&umbrella)).await.expect(200)["data"][0]["id"].as_str().unwrap().to_owned();

    app.admin().delete(&format!("{}/{theirs}", keys(&acme))).await.refused(404, "not_found");

    umbrella.api.get("/integrations").await.expect(200);
}
