//! What Waypost does at the provider for a connection: work that needs both the store and the network.
//!
//! Must not: speak HTTP to customers, hold state that another process would need, or keep a transaction open during a
//! call.

pub mod certificates;
pub mod connect;
pub mod fetch;
pub mod key_sets;
pub mod proofs;
pub mod proxy;
pub mod subscriptions;
pub mod tokens;
