//! What every handler shares: addresses, clock, keys, directory, subscriptions, faults, sender.
//!
//! Must not hold anything that outlives the simulator; dropping it forgets all.

use std::{
    fmt::Display,
    future::Future,
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use url::Url;
use waypost_core::clock::SharedClock;

use crate::{
    config::SimulatorConfig,
    entra::{directory::Directory, keys::KeyRing, problem::EntraProblem},
    faults::{Fault, Faults, Operation},
    graph::{
        call::{Call, Problem},
        store::Subscriptions,
        throttle::Throttle,
    },
    notify::sender::Sender,
};

/// The longest delay that a fault may order.
const MAX_DELAY: Duration = Duration::from_mins(10);

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
    pub(crate) handshakes: reqwest::Client,
    pub(crate) sender: Arc<Sender>,
    /// Seconds; changeable while running.
    pub(crate) token_lifetime: AtomicU64,
}

impl World {
    pub(crate) fn access_token_lifetime(&self) -> Duration {
        Duration::from_secs(self.token_lifetime.load(Ordering::Relaxed))
    }

    /// Runs an operation, or the fault that was ordered for it.
    pub(crate) async fn perform(
        &self,
        request: &HttpRequest,
        operation: Operation,
        work: impl Future<Output = HttpResponse>,
    ) -> HttpResponse {
        let Some(fault) = self.faults.draw(operation) else { return work.await };
        if let Some(delay) = fault.delay_ms {
            tokio::time::sleep(Duration::from_millis(delay).min(MAX_DELAY)).await;
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
