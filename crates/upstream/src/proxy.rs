//! The proxy: a customer's backend calls the provider as one of its connections, without ever seeing a token.
//!
//! Where a call goes is settled before anything is done for it: to the provider's host, with the connection's token; to
//! another host through the guard, with the token only where the integration names that host, or with an authorization
//! that the caller brings. A token that is refused is replaced once. What the provider answers is passed on as it is.
//!
//! Calls that make, change or end a subscription go by [`tracked`], so that tracking stays true.
//!
//! Must not: log a path, a query, a header's value or a body; hold a body in memory that is larger than
//! [`LARGEST_REPEATABLE`]; keep a transaction open during a call.

mod attempts;
mod places;
mod reply;
mod tracked;

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use tokio_util::task::TaskTracker;
use waypost_core::clock::SharedClock;
use waypost_core::cloud::Clouds;
use waypost_core::connection::Connection;
use waypost_core::delivery::Failure;
use waypost_core::endpoint::EndpointUrl;
use waypost_core::id::{ConnectionKey, EnvironmentId};
use waypost_core::proxy::{Base, BaseError, Instructions, SubscriptionCall, TargetError, passed_on};
use waypost_egress::graph::proxy::{Call, ProxyClient, Unanswered, Way};
use waypost_egress::guard::Refused;
use waypost_postgres::{StoreError, TenantStore};

pub use reply::{Reply, Timing};
pub use waypost_egress::graph::proxy::{BrokenOff, Content, Upload};

use crate::subscriptions::{SubscriptionError, Subscriptions};
use crate::tokens::{TokenError, Tokens};
use attempts::Attempts;
use places::Places;
use reply::Body;

/// The largest body that is held in memory, so that it can be sent again. Larger ones are sent as they come, and once.
pub const LARGEST_REPEATABLE: usize = 1024 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the caller asked for, as it came.
#[derive(Debug)]
pub struct Wanted {
    /// The method.
    pub method: Method,
    /// Path and query behind `/proxy`, as written.
    pub endpoint: String,
    /// The headers that tell what to do.
    pub instructions: Instructions,
    /// What the body is, unless the instructions say it.
    pub content_type: Option<HeaderValue>,
}

/// Why a call has no answer of the provider.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The base URL is none.
    #[error("the base URL can't be used")]
    Base(#[source] BaseError),
    /// The endpoint isn't below the base URL.
    #[error("the endpoint can't be used")]
    Target(#[source] TargetError),
    /// A token may not go to this host.
    #[error("a token may not go to this host")]
    HostNotAllowed,
    /// The base URL leads where customers' URLs may not.
    #[error("the base URL leads to a closed network")]
    Closed(#[source] Refused),
    /// As many calls as may be are under way for this connection.
    #[error("too many calls are under way for this connection")]
    ConnectionBusy,
    /// As many calls as may be are under way in this process.
    #[error("too many calls are under way")]
    Busy,
    /// There is no token.
    #[error("there is no token for this connection")]
    Token(#[from] TokenError),
    /// The provider gave no answer.
    #[error("the provider gave no answer")]
    Unanswered(#[source] Unanswered),
    /// The subscription can't be made.
    #[error("the subscription can't be made")]
    Subscription(#[source] Box<SubscriptionError>),
    /// The call was cut off inside Waypost.
    #[error("the call was cut off")]
    CutOff,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl From<SubscriptionError> for ProxyError {
    fn from(error: SubscriptionError) -> Self {
        Self::Subscription(Box::new(error))
    }
}

impl From<Unanswered> for ProxyError {
    fn from(error: Unanswered) -> Self {
        match error.failure {
            Failure::Forbidden => Self::Closed(Refused::Network),
            _ => Self::Unanswered(error),
        }
    }
}

/// Makes proxied calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Proxy {
    client: ProxyClient,
    tokens: Tokens,
    subscriptions: Subscriptions,
    clouds: Clouds,
    clock: SharedClock,
    places: Arc<Places>,
    tasks: TaskTracker,
}

/// A call that may be made: everything about it is settled but the token and the body.
#[derive(Debug)]
pub struct Plan {
    call: Call,
    owner: Owner,
    content_type: Option<HeaderValue>,
    with_token: bool,
    retries: u32,
    retry_on: Vec<u16>,
    subscription: Option<SubscriptionCall>,
}

/// Whose call it is.
#[derive(Debug, Clone, Copy)]
struct Owner {
    environment: EnvironmentId,
    connection: ConnectionKey,
}

impl Plan {
    /// Tells what the body is, unless the instructions did: what the caller's own header says, or what it looks like.
    fn describe(&mut self, content: &Content) {
        let own = match content {
            Content::Empty => return,
            Content::Whole(bytes) => self.content_type.take().or_else(|| json_type(bytes)),
            Content::Streamed(_) => self.content_type.take(),
        };
        if let Some(own) = own {
            self.call.headers.entry(CONTENT_TYPE).or_insert(own);
        }
    }
}

impl Proxy {
    /// A proxy to the providers of `clouds`.
    #[must_use]
    pub fn new(
        client: ProxyClient,
        tokens: Tokens,
        subscriptions: Subscriptions,
        clouds: Clouds,
        clock: SharedClock,
    ) -> Self {
        let (places, tasks) = (Arc::new(Places::default()), TaskTracker::new());
        Self { client, tokens, subscriptions, clouds, clock, places, tasks }
    }

    /// Settles where a call of `connection` goes, and whether it may.
    ///
    /// # Errors
    /// [`ProxyError`] when it may not.
    pub async fn plan(
        &self,
        tenant: &TenantStore,
        connection: &Connection,
        wanted: Wanted,
    ) -> Result<Plan, ProxyError> {
        let Wanted { method, endpoint, instructions, content_type } = wanted;
        let graph = self.clouds.named(connection.provider.cloud()).graph_url;
        let config = &connection.connection_config;
        let base = match &instructions.base_url_override {
            Some(text) => Base::parse(text, config),
            None => Base::from_url(graph.clone()).ok_or(BaseError::Malformed),
        };
        let base = base.map_err(ProxyError::Base)?;
        let url = base.target(&endpoint, config).map_err(ProxyError::Target)?;
        let brings_own = instructions.authorizes_itself();
        let way = if base.shares_origin(&graph) {
            Way::Provider
        } else {
            Way::Guarded(self.foreign(tenant, connection, &base, brings_own).await?)
        };
        let with_token = !brings_own;
        let known = matches!(way, Way::Provider) && with_token;
        let subscription = known.then(|| SubscriptionCall::of(&method, &url, &graph)).flatten();
        Ok(Plan {
            call: Call {
                method,
                url,
                headers: instructions.headers,
                way,
                decompress: instructions.decompress,
            },
            owner: Owner { environment: tenant.environment(), connection: connection.key },
            content_type,
            with_token,
            retries: instructions.retries,
            retry_on: instructions.retry_on,
            subscription,
        })
    }

    /// A base that isn't the provider's: whether it may be called at all.
    async fn foreign(
        &self,
        tenant: &TenantStore,
        connection: &Connection,
        base: &Base,
        brings_own: bool,
    ) -> Result<EndpointUrl, ProxyError> {
        if !brings_own {
            let integration = tenant.find_integration(&connection.integration).await?;
            let hosts = integration.map(|integration| integration.proxy_token_hosts).unwrap_or_default();
            if !hosts.iter().any(|host| host.is_of(base.url())) {
                return Err(ProxyError::HostNotAllowed);
            }
        }
        let url =
            EndpointUrl::parse(base.url().as_str()).map_err(|_| ProxyError::Base(BaseError::Malformed))?;
        self.client.check(&url).await.map_err(ProxyError::Closed)?;
        Ok(url)
    }

    /// Makes the call.
    ///
    /// # Errors
    /// [`ProxyError`] when there is no answer of the provider to pass on.
    pub async fn call(&self, mut plan: Plan, content: Content) -> Result<Reply, ProxyError> {
        plan.describe(&content);
        let place = self.places.take(plan.owner.connection)?;
        if let Some(subscription) = plan.subscription.clone() {
            // Goes on when the caller hangs up: what Graph made of it must be known.
            let (proxy, task) = (self.clone(), self.tasks.clone());
            let call = async move { proxy.tracked(plan, subscription, content, place).await };
            return task.spawn(call).await.unwrap_or(Err(ProxyError::CutOff));
        }
        let mut attempts = Attempts::new(self, &plan, content);
        let answer = attempts.run().await?;
        let timing = attempts.timing();
        let (status, headers) = (answer.status(), passed_on(answer.headers()));
        Ok(Reply::new(status, headers, Body::Streamed(answer), place, timing))
    }
}

/// The type of JSON, where these bytes are some.
fn json_type(bytes: &[u8]) -> Option<HeaderValue> {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).ok().map(|_| JSON)
}
