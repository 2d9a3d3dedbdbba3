//! What is asked of endpoints, and whether it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waypost_core::connection::ConnectionId;
use waypost_core::endpoint::{MOST_HEADERS, check_header};
use waypost_core::filter::{Filter, FilterSpec};
use waypost_core::integration::UniqueKey;
use waypost_postgres::endpoint::{EndpointChanges, Held, NewEndpoint};

use super::view::MASKED;
use crate::error::ApiError;
use crate::extract::{as_object, given, given_object, known_word};
use crate::nango::not_built;
use crate::surroundings::Surroundings;

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 1000;

/// A new endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndpointCreate)]
pub(super) struct Wanted {
    /// `https`; `http` only for networks that `egress.allow` names.
    #[schema(format = Uri)]
    url: String,
    description: Option<String>,
    /// Headers to add to each request. `***` is no value: it stands for one that isn't shown.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    headers: Option<BTreeMap<String, SecretString>>,
    #[serde(default, deserialize_with = "as_object")]
    filter: Option<FilterBody>,
    /// `none`.
    ordering: Option<String>,
    /// Not available in this version.
    rate_limit: Option<f64>,
}

/// What shall change of an endpoint; what is absent stays, and null is refused where it is not named.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndpointChange)]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, format = Uri)]
    url: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String)]
    description: Option<String>,
    /// In place of all headers before; `***` keeps the value that a header has.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = BTreeMap<String, String>)]
    headers: Option<BTreeMap<String, SecretString>>,
    /// In place of the filter before; `{}` takes everything.
    #[serde(default, deserialize_with = "given_object")]
    #[schema(value_type = FilterBody)]
    filter: Option<FilterBody>,
    /// `none`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String)]
    ordering: Option<String>,
    /// Null for no limit; any other is not available in this version.
    rate_limit: Option<f64>,
}

/// What an endpoint wants. An empty list takes everything; all lists must be met.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = EndpointFilter)]
pub(super) struct FilterBody {
    /// Unique keys of integrations.
    integrations: Vec<String>,
    /// Connection ids.
    connections: Vec<String>,
    /// `created`, `updated`, `deleted`.
    change_types: Vec<String>,
    /// Globs over the resource, as `Users/*/Messages/*`; letter case doesn't matter.
    resources: Vec<String>,
    /// `forward`, `auth`, `subscription`, `endpoint`, or `type.operation`.
    event_types: Vec<String>,
}

/// How an endpoint is enabled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndpointEnable)]
pub(super) struct Enable {
    /// What becomes of held deliveries; `deliver` when absent.
    #[serde(default, deserialize_with = "known_word")]
    #[schema(value_type = HeldWord)]
    held: Option<HeldWord>,
}

/// What becomes of held deliveries.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(as = HeldDeliveries, rename_all = "snake_case")]
enum HeldWord {
    /// They go out.
    Deliver,
    /// They end.
    Discard,
}

impl FromStr for HeldWord {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "deliver" => Ok(Self::Deliver),
            "discard" => Ok(Self::Discard),
            _ => Err("must be one of \"deliver\", \"discard\""),
        }
    }
}

impl From<Enable> for Held {
    fn from(enable: Enable) -> Self {
        match enable.held {
            Some(HeldWord::Discard) => Self::Discard,
            Some(HeldWord::Deliver) | None => Self::Deliver,
        }
    }
}

impl FilterBody {
    pub(super) fn of(spec: &FilterSpec) -> Self {
        let FilterSpec { integrations, connections, change_types, resources, event_types } = spec.clone();
        Self { integrations, connections, change_types, resources, event_types }
    }

    fn check(self) -> Result<Filter, ApiError> {
        let Self { integrations, connections, change_types, resources, event_types } = self;
        let refused = |list: &str, at: usize, message: String| {
            ApiError::invalid_field(&["filter", list, &at.to_string()], message)
        };
        for (at, key) in integrations.iter().enumerate() {
            UniqueKey::parse(key.as_str()).map_err(|error| refused("integrations", at, error.to_string()))?;
        }
        for (at, id) in connections.iter().enumerate() {
            ConnectionId::parse(id.as_str())
                .map_err(|error| refused("connections", at, error.to_string()))?;
        }
        let spec = FilterSpec { integrations, connections, change_types, resources, event_types };
        Filter::parse(spec)
            .map_err(|error| ApiError::invalid_field(&["filter", error.list()], error.to_string()))
    }
}

impl Wanted {
    pub(super) async fn check(self, surroundings: &Surroundings) -> Result<NewEndpoint, ApiError> {
        let changes = Changes {
            url: Some(self.url),
            description: self.description,
            headers: self.headers,
            filter: self.filter,
            ordering: self.ordering,
            rate_limit: self.rate_limit,
        };
        let checked = changes.check(surroundings).await?;
        let missing = || ApiError::invalid_field(&["url"], "Required");
        Ok(NewEndpoint {
            url: checked.url.ok_or_else(missing)?,
            description: checked.description.unwrap_or_default(),
            headers: all_given(checked.headers.unwrap_or_default())?,
            filter: checked.filter.unwrap_or_default(),
        })
    }
}

impl Changes {
    pub(super) async fn check(self, surroundings: &Surroundings) -> Result<EndpointChanges, ApiError> {
        if self.ordering.as_deref().is_some_and(|ordering| ordering != "none") {
            return Err(not_built(&["ordering"], "any ordering but \"none\""));
        }
        if self.rate_limit.is_some() {
            return Err(not_built(&["rate_limit"], "rate_limit"));
        }
        if self.description.as_deref().is_some_and(|text| text.chars().count() > LONGEST_DESCRIPTION) {
            let message = format!("at most {LONGEST_DESCRIPTION} characters are wanted");
            return Err(ApiError::invalid_field(&["description"], message));
        }
        let headers = self.headers.map(checked_headers).transpose()?;
        let filter = self.filter.map(FilterBody::check).transpose()?;
        // Last, since it asks for addresses.
        let url = match self.url {
            Some(text) => Some(surroundings.checked_url("url", &text).await?),
            None => None,
        };
        Ok(EndpointChanges { url, description: self.description, headers, filter })
    }
}

/// What is said of a masked value that stands for none.
pub(super) fn nothing_to_keep(name: &str) -> ApiError {
    let message = format!(
        "\"{MASKED}\" stands for a value that isn't shown, and there is none to keep; write the value"
    );
    ApiError::invalid_field(&["headers", name], message)
}

/// The headers of an endpoint that has none yet.
fn all_given(headers: Vec<(String, Option<SecretString>)>) -> Result<Vec<(String, SecretString)>, ApiError> {
    let given = |(name, value): (String, Option<SecretString>)| match value {
        Some(value) => Ok((name, value)),
        None => Err(nothing_to_keep(&name)),
    };
    headers.into_iter().map(given).collect()
}

/// Names in small letters, with their values; [`MASKED`] is none.
fn checked_headers(
    headers: BTreeMap<String, SecretString>,
) -> Result<Vec<(String, Option<SecretString>)>, ApiError> {
    if headers.len() > MOST_HEADERS {
        return Err(ApiError::invalid_field(
            &["headers"],
            format!("at most {MOST_HEADERS} headers are wanted"),
        ));
    }
    let mut names = BTreeSet::new();
    headers
        .into_iter()
        .map(|(name, value)| {
            let refused = |message: String| ApiError::invalid_field(&["headers", &name], message);
            let parsed =
                check_header(&name, value.expose_secret()).map_err(|error| refused(error.to_string()))?;
            let fresh = names.insert(parsed.as_str().to_owned());
            if fresh {
                let is_masked = value.expose_secret() == MASKED;
                Ok((parsed.as_str().to_owned(), (!is_masked).then_some(value)))
            } else {
                Err(refused("it is there twice".to_owned()))
            }
        })
        .collect()
}
