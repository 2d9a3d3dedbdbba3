//! Endpoints: making, checking, changing, their secrets.

use serde_json::{Value, json};
use waypost_harness::notification::{TENANT, item};
use waypost_harness::{Receiver, Reply, TestApp, wait};

#[tokio::test]
async fn an_endpoint_is_made_shown_changed_and_deleted() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    let filter = json!({"integrations": ["graph-cc"], "resources": ["Users/*/Messages/*"], "event_types": ["forward"]});
    let body = json!({"url": receiver.url(), "description": "mail", "filter": filter, "headers": {"X-Own": "value-4471"}});

    let made = tenant.api.post("/endpoints", &body).await.expect(201);

    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("ep_"), "{made}");
    assert_eq!(made["url"], receiver.url());
    assert_eq!(made["description"], "mail");
    assert_eq!(made["kind"], "custom");
    assert_eq!(made["status"], "enabled");
    assert_eq!(made["filter"]["resources"], json!(["Users/*/Messages/*"]));
    assert!(!made.to_string().contains("4471"), "a header's value is a secret: {made}");
    let path = format!("/endpoints/{id}");
    assert_eq!(tenant.api.get(&path).await.expect(200), made);
    tenant.api.patch(&path, &json!({"description": "post", "filter": {}})).await.expect(200);
    let changed = tenant.api.get(&path).await.expect(200);
    assert_eq!(changed["description"], "post");
    assert_eq!(tenant.api.delete(&path).await.expect(200), json!({"success": true}));
    tenant.api.get(&path).await.refused(404, "not_found");
    tenant.api.delete(&path).await.refused(404, "not_found");
}

#[tokio::test]
async fn an_environment_has_at_most_a_thousand_endpoints_of_its_own_making() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let body = json!({"url": "https://127.0.0.1/hook"});
    let made = tenant.api.post("/endpoints", &body).await.expect(201);
    let mut db = app.db_connect().await;
    sqlx::query(
        "INSERT INTO endpoints (id, environment_id, kind, url, description, header_names, filter, created_at, updated_at)
         SELECT gen_random_uuid(), environment_id, kind, url, description, header_names, filter, created_at, updated_at
         FROM endpoints, generate_series(1, 999) WHERE kind = 'custom'",
    )
    .execute(&mut db)
    .await
    .unwrap();

    tenant.api.post("/endpoints", &body).await.refused(400, "resource_capped");

    tenant.api.delete(&format!("/endpoints/{}", made["id"].as_str().unwrap())).await.expect(200);
    tenant.api.post("/endpoints", &body).await.expect(201);
}

#[tokio::test]
async fn urls_that_no_customer_may_have_are_refused_when_they_are_saved() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for url in [
        "",
        "/relative",
        "example.com/hook",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://user:password@127.0.0.1/",
        "http://127.0.0.1/#fragment",
        "http://127.0.0.1:0/",
        "http://10.0.0.1/",
        "https://10.1.2.3/hook",
        "https://192.168.1.1/",
        "https://172.16.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://[2002:a00:1::]/",
        "https://[fd00::1]/",
        "https://[fe80::1]/",
        "https://0x0a000001/",
        "https://167772161/",
        "https://012.0.0.1/",
        "https://10.1/",
        "https://224.0.0.1/",
        "http://93.184.216.34/",
    ] {
        let answer = tenant.api.post("/endpoints", &json!({"url": url})).await;
        assert_eq!(answer.status, 400, "{url}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "invalid_body", "{url}");
    }
    let long = format!("http://127.0.0.1/{}", "a".repeat(2048));
    tenant.api.post("/endpoints", &json!({"url": long})).await.refused(400, "invalid_body");
    assert!(tenant.list("/endpoints").await.iter().all(|endpoint| endpoint["kind"] != "custom"));
}

#[tokio::test]
async fn a_name_that_resolves_to_nothing_allowed_is_refused_without_telling_its_addresses() {
    let app = TestApp::spawn_with(|settings| settings.egress.allow.clear()).await;
    let tenant = app.tenant("acme").await;

    for url in ["https://localhost/", "https://localhost.:8443/hook", "https://no-such-name.invalid/"] {
        let refused = tenant.api.post("/endpoints", &json!({"url": url})).await.refused(400, "invalid_body");
        assert!(!refused.to_string().contains("127.0.0.1"), "{refused}");
    }
}

#[tokio::test]
async fn http_is_for_allowed_networks_only() {
    let app = TestApp::spawn_with(|settings| settings.egress.allow.clear()).await;
    let tenant = app.tenant("acme").await;

    for url in ["http://127.0.0.1/", "https://127.0.0.1/", "http://93.184.216.34/"] {
        tenant.api.post("/endpoints", &json!({"url": url})).await.refused(400, "invalid_body");
    }
    tenant.api.post("/endpoints", &json!({"url": "https://93.184.216.34/hook"})).await.expect(201);
}

#[tokio::test]
async fn headers_that_would_replace_ours_or_break_lines_are_refused() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    let try_headers = async |headers: Value| {
        tenant.api.post("/endpoints", &json!({"url": receiver.url(), "headers": headers})).await
    };

    for headers in [
        json!({"Host": "evil"}),
        json!({"content-length": "0"}),
        json!({"Transfer-Encoding": "chunked"}),
        json!({"X-Nango-Signature": "x"}),
        json!({"webhook-id": "x"}),
        json!({"WAYPOST-ATTEMPT": "x"}),
        json!({"bad name": "x"}),
        json!({"": "x"}),
        json!({"x-a": "a\r\nb: c"}),
        json!({"x-a": "\u{0}"}),
        json!({"x-a": "v".repeat(5000)}),
        json!({"x-a": 7}),
        json!(["x-a"]),
        json!((0..51).map(|n| (format!("x-{n}"), json!("v"))).collect::<serde_json::Map<_, _>>()),
    ] {
        let answer = try_headers(headers.clone()).await;
        assert_eq!(answer.status, 400, "{headers}: {}", answer.text());
    }
    try_headers(json!({"Authorization": "Bearer t", "X-Own": "v"})).await.expect(201);
}

#[tokio::test]
async fn filters_that_nothing_could_match_are_refused() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;

    for filter in [
        json!({"event_types": ["nonsense"]}),
        json!({"event_types": "forward"}),
        json!({"resources": ["[a"]}),
        json!({"colour": ["red"]}),
        json!([]),
        json!("forward"),
    ] {
        let answer = tenant.api.post("/endpoints", &json!({"url": receiver.url(), "filter": filter})).await;
        assert_eq!(answer.status, 400, "{filter}: {}", answer.text());
    }
    for body in [json!({}), json!({"url": 7}), json!({"url": receiver.url(), "colour": "red"}), json!([])] {
        tenant.api.post("/endpoints", &body).await.refused(400, "invalid_body");
    }
}

#[tokio::test]
async fn a_secret_is_shown_and_rotated() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    let id = tenant.endpoint(&receiver).await;
    let path = format!("/endpoints/{id}/secret");

    let first = tenant.api.get(&path).await.expect(200);
    let rotated = tenant.api.post(&format!("{path}/rotate"), &json!({})).await.expect(200);

    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["secret"]);
    assert!(first["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_ne!(first["secret"], rotated["secret"]);
    assert!(rotated["previous_valid_until"].is_string(), "{rotated}");
    assert_eq!(tenant.api.get(&path).await.expect(200)["secret"], rotated["secret"]);
}

#[tokio::test]
async fn endpoints_are_listed_page_by_page() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    for number in 0..5 {
        tenant.endpoint_with(&receiver, &json!({"description": format!("{number}")})).await;
    }

    let all = tenant.list("/endpoints?limit=2").await;

    let custom: Vec<&Value> = all.iter().filter(|endpoint| endpoint["kind"] == "custom").collect();
    let mut descriptions: Vec<&str> =
        custom.iter().map(|endpoint| endpoint["description"].as_str().unwrap()).collect();
    descriptions.sort_unstable();
    assert_eq!(descriptions, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn primary_and_secondary_are_not_deleted_but_cleared() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    let id = tenant.primary(&receiver).await;

    tenant.api.delete(&format!("/endpoints/{id}")).await;

    let shown = tenant.api.get("/environment/webhook-settings").await.expect(200);
    let still: Vec<Value> = tenant.list("/endpoints").await;
    assert!(
        shown["primary_url"].is_null() || still.iter().any(|endpoint| endpoint["kind"] == "primary"),
        "{shown} {still:#?}"
    );
    tenant.primary(&receiver).await;
}

#[tokio::test]
async fn an_endpoint_is_disabled_and_enabled_by_hand() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    let id = tenant.endpoint(&receiver).await;

    let disabled = tenant.api.post(&format!("/endpoints/{id}/disable"), &json!({})).await.expect(200);
    assert_eq!(disabled["status"], "disabled", "{disabled}");
    let enabled = tenant.api.post(&format!("/endpoints/{id}/enable"), &json!({})).await.expect(200);
    assert_eq!(enabled["status"], "enabled", "{enabled}");
    let answer = tenant.api.post(&format!("/endpoints/{id}/enable"), &json!({"held": "explode"})).await;
    answer.refused(400, "invalid_body");
}

#[tokio::test]
async fn another_environments_endpoint_is_404() {
    let app = TestApp::spawn().await;
    let (acme, umbrella) = (app.tenant("acme").await, app.tenant("umbrella").await);
    let receiver = Receiver::bystander().await;
    let id = acme.endpoint(&receiver).await;

    umbrella.api.get(&format!("/endpoints/{id}")).await.refused(404, "not_found");
    umbrella.api.get(&format!("/endpoints/{id}/secret")).await.refused(404, "not_found");
    umbrella
        .api
        .patch(&format!("/endpoints/{id}"), &json!({"description": "x"}))
        .await
        .refused(404, "not_found");
    umbrella.api.post(&format!("/endpoints/{id}/disable"), &json!({})).await.refused(404, "not_found");
    umbrella.api.post(&format!("/endpoints/{id}/enable"), &json!({})).await.refused(404, "not_found");
    umbrella.api.post(&format!("/endpoints/{id}/secret/rotate"), &json!({})).await.refused(404, "not_found");
    umbrella.api.delete(&format!("/endpoints/{id}")).await.refused(404, "not_found");
    assert_eq!(acme.api.get(&format!("/endpoints/{id}")).await.expect(200)["status"], "enabled");
}

#[tokio::test]
async fn ids_that_are_none_are_404() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for id in [
        "x",
        "ep_",
        "ep_x",
        "evt_01jd7q3v5he8r9w0x1y2z3a4b5",
        "ep_01jd7q3v5he8r9w0x1y2z3a4b5",
        "%00",
        "ep_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    ] {
        tenant.api.get(&format!("/endpoints/{id}")).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_test_delivery_is_sent_at_once_signed_and_leaves_nothing_behind() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::start().await;
    let id = tenant.endpoint(&receiver).await;

    let result = tenant.api.post(&format!("/endpoints/{id}/test"), &json!({})).await.expect(200);

    assert_eq!((&result["delivered"], &result["status_code"]), (&json!(true), &json!(200)), "{result}");
    let arrived = receiver.wait_for(1).await;
    assert_eq!(arrived[0].json()["operation"], "test");
    assert_eq!(arrived[0].json()["endpoint"]["id"], id.as_str());
    assert_eq!(tenant.api.get("/events").await.expect(200)["data"], json!([]));
    tenant
        .api
        .post("/endpoints/ep_01h455vb4pex5vsknk084sn02q/test", &json!({}))
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn headers_that_are_sent_back_as_they_are_shown_keep_their_values() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::start().await;
    let headers = json!({"Authorization": "Bearer t-1", "X-Own": "v-1", "X-Old": "o-1"});
    let id = tenant.endpoint_with(&receiver, &json!({"headers": headers})).await;
    let path = format!("/endpoints/{id}");
    let shown = tenant.api.get(&path).await.expect(200)["headers"].clone();
    assert_eq!(shown, json!({"authorization": "***", "x-own": "***", "x-old": "***"}));

    tenant.api.patch(&path, &json!({"headers": shown})).await.expect(200);
    let change = json!({"headers": {"AUTHORIZATION": "***", "x-own": "v-2", "x-new": "n-1"}});
    tenant.api.patch(&path, &change).await.expect(200);

    tenant.api.post(&format!("{path}/test"), &json!({})).await.expect(200);
    let arrived = receiver.wait_for(1).await;
    assert_eq!(arrived[0].header("authorization"), "Bearer t-1");
    assert_eq!(arrived[0].header("x-own"), "v-2");
    assert_eq!(arrived[0].header("x-new"), "n-1");
    assert!(!arrived[0].headers.contains_key("x-old"), "headers are replaced whole");
}

#[tokio::test]
async fn a_mask_is_refused_where_no_value_is_behind_it() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    let masked = json!({"url": receiver.url(), "headers": {"x-own": "***"}});
    let made = tenant.api.post("/endpoints", &masked).await.refused(400, "invalid_body");
    assert_eq!(made["error"]["errors"][0]["path"], json!(["headers", "x-own"]), "{made}");
    let id = tenant.endpoint_with(&receiver, &json!({"headers": {"x-own": "v"}})).await;
    let path = format!("/endpoints/{id}");
    let before = tenant.api.get(&path).await.expect(200);

    let change = json!({"description": "x", "headers": {"x-own": "***", "x-other": "***"}});
    let refused = tenant.api.patch(&path, &change).await.refused(400, "invalid_body");

    assert_eq!(refused["error"]["errors"][0]["path"], json!(["headers", "x-other"]), "{refused}");
    assert_eq!(tenant.api.get(&path).await.expect(200), before, "nothing was changed");
}

#[tokio::test]
async fn another_url_enables_what_the_one_before_had_disabled_and_gets_what_was_held() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    let (gone, moved) = (Receiver::start().await, Receiver::start().await);
    gone.answer(Reply::status(410));
    let custom = tenant.endpoint(&gone).await;
    let primary = tenant.primary(&gone).await;
    for id in [&custom, &primary] {
        tenant.trusted_by(&moved, id).await;
    }
    let status =
        async |id: &str| tenant.api.get(&format!("/endpoints/{id}")).await.expect(200)["status"].clone();
    tenant.accept(&[item(TENANT)]).await;
    wait::until_true("both endpoints to be disabled", async || {
        status(&custom).await == "disabled" && status(&primary).await == "disabled"
    })
    .await;
    let settings = tenant.api.get("/environment/webhook-settings").await.expect(200);
    assert_eq!(
        (&settings["primary_status"], &settings["secondary_status"]),
        (&json!("disabled"), &json!(null))
    );

    // The URL that it has already says nothing new.
    tenant.api.patch(&format!("/endpoints/{custom}"), &json!({"url": gone.url()})).await.expect(200);
    assert_eq!(status(&custom).await, "disabled");
    let change = json!({"primary_url": moved.at("/primary")});
    let settings = tenant.api.patch("/environment/webhook-settings", &change).await.expect(200);
    assert_eq!(settings["primary_status"], "enabled", "{settings}");
    let changed = json!({"url": moved.at("/custom")});
    let changed = tenant.api.patch(&format!("/endpoints/{custom}"), &changed).await.expect(200);
    assert_eq!((&changed["status"], &changed["disabled_reason"]), (&json!("enabled"), &json!(null)));

    app.advance(chrono::TimeDelta::minutes(1)).await;
    moved.wait_for_at_least(2).await;
    app.until_settled().await;
    let settled = tenant.list("/deliveries").await;
    assert!(settled.iter().all(|delivery| delivery["status"] != "held"), "{settled:#?}");
}

#[tokio::test]
async fn another_url_enables_nothing_that_was_disabled_by_hand() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let receiver = Receiver::bystander().await;
    let id = tenant.endpoint(&receiver).await;
    tenant.api.post(&format!("/endpoints/{id}/disable"), &json!({})).await.expect(200);

    let changed = tenant
        .api
        .patch(&format!("/endpoints/{id}"), &json!({"url": receiver.at("/other")}))
        .await
        .expect(200);

    assert_eq!((&changed["status"], &changed["disabled_reason"]), (&json!("disabled"), &json!("manual")));
}
