//! `/environment/webhook-settings` and the environment's signing key.

use actix_web::{HttpResponse, get, patch, post, web};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waypost_core::endpoint::EndpointStatus;
use waypost_postgres::webhook_settings::{WebhookChanges, WebhookView};

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, given};
use crate::nango::{Nothing, null_is_empty};
use crate::routes::routes;
use crate::surroundings::Surroundings;

/// An environment's settings for webhooks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookSettings)]
struct SettingsView {
    /// The URL of the endpoint `primary`.
    #[schema(required)]
    primary_url: Option<String>,
    /// The URL of the endpoint `secondary`.
    #[schema(required)]
    secondary_url: Option<String>,
    /// `enabled` or `disabled`; null without a URL. `GET /endpoints` tells why, and since when.
    #[schema(required, value_type = Option<String>, example = "enabled")]
    primary_status: Option<EndpointStatus>,
    /// As `primary_status`, of the endpoint `secondary`.
    #[schema(required, value_type = Option<String>, example = "enabled")]
    secondary_status: Option<EndpointStatus>,
    /// Tell both of created and overridden connections.
    on_auth_creation: bool,
    /// Tell both when a connection's token can't be refreshed, and when it can again.
    on_auth_refresh_error: bool,
    /// Leave `clientState` in forwarded items.
    forward_client_state: bool,
}

impl From<WebhookView> for SettingsView {
    fn from(view: WebhookView) -> Self {
        Self {
            primary_url: view.primary_url,
            secondary_url: view.secondary_url,
            primary_status: view.primary_status,
            secondary_status: view.secondary_status,
            on_auth_creation: view.switches.on_auth_creation,
            on_auth_refresh_error: view.switches.on_auth_refresh_error,
            forward_client_state: view.switches.forward_client_state,
        }
    }
}

/// What shall change; what is absent stays. A URL that is empty or null is taken away; of a switch, null is refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookSettingsChange)]
struct SettingsChange {
    #[serde(default, deserialize_with = "null_is_empty")]
    primary_url: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    secondary_url: Option<String>,
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

impl SettingsChange {
    async fn check(self, surroundings: &Surroundings) -> Result<WebhookChanges, ApiError> {
        let changes = WebhookChanges {
            primary_url: surroundings.checked_change("primary_url", self.primary_url.as_deref()).await?,
            secondary_url: surroundings
                .checked_change("secondary_url", self.secondary_url.as_deref())
                .await?,
            on_auth_creation: self.on_auth_creation,
            on_auth_refresh_error: self.on_auth_refresh_error,
            forward_client_state: self.forward_client_state,
        };
        if changes.is_empty() {
            Err(ApiError::bad_request("invalid_body", "Nothing to update"))
        } else {
            Ok(changes)
        }
    }
}

/// A new signing key.
#[derive(Debug, Serialize, ToSchema)]
struct SigningKeyBody {
    data: SigningKeyView,
}

/// The key of `X-Nango-Signature` and `X-Nango-Hmac-Sha256`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SigningKey)]
struct SigningKeyView {
    webhook_signing_key: String,
}

/// Get the webhook settings
#[utoipa::path(
    tag = "Webhook settings",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "The settings", body = SettingsView),
        (status = 400, description = "Unknown query parameter", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:read`", body = ErrorBody),
    )
)]
#[get("/environment/webhook-settings")]
async fn get_webhook_settings(authorized: Authorized<scope::WebhooksRead>) -> Result<HttpResponse, ApiError> {
    let view = authorized.tenant.webhook_settings().await?;
    Ok(HttpResponse::Ok().json(SettingsView::from(view)))
}

/// Change the webhook settings
///
/// What is on its way to a URL that is taken away is discarded, visibly. A new URL enables an endpoint again that the one
/// before had disabled, by a 410 for instance; one that was disabled by hand stays so.
#[utoipa::path(
    tag = "Webhook settings",
    security(("api_key" = [])),
    request_body = SettingsChange,
    responses(
        (status = 200, description = "The settings", body = SettingsView),
        (status = 400, description = "The body is invalid, or a URL is not allowed", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhooks:write`", body = ErrorBody),
    )
)]
#[patch("/environment/webhook-settings")]
async fn update_webhook_settings(
    authorized: Authorized<scope::WebhooksWrite>,
    change: Body<SettingsChange>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let changes = change.0.check(&surroundings).await?;
    let view = authorized.tenant.update_webhook_settings(&changes).await?;
    surroundings.endpoint_changed();
    Ok(HttpResponse::Ok().json(SettingsView::from(view)))
}

/// Rotate the webhook signing key
///
/// The key before is replaced at once: Nango's signatures know no time of grace. The signatures of Standard Webhooks are
/// rotated per endpoint, with one.
#[utoipa::path(
    tag = "Webhook settings",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "The new key", body = SigningKeyBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:webhook_signing_key:rotate`", body = ErrorBody),
    )
)]
#[post("/environment/webhook-signing-key/rotate")]
async fn rotate_signing_key(
    authorized: Authorized<scope::SigningKeyRotate>,
    _nothing: Body<Nothing>,
) -> Result<HttpResponse, ApiError> {
    let key = authorized.tenant.rotate_signing_key().await?;
    let data = SigningKeyView { webhook_signing_key: key.expose_secret().to_owned() };
    Ok(HttpResponse::Ok().json(SigningKeyBody { data }))
}

routes![get_webhook_settings, update_webhook_settings, rotate_signing_key];
