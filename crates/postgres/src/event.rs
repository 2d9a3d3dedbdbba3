//! Events as people see them. They are written in [`crate::append`] and by the matcher.
//!
//! Where an event stands is not stored with it but read off its deliveries, so it can't be out of date.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use uuid::Uuid;
use waypost_core::connection::ConnectionId;
use waypost_core::delivery::DeliveryStatus;
use waypost_core::event::{EventKind, EventStatus, Routing};
use waypost_core::id::{EventId, SubscriptionId, TenantId, uuid_floor};
use waypost_core::integration::UniqueKey;
use waypost_core::page::{Listed, Page};
use waypost_core::payload;
use waypost_core::proof::{ItemProof, ItemVerdict, Proof};

use crate::delivery::{DeliveryFilter, StoredDelivery, Wanted};
use crate::proof::proof_of;
use crate::{StoreError, TenantStore};

/// The most deliveries that are shown with their event: the newest.
const MOST_DELIVERIES: i64 = 500;

/// An event as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its id.
    pub id: EventId,
    /// What kind it is.
    pub kind: EventKind,
    /// Where it stands.
    pub status: EventStatus,
    /// The connection it is for, by its name on the wire.
    pub connection: Option<ConnectionId>,
    /// The integration it came through.
    pub integration: Option<UniqueKey>,
    /// The tenant that the provider named.
    pub tenant: Option<TenantId>,
    /// How many items it holds.
    pub items: u32,
    /// The Graph ids of the subscriptions that its items name.
    pub subscriptions: Vec<Uuid>,
    /// When its POST arrived, or the notice arose.
    pub received_at: DateTime<Utc>,
}

/// An event with all that belongs to it.
#[derive(Debug, Clone)]
pub struct EventDetail {
    /// The event.
    pub event: StoredEvent,
    /// What is forwarded, with each `clientState` masked.
    pub payload: Box<RawValue>,
    /// What is thought of its encrypted items.
    pub proofs: Vec<StoredProof>,
    /// Its deliveries, the newest first.
    pub deliveries: Vec<StoredDelivery>,
}

/// What is thought of one encrypted item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProof {
    /// Its place in `value`, from 0.
    pub item: u32,
    /// Its key.
    pub item_key: String,
    /// The verdict.
    pub verdict: ItemVerdict,
}

/// A subscription in a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionRef {
    /// By Waypost's id.
    Own(SubscriptionId),
    /// By Graph's id.
    Graph(Uuid),
}

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of connections of this name.
    pub connection: Option<ConnectionId>,
    /// Of this integration.
    pub integration: Option<UniqueKey>,
    /// Of one of these kinds; any when absent.
    pub kinds: Option<Vec<EventKind>>,
    /// That stand so.
    pub status: Option<EventStatus>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// That name this subscription.
    pub subscription: Option<SubscriptionRef>,
    /// Made at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Made before this time.
    pub until: Option<DateTime<Utc>>,
}

impl TenantStore {
    /// A page of events, the newest first.
    ///
    /// # Errors
    /// When the database fails, or a row can't be right.
    pub async fn list_events(
        &self,
        filter: &EventFilter,
        page: &Page<EventId>,
    ) -> Result<Listed<StoredEvent, EventId>, StoreError> {
        let mut tx = self.begin().await?;
        let rows = self.select_events(&mut tx, filter, page, None).await?;
        tx.commit().await?;
        Ok(Listed::cut(rows, page.limit, |row| row.id))
    }

    /// An event with its payload and deliveries; `None` when there is none of that id.
    ///
    /// # Errors
    /// When the database fails, or a row can't be right.
    pub async fn find_event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError> {
        let mut tx = self.begin().await?;
        let one = Page { limit: 1, after: None };
        let Some(event) = self.select_events(&mut tx, &EventFilter::default(), &one, Some(id)).await?.pop()
        else {
            return Ok(None);
        };
        let body = sqlx::query!(
            r#"SELECT e.body, e.connection, e.item_keys, p.findings AS "findings?", p.verdicts AS "verdicts?"
               FROM events e LEFT JOIN proofs p ON p.event_id = e.id AND p.environment_id = $2
               WHERE e.id = $1 AND e.environment_id = $2"#,
            id.uuid(),
            self.environment.uuid(),
        );
        let row = body.fetch_one(&mut *tx).await?;
        let filter = DeliveryFilter { event: Some(id), ..DeliveryFilter::default() };
        let wanted = Wanted { filter, after: None, limit: MOST_DELIVERIES, id: None };
        let deliveries = self.select_deliveries(&mut tx, wanted).await?;
        tx.commit().await?;
        let body = self.store.open("events", "body", id.uuid().as_bytes(), &row.body)?;
        let wrong = || StoreError::inconsistent("events", "body", id);
        // Without a connection there is no envelope around the payload; notices are all payload.
        let enveloped = event.kind == EventKind::Forward && row.connection.is_some();
        let bare = if enveloped { payload::of_envelope(&body).ok_or_else(wrong)? } else { &body };
        let payload = payload::masked(bare).ok_or_else(wrong)?;
        let proofs = shown(proof_of(id, row.findings, row.verdicts)?, &row.item_keys);
        Ok(Some(EventDetail { event, payload, proofs, deliveries }))
    }

    async fn select_events(
        &self,
        tx: &mut PgConnection,
        filter: &EventFilter,
        page: &Page<EventId>,
        id: Option<EventId>,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let terms = Terms::of(filter);
        let rows = sqlx::query_file_as!(
            Row,
            "queries/list_events.sql",
            self.environment.uuid(),
            id.map(EventId::uuid),
            page.after.map(EventId::uuid),
            filter.since.map(uuid_floor),
            filter.until.map(uuid_floor),
            filter.connection.as_ref().map(ConnectionId::as_str),
            filter.integration.as_ref().map(UniqueKey::as_str),
            terms.kinds.as_deref(),
            filter.tenant.map(TenantId::uuid),
            terms.own,
            terms.graph,
            terms.routing,
            terms.worst,
            i64::from(page.limit) + 1,
        );
        let rows = rows.fetch_all(tx).await?;
        rows.into_iter().map(StoredEvent::try_from).collect()
    }
}

/// Parts of a filter as the statement takes them.
struct Terms {
    kinds: Option<Vec<i16>>,
    own: Option<Uuid>,
    graph: Option<Uuid>,
    routing: Option<i16>,
    worst: Option<i16>,
}

impl Terms {
    fn of(filter: &EventFilter) -> Self {
        let (own, graph) = match filter.subscription {
            Some(SubscriptionRef::Own(id)) => (Some(id.uuid()), None),
            Some(SubscriptionRef::Graph(id)) => (None, Some(id)),
            None => (None, None),
        };
        let source = filter.status.map(EventStatus::source);
        Self {
            kinds: filter.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| kind.code()).collect()),
            own,
            graph,
            routing: source.and_then(Result::err).map(Routing::code),
            worst: source.and_then(Result::ok).map(place_of),
        }
    }
}

/// The place of a status among the worst, as the statement above counts.
fn place_of(status: DeliveryStatus) -> i16 {
    let place = DeliveryStatus::WORST_FIRST.into_iter().position(|other| other == status);
    place.and_then(|place| i16::try_from(place).ok()).unwrap_or(i16::MAX)
}

/// The verdicts, each with the key of its item.
fn shown(proof: Proof, item_keys: &str) -> Vec<StoredProof> {
    let keys: Vec<&str> = item_keys.split(',').collect();
    let stored = |proof: ItemProof| {
        let key =
            usize::try_from(proof.item).ok().and_then(|item| keys.get(item)).copied().unwrap_or_default();
        StoredProof { item: proof.item, item_key: key.to_owned(), verdict: proof.verdict }
    };
    proof.items.unwrap_or_default().into_iter().map(stored).collect()
}

struct Row {
    id: Uuid,
    kind: i16,
    routing: i16,
    tenant_id: Option<Uuid>,
    subscriptions: Vec<Uuid>,
    items: i32,
    received_at: DateTime<Utc>,
    worst: Option<i16>,
    connection_id: Option<String>,
    unique_key: Option<String>,
}

impl TryFrom<Row> for StoredEvent {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let id = EventId::from_uuid(row.id);
        let wrong = |column| StoreError::inconsistent("events", column, id);
        let routing = Routing::from_code(row.routing).ok_or_else(|| wrong("routing"))?;
        let worst = row
            .worst
            .and_then(|place| DeliveryStatus::WORST_FIRST.get(usize::try_from(place).ok()?).copied());
        let connection = row.connection_id.map(ConnectionId::parse).transpose();
        let integration = row.unique_key.map(UniqueKey::parse).transpose();
        Ok(Self {
            id,
            kind: EventKind::from_code(row.kind).ok_or_else(|| wrong("kind"))?,
            status: EventStatus::of(routing, worst),
            connection: connection.map_err(|_| wrong("connection"))?,
            integration: integration.map_err(|_| wrong("integration_id"))?,
            tenant: row.tenant_id.map(TenantId::from_uuid),
            items: u32::try_from(row.items).map_err(|_| wrong("items"))?,
            subscriptions: row.subscriptions,
            received_at: row.received_at,
        })
    }
}
