//! Entra: who is registered, which keys sign, and the endpoints below `/login`.
//!
//! Must not know of subscriptions or deliveries.

pub(crate) mod directory;
pub(crate) mod keys;
pub(crate) mod metadata;
pub(crate) mod problem;
pub(crate) mod token;
