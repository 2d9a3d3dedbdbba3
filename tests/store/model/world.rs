//! The store and the model side by side: each step is done to both, and what the store answers is held against the model.

mod delivery;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use waypost_core::delivery::{
    Attempt, DeliveryStatus, Ending, Failure, Lease, Next, Outcome, Settlement, Start,
};
use waypost_core::id::{AttemptId, DeliveryId, EndpointId, EventId};
use waypost_postgres::delivery::Retry;
use waypost_postgres::endpoint::Held;
use waypost_postgres::holding::Moved;
use waypost_postgres::lease::{ClaimLimits, Claimed};

use super::rows::Rows;
use super::step::{Begins, Came, ENDPOINTS, Step};
use crate::scene::{EVERYTHING, MAX_AGE, RETRY, Scene, TERM, Tenant, answered};
use delivery::{Model, State};

/// What an endpoint is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Enabled,
    Disabled,
    Deleted,
}

/// A lease that a worker has, or had.
#[derive(Debug, Clone, Copy)]
struct Taken {
    delivery: DeliveryId,
    event: EventId,
    endpoint: EndpointId,
    lease: Lease,
    attempts: u32,
    step: u16,
}

/// The store and the model.
pub(super) struct World<'a> {
    scene: &'a Scene,
    tenant: Tenant,
    endpoints: Vec<(EndpointId, Endpoint)>,
    deliveries: BTreeMap<DeliveryId, Model>,
    /// All leases that were ever taken.
    taken: Vec<Taken>,
    /// All that was ever settled.
    settled: Vec<Settlement>,
}

impl<'a> World<'a> {
    pub(super) async fn new(scene: &'a Scene) -> Self {
        let tenant = scene.tenant("acme").await;
        let mut endpoints = Vec::new();
        for _ in 0..ENDPOINTS {
            endpoints.push((tenant.endpoint().await, Endpoint::Enabled));
        }
        Self { scene, tenant, endpoints, deliveries: BTreeMap::new(), taken: Vec::new(), settled: Vec::new() }
    }

    /// What the tables should hold.
    pub(super) fn expected(&self) -> Rows {
        let mut rows = Rows::default();
        for (id, model) in &self.deliveries {
            match model.ending() {
                Some(ending) => rows.ended.push((*id, ending, model.attempts)),
                None => {
                    rows.open.insert(*id, model.row());
                }
            }
            rows.attempts.extend(model.tries.values().map(|(number, lost)| (*id, *number, *lost)));
        }
        rows.attempts.sort_unstable();
        rows
    }

    /// Does a step to both.
    pub(super) async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append { endpoint, begins } => self.append(*endpoint, *begins).await,
            Step::Claim { total } => return self.claim(*total).await,
            Step::Settle { lease, came } if !self.taken.is_empty() => {
                let settlement = self.settlement(*lease.get(&self.taken), *came);
                self.settled.push(settlement);
                return self.settle(self.settled.len() - 1).await;
            }
            Step::Repeat { settlement } if !self.settled.is_empty() => {
                return self.settle(settlement.index(self.settled.len())).await;
            }
            Step::Wait { seconds } => self.scene.clock.advance(TimeDelta::seconds(*seconds)),
            Step::TakeBack => return self.take_back().await,
            Step::Disable { endpoint } => return self.disable(*endpoint).await,
            Step::Enable { endpoint, held } => return self.enable(*endpoint, *held).await,
            Step::Delete { endpoint } => return self.delete(*endpoint).await,
            Step::Reconcile => return self.reconcile().await,
            Step::Retry { delivery } if !self.deliveries.is_empty() => {
                let ids: Vec<DeliveryId> = self.deliveries.keys().copied().collect();
                return self.retry(*delivery.get(&ids)).await;
            }
            // There is nothing yet to do it with.
            Step::Settle { .. } | Step::Repeat { .. } | Step::Retry { .. } => {}
        }
        Ok(())
    }

    fn now(&self) -> DateTime<Utc> {
        self.scene.now()
    }

    async fn append(&mut self, endpoint: usize, begins: Begins) {
        let (now, endpoint) = (self.now(), self.endpoints[endpoint].0);
        let lease = Lease::starting(now, TERM);
        let start = match begins {
            Begins::Due => Start::Due(now),
            Begins::Later => Start::Due(now + TimeDelta::seconds(20)),
            Begins::Leased => Start::Leased(lease),
            Begins::Held => Start::Held,
        };
        let event = self.tenant.event();
        let delivery = self.tenant.delivery(event.id, endpoint, start);
        self.deliveries.insert(delivery.id, Model::starting(endpoint, start, now));
        if matches!(begins, Begins::Leased) {
            let (delivery, event) = (delivery.id, event.id);
            self.taken.push(Taken { delivery, event, endpoint, lease, attempts: 0, step: 0 });
        }
        self.scene.append(vec![event], vec![delivery]).await;
    }

    async fn claim(&mut self, total: u32) -> Result<(), TestCaseError> {
        let now = self.now();
        let claimed = self.scene.claim(&ClaimLimits { total, ..EVERYTHING }).await;
        let fresh = self.leases_of(&claimed)?;
        let due = self.deliveries.values().filter(|model| model.is_due(now)).count();
        prop_assert!(fresh.len() <= usize::try_from(total).unwrap(), "{} of {total}", fresh.len());
        prop_assert!(due == 0 || !fresh.is_empty(), "{due} are due, and none was claimed");
        prop_assert!(total < 1000 || fresh.len() == due, "{} of {due} were claimed", fresh.len());
        for taken in &fresh {
            let model = self.deliveries.get_mut(&taken.delivery).unwrap();
            prop_assert!(model.is_due(now), "{} was claimed while it was {model:?}", taken.delivery);
            prop_assert_eq!((taken.attempts, taken.step), (model.attempts, model.step));
            model.state = State::Sending(taken.lease);
        }
        self.taken.extend(fresh);
        Ok(())
    }

    /// The leases that a claim brought, each where its endpoint's state wants it.
    fn leases_of(&self, claimed: &Claimed) -> Result<Vec<Taken>, TestCaseError> {
        prop_assert!(claimed.to_put_off.is_empty());
        let mut leases = Vec::new();
        for leased in &claimed.ready {
            prop_assert_eq!(self.endpoint(leased.target.endpoint), Endpoint::Enabled);
            leases.push(Taken {
                delivery: leased.id,
                event: leased.message.event,
                endpoint: leased.target.endpoint,
                lease: leased.lease,
                attempts: leased.progress.attempts,
                step: leased.progress.step,
            });
        }
        for (rows, wanted) in
            [(&claimed.to_hold, Endpoint::Disabled), (&claimed.to_discard, Endpoint::Deleted)]
        {
            for row in rows {
                prop_assert_eq!(self.endpoint(row.endpoint), wanted);
                leases.push(Taken {
                    delivery: row.delivery,
                    event: row.event,
                    endpoint: row.endpoint,
                    lease: Lease { token: row.token, until: self.now() + TERM },
                    attempts: self.deliveries[&row.delivery].attempts,
                    step: row.step,
                });
            }
        }
        Ok(leases)
    }

    fn endpoint(&self, id: EndpointId) -> Endpoint {
        self.endpoints.iter().find(|(known, _)| *known == id).unwrap().1
    }

    fn settlement(&self, taken: Taken, came: Came) -> Settlement {
        let (now, step) = (self.now(), taken.step);
        let (outcome, next) = match came {
            Came::Delivered => (Some(answered(200)), Next::Ended(Ending::Delivered)),
            Came::Failed => {
                (Some(answered(500)), Next::Retry { due_at: now + TimeDelta::seconds(5), step: step + 1 })
            }
            Came::Throttled => {
                (Some(answered(429)), Next::Retry { due_at: now + TimeDelta::seconds(30), step })
            }
            Came::Gone => (Some(answered(410)), Next::Held),
            Came::Exhausted => (Some(Outcome::Failed(Failure::Timeout)), Next::Ended(Ending::Exhausted)),
            Came::TooOld => (Some(answered(404)), Next::Ended(Ending::TooOld)),
            Came::Back => (None, Next::Retry { due_at: now, step }),
            Came::Held => (None, Next::Held),
            Came::Discarded => (None, Next::Ended(Ending::Discarded)),
        };
        let attempt = outcome.map(|outcome| Attempt {
            id: AttemptId::at(now),
            number: taken.attempts + 1,
            started_at: now,
            duration: std::time::Duration::from_millis(1),
            outcome,
        });
        Settlement {
            delivery: taken.delivery,
            event: taken.event,
            environment: self.tenant.environment(),
            endpoint: taken.endpoint,
            token: taken.lease.token,
            attempt,
            next,
            gone: matches!(came, Came::Gone),
        }
    }

    async fn settle(&mut self, index: usize) -> Result<(), TestCaseError> {
        let now = self.now();
        let settlement = &self.settled[index];
        let settled = self.scene.settle(std::slice::from_ref(settlement)).await;
        let model = self.deliveries.get_mut(&settlement.delivery).unwrap();
        let is_new =
            settlement.attempt.as_ref().is_some_and(|attempt| !model.tries.contains_key(&attempt.id));
        let applied = model.settle(settlement, now);
        prop_assert_eq!((settled.applied, settled.lost), if applied { (1, 0) } else { (0, 1) });
        if settlement.gone && is_new {
            let id = settlement.endpoint;
            let endpoint = self.endpoints.iter_mut().find(|(known, _)| *known == id).unwrap();
            if endpoint.1 == Endpoint::Enabled {
                endpoint.1 = Endpoint::Disabled;
            }
        }
        Ok(())
    }

    async fn take_back(&mut self) -> Result<(), TestCaseError> {
        let now = self.now();
        let back = self.scene.store.take_back_expired_across_environments(now).await.unwrap();
        let mut expired = 0;
        for model in self.deliveries.values_mut().filter(|model| model.lease_is_over(now)) {
            model.state = State::Pending;
            expired += 1;
        }
        prop_assert_eq!(back.count, expired);
        Ok(())
    }

    async fn disable(&mut self, index: usize) -> Result<(), TestCaseError> {
        let (id, state) = self.endpoints[index];
        let answer = self.tenant.store.disable_endpoint(id, MAX_AGE).await.unwrap();
        prop_assert_eq!(answer.is_some(), state != Endpoint::Deleted);
        if state != Endpoint::Deleted {
            self.endpoints[index].1 = Endpoint::Disabled;
            self.hold(id);
        }
        Ok(())
    }

    async fn enable(&mut self, index: usize, held: Held) -> Result<(), TestCaseError> {
        let (id, state) = self.endpoints[index];
        let answer = self.tenant.store.enable_endpoint(id, held).await.unwrap();
        prop_assert_eq!(answer.is_some(), state != Endpoint::Deleted);
        if state == Endpoint::Disabled {
            self.endpoints[index].1 = Endpoint::Enabled;
            if held == Held::Discard {
                self.discard(id);
            }
            self.release(id);
        }
        Ok(())
    }

    async fn delete(&mut self, index: usize) -> Result<(), TestCaseError> {
        let (id, state) = self.endpoints[index];
        let deleted = self.tenant.store.delete_endpoint(id).await.unwrap();
        prop_assert_eq!(deleted, state != Endpoint::Deleted);
        if deleted {
            self.endpoints[index].1 = Endpoint::Deleted;
            self.discard(id);
        }
        Ok(())
    }

    async fn reconcile(&mut self) -> Result<(), TestCaseError> {
        let found = self.scene.store.reconcile_held_across_environments().await.unwrap();
        let mut moved = Moved::default();
        for (id, state) in self.endpoints.clone() {
            let mine = || self.deliveries.values().filter(|model| model.endpoint == id);
            let pending = mine().any(|model| model.state == State::Pending);
            let held = mine().any(|model| matches!(model.state, State::Held(_)));
            match state {
                Endpoint::Enabled if held => moved.released += self.release(id),
                Endpoint::Disabled if pending => moved.held += self.hold(id),
                Endpoint::Deleted if pending || held => moved.discarded += self.discard(id),
                _ => {}
            }
        }
        prop_assert_eq!(found, moved);
        Ok(())
    }

    async fn retry(&mut self, id: DeliveryId) -> Result<(), TestCaseError> {
        let now = self.now();
        let answer = self.tenant.store.retry_delivery(id, RETRY).await.unwrap();
        let endpoint = self.endpoint(self.deliveries[&id].endpoint);
        let model = self.deliveries.get_mut(&id).unwrap();
        let status = model.status();
        let begins = match status {
            DeliveryStatus::Pending => {
                model.due_at = model.due_at.min(now);
                true
            }
            DeliveryStatus::Dead if endpoint != Endpoint::Deleted => {
                model.begin_anew(endpoint == Endpoint::Disabled, now);
                true
            }
            _ => false,
        };
        match answer {
            Some(Retry::Begun(begun)) => {
                prop_assert!(begins, "{id} was retried while it was {status:?}");
                prop_assert_eq!(
                    (begun.id, begun.status, begun.attempts),
                    (id, model.status(), model.attempts)
                );
            }
            Some(Retry::Refused(found)) => prop_assert!(!begins && found == status, "{found:?}, {status:?}"),
            Some(Retry::NoEndpoint) => {
                prop_assert_eq!((status, endpoint), (DeliveryStatus::Dead, Endpoint::Deleted));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        Ok(())
    }

    fn hold(&mut self, endpoint: EndpointId) -> usize {
        let now = self.now();
        let mut count = 0;
        for model in self.deliveries.values_mut() {
            if model.endpoint == endpoint && model.state == State::Pending {
                model.state = State::Held(now);
                count += 1;
            }
        }
        count
    }

    fn release(&mut self, endpoint: EndpointId) -> usize {
        let now = self.now();
        let of_endpoint = self.deliveries.values_mut().filter(|model| model.endpoint == endpoint);
        let mut place = 0;
        for model in of_endpoint {
            if model.release(now + TimeDelta::milliseconds(30) * place, now) {
                place += 1;
            }
        }
        usize::try_from(place).unwrap()
    }

    fn discard(&mut self, endpoint: EndpointId) -> usize {
        let now = self.now();
        let mut count = 0;
        for model in self.deliveries.values_mut() {
            let open = match model.state {
                State::Pending | State::Held(_) => true,
                State::Sending(_) => model.lease_is_over(now),
                State::Ended(_) => false,
            };
            if model.endpoint == endpoint && open {
                model.state = State::Ended(Ending::Discarded);
                count += 1;
            }
        }
        count
    }
}
