//! The bell: wakes the deliverers, here and in other processes, when work was stored that nobody holds, and the matchers
//! when something may match.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use waypost_core::delivery::Leased;
use waypost_core::hand_off::{HandOff, Place};
use waypost_core::id::{EndpointId, EnvironmentId};
use waypost_postgres::Store;
use waypost_postgres::work::Hint;

use crate::patience::{STEP, within};

/// The least time between two hints to other processes.
const QUIET: Duration = Duration::from_millis(50);
/// How long silence is believed.
const SILENCE: Duration = Duration::from_mins(10);
/// How long to wait before listening is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// A bell. Clones ring the same one.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    here: Arc<Notify>,
    elsewhere: Arc<Notify>,
    unproven: Arc<Notify>,
    /// Somebody says that something may match.
    may_match: Arc<Notify>,
    /// The matcher of this process is to look.
    look: Arc<Notify>,
}

impl Bell {
    /// Wakes the deliverer of this process, and soon those of all others.
    pub fn ring(&self) {
        self.here.notify_one();
        self.elsewhere.notify_one();
    }

    /// Wakes the deliverer of this process alone.
    pub fn ring_here(&self) {
        self.here.notify_one();
    }

    /// What rings when events were stored here whose origin is to be proven.
    #[must_use]
    pub fn of_unproven(&self) -> Arc<Notify> {
        Arc::clone(&self.unproven)
    }

    /// Waits until it rings here.
    pub async fn rung(&self) {
        self.here.notified().await;
    }

    /// What to notify when something may match, here or in another process: a connection was made or has got its tenant.
    #[must_use]
    pub fn may_match(&self) -> Arc<Notify> {
        Arc::clone(&self.may_match)
    }

    /// Waits until something may match.
    pub async fn matching_rung(&self) {
        self.look.notified().await;
    }

    /// Passes the ringing on to other processes, at most every 50 ms, until told to stop.
    pub async fn pass_on(self, store: Store, stop: CancellationToken) {
        loop {
            let hint = tokio::select! {
                () = stop.cancelled() => return,
                () = self.elsewhere.notified() => Hint::Work,
                () = self.may_match.notified() => {
                    self.look.notify_one();
                    Hint::Matching
                }
            };
            if let Err(error) = within(STEP, store.send_hint_across_environments(hint)).await {
                tracing::debug!(%error, "a hint was not sent");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(QUIET) => {}
            }
        }
    }

    /// Rings here when another process rings, until told to stop.
    pub async fn listen(self, store: Store, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.listen_once(&store) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn listen_once(&self, store: &Store) {
        let mut listener = match within(STEP, store.listen_for_hints()).await {
            Ok(listener) => listener,
            Err(error) => return tracing::debug!(%error, "can't listen for hints"),
        };
        // Whatever was hinted at before is looked for at once.
        let mut heard = None;
        loop {
            if heard != Some(Hint::Matching) {
                self.here.notify_one();
            }
            if heard != Some(Hint::Work) {
                self.look.notify_one();
            }
            // Silence may mean that nothing can be heard any more: then it is listened anew.
            heard = match within(SILENCE, listener.heard()).await {
                Ok(heard) => heard,
                Err(error) => return tracing::debug!(%error, "listening for hints broke off"),
            };
        }
    }
}

/// In a process without a deliverer nothing can be handed over: everything is stored as due, and others are told.
impl HandOff for Bell {
    fn reserve(&self, _environment: EnvironmentId, _endpoint: EndpointId) -> Option<Place> {
        None
    }

    fn lease_term(&self) -> TimeDelta {
        TimeDelta::zero()
    }

    fn give(&self, place: Place, delivery: Leased) {
        // Nobody can come by a place here. Should it happen, the lease runs out and the delivery is taken by others.
        tracing::error!(delivery.id = %delivery.id, "a delivery was handed to a process without a deliverer");
        drop(place);
    }

    fn unleased_work(&self) {
        self.ring();
    }

    fn unproven_events(&self) {
        self.unproven.notify_one();
    }

    fn unmatched_work(&self) {
        self.may_match.notify_one();
    }
}
