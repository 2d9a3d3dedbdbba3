//! The control over HTTP, below `/_control`. No credentials: whoever reaches the simulator may move it.
//!
//! Must not do more than [`Control`] does.

mod orders;

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Bytes, Data, Path, Query, ServiceConfig, get, post, put, resource},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::Control;
use crate::{
    notify::{Notification, NotifyError},
    world::World,
};

/// A prepared body for a URL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    url: Url,
    /// A text goes out as it is, anything else as JSON.
    body: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Roll {
    #[serde(default)]
    forget: bool,
}

pub(crate) fn routes(routes: &mut ServiceConfig) {
    orders::routes(routes);
    routes
        .route("/notify", post().to(notify))
        .route("/raw", post().to(raw))
        .route("/deliveries", get().to(deliveries))
        .route("/deliveries/{id}", get().to(delivery))
        .route("/settled", get().to(settled))
        .route("/subscriptions", get().to(subscriptions))
        .route("/subscriptions/{id}", actix_web::web::delete().to(remove_subscription))
        .route("/keys/roll", post().to(roll_keys))
        .service(resource("/faults").route(put().to(set_faults)).route(get().to(faults)));
}

fn control(world: Data<World>) -> Control {
    Control::new(Arc::clone(&world.into_inner()))
}

async fn notify(world: Data<World>, body: Bytes) -> HttpResponse {
    with_body(&body, |notification: Notification| sent(control(world).notify(&notification)))
}

async fn raw(world: Data<World>, body: Bytes) -> HttpResponse {
    with_body(&body, |raw: Raw| {
        let body = match raw.body {
            Value::String(text) => text,
            json => json.to_string(),
        };
        sent(control(world).send_raw(raw.url, body).map(|id| vec![id]))
    })
}

async fn deliveries(world: Data<World>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"data": control(world).deliveries()}))
}

async fn delivery(world: Data<World>, id: Path<u64>) -> HttpResponse {
    match control(world).delivery(*id) {
        Some(record) => HttpResponse::Ok().json(record),
        None => refuse(StatusCode::NOT_FOUND, "unknown_delivery", "there is no such delivery"),
    }
}

/// Answers when nothing is outstanding any more.
async fn settled(world: Data<World>) -> HttpResponse {
    control(world).wait_settled().await;
    HttpResponse::Ok().json(json!({"success": true}))
}

async fn subscriptions(world: Data<World>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"data": control(world).subscriptions()}))
}

async fn remove_subscription(world: Data<World>, id: Path<Uuid>) -> HttpResponse {
    match control(world).remove_subscription(*id) {
        Ok(()) => HttpResponse::Ok().json(json!({"success": true})),
        Err(error) => failed(&error),
    }
}

async fn roll_keys(world: Data<World>, roll: Query<Roll>) -> HttpResponse {
    match control(world).roll_keys(roll.forget) {
        Ok(()) => HttpResponse::Ok().json(json!({"success": true})),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
    }
}

async fn set_faults(world: Data<World>, body: Bytes) -> HttpResponse {
    with_body(&body, |plan| {
        let control = control(world);
        control.set_faults(plan);
        HttpResponse::Ok().json(control.faults())
    })
}

async fn faults(world: Data<World>) -> HttpResponse {
    HttpResponse::Ok().json(control(world).faults())
}

fn with_body<T: DeserializeOwned>(body: &[u8], work: impl FnOnce(T) -> HttpResponse) -> HttpResponse {
    match serde_json::from_slice(body) {
        Ok(value) => work(value),
        Err(error) => refuse(StatusCode::BAD_REQUEST, "invalid_body", &error.to_string()),
    }
}

fn sent(outcome: Result<Vec<u64>, NotifyError>) -> HttpResponse {
    match outcome {
        Ok(ids) => HttpResponse::Accepted().json(json!({"deliveries": ids})),
        Err(error) => failed(&error),
    }
}

fn failed(error: &NotifyError) -> HttpResponse {
    let (status, code) = match error {
        NotifyError::UnknownSubscription(_) => (StatusCode::NOT_FOUND, "unknown_subscription"),
        NotifyError::AmbiguousItem => (StatusCode::BAD_REQUEST, "ambiguous_item"),
        NotifyError::NoLifecycleUrl(_) => (StatusCode::CONFLICT, "no_lifecycle_url"),
        NotifyError::TooManyItems => (StatusCode::BAD_REQUEST, "too_many_items"),
        NotifyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
        NotifyError::ForbiddenTarget => (StatusCode::FORBIDDEN, "forbidden_target"),
        NotifyError::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        NotifyError::Crypto(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    refuse(status, code, &error.to_string())
}

fn refuse(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    HttpResponse::build(status).json(json!({"error": {"code": code, "message": message}}))
}
