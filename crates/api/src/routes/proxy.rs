//! `/proxy`: calls to the provider as one of its connections, with Nango's headers and errors.
//!
//! On the public listener only. Must not log a query, a header's value or a body, or hold a body that is larger than
//! what is repeated.

mod content;
mod describe;
mod refusal;

use std::time::Instant;

use actix_web::body::{BodyStream, BoxBody, MessageBody as _, SizedStream};
use actix_web::http::{StatusCode, header};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use http::{HeaderValue, Method};
use waypost_core::connection::Connection;
use waypost_core::proxy::Instructions;
use waypost_postgres::TenantStore;
use waypost_postgres::connection::Found;
use waypost_upstream::proxy::{Proxy, Reply, Wanted};

use crate::auth::{Authorized, scope};
use crate::error::ApiError;
use crate::metrics::count_proxied;
use crate::trace;

pub(crate) use describe::document;

/// Serves the proxy.
pub(crate) fn configure(config: &mut ServiceConfig) {
    for path in ["/proxy", "/proxy/{path}*"] {
        let mut resource = web::resource(path);
        for method in describe::METHODS {
            resource = resource.route(web::method(method).to(proxy));
        }
        config.service(resource.default_service(web::to(crate::routes::refuse)));
    }
}

async fn proxy(
    request: HttpRequest,
    authorized: Authorized<scope::Proxy>,
    payload: web::Payload,
    proxy: web::Data<Proxy>,
) -> Result<HttpResponse, ApiError> {
    let started = trace::started_at(&request).unwrap_or_else(Instant::now);
    let wanted = wanted(&request)?;
    let connection = connection(&authorized.tenant, &wanted.instructions).await?;
    let method = wanted.method.clone();
    let plan = proxy
        .plan(&authorized.tenant, &connection, wanted)
        .await
        .map_err(|error| refusal::of(error, &request))?;
    let content = content::read(&request, payload.into_inner()).await?;
    let reading = started.elapsed();
    let reply = proxy.call(plan, content).await;
    let class = reply.as_ref().map_or("none", |reply| crate::metrics::class(reply.status.as_u16()));
    let elsewhere = reply.as_ref().map(|reply| reply.timing.upstream + reply.timing.waiting);
    let added = elsewhere.map_or(reading, |elsewhere| started.elapsed().saturating_sub(elsewhere));
    count_proxied(class, added);
    let reply = reply.map_err(|error| refusal::of(error, &request))?;
    tracing::info!(
        http.request.method = method.as_str(),
        http.response.status_code = reply.status.as_u16(),
        proxy.attempts = reply.timing.attempts,
        proxy.upstream_ms = u64::try_from(reply.timing.upstream.as_millis()).unwrap_or(u64::MAX),
        "a call was passed on"
    );
    passed_on(reply)
}

/// What is asked for.
fn wanted(request: &HttpRequest) -> Result<Wanted, ApiError> {
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers: Vec<_> = headers.collect();
    let instructions = Instructions::read(headers.iter().copied()).map_err(refusal::invalid_headers)?;
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    // As it is written, but for the first segment, which led here even where its letters were escaped.
    let end = path.get(1..).and_then(|rest| rest.find(['/', '?'])).map_or(path.len(), |at| at + 1);
    let endpoint = path[end..].to_owned();
    let method = Method::from_bytes(request.method().as_str().as_bytes()).map_err(ApiError::internal)?;
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
    Ok(Wanted { method, endpoint, instructions, content_type })
}

async fn connection(tenant: &TenantStore, instructions: &Instructions) -> Result<Connection, ApiError> {
    match tenant.find_connection(&instructions.integration, &instructions.connection).await? {
        Found::Connection(connection) => Ok(connection),
        Found::UnknownConnection => Err(refusal::unknown_connection()),
        Found::UnknownIntegration => Err(refusal::unknown_integration()),
    }
}

/// The answer as it came, as it comes.
fn passed_on(reply: Reply) -> Result<HttpResponse, ApiError> {
    let status = StatusCode::from_u16(reply.status.as_u16()).map_err(ApiError::internal)?;
    let mut response = HttpResponse::build(status);
    let mut length = None;
    for (name, value) in &reply.headers {
        if name == http::header::CONTENT_LENGTH {
            length = value.to_str().ok().and_then(|text| text.parse().ok());
        } else {
            response.append_header((name.as_str(), value.as_bytes()));
        }
    }
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(response.finish());
    }
    let body: BoxBody = match length {
        Some(length) => SizedStream::new(length, reply.into_stream()).boxed(),
        None => BodyStream::new(reply.into_stream()).boxed(),
    };
    Ok(response.body(body))
}
