//! A tenant whose customers are the simulator's, reached by the simulator at a public URL that works.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use waypost::config::Settings;
use waypost_harness::program::free_address;
use waypost_harness::{Answer, Tenant, TestApp, wait};
use waypost_simulator::{
    Control, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, DeliveryPolicy, Rules, Simulator,
    SimulatorConfig, SubscriptionView,
};

pub(super) struct Scene {
    pub(super) app: TestApp,
    pub(super) tenant: Tenant,
    simulator: Simulator,
}

impl Scene {
    /// With one connection, `conn-1`, of the first demo tenant.
    pub(super) async fn start() -> Self {
        let scene = Self::with(Rules::default(), |_| {}).await;
        scene.connect("conn-1").await;
        scene
    }

    /// Without connections.
    pub(super) async fn with(rules: Rules, edit: impl FnOnce(&mut Settings)) -> Self {
        let config = SimulatorConfig {
            notification_http_allowed: true,
            rules,
            delivery: DeliveryPolicy {
                first_backoff: Duration::from_millis(50),
                max_backoff: Duration::from_millis(200),
                ..DeliveryPolicy::default()
            },
            ..SimulatorConfig::default()
        };
        let simulator = Simulator::start(config, waypost_core::clock::system()).await.unwrap();
        let address = free_address();
        let app = TestApp::spawn_with(|settings| {
            settings.server.public_listen = address;
            settings.server.public_url = format!("http://{address}").parse().unwrap();
            settings.graph.login_url = simulator.login_url();
            settings.graph.base_url = simulator.graph_url();
            edit(settings);
        })
        .await;
        let tenant = app.tenant("acme").await;
        Self { app, tenant, simulator }
    }

    pub(super) fn graph(&self) -> Control {
        self.simulator.control()
    }

    /// Where the app signs in, without a slash at the end.
    pub(super) fn login_url(&self) -> String {
        self.simulator.login_url().as_str().trim_end_matches('/').to_owned()
    }

    /// Where Graph is, without a slash at the end.
    pub(super) fn graph_url(&self) -> String {
        self.simulator.graph_url().as_str().trim_end_matches('/').to_owned()
    }

    /// Puts a body.
    pub(super) async fn put(&self, path: &str, body: &Value) -> Answer {
        let api = &self.tenant.api;
        api.send(api.request(reqwest::Method::PUT, path).json(body)).await
    }

    /// What Graph has.
    pub(super) fn at_graph(&self) -> Vec<SubscriptionView> {
        self.graph().subscriptions()
    }

    /// The only subscription that Graph has.
    pub(super) fn only_at_graph(&self) -> SubscriptionView {
        let mut all = self.at_graph();
        assert_eq!(all.len(), 1, "exactly one subscription at Graph");
        all.remove(0)
    }

    /// A connection of the first demo tenant that can sign in.
    pub(super) async fn connect(&self, id: &str) -> Value {
        self.connect_to(id, DEMO_TENANTS[0]).await
    }

    pub(super) async fn connect_to(&self, id: &str, tenant: Uuid) -> Value {
        let members = json!({
            "connection_id": id,
            "connection_config": {"tenantId": tenant},
            "credentials": {
                "type": "OAUTH2_CC",
                "client_id": DEMO_CLIENT_ID,
                "client_secret": DEMO_CLIENT_SECRET,
            },
        });
        self.tenant.connection_with(&members).await
    }

    /// Asks for a subscription of `conn-1`.
    pub(super) async fn wish(&self, members: &Value) -> Answer {
        let mut body = json!({
            "provider_config_key": "graph-cc",
            "connection_id": "conn-1",
            "resource": "users",
            "change_type": "updated",
        });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.tenant.api.post("/subscriptions", &body).await
    }

    /// The subscription of that id, once `holds` is true of it.
    pub(super) async fn until(&self, id: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/subscriptions/{id}");
        wait::until(what, async || {
            let shown = self.tenant.api.get(&path).await.expect(200);
            holds(&shown).then_some(shown)
        })
        .await
    }

    /// Waits until Graph has `count` subscriptions.
    pub(super) async fn until_at_graph(&self, count: usize) {
        wait::until_true("Graph to have the subscriptions", async || self.at_graph().len() == count).await;
    }

    pub(super) async fn end(self) {
        self.app.until_settled().await;
        drop(self.app);
        self.simulator.stop().await;
    }
}
