//! Which addresses customers' URLs may reach: arithmetic on addresses, nothing else.
//!
//! IPv4 is open but for the networks that have a special purpose; IPv6 is closed but for global unicast. An IPv6
//! address that carries an IPv4 address to a translator or a tunnel is judged by the address inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use waypost_core::endpoint::EndpointUrl;

use super::Refused;

/// Closed for customers, whoever owns them. The names of RFC 6890 and its followers.
const CLOSED_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),        // this network
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // shared by carriers' NAT
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // Azure's host, seen from inside a virtual machine
    v4([169, 254, 0, 0], 16),   // link-local, with the metadata services
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // IETF protocol assignments
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 88, 99, 0], 24),   // 6to4 relays, deprecated
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarks
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved, with the broadcast address
];

/// All global unicast addresses. Loopback, unique local, link-local, site-local, multicast, discard-only and segment
/// routing lie outside.
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0], 3);

/// The closed parts of [`GLOBAL_UNICAST`].
const CLOSED_V6: [Ipv6Net; 3] = [
    v6([0x2001, 0], 23),     // IETF protocol assignments: Teredo, ORCHID, benchmarks
    v6([0x2001, 0xdb8], 32), // documentation
    v6([0x3fff, 0], 20),     // documentation
];

const fn v4(octets: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), length)
}

const fn v6(head: [u16; 2], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(head[0], head[1], 0, 0, 0, 0, 0, 0), length)
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `http`.
    Plain,
    /// `https`.
    Tls,
}

impl Transport {
    /// The transport that `url` asks for.
    #[must_use]
    pub fn of(url: &EndpointUrl) -> Self {
        if url.is_https() { Self::Tls } else { Self::Plain }
    }
}

/// The networks that customers' URLs may reach beside the public ones.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    allow: Vec<IpNet>,
}

impl Policy {
    /// Opens exactly the networks of `egress.allow`, for `https` and `http`. An address inside another one (NAT64,
    /// 6to4) is not in them, since a translator stands elsewhere; IPv4-mapped ones are, since they are the same
    /// address.
    #[must_use]
    pub fn new(allow: impl IntoIterator<Item = IpNet>) -> Self {
        Self { allow: allow.into_iter().map(unmapped).collect() }
    }

    /// Judges one address.
    ///
    /// # Errors
    /// [`Refused::Network`] when it is closed, [`Refused::Plain`] when it would be open for `https`.
    pub fn permits(&self, transport: Transport, address: IpAddr) -> Result<(), Refused> {
        let address = address.to_canonical();
        if self.allow.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        match (is_public(address), transport) {
            (false, _) => Err(Refused::Network),
            (true, Transport::Plain) => Err(Refused::Plain),
            (true, Transport::Tls) => Ok(()),
        }
    }
}

/// A network of IPv4-mapped addresses as the IPv4 network that it is.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(inner) = net else { return net };
    let (Some(address), Some(length)) =
        (inner.network().to_ipv4_mapped(), inner.prefix_len().checked_sub(96))
    else {
        return net;
    };
    Ipv4Net::new(address, length).map_or(net, IpNet::V4)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => carried_v4(address).map_or_else(|| is_public_v6(address), is_public_v4),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !CLOSED_V4.iter().any(|net| net.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    GLOBAL_UNICAST.contains(&address) && !CLOSED_V6.iter().any(|net| net.contains(&address))
}

/// The IPv4 address that an IPv6 address leads to.
///
/// The local NAT64 network `64:ff9b:1::/48` holds prefixes of several lengths, which put the address in different
/// places. Only its first /96 is read: seen through a shorter prefix, such an address leads nowhere (0.0.0.0/24).
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let ([0, 0, 0, 0, 0, 0 | 0xffff, high, low]
    | [0x64, 0xff9b, 0 | 1, 0, 0, 0, high, low]
    | [0x2002, high, low, ..]) = address.segments()
    else {
        return None;
    };
    Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
}
