//! Reading resources of Graph: one by itself, or up to 20 in one `$batch`. One call each, no retries.
//!
//! Which paths may be read was decided where they were made ([`Target`]); here the address is checked once more, since
//! the token goes along. Answers are capped; what came of each is told by type. Must not keep content, or write it
//! anywhere.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::Url;
use waypost_core::provider::graph::error::{Trouble, classify};
use waypost_core::provider::graph::fetch::{Select, Target, Version};
use zeroize::Zeroizing;

use super::TrustedClient;
use super::subscriptions::At;
use crate::body::{self, Deadline};

/// The largest resource that is read.
pub const LARGEST_RESOURCE: usize = 1024 * 1024;
/// The largest answer to a batch that is read.
const LARGEST_BATCH: usize = 4 * 1024 * 1024;
/// The most resources of one batch.
pub const MOST_PARTS: usize = 20;
/// Ids that survive a move to another folder.
const IMMUTABLE_IDS: &str = "IdType=\"ImmutableId\"";

/// What came of reading a resource.
#[derive(Debug)]
pub enum Answer {
    /// Its JSON.
    Found(Content),
    /// There is more of it than is read.
    TooLarge,
    /// Graph refused or failed, and said so.
    Refused(Box<Trouble>),
    /// No usable answer came.
    None,
}

/// The bytes of a resource. Wiped when dropped; its `Debug` keeps them to itself.
pub struct Content(Zeroizing<Vec<u8>>);

impl Content {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content([redacted])")
    }
}

/// A batch's answer.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    responses: Vec<Part<'a>>,
}

/// What a batch answers to one of its parts.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    status: u16,
    #[serde(default)]
    headers: HashMap<String, Value>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// A whole answer.
struct Whole {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Zeroizing<Vec<u8>>,
    /// Whether there was more than is read.
    too_large: bool,
}

impl TrustedClient {
    /// Reads one resource, within `limit`.
    pub async fn read_resource(
        &self,
        at: At<'_>,
        target: &Target,
        select: Option<&Select>,
        limit: Duration,
    ) -> Answer {
        let Some(url) = below(at.graph, target.version(), &target.path_and_query(select)) else {
            return Answer::None;
        };
        let request = self.signed(at, Method::GET, url);
        let request =
            if target.wants_immutable_ids() { request.header("prefer", IMMUTABLE_IDS) } else { request };
        match whole(request, LARGEST_RESOURCE, limit).await {
            Some(answer) if answer.status.is_success() && answer.too_large => Answer::TooLarge,
            Some(answer) if answer.status.is_success() => Answer::Found(Content(answer.bytes)),
            Some(answer) => Answer::Refused(answer.trouble(at)),
            None => Answer::None,
        }
    }

    /// Reads up to [`MOST_PARTS`] resources of one version in one call, within `limit`. `None` when together they are
    /// larger than what is read: each by itself may not be.
    pub async fn read_resources(
        &self,
        at: At<'_>,
        targets: &[&Target],
        select: Option<&Select>,
        limit: Duration,
    ) -> Option<Vec<Answer>> {
        let all = |answer: fn() -> Answer| Some(targets.iter().map(|_| answer()).collect());
        let version = targets.first().map_or(Version::V1, |target| target.version());
        let Some(url) = below(at.graph, version, "/$batch") else { return all(|| Answer::None) };
        let request = self.signed(at, Method::POST, url).header(CONTENT_TYPE, "application/json");
        let Some(answer) = whole(request.body(batch_of(targets, select)), LARGEST_BATCH, limit).await else {
            return all(|| Answer::None);
        };
        if !answer.status.is_success() {
            let trouble = answer.trouble(at);
            return Some(targets.iter().map(|_| Answer::Refused(trouble.clone())).collect());
        }
        if answer.too_large {
            return None;
        }
        let Ok(batch) = serde_json::from_slice::<Batch<'_>>(&answer.bytes) else {
            return all(|| Answer::None);
        };
        let mut answers: HashMap<Cow<'_, str>, Part<'_>> =
            batch.responses.into_iter().map(|part| (part.id.clone(), part)).collect();
        let one =
            |n: usize| answers.remove(n.to_string().as_str()).map_or(Answer::None, |part| part.answer(at));
        Some((0..targets.len()).map(one).collect())
    }
}

impl Part<'_> {
    fn answer(&self, at: At<'_>) -> Answer {
        let body = self.body.map_or("", RawValue::get);
        match StatusCode::from_u16(self.status) {
            Ok(status) if status.is_success() && body.len() > LARGEST_RESOURCE => Answer::TooLarge,
            Ok(status) if status.is_success() => {
                Answer::Found(Content(Zeroizing::new(body.as_bytes().to_vec())))
            }
            _ => {
                let named = |(name, _): &(&String, &Value)| name.eq_ignore_ascii_case("retry-after");
                // A number at times, though headers are texts.
                let retry_after = self.headers.iter().find(named).map(|(_, value)| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                Answer::Refused(Box::new(classify(
                    self.status,
                    retry_after.as_deref(),
                    body.as_bytes(),
                    at.now,
                )))
            }
        }
    }
}

impl Whole {
    fn trouble(&self, at: At<'_>) -> Box<Trouble> {
        let retry_after = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Box::new(classify(self.status.as_u16(), retry_after, &self.bytes, at.now))
    }
}

/// The address of a path of Graph; `None` when it wouldn't be Graph's.
fn below(graph: &Url, version: Version, path: &str) -> Option<Url> {
    let base = format!("{}/{}", graph.as_str().trim_end_matches('/'), version.as_str());
    let whole = format!("{base}{path}");
    let url = Url::parse(&whole).ok()?;
    (url.origin() == graph.origin() && url.as_str() == whole).then_some(url)
}

fn batch_of(targets: &[&Target], select: Option<&Select>) -> String {
    let parts: Vec<Value> = targets
        .iter()
        .enumerate()
        .map(|(n, target)| {
            let mut part =
                json!({ "id": n.to_string(), "method": "GET", "url": target.path_and_query(select) });
            if target.wants_immutable_ids() {
                part["headers"] = json!({ "Prefer": IMMUTABLE_IDS });
            }
            part
        })
        .collect();
    json!({ "requests": parts }).to_string()
}

/// The whole answer to a request; `None` when none came in time, or it broke off.
async fn whole(request: RequestBuilder, most: usize, limit: Duration) -> Option<Whole> {
    let deadline = Deadline::after(limit);
    let answer = request.timeout(limit).send().await.ok()?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = body::read(answer, most, deadline).await;
    let too_large = body.cut && body.bytes.len() == most;
    (too_large || !body.cut).then(|| Whole { status, headers, bytes: Zeroizing::new(body.bytes), too_large })
}

#[cfg(test)]
mod tests;
