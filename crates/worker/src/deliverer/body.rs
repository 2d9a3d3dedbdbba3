//! The bytes of a delivery: as they were stored, or made anew at each attempt, in memory alone.
//!
//! Two steps, for those events that need them: encrypted items are opened, then what changed is read for items that
//! bring no data. Both together leave the request its time under the lease.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use waypost_core::delivery::{Leased, Message};

use super::TOO_BUSY_WAIT;
use super::fetching::Fetching;
use super::opener::{Opened, Opener};

/// How long both steps may take.
const PREPARING: Duration = Duration::from_secs(12);
/// How long a delivery waits for parts that can't be had yet; from then on it goes out with what there is.
pub(super) const PATIENCE: TimeDelta = TimeDelta::minutes(15);

/// What came of preparing a delivery.
#[derive(Debug)]
pub(super) enum Prepared {
    /// This goes out.
    Ready(Message),
    /// It has to wait, for this reason.
    Wait(TimeDelta, &'static str),
    /// Nothing is left of it.
    Nothing,
}

/// Prepares deliveries.
#[derive(Debug)]
pub(super) struct Bodies {
    pub(super) opener: Opener,
    pub(super) fetching: Fetching,
}

/// Whether a message goes out as it was stored.
pub(super) const fn is_fixed(message: &Message) -> bool {
    !message.rich && message.fetch.is_none()
}

impl Bodies {
    pub(super) async fn prepare(&self, delivery: &Leased) -> Prepared {
        let started = Instant::now();
        let mut message = delivery.message.clone();
        if message.rich {
            let opening = tokio::time::timeout(PREPARING, self.opener.open(delivery));
            match opening.await.unwrap_or(Opened::Wait(TOO_BUSY_WAIT, "busy")) {
                Opened::Ready(opened) => message = opened,
                Opened::Wait(wait, reason) => return Prepared::Wait(wait, reason),
                Opened::Nothing => return Prepared::Nothing,
            }
        }
        match message.fetch.take() {
            None => Prepared::Ready(message),
            Some(wish) => {
                let left = PREPARING.saturating_sub(started.elapsed());
                self.fetching.add_what_changed(delivery, message, &wish, left).await
            }
        }
    }
}
