//! Connect sessions: Nango's shapes and refusals, and what their own tokens open. The pages are end to end.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use waypost_core::clock::Clock as _;
use waypost_core::connect::MOST_SESSIONS;
use waypost_harness::notification::TENANT;
use waypost_harness::{Tenant, TestApp};

async fn session(tenant: &Tenant, wanted: &Value) -> Value {
    tenant.api.post("/connect/sessions", wanted).await.expect(201)["data"].clone()
}

#[tokio::test]
async fn a_session_is_a_token_a_link_and_an_end() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let made =
        session(&tenant, &json!({"end_user": {"id": "user-1"}, "allowed_integrations": ["graph-cc"]})).await;

    let token = made["token"].as_str().unwrap();
    let random = token.strip_prefix("nango_connect_session_").unwrap();
    assert!(random.len() == 64 && random.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let link = made["connect_link"].as_str().unwrap();
    let name = link.split_once("/connect/").unwrap().1;
    assert!(name.len() == 43 && !token.contains(name), "{link}");
    let ends: DateTime<Utc> = made["expires_at"].as_str().unwrap().parse().unwrap();
    let left = ends - app.clock().now();
    assert!(left > TimeDelta::minutes(29) && left <= TimeDelta::minutes(30), "{left}");
    assert_eq!(made.as_object().unwrap().len(), 3, "{made}");
}

#[tokio::test]
async fn a_token_reads_and_ends_its_own_session_and_nothing_else() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let wanted = json!({
        "end_user": {"id": "user-1", "email": "ada@acme.example"},
        "organization": {"id": "org-1", "display_name": "Acme"},
        "tags": {"Plan": "pro"},
        "allowed_integrations": ["graph-cc"],
        "integrations_config_defaults": {"graph-cc": {
            "connection_config": {"tenantId": TENANT, "oauth_scopes": "x"},
            "authorization_params": {"login_hint": "ada@acme.example"},
        }},
        "overrides": {"graph-cc": {"docs_connect": "https://docs.acme.example/"}},
    });
    let made = session(&tenant, &wanted).await;
    let own = app.public().with_token(made["token"].as_str().unwrap());

    let read = own.get("/connect/session").await.expect(200)["data"].clone();
    assert_eq!(read["end_user"]["id"], "user-1");
    assert_eq!(read["organization"], wanted["organization"]);
    assert_eq!(read["tags"], json!({"plan": "pro"}));
    for same in ["allowed_integrations", "integrations_config_defaults", "overrides"] {
        assert_eq!(read[same], wanted[same], "{same}");
    }
    assert_eq!(read["isReconnecting"], false);
    own.get("/connections").await.refused(401, "invalid_secret_key_format");
    tenant.api.get("/connect/session").await.refused(401, "invalid_connect_session_token");
    app.public().get("/connect/session").await.refused(401, "missing_auth_header");

    assert_eq!(own.delete("/connect/session").await.status, 204);
    own.get("/connect/session").await.refused(401, "invalid_connect_session_token");
    let name = made["connect_link"].as_str().unwrap().split_once("/connect/").unwrap().1.to_owned();
    assert_eq!(app.public().get(&format!("/connect/{name}")).await.status, 404);

    let late = session(&tenant, &wanted).await;
    app.clock().advance(TimeDelta::minutes(31));
    let late = app.public().with_token(late["token"].as_str().unwrap());
    late.get("/connect/session").await.refused(401, "invalid_connect_session_token");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let user = json!({"id": "user-1"});
    let defaults =
        |body: Value| json!({"end_user": user, "integrations_config_defaults": {"graph-cc": body}});
    let table = [
        (json!({}), json!(["end_user"]), "Required"),
        (json!({"end_user": {}}), json!(["end_user", "id"]), "Required"),
        (
            json!({"end_user": user, "allowed_integrations": ["graph-cc", "nothing"]}),
            json!(["allowed_integrations", "1"]),
            "Integration does not exist",
        ),
        (
            json!({"end_user": user, "integrations_config_defaults": {"nothing": {}}}),
            json!(["integrations_config_defaults", "nothing"]),
            "Integration does not exist",
        ),
        (
            json!({"end_user": user, "overrides": {"graph-cc": {"docs_connect": "javascript:alert(1)"}}}),
            json!(["overrides", "graph-cc", "docs_connect"]),
            "Invalid URL",
        ),
        (
            defaults(json!({"authorization_params": {"redirect_uri": "https://evil.example"}})),
            json!(["integrations_config_defaults", "graph-cc", "authorization_params", "redirect_uri"]),
            "login_hint",
        ),
        (
            defaults(json!({"connection_config": {"tenantId": "common"}})),
            json!(["integrations_config_defaults", "graph-cc", "connection_config", "tenantId"]),
            "GUID",
        ),
        (
            json!({"end_user": user, "webhook_url_override": "http://10.0.0.1/"}),
            json!(["webhook_url_override"]),
            "",
        ),
        (json!({"end_user": user, "tags": {"1": "x"}}), json!(["tags"]), "Tag key"),
    ];
    for (wanted, path, words) in table {
        let refused = tenant.api.post("/connect/sessions", &wanted).await.refused(400, "invalid_body");
        let issue = &refused["error"]["errors"][0];
        assert_eq!(issue["path"], path, "{wanted}: {refused}");
        assert!(issue["message"].as_str().unwrap().contains(words), "{wanted}: {refused}");
    }
    let unknown = json!({"end_user": user, "color": "red"});
    tenant.api.post("/connect/sessions", &unknown).await.refused(400, "invalid_body");
    session(&tenant, &json!({"tags": {"plan": "pro"}})).await;
}

#[tokio::test]
async fn a_connection_of_this_environment_can_be_renewed_and_no_other() {
    let app = TestApp::spawn().await;
    let (tenant, other) = (app.tenant("acme").await, app.tenant("other").await);
    tenant.connection("conn-1", TENANT).await;
    let wanted = json!({"connection_id": "conn-1", "integration_id": "graph-cc"});

    let made = tenant.api.post("/connect/sessions/reconnect", &wanted).await.expect(201)["data"].clone();
    let own = app.public().with_token(made["token"].as_str().unwrap());
    let read = own.get("/connect/session").await.expect(200)["data"].clone();
    assert_eq!(
        (&read["isReconnecting"], &read["allowed_integrations"]),
        (&json!(true), &json!(["graph-cc"]))
    );
    assert!(read.get("integrations_config_defaults").is_none(), "{read}");

    let refused = other.api.post("/connect/sessions/reconnect", &wanted).await.refused(400, "invalid_body");
    assert_eq!(refused["error"]["errors"][0]["path"], json!(["connection_id"]));
    let swapped = json!({"connection_id": "conn-1", "integration_id": "graph-cc", "integrations_config_defaults":
        {"graph-cc": {"connection_config": {"tenantId": "99999999-2222-4333-8444-555555555555"}}}});
    tenant.api.post("/connect/sessions/reconnect", &swapped).await.refused(400, "invalid_body");
}

#[tokio::test]
async fn a_session_is_in_the_audit_log_without_its_secrets() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let made = session(&tenant, &json!({"end_user": {"id": "user-1", "email": "ada@acme.example"}})).await;

    let log = app.viewer().get("/admin/audit-log?limit=5").await.expect(200);
    let entry =
        log["data"].as_array().unwrap().iter().find(|entry| entry["action"] == "connect_session.create");
    let entry = entry.unwrap_or_else(|| panic!("{log:#}")).to_string();
    assert!(entry.contains("user-1") && !entry.contains("ada@acme.example"), "{entry}");
    for secret in ["token", "connect_link"] {
        let secret = made[secret].as_str().unwrap();
        assert!(!entry.contains(&secret[secret.len() - 40..]), "{entry}");
    }
}

#[tokio::test]
async fn an_integration_without_an_app_registration_says_so_on_its_page() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let made = session(&tenant, &json!({"end_user": {"id": "user-1"}})).await;
    let name = made["connect_link"].as_str().unwrap().split_once("/connect/").unwrap().1.to_owned();

    let page = app.public().get(&format!("/connect/{name}")).await;

    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8"),
        "{}",
        page.text()
    );
    let cookie = page.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("waypost-connect="), "{cookie}");
    let text = page.text();
    let mark = text.split("name=\"mark\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = [("mark", mark), ("integration", "graph-cc")];
    let request = app.public().request(reqwest::Method::POST, &format!("/connect/{name}/start"));
    let told = app.public().send(request.header("cookie", cookie).form(&form)).await;
    assert_eq!(told.status, 400, "{}", told.text());
    assert!(told.text().contains("has to store its app registration"), "{}", told.text());
    let style = app.public().get("/connect/assets/connect.css").await;
    assert_eq!((style.status, style.header("content-type")), (200, "text/css; charset=utf-8"));
}

#[tokio::test]
async fn an_environment_has_so_many_open_sessions_and_those_long_over_are_forgotten() {
    let app = TestApp::spawn().await;
    let (tenant, other) = (app.tenant("acme").await, app.tenant("other").await);
    let wanted = json!({"end_user": {"id": "user-1"}});
    session(&tenant, &wanted).await;
    let fill = "INSERT INTO connect_sessions (id, environment_id, token_hash, link_hash, link, wish, created_at, expires_at)
                SELECT gen_random_uuid(), $1::uuid, sha256(n::text::bytea), sha256(n::text::bytea), '', '{}', $2,
                       $2 + interval '30 minutes'
                FROM generate_series(1, $3) n";
    sqlx::query(fill)
        .bind(tenant.environment.parse::<uuid::Uuid>().unwrap())
        .bind(app.clock().now())
        .bind(i32::try_from(MOST_SESSIONS).unwrap() - 1)
        .execute(&mut app.db_connect().await)
        .await
        .unwrap();

    let refused = tenant.api.post("/connect/sessions", &wanted).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "60"), "{}", refused.text());
    session(&other, &wanted).await;
    app.clock().advance(TimeDelta::minutes(31));
    session(&tenant, &wanted).await;

    let store = app.db_store().await;
    let forgotten = store.forget_connect_sessions_across_environments(app.clock().now()).await.unwrap();
    assert_eq!(i64::try_from(forgotten).unwrap(), MOST_SESSIONS + 1, "all but the one that is open");
}
