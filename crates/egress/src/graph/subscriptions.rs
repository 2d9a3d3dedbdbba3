//! The subscriptions of Graph: create, change, delete, read, list, reauthorize. One call each, no retries.
//!
//! What came of a call is told by type: the answer, a refusal with Graph's words, or that nobody knows (the answer was
//! cut off, late or unreadable), which is not the same as a failure. Must not decide what to do then.

mod answer;

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;
use waypost_core::id::uuid_at;
use waypost_core::provider::graph::error::{Trouble, classify};

pub use answer::GraphSubscription;

use super::TrustedClient;
use crate::body::{self, Deadline};

/// How long a call may take whose answer waits for our own endpoint's.
const WITH_HANDSHAKE: Duration = Duration::from_mins(1);
/// How long any other call may take.
const WITHOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;
/// The most pages of a list.
const MOST_PAGES: usize = 200;

/// Where Graph is, and as whom it is called.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// Graph's base URL, without a version.
    pub graph: &'a Url,
    /// The access token.
    pub token: &'a SecretString,
    /// The time, for ids and for dates in answers.
    pub now: DateTime<Utc>,
}

/// Why there is no answer to work with.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Graph refused or failed, and said so.
    #[error("Graph answered {}", .0.said.status)]
    Refused(Box<Trouble>),
    /// The request never reached Graph: nothing was done.
    #[error("Graph can't be reached")]
    Unreachable(#[source] Option<reqwest::Error>),
    /// The request went out and no usable answer came: it may have been done.
    #[error("Graph gave no clear answer")]
    Unclear(#[source] Option<reqwest::Error>),
}

impl CallError {
    /// Whether what was asked for may have been done.
    #[must_use]
    pub fn leaves_unclear(&self) -> bool {
        match self {
            Self::Refused(trouble) => trouble.meaning.leaves_unclear(),
            Self::Unreachable(_) => false,
            Self::Unclear(_) => true,
        }
    }
}

/// What a subscription becomes; `None` leaves a part as it is.
#[derive(Debug, Clone, Default)]
pub struct Patch<'a> {
    /// Until when it shall live.
    pub expires_at: Option<DateTime<Utc>>,
    /// Where notifications go.
    pub notification_url: Option<&'a str>,
    /// The label and the certificate, base64 of its DER.
    pub certificate: Option<(&'a str, &'a str)>,
}

impl TrustedClient {
    /// Creates a subscription. Graph calls its URLs before it answers.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create_subscription(
        &self,
        at: At<'_>,
        body: &Map<String, Value>,
        prefer: &[String],
    ) -> Result<GraphSubscription, CallError> {
        let request = self.graph_call(at, Method::POST, "")?;
        let request = prefer.iter().fold(request, |request, value| request.header("prefer", value));
        let (_, bytes) = finished(with_json(request, &json!(body)), at, WITH_HANDSHAKE).await?;
        GraphSubscription::read(&bytes).ok_or(CallError::Unclear(None))
    }

    /// Changes a subscription, and thereby authorizes it again.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn patch_subscription(
        &self,
        at: At<'_>,
        id: Uuid,
        patch: &Patch<'_>,
    ) -> Result<GraphSubscription, CallError> {
        let request = self.graph_call(at, Method::PATCH, &format!("/{id}"))?;
        let (_, bytes) = finished(with_json(request, &patch.body()), at, WITH_HANDSHAKE).await?;
        GraphSubscription::read(&bytes).ok_or(CallError::Unclear(None))
    }

    /// Deletes a subscription. One that is gone already is an error with the meaning `Gone`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn delete_subscription(&self, at: At<'_>, id: Uuid) -> Result<(), CallError> {
        let request = self.graph_call(at, Method::DELETE, &format!("/{id}"))?;
        finished(request, at, WITHOUT).await.map(drop)
    }

    /// Reads a subscription, its `clientState` included.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get_subscription(&self, at: At<'_>, id: Uuid) -> Result<GraphSubscription, CallError> {
        let request = self.graph_call(at, Method::GET, &format!("/{id}"))?;
        let (_, bytes) = finished(request, at, WITHOUT).await?;
        GraphSubscription::read(&bytes).ok_or(CallError::Unclear(None))
    }

    /// All subscriptions of the calling identity, page by page to the end; without their `clientState`.
    ///
    /// # Errors
    /// [`CallError`]; also when there are more pages than can be.
    pub async fn list_subscriptions(&self, at: At<'_>) -> Result<Vec<GraphSubscription>, CallError> {
        let first = subscriptions_url(at.graph, "").ok_or(CallError::Unreachable(None))?;
        let mut next = Some(first.clone());
        let mut found = Vec::new();
        for _ in 0..MOST_PAGES {
            let Some(url) = next else { return Ok(found) };
            let (_, bytes) = finished(self.signed(at, Method::GET, url), at, WITHOUT).await?;
            let page = answer::Page::read(&bytes).ok_or(CallError::Unclear(None))?;
            found.extend(page.value);
            next = match page.next {
                None => None,
                // A token goes to Graph and nowhere else, whatever a page says.
                Some(link) => {
                    let link = Url::parse(&link).ok().filter(|link| link.origin() == first.origin());
                    Some(link.ok_or(CallError::Unclear(None))?)
                }
            };
        }
        Err(CallError::Unclear(None))
    }

    /// Authorizes a subscription again without changing its end.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn reauthorize_subscription(&self, at: At<'_>, id: Uuid) -> Result<(), CallError> {
        let request = self.graph_call(at, Method::POST, &format!("/{id}/reauthorize"))?;
        finished(request.header("content-length", "0"), at, WITHOUT).await.map(drop)
    }

    fn graph_call(&self, at: At<'_>, method: Method, path: &str) -> Result<RequestBuilder, CallError> {
        let url = subscriptions_url(at.graph, path).ok_or(CallError::Unreachable(None))?;
        Ok(self.signed(at, method, url))
    }

    pub(super) fn signed(&self, at: At<'_>, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url).bearer_auth(at.token.expose_secret());
        // Ours, so that support can find a call whose answer never came.
        request.header("client-request-id", uuid_at(at.now).to_string()).header(ACCEPT, "application/json")
    }
}

impl Patch<'_> {
    fn body(&self) -> Value {
        let mut body = Map::new();
        if let Some(end) = self.expires_at {
            body.insert("expirationDateTime".to_owned(), json!(timestamp(end)));
        }
        if let Some(url) = self.notification_url {
            body.insert("notificationUrl".to_owned(), json!(url));
        }
        if let Some((label, certificate)) = self.certificate {
            body.insert("encryptionCertificateId".to_owned(), json!(label));
            body.insert("encryptionCertificate".to_owned(), json!(certificate));
        }
        Value::Object(body)
    }
}

/// A time as Graph takes it.
#[must_use]
pub fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn subscriptions_url(graph: &Url, path: &str) -> Option<Url> {
    Url::parse(&format!("{}/v1.0/subscriptions{path}", graph.as_str().trim_end_matches('/'))).ok()
}

fn with_json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/json").body(body.to_string())
}

/// Sends a request and reads its whole answer; what is no success is a refusal.
async fn finished(
    request: RequestBuilder,
    at: At<'_>,
    limit: Duration,
) -> Result<(StatusCode, Vec<u8>), CallError> {
    let deadline = Deadline::after(limit);
    let answer = request.timeout(limit).send().await.map_err(|error| {
        // What fails while connecting was never sent.
        if error.is_connect() || error.is_builder() {
            CallError::Unreachable(Some(error))
        } else {
            CallError::Unclear(Some(error))
        }
    })?;
    let status = answer.status();
    let retry_after =
        answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request_id =
        answer.headers().get("request-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let read = body::read(answer, LARGEST_ANSWER, deadline).await;
    if status.is_success() {
        return if read.cut { Err(CallError::Unclear(None)) } else { Ok((status, read.bytes)) };
    }
    let mut trouble = classify(status.as_u16(), retry_after.as_deref(), &read.bytes, at.now);
    trouble.said.request_id = trouble.said.request_id.or(request_id);
    Err(CallError::Refused(Box::new(trouble)))
}

#[cfg(test)]
mod tests;
