//! What is pending and nobody is at: creates whose sender is gone, and templates of new connections.

use futures_util::StreamExt as _;
use serde_json::Map;
use waypost_crypto::token::random_secret;
use waypost_postgres::subscription::due::DuePending;
use waypost_postgres::{StoreError, TenantStore};

use super::creating::{Draft, IN_FLIGHT, Sent};
use super::line::Line;
use super::resolving::{NEXT_LOOK, Traits};
use super::{SubscriptionError, Subscriptions};

/// As whom the audit log names what happens here.
const KEEPER: &str = "subscriptions";
/// How many are taken at a time, and worked on at once.
const BATCH: i64 = 32;
const AT_ONCE: usize = 8;
/// After how many looks an unclear create counts as not done. The last comes some minutes after the first: lists are
/// late at times.
const LOOKS: i32 = 3;

impl Subscriptions {
    /// Looks after all pending subscriptions that are due; tells how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settle_due(&self) -> Result<usize, StoreError> {
        let mut count = 0;
        loop {
            let store = self.store();
            let due = store.take_pending_subscriptions_across_environments(BATCH, IN_FLIGHT).await?;
            let taken = due.len();
            futures_util::stream::iter(due).for_each_concurrent(AT_ONCE, |due| self.look_after(due)).await;
            count += taken;
            if i64::try_from(taken).is_ok_and(|taken| taken < BATCH) {
                return Ok(count);
            }
        }
    }

    async fn look_after(&self, due: DuePending) {
        let (id, environment) = (due.id, due.environment);
        let tenant = self.own_tenant(environment, KEEPER);
        let outcome =
            if due.was_posted { self.look_for(&tenant, &due).await } else { self.make(&tenant, due).await };
        match outcome {
            // It stands on the row, for whoever looks at the subscription.
            Ok(()) => {}
            Err(SubscriptionError::Store(error)) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                subscription.id = %id,
                "a pending subscription could not be looked after; it is tried again"
            ),
            Err(error) => {
                tracing::info!(subscription.id = %id, %environment, %error, "a subscription is still pending");
            }
        }
    }

    /// Finds out what became of a create whose outcome is not known.
    async fn look_for(&self, tenant: &TenantStore, due: &DuePending) -> Result<(), SubscriptionError> {
        let (Some(connection), Some(state), Some(url)) =
            (due.connection, due.state.as_ref(), due.notification_url.as_deref())
        else {
            // Nothing is left to look with, or for.
            return self.give_up(tenant, due, SubscriptionError::UnknownConnection).await;
        };
        let mut line = match Line::open(self, due.environment, connection).await {
            Ok(line) => line,
            Err(error) => return self.look_again(tenant, due, error.into()).await,
        };
        let traits = Traits { notification_url: url, wish: &due.wish, state };
        match self.find_created(&mut line, traits).await {
            Ok(Some(found)) => {
                let sent = self.as_sent(due);
                self.settle(tenant, &mut line, &sent, &found).await.map(drop)
            }
            Ok(None) if due.tries < LOOKS => self.look_again(tenant, due, SubscriptionError::Unclear).await,
            Ok(None) => self.give_up(tenant, due, SubscriptionError::Unclear).await,
            Err(error) => self.look_again(tenant, due, error.into()).await,
        }
    }

    async fn look_again(
        &self,
        tenant: &TenantStore,
        due: &DuePending,
        error: SubscriptionError,
    ) -> Result<(), SubscriptionError> {
        let pause = NEXT_LOOK * due.tries.clamp(1, 60);
        tenant.subscription_unclear(due.id, &error.as_last_error(self.now()), self.now() + pause).await?;
        Err(error)
    }

    /// It was not created, as far as can be known: one that is kept is created now, any other is forgotten.
    async fn give_up(
        &self,
        tenant: &TenantStore,
        due: &DuePending,
        error: SubscriptionError,
    ) -> Result<(), SubscriptionError> {
        let now = self.now();
        tenant.subscription_refused(due.id, &error.as_last_error(now), now).await?;
        Ok(())
    }

    /// Creates what a template wants.
    async fn make(&self, tenant: &TenantStore, due: DuePending) -> Result<(), SubscriptionError> {
        let tries = due.tries;
        let id = due.id;
        let made = match due.connection {
            Some(connection) => match self.subscriber(tenant, connection).await {
                Ok(subscriber) => {
                    let draft = Draft {
                        id,
                        planned: true,
                        origin: due.origin,
                        wish: &due.wish,
                        subscriber: &subscriber,
                        state: due.state.unwrap_or_else(random_secret),
                        body: Map::new(),
                    };
                    self.obtain(tenant, draft).await.map(drop)
                }
                Err(error) => Err(error),
            },
            None => Err(SubscriptionError::UnknownConnection),
        };
        match made {
            Ok(()) | Err(SubscriptionError::UnknownSubscription) => Ok(()),
            Err(SubscriptionError::Store(error)) => Err(error.into()),
            // Already written down, with a time to look for it.
            Err(error) if was_unclear(&error) => Err(error),
            Err(error) => {
                let kept = error.as_last_error(self.now());
                tenant.subscription_refused(id, &kept, self.retry_at(&error, tries)).await?;
                Err(error)
            }
        }
    }

    fn as_sent(&self, due: &DuePending) -> Sent {
        Sent {
            id: due.id,
            integration: due.integration,
            body: Map::new(),
            prefer: Vec::new(),
            state: due.state.clone().unwrap_or_else(random_secret),
            notification_url: self.notification_url(due.environment, &due.unique_key),
            wish: due.wish.clone(),
        }
    }
}

fn was_unclear(error: &SubscriptionError) -> bool {
    match error {
        SubscriptionError::Unclear => true,
        SubscriptionError::Graph(trouble) => trouble.meaning.leaves_unclear(),
        _ => false,
    }
}
