//! Events: what one accepted POST holds for one connection, and the notices that Waypost itself sends.
//!
//! An event's body is fixed when it is accepted: the very bytes that every endpoint will get (rich items excepted,
//! which are opened on the way out). So a replay sends the same bytes, and nothing is built again on the hot path.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::canonical;
use crate::connection::ConnectionId;
use crate::delivery::DeliveryStatus;
use crate::id::{EnvironmentId, EventId, IntegrationId, TenantId};
use crate::integration::UniqueKey;
use crate::provider::Provider;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)+) => {
        /// What kind of event it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind { $($(#[$doc])* $name),+ }

        impl EventKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// `forward`, or `type.operation` for notices.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The number that stands for it in the store. Never changes.
            #[must_use]
            pub const fn code(self) -> i16 {
                match self { $(Self::$name => $code),+ }
            }

            /// The kind that a number of the store stands for.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

kinds! {
    /// Notifications of the provider.
    Forward = 0, "forward";
    /// A connection was made.
    AuthCreation = 10, "auth.creation";
    /// A connection was made again.
    AuthOverride = 11, "auth.override";
    /// A token could not be refreshed, or can be again.
    AuthRefresh = 12, "auth.refresh";
    /// A connection was deleted.
    AuthDeletion = 13, "auth.deletion";
    /// A subscription was created.
    SubscriptionCreated = 20, "subscription.created";
    /// A subscription was made anew.
    SubscriptionRecreated = 21, "subscription.recreated";
    /// A subscription was renewed; only told where a filter names it.
    SubscriptionRenewed = 22, "subscription.renewed";
    /// A subscription was removed at Graph.
    SubscriptionRemoved = 23, "subscription.removed";
    /// A subscription ended.
    SubscriptionExpired = 24, "subscription.expired";
    /// A subscription can't be renewed at the moment.
    SubscriptionRenewalFailing = 25, "subscription.renewal_failing";
    /// A subscription can be renewed again.
    SubscriptionRecovered = 26, "subscription.recovered";
    /// A subscription was authorized again.
    SubscriptionReauthorized = 27, "subscription.reauthorized";
    /// Something may have been missed.
    SubscriptionGap = 28, "subscription.gap";
    /// An endpoint was disabled.
    EndpointDisabled = 40, "endpoint.disabled";
    /// An endpoint's circuit opened.
    EndpointCircuitOpened = 41, "endpoint.circuit_opened";
    /// An endpoint answers again.
    EndpointRecovered = 42, "endpoint.recovered";
    /// Undelivered events of an endpoint are about to leave with their day.
    EndpointRetentionWarning = 43, "endpoint.retention_warning";
}

impl EventKind {
    /// The `type` on the wire.
    #[must_use]
    pub fn wire_type(self) -> &'static str {
        self.as_str().split('.').next().unwrap_or_default()
    }

    /// The `operation` on the wire; `None` for `forward`.
    #[must_use]
    pub fn operation(self) -> Option<&'static str> {
        self.as_str().split_once('.').map(|(_, operation)| operation)
    }

    /// Whether only a filter that names it takes it.
    #[must_use]
    pub const fn only_on_request(self) -> bool {
        matches!(self, Self::SubscriptionRenewed)
    }

    /// Whether `text` is a wire type or a kind.
    #[must_use]
    pub fn is_type_or_kind(text: &str) -> bool {
        Self::ALL.iter().any(|kind| kind.as_str() == text || kind.wire_type() == text)
    }

    /// All kinds that `text` (a wire type or a kind) stands for.
    #[must_use]
    pub fn named(text: &str) -> Vec<Self> {
        Self::ALL.iter().copied().filter(|kind| kind.as_str() == text || kind.wire_type() == text).collect()
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an event went when it was accepted; what happened since stands with its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// At least one endpoint wanted it.
    Routed,
    /// No endpoint wanted it.
    Unrouted,
    /// No connection of its tenant yet.
    Unmatched,
    /// Its only items failed their proof.
    Quarantined,
}

impl Routing {
    /// The number that stands for it in the store. Never changes.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Routed => 0,
            Self::Unrouted => 1,
            Self::Unmatched => 2,
            Self::Quarantined => 3,
        }
    }

    /// The routing that a number of the store stands for.
    #[must_use]
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Routed),
            1 => Some(Self::Unrouted),
            2 => Some(Self::Unmatched),
            3 => Some(Self::Quarantined),
            _ => None,
        }
    }
}

/// An event's status: the worst of its deliveries', or what kept it from having any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStatus {
    /// A delivery waits for its time.
    Pending,
    /// A delivery is on its way.
    Sending,
    /// A delivery waits for its endpoint.
    Held,
    /// All were delivered.
    Delivered,
    /// A delivery was given up.
    Dead,
    /// All that was not delivered was discarded.
    Discarded,
    /// No connection yet.
    Unmatched,
    /// No endpoint wanted it.
    Unrouted,
    /// It failed its proof.
    Quarantined,
}

impl EventStatus {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Sending,
        Self::Held,
        Self::Delivered,
        Self::Dead,
        Self::Discarded,
        Self::Unmatched,
        Self::Unrouted,
        Self::Quarantined,
    ];

    /// The status of an event that was routed so and whose worst delivery stands so.
    #[must_use]
    pub const fn of(routing: Routing, worst: Option<DeliveryStatus>) -> Self {
        match (worst, routing) {
            // Whatever was on its way when it failed its proof was ended.
            (_, Routing::Quarantined) => Self::Quarantined,
            (Some(DeliveryStatus::Dead), _) => Self::Dead,
            (Some(DeliveryStatus::Held), _) => Self::Held,
            (Some(DeliveryStatus::Pending), _) => Self::Pending,
            (Some(DeliveryStatus::Sending), _) => Self::Sending,
            (Some(DeliveryStatus::Discarded), _) => Self::Discarded,
            (Some(DeliveryStatus::Delivered), _) => Self::Delivered,
            (None, Routing::Unmatched) => Self::Unmatched,
            (None, Routing::Unrouted | Routing::Routed) => Self::Unrouted,
        }
    }

    /// The delivery status that it is taken from.
    ///
    /// # Errors
    /// The routing that it is taken from instead, when it is the status of events without deliveries.
    pub const fn source(self) -> Result<DeliveryStatus, Routing> {
        match self {
            Self::Pending => Ok(DeliveryStatus::Pending),
            Self::Sending => Ok(DeliveryStatus::Sending),
            Self::Held => Ok(DeliveryStatus::Held),
            Self::Delivered => Ok(DeliveryStatus::Delivered),
            Self::Dead => Ok(DeliveryStatus::Dead),
            Self::Discarded => Ok(DeliveryStatus::Discarded),
            Self::Unmatched => Err(Routing::Unmatched),
            Self::Unrouted => Err(Routing::Unrouted),
            Self::Quarantined => Err(Routing::Quarantined),
        }
    }

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
            Self::Unmatched => "unmatched",
            Self::Unrouted => "unrouted",
            Self::Quarantined => "quarantined",
        }
    }
}

impl FromStr for EventStatus {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownWord)
    }
}

/// A word that is not one of the known ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a known value")]
pub struct UnknownWord;

/// What filters look at in an item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemFacts {
    /// `created`, `updated`, `deleted`; `None` for lifecycle items.
    pub change_type: Option<Box<str>>,
    /// The resource path as the provider wrote it.
    pub resource: Option<Box<str>>,
}

/// An event that is about to be stored. Its `Debug` keeps the body to itself.
#[derive(Clone)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// The environment it belongs to.
    pub environment: EnvironmentId,
    /// The integration it came through; `None` for `endpoint` notices.
    pub integration: Option<IntegrationId>,
    /// The connection it is for, by number; `None` while unmatched and for `endpoint` notices.
    pub connection: Option<crate::id::ConnectionKey>,
    /// The tenant that the provider named.
    pub tenant: Option<TenantId>,
    /// The Graph ids of the subscriptions that its items name, without repeats.
    pub subscriptions: Vec<uuid::Uuid>,
    /// What kind it is.
    pub kind: EventKind,
    /// Where it goes.
    pub routing: Routing,
    /// When the POST arrived, or the notice arose.
    pub received_at: DateTime<Utc>,
    /// How many items it holds.
    pub items: u32,
    /// One key per item, separated by commas, in the order of `value`.
    pub item_keys: String,
    /// Whether an item is encrypted: such events are opened on the way out.
    pub rich: bool,
    /// The bytes to send; for an unmatched event the payload alone, as there is no connection to name yet.
    pub body: bytes::Bytes,
    /// The `validationTokens` of the POST as JSON, for events with rich items.
    pub proof: Option<bytes::Bytes>,
}

impl fmt::Debug for NewEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("NewEvent");
        shown.field("id", &self.id).field("environment", &self.environment).field("kind", &self.kind);
        shown.field("routing", &self.routing).field("items", &self.items).finish_non_exhaustive()
    }
}

/// The body of a `forward` event: Nango's envelope in its key order, around a payload that is canonical already.
#[must_use]
pub fn forward_body(
    connection: &ConnectionId,
    provider: Provider,
    key: &UniqueKey,
    payload: &[u8],
) -> Vec<u8> {
    let mut body = Vec::with_capacity(payload.len() + 160);
    body.extend_from_slice(b"{\"connectionId\":");
    canonical::write_string(connection.as_str(), &mut body);
    body.extend_from_slice(b",\"from\":");
    canonical::write_string(provider.name(), &mut body);
    body.extend_from_slice(b",\"payload\":");
    body.extend_from_slice(payload);
    body.extend_from_slice(b",\"providerConfigKey\":");
    canonical::write_string(key.as_str(), &mut body);
    body.extend_from_slice(b",\"type\":\"forward\"}");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_from_its_number() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_code(kind.code()), Some(*kind));
        }
    }

    #[test]
    fn a_status_comes_from_what_it_says_it_comes_from() {
        for status in EventStatus::ALL {
            let back = match status.source() {
                Ok(worst) => EventStatus::of(Routing::Routed, Some(worst)),
                Err(routing) => EventStatus::of(routing, None),
            };
            assert_eq!(back, status);
        }
    }

    #[test]
    fn a_forward_body_is_nangos_envelope_in_its_key_order() {
        let id = ConnectionId::parse("conn-1").unwrap();
        let key = UniqueKey::parse("graph-cc").unwrap();
        let body =
            forward_body(&id, Provider::named("microsoft-oauth2-cc").unwrap(), &key, br#"{"value":[]}"#);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"connectionId":"conn-1","from":"microsoft-oauth2-cc","payload":{"value":[]},"providerConfigKey":"graph-cc","type":"forward"}"#
        );
    }
}
