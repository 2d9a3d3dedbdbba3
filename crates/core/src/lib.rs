//! The domain of Waypost: what its words mean and what may happen to them.
//!
//! Pure: no IO, not async, no clock of its own, no SQL, no HTTP client or server. Everything here is a value or a
//! decision, so that it can be tested without a database or a network. Time and randomness come in as arguments.
//!
//! Must not: name `tokio`, `sqlx`, `actix-web` or `reqwest`; hold state that outlives a call (the id context excepted).

pub mod account;
pub mod canonical;
pub mod certificate;
pub mod clock;
pub mod cloud;
pub mod connect;
pub mod connection;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod filter;
pub mod hand_off;
pub mod id;
pub mod integration;
pub mod notice;
pub mod page;
pub mod payload;
pub mod proof;
pub mod provider;
pub mod proxy;
pub mod rejection;
pub mod retry;
pub mod scope;
pub mod subscription;
pub mod tags;
pub mod token;
