//! One attempt: a signed POST to a URL that a customer wrote, and what came of it.
//!
//! Nothing on the other side is trusted. One deadline covers everything from the look-up of the name to the end of the
//! answer; the status line decides, so a body that drips, breaks off or never ends only costs its own bytes.
//!
//! Must not retry, follow a redirect, or log a body, a header's value or a URL.

pub(crate) mod failure;
mod request;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use http::header::{RETRY_AFTER, SET_COOKIE};
use reqwest::Client;
use waypost_core::delivery::{Failure, KEPT_BODY, Message, Outcome, Response, Target};
use waypost_core::id::DeliveryId;
use waypost_core::retry;

use crate::BuildError;
use crate::body::{self, Deadline};
use crate::client::{self, Lifetimes};
use crate::guard::{Guard, GuardedResolver, Transport};

use self::failure::NoAnswer;

/// The most headers of an answer that are kept, and the most bytes that they may have together.
const KEPT_HEADERS: usize = 64;
const KEPT_HEADER_BYTES: usize = 16 * 1024;

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Config {
    /// `delivery.timeout`: from connect to the end of the answer.
    pub timeout: Duration,
    /// `delivery.connect_timeout`: name, TCP and TLS.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept; then the name is looked up and judged again.
    pub idle_timeout: Duration,
    /// Certificates (DER) that are trusted beside the system's.
    pub extra_roots: Vec<Vec<u8>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            extra_roots: Vec::new(),
        }
    }
}

/// Which attempt it is.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// When it begins: the `webhook-timestamp`.
    pub at: DateTime<Utc>,
}

/// No request was made, and nothing is known of the endpoint: the process looks up too many names just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many names of hosts are being looked up just now")]
pub struct Overloaded;

/// Sends to customers' URLs, keeping connections alive. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WebhookClient {
    guard: Guard,
    /// `https`, to every allowed address.
    tls: Client,
    /// `http`, only into networks that the operator opened.
    plain: Client,
    timeout: Duration,
}

impl WebhookClient {
    /// A client that goes where `guard` lets it.
    ///
    /// # Errors
    /// [`BuildError`] when there are no certificates to trust, or an extra one is malformed.
    pub fn new(guard: Guard, config: &Config) -> Result<Self, BuildError> {
        let lifetimes = Lifetimes { connect: config.connect_timeout, idle: config.idle_timeout };
        let client = |transport| -> Result<Client, BuildError> {
            Ok(client::builder(lifetimes, &config.extra_roots)?
                .https_only(transport == Transport::Tls)
                .dns_resolver(GuardedResolver::new(guard.clone(), transport))
                .build()?)
        };
        let (tls, plain) = (client(Transport::Tls)?, client(Transport::Plain)?);
        Ok(Self { guard, tls, plain, timeout: config.timeout })
    }

    /// Makes one attempt. Whatever happens becomes an [`Outcome`], within the timeout.
    ///
    /// # Errors
    /// [`Overloaded`] when no attempt was made.
    pub async fn send(
        &self,
        target: &Target,
        message: &Message,
        stamp: Stamp,
    ) -> Result<Outcome, Overloaded> {
        let deadline = Deadline::after(self.timeout);
        match self.answer(target, message, stamp, deadline).await {
            Ok(answer) => {
                let now = stamp.at + TimeDelta::from_std(deadline.elapsed()).unwrap_or_default();
                Ok(keep(answer, now, deadline).await)
            }
            Err(NoAnswer::Overloaded) => Err(Overloaded),
            Err(NoAnswer::Failed(failure)) => {
                tracing::debug!(endpoint.id = %target.endpoint, delivery.id = %stamp.delivery, %failure, "no answer");
                Ok(Outcome::Failed(failure))
            }
        }
    }

    async fn answer(
        &self,
        target: &Target,
        message: &Message,
        stamp: Stamp,
        deadline: Deadline,
    ) -> Result<reqwest::Response, NoAnswer> {
        self.guard.check_literal(&target.url).map_err(NoAnswer::from)?;
        let client = match Transport::of(&target.url) {
            Transport::Tls => &self.tls,
            Transport::Plain => &self.plain,
        };
        let request = client
            .post(target.url.url().clone())
            .headers(request::headers(target, message, stamp)?)
            .body(message.body.clone());
        tokio::time::timeout(deadline.remaining(), request.send())
            .await
            .map_err(|_| Failure::Timeout)?
            .map_err(|error| failure::classify(&error))
    }
}

/// What is kept of an answer.
async fn keep(answer: reqwest::Response, now: DateTime<Utc>, deadline: Deadline) -> Outcome {
    let status = answer.status().as_u16();
    let retry_after = retry_after(answer.headers(), now);
    let headers = kept_headers(answer.headers());
    let body = body::read(answer, KEPT_BODY, deadline).await;
    Outcome::Answered {
        status,
        retry_after,
        response: Response { headers, body: body.bytes, truncated: body.cut },
    }
}

/// The longest usable `Retry-After`.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<TimeDelta> {
    headers
        .get_all(RETRY_AFTER)
        .iter()
        .filter_map(|value| retry::retry_after(value.to_str().ok()?, now))
        .max()
}

/// As many headers as fit, without those that set cookies.
fn kept_headers(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut room = KEPT_HEADER_BYTES;
    headers
        .iter()
        .filter(|(name, _)| *name != SET_COOKIE)
        .take(KEPT_HEADERS)
        .map_while(|(name, value)| {
            room = room.checked_sub(name.as_str().len() + value.len())?;
            Some((name.as_str().to_owned(), value.as_bytes().to_vec()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
