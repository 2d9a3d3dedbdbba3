//! `/integrations/{key}/certificates`: made, brought, replaced and listed; private keys never come out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waypost_crypto::certificate::{Certificate, CertifiedKey, KeySize, Saying};
use waypost_harness::notification::TENANT;
use waypost_harness::{Tenant, TestApp};

const PATH: &str = "/integrations/graph-cc/certificates";
/// Made by openssl, and of no use to anybody: they are published in this project.
const CERTIFICATE: &str = include_str!("../../crates/crypto/tests/openssl/certificate.pem");
const KEY: &str = include_str!("../../crates/crypto/tests/openssl/key.pem");
const PKCS1: &str = include_str!("../../crates/crypto/tests/openssl/key-pkcs1.pem");
const TOO_SMALL: &str = include_str!("../../crates/crypto/tests/openssl/too-small.pem");

async fn statuses(tenant: &Tenant) -> Vec<Value> {
    tenant.list(PATH).await.iter().map(|certificate| certificate["status"].clone()).collect()
}

#[tokio::test]
async fn a_certificate_is_made_and_the_one_before_retires() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    assert!(tenant.list(PATH).await.is_empty());

    let first = tenant.api.post(PATH, &json!({})).await.expect(201);
    assert_eq!((&first["bits"], &first["status"]), (&json!(2048), &json!("current")));
    assert_eq!(first["encryption_certificate_id"], first["id"]);
    assert!(first["id"].as_str().unwrap().starts_with("cert_"));
    let read = Certificate::read(first["certificate"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(json!(read.thumbprint()), first["thumbprint"]);

    let second = tenant.api.post(PATH, &json!({"bits": 3072})).await.expect(201);
    assert_eq!(second["bits"], 3072);
    let listed = tenant.list(PATH).await;
    assert_eq!(listed[0], second);
    assert_eq!((&listed[1]["id"], &listed[1]["status"]), (&first["id"], &json!("retiring")));
    assert!(listed[1]["replaced_at"].is_string());
    assert_eq!(tenant.list(&format!("{PATH}?limit=1")).await.len(), 2, "over two pages");
}

#[tokio::test]
async fn a_certificate_is_brought_with_its_key_in_every_form() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let der = |pem: &str| pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    for (label, certificate, key) in [
        ("own/1", CERTIFICATE.to_owned(), KEY.to_owned()),
        ("own/2", der(CERTIFICATE), der(KEY)),
        ("own/3", CERTIFICATE.to_owned(), PKCS1.to_owned()),
    ] {
        let body =
            json!({"certificate": certificate, "private_key": key, "encryption_certificate_id": label});
        let kept = tenant.api.post(PATH, &body).await.expect(201);
        assert_eq!(kept["certificate"], der(CERTIFICATE));
        assert_eq!(kept["encryption_certificate_id"], label);
        // The end of a key holds its primes; its beginning is public.
        let inner = der(KEY);
        let secret = &inner[inner.len() - 200..inner.len() - 100];
        for answer in [kept.to_string(), json!(tenant.list(PATH).await).to_string()] {
            assert!(!answer.contains("private") && !answer.contains(secret), "{answer}");
        }
    }
    assert_eq!(statuses(&tenant).await, ["current", "retiring", "retiring"]);
    let inner = der(KEY);
    assert!(!app.logs().contains(&inner[inner.len() - 200..inner.len() - 100]));
}

#[tokio::test]
async fn a_certificate_that_is_brought_again_is_kept_once_and_becomes_current_again() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let named = json!({"certificate": CERTIFICATE, "private_key": KEY, "encryption_certificate_id": "own/1"});
    let unnamed = json!({"certificate": CERTIFICATE, "private_key": PKCS1});
    let first = tenant.api.post(PATH, &named).await.expect(201);
    for again in [&named, &unnamed] {
        assert_eq!(tenant.api.post(PATH, again).await.expect(200), first);
    }
    assert_eq!(statuses(&tenant).await, ["current"]);

    tenant.api.post(PATH, &json!({})).await.expect(201);
    assert_eq!(statuses(&tenant).await, ["current", "retiring"]);
    assert_eq!(tenant.api.post(PATH, &named).await.expect(200), first);
    assert_eq!(statuses(&tenant).await, ["retiring", "current"]);

    // Under another name it is another one: subscriptions may name either.
    let renamed =
        json!({"certificate": CERTIFICATE, "private_key": KEY, "encryption_certificate_id": "own/2"});
    tenant.api.post(PATH, &renamed).await.expect(201);
    assert_eq!(tenant.list(PATH).await.len(), 3);
}

#[tokio::test]
async fn what_can_not_be_used_is_refused_with_the_field_and_the_cure() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let saying = Saying { common_name: "x", not_before: 0, not_after: 1 };
    let other = CertifiedKey::make(KeySize::Rsa2048, saying).unwrap();
    let expired = other.certificate().base64();
    let other = STANDARD.encode(other.key().to_pkcs8().unwrap());
    let both = |certificate: &str, key: &str| json!({"certificate": certificate, "private_key": key});
    let cases = [
        (json!({"bits": 1024}), "bits"),
        (json!({"bits": 2047}), "bits"),
        (json!({"bits": 2048, "certificate": CERTIFICATE, "private_key": KEY}), "bits"),
        (json!({"certificate": CERTIFICATE}), "private_key"),
        (json!({"private_key": KEY}), "certificate"),
        (both(KEY, KEY), "certificate"),
        (both(&format!("{CERTIFICATE}{KEY}"), KEY), "certificate"),
        (both(TOO_SMALL, KEY), "certificate"),
        (both("hello", KEY), "certificate"),
        (both(&"A".repeat(100_000), KEY), "certificate"),
        (both(CERTIFICATE, CERTIFICATE), "private_key"),
        (both(CERTIFICATE, &other), "private_key"),
        (both(&expired, &other), "expired"),
        (json!({"encryption_certificate_id": "named"}), "encryption_certificate_id"),
        (json!({"encryption_certificate_id": "with space"}), "encryption_certificate_id"),
        (json!({"unknown": 1}), "unknown"),
    ];
    for (body, field) in cases {
        let answer = tenant.api.post(PATH, &body).await;
        answer.refused(400, "invalid_body");
        assert!(answer.text().contains(field), "{body}: {}", answer.text());
        assert!(!answer.text().contains("MII"), "{}", answer.text());
    }
    assert!(tenant.list(PATH).await.is_empty());
}

#[tokio::test]
async fn a_connection_may_have_a_certificate_of_its_own() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    tenant.api.post(PATH, &json!({})).await.expect(201);
    let own = tenant.api.post(PATH, &json!({"connection_id": "conn-1"})).await.expect(201);
    assert_eq!(own["connection_id"], "conn-1");
    assert_eq!(statuses(&tenant).await, ["current", "current"]);
    tenant.api.post(PATH, &json!({"connection_id": "nobody"})).await.refused(404, "not_found");

    let path = "/connections/conn-1?provider_config_key=graph-cc";
    tenant.api.delete(path).await.expect(200);
    let listed = tenant.list(PATH).await;
    assert_eq!(listed[0]["status"], "retired", "its key went with the connection");
    let mut database = app.db_connect().await;
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM certificates WHERE private_key IS NOT NULL")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(kept, 1);
    app.leave_work();
}

#[tokio::test]
async fn others_reach_nothing_and_a_viewer_only_looks() {
    let app = TestApp::spawn().await;
    let (tenant, stranger) = (app.tenant("acme").await, app.tenant("umbrella").await);
    tenant.api.post(PATH, &json!({})).await.expect(201);
    assert!(stranger.list(PATH).await.is_empty());
    tenant.api.get("/integrations/none/certificates").await.refused(404, "not_found");
    tenant.api.post("/integrations/none/certificates", &json!({})).await.refused(404, "not_found");
    let mirror = format!("/admin/environments/{}{PATH}", tenant.environment);
    assert_eq!(app.viewer().get(&mirror).await.expect(200)["data"].as_array().unwrap().len(), 1);
    app.viewer().post(&mirror, &json!({})).await.refused(403, "forbidden");
    app.admin().post(&mirror, &json!({})).await.expect(201);
}
