//! What ingress refused, and why: counted, never forwarded, and never told to the sender.

use serde_json::{Map, Value};

/// Why a request or an item was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The body isn't JSON.
    InvalidJson,
    /// The body isn't a notification collection.
    InvalidPayload,
    /// The item isn't an object, or a field of it has the wrong type.
    MalformedItem,
    /// Nothing vouches for the item: its `clientState` is wrong or missing.
    ClientStateMismatch,
    /// The item names another tenant than its subscription's.
    TenantMismatch,
    /// Nothing could vouch for the item: the integration has no webhook secret.
    SecretNotConfigured,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::InvalidJson,
        Self::InvalidPayload,
        Self::MalformedItem,
        Self::ClientStateMismatch,
        Self::TenantMismatch,
        Self::SecretNotConfigured,
    ];

    /// The word on the wire and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidPayload => "invalid_payload",
            Self::MalformedItem => "malformed_item",
            Self::ClientStateMismatch => "client_state_mismatch",
            Self::TenantMismatch => "tenant_mismatch",
            Self::SecretNotConfigured => "webhook_secret_not_configured",
        }
    }

    /// The reason that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// One refused item (or request), with a sample that holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// What it looked like: never `clientState`, never content.
    pub sample: Map<String, Value>,
}
