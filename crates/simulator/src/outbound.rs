//! The client that posts handshakes and notifications. It reaches the loopback interface and nothing else: names are
//! resolved through a filter, literal addresses are checked before a request is made.
//!
//! Must not follow redirects, use a proxy, or name itself: Graph sends no `User-Agent`.

use std::{io, net::SocketAddr, sync::Arc};

use reqwest::{
    Certificate, Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use url::{Host, Url};

/// Builds the client. `keep_alive` is off for handshakes, which come on fresh connections.
pub(crate) fn client(trusted_roots: &[Vec<u8>], keep_alive: bool) -> Result<Client, reqwest::Error> {
    let roots = trusted_roots.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the simulator's own client: loopback only, as another party"
    )]
    let builder = Client::builder();
    builder
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .http1_only()
        .tls_certs_only(roots)
        .pool_max_idle_per_host(if keep_alive { 256 } else { 0 })
        .dns_resolver(Arc::new(LoopbackOnly))
        .build()
}

/// Whether a literal address in the URL is one that may be reached. Names pass: the resolver judges them.
pub(crate) fn may_be_reached(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Some(Host::Domain(_)) => true,
        None => false,
    }
}

/// Whether the URL is certain to lead to this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(_) => may_be_reached(url),
        None => false,
    }
}

/// A resolver that drops every address outside the loopback range.
#[derive(Debug)]
struct LoopbackOnly;

impl Resolve for LoopbackOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| address.ip().to_canonical().is_loopback()).collect();
            if allowed.is_empty() {
                return Err(io::Error::other("the name has no loopback address").into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_literals_pass() {
        for (url, allowed) in [
            ("http://127.0.0.1:1/", true),
            ("http://[::1]/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://10.0.0.1/", false),
            ("http://[::ffff:10.0.0.1]/", false),
            ("http://169.254.169.254/", false),
        ] {
            assert_eq!(may_be_reached(&Url::parse(url).unwrap()), allowed, "{url}");
        }
    }

    #[test]
    fn a_name_is_not_certain_to_be_loopback_unless_it_is_localhost() {
        assert!(is_loopback(&Url::parse("http://localhost:8080/a").unwrap()));
        assert!(!is_loopback(&Url::parse("http://relay.example/a").unwrap()));
    }
}
