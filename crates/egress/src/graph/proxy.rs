//! One attempt of a proxied call: the request goes out as it was given, the answer comes back as a stream.
//!
//! Two ways out. The provider's own hosts are trusted and may be on any network; a redirect is followed there as long as
//! it stays on the host. Every other host was written by a customer, so it is judged by the guard, again at each connect,
//! and a redirect is the caller's business. Who may get a token is decided by the caller.
//!
//! Must not retry, log a URL, a header's value or a body, or hold more of a body than one piece of it.

mod answer;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use reqwest::redirect::Policy;
use reqwest::{Body, Client, ClientBuilder};
use tokio::sync::mpsc;
use url::Url;
use waypost_core::delivery::Failure;
use waypost_core::endpoint::EndpointUrl;

pub use answer::{Answer, BrokenOff};

use super::within_host;
use crate::BuildError;
use crate::client::{self, Lifetimes};
use crate::guard::{Guard, GuardedResolver, Refused, Transport};
use crate::webhook::failure;

const LIFETIMES: Lifetimes = Lifetimes { connect: Duration::from_secs(10), idle: Duration::from_secs(30) };

/// Which way a call goes out.
#[derive(Debug, Clone)]
pub enum Way {
    /// To a host of the provider.
    Provider,
    /// To a host that a customer wrote: the base of the call's URL.
    Guarded(EndpointUrl),
}

/// A request but for its body.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// All headers, the authorization included.
    pub headers: HeaderMap,
    /// Which way it goes out.
    pub way: Way,
    /// Whether a compressed answer is unpacked.
    pub decompress: bool,
}

/// What is sent.
#[derive(Debug)]
pub enum Content {
    /// Nothing.
    Empty,
    /// These bytes.
    Whole(Bytes),
    /// Pieces, as they come.
    Streamed(Upload),
}

/// A body that arrives while it is sent.
#[derive(Debug)]
pub struct Upload {
    /// Its pieces; an error breaks the request off, so that half a body is never taken for a whole one.
    pub pieces: mpsc::Receiver<io::Result<Bytes>>,
    /// How many bytes they are, where that is known.
    pub length: Option<u64>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer came: {failure}")]
pub struct Unanswered {
    /// What happened.
    pub failure: Failure,
    /// More about it, for the log; holds no URL.
    #[source]
    pub source: Option<reqwest::Error>,
}

impl From<Refused> for Unanswered {
    fn from(refused: Refused) -> Self {
        Self { failure: failure::NoAnswer::from(refused).to_caller(), source: None }
    }
}

/// Two clients that differ in one thing: what they do to a compressed answer.
#[derive(Debug, Clone)]
struct Door {
    as_it_is: Client,
    unpacking: Client,
}

/// Sends proxied calls, keeping connections alive. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProxyClient {
    guard: Guard,
    provider: Door,
    tls: Door,
    plain: Door,
}

impl Door {
    fn new(builder: impl Fn() -> Result<ClientBuilder, BuildError>) -> Result<Self, BuildError> {
        let unpacking = builder()?.gzip(true).deflate(true).build()?;
        Ok(Self { as_it_is: builder()?.build()?, unpacking })
    }
}

impl ProxyClient {
    /// A client that goes to customers' hosts where `guard` lets it, and trusts `extra_roots` (certificates, DER) beside
    /// the system's.
    ///
    /// # Errors
    /// [`BuildError`] when there are no certificates to trust, or an extra one is malformed.
    pub fn new(guard: Guard, extra_roots: &[Vec<u8>]) -> Result<Self, BuildError> {
        let provider =
            Door::new(|| Ok(client::builder(LIFETIMES, extra_roots)?.redirect(Policy::custom(within_host))))?;
        let guarded = |transport| {
            Door::new(|| {
                Ok(client::builder(LIFETIMES, extra_roots)?
                    .https_only(transport == Transport::Tls)
                    .dns_resolver(GuardedResolver::new(guard.clone(), transport)))
            })
        };
        let (tls, plain) = (guarded(Transport::Tls)?, guarded(Transport::Plain)?);
        Ok(Self { guard, provider, tls, plain })
    }

    /// Judges the base of a call that a customer wrote, before anything is done for it.
    ///
    /// # Errors
    /// [`Refused`] with a reason that can be shown.
    pub async fn check(&self, base: &EndpointUrl) -> Result<(), Refused> {
        self.guard.check_url(base).await
    }

    /// Makes one attempt; the head of its answer must come within `limit`.
    ///
    /// # Errors
    /// [`Unanswered`] when no answer came.
    pub async fn send(&self, call: &Call, content: Content, limit: Duration) -> Result<Answer, Unanswered> {
        let door = match &call.way {
            Way::Provider => &self.provider,
            Way::Guarded(base) => {
                self.guard.check_literal(base)?;
                if Transport::of(base) == Transport::Tls { &self.tls } else { &self.plain }
            }
        };
        let client = if call.decompress { &door.unpacking } else { &door.as_it_is };
        let mut request = client.request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
        request = match content {
            // Some servers want to be told that there is nothing.
            Content::Empty if says_so(&call.method) => request.header(CONTENT_LENGTH, 0),
            Content::Empty => request,
            Content::Whole(bytes) => request.body(bytes),
            Content::Streamed(Upload { mut pieces, length }) => {
                let request = match length {
                    Some(length) => request.header(CONTENT_LENGTH, length),
                    None => request,
                };
                request.body(Body::wrap_stream(stream::poll_fn(move |context| pieces.poll_recv(context))))
            }
        };
        match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(response)) => Ok(Answer::new(response)),
            Ok(Err(error)) => {
                let failure = failure::classify(&error).to_caller();
                Err(Unanswered { failure, source: Some(error.without_url()) })
            }
            Err(_) => Err(Unanswered { failure: Failure::Timeout, source: None }),
        }
    }
}

/// Whether a request of this method is expected to have a body.
fn says_so(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

#[cfg(test)]
mod tests;
