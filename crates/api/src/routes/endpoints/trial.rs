//! A test delivery: one signed request to an endpoint, and what came of it. Must not store anything.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use waypost_core::delivery::{Message, Outcome, Target, Verdict};
use waypost_core::id::{DeliveryId, EventId};
use waypost_egress::webhook::{Overloaded, Stamp, WebhookClient};

/// A test delivery that is ready to go.
pub(super) struct Trial {
    message: Message,
    stamp: Stamp,
}

/// What came of a test delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TestResult)]
pub(super) struct TrialView {
    /// Whether a delivery would count as delivered.
    delivered: bool,
    /// The status of the answer; null when none came.
    status_code: Option<u16>,
    /// Why none came, as in a delivery's attempts; null when one did.
    error: Option<&'static str>,
    /// How long it took.
    duration_ms: u64,
    /// The beginning of the answer's body, as text.
    response_body: Option<String>,
}

impl Trial {
    pub(super) fn of(target: &Target, now: DateTime<Utc>) -> Self {
        let body = json!({
            "endpoint": {"id": target.endpoint, "url": target.url.as_str()},
            "from": "waypost",
            "operation": "test",
            "type": "endpoint",
        });
        let event = EventId::at(now);
        let message = Message {
            event,
            body: body.to_string().into(),
            item_keys: Arc::from(""),
            rich: false,
            fetch: None,
        };
        Self { message, stamp: Stamp { delivery: DeliveryId::at(now), attempt: 1, at: now } }
    }

    pub(super) async fn send(
        &self,
        client: &WebhookClient,
        target: &Target,
    ) -> Result<TrialView, Overloaded> {
        let started = Instant::now();
        let outcome = client.send(target, &self.message, self.stamp).await?;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let delivered = outcome.verdict() == Verdict::Delivered;
        let (status_code, error, response_body) = match outcome {
            Outcome::Answered { status, response, .. } => {
                (Some(status), None, Some(String::from_utf8_lossy(&response.body).into_owned()))
            }
            Outcome::Failed(failure) => (None, Some(failure.as_str()), None),
        };
        Ok(TrialView { delivered, status_code, error, duration_ms, response_body })
    }
}
