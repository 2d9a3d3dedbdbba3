//! What an operator and an integrator would set up: an account, an environment, an integration, two customers and their
//! connections, and a subscription for each at Graph. All over HTTP, as they would.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use chrono::{SecondsFormat, TimeDelta};
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;
use waypost_core::clock::{Clock as _, SystemClock};
use waypost_crypto::signature::{EndpointSecret, SigningKey};
use waypost_crypto::token::random_secret;
use waypost_simulator::{DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_DOMAINS, DEMO_TENANTS};

use super::house::House;
use super::receiver::{Keys, Receiver};
use super::report::Report;
use crate::cli::admin_token;

/// Where this process listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) public: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// What lets somebody try things beside the demonstration.
#[derive(Debug)]
pub(super) struct Access {
    /// An operator's.
    pub(super) admin_token: SecretString,
    /// Of the demonstration's environment.
    pub(super) api_key: SecretString,
}

/// One customer of the demonstration.
#[derive(Debug, Clone)]
pub(super) struct Customer {
    pub(super) connection_id: &'static str,
    pub(super) tenant: Uuid,
    /// Its subscription at the simulator.
    pub(super) subscription: Uuid,
}

/// Everything that was set up.
#[derive(Debug)]
pub(super) struct Demo {
    pub(super) customers: [Customer; 2],
    pub(super) ingress: String,
    pub(super) webhook_secret: String,
    pub(super) access: Access,
    api: Api,
}

const INTEGRATION: &str = "graph-cc";
const CUSTOMERS: [&str; 2] = ["contoso", "fabrikam"];

impl Demo {
    pub(super) async fn make(
        house: &House,
        receiver: &Receiver,
        addresses: Addresses,
        report: Report,
    ) -> anyhow::Result<Self> {
        report.section("Setting up, as an operator and an integrator would");
        let token = admin_token::for_operator(&house.settings.admin, "waypost dev", &SystemClock)?;
        let admin = Api::new(format!("http://{}", addresses.admin), token.clone())?;
        let account = admin.post("/admin/accounts", &json!({"name": "Demo"})).await?;
        let account_id = text(&account, "/id")?;
        let environment = admin
            .post(&format!("/admin/accounts/{account_id}/environments"), &json!({"name": "dev"}))
            .await?;
        let uuid = text(&environment, "/uuid")?;
        report.done("account and environment", &format!("Demo / dev, {uuid}"));

        let key = text(&environment, "/secret_key")?;
        let access = Access { admin_token: token.into(), api_key: key.clone().into() };
        let api = Api::new(format!("http://{}", addresses.public), key)?;
        let webhook_secret = random_secret().expose_secret().to_owned();
        api.post("/integrations", &integration(&webhook_secret)).await?;
        report.done("integration", &format!("{INTEGRATION}, provider microsoft-oauth2-cc"));
        let hooks = format!("{}/hooks", receiver.url());
        api.send(Method::PATCH, "/environment/webhook-settings", Some(&json!({"primary_url": hooks})))
            .await?;
        report.done("endpoint", &format!("primary, {hooks}"));
        let keys = Keys {
            signing_key: SigningKey::new(text(&environment, "/webhook_signing_key")?),
            secret: api.primary_secret().await?,
        };
        // Connecting a customer sends an event already.
        receiver.knows(keys);

        let ingress = format!("http://{}/webhook/{uuid}/{INTEGRATION}", addresses.public);
        let mut customers = Vec::new();
        for ((connection_id, tenant), domain) in CUSTOMERS.into_iter().zip(DEMO_TENANTS).zip(DEMO_DOMAINS) {
            api.post("/connections", &connection(connection_id, domain)).await?;
            report.done("connection", &format!("{connection_id}, tenant {domain} ({tenant})"));
            let subscription = subscribe(house, tenant, &ingress, &webhook_secret).await?;
            report.done("subscription", &format!("{subscription} at Graph, handshake answered"));
            customers.push(Customer { connection_id, tenant, subscription });
        }
        let customers = customers.try_into().ok().context("there are two customers")?;
        Ok(Self { customers, ingress, webhook_secret, access, api })
    }

    /// How many items were refused for `reason`, as the environment API tells.
    pub(super) async fn refused(&self, reason: &str) -> anyhow::Result<u64> {
        let list = self.api.get("/rejections?limit=200").await?;
        let rows =
            list.pointer("/data").and_then(Value::as_array).context("the list of rejections has no data")?;
        let of_reason = rows.iter().filter(|row| row.get("reason").and_then(Value::as_str) == Some(reason));
        Ok(of_reason.filter_map(|row| row.get("count").and_then(Value::as_u64)).sum())
    }

    /// How many events have that status, as the environment API tells.
    pub(super) async fn events_with(&self, status: &str) -> anyhow::Result<usize> {
        let list = self.api.get(&format!("/events?status={status}&limit=200")).await?;
        Ok(list.pointer("/data").and_then(Value::as_array).map_or(0, Vec::len))
    }
}

fn integration(secret: &str) -> Value {
    json!({
        "provider": "microsoft-oauth2-cc", "unique_key": INTEGRATION, "display_name": "Microsoft Graph",
        "credentials": {"type": "OAUTH2_CC", "client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET},
        "custom": {"webhookSecret": secret},
    })
}

fn connection(id: &str, domain: &str) -> Value {
    // A domain, as people have it at hand: Waypost asks Entra for the tenant behind it.
    json!({"provider_config_key": INTEGRATION, "connection_id": id, "connection_config": {"tenantId": domain}})
}

/// Creates a subscription at the simulator, with the application's own token, and gives its id.
async fn subscribe(house: &House, tenant: Uuid, ingress: &str, state: &str) -> anyhow::Result<Uuid> {
    let simulator = house.simulator()?;
    let client = client()?;
    let sign_in =
        format!("{}/{tenant}/oauth2/v2.0/token", simulator.login_url().as_str().trim_end_matches('/'));
    let scope = format!("{}/.default", simulator.graph_url().as_str().trim_end_matches('/'));
    let id = DEMO_CLIENT_ID.to_string();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", id.as_str()),
        ("client_secret", DEMO_CLIENT_SECRET),
        ("scope", scope.as_str()),
    ];
    let token: Value = client.post(sign_in).form(&form).send().await?.error_for_status()?.json().await?;
    let expires = SystemClock.now() + TimeDelta::hours(24);
    let wish = json!({
        "changeType": "created,updated",
        "resource": format!("users/{tenant}/messages"),
        "notificationUrl": ingress,
        "lifecycleNotificationUrl": format!("{ingress}/lifecycle"),
        "expirationDateTime": expires.to_rfc3339_opts(SecondsFormat::Millis, true),
        "clientState": state,
    });
    let url = format!("{}/v1.0/subscriptions", simulator.graph_url().as_str().trim_end_matches('/'));
    let answer = client.post(url).bearer_auth(text(&token, "/access_token")?).json(&wish).send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    if status != StatusCode::CREATED {
        bail!("Graph refused the subscription with {status}: {body}");
    }
    text(&body, "/id")?.parse().context("Graph's id of a subscription is a GUID")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demonstration plays the user: it calls this machine's own Waypost"
)]
fn client() -> anyhow::Result<Client> {
    Ok(Client::builder().no_proxy().timeout(std::time::Duration::from_secs(15)).build()?)
}

fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.with_context(|| format!("an answer has no {pointer}"))
}

/// A caller of Waypost's APIs.
#[derive(Debug)]
struct Api {
    client: Client,
    base: String,
    token: String,
}

impl Api {
    fn new(base: String, token: String) -> anyhow::Result<Self> {
        Ok(Self { client: client()?, base, token })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request =
            self.client.request(method.clone(), format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{method} {path} was answered with {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("the answer to {method} {path} is not JSON"))
    }

    async fn primary_secret(&self) -> anyhow::Result<EndpointSecret> {
        let list = self.get("/endpoints").await?;
        let endpoints =
            list.pointer("/data").and_then(Value::as_array).context("the list of endpoints has no data")?;
        let primary =
            endpoints.iter().find(|endpoint| endpoint.get("kind").and_then(Value::as_str) == Some("primary"));
        let id = text(primary.context("there is no primary endpoint")?, "/id")?;
        let secret = text(&self.get(&format!("/endpoints/{id}/secret")).await?, "/secret")?;
        Ok(EndpointSecret::parse(&secret)?)
    }
}
