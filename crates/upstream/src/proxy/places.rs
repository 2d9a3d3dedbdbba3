//! How many calls may be under way at once: in this process, and for one connection. Who finds no place is told at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use waypost_core::id::ConnectionKey;

use super::ProxyError;

/// The most calls of this process.
const MOST: usize = 1024;
/// The most calls of one connection, so that one customer can't take all places.
const MOST_PER_CONNECTION: usize = 128;

/// The places.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    taken: Mutex<HashMap<ConnectionKey, usize>>,
}

/// A place that is taken until this is dropped, which is when the last of the answer is passed on.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    connection: ConnectionKey,
    _permit: OwnedSemaphorePermit,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST)), taken: Mutex::default() }
    }
}

impl Places {
    /// A place for a call of `connection`.
    pub(super) fn take(self: &Arc<Self>, connection: ConnectionKey) -> Result<Place, ProxyError> {
        let permit = Arc::clone(&self.all).try_acquire_owned().map_err(|_| ProxyError::Busy)?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(connection).or_default();
        if *count >= MOST_PER_CONNECTION {
            return Err(ProxyError::ConnectionBusy);
        }
        *count += 1;
        drop(taken);
        Ok(Place { places: Arc::clone(self), connection, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.connection) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.connection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_cannot_take_all_places_and_gives_its_own_back() {
        let places = Arc::new(Places::default());
        let (one, other) = (ConnectionKey::from_number(1), ConnectionKey::from_number(2));
        let held: Vec<_> = (0..MOST_PER_CONNECTION).map(|_| places.take(one).unwrap()).collect();
        assert!(matches!(places.take(one), Err(ProxyError::ConnectionBusy)));
        assert!(places.take(other).is_ok());
        drop(held);
        assert!(places.take(one).is_ok());
        assert_eq!(places.all.available_permits(), MOST);
        assert!(places.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn the_process_has_so_many_places_and_no_more() {
        let places = Arc::new(Places::default());
        let number = |number: usize| ConnectionKey::from_number(i64::try_from(number).unwrap());
        let held: Vec<_> = (0..MOST).map(|taken| places.take(number(taken)).unwrap()).collect();
        assert!(matches!(places.take(number(MOST)), Err(ProxyError::Busy)));
        drop(held);
    }
}
