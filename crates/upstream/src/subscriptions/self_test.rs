//! The test of our own public URL: Graph's handshake, made by ourselves and from outside.
//!
//! What Graph would refuse is told before Graph is asked, together with what mends it. A success is remembered for a
//! while, in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use url::Url;
use waypost_egress::graph::TrustedClient;
use waypost_egress::graph::handshake::{Failure, Handshake};

/// How long a success is remembered.
const REMEMBERED: TimeDelta = TimeDelta::minutes(30);
/// Graph waits ten seconds.
const LIMIT: Duration = Duration::from_secs(10);
/// The most URLs that are remembered.
const MOST: usize = 10_000;

/// Why our public URL doesn't do what Graph wants of it.
#[derive(Debug, thiserror::Error)]
#[error("{url} is not usable for Microsoft Graph: {failure}. {cure}")]
pub struct PublicUrlProblem {
    /// The URL that was called.
    pub url: Url,
    /// What failed.
    pub failure: Failure,
    /// What mends it.
    pub cure: &'static str,
}

impl PublicUrlProblem {
    fn new(mut url: Url, failure: Failure) -> Self {
        let cure = match failure {
            Failure::Name => "Check the host name of server.public_url and its DNS record",
            Failure::Tls => {
                "The URL needs a certificate of a public authority with its whole chain, and TLS 1.2 as well as 1.3"
            }
            Failure::Connect => {
                "Check that server.public_url leads to this Waypost and that nothing in between refuses connections"
            }
            Failure::TimedOut => {
                "It must answer within 10 seconds: check proxies, tunnels and cold starts in between"
            }
            Failure::Redirect(_) => {
                "It must answer itself: set server.public_url to where it redirects to, with https and the right host"
            }
            Failure::Status(401 | 403) => {
                "Something in between wants a login, or refuses requests without a User-Agent: let POST /webhook/* pass unchanged"
            }
            Failure::Status(_) => {
                "Check that server.public_url leads to this Waypost: POST /webhook/* must reach it"
            }
            Failure::ContentType | Failure::Body => {
                "Something in between answers in Waypost's place (a login or error page?), or rewrites the query: let POST /webhook/* pass unchanged"
            }
        };
        url.set_query(None);
        Self { url, failure, cure }
    }
}

/// Tests public URLs. Clones share what they remember.
#[derive(Debug, Clone)]
pub(super) struct SelfTest {
    client: Handshake,
    passed: Arc<Mutex<HashMap<Url, DateTime<Utc>>>>,
}

impl SelfTest {
    pub(super) fn new(client: &TrustedClient) -> Self {
        Self { client: client.handshake(), passed: Arc::default() }
    }

    /// Tests `url`, unless that was done a short time ago.
    ///
    /// # Errors
    /// [`PublicUrlProblem`] with what failed.
    pub(super) async fn once(&self, url: &Url, now: DateTime<Utc>) -> Result<(), Box<PublicUrlProblem>> {
        let known = self.passed.lock().unwrap_or_else(PoisonError::into_inner).get(url).copied();
        if known.is_some_and(|passed| now - passed < REMEMBERED) {
            return Ok(());
        }
        self.now(url, now).await
    }

    /// Tests `url`.
    ///
    /// # Errors
    /// As [`Self::once`].
    pub(super) async fn now(&self, url: &Url, now: DateTime<Utc>) -> Result<(), Box<PublicUrlProblem>> {
        let outcome = self.client.prove(url, LIMIT).await;
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => {
                if passed.len() >= MOST {
                    passed.clear();
                }
                passed.insert(url.clone(), now);
                Ok(())
            }
            Err(failure) => {
                passed.remove(url);
                Err(Box::new(PublicUrlProblem::new(url.clone(), failure)))
            }
        }
    }
}
