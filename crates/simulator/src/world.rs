//! What every handler shares: addresses, clock, keys, directory, subscriptions, faults, sender.
//!
//! Must not hold anything that outlives the simulator; dropping it forgets all.

use std::{
    collections::BTreeMap,
    fmt::Display,
    future::Future,
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BoxBody, SizedStream, to_bytes},
    http::{StatusCode, header::HeaderValue},
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use url::Url;
use waypost_core::clock::SharedClock;

use crate::{
    behaviour::Behaviour,
    calls::{CallRecord, Calls},
    config::{SimulatorConfig, User},
    entra::{
        directory::Directory, keys::KeyRing, problem::EntraProblem, revoked::Revoked, sessions::Sessions,
    },
    faults::{Fault, Faults, Operation, Struck},
    graph::{
        call::{Call, Caller, Problem},
        store::Subscriptions,
        throttle::Throttle,
    },
    items::{address::Address, store::Items},
    notify::sender::Sender,
};

/// The longest delay that a fault may order.
const MAX_DELAY: Duration = Duration::from_mins(10);

/// The wait before a body breaks off.
const BREAK_AFTER: Duration = Duration::from_millis(50);

/// The addresses that clients are told, without a slash at the end.
#[derive(Debug, Clone)]
pub(crate) struct Urls {
    pub(crate) base: String,
    pub(crate) login: String,
    /// Host and port of the base.
    pub(crate) host: String,
}

impl Urls {
    pub(crate) fn new(base: &Url) -> Self {
        let base = base.as_str().trim_end_matches('/').to_owned();
        let host = base.split_once("://").map_or(base.as_str(), |(_, host)| host).to_owned();
        Self { login: format!("{base}/login"), base, host }
    }

    /// Who issues version 1 tokens: the same name in the real cloud and here.
    pub(crate) fn issuer_v1(tenant: impl Display) -> String {
        format!("https://sts.windows.net/{tenant}/")
    }

    /// Who issues version 2 tokens: the sign-in host.
    pub(crate) fn issuer_v2(&self, tenant: impl Display) -> String {
        format!("{}/{tenant}/v2.0", self.login)
    }
}

/// A second handle of a client's connection, kept so that a fault can cut it.
#[derive(Debug)]
pub(crate) struct Connection(pub(crate) TcpStream);

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: SimulatorConfig,
    pub(crate) urls: Urls,
    pub(crate) clock: SharedClock,
    pub(crate) keys: KeyRing,
    pub(crate) directory: Directory,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) throttle: Throttle,
    pub(crate) faults: Faults,
    pub(crate) calls: Calls,
    pub(crate) revoked: Revoked,
    pub(crate) sessions: Sessions,
    pub(crate) behaviour: RwLock<Behaviour>,
    pub(crate) items: Items,
    /// Where the simulator calls itself.
    pub(crate) address: SocketAddr,
    pub(crate) handshakes: reqwest::Client,
    pub(crate) sender: Arc<Sender>,
    /// Seconds; changeable while running.
    pub(crate) token_lifetime: AtomicU64,
}

impl World {
    pub(crate) fn access_token_lifetime(&self) -> Duration {
        Duration::from_secs(self.token_lifetime.load(Ordering::Relaxed))
    }

    /// Makes a person known: to the sign-in, and among the resources of the tenant.
    pub(crate) fn add_user(&self, user: User) {
        let value = json!({
            "id": user.id, "userPrincipalName": user.user_name, "mail": user.user_name,
            "displayName": user.display_name, "accountEnabled": true,
        });
        if let (Some(Address::Collection(view)), Value::Object(value)) =
            (Address::parse("users", None), value)
            && let Err(error) = self.items.put(user.tenant, &view, value, self.clock.now())
        {
            tracing::warn!(%error, "a person is not among the resources");
        }
        self.directory.add_user(user);
    }

    /// How the services behave at this moment.
    pub(crate) fn behaviour(&self) -> Behaviour {
        self.behaviour.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs an operation, or the fault that was ordered for it.
    pub(crate) async fn perform(
        &self,
        request: &HttpRequest,
        operation: Operation,
        work: impl Future<Output = HttpResponse>,
    ) -> HttpResponse {
        let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        let tenant = Caller::glance(request, self).map(|caller| caller.tenant);
        let fault = self.faults.draw(&Struck { operation, target: &target, tenant });
        let sent_id = request.headers().get("client-request-id").and_then(|value| value.to_str().ok());
        self.calls.record(CallRecord {
            operation,
            method: request.method().to_string(),
            target,
            tenant,
            headers: headers(request),
            client_request_id: sent_id.map(|id| id.chars().take(128).collect()),
            at: self.clock.now(),
        });
        let Some(fault) = fault else { return work.await };
        if let Some(delay) = fault.delay_ms {
            tokio::time::sleep(Duration::from_millis(delay).min(MAX_DELAY)).await;
        }
        if fault.cut_body {
            return broken_off(work.await).await;
        }
        if fault.status.is_none() && !fault.drop_connection {
            return work.await;
        }
        if fault.after_effect {
            work.await;
        }
        if fault.drop_connection {
            cut(request);
        }
        self.faulty(request, &fault)
    }

    /// The answer that a fault gives.
    fn faulty(&self, request: &HttpRequest, fault: &Fault) -> HttpResponse {
        let status = fault.status.and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let message = fault.message.as_deref().unwrap_or("A fault was ordered for this call.");
        let mut response = if fault.operation.is_entra() {
            let code = fault.code.as_deref().unwrap_or("temporarily_unavailable");
            let (number, text) = split_number(message);
            EntraProblem::new(status, code, number, text).respond(self.clock.now())
        } else {
            let code = fault.code.as_deref().unwrap_or("ServiceUnavailable");
            Call::of(request, self).problem(&Problem::new(status, code.to_owned(), message))
        };
        if let Some(value) = fault.retry_after.as_deref().and_then(|value| value.parse().ok()) {
            response.headers_mut().insert(actix_web::http::header::RETRY_AFTER, value);
        }
        response
    }
}

/// The headers of a call for the record, without credentials and cut to a sensible length.
fn headers(request: &HttpRequest) -> BTreeMap<String, String> {
    let kept =
        request.headers().iter().filter(|(name, _)| !["authorization", "cookie"].contains(&name.as_str()));
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().chars().take(256).collect();
    kept.map(|(name, value)| (name.to_string(), text(value))).take(64).collect()
}

/// The same answer with half of its body behind a length that promises all of it.
async fn broken_off(response: HttpResponse) -> HttpResponse {
    let (head, body) = response.into_parts();
    let Ok(whole) = to_bytes(body).await else { return head.set_body(BoxBody::new(())) };
    let half = whole.slice(..whole.len() / 2);
    let length = u64::try_from(whole.len()).unwrap_or(u64::MAX);
    // The break comes a little later: the server would throw away what it has not yet sent.
    let broken = async {
        tokio::time::sleep(BREAK_AFTER).await;
        Err(io::Error::other("a fault breaks the body off"))
    };
    let parts = stream::iter([Ok(half)]).chain(stream::once(broken)).boxed_local();
    head.set_body(BoxBody::new(SizedStream::new(length, parts)))
}

/// Closes the connection under the server, so that the client gets no answer.
fn cut(request: &HttpRequest) {
    if let Some(Connection(stream)) = request.conn_data::<Connection>()
        && let Err(error) = stream.shutdown(Shutdown::Both)
    {
        tracing::debug!(%error, "connection was closed already");
    }
}

/// `AADSTS90033: text` as number and text.
fn split_number(message: &str) -> (u32, &str) {
    message
        .strip_prefix("AADSTS")
        .and_then(|rest| rest.split_once(':'))
        .and_then(|(number, text)| Some((number.parse().ok()?, text.trim_start())))
        .unwrap_or((90_033, message))
}
