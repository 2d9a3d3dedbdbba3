//! Lists: `limit`, `cursor`, and the shape `{"data":[…],"next_cursor":…}`.
//!
//! A cursor is the key of the last row, as base64url. It is opaque to callers and carries no right: the store asks for
//! rows of the caller's environment whatever the cursor says.

use std::fmt::Display;
use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waypost_core::page::{DEFAULT_LIMIT, MAX_LIMIT, Page};

use crate::error::{ApiError, Issue};
use crate::extract::parse_query;

/// A list's query: `limit` and `cursor`, and the filters `T` (with `#[serde(deny_unknown_fields)]`).
#[derive(Debug)]
pub struct Paged<K, T = NoFilters> {
    /// The part of the list that is wanted.
    pub page: Page<K>,
    /// What else the query says.
    pub filters: T,
}

/// For lists without filters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFilters {}

/// The paging parameters, for the API document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// How many to return: 1 to 200.
    #[param(required = false, minimum = 1, maximum = 200, default = 50)]
    pub limit: u16,
    /// The `next_cursor` of the page before.
    #[param(required = false)]
    pub cursor: String,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listed<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Give it as `cursor` to get the next page; null at the end.
    pub next_cursor: Option<String>,
}

impl<T> Listed<T> {
    /// Shows what the store listed.
    pub fn of<Row, K: Display>(
        listed: waypost_core::page::Listed<Row, K>,
        show: impl FnMut(Row) -> T,
    ) -> Self {
        Self {
            data: listed.rows.into_iter().map(show).collect(),
            next_cursor: listed.next.map(|key| URL_SAFE_NO_PAD.encode(key.to_string())),
        }
    }
}

impl<K: FromStr, T: DeserializeOwned> FromRequest for Paged<K, T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(parse(request.query_string()))
    }
}

fn parse<K: FromStr, T: DeserializeOwned>(query: &str) -> Result<Paged<K, T>, ApiError> {
    let mut page = Page { limit: DEFAULT_LIMIT, after: None };
    let (mut limits, mut cursors) = (0, 0);
    let mut others = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "limit" => {
                limits += 1;
                page.limit = limit(&value)?;
            }
            "cursor" => {
                cursors += 1;
                page.after = Some(cursor(&value)?);
            }
            _ => {
                others.append_pair(&name, &value);
            }
        }
    }
    if limits > 1 || cursors > 1 {
        let name = if limits > 1 { "limit" } else { "cursor" };
        return Err(refused(name, "it may be given once"));
    }
    Ok(Paged { page, filters: parse_query(&others.finish())? })
}

fn limit(text: &str) -> Result<u16, ApiError> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| refused("limit", &format!("a number from 1 to {MAX_LIMIT} is wanted")))
}

fn cursor<K: FromStr>(text: &str) -> Result<K, ApiError> {
    let key = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    key.filter(|key| !key.contains('\0'))
        .and_then(|key| key.parse().ok())
        .ok_or_else(|| refused("cursor", "this is not a cursor of this list"))
}

fn refused(name: &str, message: &str) -> ApiError {
    ApiError::invalid_query(vec![Issue::at(&[name], "invalid_value", message)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filters {
        status: Option<String>,
    }

    #[test]
    fn a_cursor_leads_to_the_key_that_it_was_made_of() {
        let listed = waypost_core::page::Listed::cut(vec![1_u32, 2, 3], 2, |row| *row);
        let shown = Listed::of(listed, |row| row);
        assert_eq!(shown.data, [1, 2]);
        let query = format!("status=dead&cursor={}&limit=2", shown.next_cursor.unwrap());
        let paged: Paged<u32, Filters> = parse(&query).unwrap();
        assert_eq!(paged.page, Page { limit: 2, after: Some(2) });
        assert_eq!(paged.filters.status.as_deref(), Some("dead"));
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let listed = waypost_core::page::Listed::cut(vec![1_u32, 2], 2, |row| *row);
        assert_eq!(Listed::of(listed, |row| row).next_cursor, None);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for query in [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=",
            "limit=x",
            "limit=1&limit=2",
            "cursor=!",
            "cursor=",
            "cursor=eA",
            "cursor=MQ&cursor=MQ",
            "other=1",
            "status=a&status=b",
            "status=%00",
        ] {
            let error = parse::<u32, Filters>(query).unwrap_err();
            assert_eq!(error.code(), "invalid_query_params", "{query}");
        }
    }

    #[test]
    fn an_absent_query_asks_for_the_first_page() {
        assert_eq!(parse::<u32, NoFilters>("").unwrap().page, Page::default());
    }
}
