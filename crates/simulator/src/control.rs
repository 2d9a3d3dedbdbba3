//! The hand that moves the simulator: what a test or an operator may see and order.
//!
//! Must not offer anything that Graph's own customers could do over the API.

mod entra;
pub(crate) mod http;
mod items;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use url::Url;
use uuid::Uuid;

use crate::{
    behaviour::Behaviour,
    calls::CallRecord,
    entra::keys::CryptoFailure,
    faults::{Fault, FaultPlan, Operation},
    graph::SubscriptionView,
    notify::{DeliveryRecord, Notification, NotifyError, Prepared, build},
    server::MAX_BODY,
    world::World,
};

/// A handle on a running simulator; clones are the same hand.
#[derive(Debug, Clone)]
pub struct Control {
    world: Arc<World>,
}

impl Control {
    pub(crate) fn new(world: Arc<World>) -> Self {
        Self { world }
    }

    /// Sends a notification and returns the numbers of its deliveries, one per URL.
    ///
    /// # Errors
    ///
    /// When a subscription does not live, an item is ambiguous, or a bound is reached. Nothing is sent then, unless
    /// the bound on outstanding deliveries was met halfway.
    pub fn notify(&self, notification: &Notification) -> Result<Vec<u64>, NotifyError> {
        self.prepare(notification)?.into_iter().map(|prepared| self.world.sender.send(prepared)).collect()
    }

    /// Writes the bodies of a notification without sending them, so that they can be altered or sent elsewhere.
    ///
    /// # Errors
    ///
    /// As [`Control::notify`].
    pub fn prepare(&self, notification: &Notification) -> Result<Vec<Prepared>, NotifyError> {
        build::build(&self.world, notification)
    }

    /// Sends a body as it is, with the limits and retries of any other.
    ///
    /// # Errors
    ///
    /// When the body is too long, the target is not on the loopback interface, or too much is outstanding.
    pub fn send_raw(&self, url: Url, body: impl Into<Bytes>) -> Result<u64, NotifyError> {
        let body = body.into();
        self.send(Prepared { url, body, subscriptions: Vec::new(), items: 0 })
    }

    /// Sends what was prepared.
    ///
    /// # Errors
    ///
    /// As [`Control::send_raw`].
    pub fn send(&self, prepared: Prepared) -> Result<u64, NotifyError> {
        if prepared.body.len() > MAX_BODY {
            return Err(NotifyError::TooLarge);
        }
        self.world.sender.send(prepared)
    }

    /// Every delivery that is still remembered, oldest first.
    #[must_use]
    pub fn deliveries(&self) -> Vec<DeliveryRecord> {
        self.world.sender.records()
    }

    /// One delivery.
    #[must_use]
    pub fn delivery(&self, id: u64) -> Option<DeliveryRecord> {
        self.world.sender.find(id)
    }

    /// Waits until no delivery is outstanding.
    pub async fn wait_settled(&self) {
        self.world.sender.wait_settled().await;
    }

    /// Every living subscription, in the order of the ids.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<SubscriptionView> {
        self.world.subscriptions.views(self.world.clock.now())
    }

    /// Removes a subscription as Graph sometimes does: without a word.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn remove_subscription(&self, id: Uuid) -> Result<(), NotifyError> {
        let removed = self.world.subscriptions.remove(id);
        removed.map(drop).ok_or(NotifyError::UnknownSubscription(id))
    }

    /// Makes a ghost of a subscription: its owner finds it nowhere, but duplicates and quotas still count it.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn make_ghost(&self, id: Uuid) -> Result<(), NotifyError> {
        self.world.subscriptions.haunt(id).then_some(()).ok_or(NotifyError::UnknownSubscription(id))
    }

    /// Replaces all faults.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.world.faults.set(plan);
    }

    /// Replaces all faults by these, and keeps the generator as it is.
    pub fn set_fault(&self, faults: impl IntoIterator<Item = Fault>) {
        self.set_faults(FaultPlan { faults: faults.into_iter().collect(), ..FaultPlan::default() });
    }

    /// Adds faults to those there are; the older ones are tried first.
    pub fn add_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        // The seed was used already: naming it again would begin the sequence anew.
        let mut plan = FaultPlan { seed: None, ..self.faults() };
        plan.faults.extend(faults);
        self.set_faults(plan);
    }

    /// Grants every create and renewal only so many seconds from now on, or what was asked for again. Faults stay.
    pub fn set_grant_seconds(&self, seconds: Option<u32>) {
        let plan = self.faults();
        self.set_faults(FaultPlan { seed: None, grant_seconds: seconds, ..plan });
    }

    /// The faults with what is left of them.
    #[must_use]
    pub fn faults(&self) -> FaultPlan {
        self.world.faults.plan()
    }

    /// How the services behave at this moment.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.world.behaviour()
    }

    /// Changes how the services behave.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.world.behaviour.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// How often an operation was called, faults included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.world.calls.count(operation)
    }

    /// How often each operation was called.
    #[must_use]
    pub fn call_counts(&self) -> BTreeMap<Operation, u64> {
        self.world.calls.counts()
    }

    /// The last calls one by one, oldest first.
    #[must_use]
    pub fn call_log(&self) -> Vec<CallRecord> {
        self.world.calls.last()
    }

    /// Changes the life of access tokens issued from now on.
    pub fn set_access_token_lifetime(&self, lifetime: Duration) {
        self.world.token_lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// Signs with a new key from now on. With `forget`, tokens of the old ones are worth nothing any more.
    ///
    /// # Errors
    ///
    /// When the key cannot be made.
    pub fn roll_keys(&self, forget: bool) -> Result<(), CryptoFailure> {
        self.world.keys.roll(forget)
    }
}
