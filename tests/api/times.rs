//! How times are written: with milliseconds and `Z` everywhere, but for connections as Nango gives them.

use serde_json::{Value, json};
use waypost_harness::notification::TENANT;
use waypost_harness::{Client, Receiver, Tenant, TestApp};

use crate::openapi::{Operation, document, operations};

/// Something of every kind that the API can show.
struct Scene {
    app: TestApp,
    tenant: Tenant,
    receiver: Receiver,
    account: String,
    endpoint: String,
    event: String,
    delivery: String,
}

impl Scene {
    async fn build() -> Self {
        let app = TestApp::spawn().await;
        app.leave_work();
        let tenant = app.tenant("acme").await;
        let receiver = Receiver::start().await;
        let endpoint = tenant.primary(&receiver).await;
        tenant.connection("conn-1", TENANT).await;
        tenant.post_notification(&tenant.notification(TENANT)).await.expect(202);
        receiver.wait_for_at_least(1).await;
        app.until_settled().await;
        let deliveries = tenant.list("/deliveries").await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (event, delivery) = (text(&deliveries[0]["event_id"]), text(&deliveries[0]["id"]));
        let accounts = app.admin().get("/admin/accounts").await.expect(200);
        let account = text(&accounts["data"][0]["id"]);
        Self { app, tenant, receiver, account, endpoint, event, delivery }
    }

    fn path(&self, operation: &Operation) -> String {
        let id = match operation.path.split('/').find(|part| !part.is_empty() && *part != "admin").unwrap() {
            "accounts" => &self.account,
            "endpoints" => &self.endpoint,
            "events" => &self.event,
            "deliveries" => &self.delivery,
            _ => "",
        };
        let path = operation.path.replace("{environment}", &self.tenant.environment);
        let path = path.replace("{unique_key}", "graph-cc").replace("{connection_id}", "conn-1");
        let path = path.replace("{id}", id);
        let names_no_integration = operation.method == "POST" && !path.ends_with("conn-1/metadata");
        if path.contains("/conn-1") && !names_no_integration {
            path + "?provider_config_key=graph-cc"
        } else {
            path
        }
    }

    /// A body that a POST takes.
    fn body(&self, operation: &Operation) -> Value {
        match operation.path.as_str() {
            "/integrations" => json!({"provider": "microsoft-oauth2-cc", "unique_key": "second"}),
            "/connections" | "/connection" => self.tenant.connection_body(&json!({})),
            "/connections/metadata" | "/connection/metadata" => {
                json!({"connection_id": "conn-1", "provider_config_key": "graph-cc", "metadata": {}})
            }
            "/endpoints" => json!({"url": self.receiver.url()}),
            "/connect/sessions" => json!({"end_user": {"id": "u1"}}),
            "/connect/sessions/reconnect" => {
                json!({"connection_id": "conn-1", "integration_id": "graph-cc", "end_user": {"id": "u1"}})
            }
            "/admin/accounts" => json!({"name": "umbrella"}),
            "/admin/accounts/{id}/environments" => json!({"name": "prod"}),
            "/admin/environments/{environment}/api-keys" => {
                json!({"display_name": "short", "expires_at": "2099-01-01T00:00:00.123456Z"})
            }
            _ => json!({}),
        }
    }

    fn client(&self, operation: &Operation) -> Client {
        if operation.is_admin() { self.app.admin() } else { self.tenant.api.clone() }
    }
}

/// What can't be walked with an API key alone: calls that need a Graph behind them, and the one with its own credential.
fn is_walked(operation: &Operation) -> bool {
    let path = operation.path.as_str();
    let needs_graph = path.starts_with("/proxy")
        || path.starts_with("/subscriptions/")
        || (path == "/subscriptions" && operation.method == "POST");
    !operation.open && !needs_graph && path != "/connect/session"
}

/// Collects what looks like a time, with the names that lead to it. What Graph wrote is Graph's.
fn times(value: &Value, at: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text)
            if text.len() > 19 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T' =>
        {
            found.push((at.to_owned(), text.clone()));
        }
        Value::Array(items) => items.iter().for_each(|item| times(item, at, found)),
        Value::Object(members) => {
            let own = members.iter().filter(|(name, _)| *name != "payload");
            own.for_each(|(name, value)| times(value, &format!("{at}.{name}"), found));
        }
        _ => {}
    }
}

/// Whether Nango writes this time with an offset: those of a connection that is read, but not those of its credentials.
fn has_offset(operation: &Operation, at: &str) -> bool {
    operation.method == "GET" && operation.path.starts_with("/connection") && !at.contains(".credentials")
}

#[tokio::test]
async fn every_time_in_every_answer_has_milliseconds_and_the_zone_that_its_shape_wants() {
    let scene = Scene::build().await;
    let all = operations(&document(&scene.app).await);
    let walked = all.iter().filter(|operation| is_walked(operation));
    let (changing, reading): (Vec<_>, Vec<_>) = walked
        .filter(|operation| ["GET", "POST"].contains(&operation.method.as_str()))
        .partition(|operation| operation.method == "POST");

    let mut seen = 0;
    for operation in changing.into_iter().chain(reading) {
        let (client, path) = (scene.client(operation), scene.path(operation));
        let answer = if operation.method == "POST" {
            client.post(&path, &scene.body(operation)).await
        } else {
            client.get(&path).await
        };
        // What was delivered is not sent again.
        let refused = operation.path.ends_with("/retry") && answer.status == 409;
        assert!(
            refused || (200..300).contains(&answer.status),
            "{} {path}: {}",
            operation.method,
            answer.text()
        );
        let mut found = Vec::new();
        times(&answer.json(), "", &mut found);
        seen += found.len();
        for (at, time) in found {
            let zone = if has_offset(operation, &at) { "+00:00" } else { "Z" };
            let digits =
                time.strip_suffix(zone).and_then(|rest| rest.split_once('.')).map(|(_, digits)| digits);
            let right = digits.is_some_and(|digits| digits.len() == 3 && digits.parse::<u16>().is_ok());
            assert!(right, "{} {path} {at}: {time}", operation.method);
        }
    }
    assert!(seen > 30, "only {seen} times were seen");
}
