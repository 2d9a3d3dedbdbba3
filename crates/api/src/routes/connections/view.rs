//! How connections are shown.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use waypost_core::connection::{ClientCredentials, Connection};
use waypost_core::id::EventId;
use waypost_core::provider::catalogue::AuthMode;
use waypost_core::token::{Failure, HeldToken, Said};
use waypost_postgres::connection::ListedConnection;
use waypost_postgres::grant::SignInFailure;

use super::end_user::{EndUserView, show};
use crate::time::{Time, nango, nango_with_offset};

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
    /// The event that told it; see `GET /events/{id}`.
    log_id: String,
}

impl ConnectionError {
    /// What is shown where a failure was told by `event`.
    fn told(event: Option<EventId>) -> Vec<Self> {
        event.into_iter().map(|event| Self { kind: "auth", log_id: event.to_string() }).collect()
    }
}

/// Why a connection has no new token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CredentialsError {
    /// Who must act: `operator` (the app registration), `tenant` (its administrator), `user` (sign in again),
    /// `configuration` or `defect`; or that it passes: `throttled`, `transient`, `unreachable`.
    #[schema(example = "operator")]
    class: &'static str,
    /// What to do, and what Microsoft said.
    message: String,
    /// Entra's `error`.
    error: String,
    /// Entra's `error_codes`.
    codes: Vec<i64>,
    /// Since when.
    since: DateTime<Utc>,
    /// How often it was tried without success.
    failures: u32,
    /// Before this it is not tried again, unless `force_refresh` is set and the sign-in host didn't ask for patience.
    next_try_at: DateTime<Utc>,
}

impl From<Failure> for CredentialsError {
    fn from(failure: Failure) -> Self {
        Self {
            class: failure.class.as_str(),
            message: failure.description,
            error: failure.error,
            codes: failure.codes,
            since: failure.since,
            failures: failure.count,
            next_try_at: failure.next_try_at,
        }
    }
}

impl From<ListedConnection> for ListedView {
    fn from(listed: ListedConnection) -> Self {
        Self {
            id: listed.key.number(),
            connection_id: listed.connection_id,
            provider_config_key: listed.integration,
            provider: listed.provider,
            errors: ConnectionError::told(listed.failed_event),
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
    /// Why there is no new token; only while that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials_error: Option<CredentialsError>,
    /// When its own client secret or certificate ends; only where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials_expire_at: Option<Time>,
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

/// What is known of a connection's sign-in.
#[derive(Debug, Default)]
pub(super) struct SignedIn {
    /// The token in use.
    pub(super) live: Option<HeldToken>,
    /// Why there is no new one.
    pub(super) failure: Option<SignInFailure>,
}

/// What of the credentials is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing.
    None,
    /// All but the refresh token.
    Usual,
    /// All.
    WithRefreshToken,
}

impl ConnectionView {
    /// Shows a connection.
    pub(super) fn of(connection: Connection, signed_in: SignedIn, shown: Shown, spelling: Spelling) -> Self {
        let credentials = match shown {
            Shown::None => json!({}),
            Shown::Usual | Shown::WithRefreshToken => {
                let refresh = shown == Shown::WithRefreshToken;
                credentials(connection.provider.auth_mode(), &connection.credentials, signed_in.live, refresh)
            }
        };
        let event = signed_in.failure.as_ref().and_then(|failure| failure.event);
        Self {
            id: connection.key.number(),
            connection_id: connection.id.to_string(),
            provider_config_key: connection.integration.into(),
            provider: connection.provider.name().to_owned(),
            errors: ConnectionError::told(event),
            credentials_error: signed_in.failure.map(|failure| failure.failure.into()),
            credentials_expire_at: connection.credentials.ends_at().map(Into::into),
            end_user: connection.end_user.as_ref().map(show),
            tags: connection.tags,
            metadata: connection.metadata,
            connection_config: connection.connection_config,
            webhook_url_override: connection.webhook_url_override,
            created_at: spelling(connection.created_at),
            updated_at: spelling(connection.updated_at),
            last_fetched_at: connection.last_fetched_at.map(spelling),
            credentials,
        }
    }
}

/// What is known of a connection's credentials, the token in use before the one that was brought along. `raw` is what
/// the token endpoint said, or would have said.
fn credentials(
    mode: AuthMode,
    given: &ClientCredentials,
    live: Option<HeldToken>,
    with_refresh_token: bool,
) -> Value {
    let mut shown = Map::from_iter([("type".to_owned(), json!(mode.as_str()))]);
    let mut show = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown.insert(name.to_owned(), value);
        }
    };
    let exposed = |secret: &SecretString| json!(secret.expose_secret());
    let delegated = mode == AuthMode::Delegated;
    let (token, expires_at, said, refresh_token) = match live {
        Some(live) => (Some(live.access_token), live.lifetime.expires_at, live.said, live.refresh_token),
        None => (given.token.clone(), given.expires_at, Said::default(), given.refresh_token.clone()),
    };
    show(if delegated { "access_token" } else { "token" }, token.as_ref().map(exposed));
    if with_refresh_token && delegated {
        show("refresh_token", refresh_token.as_ref().map(exposed));
    }
    show("client_id", given.client_id.as_ref().map(|id| json!(id)));
    show("client_secret", given.client_secret.as_ref().map(exposed));
    show("client_certificate", given.certificate.as_ref().map(|found| json!(found.certificate)));
    show("expires_at", expires_at.map(|at| json!(nango(at))));
    show("raw", token.as_ref().map(|token| raw(&said, token)));
    Value::Object(shown)
}

fn raw(said: &Said, token: &SecretString) -> Value {
    let mut raw = Map::from_iter([
        ("token_type".to_owned(), json!(said.token_type.as_deref().unwrap_or("Bearer"))),
        ("access_token".to_owned(), json!(token.expose_secret())),
    ]);
    let numbers = [("expires_in", said.expires_in), ("ext_expires_in", said.ext_expires_in)];
    raw.extend(numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
    if let Some(scope) = &said.scope {
        raw.insert("scope".to_owned(), json!(scope));
    }
    Value::Object(raw)
}
