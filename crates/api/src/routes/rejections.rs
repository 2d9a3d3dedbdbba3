//! `/rejections`: what ingress refused, and why.

use std::fmt;
use std::str::FromStr;

use actix_web::{HttpResponse, get};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use waypost_core::event::UnknownWord;
use waypost_core::integration::UniqueKey;
use waypost_core::page::{Listed as Rows, Page};
use waypost_core::rejection::Reason;
use waypost_postgres::rejection::{Refused, RejectionFilter, RejectionKey};

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody};
use crate::extract::known_word;
use crate::page::{Listed, PageParams, Paged};
use crate::routes::routes;
use crate::time::{Time, read};

/// Which refusals.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filters {
    /// Those of one integration.
    #[param(value_type = Option<String>)]
    provider_config_key: Option<UniqueKey>,
    /// Those for one reason.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "known_word")]
    reason: Option<Word>,
    /// Those from the minute of this time on.
    #[serde(default, deserialize_with = "read")]
    since: Option<DateTime<Utc>>,
    /// Those of minutes that begin before this time.
    #[serde(default, deserialize_with = "read")]
    until: Option<DateTime<Utc>>,
}

/// A reason in a filter.
#[derive(Debug)]
struct Word(Reason);

impl FromStr for Word {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Reason::from_word(text).map(Self).ok_or(UnknownWord)
    }
}

/// Where a page ended: minute, integration and reason, as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor(RejectionKey);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RejectionKey { minute, integration, reason } = &self.0;
        write!(f, "{} {integration} {}", minute.timestamp_millis(), reason.as_str())
    }
}

impl FromStr for Cursor {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let mut parts = text.splitn(3, ' ');
        let mut part = || parts.next().ok_or(UnknownWord);
        let minute = part()?.parse().ok().and_then(DateTime::from_timestamp_millis).ok_or(UnknownWord)?;
        let integration = part()?.parse().map_err(|_| UnknownWord)?;
        let reason = Reason::from_word(part()?).ok_or(UnknownWord)?;
        Ok(Self(RejectionKey { minute, integration, reason }))
    }
}

/// What was refused in one minute for one reason.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rejection)]
pub(crate) struct RejectionView {
    #[schema(value_type = String)]
    provider_config_key: UniqueKey,
    /// `client_state_mismatch`, `tenant_mismatch`, `malformed_item`, …
    reason: &'static str,
    /// The minute, by its first moment.
    minute: Time,
    /// How many items, or requests that could not be read at all.
    count: u64,
    /// Up to five of them, without secrets or content.
    #[schema(value_type = Vec<Object>)]
    samples: Vec<Map<String, Value>>,
}

impl From<Refused> for RejectionView {
    fn from(refused: Refused) -> Self {
        Self {
            provider_config_key: refused.unique_key,
            reason: refused.reason.as_str(),
            minute: refused.minute.into(),
            count: refused.count,
            samples: refused.samples,
        }
    }
}

/// List what ingress refused
///
/// Counted by integration, reason and minute, the newest first.
#[utoipa::path(
    tag = "Rejections",
    security(("api_key" = [])),
    params(PageParams, Filters),
    responses(
        (status = 200, description = "A page of counts", body = Listed<RejectionView>),
        (status = 400, description = "The query can't be read", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks the scope", body = ErrorBody),
    )
)]
#[get("/rejections")]
async fn list_rejections(
    caller: Authorized<scope::EventsRead>,
    query: Paged<Cursor, Filters>,
) -> Result<HttpResponse, ApiError> {
    let filter = RejectionFilter {
        integration: query.filters.provider_config_key,
        reason: query.filters.reason.map(|word| word.0),
        since: query.filters.since,
        until: query.filters.until,
    };
    let page = Page { limit: query.page.limit, after: query.page.after.map(|cursor| cursor.0) };
    let listed = caller.tenant.list_rejections(&filter, &page).await?;
    let listed = Rows { rows: listed.rows, next: listed.next.map(Cursor) };
    Ok(HttpResponse::Ok().json(Listed::of(listed, RejectionView::from)))
}

routes![list_rejections];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_shows() {
        let cursor = Cursor(RejectionKey {
            minute: DateTime::from_timestamp_millis(1_800_000_060_000).unwrap(),
            integration: "int_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
            reason: Reason::ClientStateMismatch,
        });
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in [
            "",
            "1",
            "1 int_x y",
            "x int_01h455vb4pex5vsknk084sn02q invalid_json",
            "99999999999999999999 a b",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(UnknownWord), "{text}");
        }
    }
}
