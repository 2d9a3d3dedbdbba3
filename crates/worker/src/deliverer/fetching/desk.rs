//! Who reads at the moment: places per process, environment and connection, turns within a connection, and connections
//! that are to be left alone for a while.
//!
//! What is kept here is of this process alone and may be lost: it spares calls, and nothing is right or wrong by it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use waypost_core::id::{ConnectionKey, EnvironmentId};

/// How many deliveries may read at one time.
const PLACES: u32 = 64;
/// How many of one environment.
const OF_ENVIRONMENT: u32 = 32;
/// How many of one connection, those included that wait for their turn.
const OF_CONNECTION: u32 = 16;
/// How many of one connection call at one time: as many as Graph allows an app in one mailbox.
const CALLS: usize = 4;

/// Counts who has how many places.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    environments: HashMap<EnvironmentId, u32>,
    connections: HashMap<ConnectionKey, Seats>,
    paused: HashMap<ConnectionKey, DateTime<Utc>>,
}

#[derive(Debug)]
struct Seats {
    taken: u32,
    calls: Arc<Semaphore>,
}

/// A place. Freed when dropped.
#[derive(Debug)]
pub(super) struct Place {
    desk: Arc<Desk>,
    environment: EnvironmentId,
    connection: ConnectionKey,
    calls: Arc<Semaphore>,
}

impl Desk {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, when process, environment and connection have one left.
    pub(super) fn take(
        desk: &Arc<Self>,
        environment: EnvironmentId,
        connection: ConnectionKey,
    ) -> Option<Place> {
        let mut taken = desk.taken();
        let of_environment = taken.environments.get(&environment).copied().unwrap_or_default();
        let of_connection = taken.connections.get(&connection).map_or(0, |seats| seats.taken);
        if taken.all >= PLACES || of_environment >= OF_ENVIRONMENT || of_connection >= OF_CONNECTION {
            return None;
        }
        taken.all += 1;
        *taken.environments.entry(environment).or_default() += 1;
        let new = || Seats { taken: 0, calls: Arc::new(Semaphore::new(CALLS)) };
        let seats = taken.connections.entry(connection).or_insert_with(new);
        seats.taken += 1;
        let calls = Arc::clone(&seats.calls);
        drop(taken);
        metrics::gauge!("waypost_fetches_in_flight").increment(1.0);
        Some(Place { desk: Arc::clone(desk), environment, connection, calls })
    }

    /// Leaves a connection alone for a while.
    pub(super) fn pause(&self, connection: ConnectionKey, now: DateTime<Utc>, wait: TimeDelta) {
        let mut taken = self.taken();
        taken.paused.retain(|_, until| *until > now);
        let until = taken.paused.entry(connection).or_insert(now);
        *until = (*until).max(now + wait);
    }

    /// How long a connection is to be left alone yet.
    pub(super) fn paused(&self, connection: ConnectionKey, now: DateTime<Utc>) -> Option<TimeDelta> {
        let until = self.taken().paused.get(&connection).copied()?;
        (until > now).then(|| until - now)
    }
}

impl Place {
    /// Waits for the turn to call.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.calls).acquire_owned().await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.desk.taken();
        taken.all -= 1;
        count_down(&mut taken.environments, self.environment, |count| count);
        count_down(&mut taken.connections, self.connection, |seats| &mut seats.taken);
        drop(taken);
        metrics::gauge!("waypost_fetches_in_flight").decrement(1.0);
    }
}

fn count_down<K: Eq + Hash, V>(counts: &mut HashMap<K, V>, key: K, count: impl Fn(&mut V) -> &mut u32) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = counts.entry(key) {
        let left = count(entry.get_mut());
        *left -= 1;
        if *left == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn environment(n: u128) -> EnvironmentId {
        EnvironmentId::from_uuid(Uuid::from_u128(n))
    }

    fn take(desk: &Arc<Desk>, n: u32, e: u128) -> Option<Place> {
        Desk::take(desk, environment(e), ConnectionKey::from_number(n.into()))
    }

    #[test]
    fn a_connection_an_environment_and_the_process_each_have_their_limit() {
        let desk = Arc::new(Desk::default());
        let mut held: Vec<Place> = (0..OF_CONNECTION).map(|_| take(&desk, 1, 1).unwrap()).collect();
        assert!(take(&desk, 1, 1).is_none(), "the connection is full");
        held.extend((OF_CONNECTION..OF_ENVIRONMENT).map(|n| take(&desk, 100 + n, 1).unwrap()));
        assert!(take(&desk, 2, 1).is_none(), "the environment is full");
        held.extend((OF_ENVIRONMENT..PLACES).map(|n| take(&desk, 200 + n, u128::from(n)).unwrap()));
        assert!(take(&desk, 3, 999).is_none(), "the process is full");
        held.pop();
        assert!(take(&desk, 3, 999).is_some());
        drop(held);
        let taken = desk.taken();
        assert!(taken.all == 0 && taken.environments.is_empty() && taken.connections.is_empty());
    }

    #[tokio::test]
    async fn so_many_of_a_connection_call_at_one_time() {
        let desk = Arc::new(Desk::default());
        let places: Vec<Place> = (0..=CALLS).map(|_| take(&desk, 1, 1).unwrap()).collect();
        let mut turns = Vec::new();
        for place in &places[..CALLS] {
            turns.push(place.turn().await);
        }
        let mut next = std::pin::pin!(places[CALLS].turn());
        assert!(futures_now(next.as_mut()).is_none(), "all turns are taken");
        turns.pop();
        assert!(next.await.is_some());
    }

    fn futures_now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_pause_ends_by_itself_and_the_longest_counts() {
        let desk = Desk::default();
        let (now, connection) = (DateTime::UNIX_EPOCH, ConnectionKey::from_number(1));
        desk.pause(connection, now, TimeDelta::seconds(9));
        desk.pause(connection, now, TimeDelta::seconds(3));
        assert_eq!(desk.paused(connection, now), Some(TimeDelta::seconds(9)));
        assert_eq!(desk.paused(ConnectionKey::from_number(2), now), None);
        assert_eq!(desk.paused(connection, now + TimeDelta::seconds(9)), None);
    }
}
