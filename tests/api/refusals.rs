//! What a caller is told of a request that makes no sense: the right status, and words that say what to write instead.

use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};
use waypost_harness::notification::TENANT;
use waypost_harness::{Tenant, TestApp};

const CONNECTION: &str = "/connections/conn-1?provider_config_key=graph-cc";
const SETTINGS: &str = "/environment/webhook-settings";

/// Words of the libraries that read requests, which say nothing to a caller.
const FOREIGN: [&str; 8] =
    ["expected", "invalid type", "invalid value", "invalid length", "struct ", "variant", "untagged", "f64"];

/// The field that was refused, and why, in words of Waypost.
#[track_caller]
fn told(answer: &waypost_harness::Answer) -> (String, String) {
    let refused = answer.refused(400, "invalid_body");
    let issue = &refused["error"]["errors"][0];
    let path: Vec<&str> =
        issue["path"].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
    let message = issue["message"].as_str().unwrap();
    if !message.starts_with("unknown field") {
        for word in FOREIGN {
            assert!(!message.contains(word), "{message}");
        }
    }
    (path.join("."), message.to_owned())
}

async fn tenant_with_endpoint(app: &TestApp) -> (Tenant, String) {
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    let made = tenant.api.post("/endpoints", &json!({"url": "http://127.0.0.1:9/"})).await.expect(201);
    let path = format!("/endpoints/{}", made["id"].as_str().unwrap());
    (tenant, path)
}

#[tokio::test]
async fn a_null_in_a_change_is_refused_where_it_is_not_said_what_it_does() {
    let app = TestApp::spawn().await;
    let (tenant, endpoint) = tenant_with_endpoint(&app).await;
    let environment = format!("/admin/environments/{}", tenant.environment);

    for (path, fields) in [
        (endpoint.as_str(), vec!["url", "description", "headers", "filter", "ordering"]),
        (
            "/integrations/graph-cc",
            vec![
                "unique_key",
                "display_name",
                "credentials",
                "forward_webhooks",
                "integration_config",
                "custom",
            ],
        ),
        (CONNECTION, vec!["end_user", "tags"]),
        (SETTINGS, vec!["on_auth_creation", "on_auth_refresh_error", "forward_client_state"]),
        (
            environment.as_str(),
            vec!["name", "on_auth_creation", "on_auth_refresh_error", "forward_client_state"],
        ),
    ] {
        for field in fields {
            let client = if path.starts_with("/admin") { app.admin() } else { tenant.api.clone() };
            let (at, message) = told(&client.patch(path, &json!({ field: null })).await);
            assert_eq!(at, field, "{path}");
            assert!(message.ends_with(", not null"), "{path} {field}: {message}");
        }
    }
    let secret = json!({"custom": {"webhookSecret": null}});
    let (at, _) = told(&tenant.api.patch("/integrations/graph-cc", &secret).await);
    assert_eq!(at, "custom.webhookSecret");
}

#[tokio::test]
async fn a_null_takes_away_what_is_shown_as_null_without_it() {
    let app = TestApp::spawn().await;
    app.leave_work();
    let (tenant, endpoint) = tenant_with_endpoint(&app).await;
    let url = "http://127.0.0.1:9/override";

    tenant.api.patch(CONNECTION, &json!({"webhook_url_override": url})).await.expect(200);
    tenant.api.patch(CONNECTION, &json!({"webhook_url_override": null})).await.expect(200);
    assert_eq!(tenant.api.get(CONNECTION).await.expect(200)["webhook_url_override"], json!(null));
    tenant.api.patch(&endpoint, &json!({"rate_limit": null})).await.expect(200);
    let filter = json!({"filter": {"connections": ["conn-1"]}});
    tenant.api.patch(&endpoint, &filter).await.expect(200);
    let cleared = tenant.api.patch(&endpoint, &json!({"filter": {}})).await.expect(200);
    assert_eq!(cleared["filter"]["connections"], json!([]));
}

#[tokio::test]
async fn a_wrong_type_is_told_in_words_of_json() {
    let app = TestApp::spawn().await;
    let (tenant, endpoint) = tenant_with_endpoint(&app).await;
    let enable = format!("{endpoint}/enable");
    let with = |field: &str, value: Value| tenant.connection_body(&json!({ field: value }));
    let metadata =
        |ids: Value| json!({"connection_id": ids, "provider_config_key": "graph-cc", "metadata": {}});

    for (path, body, at, message) in [
        ("/endpoints", json!({"url": 7}), "url", "must be a text, not a number"),
        ("/endpoints", json!([]), "", "must be an object, not a list"),
        (&endpoint, json!({"headers": []}), "headers", "must be an object, not a list"),
        (&endpoint, json!({"headers": {"a": 7}}), "headers.a", "must be a text, not a number"),
        (
            &endpoint,
            json!({"filter": {"integrations": "a"}}),
            "filter.integrations",
            "must be a list, not a text",
        ),
        (&endpoint, json!({"rate_limit": "x"}), "rate_limit", "must be a number, not a text"),
        (
            SETTINGS,
            json!({"on_auth_creation": "yes"}),
            "on_auth_creation",
            "must be true or false, not a text",
        ),
        ("/connections", with("metadata", json!([])), "metadata", "must be an object, not a list"),
        (
            "/connections",
            with("end_user", json!({"id": "u", "organization": ["x"]})),
            "end_user.organization",
            "must be an object, not a list",
        ),
        ("/connections/metadata", metadata(json!(7)), "connection_id", "must be an id or a list of ids"),
        ("/connections/metadata", metadata(json!([7])), "connection_id", "must be an id or a list of ids"),
        (&enable, json!({"held": 7}), "held", "must be a text, not a number"),
        (&enable, json!({"held": {"deliver": null}}), "held", "must be a text, not an object"),
        (&enable, json!({"held": "x"}), "held", r#"must be one of "deliver", "discard""#),
    ] {
        let patched = path == endpoint || path == SETTINGS;
        let method = if patched { Method::PATCH } else { Method::POST };
        let answer = tenant.api.send(tenant.api.request(method, path).json(&body)).await;
        assert_eq!(told(&answer), (at.to_owned(), message.to_owned()), "{path} {body}");
    }
}

#[tokio::test]
async fn a_filter_names_only_what_can_exist() {
    let app = TestApp::spawn().await;
    let (tenant, endpoint) = tenant_with_endpoint(&app).await;

    for (filter, path) in [
        (json!({"integrations": ["graph-cc", "a/b"]}), "filter.integrations.1"),
        (json!({"connections": [""]}), "filter.connections.0"),
    ] {
        let (at, _) = told(&tenant.api.patch(&endpoint, &json!({ "filter": filter })).await);
        assert_eq!(at, path);
    }
}

#[tokio::test]
async fn a_connection_that_names_no_tenant_is_refused_with_the_cure() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for config in [json!({}), json!(null), json!({"oauth_scopes": "https://graph.microsoft.com/.default"})] {
        let body = tenant.connection_body(&json!({"connection_config": config}));
        let refused =
            tenant.api.post("/connections", &body).await.refused(400, "connection_validation_failed");
        assert_eq!(
            refused["error"]["errors"][0]["path"],
            json!(["connection_config", "tenantId"]),
            "{refused}"
        );
        assert!(refused["error"]["message"].as_str().unwrap().contains("Entra tenant"), "{refused}");
    }
    let listed = tenant.api.get("/connections").await.expect(200);
    assert_eq!(listed["connections"], json!([]));
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_told_apart() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let post = || tenant.api.request(Method::POST, "/endpoints");

    let compressed = post().json(&json!({})).header(CONTENT_ENCODING, "gzip");
    tenant.api.send(compressed).await.refused(415, "unsupported_content_encoding");
    let plain = post().header(CONTENT_TYPE, "text/plain").body("{}");
    tenant.api.send(plain).await.refused(415, "invalid_content_type");
    let large = tenant.api.post_bytes("/endpoints", vec![b' '; 1024 * 1024 + 1]).await;
    large.refused(413, "payload_too_large");
    let broken = tenant.api.post_bytes("/endpoints", "{\"url\":").await.refused(400, "invalid_json");
    let message = broken["error"]["message"].as_str().unwrap();
    assert_eq!(message, "The body is not valid JSON: EOF while parsing a value at line 1 column 7");
}

#[tokio::test]
async fn a_time_that_rfc_3339_cannot_write_is_none() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let keys = format!("/admin/environments/{}/api-keys", tenant.environment);

    let body = json!({"display_name": "for ever", "expires_at": "+262142-01-01T00:00:00Z"});
    assert_eq!(told(&app.admin().post(&keys, &body).await).0, "expires_at");
    for query in ["since=-262143-01-01T00:00:00Z", "until=%2B262142-01-01T00:00:00Z"] {
        for list in ["/events", "/deliveries", "/rejections"] {
            tenant.api.get(&format!("{list}?{query}")).await.refused(400, "invalid_query_params");
        }
        app.admin().get(&format!("/admin/audit-log?{query}")).await.refused(400, "invalid_query_params");
    }
}

#[tokio::test]
async fn an_idempotency_key_is_refused_where_it_would_be_ignored() {
    let app = TestApp::spawn().await;
    let (tenant, endpoint) = tenant_with_endpoint(&app).await;
    let keyed = async |client: &waypost_harness::Client, method: Method, path: &str, body: Value| {
        client.send(client.request(method, path).header("Idempotency-Key", "k-1").json(&body)).await
    };
    let url = json!({"url": "http://127.0.0.1:9/"});
    let mirror = app.admin().below(&format!("/admin/environments/{}", tenant.environment));

    for (client, path, body) in [
        (&tenant.api, "/endpoints", &url),
        (&tenant.api, &format!("{endpoint}/test"), &json!({})),
        (&mirror, "/endpoints", &url),
        (&app.admin(), "/admin/accounts", &json!({"name": "umbrella"})),
    ] {
        let refused = keyed(client, Method::POST, path, body.clone()).await;
        let refused = refused.refused(400, "idempotency_key_not_available");
        assert!(refused["error"]["message"].as_str().unwrap().contains("leave it out"), "{path}: {refused}");
    }
    assert_eq!(tenant.list("/endpoints").await.len(), 1, "nothing was made");

    // Who isn't known is told that first; what isn't there is not there; and what is no POST needs no such key.
    keyed(&app.public(), Method::POST, "/endpoints", url).await.refused(401, "missing_auth_header");
    keyed(&tenant.api, Method::POST, "/nothing", json!({})).await.refused(404, "not_found");
    keyed(&tenant.api, Method::PATCH, &endpoint, json!({"description": "x"})).await.expect(200);
    keyed(&app.public(), Method::POST, &tenant.ingress(), json!({"value": []})).await.expect(202);
}

#[tokio::test]
async fn what_is_not_built_yet_is_told_in_the_same_words_everywhere() {
    let app = TestApp::spawn().await;
    let (tenant, endpoint) = tenant_with_endpoint(&app).await;

    for (path, body) in [
        ("/integrations/graph-cc", json!({"dedupe_window": "1h"})),
        (endpoint.as_str(), json!({"ordering": "subscription"})),
        (endpoint.as_str(), json!({"rate_limit": 5})),
    ] {
        let (_, message) = told(&tenant.api.patch(path, &body).await);
        assert!(message.ends_with("is not available in this version of Waypost"), "{body}: {message}");
    }
    let made = json!({"provider": "microsoft-oauth2-cc", "unique_key": "other", "dedupe_window": "1h"});
    let (at, message) = told(&tenant.api.post("/integrations", &made).await);
    assert_eq!(at, "dedupe_window");
    assert!(message.ends_with("is not available in this version of Waypost"), "{message}");
}
