//! What a sender is told: the verdicts of ingress as answers of the API.
//!
//! Must not tell a stranger more than the codes say, nor repeat what was sent.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ContentType, X_CONTENT_TYPE_OPTIONS};
use waypost_core::provider::Answer;

use super::address::{LONGEST_TOKEN, PathFault, TokenFault};
use super::body::BodyFault;
use crate::error::{ApiError, Issue};

/// When a sender may come again after "not now".
const PAUSE: Duration = Duration::from_secs(5);

/// The answer to a verdict, and the word for it in metrics.
pub(super) fn answer(verdict: Answer) -> Result<(HttpResponse, &'static str), ApiError> {
    match verdict {
        Answer::Accepted => Ok((HttpResponse::new(StatusCode::ACCEPTED), "accepted")),
        Answer::Challenge(text) => Ok((echo(text), "challenge")),
        Answer::InvalidJson(message) => Err(ApiError::bad_request("invalid_json", message)),
        Answer::InvalidPayload(message) => Err(ApiError::bad_request("invalid_payload", message)),
        Answer::InvalidSignature => Err(ApiError::Unverified {
            code: "invalid_signature",
            message: "The webhook's signature is missing or wrong",
        }),
        Answer::SecretNotConfigured => Err(ApiError::Unverified {
            code: "webhook_secret_not_configured",
            message: "Set the integration's webhook secret; without one nothing can be verified",
        }),
        Answer::UnknownEnvironment => Err(unknown("unknown_environment", "There is no such environment")),
        Answer::UnknownIntegration => Err(unknown("unknown_provider_config", "There is no such integration")),
    }
}

/// The caller's own text as an answer: as plain text and nothing else, whatever a browser thinks it looks like.
pub(super) fn echo(text: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::plaintext())
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(text)
}

/// It can't be stored now.
pub(super) const fn unavailable() -> ApiError {
    ApiError::TemporarilyUnavailable { retry_after: PAUSE }
}

pub(super) fn path(faults: &[PathFault]) -> ApiError {
    let issues: Vec<Issue> = faults
        .iter()
        .map(|fault| match fault {
            PathFault::Environment => Issue::at(&["environmentUuid"], "invalid_format", "Invalid UUID"),
            PathFault::UniqueKey => Issue::at(
                &["providerConfigKey"],
                "invalid_format",
                "1 to 255 characters out of a-z, A-Z, 0-9, ~ : . @ _ - and space",
            ),
        })
        .collect();
    let message = "The path does not name an environment and an integration".to_owned();
    ApiError::Invalid { code: "invalid_uri_params", message, issues }
}

pub(super) fn token(fault: TokenFault) -> ApiError {
    let message = match fault {
        TokenFault::Empty => "validationToken is empty".to_owned(),
        TokenFault::TooLong => format!("validationToken is longer than {LONGEST_TOKEN} bytes"),
        TokenFault::NotText => "validationToken is not UTF-8".to_owned(),
        TokenFault::Repeated => "validationToken is given more than once".to_owned(),
    };
    ApiError::bad_request("invalid_validation_token", message)
}

pub(super) fn body(fault: BodyFault, most: usize) -> ApiError {
    match fault {
        BodyFault::TooLarge => ApiError::PayloadTooLarge { limit: most },
        BodyFault::TooSlow => ApiError::RequestTimeout,
        BodyFault::BrokenOff => ApiError::bad_request("incomplete_body", "The body broke off"),
        BodyFault::Busy => unavailable(),
    }
}

fn unknown(code: &'static str, message: &str) -> ApiError {
    ApiError::NotFound { code, message: message.to_owned() }
}
