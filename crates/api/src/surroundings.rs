//! What the environment API works with beside the store: the way out for checks, hints to workers, a few settings.
//!
//! Must not: hold anything of one environment, or be asked for what the store knows.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::Notify;
use url::Url;
use waypost_core::endpoint::EndpointUrl;
use waypost_core::hand_off::HandOff;
use waypost_core::id::EnvironmentId;
use waypost_core::integration::UniqueKey;
use waypost_egress::guard::{Guard, Refused};
use waypost_egress::webhook::{Overloaded, WebhookClient};
use waypost_postgres::endpoint::UrlChange;
use waypost_upstream::connect::Connector;
use waypost_upstream::subscriptions::Subscriptions;
use waypost_upstream::tokens::Tokens;

use crate::error::{ApiError, Issue};
use crate::server::Parts;

/// When somebody may come again whom this process had no means for just now.
const PAUSE: Duration = Duration::from_secs(5);

/// What handlers need of the settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `server.public_url`: where Graph and browsers reach this Waypost.
    pub public_url: Url,
    /// `security.secret_grace`: how long a replaced secret stays valid.
    pub secret_grace: TimeDelta,
    /// `delivery.max_age`: after which a delivery is given up.
    pub max_age: TimeDelta,
    /// `retention.events`: how long events are kept.
    pub keep: TimeDelta,
}

/// What the handlers of the environment API work with beside the store.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) settings: Settings,
    pub(crate) connector: Connector,
    pub(crate) webhooks: WebhookClient,
    pub(crate) tokens: Tokens,
    pub(crate) subscriptions: Subscriptions,
    guard: Arc<Guard>,
    tenant_connected: Arc<Notify>,
    endpoint_changed: Arc<Notify>,
    hand_off: Arc<dyn HandOff>,
}

impl From<Overloaded> for ApiError {
    fn from(_overloaded: Overloaded) -> Self {
        Self::TemporarilyUnavailable { retry_after: PAUSE }
    }
}

impl Surroundings {
    pub(crate) fn of(parts: &Parts) -> Self {
        Self {
            settings: parts.settings.clone(),
            connector: parts.connector.clone(),
            webhooks: parts.webhooks.clone(),
            tokens: parts.tokens.clone(),
            subscriptions: parts.subscriptions.clone(),
            guard: Arc::clone(&parts.guard),
            tenant_connected: Arc::clone(&parts.tenant_connected),
            endpoint_changed: Arc::clone(&parts.endpoint_changed),
            hand_off: Arc::clone(&parts.hand_off),
        }
    }

    /// A URL that a customer wrote into the field `field`, once the guard has let it pass.
    pub(crate) async fn checked_url(&self, field: &str, text: &str) -> Result<EndpointUrl, ApiError> {
        let refused = |message: String| ApiError::invalid_body(vec![Issue::at(&[field], "custom", message)]);
        let url = EndpointUrl::parse(text).map_err(|error| refused(error.to_string()))?;
        self.guard.check_url(&url).await.map_err(|error| match error {
            Refused::Busy => Overloaded.into(),
            error => refused(error.to_string()),
        })?;
        Ok(url)
    }

    /// As [`Self::checked_url`], where an empty text takes the URL away and an absent one leaves it.
    pub(crate) async fn checked_change(
        &self,
        field: &str,
        text: Option<&str>,
    ) -> Result<Option<UrlChange>, ApiError> {
        match text.map(str::trim) {
            None => Ok(None),
            Some("") => Ok(Some(UrlChange::Clear)),
            Some(text) => self.checked_url(field, text).await.map(|url| Some(UrlChange::Set(url))),
        }
    }

    /// Where the provider sends the notifications of an integration.
    pub(crate) fn ingress_url(&self, environment: EnvironmentId, key: &UniqueKey) -> String {
        self.below_public_url(&format!("webhook/{environment}/{}", encoded(key)))
    }

    /// A URL below the public one.
    pub(crate) fn below_public_url(&self, path: &str) -> String {
        format!("{}/{path}", self.settings.public_url.as_str().trim_end_matches('/'))
    }

    /// Wakes whoever delivers and whoever waits for a tenant: a connection was written, with its notice.
    pub(crate) fn connection_written(&self, has_tenant: bool) {
        if has_tenant {
            self.tenant_connected.notify_one();
        }
        // Its templates are due, if it has any.
        self.subscriptions.wake();
        self.hand_off.unleased_work();
    }

    /// Wakes whoever delivers: something is due that was not.
    pub(crate) fn work_waits(&self) {
        self.hand_off.unleased_work();
    }

    /// Wakes whoever brings deliveries in line with their endpoints.
    pub(crate) fn endpoint_changed(&self) {
        self.endpoint_changed.notify_one();
        self.hand_off.unleased_work();
    }
}

/// A key as JavaScript's `encodeURIComponent` writes it.
fn encoded(key: &UniqueKey) -> String {
    key.as_str().replace(':', "%3A").replace('@', "%40").replace(' ', "%20")
}
