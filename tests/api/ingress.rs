//! What a sender is told, row by row: the answer, its body, and that nothing is kept of what was refused.

use reqwest::Method;
use serde_json::{Value, json};
use waypost_harness::notification::{OTHER_TENANT, TENANT, collection, item, item_with};
use waypost_harness::{Answer, Tenant, TestApp, wait};

async fn post(app: &TestApp, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    app.public().post_bytes(path, body).await
}

/// The rejections of a tenant, once there are any.
async fn rejections(tenant: &Tenant) -> Vec<Value> {
    wait::until("a rejection to be shown", async || {
        let found = tenant.list("/rejections").await;
        (!found.is_empty()).then_some(found)
    })
    .await
}

#[tokio::test]
async fn a_collection_is_accepted_with_202_and_an_empty_body() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    let answer = tenant.post_notification(&tenant.notification(TENANT)).await;

    assert_eq!((answer.status, answer.body.len()), (202, 0), "{}", answer.text());
    assert_eq!(tenant.list("/events").await.len(), 1);
}

#[tokio::test]
async fn an_empty_collection_is_accepted_and_nothing_is_kept() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    tenant.post_notification(&json!({"value": []})).await.expect(202);

    assert!(tenant.list("/events").await.is_empty());
}

#[tokio::test]
async fn only_post_is_taken() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let answer = app.public().send(app.public().request(method.clone(), &tenant.ingress())).await;

        answer.refused(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), "POST", "{method}");
    }
    let head = app.public().send(app.public().request(Method::HEAD, &tenant.ingress())).await;
    assert_eq!(head.status, 405);
}

#[tokio::test]
async fn a_path_has_to_name_an_environment_and_an_integration() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let bare = tenant.environment.replace('-', "");

    for path in [
        "/webhook/not-a-uuid/graph-cc".to_owned(),
        format!("/webhook/{bare}/graph-cc"),
        format!("/webhook/{}/graph%2Fcc", tenant.environment),
        format!("/webhook/{}/%00", tenant.environment),
        format!("/webhook/{}/", tenant.environment),
        format!("/webhook/{}", tenant.environment),
        format!("/webhook/{}/{}", tenant.environment, "k".repeat(256)),
    ] {
        let refused = post(&app, &path, r#"{"value":[]}"#).await.refused(400, "invalid_uri_params");

        assert!(
            refused["error"]["errors"].as_array().is_some_and(|errors| !errors.is_empty()),
            "{path}: {refused}"
        );
    }
}

#[tokio::test]
async fn case_of_the_uuid_trailing_slash_and_lifecycle_path_make_no_difference() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let path = tenant.ingress();

    for path in [
        path.replace(&tenant.environment, &tenant.environment.to_uppercase()),
        format!("{path}/"),
        format!("{path}/lifecycle"),
        format!("{path}/lifecycle/"),
        path.replace("graph-cc", "graph%2Dcc"),
    ] {
        post(&app, &path, collection(&[item(TENANT)]).to_string()).await.expect(202);
    }

    assert_eq!(tenant.list("/events").await.len(), 5);
}

#[tokio::test]
async fn unknown_environments_and_integrations_are_told_apart() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let body = tenant.notification(TENANT).to_string();
    let nowhere = "/webhook/6f9619ff-8b86-4d01-b42d-00cf4fc964ff/graph-cc";

    post(&app, nowhere, body.clone()).await.refused(404, "unknown_environment");
    post(&app, &tenant.ingress_of("nothing"), body).await.refused(404, "unknown_provider_config");

    assert!(tenant.list("/events").await.is_empty());
}

#[tokio::test]
async fn a_deleted_environment_is_unknown() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    app.admin().delete(&format!("/admin/environments/{}", tenant.environment)).await.expect(200);

    let answer = tenant.post_notification(&tenant.notification(TENANT)).await;

    answer.refused(404, "unknown_environment");
}

#[tokio::test]
async fn what_is_not_json_is_refused_and_shown_as_a_rejection() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    let bodies: [&[u8]; 9] = [
        b"",
        b" ",
        b"{",
        b"{\"value\":[]",
        b"{\"value\":[]}x",
        b"{'value':[]}",
        b"{\"value\":[],}",
        b"{\"value\":[\"\xff\xfe\"]}",
        b"value=1",
    ];
    for body in bodies {
        let answer = post(&app, &tenant.ingress(), body.to_vec()).await;
        let start = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();

        assert_eq!(answer.status, 400, "{start}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "invalid_json", "{start}");
        assert!(answer.json()["error"]["message"].is_string());
    }

    assert!(tenant.list("/events").await.is_empty());
    wait::until_true("all of them to be counted", async || {
        let counts = tenant.list("/rejections").await;
        let invalid = counts.iter().filter(|row| row["reason"] == "invalid_json");
        invalid.map(|row| row["count"].as_u64().unwrap()).sum::<u64>() == 9
    })
    .await;
}

#[tokio::test]
async fn a_refused_body_leaves_a_sample_that_says_what_was_wrong_with_it() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    for (body, reason, fault) in [
        ("{\"value\":[],}", "invalid_json", "line 1 column"),
        ("{\"value\":7}", "invalid_payload", "`value` must be an array"),
    ] {
        post(&app, &tenant.ingress(), body).await.refused(400, reason);

        let sample = wait::until("the refusal to be counted", async || {
            let rows = tenant.list("/rejections").await;
            rows.into_iter().find(|row| row["reason"] == reason).map(|row| row["samples"][0].clone())
        })
        .await;
        assert!(sample["fault"].as_str().is_some_and(|told| told.contains(fault)), "{sample}");
    }
}

#[tokio::test]
async fn nesting_without_end_brings_nothing_down() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let inside = item(TENANT).to_string().replacen('{', &format!("{{\"deep\":{deep},"), 1);

    for body in [format!("{{\"value\":{deep}}}"), deep, format!("{{\"value\":[{inside}]}}")] {
        let answer = post(&app, &tenant.ingress(), body).await;
        assert!(matches!(answer.status, 202 | 400), "{}", answer.text());
    }

    assert!(tenant.list("/events").await.is_empty());
    tenant.accept(&[item(TENANT)]).await;
}

#[tokio::test]
async fn json_that_is_no_collection_is_refused() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for body in [
        "null",
        "1",
        "\"value\"",
        "[]",
        "{}",
        r#"{"value":null}"#,
        r#"{"value":{}}"#,
        r#"{"Value":[]}"#,
        "true",
    ] {
        post(&app, &tenant.ingress(), body).await.refused(400, "invalid_payload");
    }

    assert!(tenant.list("/events").await.is_empty());
}

#[tokio::test]
async fn without_a_webhook_secret_nothing_is_verified_and_nothing_accepted() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.integration_with(&json!({"unique_key": "bare", "custom": {}})).await;

    let answer = post(&app, &tenant.ingress_of("bare"), collection(&[item(TENANT)]).to_string()).await;

    answer.refused(401, "webhook_secret_not_configured");
    assert!(tenant.list("/events").await.is_empty());
    assert_eq!(rejections(&tenant).await[0]["reason"], "webhook_secret_not_configured");
}

#[tokio::test]
async fn a_cleared_webhook_secret_vouches_for_nothing_at_once() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.api.patch("/integrations/graph-cc", &json!({"custom": {"webhookSecret": ""}})).await.expect(200);

    let answer = tenant.post_notification(&tenant.notification(TENANT)).await;

    answer.refused(401, "webhook_secret_not_configured");
}

#[tokio::test]
async fn refused_items_are_answered_202_so_that_nobody_learns_by_trying() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let wrong = item_with(TENANT, &json!({"clientState": "a guess"}));

    let all = tenant.post_notification(&collection(&[wrong.clone(), wrong.clone()])).await;
    let some = tenant.post_notification(&collection(&[wrong, item(TENANT)])).await;

    assert_eq!((all.status, all.body.as_slice()), (some.status, some.body.as_slice()));
    assert_eq!(all.status, 202);
    assert_eq!(tenant.list("/events").await.len(), 1);
}

#[tokio::test]
async fn a_client_state_that_is_missing_or_no_text_vouches_for_nothing() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let mut missing = item(TENANT);
    missing.as_object_mut().unwrap().remove("clientState");
    let mut items = vec![missing];
    for state in [json!(null), json!(""), json!(17), json!([]), json!({})] {
        items.push(item_with(TENANT, &json!({"clientState": state})));
    }

    tenant.post_notification(&collection(&items)).await.expect(202);

    assert!(tenant.list("/events").await.is_empty());
    let counted: u64 = rejections(&tenant).await.iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, 6);
}

#[tokio::test]
async fn one_bad_item_never_sinks_the_rest() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let good = [item(TENANT), item(TENANT)];
    let items = [json!(null), good[0].clone(), json!(3), json!("x"), json!([]), json!({}), good[1].clone()];

    tenant.post_notification(&collection(&items)).await.expect(202);

    let event = tenant.only("/events").await;
    let shown = tenant.api.get(&format!("/events/{}", event["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(shown["payload"]["value"].as_array().map(Vec::len), Some(2), "{shown}");
}

#[tokio::test]
async fn rejections_show_samples_without_secrets_or_content() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let secret = json!({"clientState": "guess-7781", "resourceData": {"subject": "content-7781"}});
    tenant.post_notification(&collection(&[item_with(TENANT, &secret)])).await.expect(202);

    let shown = rejections(&tenant).await;

    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert_eq!(shown[0]["reason"], "client_state_mismatch");
    assert_eq!(shown[0]["provider_config_key"], "graph-cc");
    assert_eq!(shown[0]["count"], 1);
    assert!(shown[0]["minute"].is_string());
    assert_eq!(shown[0]["samples"].as_array().map(Vec::len), Some(1));
    assert!(!shown[0].to_string().contains("7781"), "{}", shown[0]);
}

#[tokio::test]
async fn one_post_with_many_tenants_makes_one_event_for_each() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    tenant.accept(&[item(TENANT), item(OTHER_TENANT), item(TENANT)]).await;

    let mut tenants: Vec<String> = tenant
        .list("/events")
        .await
        .iter()
        .map(|event| event["tenant_id"].as_str().unwrap().to_owned())
        .collect();
    tenants.sort();
    assert_eq!(tenants, [TENANT, OTHER_TENANT]);
}

#[tokio::test]
async fn an_item_without_a_tenant_is_kept_but_matches_nobody() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    let mut item = item(TENANT);
    item.as_object_mut().unwrap().remove("tenantId");

    tenant.accept(&[item]).await;

    assert_eq!(tenant.only("/events?kind=forward").await["status"], "unmatched");
}

#[tokio::test]
async fn a_content_type_is_not_asked_for() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let request =
        app.public().request(Method::POST, &tenant.ingress()).body(tenant.notification(TENANT).to_string());

    app.public().send(request).await.expect(202);
}

#[tokio::test]
async fn a_deleted_or_renamed_integration_is_unknown_under_its_old_name() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let body = tenant.notification(TENANT).to_string();

    tenant.api.patch("/integrations/graph-cc", &json!({"unique_key": "renamed"})).await.expect(200);
    post(&app, &tenant.ingress(), body.clone()).await.refused(404, "unknown_provider_config");
    post(&app, &tenant.ingress_of("renamed"), body.clone()).await.expect(202);
    tenant.api.delete("/integrations/renamed").await.expect(200);
    post(&app, &tenant.ingress_of("renamed"), body).await.refused(404, "unknown_provider_config");
}
