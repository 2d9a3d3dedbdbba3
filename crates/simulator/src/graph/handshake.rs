//! The proof that an endpoint wants notifications: a random text is posted in the query and must come back.
//!
//! Real HTTP, one try per URL, no redirects. Must not know what the endpoint will be used for.

use std::time::Duration;

use actix_web::http::StatusCode;
use reqwest::{Client, Response, header::CONTENT_TYPE};
use url::Url;
use uuid::Uuid;

use super::call::Problem;
use crate::outbound;

/// An honest answer is far shorter; reading stops here.
const MAX_ANSWER: usize = 4 * 1024;

/// Proves both URLs at once, within `limit` each.
pub(crate) async fn prove(
    client: &Client,
    url: &Url,
    lifecycle_url: Option<&Url>,
    limit: Duration,
) -> Result<(), Problem> {
    let second = async {
        match lifecycle_url {
            Some(url) => ask(client, url, limit).await,
            None => Ok(()),
        }
    };
    let (first, second) = tokio::join!(ask(client, url, limit), second);
    first.and(second)
}

async fn ask(client: &Client, url: &Url, limit: Duration) -> Result<(), Problem> {
    if !outbound::may_be_reached(url) {
        return Err(failed("Notification endpoint must respond with 200 OK to validation request."));
    }
    let token = format!(
        "Validation: Testing client application reachability for subscription Request-Id: {}",
        Uuid::new_v4()
    );
    let exchange = async {
        let sent =
            client.post(with_token(url, &token)?).header(CONTENT_TYPE, "text/plain; charset=utf-8").send();
        match sent.await {
            Ok(response) => judge(response, &token).await,
            Err(error) => {
                tracing::debug!(%error, "the endpoint could not be reached for its validation");
                Err(failed("Notification endpoint must respond with 200 OK to validation request."))
            }
        }
    };
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
        Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "ValidationError",
            "Subscription validation request timed out.",
        ))
    })
}

async fn judge(mut response: Response, token: &str) -> Result<(), Problem> {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        return Err(failed(&format!("HTTP status code is '{}'.", dotnet_name(status))));
    }
    if status != reqwest::StatusCode::OK {
        return Err(failed("Notification endpoint must respond with 200 OK to validation request."));
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("text/plain") {
        return Err(failed("Response must have the content type 'text/plain'."));
    }
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        answer.extend_from_slice(&chunk);
        if answer.len() > MAX_ANSWER {
            break;
        }
    }
    if answer != token.as_bytes() {
        return Err(failed("Response must exactly match validationToken query parameter."));
    }
    Ok(())
}

fn failed(reason: &str) -> Problem {
    let message = format!("Subscription validation request failed. {reason}");
    Problem::new(StatusCode::BAD_REQUEST, "ValidationError", message)
}

/// The URL with the token behind whatever query it has.
fn with_token(url: &Url, token: &str) -> Result<Url, Problem> {
    let mut text = url.as_str().split('#').next().unwrap_or_default().to_owned();
    text.push(if url.query().is_some() { '&' } else { '?' });
    text.push_str("validationToken=");
    text.push_str(&form_encoded(token));
    Url::parse(&text).map_err(|_| Problem::invalid("NotificationUrl is not valid."))
}

/// Form encoding as .NET does it: `+` for a space, lower-case hex digits.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'*' | b'(' | b')' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                encoded.push('%');
                encoded.push_str(&hex::encode([byte]));
            }
        }
    }
    encoded
}

/// `404 Not Found` as `NotFound`.
fn dotnet_name(status: reqwest::StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => reason.chars().filter(char::is_ascii_alphanumeric).collect(),
        None => status.as_u16().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stands_behind_an_existing_query_in_the_form_seen_in_the_wild() {
        let url = Url::parse("https://relay.example/a?tenant=1").unwrap();
        let asked = with_token(&url, "Validation: a b-c").unwrap();
        assert_eq!(asked.as_str(), "https://relay.example/a?tenant=1&validationToken=Validation%3a+a+b-c");
    }
}
