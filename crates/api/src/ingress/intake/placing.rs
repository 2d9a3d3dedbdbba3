//! From drafts to rows: which endpoints an event goes to, and how each delivery starts.
//!
//! A delivery starts leased only when this process has a place for it and nothing older of its endpoint must go first.
//! Must not read the store, nor look at another environment's endpoints than the event's own.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use waypost_core::connection::ConnectionRef;
use waypost_core::delivery::{Lease, Leased, Message, NewDelivery, Progress, Start, Target};
use waypost_core::endpoint::{self, Candidate, EndpointStatus};
use waypost_core::event::{EventKind, NewEvent, Routing, forward_body};
use waypost_core::filter::Subject;
use waypost_core::hand_off::Place;
use waypost_core::id::{DeliveryId, EnvironmentId, EventId};
use waypost_core::provider::{Draft, IntegrationFacts};
use waypost_postgres::append::Batch;
use waypost_postgres::resolve::EndpointSet;

use super::Flusher;

/// What is to be stored, and what is handed over once it is.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) batch: Batch,
    pub(super) leased: Vec<(Place, Leased)>,
    /// Whether something is due that nobody holds.
    pub(super) unleased: bool,
    /// Whether the matcher is to copy something.
    pub(super) copies_wait: bool,
}

/// Places the drafts of a batch.
pub(super) struct Placing<'a> {
    flusher: &'a Flusher,
    endpoints: &'a HashMap<EnvironmentId, EndpointSet>,
    now: DateTime<Utc>,
    placed: Placed,
}

impl<'a> Placing<'a> {
    pub(super) fn new(
        flusher: &'a Flusher,
        endpoints: &'a HashMap<EnvironmentId, EndpointSet>,
        now: DateTime<Utc>,
    ) -> Self {
        Self { flusher, endpoints, now, placed: Placed::default() }
    }

    /// Adds the event of one draft, with its deliveries.
    pub(super) fn add(&mut self, received_at: DateTime<Utc>, integration: &IntegrationFacts, draft: &Draft) {
        let mut event = new_event(received_at, integration, draft);
        if let Some(connection) =
            draft.connection.as_ref().filter(|_| draft.forwarded && integration.forward_webhooks)
        {
            let before = self.placed.batch.deliveries.len();
            self.deliver(&event, connection, integration, draft);
            if self.placed.batch.deliveries.len() > before {
                event.routing = Routing::Routed;
            }
        }
        self.placed.batch.events.push(event);
    }

    /// Tells that the matcher is to copy something.
    pub(super) fn leave_copies(&mut self) {
        self.placed.copies_wait = true;
    }

    pub(super) fn finish(self) -> Placed {
        self.placed
    }

    fn deliver(
        &mut self,
        event: &NewEvent,
        connection: &ConnectionRef,
        integration: &IntegrationFacts,
        draft: &Draft,
    ) {
        let Some(set) = self.endpoints.get(&event.environment) else { return };
        let subject = Subject {
            kind: event.kind,
            integration: Some(integration.unique_key.as_str()),
            connection: Some(connection.id.as_str()),
            items: &draft.items,
        };
        let message = Message {
            event: event.id,
            body: event.body.clone(),
            item_keys: Arc::from(event.item_keys.as_str()),
            rich: event.rich,
            fetch: integration.wish(connection.key),
        };
        for candidate in endpoint::route(&set.candidates, Some(connection), subject) {
            self.add_delivery(event, candidate, set, &message);
        }
    }

    fn add_delivery(
        &mut self,
        event: &NewEvent,
        candidate: &Candidate,
        set: &EndpointSet,
        message: &Message,
    ) {
        let id = DeliveryId::at(event.received_at);
        let give_up_at = self.now + self.flusher.max_age;
        let start = if candidate.status == EndpointStatus::Disabled {
            Start::Held
        } else if let Some((place, target)) = self.reserve(event, candidate, set) {
            let lease = Lease::starting(self.now, self.flusher.hand_off.lease_term());
            let progress = Progress { attempts: 0, step: 0, give_up_at };
            let message = message.clone();
            let leased = Leased { id, environment: event.environment, lease, progress, message, target };
            self.placed.leased.push((place, leased));
            Start::Leased(lease)
        } else {
            self.placed.unleased = true;
            Start::Due(self.now)
        };
        let (environment, endpoint) = (event.environment, candidate.id);
        self.placed.batch.deliveries.push(NewDelivery {
            id,
            event: event.id,
            environment,
            endpoint,
            start,
            give_up_at,
        });
    }

    /// A place with this process' deliverer, for a delivery that may go at once.
    fn reserve(
        &self,
        event: &NewEvent,
        candidate: &Candidate,
        set: &EndpointSet,
    ) -> Option<(Place, Arc<Target>)> {
        if candidate.backlog || event.rich {
            return None;
        }
        let place = self.flusher.hand_off.reserve(event.environment, candidate.id)?;
        match set.target(&self.flusher.store, candidate.id) {
            Ok(target) => Some((place, target?)),
            Err(error) => {
                // The event is sound, and whoever leases the delivery meets the same fault and settles it.
                tracing::warn!(endpoint.id = %candidate.id, error = %crate::error::chain(&error), "an endpoint can't be opened");
                None
            }
        }
    }
}

/// The event of a draft, as long as no endpoint is known that wants it.
fn new_event(received_at: DateTime<Utc>, integration: &IntegrationFacts, draft: &Draft) -> NewEvent {
    let body = match &draft.connection {
        Some(connection) => {
            forward_body(&connection.id, integration.provider, &integration.unique_key, &draft.payload)
        }
        None => draft.payload.clone(),
    };
    // What is acted upon and not forwarded must not be matched, and so forwarded, later.
    let waits = draft.connection.is_none() && draft.forwarded;
    NewEvent {
        id: EventId::at(received_at),
        environment: integration.environment,
        integration: Some(integration.id),
        connection: draft.connection.as_ref().map(|connection| connection.key),
        tenant: draft.tenant,
        subscriptions: draft.subscriptions.clone(),
        kind: EventKind::Forward,
        routing: if waits { Routing::Unmatched } else { Routing::Unrouted },
        received_at,
        items: u32::try_from(draft.items.len()).unwrap_or(u32::MAX),
        item_keys: draft.item_keys.clone(),
        rich: draft.rich,
        body: Bytes::from(body),
        proof: draft.proof.clone(),
    }
}
