//! Entra: who is registered, which keys sign, and the endpoints below `/login`.
//!
//! Must not know of subscriptions or deliveries.

pub(crate) mod admin_consent;
pub(crate) mod assertion;
pub(crate) mod authorize;
pub(crate) mod client;
pub(crate) mod delegated;
pub(crate) mod directory;
pub(crate) mod keys;
pub(crate) mod metadata;
pub(crate) mod pages;
pub(crate) mod problem;
pub(crate) mod registration;
pub(crate) mod revoked;
pub(crate) mod scopes;
pub(crate) mod sessions;
pub(crate) mod token;
