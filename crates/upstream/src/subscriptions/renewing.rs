//! Renewing one by hand: more life, and the authorization that goes with it.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;
use waypost_core::id::SubscriptionId;
use waypost_core::provider::graph::error::Meaning;
use waypost_core::provider::graph::resource::{LONGEST, Resource};
use waypost_core::subscription::{ChangeTypes, Status, Wish};
use waypost_egress::graph::subscriptions::{CallError, GraphSubscription, Patch};
use waypost_postgres::TenantStore;
use waypost_postgres::subscription::Managed;

use super::creating::lower_life;
use super::line::Line;
use super::{SubscriptionError, Subscriptions};
use crate::certificates::EncryptionCertificate;

/// Graph takes one PATCH or reauthorize of a subscription in this time.
const ONE_IN: TimeDelta = TimeDelta::minutes(10);

impl Subscriptions {
    /// Renews a subscription now.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub async fn renew(
        &self,
        tenant: &TenantStore,
        id: SubscriptionId,
    ) -> Result<Managed, SubscriptionError> {
        let managed = tenant.find_subscription(id).await?.ok_or(SubscriptionError::UnknownSubscription)?;
        let connection = managed.manager.ok_or(SubscriptionError::UnknownConnection)?;
        self.renewable(&managed)?;
        let mut line = Line::open(self, tenant.environment(), connection).await?;
        self.renew_by(tenant, &mut line, &managed).await
    }

    /// Gives one that was joined the longer life that it is wanted for now, where Graph takes that at once; else it gets
    /// it with its next renewal.
    pub(super) async fn extend(
        &self,
        tenant: &TenantStore,
        line: &mut Line<'_>,
        managed: Box<Managed>,
    ) -> Result<Box<Managed>, SubscriptionError> {
        match self.renew_by(tenant, line, &managed).await {
            Ok(renewed) => Ok(Box::new(renewed)),
            Err(SubscriptionError::Store(error)) => Err(error.into()),
            // It stands on the row, where it is a failure at all.
            Err(_) => Ok(tenant.find_subscription(managed.subscription.id).await?.map_or(managed, Box::new)),
        }
    }

    /// Graph's id, if it may be renewed now.
    fn renewable(&self, managed: &Managed) -> Result<Uuid, SubscriptionError> {
        let shown = &managed.subscription;
        let graph_id = match shown.status {
            Status::Active | Status::RenewalFailing => shown.graph_id.ok_or(SubscriptionError::Pending)?,
            Status::Pending => return Err(SubscriptionError::Pending),
            over @ (Status::Removed | Status::Expired) => return Err(SubscriptionError::Over(over.as_str())),
        };
        match next_renewal(managed).filter(|next| *next > self.now()) {
            Some(next) => Err(SubscriptionError::TooSoon(next)),
            None => Ok(graph_id),
        }
    }

    async fn renew_by(
        &self,
        tenant: &TenantStore,
        line: &mut Line<'_>,
        managed: &Managed,
    ) -> Result<Managed, SubscriptionError> {
        let (graph_id, id) = (self.renewable(managed)?, managed.subscription.id);
        let asked = wish_of(managed)?.life();
        let newer = self.newer_certificate(tenant, managed).await?;
        let mut patch = Patch {
            expires_at: Some(self.now() + asked),
            certificate: newer.as_ref().map(|newer| (newer.id.as_str(), newer.der_base64.as_str())),
            ..Patch::default()
        };
        let mut answer = line.patch(graph_id, &patch).await;
        if let Some(Meaning::OverCeiling(ceiling)) = meaning(&answer) {
            patch.expires_at = Some(self.now() + lower_life(*ceiling, asked));
            answer = line.patch(graph_id, &patch).await;
        }
        let mut trouble = None;
        if patch.certificate.is_some() && meaning(&answer).is_some_and(may_be_the_certificate) {
            trouble = answer.err().map(SubscriptionError::from);
            patch.certificate = None;
            answer = line.patch(graph_id, &patch).await;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.not_renewed(tenant, managed, line.why(error)).await?),
        };
        let mut granted = self.granted(&answer, managed.subscription.auto_renew);
        if let Some((label, _)) = patch.certificate {
            granted.certificate_label = Some(label.to_owned());
        }
        let renewed = tenant.subscription_renewed(id, &granted).await?;
        let Some(trouble) = trouble else { return renewed.ok_or(SubscriptionError::UnknownSubscription) };
        // It lives on, and encrypts for the old certificate still.
        tenant.subscription_troubled(id, &trouble.as_last_error(self.now())).await?;
        tenant.find_subscription(id).await?.ok_or(SubscriptionError::UnknownSubscription)
    }

    /// The certificate that it is to encrypt for from now on; `None` where it does already, or where its caller brought
    /// its own.
    async fn newer_certificate(
        &self,
        tenant: &TenantStore,
        managed: &Managed,
    ) -> Result<Option<EncryptionCertificate>, SubscriptionError> {
        let (Some(own), Some(connection), true) =
            (&managed.own_certificate, managed.manager, managed.subscription.include_resource_data)
        else {
            return Ok(None);
        };
        let certificates = &self.inner.parts.certificates;
        let current = certificates.for_subscription(tenant.environment(), managed.integration, connection);
        Ok(Some(current.await?).filter(|current| current.id != *own))
    }

    /// Keeps why it was not renewed; one that is gone is lost.
    async fn not_renewed(
        &self,
        tenant: &TenantStore,
        managed: &Managed,
        error: SubscriptionError,
    ) -> Result<SubscriptionError, SubscriptionError> {
        match &error {
            SubscriptionError::Graph(trouble) if trouble.meaning == Meaning::Gone => {
                let told = SubscriptionError::Graph(trouble.clone());
                self.lost(tenant, managed, told).await?;
                return Ok(SubscriptionError::Over("gone at Microsoft Graph"));
            }
            _ => {
                tenant
                    .subscription_troubled(managed.subscription.id, &error.as_last_error(self.now()))
                    .await?;
            }
        }
        Ok(error)
    }
}

fn meaning(answer: &Result<GraphSubscription, CallError>) -> Option<&Meaning> {
    if let Err(CallError::Refused(trouble)) = answer { Some(&trouble.meaning) } else { None }
}

/// Whether a refusal may be about the certificate: Graph doesn't always say so.
const fn may_be_the_certificate(meaning: &Meaning) -> bool {
    matches!(meaning, Meaning::Certificate | Meaning::Malformed | Meaning::Refused)
}

/// When Graph takes the next renewal: ten minutes after the last, sooner where the grant is short.
fn next_renewal(managed: &Managed) -> Option<DateTime<Utc>> {
    let acted = managed.acted_at?;
    let life = managed.subscription.expires_at? - managed.granted_at?;
    Some(acted + ONE_IN.min(life / 4))
}

fn wish_of(managed: &Managed) -> Result<Wish, SubscriptionError> {
    let shown = &managed.subscription;
    let invalid = |field, message: String| SubscriptionError::Invalid { field, message };
    Ok(Wish {
        resource: Resource::parse(&shown.resource)
            .map_err(|_| invalid("resource", format!("a resource has at most {LONGEST} bytes")))?,
        change_types: ChangeTypes::parse(&shown.change_type)
            .map_err(|error| invalid("change_type", error.to_string()))?,
        include_resource_data: shown.include_resource_data,
        lifetime: shown.lifetime_seconds.and_then(TimeDelta::try_seconds),
        auto_renew: shown.auto_renew,
    })
}
