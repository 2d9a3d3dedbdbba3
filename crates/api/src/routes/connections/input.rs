//! What is asked of connections, and whether it can be.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;
use waypost_core::connection::{ClientCredentials, ConnectionId};
use waypost_core::integration::{Integration, UniqueKey};
use waypost_core::tags::Tags;
use waypost_postgres::connection::{ConnectionChanges, NewConnection};
use waypost_upstream::connect::TENANT;

use super::end_user::EndUser;
use crate::error::{ApiError, Issue};
use crate::extract::as_object;
use crate::surroundings::Surroundings;

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
    /// `tenantId`: the Entra tenant's GUID, or one of its domains.
    #[schema(value_type = Option<Object>)]
    connection_config: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// At most ten; keys are put into lower case.
    #[schema(value_type = Option<Object>)]
    tags: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "as_object")]
    end_user: Option<EndUser>,
    /// Where events of this connection go in place of `primary_url` and `secondary_url`; empty takes it away.
    webhook_url_override: Option<String>,
    #[serde(default, deserialize_with = "as_object")]
    credentials: Option<Credentials>,
}

/// What shall change of a connection; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectionChange)]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "as_object")]
    end_user: Option<EndUser>,
    /// In place of all tags before.
    #[schema(value_type = Option<Object>)]
    tags: Option<Map<String, Value>>,
    /// Empty takes it away.
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
        let tenant = surroundings.connector.resolve_tenant(&config).await.map_err(|problem| {
            let path = ["connection_config", TENANT];
            ApiError::invalid_body(vec![Issue::at(&path, "custom", problem.to_string())])
        })?;
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
