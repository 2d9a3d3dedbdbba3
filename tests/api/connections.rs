//! Connections in Nango's shapes.

use reqwest::Method;
use serde_json::{Value, json};
use waypost_harness::notification::{OTHER_TENANT, TENANT};
use waypost_harness::{Tenant, TestApp};

const PATH: &str = "/connections/conn-1?provider_config_key=graph-cc";

/// Takes what differs from run to run out of a connection, after a look at it.
fn steady(shown: &Value, zone: &str) -> Value {
    let mut shown = shown.clone();
    let members = shown.as_object_mut().unwrap();
    assert!(members.remove("id").unwrap().is_i64());
    for name in ["created_at", "updated_at", "last_fetched_at"] {
        let time = members.remove(name).unwrap_or_else(|| panic!("no {name}"));
        assert!(time.is_null() || time.as_str().unwrap().ends_with(zone), "{name}: {time}");
    }
    shown
}

fn connection() -> Value {
    json!({
        "connection_id": "conn-1",
        "provider_config_key": "graph-cc",
        "provider": "microsoft-oauth2-cc",
        "errors": [],
        "end_user": null,
        "tags": {},
        "metadata": null,
        "connection_config": {"tenantId": TENANT},
        "webhook_url_override": null,
    })
}

#[tokio::test]
async fn a_connection_is_made_with_201_and_shown_as_nango_shows_it() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    let made = tenant.connection("conn-1", TENANT).await;
    let shown = tenant.api.get(PATH).await.expect(200);

    for (found, zone) in [(&made, "Z"), (&shown, "+00:00")] {
        let mut found = steady(found, zone);
        let credentials = found.as_object_mut().unwrap().remove("credentials").unwrap();
        assert_eq!(found["metadata"].as_object().map_or(0, serde_json::Map::len), 0);
        found["metadata"] = json!(null);
        assert_eq!(found, connection());
        assert_eq!(credentials["type"], "OAUTH2_CC");
        assert_eq!(credentials["token"], "token-that-nobody-should-see");
        assert_eq!(credentials["client_secret"], "client-secret-that-nobody-should-see");
        assert_eq!(credentials["expires_at"], "2099-01-01T00:00:00.000Z");
    }
}

#[tokio::test]
async fn what_a_connection_is_given_comes_back() {
    let app = TestApp::spawn().await;
    // The notice of its creation goes to the override, where nobody is.
    app.leave_work();
    let tenant = app.tenant("acme").await;
    let end_user = json!({"id": "u1", "email": "a@b.example", "display_name": "A", "tags": {}});

    tenant
        .connection_with(&json!({
            "connection_id": "conn-1",
            "connection_config": {"tenantId": TENANT.to_uppercase(), "oauth_scopes": "https://graph.microsoft.com/.default"},
            "metadata": {"plan": "gold", "nested": {"a": [1, 2]}},
            "tags": {"Region": "eu"},
            "end_user": end_user,
            "webhook_url_override": "http://127.0.0.1:9/override",
        }))
        .await;

    let shown = tenant.api.get(PATH).await.expect(200);
    assert_eq!(shown["connection_config"]["tenantId"], TENANT.to_uppercase(), "{shown}");
    assert_eq!(shown["metadata"], json!({"plan": "gold", "nested": {"a": [1, 2]}}));
    assert_eq!(shown["tags"]["region"], "eu");
    assert_eq!(shown["end_user"]["id"], "u1");
    assert_eq!(shown["webhook_url_override"], "http://127.0.0.1:9/override");
}

#[tokio::test]
async fn a_connection_without_an_id_gets_one() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let mut body = tenant.connection_body(&json!({}));
    body.as_object_mut().unwrap().remove("connection_id");

    let made = tenant.api.post("/connections", &body).await.expect(201);

    assert!(made["connection_id"].as_str().unwrap().parse::<uuid::Uuid>().is_ok(), "{made}");
}

#[tokio::test]
async fn making_it_again_replaces_it_and_keeps_its_id() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let first = tenant.connection("conn-1", TENANT).await;

    let second = tenant.connection("conn-1", OTHER_TENANT).await;

    assert_eq!(first["id"], second["id"]);
    assert_eq!(tenant.api.get(PATH).await.expect(200)["connection_config"]["tenantId"], OTHER_TENANT);
    let listed = tenant.api.get("/connections").await.expect(200);
    assert_eq!(listed["connections"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn connections_are_listed_newest_first_without_credentials_or_configuration() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.integration_with(&json!({"unique_key": "second"})).await;
    tenant.connection("conn-a", TENANT).await;
    tenant.connection("conn-b", OTHER_TENANT).await;
    tenant
        .connection_with(
            &json!({"connection_id": "conn-c", "provider_config_key": "second", "tags": {"org": "x"}}),
        )
        .await;

    let listed = tenant.api.get("/connections").await.expect(200);

    let connections = listed["connections"].as_array().unwrap();
    let ids: Vec<&Value> = connections.iter().map(|connection| &connection["connection_id"]).collect();
    assert_eq!(ids, ["conn-c", "conn-b", "conn-a"]);
    let mut names: Vec<&str> = connections[0].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let wanted = [
        "connection_id",
        "created",
        "end_user",
        "errors",
        "id",
        "metadata",
        "provider",
        "provider_config_key",
        "tags",
    ];
    assert_eq!(names, wanted);
    assert!(!listed.to_string().contains("should-see"));
}

async fn ids(tenant: &Tenant, query: &str) -> Vec<String> {
    let listed = tenant.api.get(&format!("/connections?{query}")).await.expect(200);
    let connections = listed["connections"].as_array().unwrap();
    connections.iter().map(|connection| connection["connection_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_list_is_filtered_and_paged() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.integration_with(&json!({"unique_key": "second"})).await;
    let end_user = json!({"id": "u1"});
    tenant
        .connection_with(&json!({"connection_id": "conn-a", "end_user": end_user, "tags": {"org": "x"}}))
        .await;
    tenant.connection_with(&json!({"connection_id": "conn-b", "tags": {"org": "y"}})).await;
    tenant.connection_with(&json!({"connection_id": "other", "provider_config_key": "second"})).await;

    for (query, wanted) in [
        ("connectionId=conn-a", vec!["conn-a"]),
        ("integrationId=second", vec!["other"]),
        ("integrationId=second%2Cgraph-cc", vec!["other", "conn-b", "conn-a"]),
        ("integrationId=nothing", vec![]),
        ("search=conn", vec!["conn-b", "conn-a"]),
        ("endUserId=u1", vec!["conn-a"]),
        ("tags[org]=x", vec!["conn-a"]),
        ("tags%5BOrg%5D=y", vec!["conn-b"]),
        ("limit=1", vec!["other"]),
        ("limit=1&page=1", vec!["conn-b"]),
        ("limit=2&page=1", vec!["conn-a"]),
        ("limit=2&page=7", vec![]),
    ] {
        assert_eq!(ids(&tenant, query).await, wanted, "{query}");
    }
    for query in ["limit=0", "limit=2001", "limit=x", "page=-1", "colour=red"] {
        tenant.api.get(&format!("/connections?{query}")).await.refused(400, "invalid_query_params");
    }
}

#[tokio::test]
async fn a_connection_that_is_not_there_is_told_in_nangos_words() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let missing = json!({"error": {"code": "not_found", "message": "Failed to find connection"}});

    let shown = tenant.api.get(PATH).await;
    assert_eq!((shown.status, shown.json()), (404, missing.clone()));
    let changed = tenant.api.patch(PATH, &json!({"tags": {}})).await;
    assert_eq!((changed.status, changed.json()), (404, missing));
    let provider = tenant.api.get("/connections/conn-1?provider_config_key=nothing").await;
    provider.refused(400, "unknown_provider_config");
    tenant.api.delete(PATH).await.refused(400, "unknown_connection");
    let body = tenant.connection_body(&json!({"provider_config_key": "nothing"}));
    let made = tenant.api.post("/connections", &body).await;
    assert_eq!(made.status, 404);
    assert_eq!(made.json()["error"]["message"], "Integration does not exist");
    tenant.api.get("/connections/conn-1").await.refused(400, "invalid_query_params");
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let credentials = tenant.connection_body(&json!({}))["credentials"].clone();
    let with = |name: &str, value: Value| {
        let mut credentials = credentials.clone();
        credentials[name] = value;
        json!({ "credentials": credentials })
    };

    for members in [
        json!({"colour": "red"}),
        json!({"connection_id": ""}),
        json!({"connection_id": 7}),
        json!({"connection_config": "x"}),
        json!({"connection_config": {"tenantId": 7}}),
        json!({"metadata": []}),
        json!({"tags": {"1bad": "x"}}),
        json!({"tags": {"a": 1}}),
        json!({"tags": {"a": ""}}),
        json!({"tags": (0..11).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>()}),
        json!({"end_user": {}}),
        json!({"webhook_url_override": "not a url"}),
        json!({"webhook_url_override": "ftp://127.0.0.1/"}),
        with("token", json!("")),
        with("token", json!("t".repeat(5000))),
        with("type", json!("API_KEY")),
        with("client_id", json!(null)),
        with("colour", json!("red")),
        json!({"credentials": null}),
    ] {
        let answer = tenant.api.post("/connections", &tenant.connection_body(&members)).await;
        assert_eq!(answer.status, 400, "{members}: {}", answer.text());
        assert!(answer.json()["error"]["code"].is_string(), "{members}");
    }
    assert!(ids(&tenant, "limit=10").await.is_empty());
}

#[tokio::test]
async fn tags_are_replaced_and_the_override_is_set_and_cleared() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection_with(&json!({"connection_id": "conn-1", "tags": {"a": "1", "b": "2"}})).await;

    let answer = tenant.api.patch(PATH, &json!({"tags": {"Org": "y"}})).await;
    assert_eq!(answer.expect(200), json!({"success": true}));
    assert_eq!(tenant.api.get(PATH).await.expect(200)["tags"], json!({"org": "y"}));
    let url = "http://127.0.0.1:9/override";
    tenant.api.patch(PATH, &json!({"webhook_url_override": url})).await.expect(200);
    assert_eq!(tenant.api.get(PATH).await.expect(200)["webhook_url_override"], url);
    tenant.api.patch(PATH, &json!({"webhook_url_override": ""})).await.expect(200);
    assert_eq!(tenant.api.get(PATH).await.expect(200)["webhook_url_override"], json!(null));
    for body in [
        json!({"connection_config": {}}),
        json!({"tags": 1}),
        json!({"webhook_url_override": "http://10.0.0.1/"}),
    ] {
        assert_eq!(tenant.api.patch(PATH, &body).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn metadata_is_replaced_by_post_and_merged_by_patch() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    tenant.connection("conn-2", TENANT).await;
    let body = |ids: Value, metadata: Value| json!({"connection_id": ids, "provider_config_key": "graph-cc", "metadata": metadata});

    let first = body(json!("conn-1"), json!({"a": 1, "b": {"c": 1}}));
    assert_eq!(tenant.api.post("/connections/metadata", &first).await.expect(201), first);
    let second = body(json!(["conn-1", "conn-2"]), json!({"b": 2}));
    assert_eq!(tenant.api.patch("/connections/metadata", &second).await.expect(200), second);
    assert_eq!(tenant.api.get(PATH).await.expect(200)["metadata"], json!({"a": 1, "b": 2}));
    tenant.api.post("/connections/metadata", &body(json!("conn-1"), json!({"z": 1}))).await.expect(201);
    assert_eq!(tenant.api.get(PATH).await.expect(200)["metadata"], json!({"z": 1}));

    let unknown = body(json!(["conn-1", "conn-9"]), json!({"lost": true}));
    let refused = tenant.api.post("/connections/metadata", &unknown).await.refused(404, "unknown_connection");
    assert!(refused["error"]["message"].as_str().unwrap().contains("conn-9"), "{refused}");
    assert_eq!(tenant.api.get(PATH).await.expect(200)["metadata"], json!({"z": 1}));
}

#[tokio::test]
async fn a_deleted_connection_is_gone_and_may_be_made_again() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let first = tenant.connection("conn-1", TENANT).await;

    let deleted = tenant.api.delete(PATH).await;

    assert_eq!(deleted.expect(200), json!({"success": true}));
    tenant.api.get(PATH).await.refused(404, "not_found");
    let second = tenant.connection("conn-1", TENANT).await;
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn the_old_singular_paths_still_work() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    tenant
        .api
        .post("/connection", &tenant.connection_body(&json!({"connection_id": "conn-1"})))
        .await
        .expect(201);
    tenant.api.get("/connection/conn-1?provider_config_key=graph-cc").await.expect(200);
    let listed = tenant.api.get("/connection").await.expect(200);
    assert_eq!(listed["connections"][0]["connection_id"], "conn-1");
    let body = json!({"connection_id": "conn-1", "provider_config_key": "graph-cc", "metadata": {"k": "v"}});
    tenant.api.post("/connection/metadata", &body).await.expect(201);
    tenant.api.patch("/connection/metadata", &body).await.expect(200);
    tenant.api.delete("/connection/conn-1?provider_config_key=graph-cc").await.expect(200);
}

#[tokio::test]
async fn what_the_published_client_sends_along_is_understood() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    let query = "provider_config_key=graph-cc&force_refresh=false&refresh_token=false&refresh_github_app_jwt_token=false";

    let request = tenant.api.request(Method::GET, &format!("/connections/conn-1?{query}"));
    let answer = tenant.api.send(request.header("content-type", "application/json")).await;

    answer.expect(200);
}

#[tokio::test]
async fn a_reader_without_the_right_to_credentials_sees_none() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    let keys = format!("/admin/environments/{}/api-keys", tenant.environment);
    let wanted = json!({"display_name": "r", "scopes": ["environment:connections:read"]});
    let made = app.admin().post(&keys, &wanted).await.expect(201);
    let reader = app.public().with_token(made["secret"].as_str().unwrap());

    let shown = reader.get(PATH).await.expect(200);

    assert_eq!(shown["credentials"], json!({}));
    let refused = reader.get(&format!("{PATH}&force_refresh=true")).await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn another_environments_connection_is_404() {
    let app = TestApp::spawn().await;
    let (acme, umbrella) = (app.tenant("acme").await, app.tenant("umbrella").await);
    acme.connection("conn-1", TENANT).await;

    umbrella.api.get(PATH).await.refused(404, "not_found");
    umbrella.api.patch(PATH, &json!({"tags": {}})).await.refused(404, "not_found");
    umbrella.api.delete(PATH).await.refused(400, "unknown_connection");
    assert!(ids(&umbrella, "search=conn").await.is_empty());
    acme.api.get(PATH).await.expect(200);
}

#[tokio::test]
async fn a_name_with_odd_characters_survives_the_path() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("a b+c@d", TENANT).await;

    let shown = tenant.api.get("/connections/a%20b%2Bc%40d?provider_config_key=graph-cc").await.expect(200);

    assert_eq!(shown["connection_id"], "a b+c@d");
}
