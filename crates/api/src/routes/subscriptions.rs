//! `/subscriptions`: Graph's change-notification subscriptions that Waypost keeps.

mod input;
mod refusal;
mod view;

use actix_web::{HttpResponse, delete, get, patch, post, web};
use waypost_core::id::SubscriptionId;

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, Id};
use crate::nango::Nothing;
use crate::page::{Listed, PageParams, Paged};
use crate::routes::environments::Success;
use crate::routes::routes;
use crate::surroundings::Surroundings;

use input::{Changes, Filters, Import, Wanted};
pub(crate) use input::{check_wish, lifetime};
use refusal::unknown_connection;
pub(crate) use view::lifetime_text;
use view::{ImportView, SubscriptionView};

fn unknown() -> ApiError {
    ApiError::not_found("There is no such subscription")
}

/// List the subscriptions
///
/// The oldest first.
#[utoipa::path(
    tag = "Subscriptions",
    security(("api_key" = [])),
    params(Filters, PageParams),
    responses(
        (status = 200, description = "A page of subscriptions", body = Listed<SubscriptionView>),
        (status = 400, description = "A query parameter is unknown or invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:subscriptions:list`", body = ErrorBody),
    )
)]
#[get("/subscriptions")]
async fn list_subscriptions(
    authorized: Authorized<scope::SubscriptionsList>,
    paged: Paged<SubscriptionId, Filters>,
) -> Result<HttpResponse, ApiError> {
    let filter = paged.filters.check()?;
    let listed = authorized.tenant.list_subscriptions(&filter, &paged.page).await?;
    Ok(HttpResponse::Ok().json(Listed::of(listed, SubscriptionView::from)))
}

/// Create a subscription
///
/// At Graph, as the connection's app: its URLs, `clientState`, certificate and end are filled in. A wish that equals a
/// subscription of the same app and tenant joins it (200). Before the first create Waypost tests that Graph can reach
/// it.
#[utoipa::path(
    tag = "Subscriptions",
    security(("api_key" = [])),
    request_body = Wanted,
    responses(
        (status = 200, description = "The equal subscription that was there; it serves the connection now", body = SubscriptionView),
        (status = 201, description = "The subscription", body = SubscriptionView),
        (status = 400, description = "The body is invalid, or Graph refused it (`graph_error`)", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:subscriptions:create`, or Graph refused (`graph_error`)", body = ErrorBody),
        (status = 404, description = "No such connection (`unknown_connection`)", body = ErrorBody),
        (status = 409, description = "An equal one is being created, exists at Graph, or serves 100 connections already (`subscription_full`)", body = ErrorBody),
        (status = 424, description = "There is no access token for the connection", body = ErrorBody),
        (status = 429, description = "Graph asks to wait (`graph_error`)", body = ErrorBody),
        (status = 502, description = "Graph can't reach this Waypost (`public_url_unreachable`), or failed", body = ErrorBody),
    )
)]
#[post("/subscriptions")]
async fn create_subscription(
    authorized: Authorized<scope::SubscriptionsCreate>,
    wanted: Body<Wanted>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let wish = wanted.0.check()?;
    let connection = wanted.0.connection(&authorized.tenant).await?.ok_or_else(unknown_connection)?;
    let obtained = surroundings.subscriptions.create(&authorized.tenant, connection, &wish).await?;
    let view = SubscriptionView::from(obtained.managed.subscription);
    let mut response = if obtained.joined { HttpResponse::Ok() } else { HttpResponse::Created() };
    Ok(response.json(view))
}

/// Get a subscription
#[utoipa::path(
    tag = "Subscriptions",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The subscription's id")),
    responses(
        (status = 200, description = "The subscription", body = SubscriptionView),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:subscriptions:read`", body = ErrorBody),
        (status = 404, description = "No such subscription", body = ErrorBody),
    )
)]
#[get("/subscriptions/{id}")]
async fn get_subscription(
    authorized: Authorized<scope::SubscriptionsRead>,
    id: Id<SubscriptionId>,
) -> Result<HttpResponse, ApiError> {
    let found = authorized.tenant.find_subscription(id.0).await?.ok_or_else(unknown)?;
    Ok(HttpResponse::Ok().json(SubscriptionView::from(found.subscription)))
}

/// Change a subscription
///
/// What is absent stays. `lifetime` counts from the next renewal on. What it watches can't be changed: create another
/// one.
#[utoipa::path(
    tag = "Subscriptions",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The subscription's id")),
    request_body = Changes,
    responses(
        (status = 200, description = "The subscription", body = SubscriptionView),
        (status = 400, description = "The body is invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:subscriptions:update`", body = ErrorBody),
        (status = 404, description = "No such subscription", body = ErrorBody),
    )
)]
#[patch("/subscriptions/{id}")]
async fn update_subscription(
    authorized: Authorized<scope::SubscriptionsUpdate>,
    id: Id<SubscriptionId>,
    changes: Body<Changes>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let (auto_renew, lifetime) = changes.0.check()?;
    let updated = surroundings.subscriptions.update(&authorized.tenant, id.0, auto_renew, lifetime).await?;
    Ok(HttpResponse::Ok().json(SubscriptionView::from(updated)))
}

/// Delete a subscription
///
/// Also at Graph, whomever it serves. What Graph can't do now is tried again until it is done.
#[utoipa::path(
    tag = "Subscriptions",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The subscription's id")),
    responses(
        (status = 200, description = "It is deleted", body = Success),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:subscriptions:delete`", body = ErrorBody),
        (status = 404, description = "No such subscription", body = ErrorBody),
    )
)]
#[delete("/subscriptions/{id}")]
async fn delete_subscription(
    authorized: Authorized<scope::SubscriptionsDelete>,
    id: Id<SubscriptionId>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    surroundings.subscriptions.delete(&authorized.tenant, id.0).await?;
    Ok(Success::response())
}

/// Renew a subscription
///
/// Now, for as long as is wanted and Graph grants. Graph takes one renewal in ten minutes.
#[utoipa::path(
    tag = "Subscriptions",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The subscription's id")),
    request_body = Object,
    responses(
        (status = 200, description = "The subscription", body = SubscriptionView),
        (status = 400, description = "The body is neither empty nor `{}`, or Graph refused (`graph_error`)", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:subscriptions:update`, or Graph refused (`graph_error`)", body = ErrorBody),
        (status = 404, description = "No such subscription", body = ErrorBody),
        (status = 409, description = "It is pending or over, or was renewed a short time ago", body = ErrorBody),
        (status = 424, description = "There is no access token for the connection", body = ErrorBody),
        (status = 502, description = "Graph failed, or can't be reached", body = ErrorBody),
    )
)]
#[post("/subscriptions/{id}/renew")]
async fn renew_subscription(
    authorized: Authorized<scope::SubscriptionsUpdate>,
    id: Id<SubscriptionId>,
    _nothing: Body<Nothing>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let renewed = surroundings.subscriptions.renew(&authorized.tenant, id.0).await?;
    Ok(HttpResponse::Ok().json(SubscriptionView::from(renewed.subscription)))
}

/// Take over subscriptions
///
/// That the connection's app made elsewhere: their `clientState` is read by id, their `notificationUrl` is moved here.
/// Without `ids` all that the app has in the tenant and that aren't tracked yet. Graph can't move a
/// `lifecycleNotificationUrl`: it stays where it is.
#[utoipa::path(
    tag = "Subscriptions",
    security(("api_key" = [])),
    request_body = Import,
    responses(
        (status = 200, description = "What came of each", body = ImportView),
        (status = 400, description = "The body is invalid, or Graph refused (`graph_error`)", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:subscriptions:create`, or Graph refused (`graph_error`)", body = ErrorBody),
        (status = 404, description = "No such connection (`unknown_connection`)", body = ErrorBody),
        (status = 424, description = "There is no access token for the connection", body = ErrorBody),
        (status = 502, description = "Graph can't reach this Waypost (`public_url_unreachable`), or failed", body = ErrorBody),
    )
)]
#[post("/subscriptions/import")]
async fn import_subscriptions(
    authorized: Authorized<scope::SubscriptionsCreate>,
    import: Body<Import>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let import = import.0.checked()?;
    let connection = import.connection(&authorized.tenant).await?.ok_or_else(unknown_connection)?;
    let imported = surroundings.subscriptions.import(&authorized.tenant, connection, import.ids()).await?;
    Ok(HttpResponse::Ok().json(ImportView::from(imported)))
}

routes![
    list_subscriptions,
    create_subscription,
    import_subscriptions,
    get_subscription,
    update_subscription,
    delete_subscription,
    renew_subscription,
];
