//! The customer's backend of the demonstration: takes deliveries, checks their signatures, and remembers them.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use serde_json::Value;
use tokio::sync::Notify;
use uuid::Uuid;
use waypost_crypto::signature::{self, EndpointSecret, SigningKey};
use waypost_crypto::token::constant_time_eq;

use crate::shutdown::Shutdown;

/// What a receiver must know to check what it gets.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) signing_key: SigningKey,
    pub(super) secret: EndpointSecret,
}

/// One delivery, as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) at: Instant,
    pub(super) path: String,
    pub(super) body: Value,
    pub(super) event: String,
    pub(super) attempt: String,
    /// What is wrong with its signatures; `None` when all three are right.
    pub(super) forged: Option<&'static str>,
}

impl Arrived {
    /// The connection that it is for.
    pub(super) fn connection(&self) -> &str {
        self.body.get("connectionId").and_then(Value::as_str).unwrap_or("nobody")
    }

    /// The same for people: of an id that was made up, its beginning is enough.
    pub(super) fn whose(&self) -> String {
        let connection = self.connection();
        Uuid::parse_str(connection)
            .map_or_else(|_| connection.to_owned(), |id| format!("{:08x}…", id.as_fields().0))
    }
}

/// The receiver.
#[derive(Debug)]
pub(super) struct Receiver {
    url: String,
    state: web::Data<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: OnceLock<Keys>,
    arrived: Mutex<Vec<Arrived>>,
    changed: Notify,
}

impl Receiver {
    pub(super) fn start(shutdown: &Shutdown) -> anyhow::Result<Self> {
        let state = web::Data::new(State::default());
        let shared = state.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .app_data(web::PayloadConfig::new(8 << 20))
                .default_service(web::post().to(receive))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .context("the receiver can't listen")?;
        let address = *server.addrs().first().context("the receiver has no address")?;
        let server = server.run();
        let handle = server.handle();
        let stop = shutdown.soft().clone();
        let drained = shutdown.hard().clone();
        shutdown.tracker().spawn(server);
        shutdown.tracker().spawn(async move {
            stop.cancelled().await;
            // Deliveries in flight are still taken: the relay ends first, or the hard token comes.
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = drained.cancelled() => {}
            }
            handle.stop(true).await;
        });
        Ok(Self { url: format!("http://{address}"), state })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Gives the receiver the keys to check with.
    pub(super) fn knows(&self, keys: Keys) {
        self.state.keys.get_or_init(|| keys);
    }

    /// What has arrived since `from`.
    pub(super) fn since(&self, from: usize) -> Vec<Arrived> {
        let arrived = self.state.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.get(from..).map(<[Arrived]>::to_vec).unwrap_or_default()
    }

    /// Waits until `count` deliveries have arrived in all, for so long at most.
    pub(super) async fn wait_for(&self, count: usize, patience: Duration) {
        let enough = async {
            loop {
                let changed = self.state.changed.notified();
                if self.since(0).len() >= count {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(patience, enough).await.is_err() {
            tracing::warn!(wanted = count, arrived = self.since(0).len(), "deliveries are missing");
        }
    }
}

async fn receive(request: HttpRequest, body: web::Bytes, state: web::Data<State>) -> HttpResponse {
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let forged = state
        .keys
        .get()
        .map_or(Some("nobody told the receiver its keys"), |keys| check(keys, &header, &body).err());
    let arrived = Arrived {
        at: Instant::now(),
        path: request.path().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        event: header("webhook-id"),
        attempt: header("waypost-attempt"),
        forged,
    };
    state.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(arrived);
    state.changed.notify_waiters();
    HttpResponse::Ok().finish()
}

fn check(keys: &Keys, header: &dyn Fn(&str) -> String, body: &[u8]) -> Result<(), &'static str> {
    let equal = |left: &str, right: &str| constant_time_eq(left.as_bytes(), right.as_bytes());
    let nango = keys.signing_key.nango(body);
    if !equal(&nango.hmac_sha256, &header("x-nango-hmac-sha256")) {
        return Err("X-Nango-Hmac-Sha256 is wrong");
    }
    if !equal(&nango.signature, &header("x-nango-signature")) {
        return Err("X-Nango-Signature is wrong");
    }
    let timestamp = header("webhook-timestamp").parse().map_err(|_| "webhook-timestamp is missing")?;
    let wanted = signature::standard_webhooks([&keys.secret], &header("webhook-id"), timestamp, body);
    if header("webhook-signature").split(' ').any(|entry| equal(entry, &wanted)) {
        Ok(())
    } else {
        Err("webhook-signature is wrong")
    }
}
