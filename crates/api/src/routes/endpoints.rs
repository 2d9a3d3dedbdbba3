//! `/endpoints`: callback URLs of the SaaS backend.

mod input;
mod trial;
mod view;

use actix_web::{HttpResponse, delete, get, patch, post, web};
use chrono::SecondsFormat;
use secrecy::ExposeSecret as _;
use waypost_core::clock::SharedClock;
use waypost_core::endpoint::EndpointKind;
use waypost_core::id::EndpointId;
use waypost_postgres::endpoint::{EndpointError, Held, Rotation, Update};

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, Id};
use crate::nango::Nothing;
use crate::page::{Listed, PageParams, Paged};
use crate::routes::environments::Success;
use crate::routes::routes;
use crate::surroundings::Surroundings;
use crate::time::Time;

use input::{Changes, Enable, Wanted, nothing_to_keep};
use trial::{Trial, TrialView};
use view::{EndpointView, RotatedView, SecretView};

fn unknown() -> ApiError {
    ApiError::not_found("There is no such endpoint")
}

/// List the endpoints
///
/// The oldest first: `primary` and `secondary` when they have a URL, the overrides of connections, and those made here.
#[utoipa::path(
    tag = "Endpoints",
    security(("api_key" = [])),
    params(PageParams),
    responses(
        (status = 200, description = "The endpoints", body = Listed<EndpointView>),
        (status = 400, description = "A query parameter is unknown or invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:read`", body = ErrorBody),
    )
)]
#[get("/endpoints")]
async fn list_endpoints(
    authorized: Authorized<scope::WebhooksRead>,
    paged: Paged<EndpointId>,
) -> Result<HttpResponse, ApiError> {
    let listed = authorized.tenant.list_endpoints(&paged.page).await?;
    Ok(HttpResponse::Ok().json(Listed::of(listed, EndpointView::from)))
}

/// Create an endpoint
///
/// It gets a signing secret of its own. An environment has at most 1,000 endpoints made this way; one more is refused with
/// `resource_capped`.
#[utoipa::path(
    tag = "Endpoints",
    security(("api_key" = [])),
    request_body = Wanted,
    responses(
        (status = 201, description = "The endpoint", body = EndpointView),
        (status = 400, description = "The body is invalid, the URL is not allowed, or there are as many endpoints as there may be (`resource_capped`)", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:write`", body = ErrorBody),
    )
)]
#[post("/endpoints")]
async fn create_endpoint(
    authorized: Authorized<scope::WebhooksWrite>,
    wanted: Body<Wanted>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let new = wanted.0.check(&surroundings).await?;
    let created = authorized.tenant.create_endpoint(new).await?;
    Ok(HttpResponse::Created().json(EndpointView::from(created)))
}

/// Get an endpoint
#[utoipa::path(
    tag = "Endpoints",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "The endpoint", body = EndpointView),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:read`", body = ErrorBody),
        (status = 404, description = "No such endpoint", body = ErrorBody),
    )
)]
#[get("/endpoints/{id}")]
async fn get_endpoint(
    authorized: Authorized<scope::WebhooksRead>,
    id: Id<EndpointId>,
) -> Result<HttpResponse, ApiError> {
    let found = authorized.tenant.find_endpoint(id.0).await?.ok_or_else(unknown)?;
    Ok(HttpResponse::Ok().json(EndpointView::from(found)))
}

/// Change an endpoint
///
/// What is absent stays; `headers` and `filter` are replaced whole, but a header whose value is `***`, as it is shown, keeps
/// the value that it has. What is on its way goes to the new URL, which enables an endpoint that the one before had
/// disabled, by a 410 for instance; one that was disabled by hand stays so.
#[utoipa::path(
    tag = "Endpoints",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The endpoint's id")),
    request_body = Changes,
    responses(
        (status = 200, description = "The endpoint", body = EndpointView),
        (status = 400, description = "The body is invalid, or the URL is not allowed", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:write`", body = ErrorBody),
        (status = 404, description = "No such endpoint", body = ErrorBody),
    )
)]
#[patch("/endpoints/{id}")]
async fn update_endpoint(
    authorized: Authorized<scope::WebhooksWrite>,
    id: Id<EndpointId>,
    changes: Body<Changes>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let changes = changes.0.check(&surroundings).await?;
    let found = authorized.tenant.find_endpoint(id.0).await?.ok_or_else(unknown)?;
    if found.kind == EndpointKind::Override && changes.filter.is_some() {
        let message = "an override gets all events of its connection: it has no filter";
        return Err(ApiError::invalid_field(&["filter"], message));
    }
    match authorized.tenant.update_endpoint(id.0, changes).await? {
        Update::Done(updated) => {
            surroundings.endpoint_changed();
            Ok(HttpResponse::Ok().json(EndpointView::from(*updated)))
        }
        Update::Unknown => Err(unknown()),
        Update::NoSuchHeader(name) => Err(nothing_to_keep(&name)),
    }
}

/// Delete an endpoint
///
/// What is on its way to it is discarded, visibly. Of `primary` and `secondary` the URL is taken away; of an override
/// the `webhook_url_override` of its connection.
#[utoipa::path(
    tag = "Endpoints",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "It is deleted", body = Success),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:write`", body = ErrorBody),
        (status = 404, description = "No such endpoint", body = ErrorBody),
    )
)]
#[delete("/endpoints/{id}")]
async fn delete_endpoint(
    authorized: Authorized<scope::WebhooksWrite>,
    id: Id<EndpointId>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    if !authorized.tenant.delete_endpoint(id.0).await? {
        return Err(unknown());
    }
    surroundings.endpoint_changed();
    Ok(Success::response())
}

/// Enable an endpoint
///
/// Deliveries that were held go out (`deliver`, the default) or are discarded (`discard`).
#[utoipa::path(
    tag = "Endpoints",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The endpoint's id")),
    request_body = Enable,
    responses(
        (status = 200, description = "The endpoint", body = EndpointView),
        (status = 400, description = "The body is invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:write`", body = ErrorBody),
        (status = 404, description = "No such endpoint", body = ErrorBody),
    )
)]
#[post("/endpoints/{id}/enable")]
async fn enable_endpoint(
    authorized: Authorized<scope::WebhooksWrite>,
    id: Id<EndpointId>,
    enable: Body<Enable>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let enabled = authorized.tenant.enable_endpoint(id.0, Held::from(enable.0)).await?.ok_or_else(unknown)?;
    surroundings.endpoint_changed();
    Ok(HttpResponse::Ok().json(EndpointView::from(enabled)))
}

/// Disable an endpoint
///
/// Its deliveries are held until it is enabled again; the other endpoints are told by a notice.
#[utoipa::path(
    tag = "Endpoints",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "The endpoint", body = EndpointView),
        (status = 400, description = "The body is invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:write`", body = ErrorBody),
        (status = 404, description = "No such endpoint", body = ErrorBody),
    )
)]
#[post("/endpoints/{id}/disable")]
async fn disable_endpoint(
    authorized: Authorized<scope::WebhooksWrite>,
    id: Id<EndpointId>,
    _nothing: Body<Nothing>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let max_age = surroundings.settings.max_age;
    let disabled = authorized.tenant.disable_endpoint(id.0, max_age).await?.ok_or_else(unknown)?;
    surroundings.endpoint_changed();
    Ok(HttpResponse::Ok().json(EndpointView::from(disabled)))
}

/// Get an endpoint's signing secret
///
/// It keys the header `webhook-signature`. An override signs with the secret of `primary`.
#[utoipa::path(
    tag = "Endpoints",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "The secret", body = SecretView),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:read_secrets`", body = ErrorBody),
        (status = 404, description = "No such endpoint", body = ErrorBody),
    )
)]
#[get("/endpoints/{id}/secret")]
async fn get_endpoint_secret(
    authorized: Authorized<scope::WebhooksReadSecrets>,
    id: Id<EndpointId>,
) -> Result<HttpResponse, ApiError> {
    let secret = authorized.tenant.endpoint_secret(id.0).await?.ok_or_else(unknown)?;
    Ok(HttpResponse::Ok().json(SecretView { secret: secret.expose_secret().to_owned() }))
}

/// Rotate an endpoint's signing secret
///
/// The one before signs along for `security.secret_grace`, so that receivers can change over; five sign at most.
#[utoipa::path(
    tag = "Endpoints",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "The new secret", body = RotatedView),
        (status = 400, description = "The body is invalid, or the endpoint is an override", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:write`", body = ErrorBody),
        (status = 404, description = "No such endpoint", body = ErrorBody),
        (status = 409, description = "As many secrets as can be sign along already", body = ErrorBody),
    )
)]
#[post("/endpoints/{id}/secret/rotate")]
async fn rotate_endpoint_secret(
    authorized: Authorized<scope::WebhooksWrite>,
    id: Id<EndpointId>,
    _nothing: Body<Nothing>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    match authorized.tenant.rotate_endpoint_secret(id.0, surroundings.settings.secret_grace).await? {
        Rotation::Done(rotated) => Ok(HttpResponse::Ok().json(RotatedView {
            secret: rotated.secret.expose_secret().to_owned(),
            previous_valid_until: rotated.previous_valid_until.map(Time::from),
        })),
        Rotation::SignsAsPrimary => {
            let message = "An override signs with the secret of primary: rotate that one";
            Err(ApiError::bad_request("invalid_endpoint", message))
        }
        Rotation::TooMany { until } => {
            let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
            let message = format!("Five secrets sign already: the first of them ends at {until}");
            Err(ApiError::conflict("too_many_secrets", message))
        }
        Rotation::Unknown => Err(unknown()),
    }
}

/// Send a test delivery
///
/// At once, signed and guarded like every delivery, with a body of `"type":"endpoint","operation":"test"`. It is no event: it
/// is sent once, whatever comes of it, and leaves no history: the `evt_…` in its `webhook-id` is no event's.
#[utoipa::path(
    tag = "Endpoints",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "What came of it", body = TrialView),
        (status = 400, description = "The body is invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:write`", body = ErrorBody),
        (status = 404, description = "No such endpoint", body = ErrorBody),
    )
)]
#[post("/endpoints/{id}/test")]
async fn test_endpoint(
    authorized: Authorized<scope::WebhooksWrite>,
    id: Id<EndpointId>,
    _nothing: Body<Nothing>,
    surroundings: web::Data<Surroundings>,
    clock: web::Data<SharedClock>,
) -> Result<HttpResponse, ApiError> {
    let target = authorized.tenant.endpoint_target(id.0).await?.ok_or_else(unknown)?;
    let trial = Trial::of(&target, clock.now());
    Ok(HttpResponse::Ok().json(trial.send(&surroundings.webhooks, &target).await?))
}

impl From<EndpointError> for ApiError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::TooMany => {
                Self::bad_request("resource_capped", format!("{error}; delete one that is not needed"))
            }
            EndpointError::Store(error) => error.into(),
        }
    }
}

routes![
    list_endpoints,
    create_endpoint,
    get_endpoint,
    update_endpoint,
    delete_endpoint,
    enable_endpoint,
    disable_endpoint,
    get_endpoint_secret,
    rotate_endpoint_secret,
    test_endpoint,
];
