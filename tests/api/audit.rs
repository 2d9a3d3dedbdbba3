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

/// Counts entries from change to change.
struct Counted<'a> {
    app: &'a TestApp,
    expected: usize,
}

impl<'a> Counted<'a> {
    async fn from_now(app: &'a TestApp) -> Self {
        Self { app, expected: entries(app).await.len() }
    }

    /// Asserts that `what` has left one entry.
    async fn one_more(&mut self, what: &str) {
        self.expected += 1;
        let found = entries(self.app).await;
        assert_eq!(found.len(), self.expected, "after {what}: {found:#?}");
    }
}

#[tokio::test]
async fn every_change_of_integrations_and_connections_leaves_an_entry() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let mut log = Counted::from_now(&app).await;

    tenant.integration_with(&json!({"unique_key": "second", "custom": {}})).await;
    log.one_more("an integration was made").await;
    tenant.api.patch("/integrations/second", &json!({"display_name": "Second"})).await.expect(200);
    log.one_more("an integration was changed").await;
    tenant.api.delete("/integrations/second").await.expect(200);
    log.one_more("an integration was deleted").await;
    tenant.connection("conn-1", TENANT).await;
    log.one_more("a connection was made").await;
    let path = "/connections/conn-1?provider_config_key=graph-cc";
    tenant.api.patch(path, &json!({"tags": {"a": "b"}})).await.expect(200);
    log.one_more("a connection was changed").await;
    let body = json!({"connection_id": "conn-1", "provider_config_key": "graph-cc", "metadata": {"k": "v"}});
    tenant.api.post("/connections/metadata", &body).await.expect(201);
    log.one_more("metadata was set").await;
    tenant.api.delete(path).await.expect(200);
    log.one_more("a connection was deleted").await;
}

#[tokio::test]
async fn every_change_of_endpoints_and_settings_leaves_an_entry() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    let mut log = Counted::from_now(&app).await;

    let made = tenant.api.post("/endpoints", &json!({"url": receiver.url()})).await.expect(201);
    log.one_more("an endpoint was made").await;
    let endpoint = format!("/endpoints/{}", made["id"].as_str().unwrap());
    tenant.api.patch(&endpoint, &json!({"description": "x"})).await.expect(200);
    log.one_more("an endpoint was changed").await;
    for action in ["disable", "enable", "secret/rotate"] {
        tenant.api.post(&format!("{endpoint}/{action}"), &json!({})).await.expect(200);
        log.one_more(action).await;
    }
    tenant.api.delete(&endpoint).await.expect(200);
    log.one_more("an endpoint was deleted").await;
    tenant.api.patch("/environment/webhook-settings", &json!({"on_auth_creation": false})).await.expect(200);
    log.one_more("settings were changed").await;
    tenant.api.post("/environment/webhook-signing-key/rotate", &json!({})).await.expect(200);
    log.one_more("the signing key was rotated").await;
}

#[tokio::test]
async fn every_change_by_an_admin_leaves_an_entry() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let environment = format!("/admin/environments/{}", tenant.environment);
    let mut log = Counted::from_now(&app).await;

    let account = app.admin().post("/admin/accounts", &json!({"name": "umbrella"})).await.expect(201);
    log.one_more("an account was made").await;
    let environments = format!("/admin/accounts/{}/environments", account["id"].as_str().unwrap());
    app.admin().post(&environments, &json!({"name": "dev"})).await.expect(201);
    log.one_more("an environment was made").await;
    let keys = format!("{environment}/api-keys");
    let key = app.admin().post(&keys, &json!({"display_name": "k"})).await.expect(201);
    log.one_more("a key was made").await;
    app.admin().delete(&format!("{keys}/{}", key["id"].as_str().unwrap())).await.expect(200);
    log.one_more("a key was revoked").await;
    app.admin().patch(&environment, &json!({"name": "staging"})).await.expect(200);
    log.one_more("an environment was changed").await;
    app.admin().delete(&environment).await.expect(200);
    log.one_more("an environment was deleted").await;
}

#[tokio::test]
async fn an_entry_says_who_did_what_and_when() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;

    let found = entries(&app).await;

    for entry in &found {
        for name in ["id", "at", "actor_kind", "actor", "request_id", "action", "object"] {
            assert!(entry.get(name).is_some_and(|value| !value.is_null()), "{name} in {entry}");
        }
    }
    let by = |action: &str| {
        found.iter().find(|entry| entry["action"] == action).unwrap_or_else(|| panic!("{action}: {found:#?}"))
    };
    assert_eq!(
        (&by("account.create")["actor_kind"], &by("account.create")["actor"]),
        (&json!("admin"), &json!("test-operator"))
    );
    assert_eq!(by("connection.create")["actor_kind"], "api_key");
    assert!(by("connection.create")["actor"].as_str().unwrap().starts_with("key_"), "{found:#?}");
    assert_eq!(by("connection.create")["environment"], json!(tenant.environment));
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
