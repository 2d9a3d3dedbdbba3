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

    pub(crate) fn app_disabled(app: Uuid) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "unauthorized_client",
            7_000_112,
            format!("Application '{app}' is disabled."),
        )
    }

    pub(crate) fn single_tenant(app: Uuid) -> Self {
        let text = format!(
            "Application '{app}' is not configured as a multi-tenant application. Usage of the /common endpoint is not \
             supported for such apps."
        );
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", 50_194, text)
    }

    pub(crate) fn expired_secret(app: Uuid) -> Self {
        let text = format!(
            "The provided client secret keys for app '{app}' are expired. Visit the Azure portal to create new keys \
             for your app, or consider using certificate credentials for added security."
        );
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_222, text)
    }

    pub(crate) fn bad_assertion_key(reason: &str) -> Self {
        let text = format!(
            "The certificate with identifier used to sign the client assertion is not registered on application, or \
             the assertion was not signed by it. [Reason - {reason}]"
        );
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", 700_027, text)
    }

    pub(crate) fn malformed_assertion(reason: &str) -> Self {
        let text = format!("JWT token is invalid or malformed. {reason}");
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", 50_027, text)
    }

    pub(crate) fn foreign_assertion() -> Self {
        let text = "Client assertion application identifier doesn't match 'client_id' parameter.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", 700_021, text)
    }

    pub(crate) fn assertion_audience() -> Self {
        let text = "Client assertion audience claim does not match Realm issuer.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", 700_023, text)
    }

    pub(crate) fn assertion_time() -> Self {
        let text = "Client assertion is not within its valid time range.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", 700_024, text)
    }

    pub(crate) fn assertion_type() -> Self {
        let text = "The value of 'client_assertion_type' is not supported.";
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", 90_014, text)
    }

    /// A code, refresh token or person that ends the grant.
    pub(crate) fn invalid_grant(number: u32, text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_grant", number, text)
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

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The number and what it means.
    pub(crate) fn text(&self) -> String {
        format!("AADSTS{}: {}", self.number, self.text)
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

/// The name, status and text that come with a number, for those that a client must tell apart.
pub(crate) fn known(number: u32) -> Option<(u16, &'static str, &'static str)> {
    Some(match number {
        7_000_215 => (401, "invalid_client", "Invalid client secret provided."),
        7_000_222 => (401, "invalid_client", "The provided client secret keys are expired."),
        700_027 => (401, "invalid_client", "Client assertion contains an invalid signature."),
        70_002 => (401, "invalid_client", "Error validating credentials."),
        700_016 | 700_011 => (400, "unauthorized_client", "Application was not found in the directory."),
        7_000_112 => (400, "unauthorized_client", "Application is disabled."),
        70_001 => (400, "unauthorized_client", "The application is not authorized."),
        90_002 => (400, "invalid_request", "Tenant not found."),
        50_194 => (400, "invalid_request", "The application is not configured as multi-tenant."),
        500_011 => (400, "invalid_resource", "The resource principal was not found in the tenant."),
        65_001 => {
            (400, "invalid_grant", "The user or administrator has not consented to use the application.")
        }
        53_003 => (400, "invalid_grant", "Access has been blocked by Conditional Access policies."),
        70_011 => (400, "invalid_scope", "The provided value for the input parameter 'scope' is not valid."),
        28_002 => {
            (400, "invalid_scope", "The provided value for 'scope' is not valid when requesting a token.")
        }
        90_038 | 900_382 | 900_432 => {
            (400, "invalid_request", "The tenant belongs to another national cloud.")
        }
        90_055 => (429, "temporarily_unavailable", "The tenant is throttled: there are too many requests."),
        50_196 => {
            (400, "invalid_grant", "The server terminated an operation because of a client request loop.")
        }
        90_033 | 50_033 | 90_006 | 90_024 | 90_090 => {
            (503, "temporarily_unavailable", "A transient error has occurred. Please try again.")
        }
        700_082 => (400, "invalid_grant", "The refresh token has expired due to inactivity."),
        70_008 => {
            (400, "invalid_grant", "The authorization code or refresh token has expired or been revoked.")
        }
        70_043 => (400, "invalid_grant", "The refresh token is invalid due to sign-in frequency checks."),
        50_173 => (400, "invalid_grant", "The provided grant has expired due to it being revoked."),
        50_076 | 50_079 => (400, "interaction_required", "You must use multi-factor authentication."),
        50_057 => (400, "invalid_grant", "The user account is disabled."),
        54_005 => (400, "invalid_grant", "The authorization code was already redeemed."),
        _ => return None,
    })
}

/// What a caller sent, cut to a length that fits into a message.
fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}
