//! Graph subscriptions as Waypost keeps them.
//!
//! Here only what intake must know to vouch for an item; making, renewing and ending them build on this.

use chrono::{DateTime, Utc};
use waypost_crypto::token::LookupHash;

use crate::connection::ConnectionRef;
use crate::id::{SubscriptionId, TenantId};

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
    /// Its create is in flight: the `clientState` is known, the Graph id is not.
    Pending,
    /// Graph has it.
    Active,
}

/// What is needed to track a subscription that exists at Graph.
#[derive(Debug, Clone)]
pub struct NewTracked {
    /// Its id inside Waypost.
    pub id: SubscriptionId,
    /// Graph's id; `None` while the create is in flight.
    pub graph_id: Option<uuid::Uuid>,
    /// The tenant.
    pub tenant: TenantId,
    /// The hash of its `clientState`.
    pub state: LookupHash,
    /// What it watches.
    pub resource: String,
    /// Which changes, separated by commas.
    pub change_type: String,
    /// When Graph lets it end.
    pub expires_at: Option<DateTime<Utc>>,
}
