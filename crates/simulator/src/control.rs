//! The hand that moves the simulator: what a test or an operator may see and order.
//!
//! Must not offer anything that Graph's own customers could do over the API.

pub(crate) mod http;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use url::Url;
use uuid::Uuid;

use crate::{
    config::{App, Tenant},
    entra::keys::CryptoFailure,
    faults::{Fault, FaultPlan},
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

    /// Replaces all faults.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.world.faults.set(plan);
    }

    /// Replaces all faults by these, and keeps the generator as it is.
    pub fn set_fault(&self, faults: impl IntoIterator<Item = Fault>) {
        self.set_faults(FaultPlan { faults: faults.into_iter().collect(), ..FaultPlan::default() });
    }

    /// The faults with what is left of them.
    #[must_use]
    pub fn faults(&self) -> FaultPlan {
        self.world.faults.plan()
    }

    /// Registers an application, or replaces its secret.
    pub fn add_app(&self, app: App) {
        self.world.directory.add_app(app);
    }

    /// Makes a tenant known.
    pub fn add_tenant(&self, tenant: &Tenant) {
        self.world.directory.add_tenant(tenant);
    }

    /// Gives or revokes the consent of an application in a tenant. Without it there are no new tokens.
    pub fn set_consent(&self, client_id: Uuid, tenant: Uuid, given: bool) {
        self.world.directory.set_consent(client_id, tenant, given);
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
