//! A customer of the operator: an account with an environment, made over the admin API and used over the public one.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::client::{Answer, Client};
use crate::clock::TestClock;
use crate::notification;
use crate::receiver::{Receiver, Trust};

/// The webhook secret of every test's integration, unless it asks for another.
pub const WEBHOOK_SECRET: &str = "state-that-nobody-should-see-0123456789";
/// The integration that [`Tenant::integration`] makes.
const INTEGRATION: &str = "graph-cc";

/// An environment with its key.
#[derive(Debug)]
pub struct Tenant {
    /// The account's id.
    pub account: String,
    /// The environment's uuid.
    pub environment: String,
    /// Its API key.
    pub key: String,
    /// Its webhook signing key.
    pub signing_key: String,
    /// The environment API, with the key.
    pub api: Client,
    public: Client,
    clock: TestClock,
    connections: AtomicU32,
}

impl Tenant {
    /// Makes an account of that name with an environment, and the integration `graph-cc` in it.
    pub(crate) async fn create(app: &TestApp, account: &str, environment: &str) -> Self {
        let made = app.admin().post("/admin/accounts", &json!({"name": account})).await.expect(201);
        let tenant = Self::in_account(app, made["id"].as_str().unwrap(), environment).await;
        tenant.integration().await;
        tenant
    }

    /// Makes an environment in an account that is there, without an integration.
    pub async fn in_account(app: &TestApp, account: &str, environment: &str) -> Self {
        let path = format!("/admin/accounts/{account}/environments");
        let made = app.admin().post(&path, &json!({"name": environment})).await.expect(201);
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{name} in {made}")).to_owned();
        let (key, public) = (text("secret_key"), app.public());
        Self {
            account: account.to_owned(),
            environment: text("uuid"),
            api: public.with_token(&key),
            key,
            signing_key: text("webhook_signing_key"),
            public,
            clock: app.clock().clone(),
            connections: AtomicU32::new(0),
        }
    }

    /// The same environment at an application that was started again, on other ports.
    #[must_use]
    pub fn moved_to(self, app: &TestApp) -> Self {
        let public = app.public();
        Self { api: public.with_token(&self.key), public, ..self }
    }

    /// Makes the integration `graph-cc` with the usual webhook secret.
    pub async fn integration(&self) -> Value {
        self.integration_with(&json!({})).await
    }

    /// Makes an integration; `graph-cc` with the usual webhook secret where `members` don't say otherwise.
    pub async fn integration_with(&self, members: &Value) -> Value {
        let mut body = json!({
            "provider": "microsoft-oauth2-cc",
            "unique_key": INTEGRATION,
            "custom": {"webhookSecret": WEBHOOK_SECRET},
        });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.api.post("/integrations", &body).await.expect(200)["data"].clone()
    }

    /// Makes a connection of `graph-cc` for an Entra tenant.
    pub async fn connection(&self, id: &str, tenant: &str) -> Value {
        self.connection_with(&json!({"connection_id": id, "connection_config": {"tenantId": tenant}})).await
    }

    /// Makes a connection; of `graph-cc` where `members` don't say otherwise.
    pub async fn connection_with(&self, members: &Value) -> Value {
        self.api.post("/connections", &self.connection_body(members)).await.expect(201)
    }

    /// What [`Tenant::connection_with`] sends.
    #[must_use]
    pub fn connection_body(&self, members: &Value) -> Value {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let mut body = json!({
            "provider_config_key": INTEGRATION,
            "connection_id": format!("connection-{number}"),
            "connection_config": {"tenantId": notification::TENANT},
            "credentials": {
                "type": "OAUTH2_CC",
                "token": "token-that-nobody-should-see",
                "client_id": "8d0a2b6e-0000-4000-8000-00000000c11d",
                "client_secret": "client-secret-that-nobody-should-see",
                "expires_at": "2099-01-01T00:00:00Z",
            },
        });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    /// Sets `primary_url` to the receiver, which learns to trust it, and returns the endpoint's id. Notices of
    /// connections are switched off, so that a test meets them only where it asks for them.
    pub async fn primary(&self, receiver: &Receiver) -> String {
        self.named_endpoint("primary", receiver).await
    }

    /// As [`Tenant::primary`], for `secondary_url`.
    pub async fn secondary(&self, receiver: &Receiver) -> String {
        self.named_endpoint("secondary", receiver).await
    }

    async fn named_endpoint(&self, kind: &str, receiver: &Receiver) -> String {
        let settings = json!({format!("{kind}_url"): receiver.url(), "on_auth_creation": false});
        self.api.patch("/environment/webhook-settings", &settings).await.expect(200);
        let listed = self.api.get("/endpoints").await.expect(200);
        let found = listed["data"].as_array().unwrap().iter().find(|endpoint| endpoint["kind"] == kind);
        let id = found.unwrap_or_else(|| panic!("no {kind} in {listed}"))["id"].as_str().unwrap().to_owned();
        self.trusted_by(receiver, &id).await;
        id
    }

    /// Makes an endpoint for the receiver, which learns to trust it, and returns its id.
    pub async fn endpoint(&self, receiver: &Receiver) -> String {
        self.endpoint_with(receiver, &json!({})).await
    }

    /// As [`Tenant::endpoint`], with more members.
    pub async fn endpoint_with(&self, receiver: &Receiver, members: &Value) -> String {
        let mut body = json!({"url": receiver.url(), "filter": {"event_types": ["forward"]}});
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        let made = self.api.post("/endpoints", &body).await.expect(201);
        let id = made["id"].as_str().unwrap().to_owned();
        self.trusted_by(receiver, &id).await;
        id
    }

    /// Lets the receiver trust what this environment sends to an endpoint.
    pub async fn trusted_by(&self, receiver: &Receiver, endpoint: &str) {
        receiver.trust(self.trust(endpoint).await);
    }

    /// What a receiver has to know to trust an endpoint.
    pub async fn trust(&self, endpoint: &str) -> Trust {
        let secret = self.api.get(&format!("/endpoints/{endpoint}/secret")).await.expect(200);
        let secret = secret["secret"].as_str().unwrap().to_owned();
        Trust { signing_key: self.signing_key.clone(), secret, clock: self.clock.clone() }
    }

    /// A collection of one item of an Entra tenant.
    #[must_use]
    pub fn notification(&self, tenant: &str) -> Value {
        notification::collection(&[notification::item(tenant)])
    }

    /// The path of the ingress of `graph-cc`.
    #[must_use]
    pub fn ingress(&self) -> String {
        self.ingress_of(INTEGRATION)
    }

    /// The path of the ingress of an integration.
    #[must_use]
    pub fn ingress_of(&self, integration: &str) -> String {
        format!("/webhook/{}/{integration}", self.environment)
    }

    /// Posts what Graph would post to `graph-cc`.
    pub async fn post_notification(&self, body: &Value) -> Answer {
        self.public.post(&self.ingress(), body).await
    }

    /// Posts items and asserts that they were accepted.
    pub async fn accept(&self, items: &[Value]) {
        let answer = self.post_notification(&notification::collection(items)).await;
        answer.expect(202);
    }

    /// The list at `path`, all pages of it.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut next = path.to_owned();
        loop {
            let page = self.api.get(&next).await.expect(200);
            all.extend(page["data"].as_array().unwrap_or_else(|| panic!("data in {page}")).iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { return all };
            let joint = if path.contains('?') { '&' } else { '?' };
            next = format!("{path}{joint}cursor={cursor}");
        }
    }

    /// The only element of the list at `path`; panics when there is none or more than one.
    pub async fn only(&self, path: &str) -> Value {
        let all = self.list(path).await;
        assert_eq!(all.len(), 1, "{path}: {all:#?}");
        all[0].clone()
    }
}
