//! What every request gets: an id, a span, a line in the log when it fails, and its place in the metrics.
//!
//! The id is made here, never taken from a caller: it must not be forged into somebody else's trail. Queries, bodies and
//! headers are not logged; they may hold secrets. Nor is the path of a proxied call, which names the
//! provider's customers, or a customer's link.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};
use tracing::Instrument as _;
use waypost_core::clock::SharedClock;

use crate::error::{ApiError, chain};

const HEADER: HeaderName = HeaderName::from_static("request-id");
/// In its place where a provider's own `request-id` is passed on.
const OTHER_HEADER: HeaderName = HeaderName::from_static("waypost-request-id");

/// Which listener a request came in at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    Public,
    Admin,
}

impl Listener {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

/// The id of a request.
#[derive(Debug, Clone)]
struct RequestId(String);

/// When a request began.
#[derive(Debug, Clone, Copy)]
struct Started(Instant);

/// When `request` began; `None` only where the middleware doesn't run.
pub(crate) fn started_at(request: &HttpRequest) -> Option<Instant> {
    request.extensions().get::<Started>().map(|started| started.0)
}

/// The id of `request`; empty only where the middleware doesn't run, as in tests of an extractor.
pub(crate) fn request_id(request: &HttpRequest) -> String {
    request_id_of(&request.extensions())
}

pub(crate) fn request_id_of(extensions: &Extensions) -> String {
    extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// Wraps every request of a listener.
pub(crate) async fn trace<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let started = Instant::now();
    let listener = request.app_data::<Listener>().copied().unwrap_or(Listener::Public);
    let id = new_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(Started(started));
    let span = tracing::info_span!(
        "request",
        request.id = id,
        http.request.method = request.method().as_str(),
        url.path = shown(request.path()),
    );
    let mut answer = next.call(request).instrument(span.clone()).await;
    let status = match &mut answer {
        Ok(response) => {
            if let Ok(value) = HeaderValue::from_str(&id) {
                let name = if response.headers().contains_key(HEADER) { OTHER_HEADER } else { HEADER };
                response.headers_mut().insert(name, value);
            }
            if let Some(error) = response.response().error() {
                span.in_scope(|| log(error));
            }
            response.status().as_u16()
        }
        Err(error) => {
            span.in_scope(|| log(error));
            error.as_response_error().status_code().as_u16()
        }
    };
    crate::metrics::count_request(listener.as_str(), status, started.elapsed());
    answer
}

fn shown(path: &str) -> &str {
    if path.starts_with("/proxy/") {
        "/proxy"
    } else if path.starts_with("/connect/") && !path.starts_with("/connect/session") {
        // The rest is the secret part of a customer's link.
        "/connect"
    } else {
        path
    }
}

fn new_id(request: &ServiceRequest) -> String {
    let id = request.app_data::<web::Data<SharedClock>>().map(|clock| waypost_core::id::uuid_at(clock.now()));
    id.unwrap_or_default().as_simple().to_string()
}

fn log(error: &Error) {
    let status = error.as_response_error().status_code();
    match error.as_error::<ApiError>() {
        Some(error) if status.is_server_error() => {
            tracing::error!(
                error = chain(error),
                http.response.status_code = status.as_u16(),
                "a request failed"
            );
        }
        Some(error) => {
            tracing::debug!(
                error.code = error.code(),
                http.response.status_code = status.as_u16(),
                "a request was refused"
            );
        }
        None => tracing::debug!(http.response.status_code = status.as_u16(), "a request was refused"),
    }
}
