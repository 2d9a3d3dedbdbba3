//! `/integrations`: providers and their settings, in Nango's shapes.

mod input;
mod view;

use actix_web::{HttpResponse, delete, get, patch, post, web};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use utoipa::IntoParams;
use waypost_core::integration::{Integration, UniqueKey};
use waypost_core::scope::Scope;
use waypost_postgres::TenantStore;
use waypost_postgres::integration::Written;

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody, Issue};
use crate::extract::{Body, Path, Query};
use crate::routes::environments::Success;
use crate::routes::routes;
use crate::surroundings::Surroundings;
use crate::time::Time;

use input::{Changes, Include, Rotate, Wanted};
use view::{Credentials, IntegrationBody, IntegrationList, IntegrationView, RotatedView};

/// Names an integration.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct Address {
    /// The integration's unique key.
    unique_key: String,
}

impl Address {
    fn key(&self) -> Result<UniqueKey, ApiError> {
        UniqueKey::parse(self.unique_key.as_str()).map_err(|_| self.unknown())
    }

    fn unknown(&self) -> ApiError {
        ApiError::not_found(format!("Integration \"{}\" does not exist", self.unique_key))
    }
}

/// List the integrations
///
/// All of them, by provider and then by age. Takes no parameters.
#[utoipa::path(
    tag = "Integrations",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "The integrations", body = IntegrationList),
        (status = 400, description = "Unknown query parameter", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:integrations:list`", body = ErrorBody),
    )
)]
#[get("/integrations")]
async fn list_integrations(
    authorized: Authorized<scope::IntegrationsList>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let integrations = authorized.tenant.list_integrations().await?;
    let data = integrations.into_iter().map(|found| IntegrationView::of(found, &surroundings)).collect();
    Ok(HttpResponse::Ok().json(IntegrationList { data }))
}

/// Create an integration
///
/// The webhook secret is `custom.webhookSecret`: the `clientState` that vouches for notifications of subscriptions that
/// Waypost doesn't track.
#[utoipa::path(
    tag = "Integrations",
    security(("api_key" = [])),
    request_body = Wanted,
    responses(
        (status = 200, description = "The integration", body = IntegrationBody),
        (status = 400, description = "The body is invalid, or the key is taken", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:integrations:create`", body = ErrorBody),
    )
)]
#[post("/integrations")]
async fn create_integration(
    authorized: Authorized<scope::IntegrationsCreate>,
    wanted: Body<Wanted>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let new = wanted.0.check()?;
    let taken = "Unique key already exists";
    let created =
        written(authorized.tenant.create_integration(new).await?, taken, || ApiError::not_found(""))?;
    Ok(HttpResponse::Ok().json(IntegrationBody { data: IntegrationView::of(created, &surroundings) }))
}

/// Get an integration
///
/// `include` may be given once, repeatedly, or as `include[]`. `webhook` adds `webhook_url` (so does any other include);
/// `credentials` adds the app registration and the webhook secret, for keys with
/// `environment:integrations:read_credentials`.
#[utoipa::path(
    tag = "Integrations",
    security(("api_key" = [])),
    params(
        Address,
        ("include" = Option<Vec<String>>, Query, description = "`webhook`, `credentials`"),
    ),
    responses(
        (status = 200, description = "The integration", body = IntegrationBody),
        (status = 400, description = "Unknown query parameter, or unknown include", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:integrations:read`", body = ErrorBody),
        (status = 404, description = "No such integration", body = ErrorBody),
    )
)]
#[get("/integrations/{unique_key}")]
async fn get_integration(
    authorized: Authorized<scope::IntegrationsRead>,
    address: Path<Address>,
    query: Query<Vec<(String, String)>>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let include = Include::parse(&query.0)?;
    let found =
        authorized.tenant.find_integration(&address.0.key()?).await?.ok_or_else(|| address.0.unknown())?;
    let mut credentials = None;
    if include.credentials && authorized.caller.may(Scope::IntegrationsReadCredentials) {
        credentials = Some(read_credentials(&authorized.tenant, &found).await?);
    }
    let url = include.any.then(|| surroundings.ingress_url(found.environment, &found.unique_key));
    let mut view = IntegrationView::of(found, &surroundings);
    view.webhook_url = url;
    view.credentials = credentials;
    Ok(HttpResponse::Ok().json(IntegrationBody { data: view }))
}

async fn read_credentials(tenant: &TenantStore, integration: &Integration) -> Result<Credentials, ApiError> {
    let secret = tenant.webhook_secret(integration.id).await?;
    Ok(Credentials::of(integration, secret.map(|secret| secret.expose_secret().to_owned())))
}

/// Change an integration
///
/// What is absent stays. A key with connections can't be renamed. A webhook secret that is replaced stays valid for
/// `security.secret_grace`; an empty one takes all secrets away at once.
#[utoipa::path(
    tag = "Integrations",
    security(("api_key" = [])),
    params(Address),
    request_body = Changes,
    responses(
        (status = 200, description = "The integration", body = IntegrationBody),
        (status = 400, description = "The body is invalid, the key is taken or can't be changed", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:integrations:update`", body = ErrorBody),
        (status = 404, description = "No such integration", body = ErrorBody),
    )
)]
#[patch("/integrations/{unique_key}")]
async fn update_integration(
    authorized: Authorized<scope::IntegrationsUpdate>,
    address: Path<Address>,
    changes: Body<Changes>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let key = address.0.key()?;
    let changes = changes.0.check()?;
    let grace = surroundings.settings.secret_grace;
    let taken = "uniqueKey is already used by another integration";
    let updated = authorized.tenant.update_integration(&key, changes, grace).await?;
    let updated = written(updated, taken, || address.0.unknown())?;
    Ok(HttpResponse::Ok().json(IntegrationBody { data: IntegrationView::of(updated, &surroundings) }))
}

fn written(
    outcome: Written,
    taken: &str,
    unknown: impl FnOnce() -> ApiError,
) -> Result<Integration, ApiError> {
    let refused =
        |message: &str| ApiError::invalid_body(vec![Issue::at(&["uniqueKey"], "invalid_string", message)]);
    match outcome {
        Written::Done(integration) => Ok(*integration),
        Written::Unknown => Err(unknown()),
        Written::KeyTaken => Err(refused(taken)),
        Written::HasConnections => Err(refused("Can't rename an integration with active connections")),
    }
}

/// Delete an integration
///
/// Its connections are deleted with it, its credentials and secrets are destroyed, and what is on its way is discarded.
#[utoipa::path(
    tag = "Integrations",
    security(("api_key" = [])),
    params(Address),
    responses(
        (status = 200, description = "It is deleted", body = Success),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:integrations:delete`", body = ErrorBody),
        (status = 404, description = "No such integration", body = ErrorBody),
    )
)]
#[delete("/integrations/{unique_key}")]
async fn delete_integration(
    authorized: Authorized<scope::IntegrationsDelete>,
    address: Path<Address>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let unknown = || ApiError::not_found("Integration does not exist");
    let key = UniqueKey::parse(address.0.unique_key).map_err(|_| unknown())?;
    if !authorized.tenant.delete_integration(&key, surroundings.settings.max_age).await? {
        return Err(unknown());
    }
    surroundings.endpoint_changed();
    Ok(Success::response())
}

/// Rotate the webhook secret
///
/// Without `secret` one is made that nobody can guess. The one before stays valid for `grace` (`security.secret_grace`
/// when absent).
#[utoipa::path(
    tag = "Integrations",
    security(("api_key" = [])),
    params(Address),
    request_body = Rotate,
    responses(
        (status = 200, description = "The new secret", body = RotatedView),
        (status = 400, description = "The body is invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:integrations:update`", body = ErrorBody),
        (status = 404, description = "No such integration", body = ErrorBody),
    )
)]
#[post("/integrations/{unique_key}/webhook-secret/rotate")]
async fn rotate_webhook_secret(
    authorized: Authorized<scope::IntegrationsUpdate>,
    address: Path<Address>,
    rotate: Body<Rotate>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let (secret, grace) = rotate.0.check(surroundings.settings.secret_grace)?;
    let rotated = authorized.tenant.rotate_webhook_secret(&address.0.key()?, secret, grace).await?;
    let rotated = rotated.ok_or_else(|| address.0.unknown())?;
    Ok(HttpResponse::Ok().json(RotatedView {
        webhook_secret: rotated.secret.expose_secret().to_owned(),
        previous_valid_until: rotated.previous_valid_until.map(Time::from),
    }))
}

routes![
    list_integrations,
    create_integration,
    get_integration,
    update_integration,
    delete_integration,
    rotate_webhook_secret,
];
