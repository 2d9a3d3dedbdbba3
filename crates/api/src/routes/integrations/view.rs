//! How integrations are shown.

use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;
use waypost_core::integration::Integration;

use crate::surroundings::Surroundings;
use crate::time::Time;

/// All integrations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IntegrationList {
    pub(super) data: Vec<IntegrationView>,
}

/// One integration.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IntegrationBody {
    pub(super) data: IntegrationView,
}

/// An integration, as Nango shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Integration)]
pub(super) struct IntegrationView {
    unique_key: String,
    provider: String,
    display_name: String,
    logo: String,
    /// Where the provider sends notifications; only with an `include`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) webhook_url: Option<String>,
    /// Only with `include=credentials`, for keys that may read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credentials: Option<Credentials>,
    forward_webhooks: bool,
    created_at: Time,
    updated_at: Time,
}

impl IntegrationView {
    /// Without what has to be asked for.
    pub(super) fn of(integration: Integration, surroundings: &Surroundings) -> Self {
        let provider = integration.provider.name();
        Self {
            unique_key: integration.unique_key.into(),
            provider: provider.to_owned(),
            display_name: integration.display_name.into(),
            logo: surroundings.below_public_url(&format!("images/template-logos/{provider}.svg")),
            webhook_url: None,
            credentials: None,
            forward_webhooks: integration.forward_webhooks,
            created_at: integration.created_at.into(),
            updated_at: integration.updated_at.into(),
        }
    }
}

/// The app registration of an integration, and its webhook secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IntegrationCredentials)]
pub(super) struct Credentials {
    #[serde(rename = "type")]
    #[schema(example = "OAUTH2_CC")]
    kind: &'static str,
    #[schema(required)]
    client_id: Option<String>,
    #[schema(required)]
    client_secret: Option<String>,
    /// Separated by commas.
    #[schema(required)]
    scopes: Option<String>,
    #[schema(required)]
    webhook_secret: Option<String>,
}

impl Credentials {
    pub(super) fn of(integration: &Integration, webhook_secret: Option<String>) -> Self {
        let app = integration.credentials.as_ref();
        Self {
            kind: integration.provider.auth_mode().as_str(),
            client_id: app.map(|app| app.client_id.clone()),
            client_secret: app.map(|app| app.client_secret.expose_secret().to_owned()),
            scopes: app.and_then(|app| app.scopes.clone()),
            webhook_secret,
        }
    }
}

/// A webhook secret that was rotated.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RotatedWebhookSecret)]
pub(super) struct RotatedView {
    /// The new one.
    pub(super) webhook_secret: String,
    /// Until when the one before stays valid; null when there was none.
    #[schema(required)]
    pub(super) previous_valid_until: Option<Time>,
}
