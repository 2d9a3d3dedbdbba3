//! Entra's error answer: one shape, a number in front of the text and in a list of its own.

use actix_web::{HttpResponse, http::StatusCode};
use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

/// A refusal of the token or metadata endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntraProblem {
    status: StatusCode,
    error: String,
    number: u32,
    text: String,
}

impl EntraProblem {
    pub(crate) fn new(status: StatusCode, error: &str, number: u32, text: impl Into<String>) -> Self {
        Self { status, error: error.to_owned(), number, text: text.into() }
    }

    pub(crate) fn unknown_tenant(name: &str) -> Self {
        let text = format!(
            "Tenant '{}' not found. Check to make sure you have the correct tenant ID and are signing into the \
             correct cloud.",
            shortened(name)
        );
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", 90_002, text)
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        let text = format!("The request body must contain the following parameter: '{parameter}'.");
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", 900_144, text)
    }

    pub(crate) fn unknown_app(client_id: &str, tenant: &str) -> Self {
        let text = format!(
            "Application with identifier '{}' was not found in the directory '{}'. This can happen if the \
             application has not been installed by the administrator of the tenant or consented to by any user in \
             the tenant.",
            shortened(client_id),
            shortened(tenant)
        );
        Self::new(StatusCode::BAD_REQUEST, "unauthorized_client", 700_016, text)
    }

    pub(crate) fn wrong_secret(client_id: Uuid) -> Self {
        let text = format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, \
             not the client secret ID, for a secret added to app '{client_id}'."
        );
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_215, text)
    }

    pub(crate) fn missing_secret() -> Self {
        let text =
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_218, text)
    }

    pub(crate) fn unsupported_grant(grant: &str) -> Self {
        let text = format!("The app requested an unsupported grant type '{}'.", shortened(grant));
        Self::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", 70_003, text)
    }

    pub(crate) fn wrong_scope(scope: &str) -> Self {
        let text = format!(
            "The provided request must include a 'scope' input parameter. The provided value for the input parameter \
             'scope' is not valid. The scope '{}' is not valid.",
            shortened(scope)
        );
        Self::new(StatusCode::BAD_REQUEST, "invalid_scope", 70_011, text)
    }

    /// The answer, stamped with this moment and fresh trace ids.
    pub(crate) fn respond(&self, now: DateTime<Utc>) -> HttpResponse {
        let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
        let timestamp = now.format("%Y-%m-%d %H:%M:%SZ").to_string();
        let description = format!(
            "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}",
            self.number, self.text
        );
        HttpResponse::build(self.status).insert_header(("cache-control", "no-store, no-cache")).json(json!({
            "error": self.error,
            "error_description": description,
            "error_codes": [self.number],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.number),
        }))
    }
}

/// What a caller sent, cut to a length that fits into a message.
fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}
