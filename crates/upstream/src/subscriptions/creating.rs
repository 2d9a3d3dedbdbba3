//! Making one: written down, asked for, settled.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use url::Url;
use waypost_core::id::{ConnectionKey, EnvironmentId, IntegrationId, SubscriptionId};
use waypost_core::provider::catalogue::AuthMode;
use waypost_core::provider::graph::error::{Meaning, Trouble};
use waypost_core::provider::graph::resource::less_margin;
use waypost_core::subscription::{Identity, Origin, Owner, Wish};
use waypost_crypto::token::random_secret;
use waypost_egress::graph::subscriptions::{CallError, timestamp};
use waypost_postgres::TenantStore;
use waypost_postgres::subscription::intent::{Intended, Intent};
use waypost_postgres::subscription::{Managed, Subscriber};

use super::line::Line;
use super::{Obtained, SubscriptionError, Subscriptions};

/// How long a create may be in flight before others look after it.
pub(super) const IN_FLIGHT: TimeDelta = TimeDelta::minutes(5);
/// How long a create that goes on elsewhere is waited for, and how often it is looked at.
pub(super) const WAITED_FOR: Duration = Duration::from_secs(40);
pub(super) const LOOKED_AT_EVERY: Duration = Duration::from_millis(250);
/// The tenant of all personal Microsoft accounts.
const PERSONAL_ACCOUNTS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
/// What makes item ids of Outlook survive a move to another folder.
pub(super) const IMMUTABLE_IDS: &str = r#"IdType="ImmutableId""#;

/// A create, as it was asked for.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) id: SubscriptionId,
    /// Whether its row exists, as a template's does.
    pub(super) planned: bool,
    pub(super) origin: Origin,
    pub(super) wish: &'a Wish,
    pub(super) subscriber: &'a Subscriber,
    pub(super) state: SecretString,
    /// What the caller wrote; what is missing is filled in.
    pub(super) body: Map<String, Value>,
}

/// A create that is written down.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: SubscriptionId,
    pub(super) integration: IntegrationId,
    pub(super) body: Map<String, Value>,
    pub(super) prefer: Vec<String>,
    pub(super) state: SecretString,
    pub(super) notification_url: Url,
    pub(super) wish: Wish,
}

/// What became of writing it down.
#[derive(Debug)]
pub(super) enum Begun {
    /// It may be sent.
    Send(Box<Sent>),
    /// An equal one serves the connection now.
    Joined(Box<Managed>),
}

/// What is to be done about an intent.
enum Decided {
    Send,
    /// An equal one serves the connection now.
    Joined(Box<Managed>),
    /// So it does, and it shall live longer.
    Raised(Box<Managed>),
}

impl Subscriptions {
    /// Makes the subscription that is wanted for a connection, or joins it to the equal one that is there.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub async fn create(
        &self,
        tenant: &TenantStore,
        connection: ConnectionKey,
        wish: &Wish,
    ) -> Result<Obtained, SubscriptionError> {
        let subscriber = self.subscriber(tenant, connection).await?;
        check(wish)?;
        let draft = Draft {
            id: SubscriptionId::at(self.now()),
            planned: false,
            origin: Origin::Api,
            wish,
            subscriber: &subscriber,
            state: random_secret(),
            body: Map::new(),
        };
        self.obtain(tenant, draft).await
    }

    /// Goes the whole way with a draft.
    pub(super) async fn obtain(
        &self,
        tenant: &TenantStore,
        draft: Draft<'_>,
    ) -> Result<Obtained, SubscriptionError> {
        let mut line = Line::open(self, tenant.environment(), draft.subscriber.connection).await?;
        match self.begin(tenant, &mut line, draft).await? {
            Begun::Joined(managed) => Ok(Obtained { managed: *managed, joined: true }),
            Begun::Send(mut sent) => {
                let managed = self.send(tenant, &mut line, &mut sent).await?;
                Ok(Obtained { managed, joined: false })
            }
        }
    }

    pub(super) async fn subscriber(
        &self,
        tenant: &TenantStore,
        connection: ConnectionKey,
    ) -> Result<Subscriber, SubscriptionError> {
        tenant.find_subscriber(connection).await?.ok_or(SubscriptionError::UnknownConnection)
    }

    /// Fills in what is missing and writes the create down.
    pub(super) async fn begin(
        &self,
        tenant: &TenantStore,
        line: &mut Line<'_>,
        draft: Draft<'_>,
    ) -> Result<Begun, SubscriptionError> {
        let tenant_id = line.tenant()?;
        if tenant_id.to_string() == PERSONAL_ACCOUNTS
            && matches!(draft.wish.resource.kind(), "user" | "group")
        {
            return Err(SubscriptionError::Invalid {
                field: "resource",
                message: "users and groups can't be watched for personal Microsoft accounts".to_owned(),
            });
        }
        let environment = tenant.environment();
        let notification_url = self.notification_url(environment, &draft.subscriber.unique_key);
        self.inner.self_test.once(&notification_url, self.now()).await?;
        let mut body = draft.body;
        fill_in(&mut body, draft.wish, &notification_url, self.now());
        let label = self.certify(environment, draft.subscriber, draft.wish, &mut body).await?;
        body.entry("clientState").or_insert_with(|| json!(draft.state.expose_secret()));
        let owner = Owner {
            integration: draft.subscriber.integration,
            cloud: line.access.cloud.name.as_str(),
            tenant: tenant_id,
            client_id: &line.access.client_id,
            identity: identity(draft.subscriber),
        };
        let prefer: Vec<String> =
            draft.wish.resource.wants_immutable_ids().then(|| IMMUTABLE_IDS.to_owned()).into_iter().collect();
        let intent = Intent {
            id: draft.id,
            planned: draft.planned,
            origin: draft.origin,
            wish: draft.wish,
            owner,
            connection: draft.subscriber.connection,
            state: &draft.state,
            notification_url: notification_url.as_str(),
            certificate_label: label.as_deref(),
            options: options(&body, &prefer),
            due_at: self.now() + IN_FLIGHT,
        };
        Ok(match self.intend(tenant, &intent).await? {
            Decided::Joined(joined) => Begun::Joined(joined),
            Decided::Raised(joined) => Begun::Joined(self.extend(tenant, line, joined).await?),
            Decided::Send => Begun::Send(Box::new(Sent {
                id: draft.id,
                integration: draft.subscriber.integration,
                body,
                prefer,
                state: draft.state,
                notification_url,
                wish: draft.wish.clone(),
            })),
        })
    }

    /// Writes an intent; waits where an equal one is being created elsewhere.
    async fn intend(&self, tenant: &TenantStore, intent: &Intent<'_>) -> Result<Decided, SubscriptionError> {
        let waited = tokio::time::timeout(WAITED_FOR, async {
            loop {
                match tenant.intend_subscription(intent).await? {
                    Intended::InFlight => tokio::time::sleep(LOOKED_AT_EVERY).await,
                    decided => return Ok::<_, SubscriptionError>(decided),
                }
            }
        });
        match waited.await.unwrap_or(Ok(Intended::InFlight))? {
            Intended::Written => Ok(Decided::Send),
            Intended::Joined(managed) => Ok(Decided::Joined(managed)),
            Intended::Raised(managed) => Ok(Decided::Raised(managed)),
            Intended::Full => Err(SubscriptionError::Full),
            Intended::InFlight => Err(SubscriptionError::InFlight),
            Intended::UnknownConnection => Err(SubscriptionError::UnknownConnection),
            Intended::Dropped => Err(SubscriptionError::UnknownSubscription),
        }
    }

    /// Adds our certificate where one is needed and the caller brought none; returns its label.
    async fn certify(
        &self,
        environment: EnvironmentId,
        subscriber: &Subscriber,
        wish: &Wish,
        body: &mut Map<String, Value>,
    ) -> Result<Option<String>, SubscriptionError> {
        if !wish.include_resource_data {
            return Ok(None);
        }
        if body.get("encryptionCertificate").is_none_or(Value::is_null) {
            let certificates = &self.inner.parts.certificates;
            let connection = subscriber.connection;
            let certificate =
                certificates.for_subscription(environment, subscriber.integration, connection).await?;
            body.insert("encryptionCertificate".to_owned(), json!(certificate.der_base64));
            body.insert("encryptionCertificateId".to_owned(), json!(certificate.id));
        }
        Ok(body.get("encryptionCertificateId").and_then(Value::as_str).map(str::to_owned))
    }

    /// Sends a create that is written down, and settles what came of it.
    pub(super) async fn send(
        &self,
        tenant: &TenantStore,
        line: &mut Line<'_>,
        sent: &mut Sent,
    ) -> Result<Managed, SubscriptionError> {
        let mut answer = line.create(&sent.body, &sent.prefer).await;
        if let Some(end) = self.lower_end(answer.as_ref().err(), &sent.wish) {
            sent.body.insert("expirationDateTime".to_owned(), json!(timestamp(end)));
            answer = line.create(&sent.body, &sent.prefer).await;
        }
        if let Err(CallError::Refused(trouble)) = &answer
            && let Meaning::Exists(Some(id)) = trouble.meaning
            && matches!(self.secure(line, id).await, Ok(None))
        {
            // It was being deleted: nothing stands in the way any more.
            answer = line.create(&sent.body, &sent.prefer).await;
        }
        match answer {
            Ok(answer) => self.settle(tenant, line, sent, &answer).await,
            Err(error) => self.settle_failed(tenant, line, sent, error).await,
        }
    }

    /// Until when to ask for, where Graph says that it was too long.
    fn lower_end(&self, error: Option<&CallError>, wish: &Wish) -> Option<DateTime<Utc>> {
        let Some(CallError::Refused(trouble)) = error else { return None };
        let Meaning::OverCeiling(ceiling) = trouble.meaning else { return None };
        Some(self.now() + lower_life(ceiling, wish.life()))
    }

    /// When to try again what is kept.
    pub(super) fn retry_at(&self, error: &SubscriptionError, tries: i32) -> DateTime<Utc> {
        let told = match error {
            SubscriptionError::Graph(trouble) => trouble.meaning.wait(),
            _ => None,
        };
        self.now() + told.unwrap_or_default().max(pause(error_trouble(error), tries))
    }
}

/// Fills in what Graph needs and the caller didn't write.
fn fill_in(body: &mut Map<String, Value>, wish: &Wish, notification_url: &Url, now: DateTime<Utc>) {
    let mut missing = |name: &str, value: Value| {
        if body.get(name).is_none_or(Value::is_null) {
            body.insert(name.to_owned(), value);
        }
    };
    missing("resource", json!(wish.resource.as_str()));
    missing("changeType", json!(wish.change_types.to_string()));
    missing("notificationUrl", json!(notification_url));
    missing("lifecycleNotificationUrl", json!(format!("{notification_url}/lifecycle")));
    missing("expirationDateTime", json!(timestamp(now + wish.life())));
    if wish.include_resource_data {
        missing("includeResourceData", json!(true));
    }
}

/// A life below a ceiling that was told, or half of what was too long.
pub(super) fn lower_life(ceiling: Option<TimeDelta>, asked: TimeDelta) -> TimeDelta {
    ceiling.map_or(asked / 2, |ceiling| less_margin(ceiling).min(asked))
}

/// How long to wait before try number `tries` + 1: from half a minute to an hour, never under five minutes where somebody
/// must act first.
fn pause(trouble: Option<&Trouble>, tries: i32) -> TimeDelta {
    let doubled = TimeDelta::seconds(30) * (1 << tries.clamp(0, 7));
    let passes = trouble.is_none_or(|trouble| trouble.meaning.may_pass());
    let least = if passes { TimeDelta::zero() } else { TimeDelta::minutes(5) };
    doubled.clamp(least, TimeDelta::hours(1))
}

fn error_trouble(error: &SubscriptionError) -> Option<&Trouble> {
    if let SubscriptionError::Graph(trouble) = error { Some(trouble) } else { None }
}

pub(super) fn identity(subscriber: &Subscriber) -> Identity {
    match subscriber.provider.auth_mode() {
        AuthMode::ClientCredentials | AuthMode::Certificate => Identity::App,
        AuthMode::Delegated => Identity::Person(subscriber.connection),
    }
}

/// What is told early, since Graph tells it worse.
///
/// # Errors
/// [`SubscriptionError::Invalid`].
pub fn check(wish: &Wish) -> Result<(), SubscriptionError> {
    let invalid =
        |field, message: &str| Err(SubscriptionError::Invalid { field, message: message.to_owned() });
    if wish.include_resource_data && wish.resource.can_be_rich() == Some(false) {
        return invalid(
            "include_resource_data",
            "Graph has no notifications with resource data for this resource",
        );
    }
    if wish.resource.lacks_select(wish.include_resource_data) {
        let message =
            "with resource data this resource needs a $select, as users/{id}/messages?$select=subject,from";
        return invalid("resource", message);
    }
    if !wish.change_types.are_known() {
        return invalid("change_type", "change_type is a list out of created, updated and deleted");
    }
    Ok(())
}

/// What a subscription is made anew with, later: all but what is filled in anew, and nothing secret.
fn options(body: &Map<String, Value>, prefer: &[String]) -> Value {
    const FILLED_IN: [&str; 9] = [
        "clientState",
        "changeType",
        "resource",
        "notificationUrl",
        "lifecycleNotificationUrl",
        "expirationDateTime",
        "includeResourceData",
        "encryptionCertificate",
        "encryptionCertificateId",
    ];
    let others = body.iter().filter(|(name, _)| !FILLED_IN.contains(&name.as_str()));
    let members: Map<String, Value> = others.map(|(name, value)| (name.clone(), value.clone())).collect();
    json!({ "members": members, "prefer": prefer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_that_was_told_is_kept_under_and_one_that_was_not_is_guessed() {
        let day = TimeDelta::days(1);
        assert_eq!(lower_life(Some(day), day * 7), day - TimeDelta::minutes(15));
        assert_eq!(lower_life(None, day), day / 2);
    }

    #[test]
    fn waits_grow_to_an_hour() {
        let waits: Vec<i64> = (0..9).map(|tries| pause(None, tries).num_seconds()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    }
}
