//! Places: how many deliveries may be in flight, per process, per environment and per endpoint.
//!
//! A part of the process's places is kept for fresh work, which arrives by hand-over: retries and backlogs, which come
//! by lease, can't take it. One environment can't take all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use waypost_core::hand_off::{Place, Places};
use waypost_core::id::{EndpointId, EnvironmentId};

/// Counts who has how many places.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: u32,
    per_endpoint: u32,
    per_environment: u32,
    for_leases: u32,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    endpoints: HashMap<EndpointId, u32>,
    environments: HashMap<EnvironmentId, u32>,
}

/// What may be leased now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// Deliveries in all.
    pub(super) all: u32,
    /// What is left for the endpoints that have some in flight.
    pub(super) endpoints: Vec<(EndpointId, u32)>,
    /// What is left for the environments that have some in flight.
    pub(super) environments: Vec<(EnvironmentId, u32)>,
}

impl Ledger {
    pub(super) fn new(limit: u32, per_endpoint: u32) -> Self {
        let limit = limit.max(1);
        let half = limit.div_ceil(2);
        Self {
            limit,
            per_endpoint: per_endpoint.clamp(1, limit),
            per_environment: half.max(per_endpoint.min(limit)),
            for_leases: (limit - limit / 4).max(1),
            taken: Mutex::default(),
            freed: Notify::new(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for fresh work, when the process, the environment and the endpoint have one left.
    pub(super) fn take_fresh(
        ledger: &Arc<Self>,
        environment: EnvironmentId,
        endpoint: EndpointId,
    ) -> Option<Place> {
        let mut taken = ledger.taken();
        let of_endpoint = taken.endpoints.get(&endpoint).copied().unwrap_or_default();
        let of_environment = taken.environments.get(&environment).copied().unwrap_or_default();
        if taken.all >= ledger.limit
            || of_endpoint >= ledger.per_endpoint
            || of_environment >= ledger.per_environment
        {
            return None;
        }
        taken.add(environment, endpoint);
        drop(taken);
        Some(Self::place(ledger, environment, endpoint))
    }

    /// A place for work that is leased already, within what [`Ledger::open_for_leases`] told.
    pub(super) fn take_leased(ledger: &Arc<Self>, environment: EnvironmentId, endpoint: EndpointId) -> Place {
        ledger.taken().add(environment, endpoint);
        Self::place(ledger, environment, endpoint)
    }

    fn place(ledger: &Arc<Self>, environment: EnvironmentId, endpoint: EndpointId) -> Place {
        metrics::gauge!("waypost_deliveries_in_flight").increment(1.0);
        let owner: Arc<dyn Places> = Arc::clone(ledger) as _;
        Place::new(owner, environment, endpoint)
    }

    /// How many deliveries may be leased now, in all and of those who have some in flight.
    pub(super) fn open_for_leases(&self) -> Open {
        let taken = self.taken();
        Open {
            all: self.for_leases.saturating_sub(taken.all),
            endpoints: left(&taken.endpoints, self.per_endpoint),
            environments: left(&taken.environments, self.per_environment),
        }
    }

    pub(super) const fn per_endpoint(&self) -> u32 {
        self.per_endpoint
    }

    pub(super) const fn per_environment(&self) -> u32 {
        self.per_environment
    }

    /// Waits until a place is freed.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Taken {
    fn add(&mut self, environment: EnvironmentId, endpoint: EndpointId) {
        self.all += 1;
        *self.endpoints.entry(endpoint).or_default() += 1;
        *self.environments.entry(environment).or_default() += 1;
    }
}

/// What each has left of `limit`.
fn left<K: Copy>(counts: &HashMap<K, u32>, limit: u32) -> Vec<(K, u32)> {
    counts.iter().map(|(key, count)| (*key, limit.saturating_sub(*count))).collect()
}

fn count_down<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl Places for Ledger {
    fn free(&self, environment: EnvironmentId, endpoint: EndpointId) {
        let mut taken = self.taken();
        taken.all -= 1;
        count_down(&mut taken.endpoints, endpoint);
        count_down(&mut taken.environments, environment);
        drop(taken);
        metrics::gauge!("waypost_deliveries_in_flight").decrement(1.0);
        self.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn endpoint(n: u128) -> EndpointId {
        EndpointId::from_uuid(Uuid::from_u128(n))
    }

    fn environment(n: u128) -> EnvironmentId {
        EnvironmentId::from_uuid(Uuid::from_u128(n))
    }

    #[test]
    fn an_endpoint_an_environment_and_the_process_each_have_their_limit() {
        let ledger = Arc::new(Ledger::new(8, 2));
        let take = |e: u128, v: u128| Ledger::take_fresh(&ledger, environment(v), endpoint(e));
        let mut held = vec![take(1, 1).unwrap(), take(1, 1).unwrap()];
        assert!(take(1, 1).is_none(), "the endpoint is full");
        held.extend([take(2, 1).unwrap(), take(3, 1).unwrap()]);
        assert!(take(4, 1).is_none(), "the environment has its half");
        held.extend((10..14).map(|e| take(e, e).unwrap()));
        assert!(take(20, 20).is_none(), "the process is full");
        held.pop();
        assert!(take(20, 20).is_some());
    }

    #[test]
    fn leases_leave_a_reserve_for_fresh_work() {
        let ledger = Arc::new(Ledger::new(8, 8));
        assert_eq!(ledger.open_for_leases(), Open { all: 6, endpoints: vec![], environments: vec![] });
        let held: Vec<_> =
            (0..6).map(|_| Ledger::take_leased(&ledger, environment(1), endpoint(1))).collect();
        assert_eq!(ledger.open_for_leases().all, 0);
        assert!(Ledger::take_fresh(&ledger, environment(2), endpoint(2)).is_some());
        drop(held);
        assert_eq!(ledger.open_for_leases().all, 6);
    }

    #[test]
    fn leases_keep_to_the_limits_of_an_endpoint_and_an_environment() {
        let ledger = Arc::new(Ledger::new(16, 4));
        let take = |e: u128| Ledger::take_leased(&ledger, environment(1), endpoint(e));
        let held: Vec<_> = [1, 1, 1, 2, 2, 2, 2].map(take).into();
        let mut open = ledger.open_for_leases();
        open.endpoints.sort_unstable();
        assert_eq!(open.endpoints, [(endpoint(1), 1), (endpoint(2), 0)]);
        assert_eq!((open.all, open.environments), (5, vec![(environment(1), 1)]));
        drop(held);
        assert!(ledger.open_for_leases().environments.is_empty());
    }
}
