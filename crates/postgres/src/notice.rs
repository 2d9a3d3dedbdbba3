//! Notices: events that Waypost itself writes, in the transaction of the change that they tell of.
//!
//! A notice is one event row, kept even when nobody takes it, and one delivery for each endpoint that does. It is
//! stored by the same statement as what intake accepts.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use waypost_core::account::{Name, WebhookSettings};
use waypost_core::connection::ConnectionRef;
use waypost_core::delivery::{NewDelivery, Start};
use waypost_core::endpoint::{Candidate, EndpointKind, EndpointStatus, route, switched_on};
use waypost_core::event::{EventKind, NewEvent, Routing};
use waypost_core::filter::Subject;
use waypost_core::id::{ConnectionKey, DeliveryId, EndpointId, EventId, IntegrationId, TenantId};
use waypost_core::integration::UniqueKey;

use crate::append::Batch;
use crate::endpoint::EndpointRow;
use crate::{StoreError, TenantStore};

/// Something to tell.
#[derive(Debug)]
pub(crate) struct Notice<'a> {
    /// What kind of event it is.
    pub(crate) kind: EventKind,
    /// The integration it is about.
    pub(crate) integration: (IntegrationId, &'a UniqueKey),
    /// The connection it is about.
    pub(crate) connection: &'a ConnectionRef,
    /// That connection's tenant.
    pub(crate) tenant: Option<TenantId>,
    /// The bytes to send.
    pub(crate) body: Vec<u8>,
}

/// What notices need to know of their environment: read once in a transaction, however many notices it writes.
#[derive(Debug)]
pub(crate) struct Audience {
    /// The environment's name, which `auth` notices show.
    pub(crate) environment: Name,
    settings: WebhookSettings,
    candidates: Vec<Candidate>,
    overrides: HashMap<ConnectionKey, EndpointId>,
}

impl Audience {
    /// The endpoint that takes the place of `primary` and `secondary` for `connection`.
    pub(crate) fn override_of(&self, connection: ConnectionKey) -> Option<EndpointId> {
        self.overrides.get(&connection).copied()
    }

    fn takers<'a>(&'a self, notice: &'a Notice<'_>) -> impl Iterator<Item = &'a Candidate> {
        let subject = Subject {
            kind: notice.kind,
            integration: Some(notice.integration.1.as_str()),
            connection: Some(notice.connection.id.as_str()),
            items: &[],
        };
        let on = switched_on(notice.kind, &self.settings);
        let gated = |kind| matches!(kind, EndpointKind::Primary | EndpointKind::Secondary);
        route(&self.candidates, Some(notice.connection), subject)
            .filter(move |found| on || !gated(found.kind))
    }
}

impl TenantStore {
    /// Who may want notices about `connections`, as this transaction sees it.
    pub(crate) async fn audience(
        &self,
        tx: &mut PgConnection,
        connections: &[i64],
    ) -> Result<Audience, StoreError> {
        let row = sqlx::query!(
            "SELECT name, on_auth_creation, on_auth_refresh_error, forward_client_state FROM environments WHERE id = $1",
            self.environment.uuid(),
        )
        .fetch_one(&mut *tx)
        .await?;
        let environment = Name::parse(row.name)
            .map_err(|_| StoreError::inconsistent("environments", "name", self.environment))?;
        let rows = EndpointRow::for_routing(tx, self.environment, connections).await?;
        let candidates = rows.into_iter().map(EndpointRow::into_candidate).collect::<Result<Vec<_>, _>>()?;
        let overrides = candidates.iter().filter_map(|found| Some((found.connection?, found.id))).collect();
        let settings = WebhookSettings {
            on_auth_creation: row.on_auth_creation,
            on_auth_refresh_error: row.on_auth_refresh_error,
            forward_client_state: row.forward_client_state,
        };
        Ok(Audience { environment, settings, candidates, overrides })
    }

    /// Writes notices and their deliveries, due at once; those are given up after `max_age` at the latest.
    pub(crate) async fn append_notices(
        &self,
        tx: &mut PgConnection,
        audience: &Audience,
        notices: Vec<Notice<'_>>,
        max_age: TimeDelta,
    ) -> Result<(), StoreError> {
        self.append_named_notices(tx, audience, notices, max_age).await.map(drop)
    }

    /// As [`Self::append_notices`]; tells the events' ids, in the order of the notices.
    pub(crate) async fn append_named_notices(
        &self,
        tx: &mut PgConnection,
        audience: &Audience,
        notices: Vec<Notice<'_>>,
        max_age: TimeDelta,
    ) -> Result<Vec<EventId>, StoreError> {
        let now = self.store.clock().now();
        let mut batch = Batch::default();
        for notice in notices {
            let event = EventId::at(now);
            let before = batch.deliveries.len();
            batch.deliveries.extend(audience.takers(&notice).map(|found| NewDelivery {
                id: DeliveryId::at(now),
                event,
                environment: self.environment,
                endpoint: found.id,
                start: start(found.status, now),
                give_up_at: now + max_age,
            }));
            let routing = if batch.deliveries.len() > before { Routing::Routed } else { Routing::Unrouted };
            batch.events.push(self.notice_event(event, routing, now, notice));
        }
        let named = batch.events.iter().map(|event| event.id).collect();
        if !batch.events.is_empty() {
            self.store.append_on(tx, &batch).await?;
        }
        Ok(named)
    }

    fn notice_event(
        &self,
        id: EventId,
        routing: Routing,
        now: DateTime<Utc>,
        notice: Notice<'_>,
    ) -> NewEvent {
        NewEvent {
            id,
            environment: self.environment,
            integration: Some(notice.integration.0),
            connection: Some(notice.connection.key),
            tenant: notice.tenant,
            subscriptions: Vec::new(),
            kind: notice.kind,
            routing,
            received_at: now,
            items: 0,
            item_keys: String::new(),
            rich: false,
            body: notice.body.into(),
            proof: None,
        }
    }
}

const fn start(status: EndpointStatus, now: DateTime<Utc>) -> Start {
    match status {
        EndpointStatus::Enabled => Start::Due(now),
        EndpointStatus::Disabled => Start::Held,
    }
}
