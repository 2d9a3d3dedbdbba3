//! How connections are shown.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use waypost_core::connection::{ClientCredentials, Connection};
use waypost_postgres::connection::ListedConnection;

use super::end_user::{EndUserView, show};
use crate::time::{nango, nango_with_offset};

/// How a time is spelled.
type Spelling = fn(DateTime<Utc>) -> String;

/// Connections as they are listed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConnectionList {
    pub(super) connections: Vec<ListedView>,
}

/// A connection as it stands in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListedConnection)]
pub(super) struct ListedView {
    id: i64,
    connection_id: String,
    provider_config_key: String,
    provider: String,
    errors: Vec<ConnectionError>,
    #[schema(required)]
    end_user: Option<EndUserView>,
    #[schema(value_type = Object)]
    tags: Value,
    #[schema(value_type = Option<Object>, required)]
    metadata: Option<Value>,
    #[schema(format = DateTime)]
    created: String,
}

/// Something that keeps a connection from working.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConnectionError {
    #[serde(rename = "type")]
    #[schema(example = "auth")]
    kind: &'static str,
    log_id: String,
}

impl From<ListedConnection> for ListedView {
    fn from(listed: ListedConnection) -> Self {
        Self {
            id: listed.key.number(),
            connection_id: listed.connection_id,
            provider_config_key: listed.integration,
            provider: listed.provider,
            errors: Vec::new(),
            end_user: listed.end_user.as_ref().and_then(Value::as_object).map(show),
            tags: listed.tags,
            metadata: listed.metadata,
            created: nango_with_offset(listed.created_at),
        }
    }
}

/// A connection, as Nango shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Connection)]
pub(super) struct ConnectionView {
    id: i64,
    connection_id: String,
    provider_config_key: String,
    provider: String,
    errors: Vec<ConnectionError>,
    #[schema(required)]
    end_user: Option<EndUserView>,
    #[schema(value_type = Object)]
    tags: Map<String, Value>,
    #[schema(value_type = Option<Object>, required)]
    metadata: Option<Map<String, Value>>,
    #[schema(value_type = Object)]
    connection_config: Map<String, Value>,
    #[schema(required)]
    webhook_url_override: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    #[schema(format = DateTime, required)]
    last_fetched_at: Option<String>,
    /// `{"type":"OAUTH2_CC","token","client_id","client_secret","expires_at","raw"}` as far as they are known; `{}` for
    /// those who may not read them.
    #[schema(value_type = Object)]
    credentials: Value,
}

impl ConnectionView {
    /// Shows a connection, with its credentials where those may be `shown`.
    pub(super) fn of(connection: Connection, shown: bool, spelling: Spelling) -> Self {
        let mode = connection.provider.auth_mode().as_str();
        Self {
            id: connection.key.number(),
            connection_id: connection.id.to_string(),
            provider_config_key: connection.integration.into(),
            provider: connection.provider.name().to_owned(),
            errors: Vec::new(),
            end_user: connection.end_user.as_ref().map(show),
            tags: connection.tags,
            metadata: connection.metadata,
            connection_config: connection.connection_config,
            webhook_url_override: connection.webhook_url_override,
            created_at: spelling(connection.created_at),
            updated_at: spelling(connection.updated_at),
            last_fetched_at: connection.last_fetched_at.map(spelling),
            credentials: if shown { credentials(mode, &connection.credentials) } else { json!({}) },
        }
    }
}

/// What is known of a connection's credentials. `raw` is what a token endpoint would have said.
fn credentials(mode: &str, credentials: &ClientCredentials) -> Value {
    let mut shown = Map::from_iter([("type".to_owned(), json!(mode))]);
    let mut show = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown.insert(name.to_owned(), value);
        }
    };
    let token = credentials.token.as_ref().map(SecretString::expose_secret);
    show("token", token.map(|token| json!(token)));
    show("client_id", credentials.client_id.as_ref().map(|id| json!(id)));
    show("client_secret", credentials.client_secret.as_ref().map(|secret| json!(secret.expose_secret())));
    show("expires_at", credentials.expires_at.map(|at| json!(nango(at))));
    show("raw", token.map(|token| json!({ "token_type": "Bearer", "access_token": token })));
    Value::Object(shown)
}
