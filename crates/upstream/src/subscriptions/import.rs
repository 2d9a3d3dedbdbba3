//! Taking over what an app or another relay made: its state is read, its notifications are led here.
//!
//! The `lifecycleNotificationUrl` can't be moved at Graph; it stays where it is until the subscription is made anew.

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use waypost_core::id::{ConnectionKey, SubscriptionId};
use waypost_core::provider::graph::resource::Resource;
use waypost_core::subscription::{ChangeTypes, Origin, Owner, Wish};
use waypost_egress::graph::subscriptions::{CallError, GraphSubscription, Patch};
use waypost_postgres::TenantStore;
use waypost_postgres::subscription::intent::{Intended, Intent};
use waypost_postgres::subscription::{Managed, Subscriber};

use super::creating::{IN_FLIGHT, identity};
use super::line::Line;
use super::resolving::without_state;
use super::{SubscriptionError, Subscriptions};

/// What came of an import.
#[derive(Debug)]
pub struct Imported {
    /// One for each subscription, in the order in which they were named or listed.
    pub data: Vec<ImportedOne>,
}

/// What came of importing one subscription.
#[derive(Debug)]
pub struct ImportedOne {
    /// Graph's id.
    pub graph_id: String,
    /// The subscription, or why it was not taken over.
    pub outcome: Result<Managed, SubscriptionError>,
}

impl Subscriptions {
    /// Takes over existing subscriptions of a connection: those of `ids`, or without them all that its app has in its
    /// tenant and that aren't tracked yet.
    ///
    /// # Errors
    /// [`SubscriptionError`] when nothing could be tried at all.
    pub async fn import(
        &self,
        tenant: &TenantStore,
        connection: ConnectionKey,
        ids: Option<Vec<String>>,
    ) -> Result<Imported, SubscriptionError> {
        let subscriber = self.subscriber(tenant, connection).await?;
        let mut line = Line::open(self, tenant.environment(), connection).await?;
        let url = self.notification_url(tenant.environment(), &subscriber.unique_key);
        self.inner.self_test.once(&url, self.now()).await?;
        let ids = match ids {
            Some(ids) => ids,
            None => self.untracked(&mut line).await?,
        };
        let mut data = Vec::with_capacity(ids.len());
        for graph_id in ids {
            let outcome = self.import_one(tenant, &subscriber, &mut line, &graph_id).await;
            data.push(ImportedOne { graph_id, outcome });
        }
        Ok(Imported { data })
    }

    async fn untracked(&self, line: &mut Line<'_>) -> Result<Vec<String>, SubscriptionError> {
        let mut ids = Vec::new();
        for listed in line.list().await? {
            // Lists show dead ones, too.
            let known = self.store().find_holder_across_environments(listed.id).await?.is_some();
            if !known && listed.expires_at > self.now() {
                ids.push(listed.id.to_string());
            }
        }
        Ok(ids)
    }

    async fn import_one(
        &self,
        tenant: &TenantStore,
        subscriber: &Subscriber,
        line: &mut Line<'_>,
        graph_id: &str,
    ) -> Result<Managed, SubscriptionError> {
        let invalid =
            |message: &str| SubscriptionError::Invalid { field: "ids", message: message.to_owned() };
        let id =
            Uuid::try_parse(graph_id).map_err(|_| invalid("the id of a subscription at Graph is a GUID"))?;
        self.not_tracked_elsewhere(tenant.environment(), subscriber.integration, id).await?;
        let found = line.get(id).await.map_err(|error| line.why(error))?;
        if self.secure(line, id).await?.is_none() {
            return Err(SubscriptionError::Over("deleted at Microsoft Graph"));
        }
        let state = found.client_state.clone().filter(|state| !state.expose_secret().is_empty());
        let state = state.ok_or_else(|| without_state(id))?;
        let wish = wish_of(&found).ok_or_else(|| invalid("Graph shows no resource or no changes of it"))?;
        let found_at = TakeOver { subscriber, wish: &wish, state: &state, found: &found };
        self.take_over(tenant, line, found_at).await
    }

    /// Tracks it, with its own state, before its notifications are led here; then leads them here.
    async fn take_over(
        &self,
        tenant: &TenantStore,
        line: &mut Line<'_>,
        what: TakeOver<'_>,
    ) -> Result<Managed, SubscriptionError> {
        let TakeOver { subscriber, wish, state, found } = what;
        let environment = tenant.environment();
        let url = self.notification_url(environment, &subscriber.unique_key);
        let certificate = if wish.include_resource_data {
            let certificates = &self.inner.parts.certificates;
            let (integration, connection) = (subscriber.integration, subscriber.connection);
            Some(certificates.for_subscription(environment, integration, connection).await?)
        } else {
            None
        };
        let id = SubscriptionId::at(self.now());
        let intent = Intent {
            id,
            planned: false,
            origin: Origin::Import,
            wish,
            owner: Owner {
                integration: subscriber.integration,
                cloud: line.access.cloud.name.as_str(),
                tenant: line.tenant()?,
                client_id: &line.access.client_id,
                identity: identity(subscriber),
            },
            connection: subscriber.connection,
            state,
            notification_url: url.as_str(),
            certificate_label: certificate.as_ref().map(|certificate| certificate.id.as_str()),
            options: serde_json::json!({}),
            due_at: self.now() + IN_FLIGHT,
        };
        if let Some(tracked) = track(tenant, &intent, found.id).await? {
            return Ok(tracked);
        }
        let patch = Patch {
            notification_url: Some(url.as_str()),
            certificate: certificate.as_ref().map(|made| (made.id.as_str(), made.der_base64.as_str())),
            expires_at: None,
        };
        match led_here(line, found.id, &patch).await {
            Ok(answer) => {
                let granted = self.granted(&answer, wish.auto_renew);
                let settled = self.grant(tenant, id, &granted).await?;
                settled.ok_or(SubscriptionError::UnknownConnection)
            }
            Err(error) => {
                let error = SubscriptionError::from(error);
                tenant.subscription_refused(id, &error.as_last_error(self.now()), self.now()).await?;
                Err(error)
            }
        }
    }
}

/// Writes down that it is taken over; `Some` when it was tracked already.
async fn track(
    tenant: &TenantStore,
    intent: &Intent<'_>,
    graph_id: Uuid,
) -> Result<Option<Managed>, SubscriptionError> {
    match tenant.intend_subscription(intent).await? {
        Intended::Written => Ok(None),
        Intended::Joined(managed) | Intended::Raised(managed)
            if managed.subscription.graph_id == Some(graph_id) =>
        {
            Ok(Some(*managed))
        }
        Intended::Joined(managed) | Intended::Raised(managed) => Err(SubscriptionError::Invalid {
            field: "ids",
            message: format!(
                "{} watches the same already: delete this one at Graph",
                managed.subscription.id
            ),
        }),
        Intended::Full => Err(SubscriptionError::Full),
        Intended::InFlight => Err(SubscriptionError::InFlight),
        Intended::UnknownConnection | Intended::Dropped => Err(SubscriptionError::UnknownConnection),
    }
}

/// Leads notifications here. Where no clear answer comes, that they come here is what counts.
async fn led_here(line: &mut Line<'_>, id: Uuid, patch: &Patch<'_>) -> Result<GraphSubscription, CallError> {
    match line.patch(id, patch).await {
        Err(error) if error.leaves_unclear() => match line.get(id).await {
            Ok(read) if read.notification_url.as_deref() == patch.notification_url => Ok(read),
            _ => Err(error),
        },
        answer => answer,
    }
}

/// One that is taken over.
#[derive(Clone, Copy)]
struct TakeOver<'a> {
    subscriber: &'a Subscriber,
    wish: &'a Wish,
    state: &'a SecretString,
    found: &'a GraphSubscription,
}

fn wish_of(found: &GraphSubscription) -> Option<Wish> {
    Some(Wish {
        resource: Resource::parse(found.resource.as_deref()?).ok()?,
        change_types: ChangeTypes::parse(found.change_type.as_deref()?).ok()?,
        include_resource_data: found.include_resource_data.unwrap_or(false),
        lifetime: None,
        auto_renew: true,
    })
}
