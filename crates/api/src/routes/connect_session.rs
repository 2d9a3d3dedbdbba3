//! `/connect/session`: a connect session as its own token sees it.
//!
//! Stands beside the environment API: the token is the credential, and opens nothing but its session.

use actix_web::{HttpRequest, HttpResponse, delete, get, web};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use waypost_core::connect::{Defaults, Session, TOKEN_PREFIX};
use waypost_postgres::{Actor, ActorKind, Store};

use crate::auth::bearer;
use crate::error::{ApiError, ErrorBody, Unauthorized};
use crate::routes::routes;
use crate::trace::request_id;

/// A session, as it was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConnectSession)]
struct SessionView {
    data: SessionContent,
}

/// What a session was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConnectSessionContent)]
struct SessionContent {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    end_user: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    organization: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    tags: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    allowed_integrations: Vec<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object, required = false)]
    integrations_config_defaults: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object, required = false)]
    overrides: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_url_override: Option<String>,
    /// Whether it renews a connection that is there already.
    #[serde(rename = "isReconnecting")]
    is_reconnecting: bool,
}

impl SessionContent {
    fn of(session: Session) -> Self {
        let wish = session.wish;
        Self {
            end_user: wish.end_user,
            organization: wish.organization,
            tags: wish.tags,
            allowed_integrations: wish.allowed.iter().map(ToString::to_string).collect(),
            integrations_config_defaults: wish
                .defaults
                .into_iter()
                .filter_map(|(key, defaults)| Some((key.to_string(), shown(defaults)?)))
                .collect(),
            overrides: wish
                .docs
                .into_iter()
                .map(|(key, url)| (key.to_string(), serde_json::json!({ "docs_connect": url })))
                .collect(),
            webhook_url_override: wish.webhook_url_override,
            is_reconnecting: wish.reconnect.is_some(),
        }
    }
}

/// What was set beforehand, without what Waypost found out itself.
fn shown(defaults: Defaults) -> Option<Value> {
    let mut all = Map::new();
    if !defaults.connection_config.is_empty() {
        all.insert("connection_config".to_owned(), Value::Object(defaults.connection_config));
    }
    if !defaults.authorization_params.is_empty() {
        let params = defaults.authorization_params.into_iter();
        let params = params.map(|(name, value)| (name, Value::String(value))).collect();
        all.insert("authorization_params".to_owned(), Value::Object(params));
    }
    if let Some(scopes) = defaults.user_scopes {
        all.insert("user_scopes".to_owned(), Value::String(scopes));
    }
    (!all.is_empty()).then_some(Value::Object(all))
}

async fn session_of(request: &HttpRequest, store: &Store) -> Result<Session, ApiError> {
    let token = bearer(request.headers())?;
    if !token.starts_with(TOKEN_PREFIX) {
        return Err(Unauthorized::NotASession.into());
    }
    let session = store.connect_session_by_token_across_environments(&SecretString::from(token)).await?;
    Ok(session.ok_or(Unauthorized::NotASession)?)
}

/// Read a connect session
///
/// With the session's token.
#[utoipa::path(
    tag = "Connect",
    security(("connect_session" = [])),
    responses(
        (status = 200, description = "The session", body = SessionView),
        (status = 401, description = "No token of an open session", body = ErrorBody),
    )
)]
#[get("/connect/session")]
async fn get_connect_session(
    request: HttpRequest,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let session = session_of(&request, &store).await?;
    Ok(HttpResponse::Ok().json(SessionView { data: SessionContent::of(session) }))
}

/// End a connect session
///
/// With the session's token. Its link leads nowhere from then on.
#[utoipa::path(
    tag = "Connect",
    security(("connect_session" = [])),
    responses(
        (status = 204, description = "It is ended"),
        (status = 401, description = "No token of an open session", body = ErrorBody),
    )
)]
#[delete("/connect/session")]
async fn delete_connect_session(
    request: HttpRequest,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let session = session_of(&request, &store).await?;
    let name = session.wish.end_user_id().unwrap_or("unknown").to_owned();
    let actor = Actor { kind: ActorKind::EndUser, name, request_id: request_id(&request) };
    store.tenant(session.environment, actor).delete_connect_session(session.id).await?;
    Ok(HttpResponse::NoContent().finish())
}

routes![get_connect_session, delete_connect_session];
