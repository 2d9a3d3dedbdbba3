//! The only crate of Waypost that opens connections to hosts outside.
//!
//! Two clients, kept apart by type because they trust different people:
//!
//! - [`webhook::WebhookClient`] goes to URLs that customers wrote. Every address it connects to has passed the
//!   [`guard`], it follows no redirect and it believes nothing that comes back.
//! - [`graph::TrustedClient`] goes to hosts that the operator configured. It must never be given a host that came from
//!   a tenant.
//!
//! Must not: read a store, decide what an outcome means for a delivery (that is `waypost_core::delivery`), or retry.

pub mod graph;
pub mod guard;
pub mod webhook;

mod body;
mod client;

#[cfg(test)]
mod test_server;

pub use client::BuildError;
