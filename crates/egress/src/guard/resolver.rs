//! The resolver that a client connects through: it gives out allowed addresses and nothing else.
//!
//! Must not judge: that is the guard's.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{Guard, Transport};

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
            let addresses: Vec<SocketAddr> =
                allowed.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}
