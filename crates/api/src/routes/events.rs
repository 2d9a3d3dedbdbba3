//! `/events`: what was accepted, for whom, and what became of it.

use std::str::FromStr;

use actix_web::{HttpResponse, get};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use waypost_core::connection::ConnectionId;
use waypost_core::event::{EventKind, EventStatus, UnknownWord};
use waypost_core::id::{EventId, TenantId};
use waypost_core::integration::UniqueKey;
use waypost_postgres::event::{EventDetail, EventFilter, StoredEvent, StoredProof, SubscriptionRef};

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Id, known_word};
use crate::page::{Listed, PageParams, Paged};
use crate::routes::deliveries::DeliveryView;
use crate::routes::routes;
use crate::time::{Time, read};

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filters {
    /// Those of connections of this id.
    #[param(value_type = Option<String>)]
    connection_id: Option<ConnectionId>,
    /// Those of one integration.
    #[param(value_type = Option<String>)]
    provider_config_key: Option<UniqueKey>,
    /// `forward`, `auth`, `subscription`, `endpoint`, or one kind of these as `subscription.renewed`.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "known_word")]
    kind: Option<Kinds>,
    /// The worst of its deliveries': `dead`, `held`, `pending`, `sending`, `discarded`, `delivered`; without deliveries
    /// `unmatched`, `unrouted`, `quarantined`.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "known_word")]
    status: Option<EventStatus>,
    /// Those of one tenant, by its GUID.
    #[param(value_type = Option<Uuid>)]
    tenant_id: Option<TenantId>,
    /// Those that name this subscription: `sub_…`, or Graph's id.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "known_word")]
    subscription_id: Option<Subscription>,
    /// Those from this time on.
    #[serde(default, deserialize_with = "read")]
    since: Option<DateTime<Utc>>,
    /// Those before this time.
    #[serde(default, deserialize_with = "read")]
    until: Option<DateTime<Utc>>,
}

/// The kinds that a filter's word stands for.
#[derive(Debug)]
struct Kinds(Vec<EventKind>);

impl FromStr for Kinds {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let kinds = EventKind::named(text);
        if kinds.is_empty() { Err(UnknownWord) } else { Ok(Self(kinds)) }
    }
}

/// A subscription, by either of its ids.
#[derive(Debug)]
struct Subscription(SubscriptionRef);

impl FromStr for Subscription {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let own = text.parse().map(SubscriptionRef::Own);
        let named = own.or_else(|_| Uuid::try_parse(text).map(SubscriptionRef::Graph));
        named.map(Self).map_err(|_| "a subscription is named by `sub_…` or by Graph's GUID")
    }
}

/// What one accepted POST holds for one connection, or a notice of Waypost itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventView {
    /// The `webhook-id` of its deliveries.
    #[schema(value_type = String, example = "evt_01jd7q3v5he8r9w0x1y2z3a4b5")]
    id: EventId,
    /// `forward`, or the kind of a notice as `auth.creation`.
    kind: &'static str,
    /// The worst of its deliveries', or what kept it from having any.
    status: &'static str,
    /// The connection it is for; null while it is unmatched, and for notices about endpoints.
    #[schema(value_type = Option<String>)]
    connection_id: Option<ConnectionId>,
    #[schema(value_type = Option<String>)]
    provider_config_key: Option<UniqueKey>,
    /// The tenant that the provider named.
    #[schema(value_type = Option<Uuid>)]
    tenant_id: Option<TenantId>,
    /// How many items it holds.
    items: u32,
    /// Graph's ids of the subscriptions that its items name.
    subscriptions: Vec<Uuid>,
    received_at: Time,
}

/// An event with what is sent and where it went.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventDetail)]
pub(crate) struct DetailView {
    #[serde(flatten)]
    event: EventView,
    /// What is forwarded: of a `forward` the notification collection, of a notice all of it. Each `clientState` is masked.
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    /// What is thought of each encrypted item. Items that are not in it hold nothing encrypted, or nobody has looked yet.
    proofs: Vec<ProofView>,
    /// The newest first.
    deliveries: Vec<DeliveryView>,
}

/// What is thought of an encrypted item.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ItemProof)]
pub(crate) struct ProofView {
    /// Its place in `payload.value`, from 0.
    item: u32,
    /// Its key, as `waypost-item-keys` has it.
    item_key: String,
    /// `proven`: it goes out; `pending`: it waits; `unopened`: the others went out without it; `quarantined`: it is taken
    /// out.
    status: &'static str,
    /// Why it doesn't go out, as a word.
    reason: Option<&'static str>,
    /// The same for people.
    message: Option<String>,
}

impl From<StoredEvent> for EventView {
    fn from(event: StoredEvent) -> Self {
        Self {
            id: event.id,
            kind: event.kind.as_str(),
            status: event.status.as_str(),
            connection_id: event.connection,
            provider_config_key: event.integration,
            tenant_id: event.tenant,
            items: event.items,
            subscriptions: event.subscriptions,
            received_at: event.received_at.into(),
        }
    }
}

impl From<StoredProof> for ProofView {
    fn from(proof: StoredProof) -> Self {
        Self {
            item: proof.item,
            item_key: proof.item_key,
            status: proof.verdict.status(),
            reason: proof.verdict.reason(),
            message: proof.verdict.message(),
        }
    }
}

impl From<EventDetail> for DetailView {
    fn from(detail: EventDetail) -> Self {
        Self {
            event: detail.event.into(),
            payload: detail.payload,
            proofs: detail.proofs.into_iter().map(ProofView::from).collect(),
            deliveries: detail.deliveries.into_iter().map(DeliveryView::from).collect(),
        }
    }
}

impl From<Filters> for EventFilter {
    fn from(filters: Filters) -> Self {
        Self {
            connection: filters.connection_id,
            integration: filters.provider_config_key,
            kinds: filters.kind.map(|kinds| kinds.0),
            status: filters.status,
            tenant: filters.tenant_id,
            subscription: filters.subscription_id.map(|subscription| subscription.0),
            since: filters.since,
            until: filters.until,
        }
    }
}

/// List events
///
/// The newest first.
#[utoipa::path(
    tag = "Events",
    security(("api_key" = [])),
    params(PageParams, Filters),
    responses(
        (status = 200, description = "A page of events", body = Listed<EventView>),
        (status = 400, description = "The query can't be read", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks the scope", body = ErrorBody),
    )
)]
#[get("/events")]
async fn list_events(
    caller: Authorized<scope::EventsRead>,
    query: Paged<EventId, Filters>,
) -> Result<HttpResponse, ApiError> {
    let listed = caller.tenant.list_events(&query.filters.into(), &query.page).await?;
    Ok(HttpResponse::Ok().json(Listed::of(listed, EventView::from)))
}

/// Get an event
///
/// With its payload and its deliveries.
#[utoipa::path(
    tag = "Events",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The event's id")),
    responses(
        (status = 200, description = "The event", body = DetailView),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks the scope", body = ErrorBody),
        (status = 404, description = "No such event", body = ErrorBody),
    )
)]
#[get("/events/{id}")]
async fn get_event(caller: Authorized<scope::EventsRead>, id: Id<EventId>) -> Result<HttpResponse, ApiError> {
    let found = caller.tenant.find_event(id.0).await?;
    let detail = found.ok_or_else(|| ApiError::not_found("There is no such event"))?;
    Ok(HttpResponse::Ok().json(DetailView::from(detail)))
}

routes![list_events, get_event];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::parse_query;

    #[test]
    fn every_filter_is_read() {
        let query = "connection_id=conn-1&provider_config_key=graph-cc&kind=subscription&status=dead\
                     &tenant_id=6F9619FF-8B86-4D01-B42D-00CF4FC964FF&subscription_id=sub_01h455vb4pex5vsknk084sn02q\
                     &since=2026-11-22T00:00:00Z&until=2026-11-23T00:00:00.5%2B01:00";
        let filters: Filters = parse_query(query).unwrap();
        assert!(
            filters
                .kind
                .is_some_and(|kinds| kinds.0.contains(&EventKind::SubscriptionRenewed) && kinds.0.len() == 9)
        );
        assert_eq!(filters.status, Some(EventStatus::Dead));
        assert!(matches!(filters.subscription_id, Some(Subscription(SubscriptionRef::Own(_)))));
        assert_eq!(filters.until.map(crate::time::nango).as_deref(), Some("2026-11-22T23:00:00.500Z"));
    }

    #[test]
    fn an_event_is_shown_with_its_payload_as_it_is_written() {
        let detail = EventDetail {
            event: StoredEvent {
                id: "evt_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
                kind: EventKind::Forward,
                status: EventStatus::Unrouted,
                connection: None,
                integration: Some(UniqueKey::parse("graph-cc").unwrap()),
                tenant: None,
                items: 1,
                subscriptions: Vec::new(),
                received_at: DateTime::from_timestamp_millis(1_800_000_000_120).unwrap(),
            },
            payload: RawValue::from_string(r#"{"value":[{"n":1e400}]}"#.to_owned()).unwrap(),
            proofs: Vec::new(),
            deliveries: Vec::new(),
        };
        assert_eq!(
            serde_json::to_string(&DetailView::from(detail)).unwrap(),
            r#"{"id":"evt_01h455vb4pex5vsknk084sn02q","kind":"forward","status":"unrouted","connection_id":null,"provider_config_key":"graph-cc","tenant_id":null,"items":1,"subscriptions":[],"received_at":"2027-01-15T08:00:00.120Z","payload":{"value":[{"n":1e400}]},"proofs":[],"deliveries":[]}"#
        );
    }

    #[test]
    fn unknown_values_and_parameters_are_refused() {
        for query in [
            "kind=",
            "kind=auth.nonsense",
            "status=open",
            "status=",
            "tenant_id=contoso.com",
            "subscription_id=evt_1",
            "subscription_id=1",
            "since=yesterday",
            "connection_id=",
            "provider_config_key=a/b",
            "items=1",
            "kind=auth&kind=auth",
        ] {
            let error = parse_query::<Filters>(query).unwrap_err();
            assert_eq!(error.code(), "invalid_query_params", "{query}");
        }
    }
}
