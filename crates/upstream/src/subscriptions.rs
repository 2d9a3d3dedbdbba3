//! Subscriptions at Graph: made, joined, taken over, renewed by hand, and deleted when nobody wants them any more.
//!
//! There is one way for all of them, whoever asks (the API, a template, the proxy): what is wanted is written down with
//! the `clientState` that will vouch for it, then Graph is asked, then the answer is settled on that row. Where no clear
//! answer comes, Graph's own list tells what it did; a second create is never sent before that. A process that dies in
//! between leaves a row that another one settles the same way.
//!
//! Must not: keep anything in memory that another process would need (what is remembered here is that the public URL
//! passed its test), or hold a transaction while Graph is asked.

mod cleaning;
mod creating;
mod error;
mod import;
mod line;
mod proxied;
mod recovery;
mod renewing;
mod resolving;
mod self_test;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use url::Url;
use uuid::Uuid;
use waypost_core::clock::SharedClock;
use waypost_core::hand_off::HandOff;
use waypost_core::id::{EnvironmentId, IntegrationId, SubscriptionId};
use waypost_core::integration::UniqueKey;
use waypost_core::subscription::{Lifetime, Subscription, renew_at};
use waypost_egress::graph::TrustedClient;
use waypost_egress::graph::subscriptions::GraphSubscription;
use waypost_postgres::subscription::settle::Granted;
use waypost_postgres::subscription::{Managed, SubscriptionChanges};
use waypost_postgres::{Actor, ActorKind, Store, TenantStore};

use crate::certificates::Certificates;
use crate::tokens::Tokens;

pub use creating::check;
pub use error::SubscriptionError;
pub use import::{Imported, ImportedOne};
pub use proxied::{Pending, PostOutcome, Prepared};
pub use self_test::PublicUrlProblem;
pub use waypost_postgres::subscription::Leaving;

use self_test::SelfTest;

/// How subscriptions are made.
#[derive(Debug, Clone)]
pub struct Config {
    /// `server.public_url`: where Graph reaches this Waypost.
    pub public_url: Url,
    /// `delivery.max_age`: after which notices are given up.
    pub max_age: TimeDelta,
}

/// What it takes to make them.
#[derive(Debug)]
pub struct Parts {
    /// The store.
    pub store: Store,
    /// Access tokens.
    pub tokens: Tokens,
    /// Certificates for encrypted notifications.
    pub certificates: Certificates,
    /// The way to Graph, and to our own public URL.
    pub client: TrustedClient,
    /// The time.
    pub clock: SharedClock,
    /// Told of notices that were stored.
    pub hand_off: Arc<dyn HandOff>,
}

/// Makes, keeps and ends subscriptions at Graph. Cheap to clone; clones share what they have.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    parts: Parts,
    self_test: SelfTest,
    due: Arc<Notify>,
}

/// A subscription, and whether it was there before.
#[derive(Debug)]
pub struct Obtained {
    /// The subscription.
    pub managed: Managed,
    /// Whether an equal one was joined.
    pub joined: bool,
}

impl Subscriptions {
    /// Subscriptions that are made as `config` says.
    #[must_use]
    pub fn new(config: Config, parts: Parts) -> Self {
        let self_test = SelfTest::new(&parts.client);
        Self { inner: Arc::new(Inner { config, parts, self_test, due: Arc::default() }) }
    }

    /// Wakes whoever settles what is pending: something is due that was not.
    pub fn wake(&self) {
        self.inner.due.notify_one();
    }

    /// Waits until something may be due.
    pub async fn woken(&self) {
        self.inner.due.notified().await;
    }

    /// Tests the URL that Graph would call for an integration, whether or not that was done before.
    ///
    /// # Errors
    /// [`PublicUrlProblem`] with what failed and what mends it.
    pub async fn test_public_url(
        &self,
        environment: EnvironmentId,
        integration: &UniqueKey,
    ) -> Result<Url, PublicUrlProblem> {
        let url = self.notification_url(environment, integration);
        self.inner.self_test.now(&url, self.now()).await.map_err(|problem| *problem)?;
        Ok(url)
    }

    /// Changes what is wanted of a subscription: whether it is renewed, and how long it lives at a time from its next
    /// renewal on.
    ///
    /// # Errors
    /// [`SubscriptionError::UnknownSubscription`], or when the store fails.
    pub async fn update(
        &self,
        tenant: &TenantStore,
        id: SubscriptionId,
        auto_renew: Option<bool>,
        lifetime: Option<Lifetime>,
    ) -> Result<Subscription, SubscriptionError> {
        let managed = tenant.find_subscription(id).await?.ok_or(SubscriptionError::UnknownSubscription)?;
        let shown = &managed.subscription;
        let renew_at = match (auto_renew, managed.granted_at, shown.expires_at) {
            (Some(true), Some(granted), Some(end)) if shown.renew_at.is_none() && shown.status.is_live() => {
                Some(renew_at(granted, end, &mut rand::rng()))
            }
            _ => None,
        };
        let changes = SubscriptionChanges { auto_renew, lifetime, renew_at };
        tenant.update_subscription(id, &changes).await?.ok_or(SubscriptionError::UnknownSubscription)
    }

    /// Deletes a subscription, here and at Graph. What can't be deleted at Graph now is tried again later.
    ///
    /// # Errors
    /// [`SubscriptionError::UnknownSubscription`], or when the store fails.
    pub async fn delete(&self, tenant: &TenantStore, id: SubscriptionId) -> Result<(), SubscriptionError> {
        let note = tenant.delete_subscription(id).await?.ok_or(SubscriptionError::UnknownSubscription)?;
        if let Some(note) = note {
            self.clean(Some(note)).await?;
        }
        Ok(())
    }

    /// Where Graph sends the notifications of an integration.
    fn notification_url(&self, environment: EnvironmentId, integration: &UniqueKey) -> Url {
        let mut url = self.inner.config.public_url.clone();
        // A public URL is http or https, so it has a path; the key is encoded as a segment of it.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["webhook", &environment.to_string(), integration.as_str()]);
        }
        url
    }

    fn now(&self) -> DateTime<Utc> {
        self.inner.parts.clock.now()
    }

    fn store(&self) -> &Store {
        &self.inner.parts.store
    }

    /// The store for changes that nobody asked for by hand.
    fn own_tenant(&self, environment: EnvironmentId, name: &str) -> TenantStore {
        let actor = Actor { kind: ActorKind::System, name: name.to_owned(), request_id: String::new() };
        self.store().tenant(environment, actor)
    }

    /// What Graph granted, from its answer alone.
    fn granted(&self, answer: &GraphSubscription, auto_renew: bool) -> Granted {
        Granted {
            graph_id: answer.id,
            expires_at: answer.expires_at,
            renew_at: auto_renew.then(|| renew_at(self.now(), answer.expires_at, &mut rand::rng())),
            creator_id: answer.creator_id.clone(),
            notification_url: answer.notification_url.clone(),
            certificate_label: answer.encryption_certificate_id.clone(),
        }
    }

    /// Sees that nobody else tracks what Graph calls `graph_id`.
    async fn not_tracked_elsewhere(
        &self,
        environment: EnvironmentId,
        integration: IntegrationId,
        graph_id: Uuid,
    ) -> Result<(), SubscriptionError> {
        match self.store().find_holder_across_environments(graph_id).await? {
            Some(holder) if holder.environment != environment => {
                Err(SubscriptionError::TrackedElsewhere(None))
            }
            Some(holder) if holder.integration != integration => {
                Err(SubscriptionError::TrackedElsewhere(Some(holder.unique_key)))
            }
            _ => Ok(()),
        }
    }

    /// Tells that notices wait.
    fn notices_wait(&self) {
        self.inner.parts.hand_off.unleased_work();
    }
}
