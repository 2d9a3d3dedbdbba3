//! How committed work passes from intake to the deliverer of the same process, without a read from the store.
//!
//! Intake reserves a place before it appends; a delivery with a place is stored as leased already and handed over once
//! the commit is done. Where there is no deliverer, or no place, the delivery is stored as due and any process takes it.

use std::fmt;
use std::sync::Arc;

use chrono::TimeDelta;

use crate::delivery::Leased;
use crate::id::{EndpointId, EnvironmentId};

/// Takes deliveries that this process has just stored. The deliverer implements it.
pub trait HandOff: Send + Sync + fmt::Debug {
    /// Takes a place for one delivery, or refuses: when the process, the environment's share or the endpoint is full,
    /// or when older work of the endpoint must go first.
    fn reserve(&self, environment: EnvironmentId, endpoint: EndpointId) -> Option<Place>;

    /// How long a lease must last that is handed over.
    fn lease_term(&self) -> TimeDelta;

    /// Hands over a delivery whose row is committed.
    fn give(&self, place: Place, delivery: Leased);

    /// Tells that work was stored which nobody holds. A hint: it may be lost.
    fn unleased_work(&self);

    /// Tells that events were stored whose origin is to be proven. A hint: it may be lost.
    fn unproven_events(&self);

    /// Tells that events were stored which the matcher is to copy for connections. A hint: it may be lost.
    fn unmatched_work(&self);
}

/// Gets places back.
pub trait Places: Send + Sync {
    /// Frees one place.
    fn free(&self, environment: EnvironmentId, endpoint: EndpointId);
}

/// A place for one delivery in flight. Freed when dropped, wherever that happens.
pub struct Place {
    owner: Arc<dyn Places>,
    environment: EnvironmentId,
    endpoint: EndpointId,
}

impl Place {
    /// A place that `owner` has counted and gets back.
    #[must_use]
    pub fn new(owner: Arc<dyn Places>, environment: EnvironmentId, endpoint: EndpointId) -> Self {
        Self { owner, environment, endpoint }
    }

    /// The endpoint that it counts for.
    #[must_use]
    pub const fn endpoint(&self) -> EndpointId {
        self.endpoint
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.owner.free(self.environment, self.endpoint);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("environment", &self.environment)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
