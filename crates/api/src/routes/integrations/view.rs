//! How integrations are shown.

use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;
use waypost_core::integration::Integration;
use waypost_core::provider::graph::fetch::Select;
use waypost_core::proxy::TokenHost;

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
    /// Whether the changed resource is read at each delivery where a notification brings no data.
    fetch_resource: bool,
    /// The properties that are asked for then; only where not all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    fetch_select: Option<Select>,
    /// When the client secret or certificate ends; only where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials_expire_at: Option<Time>,
    /// Only where something is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    integration_config: Option<ConfigView>,
    created_at: Time,
    updated_at: Time,
}

/// Settings of the provider and of calls to it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IntegrationConfigView)]
struct ConfigView {
    /// Hosts beside the provider's own that proxied calls may take a connection's token to.
    #[schema(value_type = Vec<String>)]
    proxy_token_hosts: Vec<TokenHost>,
    /// Whether anybody of an organization that let the app in before may connect it by a link.
    connect_without_admin_proof: bool,
}

impl ConfigView {
    /// What is set, if anything is.
    fn unless_usual(self) -> Option<Self> {
        (self.connect_without_admin_proof || !self.proxy_token_hosts.is_empty()).then_some(self)
    }
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
            fetch_resource: integration.fetch_resource,
            fetch_select: integration.fetch_select,
            credentials_expire_at: integration.credentials.and_then(|app| app.ends_at()).map(Into::into),
            integration_config: ConfigView {
                proxy_token_hosts: integration.proxy_token_hosts,
                connect_without_admin_proof: integration.connect_without_admin_proof,
            }
            .unless_usual(),
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
    /// Only where there is one; its private key is never shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<String>,
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
            client_secret: app
                .and_then(|app| app.client_secret.as_ref())
                .map(|secret| secret.expose_secret().to_owned()),
            client_certificate: app
                .and_then(|app| app.certificate.as_ref())
                .map(|certificate| certificate.certificate.clone()),
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
