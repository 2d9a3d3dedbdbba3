//! What is asked of subscriptions, and whether it can be.

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};
use waypost_core::connection::ConnectionId;
use waypost_core::id::ConnectionKey;
use waypost_core::integration::UniqueKey;
use waypost_core::provider::graph::resource::Resource;
use waypost_core::subscription::{ChangeTypes, Lifetime, Status, Wish};
use waypost_postgres::TenantStore;
use waypost_postgres::connection::Found;
use waypost_postgres::subscription::SubscriptionFilter;

use crate::error::{ApiError, Issue};

/// The longest lifetime that can be wished for; Graph grants less for everything.
const LONGEST_LIFETIME: TimeDelta = TimeDelta::days(90);
/// The shortest: what is shorter, Graph raises to this.
const SHORTEST_LIFETIME: TimeDelta = TimeDelta::minutes(45);
/// The most subscriptions that are imported by id at a time.
const MOST_IDS: usize = 100;

/// A subscription that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionCreate)]
pub(super) struct Wanted {
    /// The unique key of the connection's integration.
    provider_config_key: String,
    connection_id: String,
    /// What to watch: a path of Graph, as `users/{id}/mailFolders('inbox')/messages`.
    #[schema(example = "users/3f2504e0-4f89-41d3-9a0c-0305e82c3301/messages")]
    resource: String,
    /// Out of `created`, `updated` and `deleted`, separated by commas.
    #[schema(example = "created,updated")]
    change_type: String,
    /// Whether notifications hold the changed resource. Encrypted on their way here.
    include_resource_data: Option<bool>,
    /// How long it lives between renewals, 45 minutes to 90 days; as long as Graph grants when absent.
    #[schema(example = "3d")]
    lifetime: Option<String>,
    /// Whether Waypost renews it; true when absent.
    auto_renew: Option<bool>,
}

/// What shall change of a subscription; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionChange)]
pub(super) struct Changes {
    auto_renew: Option<bool>,
    /// 45 minutes to 90 days; null for as long as Graph grants.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "3d")]
    lifetime: Option<Given>,
}

/// A member that is there: null, or a text.
#[derive(Debug)]
enum Given {
    Null,
    Text(String),
}

/// Which subscriptions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Filters {
    /// `pending`, `active`, `renewal_failing`, `removed` or `expired`.
    #[param(required = false)]
    status: Option<String>,
    /// The unique key of their integration.
    #[param(required = false)]
    provider_config_key: Option<String>,
    /// A connection that they serve.
    #[param(required = false)]
    connection_id: Option<String>,
}

/// Subscriptions to take over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionImport)]
pub(super) struct Import {
    /// The unique key of the connection's integration.
    provider_config_key: String,
    connection_id: String,
    /// Graph's ids, at most 100; all that aren't tracked yet when absent.
    ids: Option<Vec<String>>,
}

impl Wanted {
    pub(super) fn check(&self) -> Result<Wish, ApiError> {
        let mut wish = check_wish(&[], &self.resource, &self.change_type)?;
        wish.include_resource_data = self.include_resource_data.unwrap_or(false);
        wish.lifetime = self.lifetime.as_deref().map(|text| lifetime(&["lifetime"], text)).transpose()?;
        wish.auto_renew = self.auto_renew.unwrap_or(true);
        Ok(wish)
    }

    pub(super) async fn connection(&self, tenant: &TenantStore) -> Result<Option<ConnectionKey>, ApiError> {
        named(tenant, &self.provider_config_key, &self.connection_id).await
    }
}

impl Changes {
    /// Whether to renew, and how long it lives then.
    pub(super) fn check(self) -> Result<(Option<bool>, Option<Lifetime>), ApiError> {
        let lifetime = match self.lifetime {
            None => None,
            Some(Given::Null) => Some(Lifetime::Longest),
            Some(Given::Text(text)) => Some(Lifetime::For(lifetime(&["lifetime"], &text)?)),
        };
        Ok((self.auto_renew, lifetime))
    }
}

impl Filters {
    pub(super) fn check(self) -> Result<SubscriptionFilter, ApiError> {
        let status = self.status.map(|text| text.parse::<Status>()).transpose().map_err(|error| {
            ApiError::invalid_query(vec![Issue::at(&["status"], "invalid_value", error.to_string())])
        })?;
        Ok(SubscriptionFilter {
            status,
            integration: self.provider_config_key,
            connection: self.connection_id,
        })
    }
}

impl Import {
    pub(super) fn checked(self) -> Result<Self, ApiError> {
        if self.ids.as_ref().is_some_and(|ids| !(1..=MOST_IDS).contains(&ids.len())) {
            return Err(ApiError::invalid_field(
                &["ids"],
                format!("1 to {MOST_IDS} ids are wanted, or none at all"),
            ));
        }
        Ok(self)
    }

    pub(super) async fn connection(&self, tenant: &TenantStore) -> Result<Option<ConnectionKey>, ApiError> {
        named(tenant, &self.provider_config_key, &self.connection_id).await
    }

    pub(super) fn ids(self) -> Option<Vec<String>> {
        self.ids
    }
}

/// Reads what is watched; the rest of the wish is as when nobody says.
pub(crate) fn check_wish(path: &[&str], resource: &str, change_type: &str) -> Result<Wish, ApiError> {
    let at = |name: &'static str| [path, &[name]].concat();
    Ok(Wish {
        resource: Resource::parse(resource)
            .map_err(|error| ApiError::invalid_field(&at("resource"), error.to_string()))?,
        change_types: ChangeTypes::parse(change_type).ok().filter(ChangeTypes::are_known).ok_or_else(
            || {
                let message = "a list out of created, updated and deleted is wanted, separated by commas";
                ApiError::invalid_field(&at("change_type"), message)
            },
        )?,
        include_resource_data: false,
        lifetime: None,
        auto_renew: true,
    })
}

/// Reads a lifetime.
pub(crate) fn lifetime(path: &[&str], text: &str) -> Result<TimeDelta, ApiError> {
    let read = humantime::parse_duration(text).ok().and_then(|read| TimeDelta::from_std(read).ok());
    read.filter(|read| (SHORTEST_LIFETIME..=LONGEST_LIFETIME).contains(read)).ok_or_else(|| {
        ApiError::invalid_field(path, "a duration from 45 minutes to 90 days is wanted, as \"3d\"")
    })
}

async fn named(
    tenant: &TenantStore,
    integration: &str,
    connection: &str,
) -> Result<Option<ConnectionKey>, ApiError> {
    let (Ok(integration), Ok(connection)) = (UniqueKey::parse(integration), ConnectionId::parse(connection))
    else {
        return Ok(None);
    };
    match tenant.find_connection(&integration, &connection).await? {
        Found::Connection(found) => Ok(Some(found.key)),
        Found::UnknownConnection | Found::UnknownIntegration => Ok(None),
    }
}

/// Tells a member that is null from one that is absent.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Given>, D::Error> {
    let given = Option::<String>::deserialize(deserializer)?;
    Ok(Some(given.map_or(Given::Null, Given::Text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_one_that_graph_could_grant() {
        assert_eq!(lifetime(&["lifetime"], "1d 12h").unwrap(), TimeDelta::hours(36));
        assert_eq!(lifetime(&["lifetime"], "45m").unwrap(), SHORTEST_LIFETIME);
        for text in ["44m", "91d", "", "soon", "-1d"] {
            assert!(lifetime(&["lifetime"], text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_lifetime_that_is_null_is_not_one_that_is_absent() {
        let read = |text: &str| serde_json::from_str::<Changes>(text).unwrap().check().unwrap();
        assert_eq!(read("{}"), (None, None));
        assert_eq!(read(r#"{"lifetime": null}"#), (None, Some(Lifetime::Longest)));
        let hour = Lifetime::For(TimeDelta::hours(1));
        assert_eq!(read(r#"{"lifetime": "1h", "auto_renew": false}"#), (Some(false), Some(hour)));
    }
}
