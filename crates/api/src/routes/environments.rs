//! `/admin/environments/{environment}`: one environment.

use actix_web::{HttpResponse, delete, get, patch, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use waypost_core::account::{Environment, Name};
use waypost_core::id::{AccountId, EnvironmentId};
use waypost_postgres::Store;
use waypost_postgres::account::{EnvironmentChange, EnvironmentError};

use crate::auth::{Operator, Viewer};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, Path, given};
use crate::routes::routes;
use crate::time::Time;

/// Names an environment.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Address {
    /// The environment's uuid.
    pub(crate) environment: Uuid,
}

/// An environment: the wall between tenants.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Environment)]
pub(crate) struct EnvironmentView {
    /// As in its ingress URLs.
    #[schema(value_type = Uuid)]
    uuid: EnvironmentId,
    #[schema(value_type = String)]
    account_id: AccountId,
    #[schema(value_type = String)]
    name: Name,
    /// Tell `primary` and `secondary` of created and overridden connections.
    on_auth_creation: bool,
    /// Tell `primary` and `secondary` when a connection's token can't be refreshed, and when it can again.
    on_auth_refresh_error: bool,
    /// Leave `clientState` in forwarded items.
    forward_client_state: bool,
    created_at: Time,
    updated_at: Time,
}

/// What shall change; what is absent stays, and null is refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EnvironmentChange)]
pub(crate) struct Change {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    name: Option<Name>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    on_auth_creation: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    on_auth_refresh_error: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    forward_client_state: Option<bool>,
}

/// It is done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Success {
    success: bool,
}

impl Success {
    /// The answer to a deletion.
    pub(crate) fn response() -> HttpResponse {
        HttpResponse::Ok().json(Self { success: true })
    }
}

impl From<Environment> for EnvironmentView {
    fn from(environment: Environment) -> Self {
        Self {
            uuid: environment.id,
            account_id: environment.account,
            name: environment.name,
            on_auth_creation: environment.webhooks.on_auth_creation,
            on_auth_refresh_error: environment.webhooks.on_auth_refresh_error,
            forward_client_state: environment.webhooks.forward_client_state,
            created_at: environment.created_at.into(),
            updated_at: environment.updated_at.into(),
        }
    }
}

impl From<Change> for EnvironmentChange {
    fn from(change: Change) -> Self {
        Self {
            name: change.name,
            on_auth_creation: change.on_auth_creation,
            on_auth_refresh_error: change.on_auth_refresh_error,
            forward_client_state: change.forward_client_state,
        }
    }
}

impl From<EnvironmentError> for ApiError {
    fn from(error: EnvironmentError) -> Self {
        match error {
            EnvironmentError::NameTaken => {
                Self::conflict("name_taken", "The account has another environment of that name")
            }
            EnvironmentError::Store(error) => error.into(),
        }
    }
}

/// Get an environment
#[utoipa::path(
    context_path = "/admin",
    tag = "Accounts",
    security(("admin" = [])),
    params(Address),
    responses(
        (status = 200, description = "The environment", body = EnvironmentView),
        (status = 401, description = "No valid admin token", body = ErrorBody),
        (status = 404, description = "No such environment", body = ErrorBody),
    )
)]
#[get("/environments/{environment}")]
async fn get_environment(
    _viewer: Viewer,
    address: Path<Address>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let environment = store.environment(address.0.id()).await?.ok_or_else(unknown)?;
    Ok(HttpResponse::Ok().json(EnvironmentView::from(environment)))
}

/// Change an environment
#[utoipa::path(
    context_path = "/admin",
    tag = "Accounts",
    security(("admin" = [])),
    params(Address),
    request_body = Change,
    responses(
        (status = 200, description = "The environment", body = EnvironmentView),
        (status = 400, description = "The change can't be read", body = ErrorBody),
        (status = 401, description = "No valid admin token", body = ErrorBody),
        (status = 403, description = "Not an operator", body = ErrorBody),
        (status = 404, description = "No such environment", body = ErrorBody),
        (status = 409, description = "The account has another environment of that name", body = ErrorBody),
    )
)]
#[patch("/environments/{environment}")]
async fn update_environment(
    operator: Operator,
    address: Path<Address>,
    change: Body<Change>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let updated = store.update_environment(address.0.id(), change.0.into(), &operator.actor).await?;
    Ok(HttpResponse::Ok().json(EnvironmentView::from(updated.ok_or_else(unknown)?)))
}

/// Delete an environment
///
/// It is unknown to everybody from then on: its keys and credentials are destroyed, its open deliveries discarded.
#[utoipa::path(
    context_path = "/admin",
    tag = "Accounts",
    security(("admin" = [])),
    params(Address),
    responses(
        (status = 200, description = "It is deleted", body = Success),
        (status = 401, description = "No valid admin token", body = ErrorBody),
        (status = 403, description = "Not an operator", body = ErrorBody),
        (status = 404, description = "No such environment", body = ErrorBody),
    )
)]
#[delete("/environments/{environment}")]
async fn delete_environment(
    operator: Operator,
    address: Path<Address>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let deleted = store.delete_environment(address.0.id(), &operator.actor).await?;
    if deleted { Ok(Success::response()) } else { Err(unknown()) }
}

impl Address {
    pub(crate) const fn id(&self) -> EnvironmentId {
        EnvironmentId::from_uuid(self.environment)
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("There is no such environment")
}

routes![get_environment, update_environment, delete_environment];
