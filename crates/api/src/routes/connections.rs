//! `/connections`: customers' authorizations at a provider, in Nango's shapes.
//!
//! Most are served at the singular paths of older clients too.

pub(crate) mod end_user;
mod input;
mod list;
mod live;
mod metadata;
pub(crate) mod old_metadata;
mod view;

use actix_web::{HttpResponse, patch, web};
use serde::Deserialize;
use utoipa::IntoParams;
use waypost_core::connection::ConnectionId;
use waypost_core::integration::UniqueKey;
use waypost_core::scope::Scope;
use waypost_postgres::connection::Found;
use waypost_upstream::tokens::Freshness;

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, Path, Query};
use crate::routes::environments::Success;
use crate::routes::{Renamed, routes};
use crate::surroundings::Surroundings;
use crate::time::{nango, nango_with_offset};

use input::{Changes, Wanted};
use list::{ListQuery, list};
use metadata::{MetadataBody, MetadataEcho, change};
use view::{ConnectionList, ConnectionView, Shown};
use waypost_postgres::connection::MetadataChange;

/// Names a connection, with its integration's key.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct Address {
    /// The connection's id.
    connection_id: String,
}

/// Names the integration of a connection.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Owner {
    /// The unique key of the connection's integration.
    provider_config_key: String,
}

/// How a connection is read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Reading {
    /// The unique key of the connection's integration.
    provider_config_key: String,
    /// Get a new token first, even where it failed a moment ago.
    #[serde(default)]
    #[param(required = false)]
    force_refresh: bool,
    /// Show the refresh token of a user's sign-in; client credentials have none.
    #[serde(default)]
    #[param(required = false)]
    refresh_token: bool,
    /// Of no meaning for Microsoft.
    #[serde(default)]
    #[param(required = false)]
    refresh_github_app_jwt_token: bool,
}

/// A connection and its integration, as far as both can exist at all.
struct Names {
    integration: UniqueKey,
    id: ConnectionId,
}

impl Names {
    fn parse(integration: String, id: String) -> Result<Self, Found<std::convert::Infallible>> {
        let integration = UniqueKey::parse(integration).map_err(|_| Found::UnknownIntegration)?;
        let id = ConnectionId::parse(id).map_err(|_| Found::UnknownConnection)?;
        Ok(Self { integration, id })
    }
}

/// What was found, or Nango's refusal.
fn known<T>(found: Found<T>) -> Result<T, ApiError> {
    match found {
        Found::Connection(found) => Ok(found),
        Found::UnknownConnection => Err(ApiError::not_found("Failed to find connection")),
        Found::UnknownIntegration => {
            Err(ApiError::bad_request("unknown_provider_config", "Provider does not exists"))
        }
    }
}

/// As [`known`], of names that could not even be read.
fn named(names: Result<Names, Found<std::convert::Infallible>>) -> Result<Names, ApiError> {
    names.or_else(|unknown| known(unknown).map(|never| match never {}))
}

/// List connections
///
/// Newest first, without credentials and configuration. Without `limit` the first 10,000.
#[utoipa::path(
    get,
    path = "/connections",
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
async fn list_connections(
    authorized: Authorized<scope::ConnectionsList>,
    query: Query<Vec<(String, String)>>,
) -> Result<HttpResponse, ApiError> {
    list(&authorized.tenant, query.0).await
}

/// Create or replace a connection
///
/// Of a connection that exists already, `connection_config` and `credentials` are replaced, other parts only when given.
/// Without `connection_id` a new one gets a UUID. `token` may be absent: then one is gotten at once, and where the sign-in
/// host refuses, the connection is made all the same and shows why (`errors`, `credentials_error`). The credentials may be
/// absent where the integration holds an app registration. A `connection_config.tenantId` that is a domain is resolved to
/// the tenant's GUID.
#[utoipa::path(
    post,
    path = "/connections",
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
async fn create_connection(
    authorized: Authorized<scope::ConnectionsCreate>,
    wanted: Body<Wanted>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let wanted = wanted.0;
    let unknown = || ApiError::not_found("Integration does not exist");
    let integration = authorized.tenant.find_integration(wanted.integration()).await?.ok_or_else(unknown)?;
    let new = wanted.check(&integration, &surroundings).await?;
    let upserted = authorized.tenant.upsert_connection(new, surroundings.settings.max_age).await?;
    let connection = upserted.ok_or_else(unknown)?.connection;
    surroundings.connection_written(connection.tenant.is_some());
    let signed_in = live::first(&authorized.tenant, &surroundings.tokens, connection.key).await?;
    let shown =
        if authorized.caller.may(Scope::ConnectionsReadCredentials) { Shown::Usual } else { Shown::None };
    Ok(HttpResponse::Created().json(ConnectionView::of(connection, signed_in, shown, nango)))
}

/// Get a connection
///
/// `credentials` hold a token that is good now, gotten anew where it is due. They are `{}` for keys without
/// `environment:connections:read_credentials`.
#[utoipa::path(
    get,
    path = "/connections/{connection_id}",
    tag = "Connections",
    security(("api_key" = [])),
    params(Address, Reading),
    responses(
        (status = 200, description = "The connection", body = ConnectionView),
        (status = 400, description = "No such integration, a query parameter is unknown or invalid, or the sign-in host \
                                      refuses the credentials", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connections:read`, or may not refresh", body = ErrorBody),
        (status = 404, description = "No such connection", body = ErrorBody),
        (status = 424, description = "There is no token, for a reason that passes, or it is too soon to ask again", body = ErrorBody),
    )
)]
async fn get_connection(
    authorized: Authorized<scope::ConnectionsRead>,
    address: Path<Address>,
    reading: Query<Reading>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let reading = reading.0;
    let shown = authorized.caller.may(Scope::ConnectionsReadCredentials);
    if !shown && (reading.force_refresh || reading.refresh_token || reading.refresh_github_app_jwt_token) {
        let scope = Scope::ConnectionsReadCredentials.as_str();
        let message = format!("Credential and refresh options require the {scope} scope");
        return Err(authorized.caller.refusal(ApiError::Forbidden { message }));
    }
    let names = named(Names::parse(reading.provider_config_key, address.0.connection_id))?;
    let found = if shown {
        authorized.tenant.fetch_connection(&names.integration, &names.id).await?
    } else {
        authorized.tenant.find_connection(&names.integration, &names.id).await?
    };
    let connection = known(found)?;
    let (tenant, key) = (&authorized.tenant, connection.key);
    let signed_in = if shown {
        let freshness = if reading.force_refresh { Freshness::Forced } else { Freshness::Cached };
        match live::current(tenant, &surroundings.tokens, key, freshness).await {
            Ok(signed_in) => signed_in,
            Err(error) => return Err(live::refused(tenant, connection, error).await),
        }
    } else {
        live::known(tenant, key).await?
    };
    let shown = match (shown, reading.refresh_token) {
        (false, _) => Shown::None,
        (true, false) => Shown::Usual,
        (true, true) => Shown::WithRefreshToken,
    };
    Ok(HttpResponse::Ok().json(ConnectionView::of(connection, signed_in, shown, nango_with_offset)))
}

/// Change a connection
///
/// Tags are replaced; an empty `webhook_url_override` takes it away and discards what is on its way there.
#[utoipa::path(
    tag = "Connections",
    security(("api_key" = [])),
    params(Address, Owner),
    request_body = Changes,
    responses(
        (status = 200, description = "It is changed", body = Success),
        (status = 400, description = "The body is invalid, or no such integration", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connections:update`", body = ErrorBody),
        (status = 404, description = "No such connection", body = ErrorBody),
    )
)]
#[patch("/connections/{connection_id}")]
async fn update_connection(
    authorized: Authorized<scope::ConnectionsUpdate>,
    address: Path<Address>,
    owner: Query<Owner>,
    changes: Body<Changes>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let names = named(Names::parse(owner.0.provider_config_key, address.0.connection_id))?;
    let changes = changes.0.check(&surroundings).await?;
    let moved = changes.webhook_url_override.is_some();
    known(authorized.tenant.update_connection(&names.integration, &names.id, changes).await?)?;
    if moved {
        surroundings.endpoint_changed();
    }
    Ok(Success::response())
}

/// Delete a connection
///
/// Its credentials are destroyed, and what is on its way for it is discarded, visibly.
#[utoipa::path(
    delete,
    path = "/connections/{connection_id}",
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
async fn delete_connection(
    authorized: Authorized<scope::ConnectionsDelete>,
    address: Path<Address>,
    owner: Query<Owner>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let unknown = || ApiError::bad_request("unknown_connection", "There is no such connection");
    let names = Names::parse(owner.0.provider_config_key, address.0.connection_id).map_err(|_| unknown())?;
    let max_age = surroundings.settings.max_age;
    match authorized.tenant.delete_connection(&names.integration, &names.id, max_age).await? {
        Found::Connection(()) => {
            surroundings.endpoint_changed();
            Ok(Success::response())
        }
        Found::UnknownConnection | Found::UnknownIntegration => Err(unknown()),
    }
}

/// Replace metadata
///
/// Of one connection or several; when one of them doesn't exist, none is changed.
#[utoipa::path(
    post,
    path = "/connections/metadata",
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
async fn set_metadata(
    authorized: Authorized<scope::ConnectionsUpdate>,
    body: Body<MetadataBody>,
) -> Result<HttpResponse, ApiError> {
    let echo = change(&authorized.tenant, body.0, MetadataChange::Replace).await?;
    Ok(HttpResponse::Created().json(echo))
}

/// Add metadata
///
/// The given members are added, over those of the same name. Of one connection or several; when one of them doesn't
/// exist, none is changed.
#[utoipa::path(
    patch,
    path = "/connections/metadata",
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
async fn update_metadata(
    authorized: Authorized<scope::ConnectionsUpdate>,
    body: Body<MetadataBody>,
) -> Result<HttpResponse, ApiError> {
    let echo = change(&authorized.tenant, body.0, MetadataChange::Merge).await?;
    Ok(HttpResponse::Ok().json(echo))
}

/// What older clients of Nango call.
const SINGULAR: Renamed = Renamed { path: "/connections", old: "/connection" };

// The paths of metadata stand before those with an id, which would take them too.
routes![
    renamed SINGULAR:
        set_metadata, update_metadata, list_connections, create_connection, get_connection, delete_connection;
    update_connection,
];
