//! The metrics recorder, and `/metrics`.
//!
//! Labels are bounded and never hold a tenant, connection or endpoint. Must not start anything: the text is made when it
//! is asked for, and [`upkeep`] is run by whoever runs the rest.

use std::sync::OnceLock;
use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, get, web};
use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;
use waypost_crypto::token::constant_time_eq;

use crate::auth::bearer;
use crate::error::{ApiError, ErrorBody, Unauthorized};
use crate::routes::routes;

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// How often samples are put into their buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of all histograms of seconds: from a store round trip to the longest delivery.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
];

/// Bounds of the histograms of batches: from a quiet hour to a full one.
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
/// Those histograms.
const BATCHES: [&str; 2] = ["waypost_intake_batch_requests", "waypost_settle_batch_deliveries"];

/// What `/metrics` shows, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct Exposition {
    pub(crate) handle: PrometheusHandle,
    pub(crate) token: Option<SecretString>,
}

/// Makes this process count, once; later calls give the same recorder.
///
/// # Errors
/// When something else has installed a recorder already.
pub fn recorder() -> Result<PrometheusHandle, BuildError> {
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let mut builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?;
    for name in BATCHES {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), COUNTS)?;
    }
    match builder.install_recorder() {
        Ok(handle) => {
            describe();
            Ok(RECORDER.get_or_init(|| handle).clone())
        }
        // Somebody was faster; it is fine if that was this function.
        Err(error) => RECORDER.get().cloned().ok_or(error),
    }
}

fn describe() {
    metrics::describe_counter!("waypost_http_requests_total", "Requests by listener and class of status.");
    metrics::describe_histogram!(
        "waypost_http_request_duration_seconds",
        Unit::Seconds,
        "How long requests took, by listener."
    );
    metrics::describe_counter!(
        "waypost_proxy_calls_total",
        "Proxied calls by class of the provider's status; none where there was no answer."
    );
    metrics::describe_histogram!(
        "waypost_proxy_added_seconds",
        Unit::Seconds,
        "What the proxy adds to a call: the time that isn't spent at the provider or between attempts."
    );
}

/// Puts samples into their buckets, until told to stop. Without it each of them would be kept until somebody asks for
/// the metrics, and nobody may ever do.
pub async fn upkeep(stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UPKEEP_EVERY) => {}
        }
        if let Some(handle) = RECORDER.get() {
            handle.run_upkeep();
        }
    }
}

pub(crate) fn count_request(listener: &'static str, status: u16, took: Duration) {
    metrics::counter!("waypost_http_requests_total", "listener" => listener, "status" => class(status))
        .increment(1);
    metrics::histogram!("waypost_http_request_duration_seconds", "listener" => listener)
        .record(took.as_secs_f64());
}

pub(crate) fn count_proxied(class: &'static str, added: Duration) {
    metrics::counter!("waypost_proxy_calls_total", "status" => class).increment(1);
    metrics::histogram!("waypost_proxy_added_seconds").record(added.as_secs_f64());
}

/// The class of a status, as a label.
pub(crate) const fn class(status: u16) -> &'static str {
    match status {
        0..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// Metrics as Prometheus text
///
/// On the admin listener. Open, unless `admin.metrics_token` is set.
#[utoipa::path(
    tag = "Operation",
    security((), ("metrics" = [])),
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
        (status = 401, description = "The token is missing or wrong", body = ErrorBody),
    )
)]
#[get("/metrics")]
async fn show_metrics(
    request: HttpRequest,
    exposition: web::Data<Exposition>,
) -> Result<HttpResponse, ApiError> {
    if let Some(token) = &exposition.token {
        let shown = bearer(request.headers()).map_err(|_| Unauthorized::MetricsToken)?;
        if !constant_time_eq(shown.as_bytes(), token.expose_secret().as_bytes()) {
            return Err(Unauthorized::MetricsToken.into());
        }
    }
    exposition.handle.run_upkeep();
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, TEXT)).body(exposition.handle.render()))
}

routes![show_metrics];
