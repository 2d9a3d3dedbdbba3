//! What an operator and an integrator set up in a running Waypost, over HTTP as they would.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::clock::TestClock;
use crate::receiver::{Receiver, Trust};

const INTEGRATION: &str = "graph-cc";
const WEBHOOK_SECRET: &str = "state-of-a-site-0123456789";

/// An environment with the integration `graph-cc`.
#[derive(Debug, Clone)]
pub struct Environment {
    uuid: String,
    key: String,
    signing_key: String,
}

impl Environment {
    /// Makes an account, an environment and the integration: over `admin`, an operator's client, and `public`.
    pub async fn create(admin: &Client, public: &Client) -> Self {
        let account = admin.post("/admin/accounts", &json!({"name": "Acme"})).await.expect(201);
        let path = format!("/admin/accounts/{}/environments", account["id"].as_str().unwrap());
        let made = admin.post(&path, &json!({"name": "prod"})).await.expect(201);
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{name} in {made}")).to_owned();
        let environment =
            Self { uuid: text("uuid"), key: text("secret_key"), signing_key: text("webhook_signing_key") };
        let api = environment.api(public);
        let integration = json!({
            "provider": "microsoft-oauth2-cc",
            "unique_key": INTEGRATION,
            "custom": {"webhookSecret": WEBHOOK_SECRET},
        });
        api.post("/integrations", &integration).await.expect(200);
        environment
    }

    /// A client of its API.
    #[must_use]
    pub fn api(&self, public: &Client) -> Client {
        public.with_token(&self.key)
    }

    /// Makes a connection for an Entra tenant.
    pub async fn connection(&self, public: &Client, id: &str, tenant: Uuid) {
        let body = json!({
            "provider_config_key": INTEGRATION,
            "connection_id": id,
            "connection_config": {"tenantId": tenant},
            "credentials": {
                "type": "OAUTH2_CC",
                "token": "a-token",
                "client_id": "8d0a2b6e-0000-4000-8000-00000000c11d",
                "client_secret": "a-client-secret",
                "expires_at": "2099-01-01T00:00:00Z",
            },
        });
        self.api(public).post("/connections", &body).await.expect(201);
    }

    /// Makes an endpoint at `url` for what comes for one connection, which the receiver learns to trust; returns its id.
    pub async fn endpoint(
        &self,
        public: &Client,
        url: &str,
        connection: &str,
        receiver: &Receiver,
    ) -> String {
        let api = self.api(public);
        let filter = json!({"event_types": ["forward"], "connections": [connection]});
        let made = api.post("/endpoints", &json!({"url": url, "filter": filter})).await.expect(201);
        let id = made["id"].as_str().unwrap().to_owned();
        let secret = api.get(&format!("/endpoints/{id}/secret")).await.expect(200);
        receiver.trust(Trust {
            signing_key: self.signing_key.clone(),
            secret: secret["secret"].as_str().unwrap().to_owned(),
            clock: TestClock::default(),
        });
        id
    }

    /// The path of the integration's ingress.
    #[must_use]
    pub fn ingress(&self) -> String {
        format!("/webhook/{}/{INTEGRATION}", self.uuid)
    }

    /// A notification of an Entra tenant whose resource has this id.
    #[must_use]
    pub fn notification(&self, tenant: Uuid, resource: Uuid) -> Value {
        json!({"value": [{
            "changeType": "updated",
            "clientState": WEBHOOK_SECRET,
            "resource": format!("users/{resource}"),
            "resourceData": {"@odata.type": "#Microsoft.Graph.User", "id": resource},
            "subscriptionExpirationDateTime": "2030-01-01T00:00:00.0000000Z",
            "subscriptionId": "6a1f2c3d-0000-4000-8000-0000000000aa",
            "tenantId": tenant,
        }]})
    }

    /// The list at `path`, all pages of it.
    pub async fn list(&self, public: &Client, path: &str) -> Vec<Value> {
        let api = self.api(public);
        let mut all = Vec::new();
        let mut next = path.to_owned();
        loop {
            let page = api.get(&next).await.expect(200);
            all.extend(page["data"].as_array().unwrap_or_else(|| panic!("data in {page}")).iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { return all };
            let joint = if path.contains('?') { '&' } else { '?' };
            next = format!("{path}{joint}cursor={cursor}");
        }
    }
}
