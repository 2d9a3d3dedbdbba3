//! What the API answers when it refuses or fails: one enum, one exhaustive match to status and code.
//!
//! Bodies follow Nango: `{"error":{"code","message"}}`, with `errors` where input was invalid. What went wrong inside
//! (the source of an error) is logged once, by the tracing middleware, and has no way into a body.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use waypost_core::provider::graph::error::Said;
use waypost_core::scope::Scope;
use waypost_postgres::StoreError;

/// How long a caller should wait when the store is away.
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// Every refusal and failure of the API.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody known is asking: 401.
    #[error("authentication failed")]
    Unauthorized(#[from] Unauthorized),
    /// Somebody known is asking, who may not: 403.
    #[error("the caller may not do this")]
    Forbidden {
        /// What is missing.
        message: String,
    },
    /// What is asked for isn't there, or isn't this caller's: 404.
    #[error("not found")]
    NotFound {
        /// `not_found` unless the contract names another.
        code: &'static str,
        /// What isn't there.
        message: String,
    },
    /// The path exists, for other methods: 405.
    #[error("the path exists for {allowed} only")]
    MethodNotAllowed {
        /// Those methods, for the header `Allow`.
        allowed: String,
    },
    /// The input is wrong: 400.
    #[error("the input is invalid")]
    Invalid {
        /// `invalid_body`, `invalid_query_params`, or what the contract names.
        code: &'static str,
        /// What is wrong, for people.
        message: String,
        /// What is wrong where; may be empty.
        issues: Vec<Issue>,
    },
    /// The change contradicts what is there: 409.
    #[error("conflict")]
    Conflict {
        /// What kind of conflict.
        code: &'static str,
        /// With what.
        message: String,
    },
    /// The request can be read but not be carried out: 422.
    #[error("unprocessable")]
    Unprocessable {
        /// Why, as a code.
        code: &'static str,
        /// Why.
        message: String,
    },
    /// The body is too large: 413.
    #[error("the body is over {limit} bytes")]
    PayloadTooLarge {
        /// The most bytes that are taken.
        limit: usize,
    },
    /// The body isn't JSON by its content type: 415.
    #[error("the content type isn't JSON")]
    UnsupportedMediaType,
    /// The body is compressed, which isn't taken here: 415.
    #[error("the body is compressed")]
    CompressedBody,
    /// The body took too long to arrive: 408.
    #[error("the body took too long")]
    RequestTimeout,
    /// Nothing proves where a notification comes from: 401.
    #[error("the notification is not verified")]
    Unverified {
        /// What is missing or wrong, as a code.
        code: &'static str,
        /// What is missing or wrong.
        message: &'static str,
    },
    /// Too many requests: 429.
    #[error("too many requests")]
    TooManyRequests {
        /// The method that was used.
        method: String,
        /// The path that was asked.
        path: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// More notifications than an integration may be sent: 429, told as everything of ingress is.
    #[error("too many notifications")]
    TooManyNotifications {
        /// When to come back.
        retry_after: Duration,
    },
    /// There is no token for the connection: 400 where the provider refused, 424 where that passes or it is too soon to
    /// ask again. With the connection (without credentials).
    #[error("there is no token for the connection")]
    InvalidCredentials {
        /// `invalid_credentials` or `connection_refresh_backoff`.
        code: &'static str,
        /// Whether somebody must act; else it passes by itself.
        refused: bool,
        /// What the provider said, fit for strangers.
        message: String,
        /// The connection as Nango shows it.
        payload: Value,
    },
    /// What this needs at the provider isn't to be had: 424.
    #[error("the provider refused what this needs")]
    FailedDependency {
        /// What is missing, as a code.
        code: &'static str,
        /// What is missing, and why.
        message: String,
    },
    /// A provider could not be reached or answered nonsense: 502.
    #[error("the provider could not be reached")]
    BadGateway {
        /// What happened, as a code.
        code: &'static str,
        /// What happened.
        message: String,
    },
    /// Microsoft Graph refused: its status where that means the same here, else 502.
    #[error("Microsoft Graph refused")]
    Graph {
        /// What happened and what helps.
        message: String,
        /// Graph's own words.
        said: Box<Said>,
    },
    /// Try again soon: 503.
    #[error("temporarily unavailable")]
    TemporarilyUnavailable {
        /// When to come back.
        retry_after: Duration,
    },
    /// The store failed: 503 when that passes, else 500.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// Anything that must not happen: 500.
    #[error("the request failed")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

/// Why nobody is known to be asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// There is no `Authorization` header.
    #[error("Authentication failed. The request is missing the Authorization header.")]
    MissingHeader,
    /// The header holds no token.
    #[error("Authentication failed. The Authorization header is malformed.")]
    MalformedHeader,
    /// The token isn't a UUID v4.
    #[error("Authentication failed. The provided secret key is not a UUID v4.")]
    NotAKey,
    /// No such key, or no longer.
    #[error("Authentication failed. The provided authorization header does not match any account.")]
    UnknownKey,
    /// No way to sign in to the admin API is configured.
    #[error("Authentication failed. Admin tokens are not configured: set admin.jwt_secret.")]
    NotConfigured,
    /// The admin token isn't one of ours, or isn't valid any more.
    #[error("Authentication failed. The admin token is not valid or has expired.")]
    InvalidToken,
    /// The token for `/metrics` is missing or wrong.
    #[error("Authentication failed. The metrics token is missing or wrong.")]
    MetricsToken,
    /// The token is none of an open connect session.
    #[error("Authentication failed. The connect session token is not valid or has expired.")]
    NotASession,
}

/// One thing that is wrong in an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Issue {
    /// What kind of mistake: `unrecognized_keys`, `invalid_type`, `invalid_value`, …
    pub code: &'static str,
    /// The mistake, for people.
    pub message: String,
    /// Where: names of fields, from the outside in; an index is written as text.
    pub path: Vec<String>,
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    /// The error.
    error: ErrorContent,
}

/// What an error says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorContent)]
pub struct ErrorContent {
    /// For people; absent in a 429 of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// For programs; never changes its meaning.
    #[schema(value_type = String)]
    code: &'static str,
    /// What is wrong where, for invalid input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<Issue>,
    /// More about it; `{}` in a 401.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    payload: Option<Value>,
    /// Microsoft Graph's own words, where it was Graph that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<GraphWords>,
    /// The method, in a 429 of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// The path, in a 429 of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// An error in the words of Microsoft Graph: what Microsoft's support asks for.
#[derive(Debug, Serialize, ToSchema)]
pub struct GraphWords {
    /// The status of Graph's answer.
    status: u16,
    /// `error.code` of Graph's answer.
    code: String,
    /// `error.message` of Graph's answer.
    message: String,
    /// The id that Graph gave the request.
    request_id: Option<String>,
    /// When, by Graph's clock.
    date: Option<String>,
}

impl From<&Said> for GraphWords {
    fn from(said: &Said) -> Self {
        Self {
            status: said.status,
            code: said.code.clone(),
            message: said.message.clone(),
            request_id: said.request_id.clone(),
            date: said.date.clone(),
        }
    }
}

impl Issue {
    /// A mistake in the field at `path`.
    #[must_use]
    pub fn at(path: &[&str], code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), path: path.iter().map(|&part| part.to_owned()).collect() }
    }
}

impl ApiError {
    /// 404 `not_found`.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound { code: "not_found", message: message.into() }
    }

    /// 400 with a code and no further detail.
    #[must_use]
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { code, message: message.into(), issues: Vec::new() }
    }

    /// 400 `invalid_body` for one field.
    #[must_use]
    pub fn invalid_field(path: &[&str], message: impl Into<String>) -> Self {
        Self::invalid_body(vec![Issue::at(path, "invalid_value", message)])
    }

    /// 400 `invalid_body`.
    #[must_use]
    pub fn invalid_body(issues: Vec<Issue>) -> Self {
        Self::Invalid { code: "invalid_body", message: first_of(&issues), issues }
    }

    /// 400 `invalid_query_params`.
    #[must_use]
    pub fn invalid_query(issues: Vec<Issue>) -> Self {
        Self::Invalid { code: "invalid_query_params", message: first_of(&issues), issues }
    }

    /// 409 with a code.
    #[must_use]
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict { code, message: message.into() }
    }

    /// 403 for a scope that the caller wasn't granted.
    #[must_use]
    pub fn insufficient_scope(scope: Scope) -> Self {
        Self::Forbidden { message: format!("Insufficient scope. Required: {}", scope.as_str()) }
    }

    /// 403 for a person whose role only lets them look.
    #[must_use]
    pub fn operators_only() -> Self {
        Self::Forbidden { message: "This needs the role operator".to_owned() }
    }

    /// 500 for something that must not happen.
    #[must_use]
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// The code in its body.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.status_and_code().1
    }

    const fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized(reason) => (StatusCode::UNAUTHORIZED, reason.code()),
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound { code, .. } => (StatusCode::NOT_FOUND, code),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Invalid { code, .. } | Self::InvalidCredentials { code, refused: true, .. } => {
                (StatusCode::BAD_REQUEST, code)
            }
            Self::Conflict { code, .. } => (StatusCode::CONFLICT, code),
            Self::Unprocessable { code, .. } => (StatusCode::UNPROCESSABLE_ENTITY, code),
            Self::PayloadTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_content_type"),
            Self::CompressedBody => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::Unverified { code, .. } => (StatusCode::UNAUTHORIZED, code),
            Self::TooManyRequests { .. } | Self::TooManyNotifications { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_request")
            }
            Self::InvalidCredentials { code, refused: false, .. } | Self::FailedDependency { code, .. } => {
                (StatusCode::FAILED_DEPENDENCY, code)
            }
            Self::BadGateway { code, .. } => (StatusCode::BAD_GATEWAY, code),
            Self::Graph { said, .. } => (graph_status(said.status), "graph_error"),
            Self::TemporarilyUnavailable { .. } => UNAVAILABLE,
            Self::Store(error) if error.is_passing() => UNAVAILABLE,
            Self::Store(_) | Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        }
    }

    fn message(&self) -> Option<String> {
        Some(match self {
            Self::Unauthorized(reason) => reason.to_string(),
            Self::Forbidden { message }
            | Self::NotFound { message, .. }
            | Self::Invalid { message, .. }
            | Self::Conflict { message, .. }
            | Self::Unprocessable { message, .. }
            | Self::InvalidCredentials { message, .. }
            | Self::FailedDependency { message, .. }
            | Self::BadGateway { message, .. }
            | Self::Graph { message, .. } => message.clone(),
            Self::MethodNotAllowed { allowed } => format!("This path takes {allowed}"),
            Self::PayloadTooLarge { limit } => format!("The body is larger than {limit} bytes"),
            Self::UnsupportedMediaType => "Content-Type header must be application/json".to_owned(),
            Self::CompressedBody => "Send the body as it is, without Content-Encoding".to_owned(),
            Self::RequestTimeout => "The body took too long to arrive".to_owned(),
            Self::Unverified { message, .. } => (*message).to_owned(),
            Self::TooManyRequests { .. } => return None,
            Self::TooManyNotifications { .. } => {
                "This integration is sent more than ingress.rate_limit_per_minute; come back later".to_owned()
            }
            Self::TemporarilyUnavailable { .. } => TRY_AGAIN.to_owned(),
            Self::Store(error) if error.is_passing() => TRY_AGAIN.to_owned(),
            Self::Store(_) | Self::Internal(_) => {
                "The request failed inside Waypost; the log tells more".to_owned()
            }
        })
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. }
            | Self::TooManyNotifications { retry_after }
            | Self::TemporarilyUnavailable { retry_after } => Some(*retry_after),
            Self::Store(error) if error.is_passing() => Some(STORE_PAUSE),
            _ => None,
        }
    }

    fn body(&self) -> ErrorBody {
        let mut content = ErrorContent {
            message: self.message(),
            code: self.code(),
            errors: Vec::new(),
            payload: None,
            graph: None,
            method: None,
            path: None,
        };
        match self {
            Self::Unauthorized(_) => content.payload = Some(Value::Object(serde_json::Map::new())),
            Self::InvalidCredentials { payload, .. } => content.payload = Some(payload.clone()),
            Self::Graph { said, .. } => content.graph = Some(GraphWords::from(said.as_ref())),
            Self::Invalid { issues, .. } => content.errors.clone_from(issues),
            Self::TooManyRequests { method, path, .. } => {
                content.method = Some(method.clone());
                content.path = Some(path.clone());
            }
            _ => {}
        }
        ErrorBody { error: content }
    }
}

const UNAVAILABLE: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
const TRY_AGAIN: &str = "Waypost can't do this right now; try again soon";

impl Unauthorized {
    const fn code(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_auth_header",
            Self::MalformedHeader => "malformed_auth_header",
            Self::NotAKey => "invalid_secret_key_format",
            Self::UnknownKey => "unknown_account",
            Self::NotConfigured => "admin_not_configured",
            Self::InvalidToken => "invalid_token",
            Self::MetricsToken => "invalid_metrics_token",
            Self::NotASession => "invalid_connect_session_token",
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status_and_code().0
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Some(pause) = self.retry_after() {
            let seconds = pause.as_secs().max(1);
            response.insert_header((RETRY_AFTER, seconds));
        }
        if let Self::MethodNotAllowed { allowed } = self {
            response.insert_header((ALLOW, allowed.as_str()));
        }
        response.json(self.body())
    }
}

/// A refusal of Graph that means the same of our caller's request; anything else is between us and Graph.
const fn graph_status(status: u16) -> StatusCode {
    match status {
        // Of a 404: what should be watched isn't there; the path that was called is.
        400 | 404 => StatusCode::BAD_REQUEST,
        403 => StatusCode::FORBIDDEN,
        409 => StatusCode::CONFLICT,
        429 => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// An error and everything below it, for the log.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String can't fail.
        let _written = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

fn first_of(issues: &[Issue]) -> String {
    issues.first().map_or_else(
        || "The input is invalid".to_owned(),
        |issue| {
            let path = issue.path.join(".");
            if path.is_empty() { issue.message.clone() } else { format!("{path}: {}", issue.message) }
        },
    )
}

#[cfg(test)]
mod tests;
