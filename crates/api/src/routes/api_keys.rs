//! `/admin/environments/{environment}/api-keys`: the keys of the environment API.

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use waypost_core::account::Name;
use waypost_core::clock::SharedClock;
use waypost_core::id::{ApiKeyId, EnvironmentId};
use waypost_core::scope::Grant;
use waypost_postgres::api_key::{ApiKey, ApiKeyError, NewKey};
use waypost_postgres::{Actor, Store, TenantStore};

use crate::auth::{Operator, Viewer};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, Path};
use crate::page::{Listed, PageParams, Paged};
use crate::routes::environments::{Address, Success};
use crate::routes::routes;
use crate::time::{Time, read};

/// Names a key.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct KeyAddress {
    /// The environment's uuid.
    environment: Uuid,
    /// The key's id.
    key: String,
}

/// A new key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ApiKeyCreate)]
pub(crate) struct Wanted {
    /// What people call it.
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    display_name: Name,
    /// What it may do; everything when absent.
    #[schema(value_type = Option<Vec<String>>, min_items = 1, example = json!(["environment:connections:*"]))]
    scopes: Option<Vec<Grant>>,
    /// When it ends by itself.
    #[serde(default, deserialize_with = "read")]
    expires_at: Option<DateTime<Utc>>,
}

/// An API key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct ApiKeyView {
    #[schema(value_type = String, example = "key_01jd7q3v5he8r9w0x1y2z3a4b5")]
    id: ApiKeyId,
    #[schema(value_type = String)]
    display_name: Name,
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Grant>,
    created_at: Time,
    expires_at: Option<Time>,
    /// To the minute.
    last_used_at: Option<Time>,
}

/// A new key, with the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewApiKey)]
pub(crate) struct NewApiKeyView {
    #[serde(flatten)]
    key: ApiKeyView,
    /// The key. Shown this once.
    secret: String,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            display_name: key.display_name,
            scopes: key.scopes,
            created_at: key.created_at.into(),
            expires_at: key.expires_at.map(Time::from),
            last_used_at: key.last_used_at.map(Time::from),
        }
    }
}

impl NewApiKeyView {
    fn of((key, secret): (ApiKey, SecretString)) -> Self {
        Self { key: key.into(), secret: secret.expose_secret().to_owned() }
    }
}

impl From<ApiKeyError> for ApiError {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::TooMany => Self::bad_request("resource_capped", error.to_string()),
            ApiKeyError::Store(error) => error.into(),
        }
    }
}

impl Wanted {
    fn check(self, now: DateTime<Utc>) -> Result<NewKey, ApiError> {
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(ApiError::invalid_field(&["expires_at"], "a time in the future is wanted"));
        }
        let scopes = self.scopes.unwrap_or_else(|| vec![Grant::everything()]);
        if scopes.is_empty() {
            return Err(ApiError::invalid_field(&["scopes"], "at least one scope is wanted"));
        }
        Ok(NewKey { display_name: self.display_name, scopes, expires_at: self.expires_at })
    }
}

/// List the API keys
///
/// The oldest first, without those that are revoked.
#[utoipa::path(
    context_path = "/admin",
    tag = "API keys",
    security(("admin" = [])),
    params(Address, PageParams),
    responses(
        (status = 200, description = "A page of keys", body = Listed<ApiKeyView>),
        (status = 400, description = "The page can't be one", body = ErrorBody),
        (status = 401, description = "No valid admin token", body = ErrorBody),
        (status = 404, description = "No such environment", body = ErrorBody),
    )
)]
#[get("/environments/{environment}/api-keys")]
async fn list_api_keys(
    viewer: Viewer,
    address: Path<Address>,
    query: Paged<ApiKeyId>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let tenant = existing(&store, address.0.id(), viewer.actor).await?;
    let listed = tenant.api_keys(query.page).await?;
    Ok(HttpResponse::Ok().json(Listed::of(listed, ApiKeyView::from)))
}

/// Make an API key
///
/// At most 50 per environment.
#[utoipa::path(
    context_path = "/admin",
    tag = "API keys",
    security(("admin" = [])),
    params(Address),
    request_body = Wanted,
    responses(
        (status = 201, description = "The key, shown this once", body = NewApiKeyView),
        (status = 400, description = "Such a key can't be made", body = ErrorBody),
        (status = 401, description = "No valid admin token", body = ErrorBody),
        (status = 403, description = "Not an operator", body = ErrorBody),
        (status = 404, description = "No such environment", body = ErrorBody),
    )
)]
#[post("/environments/{environment}/api-keys")]
async fn create_api_key(
    operator: Operator,
    address: Path<Address>,
    wanted: Body<Wanted>,
    store: web::Data<Store>,
    clock: web::Data<SharedClock>,
) -> Result<HttpResponse, ApiError> {
    let tenant = existing(&store, address.0.id(), operator.actor).await?;
    let made = tenant.create_api_key(wanted.0.check(clock.now())?).await?;
    Ok(HttpResponse::Created().json(NewApiKeyView::of(made)))
}

/// Revoke an API key
///
/// It is unknown from then on.
#[utoipa::path(
    context_path = "/admin",
    tag = "API keys",
    security(("admin" = [])),
    params(KeyAddress),
    responses(
        (status = 200, description = "It is revoked", body = Success),
        (status = 401, description = "No valid admin token", body = ErrorBody),
        (status = 403, description = "Not an operator", body = ErrorBody),
        (status = 404, description = "No such environment or key", body = ErrorBody),
    )
)]
#[delete("/environments/{environment}/api-keys/{key}")]
async fn revoke_api_key(
    operator: Operator,
    address: Path<KeyAddress>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let unknown = || ApiError::not_found("There is no such API key");
    let environment = EnvironmentId::from_uuid(address.0.environment);
    let tenant = existing(&store, environment, operator.actor).await?;
    let id = address.0.key.parse().map_err(|_| unknown())?;
    if tenant.revoke_api_key(id).await? { Ok(Success::response()) } else { Err(unknown()) }
}

async fn existing(store: &Store, id: EnvironmentId, actor: Actor) -> Result<TenantStore, ApiError> {
    let environment = store.environment(id).await?;
    let environment = environment.ok_or_else(|| ApiError::not_found("There is no such environment"))?;
    Ok(store.tenant(environment.id, actor))
}

routes![list_api_keys, create_api_key, revoke_api_key];
