//! How names become addresses: asked of the name servers that the system names, without a thread per question.
//!
//! Must not keep answers, nor judge them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use tokio::time::Instant;

/// How long the system's files are taken as they were read: whoever changes them need not restart anything.
const FILES_HOLD_FOR: Duration = Duration::from_secs(30);

/// The addresses of a name, some day. Dropping it ends the look-up.
pub type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks names up. Judges nothing.
pub trait Lookup: Send + Sync + fmt::Debug {
    /// All addresses of `host`. The caller bounds the time.
    fn addresses(&self, host: &str) -> Answer;
}

/// DNS as the system is set up: `/etc/hosts`, and the name servers, search domains and options of `/etc/resolv.conf`.
#[derive(Debug, Default)]
pub struct SystemLookup {
    /// Asked in place of the system's name servers.
    name_servers: Vec<SocketAddr>,
    current: Mutex<Option<(Instant, TokioResolver)>>,
}

impl SystemLookup {
    /// Asks `name_servers` alone, as if they were the system's.
    #[must_use]
    pub fn asking(name_servers: Vec<SocketAddr>) -> Self {
        Self { name_servers, current: Mutex::default() }
    }

    fn resolver(&self) -> io::Result<TokioResolver> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, resolver)) = &*current
            && read_at.elapsed() < FILES_HOLD_FOR
        {
            return Ok(resolver.clone());
        }
        let resolver = self.build().map_err(io::Error::other)?;
        *current = Some((Instant::now(), resolver.clone()));
        Ok(resolver)
    }

    fn build(&self) -> Result<TokioResolver, NetError> {
        let mut builder = if self.name_servers.is_empty() {
            TokioResolver::builder_tokio().unwrap_or_else(|error| {
                tracing::debug!(%error, "no name servers are set up: the machine's own is asked");
                asking(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))])
            })
        } else {
            asking(&self.name_servers)
        };
        without_memory(builder.options_mut());
        builder.build()
    }
}

fn asking(name_servers: &[SocketAddr]) -> hickory_resolver::ResolverBuilder<TokioRuntimeProvider> {
    let servers = name_servers.iter().map(|server| {
        let mut config = NameServerConfig::udp_and_tcp(server.ip());
        config
            .connections
            .iter_mut()
            .for_each(|connection: &mut ConnectionConfig| connection.port = server.port());
        config
    });
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
}

/// Every connect asks anew: an answer that is kept could be one that the guard has not seen.
fn without_memory(options: &mut ResolverOpts) {
    options.cache_size = 0;
    options.positive_max_ttl = Some(Duration::ZERO);
    options.negative_max_ttl = Some(Duration::ZERO);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
}

impl Lookup for SystemLookup {
    fn addresses(&self, host: &str) -> Answer {
        // A URL's name is ASCII already, and may have an underscore, which stricter ways of reading refuse.
        let (resolver, name) = (self.resolver(), Name::from_ascii(host));
        Box::pin(async move {
            let name = name.map_err(io::Error::other)?;
            let found = resolver?.lookup_ip(name).await.map_err(io::Error::other)?;
            Ok(found.iter().collect())
        })
    }
}
