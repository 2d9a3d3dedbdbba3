//! Filling Waypost with environments, the way its users do: over the admin API and the environment API, some dozens of
//! calls at a time. Each environment gets one integration, customers' connections, and endpoints that share the
//! connections among them, so that each notification has exactly one receiver out of ten thousand.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    http::{self, Connection},
    notification::{self, Environment, Fleet, INTEGRATION, WANTED},
    relay::Relay,
    settings::{CONNECTIONS_PER_ENVIRONMENT, ENDPOINTS_PER_ENVIRONMENT},
};

const PARALLEL: usize = 32;
const PROVIDER: &str = "microsoft-oauth2-cc";

/// Where things are made, and for whom.
#[derive(Debug)]
struct Site {
    public: SocketAddr,
    admin: SocketAddr,
    token: String,
    account: String,
    receiver: SocketAddr,
    next: AtomicUsize,
    wanted: usize,
}

/// A caller of one of the APIs.
struct Caller {
    connection: Connection,
    bearer: String,
}

/// Makes so many environments, whose endpoints are all at `receiver`.
pub(crate) async fn fill(relay: &Relay, receiver: SocketAddr, environments: usize) -> anyhow::Result<Fleet> {
    let mut admin = Caller::new(relay.admin, &relay.token).await?;
    let account = admin.post("/admin/accounts", &json!({ "name": "bench" })).await?;
    let site = Arc::new(Site {
        public: relay.public,
        admin: relay.admin,
        token: relay.token.clone(),
        account: text(&account, "id")?,
        receiver,
        next: AtomicUsize::new(0),
        wanted: environments,
    });
    let mut workers = JoinSet::new();
    for _ in 0..PARALLEL.min(environments) {
        let site = Arc::clone(&site);
        workers.spawn(async move { fill_some(&site).await });
    }
    let mut fleet = Fleet::default();
    while let Some(done) = workers.join_next().await {
        fleet.environments.extend(done.context("filling panicked")??);
    }
    Ok(fleet)
}

/// Makes one environment with one connection, whose token never ends, and gives its API key.
pub(crate) async fn customer(relay: &Relay) -> anyhow::Result<String> {
    let mut admin = Caller::new(relay.admin, &relay.token).await?;
    let account = admin.post("/admin/accounts", &json!({ "name": "bench" })).await?;
    let path = format!("/admin/accounts/{}/environments", text(&account, "id")?);
    let environment = admin.post(&path, &json!({ "name": "bench" })).await?;
    let key = text(&environment, "secret_key")?;
    let mut caller = Caller::new(relay.public, &key).await?;
    let integration = json!({ "unique_key": INTEGRATION, "provider": PROVIDER, "display_name": "Graph" });
    caller.post("/integrations", &integration).await?;
    let body = json!({
        "provider_config_key": INTEGRATION, "connection_id": customer_name(0),
        "connection_config": { "tenantId": notification::random_connection().tenant },
        "credentials": {
            "type": "OAUTH2_CC", "client_id": Uuid::new_v4(), "client_secret": "not-used-here", "token": "not-used-here",
            "expires_at": "2099-01-01T00:00:00Z",
        },
    });
    caller.post("/connections", &body).await?;
    Ok(key)
}

async fn fill_some(site: &Site) -> anyhow::Result<Vec<Environment>> {
    let mut made = Vec::new();
    loop {
        let number = site.next.fetch_add(1, Ordering::Relaxed);
        if number >= site.wanted {
            return Ok(made);
        }
        made.push(environment(site, number).await?);
    }
}

async fn environment(site: &Site, number: usize) -> anyhow::Result<Environment> {
    let path = format!("/admin/accounts/{}/environments", site.account);
    // Anew each time: a server closes what lies idle while the other API is called.
    let mut admin = Caller::new(site.admin, &site.token).await?;
    let environment = admin.post(&path, &json!({ "name": format!("bench-{number}") })).await?;
    let mut caller = Caller::new(site.public, &text(&environment, "secret_key")?).await?;
    let client_state = Uuid::new_v4().to_string();
    let integration = json!({
        "unique_key": INTEGRATION, "provider": PROVIDER, "display_name": "Graph",
        "custom": { "webhookSecret": client_state },
    });
    caller.post("/integrations", &integration).await?;
    let mut connections = Vec::with_capacity(CONNECTIONS_PER_ENVIRONMENT);
    for customer in 0..CONNECTIONS_PER_ENVIRONMENT {
        let connection = notification::random_connection();
        let body = json!({
            "provider_config_key": INTEGRATION, "connection_id": customer_name(customer),
            "connection_config": { "tenantId": connection.tenant },
            "credentials": {
                "type": "OAUTH2_CC", "client_id": Uuid::new_v4(), "client_secret": "not-used-here", "token": "not-used-here",
            },
        });
        caller.post("/connections", &body).await?;
        connections.push(connection);
    }
    // After the connections, whose notices of creation would otherwise be delivered.
    for place in 0..ENDPOINTS_PER_ENVIRONMENT {
        let customers: Vec<String> = (place..CONNECTIONS_PER_ENVIRONMENT)
            .step_by(ENDPOINTS_PER_ENVIRONMENT)
            .map(customer_name)
            .collect();
        let body = json!({
            "url": format!("http://{}/{number}/{place}", site.receiver),
            "filter": { "connections": customers, "change_types": [WANTED], "event_types": ["forward"] },
        });
        caller.post("/endpoints", &body).await?;
    }
    Ok(Environment { id: text(&environment, "uuid")?, client_state, connections })
}

/// The name of a customer's connection.
pub(crate) fn customer_name(number: usize) -> String {
    format!("customer-{number}")
}

fn text(object: &Value, field: &str) -> anyhow::Result<String> {
    let value = object.get(field).and_then(Value::as_str);
    value.map(str::to_owned).with_context(|| format!("an answer lacks {field}: {object}"))
}

impl Caller {
    async fn new(address: SocketAddr, bearer: &str) -> anyhow::Result<Self> {
        Ok(Self { connection: Connection::open(address).await?, bearer: bearer.to_owned() })
    }

    async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = http::request("POST", path, Some(&self.bearer), &body.to_string());
        let answer =
            self.connection.exchange(&request).await.with_context(|| format!("POST {path} broke"))?;
        let text = String::from_utf8_lossy(answer.body);
        anyhow::ensure!(
            (200..300).contains(&answer.status),
            "POST {path} answered {}: {text}",
            answer.status
        );
        serde_json::from_str(&text).with_context(|| format!("POST {path} answered no JSON: {text}"))
    }
}
