//! The only SQL of Waypost.
//!
//! [`Store`] is the one way in: it takes and returns domain types, and there is no second implementation behind a trait.
//! Rows of an environment are reached through [`TenantStore`] alone, whose transactions row-level security binds to that
//! environment; functions that cross environments exist for workers only and say so in their names. What is appended,
//! leased and settled ([`append`], [`lease`]) is one small seam that no other code reaches around.
//!
//! Must not: know HTTP, decide anything that the domain can decide, or hold a transaction during a call to elsewhere.

pub mod account;
pub mod api_key;
pub mod append;
pub mod audit;
pub mod certificate;
mod conflict;
pub mod connect_session;
pub mod connection;
pub mod delivery;
pub mod endpoint;
mod endpoint_notice;
pub mod error;
pub mod event;
pub mod grant;
pub mod holding;
pub mod integration;
pub mod key_set;
pub mod lease;
pub mod matching;
mod notice;
pub mod partition;
pub mod proof;
pub mod queue;
pub mod rejection;
pub mod resolve;
pub mod retention;
pub mod store;
pub mod subscription;
mod target;
pub mod webhook_settings;
pub mod work;

pub use error::StoreError;
pub use store::{Actor, ActorKind, Config, Store, TenantStore};

/// The migrations, as the executable carries them.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");
