//! A company that lets customers connect, Microsoft as a program, and what a person does with a browser.

use std::net::TcpListener;

use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;
use waypost_harness::{Tenant, TestApp};
use waypost_simulator::{
    Control, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_USERS, Simulator, SimulatorConfig,
};

use super::browser::{Browser, Page};

pub(super) const CONTOSO_ADMIN: Uuid = DEMO_USERS[0];
pub(super) const CONTOSO_PERSON: Uuid = DEMO_USERS[1];
pub(super) const FABRIKAM_ADMIN: Uuid = DEMO_USERS[2];
pub(super) const PERSONAL_TENANT: Uuid = Uuid::from_u128(0x9188_040d_6c67_4c5b_b112_36a3_04b6_6dad);

pub(super) struct Scene {
    pub(super) app: TestApp,
    pub(super) tenant: Tenant,
    pub(super) simulator: Simulator,
}

/// A free address, and where the application is reached at it.
fn address() -> (std::net::SocketAddr, Url) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (address, format!("http://{address}").parse().unwrap())
}

/// An integration `graph` of an app that acts by itself, and one `mail` of an app that acts for users; nobody has
/// consented to anything.
pub(super) async fn scene() -> Scene {
    let (address, public_url) = address();
    let config = SimulatorConfig {
        consent_given: false,
        notification_http_allowed: true,
        redirect_uris: vec![public_url.join("oauth/callback").unwrap()],
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start(config, waypost_core::clock::system()).await.unwrap();
    let app = TestApp::spawn_with(|settings| {
        settings.server.public_listen = address;
        settings.server.public_url = public_url;
        settings.graph.login_url = simulator.login_url();
        settings.graph.base_url = simulator.graph_url();
    })
    .await;
    let tenant = app.tenant("acme").await;
    for (key, provider, kind, scopes) in [
        ("graph", "microsoft-oauth2-cc", "OAUTH2_CC", Value::Null),
        ("mail", "microsoft", "OAUTH2", json!("Mail.Read")),
    ] {
        let mut credentials =
            json!({"type": kind, "client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET});
        if !scopes.is_null() {
            credentials["scopes"] = scopes;
        }
        let wanted = json!({"unique_key": key, "provider": provider, "display_name": format!("The {key}"),
            "credentials": credentials, "custom": {}});
        tenant.integration_with(&wanted).await;
    }
    Scene { app, tenant, simulator }
}

impl Scene {
    pub(super) fn control(&self) -> Control {
        self.simulator.control()
    }

    /// The link of a new session.
    pub(super) async fn link(&self, integration: &str) -> Url {
        self.link_with(&json!({"allowed_integrations": [integration]})).await
    }

    pub(super) async fn link_with(&self, members: &Value) -> Url {
        let mut wanted =
            json!({"end_user": {"id": "user-1", "display_name": "Ada <b>L.</b>"}, "tags": {"plan": "pro"}});
        for (name, value) in members.as_object().unwrap() {
            wanted[name] = value.clone();
        }
        let made = self.tenant.api.post("/connect/sessions", &wanted).await.expect(201);
        made["data"]["connect_link"].as_str().unwrap().parse().unwrap()
    }

    /// The sign-in page that a link leads to.
    pub(super) async fn sign_in_page(&self, browser: &mut Browser, link: &Url) -> Page {
        let page = browser.open(link).await;
        page.shows(200, "Continue with Microsoft");
        let page = browser.submit(&page, "Continue with Microsoft", &[]).await;
        let page = browser.follow(page).await;
        page.shows(200, "Permissions requested").clone()
    }

    /// The consent page that an account leads to.
    pub(super) async fn consent_page(&self, browser: &mut Browser, link: &Url, person: Uuid) -> Page {
        let page = self.sign_in_page(browser, link).await;
        let page = accept(browser, &page, person).await;
        let page = browser.follow(page).await;
        page.shows(200, "review for your organization").clone()
    }

    pub(super) async fn connections(&self) -> Vec<Value> {
        let listed = self.tenant.api.get("/connections").await.expect(200);
        listed["connections"].as_array().unwrap().clone()
    }

    pub(super) async fn nothing_connected(&self) {
        assert_eq!(self.connections().await, Vec::<Value>::new());
    }

    pub(super) async fn end(self) {
        self.app.leave_work();
        drop(self.app);
        self.simulator.stop().await;
    }
}

/// Chooses a person and accepts; stays at the answer.
pub(super) async fn accept(browser: &mut Browser, page: &Page, person: Uuid) -> Page {
    browser.submit(page, "accept", &[("person", &person.to_string()), ("decision", "accept")]).await
}

/// A parameter of a URL.
pub(super) fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .unwrap_or_else(|| panic!("no {name} in {url}"))
        .1
        .into_owned()
}

/// The URL with a parameter replaced.
pub(super) fn with(url: &Url, name: &str, value: &str) -> Url {
    let pairs: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(key, _)| key != name).collect();
    let mut changed = url.clone();
    changed.query_pairs_mut().clear().extend_pairs(pairs).append_pair(name, value);
    changed
}
