//! The proxy's way to a subscription: the caller's own `POST`, `PATCH` and `DELETE` go through, and what they do is kept.
//!
//! A create is tracked when its notifications come to us: its `notificationUrl` is missing (and filled in) or is ours.
//! One that leads elsewhere, or that can't be understood, is the caller's own business and passes untouched; Graph tells
//! what is wrong with it.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;
use waypost_core::id::{ConnectionKey, EnvironmentId, SubscriptionId};
use waypost_core::provider::graph::error::{Meaning, classify};
use waypost_core::provider::graph::resource::Resource;
use waypost_core::subscription::{ChangeTypes, Origin, Wish};
use waypost_crypto::token::random_secret;
use waypost_egress::graph::subscriptions::{CallError, GraphSubscription, timestamp};
use waypost_postgres::TenantStore;
use waypost_postgres::subscription::{Leaving, Managed};

use super::creating::{Begun, Draft, Sent};
use super::line::Line;
use super::{SubscriptionError, Subscriptions};

/// As whom the audit log names what the proxy brought.
const PROXY: &str = "proxy";
/// The shortest life that Graph grants.
const SHORTEST_LIFE: TimeDelta = TimeDelta::minutes(45);
/// The longest `clientState` that Graph takes.
const LONGEST_STATE: usize = 128;

/// What becomes of a create that came through the proxy.
#[derive(Debug)]
pub enum Prepared {
    /// It is written down: send it, then settle it with [`Subscriptions::settle_proxied`].
    Send(Pending),
    /// An equal subscription exists and serves the connection now: this is what Graph would show of it, but for its
    /// `clientState`. Nothing is sent.
    Joined(Value),
    /// Its notifications go elsewhere: send the body as it came and forget it.
    Untracked,
}

/// A create that is written down and about to be sent.
#[derive(Debug)]
pub struct Pending {
    environment: EnvironmentId,
    connection: ConnectionKey,
    sent: Box<Sent>,
}

impl Pending {
    /// What to send in place of the caller's body: with everything filled in that was missing.
    #[must_use]
    pub const fn body(&self) -> &Map<String, Value> {
        &self.sent.body
    }

    /// Values of the header `Prefer` to send beside the caller's own.
    #[must_use]
    pub fn prefer(&self) -> &[String] {
        &self.sent.prefer
    }
}

/// What came of a call.
#[derive(Debug)]
pub enum PostOutcome {
    /// Graph answered.
    Answered {
        /// The status.
        status: u16,
        /// The whole body.
        body: Vec<u8>,
    },
    /// No answer, or none that is whole: it may have been done.
    Unclear,
}

impl Subscriptions {
    /// Writes a create down that came through the proxy, or joins the connection to the equal subscription that is
    /// there.
    ///
    /// # Errors
    /// [`SubscriptionError`]; nothing may be sent then.
    pub async fn prepare_proxied(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
        body: Map<String, Value>,
    ) -> Result<Prepared, SubscriptionError> {
        let tenant = self.own_tenant(environment, PROXY);
        let subscriber = self.subscriber(&tenant, connection).await?;
        // What is null or empty is as good as missing.
        let mut body = body;
        body.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
        let own_url = self.notification_url(environment, &subscriber.unique_key);
        let Some(wish) = wish_of(&body, self.now()).filter(|_| notifies(&body, &own_url)) else {
            return Ok(Prepared::Untracked);
        };
        let state = match body.get("clientState") {
            None => random_secret(),
            Some(Value::String(text)) if text.len() <= LONGEST_STATE => SecretString::from(text.as_str()),
            // Graph refuses it, or nothing could vouch for its notifications.
            Some(_) => return Ok(Prepared::Untracked),
        };
        let draft = Draft {
            id: SubscriptionId::at(self.now()),
            planned: false,
            origin: Origin::Proxy,
            wish: &wish,
            subscriber: &subscriber,
            state,
            body,
        };
        let mut line = Line::open(self, environment, connection).await?;
        Ok(match self.begin(&tenant, &mut line, draft).await? {
            Begun::Joined(managed) => Prepared::Joined(shown(&managed, None)),
            Begun::Send(sent) => Prepared::Send(Pending { environment, connection, sent }),
        })
    }

    /// Settles a create that was sent. `Some` is the answer to give (with status 201) when no clear one came, but Graph
    /// turned out to have created it; else the caller gets what Graph answered.
    ///
    /// # Errors
    /// [`SubscriptionError`]; Graph's answer stands all the same, and the rest is settled later.
    pub async fn settle_proxied(
        &self,
        pending: Pending,
        outcome: PostOutcome,
    ) -> Result<Option<Value>, SubscriptionError> {
        let Pending { environment, connection, sent } = pending;
        let tenant = self.own_tenant(environment, PROXY);
        let mut line = Line::open(self, environment, connection).await?;
        let error = match outcome {
            PostOutcome::Answered { status: 200..=299, body } => match GraphSubscription::read(&body) {
                Some(answer) => {
                    self.settle(&tenant, &mut line, &sent, &answer).await?;
                    return Ok(None);
                }
                None => CallError::Unclear(None),
            },
            PostOutcome::Answered { status, body } => {
                CallError::Refused(Box::new(classify(status, None, &body, self.now())))
            }
            PostOutcome::Unclear => CallError::Unclear(None),
        };
        if !error.leaves_unclear() {
            // The caller gets Graph's own words; what it asked for exactly is not what something else could stand for.
            let _refused = self.refused(&tenant, &sent, error.into()).await;
            return Ok(None);
        }
        match self.settle_failed(&tenant, &mut line, &sent, error).await {
            Ok(managed) => Ok(Some(shown(&managed, sent.body.get("clientState")))),
            Err(SubscriptionError::Store(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// Keeps the row of a subscription true after its `PATCH` through the proxy: what Graph answered, or what it shows
    /// where its answer is not clear.
    pub async fn proxied_patch(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
        graph_id: &str,
        outcome: &PostOutcome,
    ) {
        let kept = async {
            let tenant = self.own_tenant(environment, PROXY);
            let Some(managed) = self.tracked(&tenant, connection, graph_id).await? else { return Ok(()) };
            let answer = match self.read(outcome) {
                Err(error) if error.leaves_unclear() => {
                    self.shown_by_graph(environment, connection, &managed).await
                }
                read => read,
            };
            match answer {
                Ok(answer) => self.believe(&tenant, &managed, &answer).await?,
                Err(CallError::Refused(trouble)) if trouble.meaning == Meaning::Gone => {
                    self.lost(&tenant, &managed, SubscriptionError::Graph(trouble)).await?;
                }
                Err(_) => {}
            }
            Ok::<_, SubscriptionError>(())
        };
        told(kept.await);
    }

    /// Lets a connection leave a subscription that serves others as well, in place of a `DELETE` through the proxy.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn leave_proxied(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
        graph_id: &str,
    ) -> Result<Leaving, SubscriptionError> {
        let tenant = self.own_tenant(environment, PROXY);
        match self.tracked(&tenant, connection, graph_id).await? {
            Some(managed) if managed.subscription.status.is_live() => {
                Ok(tenant.leave_shared_subscription(managed.subscription.id, connection).await?)
            }
            _ => Ok(Leaving::Unshared),
        }
    }

    /// Keeps the row of a subscription true after its `DELETE` through the proxy.
    pub async fn proxied_delete(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
        graph_id: &str,
        outcome: &PostOutcome,
    ) {
        let kept = async {
            let tenant = self.own_tenant(environment, PROXY);
            let Some(managed) = self.tracked(&tenant, connection, graph_id).await? else { return Ok(()) };
            let is_gone = |error: &CallError| matches!(error, CallError::Refused(trouble) if trouble.meaning == Meaning::Gone);
            let gone = match outcome {
                PostOutcome::Answered { status: 200..=299 | 404, .. } => true,
                outcome => match self.read(outcome) {
                    Err(error) if error.leaves_unclear() => self
                        .shown_by_graph(environment, connection, &managed)
                        .await
                        .err()
                        .as_ref()
                        .is_some_and(is_gone),
                    _ => false,
                },
            };
            if !gone {
                return Ok(());
            }
            if managed.subscription.connections.len() > 1 {
                // The others did not ask for that.
                let error = SubscriptionError::Over("deleted through the proxy by one of its connections");
                self.lost(&tenant, &managed, error).await?;
            } else {
                tenant.forget_subscription(managed.subscription.id).await?;
            }
            Ok::<_, SubscriptionError>(())
        };
        told(kept.await);
    }

    /// What Graph answered to the caller.
    fn read(&self, outcome: &PostOutcome) -> Result<GraphSubscription, CallError> {
        match outcome {
            PostOutcome::Answered { status: 200..=299, body } => {
                GraphSubscription::read(body).ok_or(CallError::Unclear(None))
            }
            PostOutcome::Answered { status, body } => {
                Err(CallError::Refused(Box::new(classify(*status, None, body, self.now()))))
            }
            PostOutcome::Unclear => Err(CallError::Unclear(None)),
        }
    }

    /// What Graph shows of one.
    async fn shown_by_graph(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
        managed: &Managed,
    ) -> Result<GraphSubscription, CallError> {
        let (Some(id), Ok(mut line)) =
            (managed.subscription.graph_id, Line::open(self, environment, connection).await)
        else {
            return Err(CallError::Unreachable(None));
        };
        line.get(id).await
    }

    /// Graph's word stands. One that notifies somebody else now is not ours any more.
    async fn believe(
        &self,
        tenant: &TenantStore,
        managed: &Managed,
        answer: &GraphSubscription,
    ) -> Result<(), SubscriptionError> {
        let own = self.notification_url(tenant.environment(), &managed.subscription.integration);
        let elsewhere = answer
            .notification_url
            .as_deref()
            .and_then(|text| Url::parse(text).ok())
            .filter(|url| !leads_to(url, &own));
        if elsewhere.is_some() {
            let error =
                SubscriptionError::Over("not notifying Waypost any more: its notificationUrl was changed");
            return self.lost(tenant, managed, error).await;
        }
        let granted = self.granted(answer, managed.subscription.auto_renew);
        tenant.subscription_renewed(managed.subscription.id, &granted).await?;
        Ok(())
    }

    async fn tracked(
        &self,
        tenant: &TenantStore,
        connection: ConnectionKey,
        graph_id: &str,
    ) -> Result<Option<Managed>, SubscriptionError> {
        let Ok(graph_id) = Uuid::try_parse(graph_id) else { return Ok(None) };
        let subscriber = self.subscriber(tenant, connection).await?;
        Ok(tenant.find_subscription_at_graph(subscriber.integration, graph_id).await?)
    }

    /// Graph doesn't have it any more.
    pub(super) async fn lost(
        &self,
        tenant: &TenantStore,
        managed: &Managed,
        error: SubscriptionError,
    ) -> Result<(), SubscriptionError> {
        let kept = error.as_last_error(self.now());
        tenant.subscription_lost(managed.subscription.id, &kept, self.inner.config.max_age).await?;
        self.notices_wait();
        Ok(())
    }
}

/// Graph's answer has gone out already, so that nobody is left to be told of this.
fn told(kept: Result<(), SubscriptionError>) {
    if let Err(error) = kept {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a change that was made through the proxy was not kept"
        );
    }
}

/// What a caller's body wants; `None` when Graph will refuse it anyway.
fn wish_of(body: &Map<String, Value>, now: DateTime<Utc>) -> Option<Wish> {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let rich = match body.get("includeResourceData") {
        None | Some(Value::Null) => false,
        Some(value) => value.as_bool()?,
    };
    let lifetime = match body.get("expirationDateTime") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let asked = DateTime::parse_from_rfc3339(value.as_str()?).ok()?.to_utc() - now;
            // What is shorter, Graph raises to this.
            Some(asked.max(SHORTEST_LIFE))
        }
    };
    Some(Wish {
        resource: Resource::parse(text("resource")?).ok()?,
        change_types: ChangeTypes::parse(text("changeType")?).ok()?,
        include_resource_data: rich,
        lifetime,
        auto_renew: true,
    })
}

/// Whether its notifications come to us.
fn notifies(body: &Map<String, Value>, own: &Url) -> bool {
    match body.get("notificationUrl") {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => Url::parse(text).is_ok_and(|url| leads_to(&url, own)),
        Some(_) => false,
    }
}

/// Whether two URLs lead to the same place, however they spell it.
pub(super) fn leads_to(url: &Url, own: &Url) -> bool {
    let path = |url: &Url| -> String {
        let text = url.path().trim_end_matches('/').replace('+', "%2B").replace('&', "%26");
        let decoded = url::form_urlencoded::parse(text.as_bytes()).next();
        decoded.map(|(name, _)| name.into_owned()).unwrap_or_default()
    };
    url.origin() == own.origin() && url.query().is_none() && path(url) == path(own)
}

/// A subscription in Graph's words.
fn shown(managed: &Managed, client_state: Option<&Value>) -> Value {
    let subscription = &managed.subscription;
    let mut value = json!({
        "id": subscription.graph_id,
        "resource": subscription.resource,
        "applicationId": managed.client_id,
        "changeType": subscription.change_type,
        "notificationUrl": managed.notification_url,
        "expirationDateTime": subscription.expires_at.map(timestamp),
        "creatorId": managed.creator_id,
        "includeResourceData": subscription.include_resource_data,
    });
    if let Some(state) = client_state {
        value["clientState"] = state.clone();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn our_own_url_is_recognised_however_it_is_spelled() {
        let own = url("https://relay.example/webhook/4b9d/ms:cc");
        for same in
            ["https://relay.example/webhook/4b9d/ms%3Acc", "https://relay.example:443/webhook/4b9d/ms:cc/"]
        {
            assert!(leads_to(&url(same), &own), "{same}");
        }
        for other in [
            "https://relay.example/webhook/4b9d/ms",
            "https://other.example/webhook/4b9d/ms:cc",
            "https://relay.example/webhook/4b9d/ms:cc?x=1",
            "http://relay.example/webhook/4b9d/ms:cc",
        ] {
            assert!(!leads_to(&url(other), &own), "{other}");
        }
        let body = |value: Value| json!({ "notificationUrl": value }).as_object().cloned().unwrap();
        assert!(notifies(&body(Value::Null), &own) && notifies(&Map::new(), &own));
        assert!(!notifies(&body(json!("EventHub:https://v.vault.azure.net/secrets/s")), &own));
    }

    #[test]
    fn what_can_not_be_understood_is_left_to_graph() {
        let now = DateTime::UNIX_EPOCH;
        let read = |body: Value| wish_of(body.as_object().unwrap(), now);
        let wish = read(
            json!({"resource": "/users", "changeType": "Updated", "expirationDateTime": "1970-01-02T00:00:00.0000000Z"}),
        );
        assert_eq!(wish.unwrap().lifetime, Some(TimeDelta::days(1)));
        for body in [
            json!({"changeType": "updated"}),
            json!({"resource": "users"}),
            json!({"resource": "users", "changeType": "updated", "includeResourceData": "yes"}),
            json!({"resource": "users", "changeType": "updated", "expirationDateTime": "tomorrow"}),
        ] {
            assert!(read(body.clone()).is_none(), "{body}");
        }
    }
}
