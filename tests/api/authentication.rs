//! Who may come in, and what those are told who may not: Nango's bodies on the public listener, admin tokens on the other.

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use uuid::Uuid;
use waypost_harness::{Answer, TestApp, admin_token};

async fn with_header(app: &TestApp, value: Option<&str>) -> Answer {
    let request = app.public().request(Method::GET, "/integrations");
    let request = match value {
        Some(value) => request.header(AUTHORIZATION, value),
        None => request,
    };
    app.public().send(request).await
}

fn unauthorized(code: &str, message: &str) -> Value {
    json!({"error": {"message": format!("Authentication failed. {message}"), "code": code, "payload": {}}})
}

#[tokio::test]
async fn a_missing_malformed_or_unknown_key_is_refused_in_nangos_words() {
    let app = TestApp::spawn().await;
    let unknown = format!("Bearer {}", Uuid::new_v4());

    for (header, code, message) in [
        (None, "missing_auth_header", "The request is missing the Authorization header."),
        (Some("Bearer "), "malformed_auth_header", "The Authorization header is malformed."),
        (Some("Bearer not-a-uuid"), "invalid_secret_key_format", "The provided secret key is not a UUID v4."),
        (
            Some("Bearer 11111111-1111-1111-8111-111111111111"),
            "invalid_secret_key_format",
            "The provided secret key is not a UUID v4.",
        ),
        (
            Some(unknown.as_str()),
            "unknown_account",
            "The provided authorization header does not match any account.",
        ),
    ] {
        let answer = with_header(&app, header).await;

        assert_eq!(answer.status, 401, "{header:?}");
        assert_eq!(answer.json(), unauthorized(code, message), "{header:?}");
    }
}

#[tokio::test]
async fn a_key_may_be_given_with_or_without_the_word_bearer_and_in_any_case() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for header in [
        format!("Bearer {}", tenant.key),
        tenant.key.clone(),
        format!("Bearer {}", tenant.key.to_uppercase()),
    ] {
        assert_eq!(with_header(&app, Some(&header)).await.status, 200, "{header}");
    }
}

#[tokio::test]
async fn a_key_ends_with_its_time_and_when_it_is_revoked() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let keys = format!("/admin/environments/{}/api-keys", tenant.environment);
    let end = "2099-01-01T00:00:00Z";
    let made =
        app.admin().post(&keys, &json!({"display_name": "short", "expires_at": end})).await.expect(201);
    let short = app.public().with_token(made["secret"].as_str().unwrap());
    short.get("/integrations").await.expect(200);

    let revoke = format!("{keys}/{}", made["id"].as_str().unwrap());
    app.admin().delete(&revoke).await.expect(200);

    short.get("/integrations").await.refused(401, "unknown_account");
    app.admin().delete(&revoke).await.refused(404, "not_found");
    let made = app
        .admin()
        .post(&keys, &json!({"display_name": "soon", "expires_at": "2098-01-01T00:00:00Z"}))
        .await
        .expect(201);
    let soon = app.public().with_token(made["secret"].as_str().unwrap());
    app.clock().advance(chrono::TimeDelta::days(365 * 80));
    soon.get("/integrations").await.refused(401, "unknown_account");
    tenant.api.get("/integrations").await.expect(200);
}

#[tokio::test]
async fn a_scope_that_is_missing_is_named() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let keys = format!("/admin/environments/{}/api-keys", tenant.environment);
    let wanted = json!({"display_name": "reader", "scopes": ["environment:integrations:list"]});
    let made = app.admin().post(&keys, &wanted).await.expect(201);
    let reader = app.public().with_token(made["secret"].as_str().unwrap());

    reader.get("/integrations").await.expect(200);
    let refused = reader.get("/connections").await;

    assert_eq!(refused.status, 403);
    let message = "Insufficient scope. Required: environment:connections:list";
    assert_eq!(refused.json(), json!({"error": {"code": "forbidden", "message": message}}));
}

#[tokio::test]
async fn a_body_has_to_say_that_it_is_json() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let body = json!({"provider": "microsoft-oauth2-cc", "unique_key": "k"}).to_string();

    let request = tenant
        .api
        .request(Method::POST, "/integrations")
        .header(CONTENT_TYPE, "text/plain")
        .body(body.clone());
    let refused = tenant.api.send(request).await;

    assert_eq!(refused.status, 415);
    let message = "Content-Type header must be application/json";
    assert_eq!(refused.json(), json!({"error": {"code": "invalid_content_type", "message": message}}));
    let request = tenant.api.request(Method::POST, "/integrations").body(body.clone());
    tenant.api.send(request).await.expect(200);
    let request = tenant
        .api
        .request(Method::PATCH, "/integrations/k")
        .header(CONTENT_TYPE, "application/json; charset=utf-8");
    tenant.api.send(request.body(r#"{"display_name":"K"}"#)).await.expect(200);
}

#[tokio::test]
async fn an_admin_token_has_to_be_ours_and_valid() {
    let app = TestApp::spawn().await;
    let admin = app.instance().admin();
    let good = json!({"sub": "ada", "role": "operator", "aud": "waypost-admin"});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        admin_token(&claims)
    };

    assert_eq!(admin.with_token(admin_token(&good)).get("/admin/accounts").await.status, 200);
    let forged = format!("{}x", admin_token(&good));
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEiLCJyb2xlIjoib3BlcmF0b3IiLCJhdWQiOiJ3YXlwb3N0LWFkbWluIiwiZXhwIjo0MTAyNDQ0ODAwfQ.";
    for token in [
        with("exp", json!(1_000_000_000)),
        with("aud", json!("somebody-else")),
        forged,
        unsigned.to_owned(),
        Uuid::new_v4().to_string(),
        "x".to_owned(),
    ] {
        assert_eq!(admin.with_token(&token).get("/admin/accounts").await.status, 401, "{token}");
    }
    assert_eq!(admin.get("/admin/accounts").await.status, 401);
}

#[tokio::test]
async fn a_token_without_a_known_role_is_forbidden() {
    let app = TestApp::spawn().await;
    let admin = app.instance().admin();

    for claims in [
        json!({"sub": "ada", "aud": "waypost-admin"}),
        json!({"sub": "ada", "aud": "waypost-admin", "role": "owner"}),
        json!({"sub": "ada", "aud": "waypost-admin", "role": "Operator"}),
    ] {
        let answer = admin.with_token(admin_token(&claims)).get("/admin/accounts").await;
        answer.refused(403, "forbidden");
    }
}

#[tokio::test]
async fn keys_and_admin_tokens_are_not_mixed_up() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    assert_eq!(app.instance().admin().with_token(&tenant.key).get("/admin/accounts").await.status, 401);
    assert_eq!(app.admin().at(&app.public().url("")).get("/integrations").await.status, 401);
}

#[tokio::test]
async fn a_viewer_reads_but_changes_nothing_and_sees_no_secret() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", waypost_harness::notification::TENANT).await;
    let receiver = waypost_harness::Receiver::bystander().await;
    let endpoint = tenant.endpoint(&receiver).await;
    let environment = format!("/admin/environments/{}", tenant.environment);
    let viewer = app.viewer().below(&environment);

    for path in [
        "/integrations",
        "/connections",
        "/events",
        "/deliveries",
        "/rejections",
        "/endpoints",
        "/environment/webhook-settings",
    ] {
        viewer.get(path).await.expect(200);
    }
    let shown = viewer.get("/connections/conn-1?provider_config_key=graph-cc").await.expect(200);
    assert_eq!(shown["credentials"], json!({}), "{shown}");
    // A person has a role and no scopes.
    for path in [
        format!("/endpoints/{endpoint}/secret"),
        "/connections/conn-1?provider_config_key=graph-cc&refresh_token=true".to_owned(),
    ] {
        let refused = viewer.get(&path).await.refused(403, "forbidden");
        assert_eq!(refused["error"]["message"], "This needs the role operator", "{path}");
    }
    let all = viewer
        .get("/integrations/graph-cc?include=credentials&include=webhook")
        .await
        .expect(200)
        .to_string();
    assert!(!all.contains(waypost_harness::WEBHOOK_SECRET), "{all}");
    viewer
        .post("/integrations", &json!({"provider": "microsoft-oauth2-cc", "unique_key": "k"}))
        .await
        .refused(403, "forbidden");
    viewer.delete("/integrations/graph-cc").await.refused(403, "forbidden");
    viewer
        .patch("/environment/webhook-settings", &json!({"primary_url": ""}))
        .await
        .refused(403, "forbidden");
    app.viewer().post("/admin/accounts", &json!({"name": "x"})).await.refused(403, "forbidden");
    app.viewer().delete(&environment).await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_path_with_escaped_letters_is_the_path_with_the_letters() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for (plain, escaped) in [
        ("/integrations", "/%69ntegrations"),
        ("/connections", "/%63onnection%73"),
        ("/endpoints/nothing", "/endpoint%73/nothing"),
        ("/events?limit=0", "/%65vents?limit=0"),
        ("/endpoints?colour=red", "/%65ndpoints?colour=red"),
        ("/proxy/v1.0/me", "/%70roxy/v1.0/me"),
        ("/nothing", "/%6eothing"),
    ] {
        let (wanted, got) = (tenant.api.get(plain).await, tenant.api.get(escaped).await);
        assert_eq!((got.status, got.body), (wanted.status, wanted.body), "{escaped}");
        assert_eq!(app.public().get(escaped).await.status, app.public().get(plain).await.status, "{escaped}");
    }
    let once =
        tenant.api.request(Method::POST, "/%65ndpoints").header("Idempotency-Key", "k").json(&json!({}));
    tenant.api.send(once).await.refused(400, "idempotency_key_not_available");
    let head = tenant.api.request(Method::HEAD, "/%65ndpoints");
    assert_eq!(tenant.api.send(head).await.status, 200);
    let below = app.admin().get("/%61dmin/environments").await;
    assert_eq!(below.status, app.admin().get("/admin/environments").await.status);
}
