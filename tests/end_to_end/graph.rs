//! The other side as it really behaves: the simulator of Graph and Entra, with its handshake, its shapes, its batches and
//! its retries.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;
use waypost_core::clock::Clock as _;
use waypost_harness::{Client, Receiver, Tenant, TestApp, WEBHOOK_SECRET};
use waypost_simulator::sample::{Target, collection, samples};
use waypost_simulator::{
    ChangeType, Control, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_DOMAINS, DEMO_TENANTS, DeliveryPolicy,
    DeliveryState, Item, Notification, Simulator, SimulatorConfig,
};

struct Scene {
    app: TestApp,
    tenant: Tenant,
    receiver: Receiver,
    simulator: Simulator,
    graph: Client,
}

/// A tenant whose two customers are the demo tenants of the simulator.
async fn scene() -> Scene {
    let config = SimulatorConfig {
        notification_http_allowed: true,
        delivery: DeliveryPolicy {
            first_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(200),
            ..DeliveryPolicy::default()
        },
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start(config, waypost_core::clock::system()).await.unwrap();
    let app = TestApp::spawn_with(|settings| {
        settings.graph.login_url = simulator.login_url();
        settings.graph.base_url = simulator.graph_url();
    })
    .await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    let graph = Client::new(simulator.base_url().as_str().trim_end_matches('/').to_owned());
    Scene { app, tenant, receiver, simulator, graph }
}

impl Scene {
    fn control(&self) -> Control {
        self.simulator.control()
    }

    /// The path of a URL of the simulator.
    fn path(&self, base: &Url, rest: &str) -> String {
        let whole = format!("{}/{rest}", base.as_str().trim_end_matches('/'));
        whole.strip_prefix(&self.graph.url("")).unwrap().to_owned()
    }

    /// Signs in and creates a subscription whose notifications come to the tenant's ingress, handshake and all.
    async fn subscribe(&self, entra: Uuid) -> Uuid {
        let form = [
            ("client_id", DEMO_CLIENT_ID.to_string()),
            ("client_secret", DEMO_CLIENT_SECRET.to_owned()),
            ("scope", "https://graph.microsoft.com/.default".to_owned()),
            ("grant_type", "client_credentials".to_owned()),
        ];
        let path = self.path(&self.simulator.login_url(), &format!("{entra}/oauth2/v2.0/token"));
        let answer =
            self.graph.send(self.graph.request(reqwest::Method::POST, &path).form(&form)).await.expect(200);
        let token = answer["access_token"].as_str().unwrap();
        let notification_url = self.app.public().url(&self.tenant.ingress());
        let expires = self.app.clock().now() + TimeDelta::days(1);
        let wish = json!({
            "changeType": "created,updated",
            "resource": format!("users/{}/messages", Uuid::new_v4()),
            "notificationUrl": notification_url,
            "lifecycleNotificationUrl": format!("{notification_url}/lifecycle"),
            "expirationDateTime": expires.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "clientState": WEBHOOK_SECRET,
        });
        let path = self.path(&self.simulator.graph_url(), "v1.0/subscriptions");
        let made = self.graph.with_token(token).post(&path, &wish).await.expect(201);
        made["id"].as_str().unwrap().parse().unwrap()
    }

    async fn end(self) {
        self.app.until_settled().await;
        drop(self.app);
        self.simulator.stop().await;
    }
}

#[tokio::test]
async fn a_subscription_is_created_through_the_handshake_and_its_notifications_arrive() {
    let scene = scene().await;
    scene.tenant.connection("conn-1", &DEMO_TENANTS[0].to_string()).await;
    let subscription = scene.subscribe(DEMO_TENANTS[0]).await;

    scene.control().notify(&Notification::of([Item::change(subscription, ChangeType::Created)])).unwrap();
    scene.control().wait_settled().await;

    let received = scene.receiver.wait_for(1).await;
    assert_eq!(received[0].connection(), "conn-1");
    assert_eq!(received[0].items()[0]["subscriptionId"], json!(subscription));
    assert!(scene.control().deliveries().iter().all(|delivery| delivery.state == DeliveryState::Delivered));
    scene.end().await;
}

#[tokio::test]
async fn a_batch_of_two_customers_in_one_request_is_split() {
    let scene = scene().await;
    scene.tenant.connection("conn-1", &DEMO_TENANTS[0].to_string()).await;
    scene.tenant.connection("conn-2", &DEMO_TENANTS[1].to_string()).await;
    let (first, second) = (scene.subscribe(DEMO_TENANTS[0]).await, scene.subscribe(DEMO_TENANTS[1]).await);

    let items = [first, second, first].map(|id| Item::change(id, ChangeType::Updated));
    let deliveries = scene.control().notify(&Notification::of(items)).unwrap();
    assert_eq!(deliveries.len(), 1, "Graph puts what goes to one URL into one request");

    let mut received = scene.receiver.wait_for(2).await;
    received.sort_by_key(waypost_harness::Received::connection);
    let counts: Vec<(String, usize)> =
        received.iter().map(|one| (one.connection(), one.items().len())).collect();
    assert_eq!(counts, [("conn-1".to_owned(), 2), ("conn-2".to_owned(), 1)]);
    scene.end().await;
}

#[tokio::test]
async fn items_of_every_shape_arrive_with_all_their_members() {
    let scene = scene().await;
    scene.tenant.connection("conn-1", &DEMO_TENANTS[0].to_string()).await;
    let target = Target {
        subscription_id: Uuid::new_v4(),
        tenant_id: DEMO_TENANTS[0],
        client_state: Some(WEBHOOK_SECRET.to_owned()),
        expires_at: scene.app.clock().now() + TimeDelta::days(1),
    };
    let items: Vec<Value> = samples(&target).into_iter().map(|sample| sample.item).collect();

    scene.tenant.post_notification(&collection(items.clone())).await.expect(202);

    assert_eq!(scene.receiver.wait_for(1).await[0].items(), items);
    scene.end().await;
}

#[tokio::test]
async fn what_can_not_be_stored_now_is_sent_again_by_graph_and_nothing_is_lost() {
    let scene = scene().await;
    scene.tenant.connection("conn-1", &DEMO_TENANTS[0].to_string()).await;
    let subscription = scene.subscribe(DEMO_TENANTS[0]).await;
    let mut blocking = scene.app.db_connect().await;
    sqlx::query("BEGIN").execute(&mut blocking).await.unwrap();
    sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut blocking).await.unwrap();

    let deliveries =
        scene.control().notify(&Notification::of([Item::change(subscription, ChangeType::Created)])).unwrap();
    waypost_harness::wait::until_true("Graph to be refused once", async || {
        scene.control().delivery(deliveries[0]).is_some_and(|delivery| !delivery.tries.is_empty())
    })
    .await;
    sqlx::query("ROLLBACK").execute(&mut blocking).await.unwrap();
    scene.control().wait_settled().await;

    let delivery = scene.control().delivery(deliveries[0]).unwrap();
    assert_eq!(delivery.state, DeliveryState::Delivered, "{delivery:?}");
    // The first try may have been stored after all, late: then the customer gets it twice, under one item key.
    let received = scene.receiver.wait_for_at_least(1).await;
    let keys: std::collections::BTreeSet<&str> =
        received.iter().map(|request| request.header("waypost-item-keys")).collect();
    assert_eq!(keys.len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn a_tenant_may_be_named_by_its_domain() {
    let scene = scene().await;
    let made = scene.tenant.connection("conn-1", DEMO_DOMAINS[0]).await;
    assert_eq!(made["connection_config"]["tenantId"], DEMO_DOMAINS[0], "shown as given");

    scene.tenant.accept(&[waypost_harness::notification::item(&DEMO_TENANTS[0].to_string())]).await;
    assert_eq!(scene.receiver.wait_for(1).await[0].connection(), "conn-1");

    for unknown in ["nobody.example", "common", "not a domain", "../v2.0"] {
        let body = scene.tenant.connection_body(&json!({"connection_config": {"tenantId": unknown}}));
        let refused = scene.tenant.api.post("/connections", &body).await;
        assert_eq!(refused.status, 400, "{unknown}: {}", refused.text());
        assert!(refused.text().contains("tenant"), "{unknown}: {}", refused.text());
    }
    scene.end().await;
}
