//! The audit log: an entry for every change, with who and when, and no way to change it.

use serde_json::{Value, json};
use waypost_harness::notification::TENANT;
use waypost_harness::{Receiver, TestApp};

async fn entries(app: &TestApp) -> Vec<Value> {
    let mut all = Vec::new();
    let mut path = "/admin/audit-log?limit=200".to_owned();
    loop {
        let page = app.viewer().get(&path).await.expect(200);
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { return all };
        path = format!("/admin/audit-log?limit=200&cursor={cursor}");
    }
}

#[tokio::test]
async fn every_change_leaves_an_entry_with_its_actor() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    let before = entries(&app).await.len();

    let environment = format!("/admin/environments/{}", tenant.environment);
    let mut expected = before;
    let mut check = async |what: &str| {
        expected += 1;
        let found = entries(&app).await;
        assert_eq!(found.len(), expected, "after {what}: {found:#?}");
    };
    tenant.integration_with(&json!({"unique_key": "second", "custom": {}})).await;
    check("an integration was made").await;
    tenant.api.patch("/integrations/second", &json!({"display_name": "Second"})).await.expect(200);
    check("an integration was changed").await;
    tenant.api.delete("/integrations/second").await.expect(200);
    check("an integration was deleted").await;
    tenant.connection("conn-1", TENANT).await;
    check("a connection was made").await;
    let path = "/connections/conn-1?provider_config_key=graph-cc";
    tenant.api.patch(path, &json!({"tags": {"a": "b"}})).await.expect(200);
    check("a connection was changed").await;
    let body = json!({"connection_id": "conn-1", "provider_config_key": "graph-cc", "metadata": {"k": "v"}});
    tenant.api.post("/connections/metadata", &body).await.expect(201);
    check("metadata was set").await;
    tenant.api.delete(path).await.expect(200);
    check("a connection was deleted").await;
    let made = tenant.api.post("/endpoints", &json!({"url": receiver.url()})).await.expect(201);
    check("an endpoint was made").await;
    let endpoint = format!("/endpoints/{}", made["id"].as_str().unwrap());
    tenant.api.patch(&endpoint, &json!({"description": "x"})).await.expect(200);
    check("an endpoint was changed").await;
    tenant.api.post(&format!("{endpoint}/disable"), &json!({})).await.expect(200);
    check("an endpoint was disabled").await;
    tenant.api.post(&format!("{endpoint}/enable"), &json!({})).await.expect(200);
    check("an endpoint was enabled").await;
    tenant.api.post(&format!("{endpoint}/secret/rotate"), &json!({})).await.expect(200);
    check("a secret was rotated").await;
    tenant.api.delete(&endpoint).await.expect(200);
    check("an endpoint was deleted").await;
    tenant.api.patch("/environment/webhook-settings", &json!({"on_auth_creation": false})).await.expect(200);
    check("settings were changed").await;
    tenant.api.post("/environment/webhook-signing-key/rotate", &json!({})).await.expect(200);
    check("the signing key was rotated").await;
    let keys = format!("{environment}/api-keys");
    let key = app.admin().post(&keys, &json!({"display_name": "k"})).await.expect(201);
    check("a key was made").await;
    app.admin().delete(&format!("{keys}/{}", key["id"].as_str().unwrap())).await.expect(200);
    check("a key was revoked").await;
    app.admin().patch(&environment, &json!({"name": "staging"})).await.expect(200);
    check("an environment was changed").await;
    app.admin().delete(&environment).await.expect(200);
    check("an environment was deleted").await;

    let found = entries(&app).await;
    for entry in &found {
        for name in ["at", "actor", "action", "object"] {
            assert!(entry.get(name).is_some_and(|value| !value.is_null()), "{name} in {entry}");
        }
    }
    assert!(found.iter().any(|entry| entry.to_string().contains("test-operator")), "{found:#?}");
    assert!(found.iter().any(|entry| entry.to_string().contains("key_")), "{found:#?}");
}

#[tokio::test]
async fn a_refused_change_leaves_no_entry() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let before = entries(&app).await.len();

    tenant
        .api
        .post("/integrations", &json!({"provider": "nonsense", "unique_key": "k"}))
        .await
        .refused(400, "invalid_body");
    tenant.api.delete("/integrations/nothing").await.refused(404, "not_found");
    tenant.api.get("/integrations").await.expect(200);
    app.viewer().post("/admin/accounts", &json!({"name": "x"})).await.refused(403, "forbidden");

    assert_eq!(entries(&app).await.len(), before);
}

#[tokio::test]
async fn entries_hold_no_secrets() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    tenant
        .api
        .patch("/integrations/graph-cc", &json!({"custom": {"webhookSecret": "changed-secret-5512"}}))
        .await
        .expect(200);

    let text = Value::from(entries(&app).await).to_string();

    for secret in ["should-see", "5512", &tenant.key, &tenant.signing_key] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn nobody_can_change_what_was_written() {
    let app = TestApp::spawn().await;
    app.tenant("acme").await;
    let mut connection = app.db_connect().await;

    for statement in ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
    {
        let error = sqlx::query(statement).execute(&mut connection).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{statement}: {error}");
    }
    let status = app.admin().delete("/admin/audit-log").await.status;
    assert_eq!(status, 405);
}

#[tokio::test]
async fn the_log_is_filtered_by_environment() {
    let app = TestApp::spawn().await;
    let (acme, umbrella) = (app.tenant("acme").await, app.tenant("umbrella").await);
    umbrella.connection("theirs", TENANT).await;

    let path = format!("/admin/audit-log?environment={}", acme.environment);
    let found = app.viewer().get(&path).await.expect(200);

    let entries = found["data"].as_array().unwrap();
    assert!(!entries.is_empty());
    assert!(entries.iter().all(|entry| entry["environment"] == json!(acme.environment)), "{found}");
}
