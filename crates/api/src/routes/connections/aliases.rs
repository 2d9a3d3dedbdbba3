//! The singular paths that older clients of Nango call.
//!
//! They do what the paths of `/connections` do, and nothing of their own.

#![expect(
    deprecated,
    reason = "the attribute is for the document; the code that serves the paths names them too"
)]

use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, web};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;
use waypost_postgres::connection::MetadataChange;

use super::input::Wanted;
use super::list::{ListQuery, list};
use super::metadata::{MetadataBody, MetadataEcho, OneOrMore, change};
use super::view::{ConnectionList, ConnectionView};
use super::{Address, Owner, Reading, create, read, remove};
use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody, Issue};
use crate::extract::{Body, Path, Query};
use crate::routes::environments::Success;
use crate::routes::routes;
use crate::surroundings::Surroundings;

/// The header that names the integration where the query doesn't.
const OWNER_HEADER: &str = "provider-config-key";

/// Names the integration of a connection; the header `Provider-Config-Key` may do it instead.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct OldOwner {
    /// The unique key of the connection's integration.
    provider_config_key: Option<String>,
}

/// List connections (old path)
///
/// As `GET /connections`.
#[utoipa::path(
    tag = "Connections",
    security(("api_key" = [])),
    params(ListQuery),
    responses(
        (status = 200, description = "The connections", body = ConnectionList),
        (status = 400, description = "A query parameter is unknown or invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connections:list`", body = ErrorBody),
    )
)]
#[deprecated]
#[get("/connection")]
async fn list_connections_old(
    authorized: Authorized<scope::ConnectionsList>,
    query: Query<Vec<(String, String)>>,
) -> Result<HttpResponse, ApiError> {
    list(&authorized.tenant, query.0).await
}

/// Create or replace a connection (old path)
///
/// As `POST /connections`.
#[utoipa::path(
    tag = "Connections",
    security(("api_key" = [])),
    request_body = Wanted,
    responses(
        (status = 201, description = "The connection", body = ConnectionView),
        (status = 400, description = "The body is invalid, or the tenant can't be resolved", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connections:create`", body = ErrorBody),
        (status = 404, description = "No such integration", body = ErrorBody),
    )
)]
#[deprecated]
#[post("/connection")]
async fn create_connection_old(
    authorized: Authorized<scope::ConnectionsCreate>,
    wanted: Body<Wanted>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    create(authorized, wanted.0, &surroundings).await
}

/// Get a connection (old path)
///
/// As `GET /connections/{connection_id}`.
#[utoipa::path(
    tag = "Connections",
    security(("api_key" = [])),
    params(Address, Reading),
    responses(
        (status = 200, description = "The connection", body = ConnectionView),
        (status = 400, description = "No such integration, or a query parameter is unknown or invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connections:read`, or may not refresh", body = ErrorBody),
        (status = 404, description = "No such connection", body = ErrorBody),
    )
)]
#[deprecated]
#[get("/connection/{connection_id}")]
async fn get_connection_old(
    authorized: Authorized<scope::ConnectionsRead>,
    address: Path<Address>,
    reading: Query<Reading>,
) -> Result<HttpResponse, ApiError> {
    read(authorized, address.0, reading.0).await
}

/// Delete a connection (old path)
///
/// As `DELETE /connections/{connection_id}`.
#[utoipa::path(
    tag = "Connections",
    security(("api_key" = [])),
    params(Address, Owner),
    responses(
        (status = 200, description = "It is deleted", body = Success),
        (status = 400, description = "No such connection", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connections:delete`", body = ErrorBody),
    )
)]
#[deprecated]
#[delete("/connection/{connection_id}")]
async fn delete_connection_old(
    authorized: Authorized<scope::ConnectionsDelete>,
    address: Path<Address>,
    owner: Query<Owner>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    remove(authorized, address.0, owner.0, &surroundings).await
}

/// Replace metadata (old path)
///
/// As `POST /connections/metadata`.
#[utoipa::path(
    tag = "Connections",
    security(("api_key" = [])),
    request_body = MetadataBody,
    responses(
        (status = 201, description = "What was sent", body = MetadataEcho),
        (status = 400, description = "The body is invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connections:update`", body = ErrorBody),
        (status = 404, description = "No such connection", body = ErrorBody),
    )
)]
#[deprecated]
#[post("/connection/metadata")]
async fn set_metadata_old(
    authorized: Authorized<scope::ConnectionsUpdate>,
    body: Body<MetadataBody>,
) -> Result<HttpResponse, ApiError> {
    let echo = change(&authorized.tenant, body.0, MetadataChange::Replace).await?;
    Ok(HttpResponse::Created().json(echo))
}

/// Add metadata (old path)
///
/// As `PATCH /connections/metadata`.
#[utoipa::path(
    tag = "Connections",
    security(("api_key" = [])),
    request_body = MetadataBody,
    responses(
        (status = 200, description = "What was sent", body = MetadataEcho),
        (status = 400, description = "The body is invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connections:update`", body = ErrorBody),
        (status = 404, description = "No such connection", body = ErrorBody),
    )
)]
#[deprecated]
#[patch("/connection/metadata")]
async fn update_metadata_old(
    authorized: Authorized<scope::ConnectionsUpdate>,
    body: Body<MetadataBody>,
) -> Result<HttpResponse, ApiError> {
    let echo = change(&authorized.tenant, body.0, MetadataChange::Merge).await?;
    Ok(HttpResponse::Ok().json(echo))
}

/// Replace the metadata of one connection (old path)
///
/// The body is the metadata itself.
#[utoipa::path(
    tag = "Connections",
    security(("api_key" = [])),
    params(Address, OldOwner),
    request_body = Object,
    responses(
        (status = 201, description = "What was sent", body = Object),
        (status = 400, description = "The body or the query is invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connections:update`", body = ErrorBody),
        (status = 404, description = "No such connection", body = ErrorBody),
    )
)]
#[deprecated]
#[post("/connection/{connection_id}/metadata")]
async fn set_metadata_of_one(
    authorized: Authorized<scope::ConnectionsUpdate>,
    address: Path<Address>,
    owner: Query<OldOwner>,
    body: Body<Map<String, Value>>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let wanted = of_one(address.0, owner.0, body.0.clone(), &request)?;
    change(&authorized.tenant, wanted, MetadataChange::Replace).await?;
    Ok(HttpResponse::Created().json(body.0))
}

/// Add to the metadata of one connection (old path)
///
/// The body is what is added.
#[utoipa::path(
    tag = "Connections",
    security(("api_key" = [])),
    params(Address, OldOwner),
    request_body = Object,
    responses(
        (status = 200, description = "What was sent", body = Object),
        (status = 400, description = "The body or the query is invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connections:update`", body = ErrorBody),
        (status = 404, description = "No such connection", body = ErrorBody),
    )
)]
#[deprecated]
#[patch("/connection/{connection_id}/metadata")]
async fn update_metadata_of_one(
    authorized: Authorized<scope::ConnectionsUpdate>,
    address: Path<Address>,
    owner: Query<OldOwner>,
    body: Body<Map<String, Value>>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let wanted = of_one(address.0, owner.0, body.0.clone(), &request)?;
    change(&authorized.tenant, wanted, MetadataChange::Merge).await?;
    Ok(HttpResponse::Ok().json(body.0))
}

fn of_one(
    address: Address,
    owner: OldOwner,
    metadata: Map<String, Value>,
    request: &HttpRequest,
) -> Result<MetadataBody, ApiError> {
    let header = || request.headers().get(OWNER_HEADER)?.to_str().ok().map(str::to_owned);
    let provider_config_key = owner.provider_config_key.or_else(header).ok_or_else(|| {
        ApiError::invalid_query(vec![Issue::at(&["provider_config_key"], "invalid_type", "Required")])
    })?;
    Ok(MetadataBody { connection_id: OneOrMore::One(address.connection_id), provider_config_key, metadata })
}

// The paths of metadata stand before those with an id, which would take them too.
routes![
    set_metadata_old,
    update_metadata_old,
    set_metadata_of_one,
    update_metadata_of_one,
    list_connections_old,
    create_connection_old,
    get_connection_old,
    delete_connection_old,
];
