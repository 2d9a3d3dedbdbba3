//! A clock that stands still until it is moved on, so that times can be compared to the microsecond.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use waypost_core::clock::{Clock, SharedClock, SystemClock};

/// The clock. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct ManualClock(Arc<Mutex<DateTime<Utc>>>);

impl ManualClock {
    /// Stands at noon of today: the database's partitions are made for real days, and a test that moves on by some
    /// hours should not meet the next one.
    pub(crate) fn at_noon() -> Self {
        let noon = NaiveTime::from_hms_opt(12, 0, 0).unwrap();
        Self(Arc::new(Mutex::new(SystemClock.now().date_naive().and_time(noon).and_utc())))
    }

    /// Moves it on.
    pub(crate) fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }

    /// The form that the store takes.
    pub(crate) fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}
