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
use waypost_core::tags::Tags;
use waypost_postgres::connection::{ConnectionChanges, NewConnection};
use waypost_upstream::connect::TENANT;

use super::end_user::EndUser;
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

/// Client credentials.
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
    /// An access token that there is already.
    #[schema(value_type = Option<String>)]
    token: Option<SecretString>,
    /// When that token ends.
    #[serde(default, deserialize_with = "read")]
    expires_at: Option<DateTime<Utc>>,
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
        Ok(NewConnection {
            integration: self.provider_config_key,
            id: self.connection_id.map_or_else(new_id, Ok)?,
            tenant: Some(tenant),
            config,
            credentials,
            metadata: self.metadata,
            changes,
        })
    }
}

/// The tenant that a configuration names. Without one a connection would never get an event, nor a token.
async fn resolve(config: &Map<String, Value>, surroundings: &Surroundings) -> Result<TenantId, ApiError> {
    let refused = |code, message: String| {
        let issue = Issue::at(&["connection_config", TENANT], "custom", message.clone());
        let message = format!("connection_config.{TENANT}: {message}");
        ApiError::Invalid { code, message, issues: vec![issue] }
    };
    match surroundings.connector.resolve_tenant(config).await {
        Ok(Some(tenant)) => Ok(tenant),
        Ok(None) => Err(refused(
            "connection_validation_failed",
            "Required: the id of the customer's Entra tenant (a GUID) or one of its domains".to_owned(),
        )),
        Err(problem) => Err(refused("invalid_body", problem.to_string())),
    }
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
        let mode = integration.provider.auth_mode().as_str();
        if self.kind != mode {
            let message = format!("Provider {mode} does not support {} auth", self.kind);
            return Err(ApiError::invalid_field(&["credentials", "type"], message));
        }
        let parts = [
            ("client_id", self.client_id.as_deref()),
            ("client_secret", self.client_secret.as_ref().map(SecretString::expose_secret)),
            ("token", self.token.as_ref().map(SecretString::expose_secret)),
        ];
        let fits = |text: &str| (1..=LONGEST_CREDENTIAL).contains(&text.len());
        if let Some((name, _)) = parts.into_iter().find(|(_, text)| text.is_some_and(|text| !fits(text))) {
            let message = format!("1 to {LONGEST_CREDENTIAL} bytes are wanted");
            return Err(ApiError::invalid_field(&["credentials", name], message));
        }
        if self.client_id.is_some() != self.client_secret.is_some() {
            return Err(ApiError::invalid_field(&["credentials"], "client_id and client_secret go together"));
        }
        Ok(ClientCredentials {
            client_id: self.client_id,
            client_secret: self.client_secret,
            token: self.token,
            expires_at: self.expires_at,
        })
    }
}
