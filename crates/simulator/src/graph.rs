//! Graph's subscriptions API below `/v1.0`.
//!
//! `resources` is the data, `rules` the judgement over it, `handshake` the proof of an endpoint, `store` what was
//! created, `subscriptions` the routes. Must not send notifications.

pub(crate) mod call;
pub(crate) mod certificate;
pub(crate) mod handshake;
pub(crate) mod resources;
pub(crate) mod rules;
pub(crate) mod store;
pub(crate) mod subscriptions;
pub(crate) mod throttle;

pub use self::store::SubscriptionView;

use serde::{Deserialize, Serialize};

/// What happened to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeType {
    /// It came into being.
    Created,
    /// It changed.
    Updated,
    /// It is gone.
    Deleted,
}

impl ChangeType {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "created" => Some(Self::Created),
            "updated" => Some(Self::Updated),
            "deleted" => Some(Self::Deleted),
            _ => None,
        }
    }
}
