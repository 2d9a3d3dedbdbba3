//! Tokens: gotten, shared, replaced, and what happens when there is none.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures_util::future::join_all;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;
use waypost_core::clock::Clock as _;
use waypost_crypto::certificate::{CertifiedKey, KeySize, Saying};
use waypost_harness::{Client, Receiver, Reply, Tenant, TestApp};
use waypost_simulator::{
    App, Control, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, Fault, Operation, Simulator,
    SimulatorConfig,
};

const PATH: &str = "/connections/conn-1?provider_config_key=graph-cc";
const FORCED: &str = "/connections/conn-1?provider_config_key=graph-cc&force_refresh=true";

struct Scene {
    app: TestApp,
    tenant: Tenant,
    simulator: Simulator,
}

async fn scene() -> Scene {
    let config =
        SimulatorConfig { access_token_lifetime: Duration::from_hours(1), ..SimulatorConfig::default() };
    let simulator = Simulator::start(config, waypost_core::clock::system()).await.unwrap();
    let app = TestApp::spawn_with(|settings| {
        settings.graph.login_url = simulator.login_url();
        settings.graph.base_url = simulator.graph_url();
    })
    .await;
    let tenant = app.tenant("acme").await;
    Scene { app, tenant, simulator }
}

/// Credentials of the demo app without a token.
fn credentials(secret: &str) -> Value {
    json!({"type": "OAUTH2_CC", "client_id": DEMO_CLIENT_ID, "client_secret": secret})
}

fn connection(id: &str, secret: &str) -> Value {
    json!({
        "connection_id": id,
        "connection_config": {"tenantId": DEMO_TENANTS[0]},
        "credentials": credentials(secret),
    })
}

fn token(shown: &Value) -> String {
    shown["credentials"]["token"].as_str().unwrap_or_else(|| panic!("no token in {shown}")).to_owned()
}

impl Scene {
    fn control(&self) -> Control {
        self.simulator.control()
    }

    /// How often a token was asked for so far.
    fn asked(&self) -> u64 {
        self.control().calls(Operation::Token)
    }

    /// Makes `conn-1` with the right secret.
    async fn connect(&self) -> Value {
        self.tenant.connection_with(&connection("conn-1", DEMO_CLIENT_SECRET)).await
    }

    async fn get(&self) -> Value {
        self.tenant.api.get(PATH).await.expect(200)
    }

    /// An endpoint that is told of failing and recovering sign-ins.
    async fn told(&self) -> Receiver {
        let receiver = Receiver::start().await;
        let filter = json!({"filter": {"event_types": ["auth.refresh"]}});
        self.tenant.endpoint_with(&receiver, &filter).await;
        receiver
    }

    async fn end(self) {
        self.app.until_settled().await;
        drop(self.app);
        self.simulator.stop().await;
    }
}

#[tokio::test]
async fn a_connection_without_a_token_gets_one_and_shows_it_as_nango_does() {
    let scene = scene().await;

    let made = scene.connect().await;
    let shown = scene.get().await;

    assert_eq!(token(&made), token(&shown));
    let credentials = &shown["credentials"];
    assert_eq!(credentials["type"], "OAUTH2_CC");
    assert_eq!(credentials["client_secret"], DEMO_CLIENT_SECRET);
    assert_eq!(credentials["raw"]["access_token"], credentials["token"]);
    assert_eq!(credentials["raw"]["token_type"], "Bearer");
    assert_eq!(credentials["raw"]["expires_in"], 3600);
    let end = credentials["expires_at"].as_str().unwrap().parse::<chrono::DateTime<Utc>>().unwrap();
    assert!((end - scene.app.clock().now()).num_minutes() >= 58, "{end}");
    assert_eq!(shown["errors"], json!([]));
    assert_eq!(scene.asked(), 1);
    scene.end().await;
}

#[tokio::test]
async fn the_app_registration_of_the_integration_serves_connections_without_one() {
    let scene = scene().await;
    let shared = json!({"unique_key": "shared", "credentials": credentials(DEMO_CLIENT_SECRET)});
    scene.tenant.integration_with(&shared).await;
    let wanted = json!({
        "provider_config_key": "shared",
        "connection_config": {"tenantId": DEMO_TENANTS[1], "oauth_scopes": "https://graph.microsoft.com/.default"},
        "credentials": {"type": "OAUTH2_CC"},
    });

    let (one, other) =
        (scene.tenant.connection_with(&wanted).await, scene.tenant.connection_with(&wanted).await);

    assert_eq!(token(&one), token(&other));
    assert_eq!(scene.asked(), 1);
    scene.end().await;
}

#[tokio::test]
async fn many_callers_at_two_processes_ask_once() {
    let scene = scene().await;
    let first = token(&scene.connect().await);
    scene.tenant.connection_with(&connection("conn-2", DEMO_CLIENT_SECRET)).await;
    assert_eq!(scene.asked(), 1, "connections that sign in alike share a token");
    let second = scene.app.another(&[], |_| {}).await;
    let elsewhere = second.public().with_token(&scene.tenant.key);
    scene.app.clock().advance(TimeDelta::hours(2));
    scene.control().set_fault([Fault { delay_ms: Some(300), ..Fault::on(Operation::Token) }]);

    let calls = (0..40).map(|number| {
        let api: &Client = if number % 2 == 0 { &scene.tenant.api } else { &elsewhere };
        let path = format!("/connections/conn-{}?provider_config_key=graph-cc", number % 4 / 2 + 1);
        async move { token(&api.get(&path).await.expect(200)) }
    });
    let tokens = join_all(calls).await;

    assert!(tokens.iter().all(|found| *found == tokens[0] && *found != first));
    assert_eq!(scene.asked(), 2);
    drop(second);
    scene.end().await;
}

#[tokio::test]
async fn a_token_is_replaced_at_four_fifths_of_its_life_and_when_forced() {
    let scene = scene().await;
    let first = token(&scene.connect().await);

    scene.app.clock().advance(TimeDelta::minutes(47));
    assert_eq!(token(&scene.get().await), first);
    scene.app.clock().advance(TimeDelta::minutes(2));
    let second = token(&scene.get().await);
    assert_ne!(second, first);
    assert_eq!(token(&scene.get().await), second);
    let third = token(&scene.tenant.api.get(FORCED).await.expect(200));

    assert_ne!(third, second);
    assert_eq!(scene.asked(), 3);
    scene.end().await;
}

#[tokio::test]
async fn a_token_that_was_brought_along_is_used_until_it_ends() {
    let scene = scene().await;
    let mut wanted = connection("conn-1", DEMO_CLIENT_SECRET);
    wanted["credentials"]["token"] = json!("brought-along");
    wanted["credentials"]["expires_at"] = json!(scene.app.clock().now() + TimeDelta::minutes(10));

    scene.tenant.connection_with(&wanted).await;

    assert_eq!(token(&scene.get().await), "brought-along");
    scene.app.clock().advance(TimeDelta::minutes(9));
    assert_eq!(token(&scene.get().await), "brought-along");
    assert_eq!(scene.asked(), 0);
    scene.app.clock().advance(TimeDelta::minutes(2));
    assert_ne!(token(&scene.get().await), "brought-along");
    scene.end().await;
}

#[tokio::test]
async fn a_failure_is_told_once_and_so_is_the_recovery() {
    let scene = scene().await;
    let first = token(&scene.connect().await);
    let receiver = scene.told().await;
    scene.control().set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[0], false);

    let refused = scene.tenant.api.get(FORCED).await.refused(400, "invalid_credentials");
    // Force moves nothing right after a failure.
    let early = scene.tenant.api.get(FORCED).await.refused(424, "connection_refresh_backoff");
    assert!(early["error"]["message"].as_str().unwrap().contains("force_refresh=true, 5 seconds"), "{early}");
    scene.app.clock().advance(TimeDelta::seconds(5));
    scene.tenant.api.get(FORCED).await.refused(400, "invalid_credentials");

    assert!(refused["error"]["message"].as_str().unwrap().contains("AADSTS"), "{refused}");
    let inside = &refused["error"]["payload"]["connection"];
    assert_eq!((&inside["connection_id"], &inside["credentials"]), (&json!("conn-1"), &json!({})));
    assert_eq!(inside["credentials_error"]["class"], "tenant");
    let told = receiver.wait_for(1).await[0].json();
    assert_eq!((&told["success"], &told["operation"]), (&json!(false), &json!("refresh")));
    assert_eq!(told["error"]["type"], "refresh_tenant");
    // The token that is there has not ended: it serves, and the connection shows what is wrong.
    let shown = scene.get().await;
    assert_eq!(token(&shown), first);
    assert_eq!(shown["errors"][0]["type"], "auth");
    let event = shown["errors"][0]["log_id"].as_str().unwrap();
    scene.tenant.api.get(&format!("/events/{event}")).await.expect(200);
    let listed = scene.tenant.api.get("/connections").await.expect(200);
    assert_eq!(listed["connections"][0]["errors"], shown["errors"]);

    scene.control().set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[0], true);
    scene.app.clock().advance(TimeDelta::seconds(5));
    let mended = scene.tenant.api.get(FORCED).await.expect(200);

    assert_eq!((&mended["errors"], mended.get("credentials_error")), (&json!([]), None));
    scene.get().await;
    let told = receiver.wait_for(2).await[1].json();
    assert_eq!((&told["success"], told.get("error")), (&json!(true), None));
    scene.end().await;
}

#[tokio::test]
async fn while_it_cools_down_the_sign_in_host_is_not_asked() {
    let scene = scene().await;

    let made =
        scene.tenant.connection_with(&connection("conn-1", "wrong-secret-that-nobody-should-see")).await;

    assert_eq!(made["credentials_error"]["class"], "operator");
    assert_eq!(made["credentials_error"]["codes"], json!([7_000_215]));
    assert!(!scene.app.logs().contains("wrong-secret-that-nobody-should-see"));
    for _ in 0..5 {
        let refused = scene.tenant.api.get(PATH).await.refused(424, "connection_refresh_backoff");
        assert!(!refused.to_string().contains("should-see"), "{refused}");
    }
    assert_eq!(scene.asked(), 1);
    scene.app.clock().advance(TimeDelta::seconds(40));
    scene.tenant.api.get(PATH).await.refused(400, "invalid_credentials");
    assert_eq!(scene.asked(), 2);
    scene.end().await;
}

#[tokio::test]
async fn new_credentials_heal_at_once() {
    let scene = scene().await;
    let receiver = scene.told().await;
    scene.tenant.connection_with(&connection("conn-1", "wrong")).await;
    receiver.wait_for(1).await;

    let made = scene.connect().await;

    assert!(!token(&made).is_empty());
    assert_eq!(made["errors"], json!([]));
    let told = receiver.wait_for(2).await[1].json();
    assert_eq!(told["success"], true);
    scene.end().await;
}

#[tokio::test]
async fn the_same_credentials_are_tried_at_once_when_they_are_written_again() {
    let scene = scene().await;
    scene.control().remove_secrets(DEMO_CLIENT_ID);
    scene.connect().await;
    scene
        .control()
        .add_app(App { client_id: DEMO_CLIENT_ID, client_secret: SecretString::from(DEMO_CLIENT_SECRET) });

    let made = scene.connect().await;

    assert!(!token(&made).is_empty());
    scene.end().await;
}

#[tokio::test]
async fn credentials_that_are_written_again_are_tried_although_a_token_is_left() {
    let scene = scene().await;
    let first = token(&scene.connect().await);
    scene.control().remove_secrets(DEMO_CLIENT_ID);
    scene.tenant.api.get(FORCED).await.refused(400, "invalid_credentials");
    let still = scene.connect().await;
    assert_eq!(token(&still), first, "the token that is left serves while there is no other");
    assert_eq!(still["credentials_error"]["failures"], 2);
    scene.control().add_secret(DEMO_CLIENT_ID, DEMO_CLIENT_SECRET.into(), None);

    let mended = scene.connect().await;

    assert_ne!(token(&mended), first);
    assert_eq!(mended.get("credentials_error"), None, "{mended}");
    scene.end().await;
}

#[tokio::test]
async fn nobody_forces_a_sign_in_host_that_asks_for_patience() {
    let scene = scene().await;
    scene.connect().await;
    for (status, code) in [(429, 90_055), (400, 50_196)] {
        let message = Some(format!("AADSTS{code}: enough"));
        let fault = Fault { message, ..Fault::answer(Operation::Token, 1, status, "invalid_client") };
        scene.control().set_fault([fault]);
        scene.tenant.api.get(FORCED).await;
        let asked = scene.asked();
        scene.app.clock().advance(TimeDelta::seconds(10));
        let refused = scene.tenant.api.get(FORCED).await.refused(424, "connection_refresh_backoff");
        let words = refused["error"]["message"].as_str().unwrap();
        assert!(words.contains("force_refresh=true doesn't change that"), "{words}");
        scene.connect().await;
        assert_eq!(scene.asked(), asked);
        scene.app.clock().advance(TimeDelta::minutes(20));
        scene.tenant.api.get(FORCED).await.expect(200);
    }
    scene.end().await;
}

#[tokio::test]
async fn a_sign_in_that_works_again_is_told_without_anybody_calling() {
    let mut scene = scene().await;
    scene.connect().await;
    let receiver = scene.told().await;
    scene.control().set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[0], false);
    scene.tenant.api.get(FORCED).await.refused(400, "invalid_credentials");
    receiver.wait_for(1).await;
    scene.control().set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[0], true);
    scene.app.clock().advance(TimeDelta::minutes(1));

    // It is looked every minute, and when a process starts.
    scene.app.stop().await;
    scene.app.restart().await;
    scene.tenant = scene.tenant.moved_to(&scene.app);

    assert_eq!(receiver.wait_for(2).await[1].json()["success"], true);
    scene.end().await;
}

#[tokio::test]
async fn trouble_that_passes_is_not_told_while_a_token_serves() {
    let scene = scene().await;
    let first = token(&scene.connect().await);
    let receiver = scene.told().await;
    scene.app.clock().advance(TimeDelta::minutes(50));
    scene.control().set_fault([Fault::answer(Operation::Token, 3, 503, "temporarily_unavailable")]);

    let shown = scene.get().await;
    assert_eq!((token(&shown), &shown["errors"]), (first.clone(), &json!([])));
    assert_eq!(shown["credentials_error"]["class"], "transient");
    assert_eq!(scene.asked(), 2);
    scene.control().set_fault([]);
    scene.app.clock().advance(TimeDelta::seconds(5));

    assert_ne!(token(&scene.get().await), first);
    scene.app.until_settled().await;
    assert_eq!(receiver.count(), 0);
    scene.end().await;
}

#[tokio::test]
async fn tokens_lie_sealed_and_go_with_their_connection() {
    let scene = scene().await;
    let token = token(&scene.connect().await);
    let mut database = scene.app.db_connect().await;

    let rows: Vec<String> = sqlx::query_scalar("SELECT row_to_json(g)::text FROM grants g")
        .fetch_all(&mut database)
        .await
        .unwrap();

    assert_eq!(rows.len(), 1);
    let hidden =
        [token.clone(), hex::encode(&token), DEMO_CLIENT_SECRET.to_owned(), hex::encode(DEMO_CLIENT_SECRET)];
    assert!(hidden.iter().all(|text| !rows[0].contains(text.as_str())));
    assert!(!scene.app.logs().contains(&token));

    scene.tenant.api.delete(PATH).await.expect(200);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM grants").fetch_one(&mut database).await.unwrap();
    assert_eq!(left, 0);
    scene.end().await;
}

#[tokio::test]
async fn an_app_signs_in_with_a_certificate() {
    let scene = scene().await;
    let end = (scene.app.clock().now() + TimeDelta::days(300)).timestamp();
    let saying = Saying { common_name: "app", not_before: 0, not_after: u64::try_from(end).unwrap() };
    let make = || CertifiedKey::make(KeySize::Rsa2048, saying).unwrap();
    let (key, other) = (make(), make());
    let base64 = |key: &CertifiedKey| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(&*key.key().to_pkcs8().unwrap())
    };
    assert!(scene.control().add_certificate(DEMO_CLIENT_ID, key.certificate().der(), None));
    let integration = json!({"provider": "microsoft-oauth2-cc-cert", "unique_key": "certified"});
    scene.tenant.integration_with(&integration).await;
    let wanted = |private_key: String| {
        let mut wanted = connection("conn-c", "unused");
        wanted["provider_config_key"] = json!("certified");
        wanted["credentials"] = json!({
            "type": "TWO_STEP",
            "client_id": DEMO_CLIENT_ID,
            "client_certificate": key.certificate().base64(),
            "client_private_key": private_key,
        });
        wanted
    };

    let made = scene.tenant.connection_with(&wanted(base64(&key))).await;

    assert_eq!(made["credentials"]["type"], "TWO_STEP");
    assert!(!token(&made).is_empty());
    assert!(!made.to_string().contains(&base64(&key)));
    let shown_end = made["credentials_expire_at"].as_str().unwrap().parse::<chrono::DateTime<Utc>>().unwrap();
    assert_eq!(shown_end.timestamp(), end);
    for (bad, words) in [(base64(&other), "does not belong"), ("nonsense".to_owned(), "no RSA private key")] {
        let answer = scene.tenant.api.post("/connections", &scene.tenant.connection_body(&wanted(bad))).await;
        let refused = answer.refused(400, "invalid_body");
        assert!(refused["error"]["message"].as_str().unwrap().contains(words), "{refused}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_refresh_token_that_is_replaced_is_kept_and_the_newest_is_used() {
    let login = Receiver::bystander().await;
    let url = Url::parse(&login.at("/")).unwrap();
    let app = TestApp::spawn_with(|settings| settings.graph.login_url = url).await;
    let tenant = app.tenant("acme").await;
    let credentials = json!({"type": "OAUTH2", "client_id": "app", "client_secret": "s"});
    let integration = json!({"provider": "microsoft", "unique_key": "users", "credentials": credentials});
    tenant.integration_with(&integration).await;
    let granted = |number: u32| {
        let body = json!({"access_token": format!("a-{number}"), "refresh_token": format!("r-{number}"), "expires_in": 3600});
        Reply::status(200).header("content-type", "application/json").body(body.to_string())
    };
    login.script([granted(1), granted(2)]);
    let wanted = json!({
        "connection_id": "user-1",
        "provider_config_key": "users",
        "connection_config": {},
        "credentials": {"type": "OAUTH2", "refresh_token": "r-0"},
    });

    let made = tenant.connection_with(&wanted).await;
    let path = "/connections/user-1?provider_config_key=users&force_refresh=true";
    let plain = tenant.api.get(path).await.expect(200);
    let whole =
        tenant.api.get("/connections/user-1?provider_config_key=users&refresh_token=true").await.expect(200);

    assert_eq!(made["credentials"]["access_token"], "a-1");
    assert_eq!(plain["credentials"]["access_token"], "a-2");
    assert_eq!(plain["credentials"].get("refresh_token"), None);
    assert_eq!(whole["credentials"]["refresh_token"], "r-2");
    let received = login.wait_for(2).await;
    let used: Vec<bool> = received
        .iter()
        .zip(["r-0", "r-1"])
        .map(|(request, wanted)| request.text().contains(wanted))
        .collect();
    assert_eq!(used, [true, true]);
    assert!(received[0].text().contains("grant_type=refresh_token"));
}

#[tokio::test]
async fn the_end_of_a_secret_is_announced_once_far_and_once_near() {
    let mut scene = scene().await;
    let receiver = scene.told().await;
    let ending = |scene: &Scene, days: i64| {
        let mut wanted = connection("conn-1", DEMO_CLIENT_SECRET);
        // An hour more, so that whole days are left for as long as the test runs.
        let end = scene.app.clock().now() + TimeDelta::days(days) + TimeDelta::hours(1);
        wanted["credentials"]["client_secret_expires_at"] = json!(end);
        wanted
    };
    for (days, count) in [(40, 0), (29, 1), (6, 2)] {
        let made = scene.tenant.connection_with(&ending(&scene, days)).await;
        assert!(made["credentials_expire_at"].is_string(), "{made}");
        // Every process looks when it starts; the second one has nothing left to say.
        for _ in 0..2 {
            scene.app.stop().await;
            scene.app.restart().await;
            scene.tenant = scene.tenant.moved_to(&scene.app);
            let told = receiver.wait_for(count).await;
            if let Some(told) = told.last().map(waypost_harness::Received::json) {
                assert_eq!(told["success"], true);
                assert_eq!(told["warning"]["days"], days);
            }
        }
    }
    scene.end().await;
}
