//! How subscriptions are shown: never with their `clientState`.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;
use waypost_core::connection::ConnectionId;
use waypost_core::id::SubscriptionId;
use waypost_core::provider::graph::error::Said;
use waypost_core::subscription::{LastError, Subscription};
use waypost_upstream::subscriptions::{Imported, ImportedOne};

use crate::error::GraphWords;

/// A subscription.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Subscription)]
pub(super) struct SubscriptionView {
    #[schema(value_type = String, example = "sub_01jd7q3v5he8r9w0x1y2z3a4b5")]
    id: SubscriptionId,
    /// Graph's id; null while it is pending.
    #[schema(required)]
    graph_id: Option<Uuid>,
    /// `pending`, `active`, `renewal_failing`, `removed` or `expired`.
    #[schema(example = "active")]
    status: &'static str,
    provider_config_key: String,
    /// The connections that it serves.
    #[schema(value_type = Vec<String>)]
    connection_ids: Vec<ConnectionId>,
    resource: String,
    #[schema(example = "created,updated")]
    change_type: String,
    include_resource_data: bool,
    /// How long it lives between renewals; null for as long as Graph grants.
    #[schema(required, example = "3d")]
    lifetime: Option<String>,
    auto_renew: bool,
    /// When Graph lets it end.
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
    /// When Waypost renews it.
    #[schema(required)]
    renew_at: Option<DateTime<Utc>>,
    /// What went wrong last; null since something went right.
    #[schema(required)]
    last_error: Option<ErrorView>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// What went wrong with a subscription.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionProblem)]
struct ErrorView {
    /// For programs: `graph_error`, `no_access_token`, `public_url_unreachable`, …
    code: String,
    /// For people.
    message: String,
    at: DateTime<Utc>,
    /// Microsoft Graph's own words, where it was Graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<GraphWords>,
}

/// What came of an import.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionImportResult)]
pub(super) struct ImportView {
    data: Vec<ImportedView>,
}

/// What came of importing one subscription.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportedSubscription)]
struct ImportedView {
    graph_id: String,
    /// `adopted` or `failed`.
    #[schema(example = "adopted")]
    status: &'static str,
    /// As it stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<SubscriptionView>,
    /// Why it was not taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ImportErrorView>,
}

/// Why a subscription was not taken over.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionImportProblem)]
struct ImportErrorView {
    /// For programs.
    code: &'static str,
    /// For people.
    message: String,
    /// Microsoft Graph's own words, where it was Graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<GraphWords>,
}

impl From<Subscription> for SubscriptionView {
    fn from(found: Subscription) -> Self {
        Self {
            id: found.id,
            graph_id: found.graph_id,
            status: found.status.as_str(),
            provider_config_key: found.integration.to_string(),
            connection_ids: found.connections,
            resource: found.resource,
            change_type: found.change_type,
            include_resource_data: found.include_resource_data,
            lifetime: found.lifetime_seconds.and_then(TimeDelta::try_seconds).map(lifetime_text),
            auto_renew: found.auto_renew,
            expires_at: found.expires_at,
            renew_at: found.renew_at,
            last_error: found.last_error.map(ErrorView::from),
            created_at: found.created_at,
            updated_at: found.updated_at,
        }
    }
}

impl From<LastError> for ErrorView {
    fn from(error: LastError) -> Self {
        Self { code: error.code, message: error.message, at: error.at, graph: words(error.graph.as_ref()) }
    }
}

impl From<Imported> for ImportView {
    fn from(imported: Imported) -> Self {
        Self { data: imported.data.into_iter().map(ImportedView::from).collect() }
    }
}

impl From<ImportedOne> for ImportedView {
    fn from(one: ImportedOne) -> Self {
        match one.outcome {
            Ok(managed) => Self {
                graph_id: one.graph_id,
                status: "adopted",
                subscription: Some(managed.subscription.into()),
                error: None,
            },
            Err(error) => Self {
                graph_id: one.graph_id,
                status: "failed",
                subscription: None,
                error: Some(ImportErrorView {
                    code: error.code(),
                    message: error.message(),
                    graph: words(error.graph()),
                }),
            },
        }
    }
}

fn words(said: Option<&Said>) -> Option<GraphWords> {
    said.map(GraphWords::from)
}

/// A lifetime as it is read: `1d 12h`.
pub(crate) fn lifetime_text(lifetime: TimeDelta) -> String {
    let mut rest = lifetime.num_seconds().max(0);
    let mut parts = Vec::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if rest >= seconds {
            parts.push(format!("{}{unit}", rest / seconds));
            rest %= seconds;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_reads_back_as_itself() {
        for (seconds, text) in [(3 * 86_400, "3d"), (36 * 3_600, "1d 12h"), (2_701, "45m 1s"), (0, "0s")] {
            assert_eq!(lifetime_text(TimeDelta::seconds(seconds)), text);
            let read = humantime::parse_duration(text).unwrap();
            assert_eq!(TimeDelta::from_std(read).unwrap(), TimeDelta::seconds(seconds));
        }
    }
}
