//! The old paths for the metadata of one connection, named in the path; the body is the metadata itself.
//!
//! The other old paths are only other names: see `routes!` of the module above.

#![expect(
    deprecated,
    reason = "the attribute is for the document; the code that serves the paths names them too"
)]

use actix_web::{HttpRequest, HttpResponse, patch, post};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;
use waypost_postgres::connection::MetadataChange;

use super::Address;
use super::metadata::{MetadataBody, OneOrMore, change};
use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody, Issue};
use crate::extract::{Body, Path, Query};
use crate::routes::routes;

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

routes![set_metadata_of_one, update_metadata_of_one];
