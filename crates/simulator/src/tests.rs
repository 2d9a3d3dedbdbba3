//! The simulator against a real client and a real receiver, over real sockets.
//!
//! This file is the stage; the plays are in the modules below it.

mod delegated;
mod delivery;
mod entra;
mod faults;
mod handshake;
mod items;
mod oddities;
mod rich;
mod sign_in;
mod subscriptions;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::ServerHandle,
    http::StatusCode,
    web::{self, Bytes, Data},
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use waypost_core::clock::Clock;

use crate::{
    Control, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, DeliveryPolicy, Simulator, SimulatorConfig,
    outbound,
};

/// A clock that is set by hand.
#[derive(Debug)]
struct HandClock(Mutex<DateTime<Utc>>);

impl HandClock {
    fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// How the receiver answers a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shake {
    Right,
    Status(u16),
    Redirect,
    Html,
    Quoted,
    Newline,
    PercentDecodedOnly,
    Silent,
}

/// A request as it came.
#[derive(Debug, Clone)]
struct Received {
    path: String,
    headers: HashMap<String, String>,
    query: String,
    body: Bytes,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An endpoint under test control.
#[derive(Debug)]
struct Receiver {
    shake: Mutex<Shake>,
    /// Statuses of the next notifications; 202 when it runs out.
    script: Mutex<VecDeque<u16>>,
    received: Mutex<Vec<Received>>,
}

impl Receiver {
    fn handshakes(&self) -> Vec<Received> {
        self.all().into_iter().filter(|request| request.query.contains("validationToken=")).collect()
    }

    fn notifications(&self) -> Vec<Received> {
        self.all().into_iter().filter(|request| !request.query.contains("validationToken=")).collect()
    }

    fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    fn answer_with(&self, statuses: impl IntoIterator<Item = u16>) {
        self.script.lock().unwrap().extend(statuses);
    }
}

async fn receive(request: HttpRequest, receiver: Data<Receiver>, body: Bytes) -> HttpResponse {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let (path, query) = (request.path().to_owned(), request.query_string().to_owned());
    receiver.received.lock().unwrap().push(Received { path, headers, query, body });
    let mut query = url::form_urlencoded::parse(request.query_string().as_bytes());
    if let Some((_, token)) = query.find(|(name, _)| name == "validationToken") {
        let shake = *receiver.shake.lock().unwrap();
        return answer_handshake(shake, &token, request.query_string()).await;
    }
    let status = receiver.script.lock().unwrap().pop_front().unwrap_or(202);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish()
}

async fn answer_handshake(shake: Shake, token: &str, raw: &str) -> HttpResponse {
    let plain = |body: String| HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(body);
    match shake {
        Shake::Right => plain(token.to_owned()),
        Shake::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            HttpResponse::build(status).content_type("text/plain").body(token.to_owned())
        }
        Shake::Redirect => HttpResponse::Found().insert_header(("location", "/elsewhere")).finish(),
        Shake::Html => HttpResponse::Ok().content_type("text/html").body(token.to_owned()),
        Shake::Quoted => plain(format!("\"{token}\"")),
        Shake::Newline => plain(format!("{token}\n")),
        Shake::PercentDecodedOnly => {
            let raw = raw.split("validationToken=").last().unwrap();
            plain(raw.replace("%3a", ":"))
        }
        Shake::Silent => std::future::pending().await,
    }
}

/// A simulator, an endpoint, and a client that stands between them.
struct Stage {
    simulator: Simulator,
    control: Control,
    clock: Arc<HandClock>,
    client: Client,
    receiver: Data<Receiver>,
    receiver_url: String,
    server: ServerHandle,
    tasks: TaskTracker,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(|_| {}).await
    }

    async fn set_with(adjust: impl FnOnce(&mut SimulatorConfig)) -> Self {
        let mut config = SimulatorConfig { notification_http_allowed: true, ..SimulatorConfig::default() };
        config.delivery = quick();
        adjust(&mut config);
        let start = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().to_utc();
        let clock = Arc::new(HandClock(Mutex::new(start)));
        let simulator = Simulator::start(config, Arc::clone(&clock) as _).await.unwrap();
        let receiver = Data::new(Receiver {
            shake: Mutex::new(Shake::Right),
            script: Mutex::default(),
            received: Mutex::default(),
        });
        let data = receiver.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .app_data(web::PayloadConfig::new(8 << 20))
                .default_service(web::to(receive))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let receiver_url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let (handle, tasks) = (server.handle(), TaskTracker::new());
        tasks.spawn(server);
        let client = outbound::client(&[], true).unwrap();
        let control = simulator.control();
        Self { control, simulator, clock, client, receiver, receiver_url, server: handle, tasks }
    }

    async fn strike(self) {
        self.simulator.stop().await;
        self.server.stop(false).await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn token_request(&self, tenant: &str) -> RequestBuilder {
        self.client.post(format!("{}/{tenant}/oauth2/v2.0/token", self.simulator.login_url()))
    }

    async fn token(&self, tenant: Uuid) -> String {
        let request = self.token_request(&tenant.to_string()).form(&[
            ("client_id", DEMO_CLIENT_ID.to_string().as_str()),
            ("client_secret", DEMO_CLIENT_SECRET),
            ("scope", "https://graph.microsoft.com/.default"),
            ("grant_type", "client_credentials"),
        ]);
        let (status, body) = answer(request).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// A call of the Graph API in the first demo tenant.
    async fn graph(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.graph_in(DEMO_TENANTS[0], method, path, body).await
    }

    async fn graph_in(&self, tenant: Uuid, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let token = self.token(tenant).await;
        let url = format!("{}v1.0/subscriptions{path}", self.simulator.graph_url());
        let mut request = self.client.request(method.parse().unwrap(), url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    /// A valid create for messages of a mailbox.
    fn wish(&self, mailbox: &str) -> Value {
        json!({
            "changeType": "created,updated",
            "resource": format!("users/{mailbox}/messages"),
            "notificationUrl": format!("{}/in?tenant=1", self.receiver_url),
            "lifecycleNotificationUrl": format!("{}/life", self.receiver_url),
            "expirationDateTime": self.minutes(60 * 24),
            "clientState": "a shared secret",
        })
    }

    fn minutes(&self, minutes: i64) -> String {
        (self.clock.now() + TimeDelta::minutes(minutes)).to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }

    /// Creates and returns the id.
    async fn subscribe(&self, tenant: Uuid, wish: Value) -> Uuid {
        let (status, body) = self.graph_in(tenant, "POST", "", Some(wish)).await;
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().unwrap().parse().unwrap()
    }
}

/// Waits that fit a test: hundredths of a second instead of minutes.
fn quick() -> DeliveryPolicy {
    DeliveryPolicy {
        first_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(20),
        window: Duration::from_secs(20),
        ..DeliveryPolicy::default()
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// The code and message of an error of Graph.
fn error(body: &Value) -> (&str, &str) {
    let error = &body["error"];
    assert!(error["innerError"]["request-id"].is_string(), "{body}");
    (error["code"].as_str().unwrap(), error["message"].as_str().unwrap())
}
