//! Graph subscriptions as Waypost keeps them: what is wanted, what Graph granted, and where it stands.
//!
//! A row says what is **wanted**; what Graph answered is believed, never what was asked for. Must not know HTTP or SQL.

mod renewal;
mod wish;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waypost_crypto::token::LookupHash;

pub use renewal::{LATEST_BEFORE_END, renew_at};
pub use wish::{ChangeTypes, ChangeTypesError, Identity, Lifetime, Owner, Wish, WishKey};

use crate::connection::{ConnectionId, ConnectionRef};
use crate::id::{SubscriptionId, TenantId};
use crate::integration::UniqueKey;
use crate::provider::graph::error::Said;

/// The most connections that one subscription may serve: every item of it is copied for each of them, at once.
pub const MOST_CONNECTIONS: i64 = 100;

/// A subscription that Waypost tracks, as intake sees it.
#[derive(Debug, Clone)]
pub struct Tracked {
    /// Its id inside Waypost, whatever Graph calls it at the moment.
    pub id: SubscriptionId,
    /// The tenant it was made in; items of another are refused.
    pub tenant: TenantId,
    /// The hash of its `clientState`: this alone vouches for its items.
    pub state: LookupHash,
    /// The connections it serves.
    pub connections: Vec<ConnectionRef>,
}

/// Where a tracked subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is wanted, and Graph has not granted it yet: its `clientState` is known, its Graph id is not.
    Pending,
    /// Graph has it.
    Active,
    /// Graph has it, and doesn't renew it at the moment.
    RenewalFailing,
    /// Graph removed it.
    Removed,
    /// It ended.
    Expired,
}

/// A text that is no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the status of a subscription is pending, active, renewal_failing, removed or expired")]
pub struct UnknownStatus;

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Active, Self::RenewalFailing, Self::Removed, Self::Expired];

    /// The word on the wire and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::RenewalFailing => "renewal_failing",
            Self::Removed => "removed",
            Self::Expired => "expired",
        }
    }

    /// Whether Graph has it, or may have it soon: such a one is joined by an equal wish.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Active | Self::RenewalFailing)
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who wanted a subscription: decides what becomes of a create that nobody waits for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A caller of the subscription API.
    Api,
    /// A template: it is tried again until it succeeds.
    Template,
    /// A caller of the proxy.
    Proxy,
    /// It existed at Graph, and was taken over.
    Import,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Api, Self::Template, Self::Proxy, Self::Import];

    /// The word in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Template => "template",
            Self::Proxy => "proxy",
            Self::Import => "import",
        }
    }

    /// The origin that a word of the store stands for.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == word)
    }
}

/// What went wrong last, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// What kind of failure, for programs.
    pub code: String,
    /// What happened and what helps, for people.
    pub message: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Graph's own words, when it was Graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<Said>,
}

/// A subscription.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Its id inside Waypost.
    pub id: SubscriptionId,
    /// Its integration.
    pub integration: UniqueKey,
    /// Graph's id; `None` while it is pending.
    pub graph_id: Option<Uuid>,
    /// Where it stands.
    pub status: Status,
    /// What it watches, as it was written.
    pub resource: String,
    /// Which changes, separated by commas.
    pub change_type: String,
    /// Whether its notifications hold the resource.
    pub include_resource_data: bool,
    /// Whether Waypost renews it.
    pub auto_renew: bool,
    /// How long it shall live at a time, in seconds; `None` for as long as Graph grants.
    pub lifetime_seconds: Option<i64>,
    /// When Graph lets it end.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it is to be renewed.
    pub renew_at: Option<DateTime<Utc>>,
    /// The connections that it serves.
    pub connections: Vec<ConnectionId>,
    /// What went wrong last.
    pub last_error: Option<LastError>,
    /// When it was wanted first.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A subscription that every new connection of an integration gets by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What people call it.
    pub name: Option<String>,
    /// What is wanted.
    pub wish: Wish,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_and_origin_survives_its_word() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        for origin in Origin::ALL {
            assert_eq!(Origin::named(origin.as_str()), Some(origin));
        }
        assert_eq!("gone".parse::<Status>(), Err(UnknownStatus));
        assert!(!Status::Removed.is_live() && Status::Pending.is_live());
    }
}
