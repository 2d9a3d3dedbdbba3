//! Calls to Graph, Entra and other hosts that the operator configured.
//!
//! These hosts are trusted with credentials and may be on any network, so [`TrustedClient`] has no guard. It must never be
//! built from, or given, a host that a tenant wrote: those go through the guard, as in [`proxy`].

pub mod handshake;
pub mod keys;
pub mod proxy;
pub mod resources;
pub mod sign_in;
pub mod subscriptions;

use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::{Attempt, Policy};
use url::Url;

use crate::BuildError;
use crate::client::{self, Lifetimes};

const LIFETIMES: Lifetimes = Lifetimes { connect: Duration::from_secs(5), idle: Duration::from_mins(1) };
/// The most redirects within one host.
const MOST_REDIRECTS: usize = 3;

/// A client for hosts that the operator configured. Follows redirects only within a host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TrustedClient {
    http: Client,
    /// Follows no redirect and doesn't say who asks: for calls to ourselves as Graph makes them.
    anonymous: Client,
}

impl TrustedClient {
    /// A client that trusts `extra_roots` (certificates, DER) beside the system's.
    ///
    /// # Errors
    /// [`BuildError`] when there are no certificates to trust, or an extra one is malformed.
    pub fn new(extra_roots: &[Vec<u8>]) -> Result<Self, BuildError> {
        let http = client::builder(LIFETIMES, extra_roots)?.redirect(Policy::custom(within_host)).build()?;
        let anonymous = client::anonymous(LIFETIMES, extra_roots)?.build()?;
        Ok(Self { http, anonymous })
    }
}

/// Stops at the first redirect that leads elsewhere; its answer is the result then.
fn within_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let hops = attempt.previous().len();
    let stays = attempt.previous().last().map(Url::origin) == Some(attempt.url().origin());
    if stays && hops <= MOST_REDIRECTS { attempt.follow() } else { attempt.stop() }
}
