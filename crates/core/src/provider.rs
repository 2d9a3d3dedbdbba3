//! Providers: where notifications come from, and how each is judged.
//!
//! A provider turns one POST, as raw bytes and headers, into an answer, events and refusals, in two steps: it reads the
//! request and says what it must know ([`Reading::wants`]); the store looks that up for a whole batch of requests at
//! once; then the provider judges ([`Reading::judge`]). Both are pure. A new family of providers is a new variant of
//! [`Dialect`] and [`Reading`] and nothing else: intake, deliverer and store don't change.

pub mod catalogue;
pub mod graph;

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::HeaderMap;
use secrecy::SecretString;
use uuid::Uuid;
use waypost_crypto::token::{HashKey, LookupHash};

use crate::connection::{ConnectionId, ConnectionRef};
use crate::event::ItemFacts;
use crate::id::{ConnectionKey, EnvironmentId, IntegrationId, TenantId};
use crate::integration::UniqueKey;
use crate::rejection::Rejection;
use crate::subscription::Tracked;

use graph::fetch::{Select, Wish};

pub use catalogue::{Dialect, Provider};

/// One POST to an ingress URL, read to its end. Its `Debug` keeps query, headers and body to itself.
#[derive(Clone)]
pub struct Request {
    /// The environment in the path.
    pub environment: EnvironmentId,
    /// The integration in the path.
    pub unique_key: UniqueKey,
    /// The query, without the question mark.
    pub query: Box<str>,
    /// The headers that a provider may look at.
    pub headers: HeaderMap,
    /// The bytes.
    pub body: Bytes,
    /// When its last byte arrived.
    pub received_at: DateTime<Utc>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Request");
        shown
            .field("environment", &self.environment)
            .field("unique_key", &self.unique_key)
            .finish_non_exhaustive()
    }
}

/// What the sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is on disk (or was refused without a word, so that nobody learns by trying).
    Accepted,
    /// The vendor's challenge, answered.
    Challenge(String),
    /// The body is not JSON; the text says where.
    InvalidJson(String),
    /// The body is JSON but not what the provider sends.
    InvalidPayload(&'static str),
    /// The signature is wrong or missing.
    InvalidSignature,
    /// Nothing could vouch for it: no secret is configured.
    SecretNotConfigured,
    /// No such environment.
    UnknownEnvironment,
    /// No such integration.
    UnknownIntegration,
}

/// What a provider must know to judge a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// Graph ids of subscriptions.
    pub subscriptions: Vec<Uuid>,
    /// Tenants whose connections may be meant.
    pub tenants: Vec<TenantId>,
    /// Connections that are named.
    pub connections: Vec<ConnectionId>,
}

/// A webhook secret that is valid now.
#[derive(Debug, Clone)]
pub struct WebhookSecret {
    /// Its hash, to compare with a `clientState`.
    pub hash: LookupHash,
    /// The secret itself, where the provider signs bodies with it ([`Dialect::signs_bodies`]).
    pub text: Option<SecretString>,
}

/// What intake knows of an integration.
#[derive(Debug, Clone)]
pub struct IntegrationFacts {
    /// The environment.
    pub environment: EnvironmentId,
    /// The integration.
    pub id: IntegrationId,
    /// Its name on the wire.
    pub unique_key: UniqueKey,
    /// What it speaks.
    pub provider: Provider,
    /// Whether events are sent on.
    pub forward_webhooks: bool,
    /// Whether items keep their `clientState`.
    pub forward_client_state: bool,
    /// Whether changed resources are read at delivery.
    pub fetch_resource: bool,
    /// Which of their properties.
    pub fetch_select: Option<Select>,
    /// The secrets that are valid now; empty when none is configured.
    pub secrets: Vec<WebhookSecret>,
    /// Subscriptions whose create is in flight.
    pub pending: Vec<Tracked>,
}

impl IntegrationFacts {
    /// What is to be read at delivery for an event of `connection`.
    #[must_use]
    pub fn wish(&self, connection: ConnectionKey) -> Option<Wish> {
        Wish::of(self.provider, self.fetch_resource, self.fetch_select.as_ref(), connection)
    }
}

/// What was looked up for the requests of a batch that go to one integration.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// Tracked subscriptions by Graph id.
    pub subscriptions: HashMap<Uuid, Tracked>,
    /// Connections by tenant.
    pub tenants: HashMap<TenantId, Vec<ConnectionRef>>,
    /// Connections by name.
    pub connections: HashMap<ConnectionId, ConnectionRef>,
}

/// Everything that judging needs.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The integration.
    pub integration: &'a IntegrationFacts,
    /// What was looked up.
    pub routes: &'a Routes,
    /// Hashes states as the store holds them.
    pub hash_key: &'a HashKey,
}

/// What one POST holds for one connection.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The connection; `None` when there is none of that tenant yet.
    pub connection: Option<ConnectionRef>,
    /// The tenant that the provider named.
    pub tenant: Option<TenantId>,
    /// The Graph ids of the subscriptions that are named, without repeats.
    pub subscriptions: Vec<Uuid>,
    /// What filters look at, one entry per item.
    pub items: Vec<ItemFacts>,
    /// One key per item, separated by commas.
    pub item_keys: String,
    /// The payload in its canonical form, as it will be sent.
    pub payload: Vec<u8>,
    /// Whether an item is encrypted.
    pub rich: bool,
    /// The POST's `validationTokens` as JSON, when an item is encrypted.
    pub proof: Option<Bytes>,
    /// Whether endpoints get it; lifecycle items of tracked subscriptions are kept but acted upon, not forwarded.
    pub forwarded: bool,
}

/// The verdict on one POST.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// What the sender is told, once the events are on disk.
    pub answer: Answer,
    /// The events.
    pub drafts: Vec<Draft>,
    /// What was refused.
    pub rejections: Vec<Rejection>,
    /// Whether the matcher is to copy drafts for the connections of their tenants.
    pub copies_wait: bool,
}

impl Judgement {
    /// A refusal of the whole request.
    #[must_use]
    pub fn refused(answer: Answer, rejections: Vec<Rejection>) -> Self {
        Self { answer, drafts: Vec::new(), rejections, copies_wait: false }
    }
}

/// A request, read by its provider.
#[derive(Debug)]
pub enum Reading<'a> {
    /// Graph's change notification collection.
    Graph(graph::Collection<'a>),
}

impl<'a> Reading<'a> {
    /// Reads a request the way `provider` writes it.
    ///
    /// # Errors
    /// The refusal, when the request can't be read at all.
    pub fn of(provider: Provider, request: &'a Request) -> Result<Self, Judgement> {
        match provider.dialect() {
            Dialect::Graph => {
                graph::Collection::read(&request.body).map(Self::Graph).map_err(graph::Fault::into_judgement)
            }
        }
    }

    /// What must be looked up before it can be judged.
    #[must_use]
    pub fn wants(&self) -> Wants {
        match self {
            Self::Graph(collection) => collection.wants(),
        }
    }

    /// Judges the request.
    #[must_use]
    pub fn judge(&self, facts: Facts<'_>) -> Judgement {
        match self {
            Self::Graph(collection) => graph::judge(collection, facts),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Challenge(_) => "challenge",
            Self::InvalidJson(_) => "invalid_json",
            Self::InvalidPayload(_) => "invalid_payload",
            Self::InvalidSignature => "invalid_signature",
            Self::SecretNotConfigured => "webhook_secret_not_configured",
            Self::UnknownEnvironment => "unknown_environment",
            Self::UnknownIntegration => "unknown_provider_config",
        })
    }
}
