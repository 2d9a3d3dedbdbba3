//! How endpoints are shown: never with the values of their headers.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use waypost_core::endpoint::{DisabledReason, Endpoint, EndpointStatus, EndpointUrl};
use waypost_core::id::EndpointId;

use super::input::FilterBody;
use crate::time::Time;

/// What stands for a value that isn't shown.
pub(super) const MASKED: &str = "***";

/// An endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub(super) struct EndpointView {
    #[schema(value_type = String, example = "ep_01jd7q3v5he8r9w0x1y2z3a4b5")]
    id: EndpointId,
    /// `primary`, `secondary`, `override` (of a connection) or `custom`.
    #[schema(example = "custom")]
    kind: &'static str,
    #[schema(required)]
    url: Option<String>,
    description: String,
    /// Headers that are added; their values are masked.
    headers: BTreeMap<String, &'static str>,
    filter: FilterBody,
    /// `none`: deliveries go out in no promised order.
    ordering: &'static str,
    /// Requests a second; null for no limit.
    #[schema(required)]
    rate_limit: Option<u32>,
    /// `enabled` or `disabled`.
    #[schema(value_type = String, example = "enabled")]
    status: EndpointStatus,
    /// `gone`, `manual` or `failing`.
    #[schema(required)]
    disabled_reason: Option<&'static str>,
    #[schema(required)]
    disabled_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
}

impl From<Endpoint> for EndpointView {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id,
            kind: endpoint.kind.as_str(),
            url: endpoint.url.as_ref().map(EndpointUrl::as_str).map(str::to_owned),
            description: endpoint.description,
            headers: endpoint.header_names.into_iter().map(|name| (name, MASKED)).collect(),
            filter: FilterBody::of(endpoint.filter.spec()),
            ordering: "none",
            rate_limit: None,
            status: endpoint.status,
            disabled_reason: endpoint.disabled.map(|(reason, _)| DisabledReason::as_str(reason)),
            disabled_at: endpoint.disabled.map(|(_, at)| at.into()),
            created_at: endpoint.created_at.into(),
            updated_at: endpoint.updated_at.into(),
        }
    }
}

/// A signing secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointSecret)]
pub(super) struct SecretView {
    /// `whsec_…`, as Standard Webhooks has it.
    pub(super) secret: String,
}

/// A signing secret that was rotated.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RotatedEndpointSecret)]
pub(super) struct RotatedView {
    /// The new one.
    pub(super) secret: String,
    /// Until when the one before signs along.
    #[schema(required)]
    pub(super) previous_valid_until: Option<Time>,
}
