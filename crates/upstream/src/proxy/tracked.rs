//! Calls about subscriptions: what Graph made of them is known before the caller learns it, so that tracking stays true.
//!
//! A create goes through the same pipeline as the subscription API's: what is missing is filled in, the wish is stored
//! before the request leaves, and an unclear end is looked into. It is never sent twice, unless Graph surely did nothing.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use waypost_core::proxy::{SubscriptionCall, passed_on};
use waypost_egress::graph::proxy::{Answer, Content};

use super::attempts::Attempts;
use super::places::Place;
use super::reply::Body;
use super::{JSON, Owner, Plan, Proxy, ProxyError, Reply, Timing};
use crate::subscriptions::{Leaving, Pending, PostOutcome, Prepared};

/// The largest answer that is read; Graph's are a few KiB.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// An answer that was read to its end.
struct Whole {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Whole {
    async fn of(answer: Answer) -> Option<Self> {
        let (status, headers) = (answer.status(), passed_on(answer.headers()));
        let body = answer.read(LARGEST_ANSWER).await?.into();
        Some(Self { status, headers, body })
    }

    fn reply(self, place: Place, timing: Timing) -> Reply {
        Reply::new(self.status, self.headers, Body::Whole(self.body), place, timing)
    }
}

impl Proxy {
    /// Makes a call about a subscription.
    pub(super) async fn tracked(
        &self,
        plan: Plan,
        subscription: SubscriptionCall,
        content: Content,
        place: Place,
    ) -> Result<Reply, ProxyError> {
        match subscription {
            SubscriptionCall::Create => match object(&content) {
                Some(wish) => self.create(plan, wish, content, place).await,
                // Not what Graph takes: it says so itself.
                None => self.told(plan, content, place, None).await,
            },
            SubscriptionCall::Change(id) => self.told(plan, content, place, Some(id)).await,
            SubscriptionCall::Delete(id) => {
                let Owner { environment, connection } = plan.owner;
                match self.subscriptions.leave_proxied(environment, connection, &id).await? {
                    Leaving::Unshared => self.told(plan, content, place, Some(id)).await,
                    // Others want it still: nothing is deleted at Graph.
                    Leaving::Left => Ok(answered(StatusCode::NO_CONTENT, None, place)),
                    Leaving::NotServed => Ok(answered(StatusCode::NOT_FOUND, Some(&not_served()), place)),
                }
            }
        }
    }

    async fn create(
        &self,
        mut plan: Plan,
        wish: Map<String, Value>,
        content: Content,
        place: Place,
    ) -> Result<Reply, ProxyError> {
        let owner = plan.owner;
        // Before anything is stored: without a token nothing would come of it.
        Attempts::new(self, &plan, Content::Empty).sign_in().await?;
        let pending =
            match self.subscriptions.prepare_proxied(owner.environment, owner.connection, wish).await? {
                Prepared::Send(pending) => pending,
                // Its notifications go elsewhere: none of ours.
                Prepared::Untracked => return self.told(plan, content, place, None).await,
                Prepared::Joined(existing) => return Ok(created(&existing, place, Timing::default())),
            };
        for prefer in pending.prefer() {
            if let Ok(value) = HeaderValue::from_str(prefer) {
                plan.call.headers.append("prefer", value);
            }
        }
        let body = Bytes::from(Value::Object(pending.body().clone()).to_string());
        let mut attempts = Attempts::new(self, &plan, Content::Whole(body)).once_only();
        let result = attempts.run().await;
        let timing = attempts.timing();
        match result {
            Ok(answer) => self.settle(pending, Whole::of(answer).await, (place, timing)).await,
            Err(error) => match self.subscriptions.settle_proxied(pending, PostOutcome::Unclear).await? {
                Some(granted) => Ok(created(&granted, place, timing)),
                None => Err(error),
            },
        }
    }

    async fn settle(
        &self,
        pending: Pending,
        answer: Option<Whole>,
        (place, timing): (Place, Timing),
    ) -> Result<Reply, ProxyError> {
        let outcome = outcome(answer.as_ref());
        let granted = self.subscriptions.settle_proxied(pending, outcome).await?;
        match (granted, answer) {
            (Some(granted), _) => Ok(created(&granted, place, timing)),
            (None, Some(answer)) => Ok(answer.reply(place, timing)),
            (None, None) => Err(ProxyError::CutOff),
        }
    }

    /// Makes a call, and tells tracking what came of it where it was about a subscription that may be tracked.
    async fn told(
        &self,
        plan: Plan,
        content: Content,
        place: Place,
        id: Option<String>,
    ) -> Result<Reply, ProxyError> {
        let mut attempts = Attempts::new(self, &plan, content);
        if id.is_none() {
            attempts = attempts.once_only();
        }
        let answer = attempts.run().await;
        let timing = attempts.timing();
        let (whole, error) = match answer {
            Ok(answer) => (Whole::of(answer).await, ProxyError::CutOff),
            Err(error) => (None, error),
        };
        if let Some(id) = id {
            let (outcome, Owner { environment, connection }) = (outcome(whole.as_ref()), plan.owner);
            if plan.call.method == http::Method::DELETE {
                self.subscriptions.proxied_delete(environment, connection, &id, &outcome).await;
            } else {
                self.subscriptions.proxied_patch(environment, connection, &id, &outcome).await;
            }
        }
        whole.map(|whole| whole.reply(place, timing)).ok_or(error)
    }
}

fn outcome(answer: Option<&Whole>) -> PostOutcome {
    answer.map_or(PostOutcome::Unclear, |answer| PostOutcome::Answered {
        status: answer.status.as_u16(),
        body: answer.body.to_vec(),
    })
}

/// The body as a JSON object, if it is one.
fn object(content: &Content) -> Option<Map<String, Value>> {
    match content {
        Content::Whole(bytes) => serde_json::from_slice(bytes).ok(),
        Content::Empty | Content::Streamed(_) => None,
    }
}

/// What Graph answers to a create that worked.
fn created(subscription: &Value, place: Place, timing: Timing) -> Reply {
    let body = Bytes::from(subscription.to_string());
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, JSON)]);
    Reply::new(StatusCode::CREATED, headers, Body::Whole(body), place, timing)
}

/// An answer in Graph's place, for which nothing was sent.
fn answered(status: StatusCode, body: Option<&Value>, place: Place) -> Reply {
    let headers = body.iter().map(|_| (CONTENT_TYPE, JSON)).collect();
    let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    Reply::new(status, headers, Body::Whole(body), place, Timing::default())
}

/// As Graph says it of what is another identity's.
fn not_served() -> Value {
    let message = "The subscription doesn't serve this connection. It serves others: DELETE /subscriptions/{id} of Waypost \
                   deletes it for all of them.";
    json!({"error": {"code": "ResourceNotFound", "message": message}})
}
