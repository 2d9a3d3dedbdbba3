//! Ports that nobody uses, for processes that have to come back at the same address.
//!
//! They are from below the range that systems take outgoing connections from, so that none is lost to one of these while
//! its process is down.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use uuid::Uuid;

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
const TRIES: usize = 100;

/// Where a process listens.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    /// Ingress and environment API.
    pub public: SocketAddr,
    /// Health, metrics and admin API.
    pub admin: SocketAddr,
}

impl Listen {
    /// Two addresses that are free.
    #[must_use]
    pub fn free() -> Self {
        Self { public: free_address(), admin: free_address() }
    }
}

/// An address of this machine that nobody listens at.
#[must_use]
pub fn free_address() -> SocketAddr {
    for _ in 0..TRIES {
        let random = u16::try_from(Uuid::new_v4().as_u128() % u128::from(COUNT)).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + random));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("none of {TRIES} ports is free");
}
