//! How names become addresses, and the resolver that a client connects through.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::{Guard, Transport};

/// The most look-ups that the system's resolver does for us at once. Each takes a thread of the blocking pool for as
/// long as it wants, so slow names must not get them all.
const MOST_LOOKUPS: usize = 128;

/// The addresses of a name, some day.
pub type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks names up. Judges nothing.
pub trait Lookup: Send + Sync + fmt::Debug {
    /// All addresses of `host`. The caller bounds the time.
    fn addresses(&self, host: &str) -> Answer;
}

/// The resolver of the operating system.
#[derive(Debug, Clone)]
pub struct SystemLookup {
    places: Arc<Semaphore>,
}

impl Default for SystemLookup {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MOST_LOOKUPS)) }
    }
}

impl Lookup for SystemLookup {
    fn addresses(&self, host: &str) -> Answer {
        let (places, host) = (Arc::clone(&self.places), host.to_owned());
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = move || {
                // Held by the thread, not by the caller, who may have given up long before.
                let _place = place;
                Ok((host.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
            };
            tokio::task::spawn_blocking(lookup).await.map_err(io::Error::other)?
        })
    }
}

/// Gives a client only addresses that the guard allows. A refusal is found again in the error's chain, as
/// [`super::Refused`].
pub(crate) struct GuardedResolver {
    guard: Guard,
    transport: Transport,
}

impl GuardedResolver {
    /// A resolver for a client that uses nothing but `transport`.
    pub(crate) const fn new(guard: Guard, transport: Transport) -> Self {
        Self { guard, transport }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, transport) = (self.guard.clone(), self.transport);
        Box::pin(async move {
            let allowed = guard.resolve(transport, name.as_str()).await?;
            // Port 0 stands for the port of the URL.
            let addresses: Addrs = Box::new(allowed.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
