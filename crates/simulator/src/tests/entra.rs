//! Sign-in, discovery and keys.

use chrono::TimeDelta;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Stage, answer, error};
use crate::{DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS};

#[tokio::test]
async fn a_right_secret_gets_a_token_that_the_published_keys_verify() {
    let stage = Stage::set().await;
    let token = stage.token(DEMO_TENANTS[0]).await;
    let keys = format!("{}/common/discovery/v2.0/keys", stage.simulator.login_url());
    let (_, keys) = answer(stage.client.get(keys)).await;
    let set: JwkSet = serde_json::from_value(keys).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.set_audience(&["https://graph.microsoft.com"]);
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;
    assert_eq!(claims["appid"], json!(DEMO_CLIENT_ID));
    assert_eq!(claims["tid"], json!(DEMO_TENANTS[0]));
    assert_eq!(claims["iss"], json!(format!("https://sts.windows.net/{}/", DEMO_TENANTS[0])));
    assert_eq!(claims["ver"], "1.0");
    stage.strike().await;
}

#[tokio::test]
async fn every_wrong_sign_in_is_refused_with_its_own_number() {
    let stage = Stage::set().await;
    let app = DEMO_CLIENT_ID.to_string();
    let stranger = Uuid::new_v4().to_string();
    let scope = "https://graph.microsoft.com/.default";
    let right = [
        ("grant_type", "client_credentials"),
        ("client_id", app.as_str()),
        ("client_secret", DEMO_CLIENT_SECRET),
        ("scope", scope),
    ];
    let cases = [
        ("contoso.example", None, 200, 0),
        (stranger.as_str(), None, 400, 90_002),
        ("common", None, 400, 90_002),
        ("contoso.example", Some(("client_id", Some(stranger.as_str()))), 400, 700_016),
        ("contoso.example", Some(("client_id", Some("no guid"))), 400, 700_016),
        ("contoso.example", Some(("client_id", None)), 400, 900_144),
        ("contoso.example", Some(("client_secret", Some("wrong"))), 401, 7_000_215),
        ("contoso.example", Some(("client_secret", None)), 401, 7_000_218),
        ("contoso.example", Some(("scope", Some("https://graph.microsoft.com/Mail.Read"))), 400, 70_011),
        ("contoso.example", Some(("scope", Some("https://graph.microsoft.us/.default"))), 400, 70_011),
        ("contoso.example", Some(("scope", None)), 400, 70_011),
        ("contoso.example", Some(("grant_type", Some("password"))), 400, 70_003),
    ];
    for (tenant, change, status, number) in cases {
        let form: Vec<_> = right
            .iter()
            .filter_map(|(name, value)| match change {
                Some((changed, replacement)) if changed == *name => replacement.map(|value| (*name, value)),
                _ => Some((*name, *value)),
            })
            .collect();
        let (got, body) = answer(stage.token_request(tenant).form(&form)).await;
        assert_eq!(got, status, "{tenant} {change:?} {body}");
        if number > 0 {
            assert_eq!(body["error_codes"], json!([number]), "{tenant} {change:?}");
            let text = body["error_description"].as_str().unwrap();
            assert!(text.starts_with(&format!("AADSTS{number}: ")), "{text}");
            assert!(
                body["error"].is_string() && body["trace_id"].is_string() && body["timestamp"].is_string()
            );
        }
    }
    stage.strike().await;
}

#[tokio::test]
async fn discovery_by_domain_names_the_tenant_by_its_id_and_refuses_strangers() {
    let stage = Stage::set().await;
    let login = stage.simulator.login_url();
    let get = async |path: &str| answer(stage.client.get(format!("{login}/{path}"))).await;
    let (_, v2) = get("contoso.example/v2.0/.well-known/openid-configuration").await;
    assert_eq!(v2["issuer"], json!(format!("{login}/{}/v2.0", DEMO_TENANTS[0])));
    let (_, v1) = get("contoso.example/.well-known/openid-configuration").await;
    assert_eq!(v1["issuer"], json!(format!("https://sts.windows.net/{}/", DEMO_TENANTS[0])));
    let (status, keys) = answer(stage.client.get(v1["jwks_uri"].as_str().unwrap())).await;
    assert_eq!((status, &keys["keys"][0]["issuer"]), (200, &v1["issuer"]));
    let (_, common) = get("common/discovery/v2.0/keys").await;
    assert_eq!(common["keys"][0]["issuer"], json!(format!("{login}/{{tenantid}}/v2.0")));
    assert!(common["keys"][0]["x5t"].is_string());
    let (status, body) = get("nobody.example/v2.0/.well-known/openid-configuration").await;
    assert_eq!((status, &body["error_codes"]), (400, &json!([90_002])));
    stage.strike().await;
}

#[tokio::test]
async fn graph_refuses_missing_expired_and_forgotten_tokens() {
    let stage = Stage::set().await;
    let url = format!("{}v1.0/subscriptions", stage.simulator.graph_url());
    let ask = async |token: Option<&str>| {
        let request = stage.client.get(&url);
        answer(match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
        .await
    };
    let token = stage.token(DEMO_TENANTS[0]).await;
    assert_eq!(ask(Some(&token)).await.0, 200);
    let tampered = format!("{}x", &token[..token.len() - 1]);
    for (token, reason) in
        [(None, "missing"), (Some("abc"), "no token"), (Some(tampered.as_str()), "tampered")]
    {
        let (status, body) = ask(token).await;
        assert_eq!((status, error(&body).0), (401, "InvalidAuthenticationToken"), "{reason}");
    }
    stage.clock.advance(TimeDelta::seconds(3599));
    assert_eq!(ask(Some(&token)).await.0, 401);
    let fresh = stage.token(DEMO_TENANTS[0]).await;
    stage.control.roll_keys(false).unwrap();
    assert_eq!(ask(Some(&fresh)).await.0, 200);
    stage.control.roll_keys(true).unwrap();
    assert_eq!(ask(Some(&fresh)).await.0, 401);
    stage.strike().await;
}

#[tokio::test]
async fn revoked_consent_ends_sign_in_until_it_is_given_again() {
    let stage = Stage::set().await;
    let tenant = DEMO_TENANTS[1].to_string();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &DEMO_CLIENT_ID.to_string()),
        ("client_secret", DEMO_CLIENT_SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    stage.control.set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[1], false);
    let (status, body) = answer(stage.token_request(&tenant).form(&form)).await;
    assert_eq!((status, &body["error_codes"]), (400, &json!([700_016])));
    stage.control.set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[1], true);
    assert_eq!(answer(stage.token_request(&tenant).form(&form)).await.0, 200);
    stage.strike().await;
}
