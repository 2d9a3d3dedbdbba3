//! What is asked of connections, and whether it can be.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;
use waypost_core::connection::{ClientCredentials, ConnectionId};
use waypost_core::id::TenantId;
use waypost_core::integration::{Integration, UniqueKey};
use waypost_core::provider::catalogue::AuthMode;
use waypost_core::tags::Tags;
use waypost_postgres::connection::{ConnectionChanges, NewConnection};
use waypost_upstream::connect::TENANT;

use super::end_user::EndUser;
use crate::credentials;
use crate::error::{ApiError, Issue};
use crate::extract::{as_object, given, given_object};
use crate::nango::null_is_empty;
use crate::surroundings::Surroundings;
use crate::time::read;

/// The longest token, client id or client secret.
const LONGEST_CREDENTIAL: usize = 4096;

/// A connection to make or to replace.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectionCreate)]
pub(super) struct Wanted {
    #[schema(value_type = String, example = "graph-cc")]
    provider_config_key: UniqueKey,
    /// A UUID when absent.
    #[schema(value_type = Option<String>, example = "conn-1")]
    connection_id: Option<ConnectionId>,
    /// `tenantId`, which is required: the Entra tenant's GUID, or one of its domains.
    #[schema(value_type = Object, required)]
    connection_config: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// At most ten; keys are put into lower case.
    #[schema(value_type = Option<Object>)]
    tags: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "as_object")]
    end_user: Option<EndUser>,
    /// Where events of this connection go in place of `primary_url` and `secondary_url`; empty or null takes it away.
    #[serde(default, deserialize_with = "null_is_empty")]
    webhook_url_override: Option<String>,
    #[serde(default, deserialize_with = "as_object")]
    credentials: Option<Credentials>,
}

/// What shall change of a connection; what is absent stays, and null is refused where it is not named.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectionChange)]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "given_object")]
    #[schema(value_type = EndUser)]
    end_user: Option<EndUser>,
    /// In place of all tags before.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Object)]
    tags: Option<Map<String, Value>>,
    /// Empty or null takes it away.
    #[serde(default, deserialize_with = "null_is_empty")]
    webhook_url_override: Option<String>,
}

/// Credentials: `client_id` with `client_secret`, or with `client_certificate` and `client_private_key`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectionCredentials)]
struct Credentials {
    #[serde(rename = "type")]
    #[schema(example = "OAUTH2_CC")]
    kind: String,
    /// The integration's when absent, together with the secret.
    client_id: Option<String>,
    #[schema(value_type = Option<String>)]
    client_secret: Option<SecretString>,
    /// When the client secret ends, to be warned 30 and 7 days ahead.
    client_secret_expires_at: Option<DateTime<Utc>>,
    /// A certificate that is registered with the app (PEM), in place of the secret.
    client_certificate: Option<String>,
    /// Its private key (PEM, without a password). Never shown again.
    #[schema(value_type = Option<String>)]
    client_private_key: Option<SecretString>,
    /// An access token that there is already.
    #[schema(value_type = Option<String>)]
    token: Option<SecretString>,
    /// The same, as `OAUTH2` calls it.
    #[schema(value_type = Option<String>)]
    access_token: Option<SecretString>,
    /// When that token ends. It is used until then; without it a new one is gotten at once.
    #[serde(default, deserialize_with = "read")]
    expires_at: Option<DateTime<Utc>>,
    /// The refresh token of a user's sign-in; for `OAUTH2` only.
    #[schema(value_type = Option<String>)]
    refresh_token: Option<SecretString>,
}

impl Wanted {
    /// The integration that it is for.
    pub(super) const fn integration(&self) -> &UniqueKey {
        &self.provider_config_key
    }

    pub(super) async fn check(
        self,
        integration: &Integration,
        surroundings: &Surroundings,
    ) -> Result<NewConnection, ApiError> {
        let credentials = self
            .credentials
            .map_or_else(|| Ok(ClientCredentials::default()), |given| given.check(integration))?;
        if credentials.client_id.is_none() && integration.credentials.is_none() {
            let message = "client_id and client_secret are wanted here or on the integration";
            return Err(ApiError::invalid_field(&["credentials"], message));
        }
        let changes = Changes {
            end_user: self.end_user,
            tags: self.tags,
            webhook_url_override: self.webhook_url_override,
        };
        let changes = changes.check(surroundings).await?;
        let config = self.connection_config.unwrap_or_default();
        let tenant = resolve(&config, surroundings).await?;
        if tenant.is_none() && integration.provider.auth_mode() != AuthMode::Delegated {
            return Err(refused(
                "connection_validation_failed",
                "Required: the id of the customer's Entra tenant (a GUID) or one of its domains",
            ));
        }
        Ok(NewConnection {
            integration: self.provider_config_key,
            id: self.connection_id.map_or_else(new_id, Ok)?,
            tenant,
            config,
            credentials,
            metadata: self.metadata,
            changes,
        })
    }
}

/// The tenant that a configuration names. An app that signs in by itself can't do without: its connection would never get
/// an event, nor a token. Of a user's sign-in it is known where the user came from.
async fn resolve(
    config: &Map<String, Value>,
    surroundings: &Surroundings,
) -> Result<Option<TenantId>, ApiError> {
    let resolved = surroundings.connector.resolve_tenant(config).await;
    resolved.map_err(|problem| refused("invalid_body", &problem.to_string()))
}

fn refused(code: &'static str, message: &str) -> ApiError {
    let issue = Issue::at(&["connection_config", TENANT], "custom", message);
    let message = format!("connection_config.{TENANT}: {message}");
    ApiError::Invalid { code, message, issues: vec![issue] }
}

fn new_id() -> Result<ConnectionId, ApiError> {
    ConnectionId::parse(Uuid::new_v4().to_string()).map_err(ApiError::internal)
}

impl Changes {
    pub(super) async fn check(self, surroundings: &Surroundings) -> Result<ConnectionChanges, ApiError> {
        let tags = self.tags.map(Tags::parse).transpose();
        let url = self.webhook_url_override.as_deref();
        Ok(ConnectionChanges {
            tags: tags.map_err(|error| {
                ApiError::invalid_body(vec![Issue::at(&["tags"], "custom", error.to_string())])
            })?,
            end_user: self.end_user.map(EndUser::check).transpose()?,
            webhook_url_override: surroundings.checked_change("webhook_url_override", url).await?,
        })
    }
}

impl Credentials {
    fn check(self, integration: &Integration) -> Result<ClientCredentials, ApiError> {
        let mode = integration.provider.auth_mode();
        if !credentials::fits(&self.kind, mode) {
            let message = format!("Provider {} does not support {} auth", mode.as_str(), self.kind);
            return Err(ApiError::invalid_field(&["credentials", "type"], message));
        }
        self.check_lengths()?;
        let refused = |path: &[&str], message: &str| Err(ApiError::invalid_field(path, message));
        if self.refresh_token.is_some() && mode != AuthMode::Delegated {
            return refused(&["credentials", "refresh_token"], "only OAUTH2 has refresh tokens");
        }
        let certificate = credentials::certificate(self.client_certificate, self.client_private_key)?;
        if self.client_id.is_some() != (self.client_secret.is_some() || certificate.is_some()) {
            let message =
                "client_id and client_secret (or client_certificate with client_private_key) go together";
            return refused(&["credentials"], message);
        }
        if mode == AuthMode::Certificate && self.client_id.is_some() && certificate.is_none() {
            return refused(&["credentials", "client_certificate"], "this provider wants a certificate");
        }
        Ok(ClientCredentials {
            client_id: self.client_id,
            client_secret: self.client_secret,
            client_secret_expires_at: self.client_secret_expires_at,
            certificate,
            token: self.token.or(self.access_token),
            expires_at: self.expires_at,
            refresh_token: self.refresh_token,
        })
    }

    fn check_lengths(&self) -> Result<(), ApiError> {
        let text = |secret: &Option<SecretString>| secret.as_ref().map(|text| text.expose_secret().len());
        let parts = [
            ("client_id", self.client_id.as_ref().map(String::len)),
            ("client_secret", text(&self.client_secret)),
            ("token", text(&self.token)),
            ("access_token", text(&self.access_token)),
            ("refresh_token", text(&self.refresh_token)),
        ];
        let fits = |length: usize| (1..=LONGEST_CREDENTIAL).contains(&length);
        match parts.into_iter().find(|(_, length)| length.is_some_and(|length| !fits(length))) {
            Some((name, _)) => {
                let message = format!("1 to {LONGEST_CREDENTIAL} bytes are wanted");
                Err(ApiError::invalid_field(&["credentials", name], message))
            }
            None => Ok(()),
        }
    }
}
