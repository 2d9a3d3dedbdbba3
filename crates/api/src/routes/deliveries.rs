//! `/deliveries`: events on their way to endpoints, each attempt, and another try by hand.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waypost_core::delivery::{DeliveryStatus, Ending, Response};
use waypost_core::id::{DeliveryId, EndpointId, EventId};
use waypost_postgres::delivery::{DeliveryFilter, Retry, RetryBounds, StoredAttempt, StoredDelivery};

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, Id, known_word};
use crate::page::{Listed, PageParams, Paged};
use crate::routes::routes;
use crate::surroundings::Surroundings;
use crate::time::{Time, read};

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filters {
    /// Those of one event.
    #[param(value_type = Option<String>)]
    event_id: Option<EventId>,
    /// Those to one endpoint.
    #[param(value_type = Option<String>)]
    endpoint_id: Option<EndpointId>,
    /// `pending`, `sending`, `held`, `delivered`, `dead` or `discarded`.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "known_word")]
    status: Option<DeliveryStatus>,
    /// Those made from this time on.
    #[serde(default, deserialize_with = "read")]
    since: Option<DateTime<Utc>>,
    /// Those made before this time.
    #[serde(default, deserialize_with = "read")]
    until: Option<DateTime<Utc>>,
}

/// Nothing: the request says all by its path.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// One event on its way to one endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView {
    #[schema(value_type = String, example = "dlv_01jd7q3v5he8r9w0x1y2z3a4b5")]
    id: DeliveryId,
    #[schema(value_type = String)]
    event_id: EventId,
    #[schema(value_type = String)]
    endpoint_id: EndpointId,
    /// `pending`, `sending`, `held`, `delivered`, `dead` or `discarded`.
    status: &'static str,
    /// Why it is dead or discarded: `exhausted`, `max_age`, `retention` or `discarded`.
    reason: Option<&'static str>,
    /// Requests made so far.
    attempts: u32,
    /// When it is due, while it is pending.
    next_attempt_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryDetail)]
pub(crate) struct DetailView {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// The last 200 attempts, the oldest first.
    attempt_log: Vec<AttemptView>,
}

/// One HTTP request of a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptView {
    /// From 1.
    number: u32,
    started_at: Time,
    duration_ms: u32,
    /// The status of the answer; null when none came.
    status_code: Option<u16>,
    /// Why no answer came: `timeout`, `connect`, `dns`, …
    error: Option<String>,
    /// The headers of the answer, where it was kept; repeated ones are joined by commas.
    response_headers: Option<BTreeMap<String, String>>,
    /// The first 16 KiB of the answer's body, where it was kept.
    response_body: Option<String>,
}

impl From<StoredDelivery> for DeliveryView {
    fn from(delivery: StoredDelivery) -> Self {
        Self {
            id: delivery.id,
            event_id: delivery.event,
            endpoint_id: delivery.endpoint,
            status: delivery.status.as_str(),
            reason: delivery.ending.and_then(Ending::reason),
            attempts: delivery.attempts,
            next_attempt_at: delivery.next_attempt_at.map(Time::from),
            created_at: delivery.created_at.into(),
            updated_at: delivery.updated_at.into(),
        }
    }
}

impl From<StoredAttempt> for AttemptView {
    fn from(attempt: StoredAttempt) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at.into(),
            duration_ms: attempt.duration_ms,
            status_code: attempt.status_code,
            error: attempt.error,
            response_headers: attempt.response.as_ref().map(headers),
            response_body: attempt.response.as_ref().map(|response| text(&response.body)),
        }
    }
}

fn headers(response: &Response) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in &response.headers {
        let value = text(value);
        headers.entry(name.clone()).and_modify(|all| *all = format!("{all}, {value}")).or_insert(value);
    }
    headers
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// List deliveries
///
/// The newest first.
#[utoipa::path(
    tag = "Deliveries",
    security(("api_key" = [])),
    params(PageParams, Filters),
    responses(
        (status = 200, description = "A page of deliveries", body = Listed<DeliveryView>),
        (status = 400, description = "The query can't be read", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks the scope", body = ErrorBody),
    )
)]
#[get("/deliveries")]
async fn list_deliveries(
    caller: Authorized<scope::EventsRead>,
    query: Paged<DeliveryId, Filters>,
) -> Result<HttpResponse, ApiError> {
    let filter = DeliveryFilter {
        event: query.filters.event_id,
        endpoint: query.filters.endpoint_id,
        status: query.filters.status,
        since: query.filters.since,
        until: query.filters.until,
    };
    let listed = caller.tenant.list_deliveries(&filter, &query.page).await?;
    Ok(HttpResponse::Ok().json(Listed::of(listed, DeliveryView::from)))
}

/// Get a delivery
///
/// With its attempts.
#[utoipa::path(
    tag = "Deliveries",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The delivery's id")),
    responses(
        (status = 200, description = "The delivery", body = DetailView),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks the scope", body = ErrorBody),
        (status = 404, description = "No such delivery", body = ErrorBody),
    )
)]
#[get("/deliveries/{id}")]
async fn get_delivery(
    caller: Authorized<scope::EventsRead>,
    id: Id<DeliveryId>,
) -> Result<HttpResponse, ApiError> {
    let delivery = caller.tenant.find_delivery(id.0).await?.ok_or_else(unknown)?;
    let attempts = caller.tenant.list_attempts(id.0).await?;
    let attempt_log = attempts.into_iter().map(AttemptView::from).collect();
    Ok(HttpResponse::Ok().json(DetailView { delivery: delivery.into(), attempt_log }))
}

/// Retry a delivery
///
/// A dead one is open again, with its schedule from the start; a pending one is due at once.
#[utoipa::path(
    tag = "Deliveries",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The delivery's id")),
    request_body(content = Nothing, description = "May be left out"),
    responses(
        (status = 202, description = "The delivery, which goes out again", body = DeliveryView),
        (status = 400, description = "The body is neither empty nor `{}`", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks the scope", body = ErrorBody),
        (status = 404, description = "No such delivery", body = ErrorBody),
        (status = 409, description = "As it stands it can't be retried; the code tells why", body = ErrorBody),
        (status = 415, description = "The body isn't JSON", body = ErrorBody),
    )
)]
#[post("/deliveries/{id}/retry")]
async fn retry_delivery(
    caller: Authorized<scope::EventsWrite>,
    id: Id<DeliveryId>,
    _nothing: Body<Nothing>,
    surroundings: web::Data<Surroundings>,
) -> Result<HttpResponse, ApiError> {
    let settings = &surroundings.settings;
    let bounds = RetryBounds { max_age: settings.max_age, keep: settings.keep };
    let retry = caller.tenant.retry_delivery(id.0, bounds).await?.ok_or_else(unknown)?;
    let delivery = begun(retry)?;
    surroundings.work_waits();
    Ok(HttpResponse::Accepted().json(DeliveryView::from(delivery)))
}

fn begun(retry: Retry) -> Result<StoredDelivery, ApiError> {
    let (code, message) = match retry {
        Retry::Begun(delivery) => return Ok(delivery),
        Retry::NoEndpoint => ("endpoint_gone", "Its endpoint was deleted or has no URL any more"),
        Retry::NoEvent => ("event_gone", "Its event is older than what is kept"),
        Retry::Leaving => {
            ("event_leaving", "Its event is older than retention.events and about to leave the history")
        }
        Retry::Refused(status) => match status {
            DeliveryStatus::Held => ("delivery_held", "It waits for its endpoint: enable that to send it"),
            DeliveryStatus::Delivered => ("delivery_delivered", "It was delivered already"),
            DeliveryStatus::Discarded => ("delivery_discarded", "It was discarded"),
            DeliveryStatus::Sending | DeliveryStatus::Pending | DeliveryStatus::Dead => {
                ("delivery_sending", "It is being sent at this moment")
            }
        },
    };
    Err(ApiError::conflict(code, message))
}

fn unknown() -> ApiError {
    ApiError::not_found("There is no such delivery")
}

routes![list_deliveries, get_delivery, retry_delivery];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_headers_are_joined_and_bytes_that_are_no_text_are_shown_as_far_as_they_are() {
        let header = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        let headers_in = vec![header("via", b"a"), header("via", b"b"), header("x-odd", b"caf\xe9")];
        let shown = headers(&Response { headers: headers_in, body: Vec::new(), truncated: false });
        assert_eq!(shown["via"], "a, b");
        assert_eq!(shown["x-odd"], "caf\u{fffd}");
    }

    #[test]
    fn what_cant_be_retried_says_why() {
        for (retry, code) in [
            (Retry::Refused(DeliveryStatus::Sending), "delivery_sending"),
            (Retry::Refused(DeliveryStatus::Held), "delivery_held"),
            (Retry::Refused(DeliveryStatus::Delivered), "delivery_delivered"),
            (Retry::Refused(DeliveryStatus::Discarded), "delivery_discarded"),
            (Retry::NoEndpoint, "endpoint_gone"),
            (Retry::NoEvent, "event_gone"),
            (Retry::Leaving, "event_leaving"),
        ] {
            assert_eq!(begun(retry).unwrap_err().code(), code);
        }
    }
}
