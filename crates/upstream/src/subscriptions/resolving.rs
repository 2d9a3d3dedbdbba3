//! Settling what came of a create: granted, refused, or unclear, which Graph's own list decides.

use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use uuid::Uuid;
use waypost_core::id::SubscriptionId;
use waypost_core::provider::graph::error::{Meaning, Remedy};
use waypost_core::provider::graph::resource::Resource;
use waypost_core::subscription::{ChangeTypes, Wish};
use waypost_crypto::token::constant_time_eq;
use waypost_egress::graph::subscriptions::{CallError, GraphSubscription, Patch};
use waypost_postgres::TenantStore;
use waypost_postgres::subscription::Managed;
use waypost_postgres::subscription::settle::{Granted, ONE_LIVE_OF_A_GRAPH_ID};

use super::creating::{IN_FLIGHT, LOOKED_AT_EVERY, Sent, WAITED_FOR};
use super::line::Line;
use super::{SubscriptionError, Subscriptions};

/// When an unclear create is looked for again.
pub(super) const NEXT_LOOK: TimeDelta = TimeDelta::minutes(1);

/// What a create is recognised by in Graph's list, and proven by when it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traits<'a> {
    pub(super) notification_url: &'a str,
    pub(super) wish: &'a Wish,
    pub(super) state: &'a SecretString,
}

impl Sent {
    pub(super) fn traits(&self) -> Traits<'_> {
        Traits { notification_url: self.notification_url.as_str(), wish: &self.wish, state: &self.state }
    }

    /// The certificate that it names, and its label.
    fn certificate(&self) -> Option<(&str, &str)> {
        let text = |name: &str| self.body.get(name).and_then(Value::as_str);
        Some((text("encryptionCertificateId")?, text("encryptionCertificate")?))
    }
}

impl Traits<'_> {
    fn may_be(&self, listed: &GraphSubscription) -> bool {
        listed.notification_url.as_deref() == Some(self.notification_url) && self.watches_the_same(listed)
    }

    fn watches_the_same(&self, listed: &GraphSubscription) -> bool {
        let resource = listed.resource.as_deref().and_then(|text| Resource::parse(text).ok());
        let types = listed.change_type.as_deref().and_then(|text| ChangeTypes::parse(text).ok());
        resource.as_ref() == Some(&self.wish.resource) && types.as_ref() == Some(&self.wish.change_types)
    }

    /// Whether it is as good as what is wanted, and notifies us.
    fn may_stand_for(&self, read: &GraphSubscription) -> bool {
        self.may_be(read) && read.include_resource_data.unwrap_or(false) == self.wish.include_resource_data
    }

    fn is(&self, read: &GraphSubscription) -> bool {
        let state = read.client_state.as_ref().map(SecretString::expose_secret);
        state.is_some_and(|state| constant_time_eq(state.as_bytes(), self.state.expose_secret().as_bytes()))
    }
}

impl Subscriptions {
    /// Graph has it: so has the store. When nobody wants it any more it is deleted at Graph.
    pub(super) async fn settle(
        &self,
        tenant: &TenantStore,
        line: &mut Line<'_>,
        sent: &Sent,
        answer: &GraphSubscription,
    ) -> Result<Managed, SubscriptionError> {
        let granted = self.granted(answer, sent.wish.auto_renew);
        if let Some(managed) = self.grant(tenant, sent.id, &granted).await? {
            return Ok(managed);
        }
        if let Err(error) = line.delete(answer.id).await {
            tracing::warn!(%error, "a subscription that nobody wants any more could not be deleted");
        }
        Err(SubscriptionError::UnknownSubscription)
    }

    /// Keeps what Graph granted. `None` when nobody wants it any more.
    pub(super) async fn grant(
        &self,
        tenant: &TenantStore,
        id: SubscriptionId,
        granted: &Granted,
    ) -> Result<Option<Managed>, SubscriptionError> {
        let settled = tenant.subscription_granted(id, granted, self.inner.config.max_age).await;
        if settled.as_ref().is_err_and(|error| error.breaks(ONE_LIVE_OF_A_GRAPH_ID)) {
            // Somebody else was faster.
            let error = SubscriptionError::TrackedElsewhere(None);
            tenant.subscription_refused(id, &error.as_last_error(self.now()), self.now()).await?;
            return Err(error);
        }
        self.notices_wait();
        Ok(settled?)
    }

    /// Graph did not answer with a subscription.
    pub(super) async fn settle_failed(
        &self,
        tenant: &TenantStore,
        line: &mut Line<'_>,
        sent: &Sent,
        error: CallError,
    ) -> Result<Managed, SubscriptionError> {
        if error.leaves_unclear() {
            if let Some(found) = self.find_created(line, sent.traits()).await.unwrap_or_default() {
                return self.settle(tenant, line, sent, &found).await;
            }
            let error = line.why(error);
            let (now, kept) = (self.now(), error.as_last_error(self.now()));
            tenant.subscription_unclear(sent.id, &kept, now + NEXT_LOOK).await?;
            return Err(error);
        }
        let adopted = match self.adoptable(line, sent, &error).await {
            Some(id) => self.adopt(tenant, line, sent, id).await,
            None => Ok(None),
        };
        match adopted {
            Ok(Some(managed)) => Ok(managed),
            Ok(None) => self.refused(tenant, sent, line.why(error)).await,
            Err(error) => self.refused(tenant, sent, error).await,
        }
    }

    /// What Graph calls `id`, kept from being deleted by us for a while: waits where that is under way. `None` when it is
    /// gone.
    pub(super) async fn secure(
        &self,
        line: &mut Line<'_>,
        id: Uuid,
    ) -> Result<Option<GraphSubscription>, SubscriptionError> {
        let waited = tokio::time::timeout(WAITED_FOR, async {
            loop {
                let found = match line.get(id).await {
                    Ok(found) => found,
                    Err(CallError::Refused(trouble)) if trouble.meaning == Meaning::Gone => return Ok(None),
                    Err(error) => return Err(line.why(error)),
                };
                let state = found.client_state.clone().unwrap_or_default();
                let until = self.now() + IN_FLIGHT;
                if self.store().hold_graph_deletions_across_environments(id, &state, until).await? {
                    return Ok(Some(found));
                }
                tokio::time::sleep(LOOKED_AT_EVERY).await;
            }
        });
        waited.await.unwrap_or(Err(SubscriptionError::InFlight))
    }

    /// Writes down that it was refused; that is the error, too.
    pub(super) async fn refused(
        &self,
        tenant: &TenantStore,
        sent: &Sent,
        error: SubscriptionError,
    ) -> Result<Managed, SubscriptionError> {
        let kept = error.as_last_error(self.now());
        tenant.subscription_refused(sent.id, &kept, self.retry_at(&error, 0)).await?;
        Err(error)
    }

    /// Looks in Graph's list for a create whose answer did not come. `None` when it isn't there, as far as Graph shows.
    pub(super) async fn find_created(
        &self,
        line: &mut Line<'_>,
        traits: Traits<'_>,
    ) -> Result<Option<GraphSubscription>, CallError> {
        // A list shows no clientState, so that only reading proves which one it is.
        let listed = line.list().await?;
        for candidate in listed.iter().filter(|listed| traits.may_be(listed)) {
            match line.get(candidate.id).await {
                Ok(found) if traits.is(&found) => return Ok(Some(found)),
                Ok(_) => {}
                // Lists show dead ones, too.
                Err(CallError::Refused(trouble)) if trouble.meaning == Meaning::Gone => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The subscription that stands in the way of a new one, where it may be taken in its place: the one that Graph names,
    /// or one that notifies us already. One that notifies somebody else is left to them.
    async fn adoptable(&self, line: &mut Line<'_>, sent: &Sent, error: &CallError) -> Option<Uuid> {
        let CallError::Refused(trouble) = error else { return None };
        if let Meaning::Exists(Some(id)) = trouble.meaning {
            return Some(id);
        }
        if trouble.meaning.remedy() != Remedy::ListAndAdopt {
            return None;
        }
        let traits = sent.traits();
        let listed = line.list().await.unwrap_or_default();
        listed.iter().find(|listed| traits.may_be(listed)).map(|found| found.id)
    }

    /// Takes the place of a create that Graph refused because of `id`: its own `clientState` vouches for its notifications.
    /// `None` when it can't stand for what is wanted, or notifies somebody else: only an import leads it here.
    async fn adopt(
        &self,
        tenant: &TenantStore,
        line: &mut Line<'_>,
        sent: &Sent,
        id: Uuid,
    ) -> Result<Option<Managed>, SubscriptionError> {
        self.not_tracked_elsewhere(tenant.environment(), sent.integration, id).await?;
        let found = self.secure(line, id).await?.filter(|found| sent.traits().may_stand_for(found));
        let Some(found) = found else { return Ok(None) };
        let state = found.client_state.as_ref().filter(|state| !state.expose_secret().is_empty());
        let state = state.ok_or_else(|| without_state(id))?;
        tenant.subscription_takes_state(sent.id, state).await?;
        let newer =
            sent.certificate().filter(|(label, _)| found.encryption_certificate_id.as_deref() != Some(label));
        let answer = match newer {
            Some(_) => {
                let patch = Patch { certificate: newer, ..Patch::default() };
                line.patch(id, &patch).await.map_err(|error| line.why(error))?
            }
            None => found,
        };
        self.settle(tenant, line, sent, &answer).await.map(Some)
    }
}

/// Why one can't be taken over.
pub(super) fn without_state(id: Uuid) -> SubscriptionError {
    SubscriptionError::Invalid {
        field: "ids",
        message: format!(
            "subscription {id} has no clientState, so that its notifications can't be told from forged ones: delete it and create it anew"
        ),
    }
}
