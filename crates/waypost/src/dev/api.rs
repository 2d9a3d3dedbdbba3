//! A caller of Waypost's APIs, as an operator's or integrator's program would be. Must not know what it is used for.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// Whose token and data a proxied call uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Through<'a> {
    pub(super) integration: &'a str,
    pub(super) connection: &'a str,
}

/// A caller with its token.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    base: String,
    token: String,
}

impl Api {
    pub(super) fn new(base: String, token: String) -> anyhow::Result<Self> {
        Ok(Self { client: client()?, base, token })
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let request = self.request(&method, path, body);
        answer(request, &format!("{method} {path}")).await
    }

    /// Calls Graph through the proxy; Outlook ids as Waypost's own calls have them.
    pub(super) async fn proxied(
        &self,
        through: Through<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let path = format!("/proxy/v1.0/{path}");
        let request = self
            .request(&method, &path, body)
            .header("Provider-Config-Key", through.integration)
            .header("Connection-Id", through.connection)
            .header("Nango-Proxy-Prefer", "IdType=\"ImmutableId\"");
        answer(request, &format!("{method} {path}")).await
    }

    /// The rows of a list, its first 200.
    pub(super) async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let join = if path.contains('?') { '&' } else { '?' };
        let found = self.get(&format!("{path}{join}limit=200")).await?;
        let rows = found.pointer("/data").and_then(Value::as_array).cloned();
        rows.with_context(|| format!("the list {path} has no data"))
    }

    /// A link by which somebody can connect to `integration`.
    pub(super) async fn connect_link(&self, integration: &str, end_user: &Value) -> anyhow::Result<String> {
        let wish = json!({"end_user": end_user, "allowed_integrations": [integration]});
        text(&self.post("/connect/sessions", &wish).await?, "/data/connect_link")
    }

    fn request(&self, method: &Method, path: &str, body: Option<&Value>) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        let request = self.client.request(method.clone(), url).bearer_auth(&self.token);
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    }
}

async fn answer(request: RequestBuilder, what: &str) -> anyhow::Result<Value> {
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("{what} was answered with {status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("the answer to {what} is not JSON"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demonstration plays the user: it calls this machine's own Waypost and simulator"
)]
pub(super) fn client() -> anyhow::Result<Client> {
    Ok(Client::builder().no_proxy().redirect(Policy::none()).timeout(Duration::from_secs(15)).build()?)
}

/// The text at `pointer` of an answer.
pub(super) fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.with_context(|| format!("an answer has no {pointer}"))
}
