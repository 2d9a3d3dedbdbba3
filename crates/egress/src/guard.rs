//! Where customers' URLs may lead, asked when a URL is saved and again at each connect, by the same code.
//!
//! A name is judged by its addresses, never by its spelling. One forbidden address refuses the whole answer, so that
//! nobody can hide an inner address behind outer ones. What is told to customers holds no address.
//!
//! Must not be bypassed: a literal address never reaches a resolver, so whoever connects asks
//! `Guard::check_literal` first.

mod lanes;
mod lookup;
mod policy;
mod resolver;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use url::Host;
use waypost_core::delivery::Failure;
use waypost_core::endpoint::EndpointUrl;

use lanes::Lanes;

pub use lookup::{Answer, Lookup, SystemLookup};
pub use policy::{Policy, Transport};
pub(crate) use resolver::GuardedResolver;

/// The longest that a look-up may take once it has its place.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);
/// The most addresses that a name may have.
const MOST_ADDRESSES: usize = 64;

/// Why a URL may not be called. Holds no address and no name, so it can be shown to whoever wrote the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address, or one of the name's, is in a closed network.
    #[error(
        "this host, or one of the addresses that its name has (all of them count), is in a network that callback URLs may \
         not reach (the operator can open it with egress.allow; the log tells the address at level debug)"
    )]
    Network,
    /// Not encrypted, and outside the networks that the operator opened.
    #[error("use https (http is only for private networks that egress.allow names)")]
    Plain,
    /// No address was found.
    #[error("the name of this host can't be resolved")]
    Unresolved,
    /// No answer came in time.
    #[error("the name of this host wasn't resolved in time")]
    Slow,
    /// Too many names are being looked up: nothing is known of this one.
    #[error("too many names of hosts are being looked up; try again soon")]
    Busy,
    /// More addresses than are worth checking.
    #[error("the name of this host has more than {MOST_ADDRESSES} addresses")]
    Crowded,
}

impl Refused {
    /// What it is for the attempt that met it; `None` when it is this process's trouble, and no attempt was made.
    #[must_use]
    pub const fn failure(self) -> Option<Failure> {
        match self {
            Self::Network | Self::Plain => Some(Failure::Forbidden),
            Self::Unresolved | Self::Slow | Self::Crowded => Some(Failure::Dns),
            Self::Busy => None,
        }
    }
}

/// The guard: a policy, and what looks names up. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Guard {
    policy: Arc<Policy>,
    lanes: Arc<Lanes>,
}

impl Guard {
    /// A guard that asks the system's resolver.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with_lookup(policy, Arc::new(SystemLookup::default()))
    }

    /// A guard that asks `lookup` for addresses.
    #[must_use]
    pub fn with_lookup(policy: Policy, lookup: Arc<dyn Lookup>) -> Self {
        Self { policy: Arc::new(policy), lanes: Lanes::new(lookup) }
    }

    /// Whether `url` may be saved: its host must be, or resolve to, nothing but allowed addresses.
    ///
    /// # Errors
    /// [`Refused`] with a reason that can be shown.
    pub async fn check_url(&self, url: &EndpointUrl) -> Result<(), Refused> {
        self.check_literal(url)?;
        match url.url().host() {
            Some(Host::Domain(name)) => self.resolve(Transport::of(url), name).await.map(drop),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => Ok(()),
            None => Err(Refused::Unresolved),
        }
    }

    /// Judges a URL whose host is written as an address; a name passes, for [`Guard::resolve`] to judge.
    pub(crate) fn check_literal(&self, url: &EndpointUrl) -> Result<(), Refused> {
        url.literal_address().map_or(Ok(()), |address| self.policy.permits(Transport::of(url), address))
    }

    /// The addresses of `name`, every one of them allowed.
    pub(crate) async fn resolve(&self, transport: Transport, name: &str) -> Result<Arc<[IpAddr]>, Refused> {
        let addresses = self.lanes.addresses(name).await?;
        match addresses.len() {
            0 => Err(Refused::Unresolved),
            1..=MOST_ADDRESSES => {
                addresses.iter().try_for_each(|address| {
                    let verdict = self.policy.permits(transport, *address);
                    verdict.inspect_err(
                        |_| tracing::debug!(%address, "an address of a customer's host is refused"),
                    )
                })?;
                Ok(addresses)
            }
            _ => Err(Refused::Crowded),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
