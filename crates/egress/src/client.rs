//! What all HTTP clients of this crate have in common. The one place where a client is made.
//!
//! Must not decide where a client may go: that is the guard's (customers) or the caller's type (operator).

use std::time::Duration;

use reqwest::{Certificate, ClientBuilder};

/// The `user-agent` of everything that Waypost sends.
pub(crate) const USER_AGENT: &str = concat!("waypost/", env!("CARGO_PKG_VERSION"));

/// More headers than any sane answer has; one more makes an answer unreadable, whatever its status line says.
const MOST_RESPONSE_HEADERS: usize = 1024;
/// How many idle connections are kept for one host: as many as deliveries are usually in flight, since all endpoints of a
/// company often share one.
const IDLE_PER_HOST: usize = 512;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client can't be set up (are the system's CA certificates installed?)")]
pub struct BuildError(#[from] reqwest::Error);

/// How long connections take and last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    /// From the look-up of the name to the end of the TLS handshake.
    pub(crate) connect: Duration,
    /// How long a connection may lie idle before it is closed and the name looked up again.
    pub(crate) idle: Duration,
}

/// A client without proxies, redirects, cookies, referers, retries or decompression.
///
/// `extra_roots` are DER certificates that are trusted beside the system's.
pub(crate) fn builder(lifetimes: Lifetimes, extra_roots: &[Vec<u8>]) -> Result<ClientBuilder, BuildError> {
    Ok(anonymous(lifetimes, extra_roots)?.user_agent(USER_AGENT))
}

/// The same, for requests that don't say who sends them.
pub(crate) fn anonymous(lifetimes: Lifetimes, extra_roots: &[Vec<u8>]) -> Result<ClientBuilder, BuildError> {
    let roots = extra_roots.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    #[expect(clippy::disallowed_methods, reason = "this is the one place that makes HTTP clients")]
    let builder = reqwest::Client::builder();
    Ok(builder
        .tls_certs_merge(roots)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .http1_only()
        .http1_max_headers(MOST_RESPONSE_HEADERS)
        .http1_ignore_invalid_headers_in_responses(true)
        .connect_timeout(lifetimes.connect)
        .pool_idle_timeout(lifetimes.idle)
        .pool_max_idle_per_host(IDLE_PER_HOST))
}
