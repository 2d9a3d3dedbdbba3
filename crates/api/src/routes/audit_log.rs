//! `/admin/audit-log`: every change, with who and when.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use waypost_core::id::EnvironmentId;
use waypost_postgres::Store;
use waypost_postgres::audit::{Entry, EntryFilter};

use crate::auth::Viewer;
use crate::error::{ApiError, ErrorBody};
use crate::page::{Listed, PageParams, Paged};
use crate::routes::routes;
use crate::time::{Time, read};

/// Which changes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filters {
    /// Those of one environment, by its uuid.
    environment: Option<Uuid>,
    /// Those from this time on.
    #[serde(default, deserialize_with = "read")]
    since: Option<DateTime<Utc>>,
    /// Those before this time.
    #[serde(default, deserialize_with = "read")]
    until: Option<DateTime<Utc>>,
}

/// A change that was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct EntryView {
    id: Uuid,
    at: Time,
    /// The uuid of the environment that it happened in.
    #[schema(value_type = Option<Uuid>)]
    environment: Option<EnvironmentId>,
    /// `admin`, `api_key` or `system`.
    actor_kind: String,
    /// The `sub` of an admin token, or the id of an API key.
    actor: String,
    /// The `request-id` of the response to the request that made it.
    request_id: String,
    /// What was done.
    #[schema(example = "connection.create")]
    action: String,
    /// To what.
    object: String,
    /// What changed, without secrets.
    #[schema(value_type = Object)]
    detail: Value,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            at: entry.at.into(),
            environment: entry.environment,
            actor_kind: entry.actor_kind,
            actor: entry.actor,
            request_id: entry.request_id,
            action: entry.action,
            object: entry.object,
            detail: with_our_times(entry.detail),
        }
    }
}

/// The detail with its times written as all others: it was kept with as many digits as they had.
fn with_our_times(detail: Value) -> Value {
    let Value::Object(members) = detail else { return detail };
    let written = members.into_iter().map(|(name, value)| {
        let is_time = name.ends_with("_at") || name.ends_with("_until");
        let at = value.as_str().filter(|_| is_time).and_then(|text| text.parse::<DateTime<Utc>>().ok());
        (name, at.map_or(value, |at| Value::String(crate::time::nango(at))))
    });
    Value::Object(written.collect())
}

/// List changes
///
/// The newest first.
#[utoipa::path(
    context_path = "/admin",
    tag = "Operation",
    security(("admin" = [])),
    params(PageParams, Filters),
    responses(
        (status = 200, description = "A page of changes", body = Listed<EntryView>),
        (status = 400, description = "The query can't be read", body = ErrorBody),
        (status = 401, description = "No valid admin token", body = ErrorBody),
    )
)]
#[get("/audit-log")]
async fn list_audit_log(
    _viewer: Viewer,
    query: Paged<Uuid, Filters>,
    store: web::Data<Store>,
) -> Result<HttpResponse, ApiError> {
    let filter = EntryFilter {
        environment: query.filters.environment.map(EnvironmentId::from_uuid),
        since: query.filters.since,
        until: query.filters.until,
    };
    let listed = store.audit_log_across_environments(&filter, query.page).await?;
    Ok(HttpResponse::Ok().json(Listed::of(listed, EntryView::from)))
}

routes![list_audit_log];
