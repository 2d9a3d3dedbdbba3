//! Asking a token endpoint for a token.
//!
//! The form holds secrets and the answer a token: neither is ever logged, and no error holds them.

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::header::{ACCEPT, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use url::Url;
use waypost_core::provider::graph::sign_in::{Granted, Refusal};
use waypost_core::retry;
use waypost_core::token::Trouble;
use zeroize::Zeroizing;

use super::TrustedClient;
use crate::body::{self, Body, Deadline};

/// From the look-up of the name to the last byte.
const LIMIT: Duration = Duration::from_secs(10);
/// Tokens with many roles have some ten thousand characters.
const LARGEST_ANSWER: usize = 256 * 1024;

/// One request for a token.
#[derive(Clone, Copy)]
pub struct TokenRequest<'a> {
    /// Where.
    pub url: &'a Url,
    /// What is said, secrets and all.
    pub form: &'a [(&'static str, &'a str)],
    /// What both sides call this request in their logs.
    pub id: &'a str,
    /// The time, by which a date in `Retry-After` is read.
    pub now: DateTime<Utc>,
}

impl TrustedClient {
    /// Asks for a token.
    ///
    /// # Errors
    /// [`Trouble`] when it is refused, or no answer comes that can be read within ten seconds.
    pub async fn token(&self, request: TokenRequest<'_>) -> Result<Granted, Trouble> {
        let deadline = Deadline::after(LIMIT);
        let sent = self
            .http
            .post(request.url.clone())
            .header(ACCEPT, "application/json")
            .header("client-request-id", request.id)
            .header("return-client-request-id", "true")
            .timeout(LIMIT)
            .form(request.form)
            .send();
        let answer = sent.await.map_err(|error| unreachable_because(&error.without_url()))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let Body { bytes, cut } = body::read(answer, LARGEST_ANSWER, deadline).await;
        let bytes = Zeroizing::new(bytes);
        if status == StatusCode::OK {
            return granted(&bytes, cut);
        }
        Err(Trouble::Refused(Box::new(refusal(status, &headers, &bytes, request))))
    }
}

fn granted(bytes: &[u8], cut: bool) -> Result<Granted, Trouble> {
    let unusable = |what: &str| Trouble::Unreachable(format!("the sign-in host's answer {what}"));
    if cut {
        return Err(unusable("is incomplete"));
    }
    // The parser's error would quote the answer.
    serde_json::from_slice(bytes).map_err(|_| unusable("holds no token"))
}

fn refusal(status: StatusCode, headers: &HeaderMap, bytes: &[u8], request: TokenRequest<'_>) -> Refusal {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let wait = text(RETRY_AFTER.as_str()).and_then(|value| retry::retry_after(value, request.now));
    let mut refusal = Refusal::read(status.as_u16(), bytes, wait);
    let own = |name| text(name).map(|id| id.chars().take(64).collect());
    refusal.trace_id = refusal.trace_id.or_else(|| own("x-ms-request-id"));
    refusal.correlation_id = refusal.correlation_id.or_else(|| Some(request.id.to_owned()));
    let secrets: Vec<&str> =
        request.form.iter().filter(|(name, _)| is_secret(name)).map(|&(_, value)| value).collect();
    refusal.without(&secrets)
}

fn is_secret(name: &str) -> bool {
    matches!(name, "client_secret" | "client_assertion" | "refresh_token" | "code" | "code_verifier")
}

fn unreachable_because(error: &reqwest::Error) -> Trouble {
    tracing::debug!(error = error as &dyn Error, "a token endpoint gave no answer");
    let what = if error.is_timeout() {
        "gave no answer in time"
    } else if error.is_connect() {
        "can't be reached"
    } else {
        "broke the connection off"
    };
    Trouble::Unreachable(format!("the sign-in host {what}: it is tried again"))
}

#[cfg(test)]
mod tests;
