//! Accounts and environments, and the mirror of the environment API for operators.

use serde_json::json;
use uuid::Uuid;
use waypost_harness::{Tenant, TestApp};

#[tokio::test]
async fn an_environment_comes_with_its_uuid_and_its_secrets_once() {
    let app = TestApp::spawn().await;
    let account = app.admin().post("/admin/accounts", &json!({"name": "acme"})).await.expect(201);
    let id = account["id"].as_str().unwrap();
    assert!(id.starts_with("acc_"), "{account}");
    assert_eq!(account["name"], "acme");

    let made = app
        .admin()
        .post(&format!("/admin/accounts/{id}/environments"), &json!({"name": "dev"}))
        .await
        .expect(201);

    let secret = |name: &str| made[name].as_str().unwrap().parse::<Uuid>().unwrap();
    assert_eq!(secret("uuid").get_version_num(), 4);
    assert_eq!(secret("secret_key").get_version_num(), 4);
    assert_eq!(secret("webhook_signing_key").get_version_num(), 4);
    let environment = format!("/admin/environments/{}", made["uuid"].as_str().unwrap());
    let shown = app.admin().get(&environment).await.expect(200);
    assert_eq!((&shown["uuid"], &shown["name"]), (&made["uuid"], &json!("dev")));
    for name in ["secret_key", "webhook_signing_key"] {
        assert!(!shown.to_string().contains(made[name].as_str().unwrap()), "{shown}");
    }
}

#[tokio::test]
async fn accounts_and_environments_are_listed_page_by_page() {
    let app = TestApp::spawn().await;
    for number in 0..5 {
        app.admin().post("/admin/accounts", &json!({"name": format!("account {number}")})).await.expect(201);
    }

    let mut names = Vec::new();
    let mut path = "/admin/accounts?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = app.viewer().get(&path).await.expect(200);
        names.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|account| account["name"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/admin/accounts?limit=2&cursor={cursor}"),
            None => break,
        }
    }

    names.sort();
    assert_eq!(names, ["account 0", "account 1", "account 2", "account 3", "account 4"]);
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn two_environments_of_an_account_may_not_share_a_name() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let environments = format!("/admin/accounts/{}/environments", tenant.account);

    assert_eq!(app.admin().post(&environments, &json!({"name": "dev"})).await.status, 409);
    app.admin().post(&environments, &json!({"name": "prod"})).await.expect(201);
    let other = app.tenant("umbrella").await;
    assert_ne!(other.environment, tenant.environment);
}

#[tokio::test]
async fn an_account_that_is_not_there_has_no_environments() {
    let app = TestApp::spawn().await;

    for id in ["acc_01jd7q3v5he8r9w0x1y2z3a4b5", "acc_x", "env_01jd7q3v5he8r9w0x1y2z3a4b5"] {
        app.admin()
            .post(&format!("/admin/accounts/{id}/environments"), &json!({"name": "dev"}))
            .await
            .refused(404, "not_found");
    }
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused_with_the_place_of_the_mistake() {
    let app = TestApp::spawn().await;

    for (body, place) in [
        (json!({}), "name"),
        (json!({"name": 3}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "n".repeat(256)}), "name"),
        (json!({"name": "x", "nmae": "y"}), "nmae"),
    ] {
        let refused = app.admin().post("/admin/accounts", &body).await.refused(400, "invalid_body");
        assert!(refused["error"].to_string().contains(place), "{body}: {refused}");
    }
    for body in ["{", "{\"name\":\"a\"} trailing", "{\"name\":\"\u{0}\"}"] {
        app.admin().post_bytes("/admin/accounts", body).await.refused(400, "invalid_json");
    }
    for body in ["[]", "[\"a\"]", "\"x\"", "null", "7"] {
        app.admin().post_bytes("/admin/accounts", body).await.refused(400, "invalid_body");
    }
}

#[tokio::test]
async fn a_deleted_environment_is_gone_for_everybody() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let path = format!("/admin/environments/{}", tenant.environment);

    app.admin().delete(&path).await.expect(200);

    app.admin().get(&path).await.refused(404, "not_found");
    app.admin().delete(&path).await.refused(404, "not_found");
    app.admin().get(&format!("{path}/integrations")).await.refused(404, "not_found");
    tenant.api.get("/integrations").await.refused(401, "unknown_account");
    let again = Tenant::in_account(&app, &tenant.account, "dev").await;
    assert!(again.list("/events").await.is_empty());
}

#[tokio::test]
async fn an_operator_works_in_an_environment_as_its_own_key_does() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let operator = app.admin().below(&format!("/admin/environments/{}", tenant.environment));

    operator
        .post("/integrations", &json!({"provider": "microsoft-oauth2-cc", "unique_key": "made-by-admin"}))
        .await
        .expect(200);

    let theirs = tenant.api.get("/integrations").await.expect(200);
    assert_eq!(theirs, operator.get("/integrations").await.expect(200));
    assert!(theirs.to_string().contains("made-by-admin"));
}

#[tokio::test]
async fn an_environment_is_renamed_and_its_switches_are_set() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let path = format!("/admin/environments/{}", tenant.environment);

    app.admin().patch(&path, &json!({"name": "staging"})).await.expect(200);

    assert_eq!(app.admin().get(&path).await.expect(200)["name"], "staging");
    app.admin().patch(&path, &json!({"unknown": 1})).await.refused(400, "invalid_body");
}

#[tokio::test]
async fn the_queue_tells_how_much_waits() {
    let app = TestApp::spawn().await;

    let queue = app.viewer().get("/admin/queue").await.expect(200);

    assert!(queue.is_object(), "{queue}");
}

#[tokio::test]
async fn a_path_with_a_broken_uuid_is_400_or_404_but_never_500() {
    let app = TestApp::spawn().await;

    for path in
        ["/admin/environments/x", "/admin/environments/x/integrations", "/admin/environments/%00/api-keys"]
    {
        let answer = app.admin().get(path).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        assert!(answer.json()["error"]["code"].is_string());
    }
}

#[tokio::test]
async fn a_body_of_the_api_has_a_limit() {
    let app = TestApp::spawn().await;
    let body = format!("{{\"name\":\"{}\"}}", "n".repeat(1024 * 1024));

    app.admin().post_bytes("/admin/accounts", body).await.refused(413, "payload_too_large");
}
