//! The matcher: gives events that wait for a connection of their tenant to the connections that have come.
//!
//! What waits stands in the store; a new connection is only a hint to look at once. Routing follows the rules of intake,
//! which leaves it to the matcher, too, when one POST is to be copied for very many connections.
//!
//! Must not hold more than a few parts of what it writes: one event may have to be copied a thousand times.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use waypost_core::clock::SharedClock;
use waypost_core::connection::ConnectionRef;
use waypost_core::delivery::{NewDelivery, Start};
use waypost_core::endpoint::{Candidate, EndpointStatus, route};
use waypost_core::event::{EventKind, ItemFacts, NewEvent, Routing, forward_body};
use waypost_core::filter::Subject;
use waypost_core::id::{DeliveryId, EndpointId, EnvironmentId, EventId};
use waypost_core::provider::{Dialect, Provider, graph};
use waypost_postgres::append::Batch;
use waypost_postgres::matching::{Matched, Round, Waiting};
use waypost_postgres::{Store, StoreError};

use crate::bell::Bell;
use crate::patience::{SWEEP, within};

/// How often to look while something may match any moment.
const TICK: Duration = Duration::from_secs(1);
/// How long that is so after a hint: what intake is about to store may not know of the new connection.
const AFTER_HINT: Duration = Duration::from_secs(15);
/// How long an event counts as just come.
const JUST_COME: TimeDelta = TimeDelta::minutes(1);
/// How often to look otherwise: whoever makes a connection gives a hint.
const AT_REST: Duration = Duration::from_secs(10);
/// What is held of copies before it is written, roughly.
const PART_BYTES: usize = 16 * 1024 * 1024;
/// After how many bytes of copies a round is committed, roughly; a single event may have more.
const ROUND_BYTES: usize = 64 * 1024 * 1024;

/// The matcher.
#[derive(Debug)]
pub struct Matcher {
    store: Store,
    clock: SharedClock,
    bell: Bell,
    max_age: TimeDelta,
}

impl Matcher {
    /// A matcher whose deliveries are given up after `max_age` at the latest. It rings `bell` when there are some, and looks
    /// when the bell tells that something may match.
    #[must_use]
    pub fn new(store: Store, clock: SharedClock, bell: Bell, max_age: TimeDelta) -> Self {
        Self { store, clock, bell, max_age }
    }

    /// Runs until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut expecting = Instant::now();
        loop {
            let pause = match within(SWEEP, self.look()).await {
                Ok(Waits::Lately) => TICK,
                Ok(_) if expecting > Instant::now() => TICK,
                Ok(_) => AT_REST,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "matching failed; it is tried again"
                    );
                    TICK
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.bell.matching_rung() => expecting = Instant::now() + AFTER_HINT,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One statement while nothing waits.
    async fn look(&self) -> Result<Waits, StoreError> {
        let Some(newest) = self.store.newest_unmatched_across_environments().await? else {
            return Ok(Waits::Nothing);
        };
        let matched = self.sweep().await?;
        if matched > 0 {
            tracing::info!(events = matched, "events without a connection were matched");
        }
        let is_new = self.clock.now() - newest.made_at() < JUST_COME;
        Ok(if is_new { Waits::Lately } else { Waits::Long })
    }

    /// Matches all that can be matched now, and tells how many events that were.
    ///
    /// # Errors
    /// When the store fails; what was matched until then stays matched.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        let mut total = 0;
        while let Some(mut round) = self.store.take_matchable_across_environments().await? {
            let now = self.clock.now();
            let found = self.find_candidates(&round.waiting, now).await?;
            let mut plan = Plan::new(now, now + self.max_age);
            for waiting in std::mem::take(&mut round.waiting) {
                if let Some(candidates) = found.get(&waiting.environment) {
                    plan.place(&waiting, candidates, &mut round).await?;
                }
                // The others go on waiting, for the next round.
                if plan.bytes >= ROUND_BYTES {
                    break;
                }
            }
            let count = plan.matched.len();
            round.finish(&plan.matched, &plan.more, &plan.copies).await?;
            if plan.delivers {
                self.bell.ring();
            }
            total += count;
            if count == 0 {
                break;
            }
        }
        Ok(total)
    }

    /// The endpoints of each environment that has waiting events. Those of one where a row can't be right go on waiting,
    /// and the others are matched.
    async fn find_candidates(
        &self,
        waiting: &[Waiting],
        now: DateTime<Utc>,
    ) -> Result<HashMap<EnvironmentId, Vec<Candidate>>, StoreError> {
        let environments: BTreeSet<_> = waiting.iter().map(|event| event.environment).collect();
        let connections = waiting.iter().flat_map(|event| event.connections.iter());
        let overrides = connections.filter_map(|connection| connection.override_endpoint).collect();
        match self.candidates_of(&environments, &overrides, now).await {
            Err(error) if !error.is_passing() => {}
            result => return result,
        }
        let mut found = HashMap::new();
        for environment in environments {
            let events = waiting.iter().filter(|event| event.environment == environment);
            let connections = events.flat_map(|event| event.connections.iter());
            let overrides = connections.filter_map(|connection| connection.override_endpoint).collect();
            match self.candidates_of(&BTreeSet::from([environment]), &overrides, now).await {
                Ok(one) => found.extend(one),
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => tracing::error!(
                    environment.id = %environment, error = &error as &dyn std::error::Error, "an environment can't be matched"
                ),
            }
        }
        Ok(found)
    }

    async fn candidates_of(
        &self,
        environments: &BTreeSet<EnvironmentId>,
        overrides: &BTreeSet<EndpointId>,
        now: DateTime<Utc>,
    ) -> Result<HashMap<EnvironmentId, Vec<Candidate>>, StoreError> {
        let mut sets = self.store.find_endpoints_across_environments(environments, overrides, now).await?;
        let of = |id: &EnvironmentId| (*id, sets.remove(id).unwrap_or_default().candidates);
        Ok(environments.iter().map(of).collect())
    }
}

/// What waits after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Nothing,
    /// The newest has just come.
    Lately,
    /// The newest has waited for a while.
    Long,
}

/// Where the events of a round go.
struct Plan {
    /// Their own rows.
    matched: Vec<Matched>,
    /// Events for further connections, and deliveries, which are not written yet.
    more: Batch,
    /// Whose copies those events are.
    copies: Vec<(EventId, EventId)>,
    /// What `more` holds in bodies.
    held: usize,
    /// What the round writes in bodies.
    bytes: usize,
    /// Whether there are deliveries.
    delivers: bool,
    now: DateTime<Utc>,
    give_up_at: DateTime<Utc>,
}

impl Plan {
    fn new(now: DateTime<Utc>, give_up_at: DateTime<Utc>) -> Self {
        let (matched, more) = (Vec::new(), Batch::default());
        Self { matched, more, copies: Vec::new(), held: 0, bytes: 0, delivers: false, now, give_up_at }
    }

    /// The event's own row becomes the first connection's; each further one gets an event of its own.
    async fn place(
        &mut self,
        waiting: &Waiting,
        candidates: &[Candidate],
        round: &mut Round,
    ) -> Result<(), StoreError> {
        let facts = items_of(waiting.integration.provider, &waiting.payload);
        let candidates = if waiting.integration.forward_webhooks { candidates } else { &[] };
        for (index, connection) in waiting.connections.iter().enumerate() {
            let event = if index == 0 { waiting.event } else { EventId::at(waiting.received_at) };
            let routing = self.deliver(waiting, event, takers(waiting, connection, &facts, candidates));
            let integration = &waiting.integration;
            let body =
                forward_body(&connection.id, integration.provider, &integration.unique_key, &waiting.payload);
            self.bytes += body.len();
            self.held += body.len();
            let matched = Matched { event, connection: connection.key, routing, body: body.into() };
            if index == 0 {
                self.matched.push(matched);
            } else {
                self.copies.push((waiting.event, event));
                self.more.events.push(further_event(waiting, matched));
            }
            if self.held >= PART_BYTES {
                self.held = 0;
                round.append(&std::mem::take(&mut self.more)).await?;
            }
        }
        Ok(())
    }

    fn deliver<'a>(
        &mut self,
        waiting: &Waiting,
        event: EventId,
        takers: impl Iterator<Item = &'a Candidate>,
    ) -> Routing {
        let before = self.more.deliveries.len();
        self.more.deliveries.extend(takers.map(|taker| NewDelivery {
            id: DeliveryId::at(self.now),
            event,
            environment: waiting.environment,
            endpoint: taker.id,
            start: match taker.status {
                EndpointStatus::Enabled => Start::Due(self.now),
                EndpointStatus::Disabled => Start::Held,
            },
            give_up_at: self.give_up_at,
        }));
        let is_wanted = self.more.deliveries.len() > before;
        self.delivers |= is_wanted;
        if is_wanted { Routing::Routed } else { Routing::Unrouted }
    }
}

fn takers<'a>(
    waiting: &'a Waiting,
    connection: &'a ConnectionRef,
    items: &'a [ItemFacts],
    candidates: &'a [Candidate],
) -> impl Iterator<Item = &'a Candidate> {
    let subject = Subject {
        kind: EventKind::Forward,
        integration: Some(waiting.integration.unique_key.as_str()),
        connection: Some(connection.id.as_str()),
        items,
    };
    route(candidates, Some(connection), subject)
}

fn further_event(waiting: &Waiting, matched: Matched) -> NewEvent {
    NewEvent {
        id: matched.event,
        environment: waiting.environment,
        integration: Some(waiting.integration.id),
        connection: Some(matched.connection),
        tenant: Some(waiting.tenant),
        subscriptions: waiting.subscriptions.clone(),
        kind: EventKind::Forward,
        routing: matched.routing,
        received_at: waiting.received_at,
        items: waiting.items,
        item_keys: waiting.item_keys.clone(),
        rich: waiting.rich,
        body: matched.body,
        proof: waiting.proof.clone(),
    }
}

/// What filters look at in each item of a payload.
fn items_of(provider: Provider, payload: &[u8]) -> Vec<ItemFacts> {
    match provider.dialect() {
        Dialect::Graph => {
            let Ok(collection) = graph::Collection::read(payload) else { return Vec::new() };
            collection.items.iter().filter_map(|item| item.as_ref().ok()).map(facts_of).collect()
        }
    }
}

fn facts_of(item: &graph::Item<'_>) -> ItemFacts {
    let change_type = match &item.kind {
        graph::ItemKind::Change(change) => change.as_deref().map(Into::into),
        graph::ItemKind::Lifecycle(_) => None,
    };
    ItemFacts { change_type, resource: item.resource.as_deref().map(Into::into) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_payload_gives_filters_what_intake_gave_them() {
        let payload = br#"{"value":[{"changeType":"created","resource":"Users/u/Messages/m"},{"lifecycleEvent":"missed","resource":"r"}]}"#;
        let provider = Provider::named("microsoft-oauth2-cc").unwrap();
        let change =
            ItemFacts { change_type: Some("created".into()), resource: Some("Users/u/Messages/m".into()) };
        let lifecycle = ItemFacts { change_type: None, resource: Some("r".into()) };
        assert_eq!(items_of(provider, payload), [change, lifecycle]);
    }
}
