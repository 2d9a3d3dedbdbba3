//! Signing in as a person: the page, the code, the tokens, and how they end.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use reqwest::Url;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Stage, answer, error};
use crate::{DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, DEMO_USERS};

const BACK: &str = "http://localhost:9/back";
const VERIFIER: &str = "a-verifier-that-is-long-enough-to-be-one-0123456789";

async fn stage() -> Stage {
    Stage::set_with(|config| config.redirect_uris = vec![Url::parse("http://localhost/back").unwrap()]).await
}

fn parameters() -> Vec<(&'static str, String)> {
    vec![
        ("client_id", DEMO_CLIENT_ID.to_string()),
        ("response_type", "code".to_owned()),
        ("redirect_uri", BACK.to_owned()),
        ("scope", "openid profile offline_access Mail.Read".to_owned()),
        ("state", "st\"ate".to_owned()),
        ("nonce", "n-1".to_owned()),
        ("code_challenge", URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()))),
        ("code_challenge_method", "S256".to_owned()),
    ]
}

fn with(name: &str, value: Option<&str>) -> Vec<(&'static str, String)> {
    let mut parameters = parameters();
    match value {
        None => parameters.retain(|(known, _)| *known != name),
        Some(value) => {
            for (known, old) in &mut parameters {
                if *known == name {
                    value.clone_into(old);
                }
            }
        }
    }
    parameters
}

/// The page, its status, and where it leads at once, if it does.
async fn show(stage: &Stage, realm: &str, parameters: &[(&str, String)]) -> (u16, String, Option<Url>) {
    let url = format!("{}/{realm}/oauth2/v2.0/authorize", stage.simulator.login_url());
    visit(stage.client.get(url).query(parameters)).await
}

async fn visit(request: reqwest::RequestBuilder) -> (u16, String, Option<Url>) {
    let response = request.send().await.unwrap();
    let target = response.headers().get("location").map(|value| Url::parse(value.to_str().unwrap()).unwrap());
    (response.status().as_u16(), response.text().await.unwrap(), target)
}

async fn decide(stage: &Stage, realm: &str, user: Uuid, decision: &str) -> (u16, String, Option<Url>) {
    let url = format!("{}/{realm}/oauth2/v2.0/authorize", stage.simulator.login_url());
    let mut form = parameters();
    form.extend([("person", user.to_string()), ("decision", decision.to_owned())]);
    visit(stage.client.post(url).form(&form)).await
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

async fn code(stage: &Stage) -> String {
    let (_, page, target) = decide(stage, "organizations", DEMO_USERS[0], "accept").await;
    parameter(&target.expect(&page), "code").unwrap()
}

async fn redeem(stage: &Stage, changes: &[(&'static str, &str)]) -> (u16, Value) {
    let app = DEMO_CLIENT_ID.to_string();
    let mut form = vec![
        ("client_id", app.as_str()),
        ("client_secret", DEMO_CLIENT_SECRET),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
        ("grant_type", "authorization_code"),
    ];
    form.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    form.extend(changes);
    answer(stage.token_request("organizations").form(&form)).await
}

async fn refresh(stage: &Stage, token: &Value) -> (u16, Value) {
    redeem(stage, &[("grant_type", "refresh_token"), ("refresh_token", token.as_str().unwrap())]).await
}

#[tokio::test]
async fn a_person_signs_in_and_the_application_calls_in_their_name() {
    let stage = stage().await;
    let (status, page, _) = show(&stage, "organizations", &parameters()).await;
    assert_eq!(status, 200);
    for user in DEMO_USERS {
        assert!(page.contains(&format!("value=\"{user}\"")), "{page}");
    }
    assert!(page.contains("value=\"st&quot;ate\""), "{page}");
    let (_, _, target) = decide(&stage, "organizations", DEMO_USERS[0], "accept").await;
    let target = target.unwrap();
    assert!(target.as_str().starts_with(BACK));
    assert_eq!(parameter(&target, "state").as_deref(), Some("st\"ate"));
    let (status, tokens) = redeem(&stage, &[("code", &parameter(&target, "code").unwrap())]).await;
    assert_eq!((status, &tokens["scope"]), (200, &json!("Mail.Read openid profile")), "{tokens}");

    let id_token = tokens["id_token"].as_str().unwrap();
    let claims = URL_SAFE_NO_PAD.decode(id_token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["tid"], json!(DEMO_TENANTS[0]));
    assert_eq!(claims["oid"], json!(DEMO_USERS[0]));
    assert_eq!((&claims["aud"], &claims["nonce"]), (&json!(DEMO_CLIENT_ID), &json!("n-1")));
    assert_eq!(claims["preferred_username"], "adele@contoso.example");

    let url = format!("{}v1.0/subscriptions", stage.simulator.graph_url());
    let mut wish = stage.wish("a");
    wish["resource"] = json!("me/messages");
    let create = stage.client.post(&url).bearer_auth(tokens["access_token"].as_str().unwrap()).json(&wish);
    let (status, created) = answer(create).await;
    assert_eq!((status, &created["creatorId"]), (201, &json!(DEMO_USERS[0])), "{created}");
    let view = &stage.control.subscriptions()[0];
    assert_eq!(view.user, Some(DEMO_USERS[0]));
    // The application by itself does not see what was made in a person's name.
    assert_eq!(stage.graph("GET", "", None).await.1["value"], json!([]));
    wish["resource"] = json!("appCatalogs/teamsApps/x/installedToChats");
    let create = stage.client.post(&url).bearer_auth(tokens["access_token"].as_str().unwrap()).json(&wish);
    assert_eq!(error(&answer(create).await.1).0, "Authorization_RequestDenied", "only applications may");
    wish["resource"] = json!("me/events");
    let create = stage.client.post(&url).bearer_auth(tokens["access_token"].as_str().unwrap()).json(&wish);
    let (status, body) = answer(create).await;
    assert_eq!((status, error(&body).0), (403, "Authorization_RequestDenied"));
    stage.strike().await;
}

#[tokio::test]
async fn what_is_wrong_before_the_address_is_known_stays_on_the_page_and_the_rest_goes_back() {
    let stage = stage().await;
    let stranger = Uuid::new_v4().to_string();
    for (realm, parameters, number) in [
        ("organizations", with("client_id", Some(&stranger)), "700016"),
        ("organizations", with("client_id", None), "900144"),
        ("organizations", with("redirect_uri", Some("https://evil.example/back")), "50011"),
        ("organizations", with("redirect_uri", None), "900144"),
        ("nobody.example", parameters(), "90002"),
    ] {
        let (status, page, target) = show(&stage, realm, &parameters).await;
        assert_eq!((status, target), (400, None), "{page}");
        assert!(page.contains(&format!("AADSTS{number}: ")), "{page}");
    }
    for (parameters, expected) in [
        (with("response_type", Some("token")), "unsupported_response_type"),
        (with("state", None), "invalid_request"),
        (with("code_challenge", None), "invalid_request"),
        (with("code_challenge", Some("short")), "invalid_request"),
        (with("code_challenge_method", Some("plain")), "invalid_request"),
        (with("scope", Some("mail")), "invalid_scope"),
        (with("scope", None), "invalid_scope"),
    ] {
        let (status, page, target) = show(&stage, "organizations", &parameters).await;
        assert_eq!(status, 302, "{page}");
        assert_eq!(parameter(&target.unwrap(), "error").as_deref(), Some(expected));
    }
    stage.control.set_single_tenant(DEMO_CLIENT_ID, Some(DEMO_TENANTS[0]));
    assert!(show(&stage, "organizations", &parameters()).await.1.contains("AADSTS50194: "));
    stage.strike().await;
}

#[tokio::test]
async fn a_denial_goes_back_and_a_person_of_another_tenant_is_not_taken() {
    let stage = stage().await;
    let (_, _, target) = decide(&stage, "organizations", DEMO_USERS[0], "deny").await;
    assert_eq!(parameter(&target.unwrap(), "error").as_deref(), Some("access_denied"));
    let (_, page, target) = decide(&stage, "contoso.example", DEMO_USERS[2], "accept").await;
    assert_eq!(target, None);
    assert!(page.contains("AADSTS50034: "), "{page}");
    stage.control.set_user_enabled(DEMO_USERS[0], false);
    let (_, page, _) = decide(&stage, "organizations", DEMO_USERS[0], "accept").await;
    assert!(page.contains("AADSTS50057: "), "{page}");
    stage.strike().await;
}

#[tokio::test]
async fn a_code_is_good_once_for_ten_minutes_and_for_who_asked_for_it() {
    let stage = stage().await;
    let fresh = code(&stage).await;
    for (changes, number) in [
        (vec![("code", fresh.as_str()), ("code_verifier", "another")], 501_481),
        (vec![("code", &fresh), ("redirect_uri", "http://localhost:9/other")], 500_112),
        (vec![("code", &fresh), ("client_secret", "wrong")], 7_000_215),
        (vec![("code", "unknown")], 70_000),
        (vec![("code", &fresh), ("code_verifier", "")], 900_144),
    ] {
        let (_, body) = redeem(&stage, &changes).await;
        assert_eq!(body["error_codes"], json!([number]), "{body}");
    }
    assert_eq!(redeem(&stage, &[("code", &fresh)]).await.0, 200);
    let (status, body) = redeem(&stage, &[("code", &fresh)]).await;
    assert_eq!(
        (status, &body["error"], &body["error_codes"]),
        (400, &json!("invalid_grant"), &json!([54_005]))
    );
    let late = code(&stage).await;
    stage.clock.advance(TimeDelta::minutes(10));
    assert_eq!(redeem(&stage, &[("code", &late)]).await.1["error_codes"], json!([70_008]));
    stage.strike().await;
}

#[tokio::test]
async fn a_refresh_token_rotates_and_the_old_one_works_as_long_as_it_is_told_to() {
    let stage = stage().await;
    stage.control.behave(|behaviour| behaviour.refresh_overlap_seconds = 60);
    let (_, tokens) = redeem(&stage, &[("code", &code(&stage).await)]).await;
    let first = &tokens["refresh_token"];
    let (status, renewed) = refresh(&stage, first).await;
    assert_eq!(status, 200);
    assert_ne!(&renewed["refresh_token"], first);
    assert_eq!(refresh(&stage, first).await.0, 200);
    stage.clock.advance(TimeDelta::minutes(1));
    assert_eq!(refresh(&stage, first).await.1["error_codes"], json!([70_008]));
    assert_eq!(refresh(&stage, &renewed["refresh_token"]).await.0, 200);
    stage.strike().await;
}

#[tokio::test]
async fn every_end_of_a_refresh_token_has_its_number() {
    let stage = stage().await;
    let token =
        async |stage: &Stage| redeem(stage, &[("code", &code(stage).await)]).await.1["refresh_token"].clone();
    let revoked = token(&stage).await;
    stage.control.revoke_refresh_tokens(DEMO_USERS[0]);
    assert_eq!(refresh(&stage, &revoked).await.1["error_codes"], json!([50_173]));
    let expired = token(&stage).await;
    stage.control.expire_refresh_tokens(DEMO_USERS[0]);
    assert_eq!(refresh(&stage, &expired).await.1["error_codes"], json!([700_082]));
    let idle = token(&stage).await;
    stage.clock.advance(TimeDelta::days(90));
    assert_eq!(refresh(&stage, &idle).await.1["error_codes"], json!([700_082]));
    let disabled = token(&stage).await;
    stage.control.set_user_enabled(DEMO_USERS[0], false);
    let (status, body) = refresh(&stage, &disabled).await;
    assert_eq!((status, &body["error_codes"]), (400, &json!([50_057])));
    stage.control.set_user_enabled(DEMO_USERS[0], true);
    assert_eq!(refresh(&stage, &disabled).await.0, 200, "a refusal does not use the token up");
    stage.strike().await;
}

#[tokio::test]
async fn an_administrator_consents_for_the_tenant_and_it_works_after_a_while() {
    let stage = Stage::set_with(|config| {
        config.redirect_uris = vec![Url::parse("http://localhost/back").unwrap()];
        config.consent_given = false;
    })
    .await;
    stage.control.behave(|behaviour| behaviour.consent_delay_seconds = 30);
    let login = stage.simulator.login_url();
    let (app, admin, person) =
        (DEMO_CLIENT_ID.to_string(), DEMO_USERS[2].to_string(), DEMO_USERS[3].to_string());
    let base = [("client_id", app.as_str()), ("redirect_uri", BACK), ("state", "s")];
    let (status, page, _) =
        visit(stage.client.get(format!("{login}/organizations/adminconsent")).query(&base)).await;
    assert_eq!(status, 200);
    assert!(page.contains(&admin) && !page.contains(&person), "only administrators are offered: {page}");

    let decide = async |path: &str, extra: &[(&str, &str)]| {
        let form = [base.as_slice(), extra].concat();
        visit(stage.client.post(format!("{login}/{path}")).form(&form)).await
    };
    let (_, _, target) =
        decide("organizations/adminconsent", &[("person", &admin), ("decision", "deny")]).await;
    assert_eq!(parameter(&target.unwrap(), "error").as_deref(), Some("permission_denied"));
    let (status, page, _) =
        decide("organizations/adminconsent", &[("person", &person), ("decision", "accept")]).await;
    assert_eq!(status, 403, "{page}");
    let scope = "https://graph.microsoft.com/.default";
    let accepted = [("person", admin.as_str()), ("decision", "accept"), ("scope", scope)];
    let (_, page, target) = decide("fabrikam.example/v2.0/adminconsent", &accepted).await;
    let target = target.expect(&page);
    for (name, value) in [
        ("admin_consent", "True"),
        ("tenant", &DEMO_TENANTS[1].to_string()),
        ("state", "s"),
        ("scope", scope),
    ] {
        assert_eq!(parameter(&target, name).as_deref(), Some(value));
    }
    let ask = async || {
        let form = [
            ("client_id", app.as_str()),
            ("client_secret", DEMO_CLIENT_SECRET),
            ("scope", scope),
            ("grant_type", "client_credentials"),
        ];
        answer(stage.token_request("fabrikam.example").form(&form)).await
    };
    assert_eq!(ask().await.1["error_codes"], json!([700_016]));
    stage.clock.advance(TimeDelta::seconds(30));
    assert_eq!(ask().await.0, 200);
    stage.strike().await;
}
