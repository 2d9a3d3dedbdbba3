//! Notices about an endpoint (`"type":"endpoint"`): told to every endpoint of its environment that wants them but to the
//! endpoint itself.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::json;
use sqlx::PgConnection;
use waypost_core::canonical::canonical;
use waypost_core::delivery::{NewDelivery, Start};
use waypost_core::endpoint::{Candidate, EndpointStatus, route};
use waypost_core::event::{EventKind, NewEvent, Routing};
use waypost_core::filter::Subject;
use waypost_core::id::{DeliveryId, EndpointId, EnvironmentId, EventId};

use crate::append::Batch;
use crate::{Store, StoreError};

/// Something to tell about an endpoint.
#[derive(Debug)]
pub(crate) struct EndpointNotice<'a> {
    /// What kind of event it is.
    pub(crate) kind: EventKind,
    /// The endpoint's environment.
    pub(crate) environment: EnvironmentId,
    /// The endpoint.
    pub(crate) endpoint: EndpointId,
    /// Its URL.
    pub(crate) url: &'a str,
    /// Why, as a word.
    pub(crate) reason: &'a str,
}

impl EndpointNotice<'_> {
    fn body(&self) -> Result<Vec<u8>, StoreError> {
        let body = json!({
            "endpoint": {"id": self.endpoint, "url": self.url},
            "from": "waypost",
            "operation": self.kind.operation(),
            "reason": self.reason,
            "type": self.kind.wire_type(),
        });
        canonical(body.to_string().as_bytes())
            .map_err(|_| StoreError::inconsistent("endpoints", "url", self.endpoint))
    }
}

impl Store {
    /// The endpoints of an environment that may want a notice.
    pub(crate) async fn notice_candidates(
        &self,
        environment: EnvironmentId,
    ) -> Result<Vec<Candidate>, StoreError> {
        let now = self.clock().now();
        let mut found = self
            .find_endpoints_across_environments(&BTreeSet::from([environment]), &BTreeSet::new(), now)
            .await?;
        Ok(found.remove(&environment).unwrap_or_default().candidates)
    }

    /// Stores a notice and its deliveries as part of the change that it tells of.
    pub(crate) async fn append_endpoint_notice(
        &self,
        tx: &mut PgConnection,
        notice: &EndpointNotice<'_>,
        candidates: &[Candidate],
        max_age: TimeDelta,
    ) -> Result<(), StoreError> {
        let now = self.clock().now();
        let event = EventId::at(now);
        let subject = Subject { kind: notice.kind, integration: None, connection: None, items: &[] };
        let takers = route(candidates, None, subject).filter(|found| found.id != notice.endpoint);
        let deliveries: Vec<NewDelivery> = takers
            .map(|found| NewDelivery {
                id: DeliveryId::at(now),
                event,
                environment: notice.environment,
                endpoint: found.id,
                start: match found.status {
                    EndpointStatus::Enabled => Start::Due(now),
                    EndpointStatus::Disabled => Start::Held,
                },
                give_up_at: now + max_age,
            })
            .collect();
        let stored = NewEvent {
            id: event,
            environment: notice.environment,
            integration: None,
            connection: None,
            tenant: None,
            subscriptions: Vec::new(),
            kind: notice.kind,
            routing: if deliveries.is_empty() { Routing::Unrouted } else { Routing::Routed },
            received_at: now,
            items: 0,
            item_keys: String::new(),
            rich: false,
            body: notice.body()?.into(),
            proof: None,
        };
        self.append_on(tx, &Batch { events: vec![stored], deliveries }).await
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_notice_names_the_endpoint_and_why_in_canonical_order() {
        let notice = EndpointNotice {
            kind: EventKind::EndpointRetentionWarning,
            environment: EnvironmentId::from_uuid(Uuid::nil()),
            endpoint: EndpointId::from_uuid(Uuid::nil()),
            url: "https://example.com/a?b=\"c\"",
            reason: "retention",
        };
        assert_eq!(
            String::from_utf8(notice.body().unwrap()).unwrap(),
            r#"{"endpoint":{"id":"ep_00000000000000000000000000","url":"https://example.com/a?b=\"c\""},"from":"waypost","operation":"retention_warning","reason":"retention","type":"endpoint"}"#
        );
    }
}
