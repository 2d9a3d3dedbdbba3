//! Time as an argument, so that tests own it.
//!
//! Must not be bypassed: `chrono::Utc::now` is refused by clippy everywhere else.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};

/// Tells the time. The only source of "now" in Waypost.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The current time, UTC.
    fn now(&self) -> DateTime<Utc>;
}

/// A clock that several parts share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> DateTime<Utc> {
        // To the microsecond, as the store keeps it: what is shown at once is what is read back later.
        Utc::now().trunc_subsecs(6)
    }
}

/// The machine's clock, ready to be shared.
#[must_use]
pub fn system() -> SharedClock {
    Arc::new(SystemClock)
}
