//! The handlers: a request is checked, in an order that is fixed, read within bounds, and put on the queue.
//!
//! A handshake is answered from its URL alone, whatever else the request holds: no store, no body. Must not judge a body.

use std::time::Instant;

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap as ActixHeaders};
use actix_web::http::{Method, Uri};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, dev, web};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use metrics::{counter, histogram};
use waypost_core::provider::Request;

use super::address::{self, Address};
use super::{Ingress, body, refusal};
use crate::error::ApiError;

/// The paths of ingress. The second pair is for `lifecycleNotificationUrl`: items are told apart by their fields, so it
/// means the same. The last pair lacks a key, which is told as any key that can't be one.
const PATHS: [&str; 6] = [
    "/webhook/{environment}/{key}",
    "/webhook/{environment}/{key}/",
    "/webhook/{environment}/{key}/lifecycle",
    "/webhook/{environment}/{key}/lifecycle/",
    "/webhook/{environment}",
    "/webhook/{environment}/",
];

/// What a request comes to, and the word for it in metrics.
type Answered = (HttpResponse, &'static str);

/// Adds the routes of ingress; they want a `web::Data<Ingress>`.
pub fn configure(config: &mut web::ServiceConfig) {
    config.service(web::resource(PATHS).to(receive));
}

async fn receive(ingress: web::Data<Ingress>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let mut payload = payload.into_inner();
    let (response, answer) = match check(&ingress, &request) {
        Ok(Checked::Handshake(token)) => leave_unread((refusal::echo(token), "handshake"), payload),
        Ok(Checked::Notification(address)) => match read(&ingress, &request, &mut payload).await {
            Ok(body) => {
                store(&ingress, &request, address, body).await.unwrap_or_else(|error| refused(&error))
            }
            Err(error) => leave_unread(refused(&error), payload),
        },
        Err(error) => leave_unread(refused(&error), payload),
    };
    counter!("waypost_ingress_requests_total", "answer" => answer).increment(1);
    response
}

fn refused(error: &ApiError) -> Answered {
    (error.error_response(), error.code())
}

fn leave_unread((response, answer): Answered, payload: dev::Payload) -> Answered {
    (body::leave_unread(response, payload), answer)
}

/// A request that is in order as far as its head tells.
enum Checked {
    /// To be answered with this text.
    Handshake(String),
    /// To be read and stored.
    Notification(Address),
}

fn check(ingress: &Ingress, request: &HttpRequest) -> Result<Checked, ApiError> {
    if request.method() != Method::POST {
        return Err(ApiError::MethodNotAllowed { allowed: "POST".to_owned() });
    }
    let address = Address::of_path(request.uri().path()).map_err(|faults| refusal::path(&faults))?;
    if let Some(token) = address::handshake_token(query(request.uri())) {
        return token.map(Checked::Handshake).map_err(refusal::token);
    }
    if is_compressed(request.headers()) {
        return Err(ApiError::CompressedBody);
    }
    if let Some(limit) = &ingress.rate_limit {
        let taken = limit.take(&address, ingress.clock.now());
        taken.map_err(|retry_after| ApiError::TooManyNotifications { retry_after })?;
    }
    Ok(Checked::Notification(address))
}

async fn read(
    ingress: &Ingress,
    request: &HttpRequest,
    payload: &mut dev::Payload,
) -> Result<Bytes, ApiError> {
    let most = ingress.max_body_bytes;
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    body::read(payload, announced, most, &ingress.reading).await.map_err(|fault| refusal::body(fault, most))
}

/// Has the request stored, and answers it in time.
async fn store(
    ingress: &Ingress,
    request: &HttpRequest,
    address: Address,
    body: Bytes,
) -> Result<Answered, ApiError> {
    let started = Instant::now();
    let notification = Request {
        environment: address.environment,
        unique_key: address.unique_key,
        query: query(request.uri()).into(),
        headers: kept_headers(request.headers()),
        body,
        received_at: ingress.clock.now(),
    };
    let receipt = ingress.queue.put(notification).map_err(|_refused| refusal::unavailable())?;
    let verdict = tokio::time::timeout(ingress.ack_deadline, receipt).await;
    let verdict = verdict.ok().and_then(Result::ok).ok_or_else(refusal::unavailable)?;
    let answered = refusal::answer(verdict)?;
    histogram!("waypost_ingress_accept_seconds").record(started.elapsed().as_secs_f64());
    Ok(answered)
}

fn query(uri: &Uri) -> &str {
    uri.query().unwrap_or_default()
}

fn is_compressed(headers: &ActixHeaders) -> bool {
    let plain = |coding: &str| coding.trim().is_empty() || coding.trim().eq_ignore_ascii_case("identity");
    headers
        .get_all(CONTENT_ENCODING)
        .any(|value| !value.to_str().is_ok_and(|codings| codings.split(',').all(plain)))
}

/// What a provider may look at: its own headers, where vendors put signatures, ids and times.
fn kept_headers(headers: &ActixHeaders) -> HeaderMap {
    let is_vendors = |name: &str| {
        name.starts_with("x-")
            || name.starts_with("webhook-")
            || name.ends_with("-signature")
            || name == "content-type"
    };
    headers
        .iter()
        .filter(|(name, _)| is_vendors(name.as_str()))
        .filter_map(|(name, value)| {
            // The server's types are those of an older `http`.
            let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests;
