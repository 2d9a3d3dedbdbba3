//! `/connect/sessions`: links by which customers connect in a browser, in Nango's shapes.

mod input;

use std::time::Duration;

use actix_web::http::Method;
use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;
use waypost_core::connect::{TOKEN_PREFIX, Wish};
use waypost_crypto::token::random_secret;
use waypost_postgres::connect_session::NewSession;

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody};
use crate::extract::Body;
use crate::routes::routes;
use crate::surroundings::Surroundings;
use crate::time::nango;

use input::{Again, Wanted};

/// When to come back where an environment has too many sessions: some of them have ended by then.
const PATIENCE: Duration = Duration::from_mins(1);

/// A new session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConnectSessionCreated)]
struct Made {
    data: MadeContent,
}

/// What a new session is used by.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConnectSessionCreatedContent)]
struct MadeContent {
    /// For your own programs; ends with the session.
    #[schema(example = "nango_connect_session_…")]
    token: String,
    /// What the customer opens. Works for half an hour, and makes one connection.
    connect_link: String,
    #[schema(value_type = String)]
    expires_at: String,
}

/// Make a connect session
///
/// Gives a link by which a customer connects in a browser: signs in, lets an administrator consent where the app acts by
/// itself, and so makes a connection. The app registration's redirect URI is `{public_url}/oauth/callback`. Without
/// `allowed_integrations` every integration is offered; one alone is offered at once.
#[utoipa::path(
    tag = "Connect",
    security(("api_key" = [])),
    request_body = Wanted,
    responses(
        (status = 201, description = "The session", body = Made),
        (status = 400, description = "The body is invalid, or an integration doesn't exist", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connect_sessions:write`", body = ErrorBody),
        (status = 429, description = "Too many sessions are open", body = ErrorBody),
    )
)]
#[post("/connect/sessions")]
async fn create_connect_session(
    authorized: Authorized<scope::ConnectSessionsWrite>,
    wanted: Body<Wanted>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let wish = wanted.0.check(&authorized.tenant, &surroundings).await?;
    make(authorized, wish, &surroundings, "/connect/sessions").await
}

/// Make a session that renews a connection
///
/// As `POST /connect/sessions`, for a connection that is there: its sign-in is done again, by an account of the same tenant.
#[utoipa::path(
    tag = "Connect",
    security(("api_key" = [])),
    request_body = Again,
    responses(
        (status = 201, description = "The session", body = Made),
        (status = 400, description = "The body is invalid, or the connection doesn't exist", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:connect_sessions:write`", body = ErrorBody),
        (status = 429, description = "Too many sessions are open", body = ErrorBody),
    )
)]
#[post("/connect/sessions/reconnect")]
async fn create_reconnect_session(
    authorized: Authorized<scope::ConnectSessionsWrite>,
    again: Body<Again>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let wish = again.0.check(&authorized.tenant, &surroundings).await?;
    make(authorized, wish, &surroundings, "/connect/sessions/reconnect").await
}

async fn make(
    authorized: Authorized<scope::ConnectSessionsWrite>,
    wish: Wish,
    surroundings: &Surroundings,
    path: &str,
) -> Result<HttpResponse, ApiError> {
    let token =
        SecretString::from(format!("{TOKEN_PREFIX}{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()));
    let link = random_secret();
    let new = NewSession { token: token.clone(), link: link.clone(), wish };
    let ends: Option<DateTime<Utc>> = authorized.tenant.create_connect_session(new).await?;
    let ends = ends.ok_or_else(|| ApiError::TooManyRequests {
        method: Method::POST.to_string(),
        path: path.to_owned(),
        retry_after: PATIENCE,
    })?;
    let data = MadeContent {
        token: token.expose_secret().to_owned(),
        connect_link: surroundings.below_public_url(&format!("connect/{}", link.expose_secret())),
        expires_at: nango(ends),
    };
    Ok(HttpResponse::Created().json(Made { data }))
}

routes![create_reconnect_session, create_connect_session];
