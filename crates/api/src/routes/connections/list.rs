//! Lists of connections, with Nango's filters.

use actix_web::HttpResponse;
use serde_json::{Map, Value};
use utoipa::IntoParams;
use waypost_core::tags::Tags;
use waypost_postgres::TenantStore;
use waypost_postgres::connection::ConnectionFilter;

use super::view::{ConnectionList, ListedView};
use crate::error::{ApiError, Issue};

/// The most rows that may be asked for.
const MOST: u32 = 2000;
/// How many rows there are when nobody says.
const UNSAID: u32 = 10_000;

/// The filters, for the API document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "only the document reads it: the tags' names are not known beforehand")]
pub(super) struct ListQuery {
    /// Exactly this id.
    connection_id: Option<String>,
    /// A part of the id, or of the end user's id, name or address.
    search: Option<String>,
    /// Of this end user.
    end_user_id: Option<String>,
    /// Of an end user of this organization.
    end_user_organization_id: Option<String>,
    /// Unique keys of integrations, separated by commas.
    integration_id: Option<String>,
    /// `tags[key]=value`, repeatedly: connections with all of these tags.
    #[param(value_type = Option<Object>, style = DeepObject, explode)]
    tags: Option<Map<String, Value>>,
    /// 1 to 2000.
    #[param(minimum = 1, maximum = 2000)]
    limit: Option<u32>,
    /// From 0.
    page: Option<u32>,
}

/// A list that was asked for.
#[derive(Debug)]
struct Wanted {
    filter: ConnectionFilter,
    limit: u32,
    page: u32,
}

pub(super) async fn list(
    tenant: &TenantStore,
    query: Vec<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let wanted = parse(query)?;
    let listed = tenant.list_connections(&wanted.filter, wanted.limit, wanted.page).await?;
    let connections = listed.into_iter().map(ListedView::from).collect();
    Ok(HttpResponse::Ok().json(ConnectionList { connections }))
}

fn parse(query: Vec<(String, String)>) -> Result<Wanted, ApiError> {
    let mut wanted = Wanted { filter: ConnectionFilter::default(), limit: UNSAID, page: 0 };
    let mut tags = Map::new();
    for (name, value) in query {
        let filter = &mut wanted.filter;
        match name.as_str() {
            "connectionId" => filter.connection_id = Some(value),
            "search" => filter.search = Some(value).filter(|text| !text.is_empty()),
            "endUserId" => filter.end_user_id = Some(value),
            "endUserOrganizationId" => filter.end_user_organization_id = Some(value),
            "integrationId" => filter.integrations.extend(value.split(',').map(str::to_owned)),
            "limit" => wanted.limit = number("limit", &value, 1, MOST)?,
            "page" => wanted.page = number("page", &value, 0, u32::MAX)?,
            other => {
                let key = other.strip_prefix("tags[").and_then(|rest| rest.strip_suffix(']'));
                let key = key.ok_or_else(|| {
                    let message = format!("Unrecognized key: \"{other}\"");
                    ApiError::invalid_query(vec![Issue::at(&[other], "unrecognized_keys", message)])
                })?;
                tags.insert(key.to_owned(), Value::String(value));
            }
        }
    }
    wanted.filter.tags = Tags::parse(tags)
        .map_err(|error| ApiError::invalid_query(vec![Issue::at(&["tags"], "custom", error.to_string())]))?;
    Ok(wanted)
}

fn number(name: &str, text: &str, least: u32, most: u32) -> Result<u32, ApiError> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        let message = if most == u32::MAX {
            format!("a number from {least} is wanted")
        } else {
            format!("a number from {least} to {most} is wanted")
        };
        ApiError::invalid_query(vec![Issue::at(&[name], "invalid_value", message)])
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<Wanted, ApiError> {
        parse(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn filters_are_read_as_the_client_sends_them() {
        let wanted = parsed(&[
            ("integrationId", "a,b"),
            ("tags[Org]", "x:y"),
            ("limit", "1"),
            ("page", "2"),
            ("search", ""),
        ])
        .unwrap();
        assert_eq!(wanted.filter.integrations, ["a", "b"]);
        assert_eq!(Value::Object(wanted.filter.tags.into_map()), json!({"org": "x:y"}));
        assert_eq!((wanted.limit, wanted.page, wanted.filter.search), (1, 2, None));
        assert_eq!(parsed(&[]).unwrap().limit, 10_000);
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for pair in [
            ("limit", "0"),
            ("limit", "2001"),
            ("page", "-1"),
            ("other", "1"),
            ("tags[]", "x"),
            ("tags[end_user_email]", "e@x"),
        ] {
            assert_eq!(parsed(&[pair]).unwrap_err().code(), "invalid_query_params", "{pair:?}");
        }
    }
}
