//! Integrations in Nango's shapes.

use serde_json::{Value, json};
use waypost_harness::notification::TENANT;
use waypost_harness::{TestApp, WEBHOOK_SECRET};

/// Takes what differs from run to run out of an object, after a look at it.
fn without_times(mut shown: Value) -> Value {
    for name in ["created_at", "updated_at"] {
        let time = shown.as_object_mut().unwrap().remove(name).unwrap_or_else(|| panic!("no {name}"));
        let text = time.as_str().unwrap();
        assert!(text.ends_with('Z') && text.len() == "2026-08-21T18:00:00.000Z".len(), "{name}: {text}");
    }
    let logo = shown.as_object_mut().unwrap().remove("logo").expect("a logo");
    assert!(logo.as_str().unwrap().ends_with("/images/template-logos/microsoft-oauth2-cc.svg"), "{logo}");
    shown
}

#[tokio::test]
async fn an_integration_is_made_shown_listed_changed_and_deleted() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.api.delete("/integrations/graph-cc").await.expect(200);
    let body = json!({
        "provider": "microsoft-oauth2-cc", "unique_key": "ms-tmp", "display_name": "tmp", "forward_webhooks": true,
        "custom": {"webhookSecret": "abc"},
    });
    let wanted = json!({
        "unique_key": "ms-tmp", "provider": "microsoft-oauth2-cc", "display_name": "tmp", "forward_webhooks": true,
        "fetch_resource": false,
    });

    let made = tenant.api.post("/integrations", &body).await.expect(200);
    assert_eq!(made.as_object().unwrap().keys().collect::<Vec<_>>(), ["data"]);
    assert_eq!(without_times(made["data"].clone()), wanted);
    let shown = tenant.api.get("/integrations/ms-tmp").await.expect(200);
    assert_eq!(without_times(shown["data"].clone()), wanted);
    let listed = tenant.api.get("/integrations").await.expect(200);
    assert_eq!(listed, json!({"data": [shown["data"]]}));

    let change = json!({"display_name": "tmp2", "custom": {"webhookSecret": "def"}});
    let changed = tenant.api.patch("/integrations/ms-tmp", &change).await.expect(200);
    assert_eq!(changed["data"]["display_name"], "tmp2");
    let deleted = tenant.api.delete("/integrations/ms-tmp").await;
    assert_eq!(deleted.expect(200), json!({"success": true}));
    assert_eq!(tenant.api.get("/integrations").await.expect(200), json!({"data": []}));
}

#[tokio::test]
async fn the_display_name_is_the_providers_where_none_is_given() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    let shown = tenant.api.get("/integrations/graph-cc").await.expect(200);

    assert_eq!(shown["data"]["display_name"], "Microsoft (Client Credentials)");
    assert_eq!(shown["data"]["forward_webhooks"], true);
}

#[tokio::test]
async fn what_is_read_for_notifications_without_data_is_set_shown_and_cleared() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let body = json!({
        "provider": "microsoft-oauth2-cc", "unique_key": "k", "fetch_resource": true, "fetch_select": " subject,from, subject",
    });
    let made = tenant.api.post("/integrations", &body).await.expect(200);
    assert_eq!(
        (&made["data"]["fetch_resource"], &made["data"]["fetch_select"]),
        (&json!(true), &json!("subject,from"))
    );
    let change = async |change: Value| tenant.api.patch("/integrations/k", &change).await;

    change(json!({"display_name": "x"})).await.expect(200);
    let shown = tenant.api.get("/integrations/k").await.expect(200);
    assert_eq!(
        (&shown["data"]["fetch_resource"], &shown["data"]["fetch_select"]),
        (&json!(true), &json!("subject,from"))
    );

    let changed = change(json!({"fetch_resource": false, "fetch_select": ""})).await.expect(200);
    assert_eq!(
        (&changed["data"]["fetch_resource"], changed["data"].get("fetch_select")),
        (&json!(false), None)
    );
    for refused in ["a b", "a,,b", "a?b", "$select"] {
        change(json!({"fetch_select": refused})).await.refused(400, "invalid_body");
    }
}

#[tokio::test]
async fn an_integration_that_is_not_there_is_404_in_nangos_words() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    let shown = tenant.api.get("/integrations/nope").await;
    assert_eq!(shown.status, 404);
    assert_eq!(
        shown.json(),
        json!({"error": {"code": "not_found", "message": "Integration \"nope\" does not exist"}})
    );
    tenant.api.patch("/integrations/nope", &json!({"display_name": "x"})).await.refused(404, "not_found");
    tenant.api.delete("/integrations/nope").await.refused(404, "not_found");
}

#[tokio::test]
async fn the_webhook_url_and_the_credentials_are_shown_where_they_are_asked_for() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let url = format!("http://localhost:8080{}", tenant.ingress());

    let plain = tenant.api.get("/integrations/graph-cc").await.expect(200);
    assert!(
        plain["data"].get("webhook_url").is_none() && plain["data"].get("credentials").is_none(),
        "{plain}"
    );
    for query in [
        "include=webhook",
        "include=webhook&include=credentials",
        "include[]=webhook",
        "include=webhook%2Ccredentials",
    ] {
        let answer = tenant.api.get(&format!("/integrations/graph-cc?{query}")).await;
        if query.contains("%2C") {
            assert_eq!(answer.status, 400, "{query}");
        } else {
            assert_eq!(answer.expect(200)["data"]["webhook_url"], url, "{query}");
        }
    }
    let secrets = tenant.api.get("/integrations/graph-cc?include=credentials").await.expect(200);
    assert_eq!(secrets["data"]["credentials"]["type"], "OAUTH2_CC", "{secrets}");
    assert_eq!(secrets["data"]["credentials"]["webhook_secret"], WEBHOOK_SECRET);
    tenant.api.get("/integrations/graph-cc?include=bogus").await.refused(400, "invalid_query_params");
    tenant.api.get("/integrations/graph-cc?colour=red").await.refused(400, "invalid_query_params");
    tenant.api.get("/integrations?limit=1").await.refused(400, "invalid_query_params");
}

#[tokio::test]
async fn the_credentials_need_a_scope_of_their_own() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let keys = format!("/admin/environments/{}/api-keys", tenant.environment);
    let wanted = json!({"display_name": "r", "scopes": ["environment:integrations:read"]});
    let made = app.admin().post(&keys, &wanted).await.expect(201);
    let reader = app.public().with_token(made["secret"].as_str().unwrap());

    let shown = reader.get("/integrations/graph-cc?include=credentials&include=webhook").await.expect(200);

    assert!(shown["data"].get("webhook_url").is_some());
    assert!(!shown.to_string().contains(WEBHOOK_SECRET), "{shown}");
}

#[tokio::test]
async fn credentials_of_the_app_registration_stand_on_the_integration() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let credentials =
        json!({"type": "OAUTH2_CC", "client_id": "an-id", "client_secret": "a-secret", "scopes": "a,b"});

    tenant.integration_with(&json!({"unique_key": "own-app", "credentials": credentials})).await;

    let shown = tenant.api.get("/integrations/own-app?include=credentials").await.expect(200);
    assert_eq!(shown["data"]["credentials"]["client_id"], "an-id");
    assert_eq!(shown["data"]["credentials"]["client_secret"], "a-secret");
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let provider = "microsoft-oauth2-cc";

    for body in [
        json!({}),
        json!({"provider": provider}),
        json!({"unique_key": "k"}),
        json!({"provider": "nonsense", "unique_key": "k"}),
        json!({"provider": provider, "unique_key": ""}),
        json!({"provider": provider, "unique_key": "a/b"}),
        json!({"provider": provider, "unique_key": "k".repeat(256)}),
        json!({"provider": provider, "unique_key": "graph-cc"}),
        json!({"provider": provider, "unique_key": "k", "forward_webhooks": "yes"}),
        json!({"provider": provider, "unique_key": "k", "fetch_resource": "yes"}),
        json!({"provider": provider, "unique_key": "k", "fetch_select": ["subject"]}),
        json!({"provider": provider, "unique_key": "k", "fetch_select": "subject&$expand=x"}),
        json!({"provider": provider, "unique_key": "k", "fetch_select": ""}),
        json!({"provider": provider, "unique_key": "k", "colour": "red"}),
        json!({"provider": provider, "unique_key": "k", "credentials": {"type": "OAUTH2", "client_id": "a", "client_secret": "b"}}),
        json!({"provider": provider, "unique_key": "k", "credentials": {"type": "OAUTH2_CC", "client_id": "a"}}),
        json!({"provider": provider, "unique_key": "k", "custom": {"webhookSecret": 5}}),
        json!({"provider": provider, "unique_key": "k", "custom": ["secret"]}),
        json!({"provider": provider, "unique_key": "k", "credentials": ["OAUTH2_CC", "a", "b"]}),
        json!([provider, "k"]),
        json!([]),
        json!(null),
    ] {
        tenant.api.post("/integrations", &body).await.refused(400, "invalid_body");
    }
    for body in ["{", "nonsense", "{\"provider\":\"\u{0}\"}"] {
        tenant.api.post_bytes("/integrations", body).await.refused(400, "invalid_json");
    }
    assert_eq!(tenant.api.get("/integrations").await.expect(200)["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_key_that_is_taken_and_a_provider_that_is_unknown_are_named() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    let taken = json!({"provider": "microsoft-oauth2-cc", "unique_key": "graph-cc"});
    let taken = tenant.api.post("/integrations", &taken).await.refused(400, "invalid_body");
    assert_eq!(taken["error"]["errors"][0]["message"], "Unique key already exists");
    assert_eq!(taken["error"]["errors"][0]["path"], json!(["uniqueKey"]));
    let unknown = tenant
        .api
        .post("/integrations", &json!({"provider": "x", "unique_key": "k"}))
        .await
        .refused(400, "invalid_body");
    assert_eq!(unknown["error"]["errors"][0]["path"], json!(["provider"]));
}

#[tokio::test]
async fn an_integration_is_renamed_as_long_as_it_has_no_connections() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.integration_with(&json!({"unique_key": "second"})).await;

    tenant.api.patch("/integrations/second", &json!({"unique_key": "renamed"})).await.expect(200);
    tenant.api.get("/integrations/second").await.refused(404, "not_found");
    let taken = tenant
        .api
        .patch("/integrations/renamed", &json!({"unique_key": "graph-cc"}))
        .await
        .refused(400, "invalid_body");
    assert!(taken.to_string().contains("uniqueKey is already used by another integration"), "{taken}");
    tenant.connection("conn-1", TENANT).await;
    let refused = tenant
        .api
        .patch("/integrations/graph-cc", &json!({"unique_key": "other"}))
        .await
        .refused(400, "invalid_body");
    assert!(refused.to_string().contains("Can't rename an integration with active connections"), "{refused}");
}

#[tokio::test]
async fn a_replaced_webhook_secret_stays_valid_for_its_grace_time() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant
        .api
        .patch("/integrations/graph-cc", &json!({"custom": {"webhookSecret": "the-new-one"}}))
        .await
        .expect(200);

    let old = tenant.notification(TENANT);
    let mut new = tenant.notification(TENANT);
    new["value"][0]["clientState"] = json!("the-new-one");
    tenant.post_notification(&old).await.expect(202);
    tenant.post_notification(&new).await.expect(202);
    assert_eq!(tenant.list("/events").await.len(), 2);

    app.clock().advance(chrono::TimeDelta::hours(25));
    tenant.post_notification(&old).await.expect(202);
    tenant.post_notification(&new).await.expect(202);
    assert_eq!(tenant.list("/events").await.len(), 3);
}

#[tokio::test]
async fn a_webhook_secret_is_rotated_and_shown() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    let rotated =
        tenant.api.post("/integrations/graph-cc/webhook-secret/rotate", &json!({})).await.expect(200);

    let secret = rotated["webhook_secret"].as_str().unwrap();
    assert_ne!(secret, WEBHOOK_SECRET);
    assert!(rotated["previous_valid_until"].is_string(), "{rotated}");
    let shown = tenant.api.get("/integrations/graph-cc?include=credentials").await.expect(200);
    assert_eq!(shown["data"]["credentials"]["webhook_secret"], secret);
    let given = json!({"secret": "given-by-hand", "grace": "1m"});
    let rotated = tenant.api.post("/integrations/graph-cc/webhook-secret/rotate", &given).await.expect(200);
    assert_eq!(rotated["webhook_secret"], "given-by-hand");
}

#[tokio::test]
async fn another_environments_integration_is_404() {
    let app = TestApp::spawn().await;
    let (acme, umbrella) = (app.tenant("acme").await, app.tenant("umbrella").await);
    acme.integration_with(&json!({"unique_key": "only-acme"})).await;

    umbrella.api.get("/integrations/only-acme").await.refused(404, "not_found");
    umbrella
        .api
        .patch("/integrations/only-acme", &json!({"display_name": "x"}))
        .await
        .refused(404, "not_found");
    umbrella.api.delete("/integrations/only-acme").await.refused(404, "not_found");
    acme.api.get("/integrations/only-acme").await.expect(200);
}
