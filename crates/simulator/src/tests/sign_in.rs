//! How an application proves itself, and what keeps it out.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use std::time::Duration;

use super::{Stage, answer, error};
use crate::{Control, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, Fault, Operation};

const SCOPE: &str = "https://graph.microsoft.com/.default";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A certificate of an application with its key.
struct Credential {
    der: Vec<u8>,
    key: EncodingKey,
}

impl Credential {
    fn make() -> Self {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let certificate = CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
        let der = certificate.self_signed(&key).unwrap().der().to_vec();
        let key = EncodingKey::from_rsa_pem(key.serialize_pem().as_bytes()).unwrap();
        Self { der, key }
    }

    fn header(&self, algorithm: Algorithm) -> Header {
        let mut header = Header::new(algorithm);
        header.x5t_s256 = Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.der)));
        header
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).unwrap()
    }
}

fn claims(stage: &Stage) -> Value {
    use waypost_core::clock::Clock as _;
    let now = stage.clock.now().timestamp();
    json!({
        "aud": format!("{}/{}/oauth2/v2.0/token", stage.simulator.login_url(), DEMO_TENANTS[0]),
        "iss": DEMO_CLIENT_ID, "sub": DEMO_CLIENT_ID, "jti": "1", "nbf": now, "exp": now + 600,
    })
}

async fn assert(stage: &Stage, assertion: &str) -> (u16, Value) {
    let app = DEMO_CLIENT_ID.to_string();
    let request = stage.token_request(&DEMO_TENANTS[0].to_string()).form(&[
        ("client_id", app.as_str()),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
        ("scope", SCOPE),
        ("grant_type", "client_credentials"),
    ]);
    answer(request).await
}

async fn with_secret(stage: &Stage, secret: &str) -> (u16, Value) {
    let app = DEMO_CLIENT_ID.to_string();
    let request = stage.token_request(&DEMO_TENANTS[0].to_string()).form(&[
        ("client_id", app.as_str()),
        ("client_secret", secret),
        ("scope", SCOPE),
        ("grant_type", "client_credentials"),
    ]);
    answer(request).await
}

#[tokio::test]
async fn an_assertion_by_a_registered_certificate_is_as_good_as_a_secret() {
    let stage = Stage::set().await;
    let credential = Credential::make();
    assert!(stage.control.add_certificate(DEMO_CLIENT_ID, &credential.der, None));
    for algorithm in [Algorithm::PS256, Algorithm::RS256] {
        let (status, body) =
            assert(&stage, &credential.sign(&credential.header(algorithm), &claims(&stage))).await;
        assert_eq!(status, 200, "{body}");
        let token = body["access_token"].as_str().unwrap();
        let url = format!("{}v1.0/subscriptions", stage.simulator.graph_url());
        assert_eq!(answer(stage.client.get(url).bearer_auth(token)).await.0, 200);
    }
    let mut old = Header::new(Algorithm::RS256);
    old.x5t = Some(URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &credential.der)));
    assert_eq!(assert(&stage, &credential.sign(&old, &claims(&stage))).await.0, 200);
    stage.strike().await;
}

#[tokio::test]
async fn a_wrong_assertion_is_refused_with_its_own_number() {
    let stage = Stage::set().await;
    let (credential, stranger) = (Credential::make(), Credential::make());
    assert!(stage.control.add_certificate(DEMO_CLIENT_ID, &credential.der, None));
    let right = claims(&stage);
    let changed = |name: &str, value: Value| {
        let mut claims = right.clone();
        claims[name] = value;
        credential.sign(&credential.header(Algorithm::PS256), &claims)
    };
    let start = right["nbf"].as_i64().unwrap();
    let signed_by_another = stranger.sign(&credential.header(Algorithm::PS256), &right);
    let unnamed = credential.sign(&Header::new(Algorithm::PS256), &right);
    let other_hash = credential.sign(&credential.header(Algorithm::RS512), &right);
    for (assertion, number) in [
        (stranger.sign(&stranger.header(Algorithm::PS256), &right), 700_027),
        (signed_by_another, 700_027),
        (unnamed, 700_027),
        (other_hash, 50_027),
        ("no token".to_owned(), 50_027),
        (changed("aud", json!("https://login.example/token")), 700_023),
        (changed("iss", json!(DEMO_TENANTS[0])), 700_021),
        (changed("sub", json!(DEMO_TENANTS[0])), 700_021),
        (changed("exp", json!(start - 301)), 700_024),
        (changed("nbf", json!(start + 301)), 700_024),
        (changed("jti", json!("")), 50_027),
        (changed("exp", json!("soon")), 50_027),
    ] {
        let (status, body) = assert(&stage, &assertion).await;
        assert_eq!((status, &body["error_codes"]), (401, &json!([number])), "{body}");
        assert_eq!(body["error"], "invalid_client");
    }
    stage.control.remove_certificates(DEMO_CLIENT_ID);
    let (_, body) = assert(&stage, &changed("jti", json!("2"))).await;
    assert_eq!(body["error_codes"], json!([700_027]));
    stage.strike().await;
}

#[tokio::test]
async fn secrets_overlap_and_end() {
    use waypost_core::clock::Clock as _;
    let stage = Stage::set().await;
    let end = stage.clock.now() + TimeDelta::hours(1);
    stage.control.add_secret(DEMO_CLIENT_ID, "second".into(), Some(end));
    assert_eq!(with_secret(&stage, DEMO_CLIENT_SECRET).await.0, 200);
    assert_eq!(with_secret(&stage, "second").await.0, 200);
    stage.clock.advance(TimeDelta::hours(1));
    let (status, body) = with_secret(&stage, "second").await;
    assert_eq!((status, &body["error_codes"]), (401, &json!([7_000_222])));
    stage.control.remove_secrets(DEMO_CLIENT_ID);
    assert_eq!(with_secret(&stage, DEMO_CLIENT_SECRET).await.1["error_codes"], json!([7_000_215]));
    stage.strike().await;
}

#[tokio::test]
async fn consent_may_take_a_while_and_an_application_can_be_turned_off() {
    let stage = Stage::set_with(|config| config.consent_given = false).await;
    let number =
        async |stage: &Stage| with_secret(stage, DEMO_CLIENT_SECRET).await.1["error_codes"][0].clone();
    assert_eq!(number(&stage).await, json!(700_016));
    stage.control.set_consent_after(DEMO_CLIENT_ID, DEMO_TENANTS[0], Duration::from_mins(2));
    assert_eq!(number(&stage).await, json!(700_016));
    stage.clock.advance(TimeDelta::minutes(2));
    assert_eq!(number(&stage).await, Value::Null);
    stage.control.set_app_disabled(DEMO_CLIENT_ID, DEMO_TENANTS[0], true);
    assert_eq!(number(&stage).await, json!(7_000_112));
    stage.control.set_app_disabled(DEMO_CLIENT_ID, DEMO_TENANTS[0], false);
    stage.control.set_single_tenant(DEMO_CLIENT_ID, Some(DEMO_TENANTS[1]));
    assert_eq!(number(&stage).await, json!(700_016));
    stage.strike().await;
}

#[tokio::test]
async fn any_known_number_can_be_ordered_of_the_token_endpoint() {
    let stage = Stage::set().await;
    for (number, status, name) in [
        (7_000_215, 401, "invalid_client"),
        (90_055, 429, "temporarily_unavailable"),
        (90_033, 503, "temporarily_unavailable"),
        (53_003, 400, "invalid_grant"),
        (50_076, 400, "interaction_required"),
        (500_011, 400, "invalid_resource"),
    ] {
        let fault = Fault { retry_after: Some("9".to_owned()), ..Fault::sign_in(1, number) };
        stage.control.set_fault([fault.where_target(&DEMO_TENANTS[0].to_string())]);
        let (got, body) = with_secret(&stage, DEMO_CLIENT_SECRET).await;
        assert_eq!((got, &body["error"], &body["error_codes"]), (status, &json!(name), &json!([number])));
    }
    let calls = stage.control.calls(Operation::Token);
    assert_eq!(with_secret(&stage, DEMO_CLIENT_SECRET).await.0, 200);
    assert_eq!(stage.control.calls(Operation::Token), calls + 1);
    stage.strike().await;
}

#[tokio::test]
async fn a_token_can_be_revoked_alone_or_with_all_that_were_issued() {
    let stage = Stage::set().await;
    let url = format!("{}v1.0/subscriptions", stage.simulator.graph_url());
    let ask = async |token: &str| answer(stage.client.get(&url).bearer_auth(token)).await;
    let (first, second) = (stage.token(DEMO_TENANTS[0]).await, stage.token(DEMO_TENANTS[0]).await);
    assert!(stage.control.revoke_access_token(&first));
    let (status, body) = ask(&first).await;
    assert_eq!((status, error(&body).0), (401, "InvalidAuthenticationToken"));
    assert_eq!(ask(&second).await.0, 200);
    stage.control.revoke_access_tokens(DEMO_CLIENT_ID, DEMO_TENANTS[0]);
    assert_eq!(ask(&second).await.0, 401);
    let fresh = stage.token(DEMO_TENANTS[0]).await;
    assert_eq!(ask(&fresh).await.0, 200);
    let neighbour = stage.token(DEMO_TENANTS[1]).await;
    assert_eq!(ask(&neighbour).await.0, 200);
    stage.strike().await;
}

#[tokio::test]
async fn a_permission_that_was_not_given_is_missed_by_new_tokens() {
    let stage = Stage::set().await;
    let permit = |control: &Control, list: &[&str]| {
        let list = list.iter().map(|&one| one.to_owned()).collect();
        control.set_permissions(DEMO_CLIENT_ID, DEMO_TENANTS[0], Some(list));
    };
    permit(&stage.control, &["Calendars.Read"]);
    let (status, body) = stage.graph("POST", "", Some(stage.wish("a"))).await;
    assert_eq!((status, error(&body).0), (403, "Authorization_RequestDenied"));
    assert!(stage.receiver.all().is_empty());
    permit(&stage.control, &["Calendars.Read", "Mail.Read"]);
    assert_eq!(stage.graph("POST", "", Some(stage.wish("a"))).await.0, 201);
    stage.strike().await;
}
