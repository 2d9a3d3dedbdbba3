//! What the proxy answers when there is no answer of the provider: Nango's codes, and its words where it has some.

use std::time::Duration;

use actix_web::HttpRequest;
use waypost_core::proxy::Fault;
use waypost_egress::guard::Refused;
use waypost_upstream::proxy::ProxyError;
use waypost_upstream::subscriptions::SubscriptionError;
use waypost_upstream::tokens::TokenError;

use crate::error::{ApiError, Issue};

const FORBIDDEN: &str = "base_url_override_not_allowed";
const UNREACHABLE: &str = "upstream_unreachable";
/// When to come back where places are taken.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn invalid_headers(faults: Vec<Fault>) -> ApiError {
    let issue = |fault: Fault| Issue { code: fault.code, message: fault.message, path: vec![fault.header] };
    let issues: Vec<Issue> = faults.into_iter().map(issue).collect();
    let names: Vec<&str> = issues.iter().filter_map(|issue| issue.path.first().map(String::as_str)).collect();
    let message = format!("These headers are missing or invalid: {}", names.join(", "));
    ApiError::Invalid { code: "invalid_headers", message, issues }
}

pub(super) fn unknown_integration() -> ApiError {
    let message = "Provider config not found for the given provider config key. Please make sure the provider config exists \
                   in the Nango dashboard.";
    ApiError::NotFound { code: "unknown_provider_config", message: message.to_owned() }
}

pub(super) fn unknown_connection() -> ApiError {
    ApiError::bad_request("server_error", "Failed to get connection")
}

/// What a caller is told of `error`.
pub(super) fn of(error: ProxyError, request: &HttpRequest) -> ApiError {
    match error {
        ProxyError::Base(error) => ApiError::bad_request(FORBIDDEN, error.to_string()),
        ProxyError::Target(error) => ApiError::bad_request("invalid_uri_params", error.to_string()),
        ProxyError::HostNotAllowed => {
            let message = "Base-Url-Override names a host that is not the provider's: allow it in the integration's \
                           integration_config.proxy_token_hosts, or bring your own Nango-Proxy-Authorization";
            ApiError::bad_request(FORBIDDEN, message)
        }
        ProxyError::Closed(refused @ (Refused::Unresolved | Refused::Slow)) => {
            ApiError::BadGateway { code: UNREACHABLE, message: refused.to_string() }
        }
        ProxyError::Closed(refused) => ApiError::bad_request(FORBIDDEN, refused.to_string()),
        ProxyError::ConnectionBusy => ApiError::TooManyRequests {
            method: request.method().to_string(),
            path: "/proxy".to_owned(),
            retry_after: PAUSE,
        },
        ProxyError::Busy => ApiError::TemporarilyUnavailable { retry_after: PAUSE },
        ProxyError::Token(error) => token(error),
        ProxyError::Unanswered(error) => {
            tracing::warn!(error = crate::error::chain(&error), "the provider gave no answer");
            ApiError::BadGateway {
                code: UNREACHABLE,
                message: format!("The provider gave no answer: {}", error.failure),
            }
        }
        ProxyError::Subscription(error) => subscription(*error),
        ProxyError::CutOff => {
            ApiError::BadGateway { code: UNREACHABLE, message: "The provider's answer broke off".to_owned() }
        }
        ProxyError::Store(error) => error.into(),
    }
}

fn token(error: TokenError) -> ApiError {
    let message = format!("Failed to get connection credentials: '{}'", error.message());
    let again = error.next_try().unwrap_or_default();
    match error {
        TokenError::UnknownConnection => unknown_connection(),
        TokenError::NoTenant | TokenError::NoCredentials | TokenError::Refused { .. } => {
            ApiError::bad_request("server_error", message)
        }
        TokenError::CoolingDown { .. } => {
            let words = error.message();
            let message =
                format!("A recent refresh attempt failed. Backing off before retrying. {words}; {again}");
            ApiError::FailedDependency { code: "connection_refresh_backoff", message }
        }
        TokenError::Unreachable { .. } => ApiError::BadGateway { code: UNREACHABLE, message },
        TokenError::Store(error) => ApiError::internal(error),
    }
}

fn subscription(error: SubscriptionError) -> ApiError {
    match error {
        SubscriptionError::Token(error) => token(error),
        SubscriptionError::UnknownConnection => unknown_connection(),
        error => error.into(),
    }
}
