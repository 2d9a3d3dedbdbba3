//! The proxy against the simulator of Graph and Entra: tokens that are refused, throttling, pages, and subscriptions that
//! are adopted on the way.

use std::net::{Ipv4Addr, TcpListener};

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use waypost_core::clock::Clock as _;
use waypost_harness::{Answer, Receiver, Tenant, TestApp};
use waypost_simulator::{
    ChangeType, Control, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, DEMO_USERS, Fault, Item,
    Notification, Operation, Simulator, SimulatorConfig,
};

struct Scene {
    app: TestApp,
    tenant: Tenant,
    receiver: Receiver,
    simulator: Simulator,
}

/// A connection to a tenant of the simulator, whose notifications would reach the application.
async fn scene() -> Scene {
    let config = SimulatorConfig { notification_http_allowed: true, ..SimulatorConfig::default() };
    let simulator = Simulator::start(config, waypost_core::clock::system()).await.unwrap();
    // Graph is told the public URL, so its port must be known before it is listened on.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let app = TestApp::spawn_with(|settings| {
        settings.graph.login_url = simulator.login_url();
        settings.graph.base_url = simulator.graph_url();
        settings.server.public_listen = free;
        settings.server.public_url = format!("http://{free}").parse().unwrap();
    })
    .await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    Scene { app, tenant, receiver, simulator }
}

impl Scene {
    fn control(&self) -> Control {
        self.simulator.control()
    }

    /// The connection `conn-1`, with a token that Graph doesn't know where `token` is one.
    async fn connect(&self, secret: &str, token: Option<&str>) {
        let mut credentials =
            json!({"type": "OAUTH2_CC", "client_id": DEMO_CLIENT_ID, "client_secret": secret});
        if let Some(token) = token {
            credentials["token"] = json!(token);
            credentials["expires_at"] = json!("2099-01-01T00:00:00Z");
        }
        let members = json!({
            "connection_id": "conn-1",
            "connection_config": {"tenantId": DEMO_TENANTS[0]},
            "credentials": credentials,
        });
        self.tenant.connection_with(&members).await;
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = self.tenant.api.request(method, &format!("/proxy{path}"));
        request = request.header("Provider-Config-Key", "graph-cc").header("Connection-Id", "conn-1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.tenant.api.send(request).await
    }

    async fn messages(&self, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::GET, &messages(), headers, None).await
    }

    async fn end(self) {
        self.app.leave_work();
        drop(self.app);
        self.simulator.stop().await;
    }
}

fn messages() -> String {
    format!("/v1.0/users/{}/messages", DEMO_USERS[0])
}

#[tokio::test]
async fn a_call_gets_its_token_by_itself_and_only_once() {
    let scene = scene().await;
    scene.connect(DEMO_CLIENT_SECRET, None).await;

    let made =
        scene.call(Method::POST, &messages(), &[], Some(&json!({"subject": "hello"}))).await.expect(201);
    let id = made["id"].as_str().unwrap();
    let one = format!("{}/{id}", messages());
    scene.call(Method::PATCH, &one, &[], Some(&json!({"subject": "changed"}))).await.expect(200);
    let read = scene.call(Method::GET, &one, &[], None).await;
    assert_eq!(read.expect(200)["subject"], "changed");
    assert!(!read.header("request-id").is_empty());
    assert_eq!(scene.call(Method::DELETE, &one, &[], None).await.status, 204);
    let gone = scene.call(Method::GET, &one, &[], None).await;
    assert_eq!((gone.status, gone.json()["error"]["code"].is_string()), (404, true));

    assert_eq!(scene.control().calls(Operation::Token), 1);
    scene.end().await;
}

#[tokio::test]
async fn pages_are_followed_by_their_own_links() {
    let scene = scene().await;
    scene.connect(DEMO_CLIENT_SECRET, None).await;
    for number in 0..3 {
        scene
            .call(Method::POST, &messages(), &[], Some(&json!({"subject": number.to_string()})))
            .await
            .expect(201);
    }
    let mut next = format!("{}?$top=1&$select=subject", messages());
    let mut pages = 0;
    loop {
        let page = scene.call(Method::GET, &next, &[], None).await.expect(200);
        pages += 1;
        let Some(link) = page["@odata.nextLink"].as_str() else { break };
        // As it came: an absolute URL of the provider.
        next = format!("/{link}");
    }
    assert!(pages >= 3, "{pages}");
    scene.end().await;
}

#[tokio::test]
async fn a_token_that_graph_refuses_is_replaced_once_even_without_retries() {
    let scene = scene().await;
    scene.connect(DEMO_CLIENT_SECRET, Some("a token that graph does not know")).await;
    scene.messages(&[]).await.expect(200);
    assert_eq!(scene.control().calls(Operation::Token), 1);
    scene.messages(&[]).await.expect(200);
    assert_eq!(scene.control().calls(Operation::Token), 1, "the new one is kept");

    scene.control().set_fault([Fault::unauthorized(Operation::ListItems, 2)]);
    let before = scene.control().calls(Operation::ListItems);
    let refused = scene.messages(&[]).await;
    assert_eq!(refused.expect(401)["error"]["code"], "InvalidAuthenticationToken");
    assert_eq!(scene.control().calls(Operation::ListItems), before + 2);
    assert_eq!(scene.control().calls(Operation::Token), 2);
    scene.end().await;
}

#[tokio::test]
async fn throttling_is_sat_out_where_retries_are_asked_for() {
    let scene = scene().await;
    scene.connect(DEMO_CLIENT_SECRET, None).await;
    scene.control().set_fault([Fault::throttled(Operation::ListItems, 2, 1)]);
    let throttled = scene.messages(&[]).await;
    assert_eq!((throttled.status, throttled.header("retry-after")), (429, "1"));
    scene.messages(&[("Retries", "1")]).await.expect(200);
    assert_eq!(scene.control().calls(Operation::ListItems), 3);
    scene.end().await;
}

#[tokio::test]
async fn a_sign_in_that_fails_is_told_in_microsofts_words() {
    let scene = scene().await;
    scene.connect("not the secret", None).await;
    // Whoever asks first is refused, whoever comes after is told to wait: the application may have asked before.
    let refused = scene.messages(&[]).await;
    assert!([400, 424].contains(&refused.status), "{}", refused.text());
    let refused = refused.json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("AADSTS7000215"), "{message}");
    assert!(!message.contains("not the secret"), "{message}");
    scene.messages(&[]).await.refused(424, "connection_refresh_backoff");
    assert_eq!(scene.control().calls(Operation::ListItems), 0);
    scene.end().await;
}

#[tokio::test]
async fn a_refused_token_is_explained_where_the_sign_in_host_refuses_another() {
    let scene = scene().await;
    scene.connect(DEMO_CLIENT_SECRET, Some("a token that graph does not know")).await;
    scene.control().remove_secrets(DEMO_CLIENT_ID);
    let refused = scene.messages(&[]).await.refused(400, "server_error");
    assert!(refused["error"]["message"].as_str().unwrap().contains("AADSTS7000215"), "{refused}");

    let cooling = scene.messages(&[]).await.refused(424, "connection_refresh_backoff");

    let message = cooling["error"]["message"].as_str().unwrap();
    assert!(message.contains("AADSTS7000215") && message.contains("it is tried again at 2"), "{message}");
    assert_eq!(scene.control().calls(Operation::Token), 1);
    scene.end().await;
}

fn wish() -> Value {
    json!({"changeType": "created", "resource": format!("users/{}/messages", DEMO_USERS[0])})
}

#[tokio::test]
async fn a_subscription_made_through_the_proxy_is_filled_in_adopted_and_followed() {
    let scene = scene().await;
    scene.connect(DEMO_CLIENT_SECRET, None).await;

    let made = scene.call(Method::POST, "/v1.0/subscriptions", &[], Some(&wish())).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    let url = scene.app.public().url(&scene.tenant.ingress());
    assert_eq!(made["notificationUrl"], json!(url));
    let tracked = scene.tenant.only("/subscriptions").await;
    assert_eq!((&tracked["graph_id"], &tracked["status"]), (&json!(id), &json!("active")));

    let number = id.parse().unwrap();
    scene.control().notify(&Notification::of([Item::change(number, ChangeType::Created)])).unwrap();
    // The notice that it was created, and what Graph told.
    let received = scene.receiver.wait_for_at_least(2).await;
    assert!(
        received
            .iter()
            .any(|request| request.json()["type"] == "forward" && request.connection() == "conn-1")
    );

    let one = format!("/v1.0/subscriptions/{id}");
    let expires = scene.app.clock().now() + chrono::TimeDelta::hours(2);
    let changed = json!({"expirationDateTime": expires.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)});
    scene.call(Method::PATCH, &one, &[], Some(&changed)).await.expect(200);
    let tracked = scene.tenant.only("/subscriptions").await;
    let stands: DateTime<Utc> = tracked["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(stands.timestamp(), expires.timestamp());

    assert_eq!(scene.call(Method::DELETE, &one, &[], None).await.status, 204);
    assert!(scene.tenant.list("/subscriptions").await.iter().all(|found| found["status"] != "active"));
    scene.end().await;
}

#[tokio::test]
async fn an_equal_wish_through_the_proxy_joins_what_is_there() {
    let scene = scene().await;
    scene.connect(DEMO_CLIENT_SECRET, None).await;
    let first = scene.call(Method::POST, "/v1.0/subscriptions", &[], Some(&wish())).await.expect(201);
    let second = scene.call(Method::POST, "/v1.0/subscriptions", &[], Some(&wish())).await.expect(201);
    assert_eq!(first["id"], second["id"]);
    assert_eq!(scene.control().subscriptions().len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn a_create_without_a_clear_answer_is_found_and_never_sent_twice() {
    let scene = scene().await;
    scene.connect(DEMO_CLIENT_SECRET, None).await;
    scene.control().set_fault([Fault::unclear(Operation::CreateSubscription, 1)]);

    let made =
        scene.call(Method::POST, "/v1.0/subscriptions", &[("Retries", "3")], Some(&wish())).await.expect(201);

    assert_eq!(scene.control().calls(Operation::CreateSubscription), 1);
    assert_eq!(scene.control().subscriptions().len(), 1);
    assert_eq!(scene.tenant.only("/subscriptions").await["graph_id"], made["id"]);
    scene.end().await;
}

#[tokio::test]
async fn a_create_that_graph_refuses_is_refused_in_graphs_words_and_tracked_by_nobody() {
    let scene = scene().await;
    scene.connect(DEMO_CLIENT_SECRET, None).await;
    let odd = json!({"changeType": "created", "resource": "nothing/that/graph/knows"});
    let refused = scene.call(Method::POST, "/v1.0/subscriptions", &[], Some(&odd)).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.json()["error"]["message"].is_string());
    assert!(scene.tenant.list("/subscriptions").await.iter().all(|found| found["status"] != "active"));
    assert!(scene.control().subscriptions().is_empty());
    scene.end().await;
}
