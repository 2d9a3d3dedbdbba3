//! What is asked of connect sessions, and whether it can be.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;
use utoipa::ToSchema;
use waypost_core::connect::{Defaults, SIGN_IN_PARAMETERS, Wish};
use waypost_core::connection::{Connection, ConnectionId};
use waypost_core::integration::UniqueKey;
use waypost_core::tags::Tags;
use waypost_postgres::TenantStore;
use waypost_postgres::connection::Found;
use waypost_upstream::connect::TENANT;

use crate::error::{ApiError, Issue};
use crate::extract::as_object;
use crate::routes::connections::end_user::EndUser;
use crate::surroundings::Surroundings;

/// The longest text of a parameter or a link to documentation.
const LONGEST: usize = 2048;
/// The most bytes of all that a session asks for, as JSON.
const LARGEST_WISH: usize = 32 * 1024;

/// A session to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectSessionCreate)]
pub(super) struct Wanted {
    /// Whom the connection will belong to. May be absent where there are tags.
    #[serde(default, deserialize_with = "as_object")]
    end_user: Option<EndUser>,
    #[serde(default, deserialize_with = "as_object")]
    organization: Option<Organization>,
    /// Labels of the connection: at most ten.
    #[schema(value_type = Option<Object>)]
    tags: Option<Map<String, Value>>,
    /// Unique keys; all integrations when absent.
    allowed_integrations: Option<Vec<String>>,
    /// By unique key.
    #[schema(value_type = Option<Object>)]
    integrations_config_defaults: Option<BTreeMap<String, DefaultsBody>>,
    /// By unique key.
    #[schema(value_type = Option<Object>)]
    overrides: Option<BTreeMap<String, OverrideBody>>,
    /// Where events of the connection go in place of `primary_url` and `secondary_url`.
    webhook_url_override: Option<String>,
}

/// A session to make for a connection that is there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectSessionReconnect)]
pub(super) struct Again {
    #[schema(example = "conn-1")]
    connection_id: String,
    /// The unique key of its integration.
    #[schema(example = "graph-cc")]
    integration_id: String,
    /// As it is when absent.
    #[serde(default, deserialize_with = "as_object")]
    end_user: Option<EndUser>,
    #[serde(default, deserialize_with = "as_object")]
    organization: Option<Organization>,
    /// As they are when absent.
    #[schema(value_type = Option<Object>)]
    tags: Option<Map<String, Value>>,
    /// By unique key.
    #[schema(value_type = Option<Object>)]
    integrations_config_defaults: Option<BTreeMap<String, DefaultsBody>>,
    /// By unique key.
    #[schema(value_type = Option<Object>)]
    overrides: Option<BTreeMap<String, OverrideBody>>,
    /// As it is when absent.
    webhook_url_override: Option<String>,
}

/// The organization of an end user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectSessionOrganization)]
struct Organization {
    id: String,
    display_name: Option<String>,
}

/// What is set beforehand for an integration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultsBody {
    /// Of no meaning for Microsoft.
    user_scopes: Option<String>,
    /// `login_hint`, `domain_hint`, `prompt`.
    #[serde(default)]
    authorization_params: BTreeMap<String, String>,
    /// Parts of the connection's configuration; `tenantId` lets only that tenant connect.
    #[serde(default)]
    connection_config: Map<String, Value>,
}

/// What is replaced on the page of an integration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideBody {
    /// Where the company explains how to connect.
    docs_connect: Option<String>,
}

/// What both kinds of session have in common.
struct Common {
    end_user: Option<EndUser>,
    organization: Option<Organization>,
    tags: Option<Map<String, Value>>,
    defaults: BTreeMap<String, DefaultsBody>,
    overrides: BTreeMap<String, OverrideBody>,
    webhook_url_override: Option<String>,
}

fn issue(path: &[&str], message: impl Into<String>) -> ApiError {
    ApiError::invalid_body(vec![Issue::at(path, "custom", message)])
}

impl Wanted {
    pub(super) async fn check(
        self,
        tenant: &TenantStore,
        surroundings: &Surroundings,
    ) -> Result<Wish, ApiError> {
        if self.end_user.is_none() && self.tags.as_ref().is_none_or(Map::is_empty) {
            return Err(ApiError::invalid_body(vec![Issue::at(
                &["end_user"],
                "invalid_type",
                "Required, unless there are tags",
            )]));
        }
        let known = known_integrations(tenant).await?;
        let mut allowed = Vec::new();
        for (index, key) in self.allowed_integrations.unwrap_or_default().into_iter().enumerate() {
            let path = ["allowed_integrations", &index.to_string()];
            let key = existing(&known, &key, &path)?;
            if !allowed.contains(&key) {
                allowed.push(key);
            }
        }
        let common = Common {
            end_user: self.end_user,
            organization: self.organization,
            tags: self.tags,
            defaults: self.integrations_config_defaults.unwrap_or_default(),
            overrides: self.overrides.unwrap_or_default(),
            webhook_url_override: self.webhook_url_override,
        };
        bounded(Wish { allowed, ..common.check(&known, surroundings).await? })
    }
}

impl Again {
    pub(super) async fn check(
        self,
        tenant: &TenantStore,
        surroundings: &Surroundings,
    ) -> Result<Wish, ApiError> {
        let before = find(tenant, &self.integration_id, &self.connection_id).await?;
        let known = known_integrations(tenant).await?;
        let common = Common {
            end_user: self.end_user,
            organization: self.organization,
            tags: self.tags,
            defaults: self.integrations_config_defaults.unwrap_or_default(),
            overrides: self.overrides.unwrap_or_default(),
            webhook_url_override: self.webhook_url_override,
        };
        let mut wish = common.check(&known, surroundings).await?;
        // Whose data a connection brings must not change under those who use it.
        let defaults = wish.defaults.entry(before.integration.clone()).or_default();
        if defaults.tenant.is_some() && before.tenant.is_some() && defaults.tenant != before.tenant {
            let path =
                ["integrations_config_defaults", before.integration.as_str(), "connection_config", TENANT];
            return Err(issue(&path, "the connection belongs to another tenant"));
        }
        defaults.tenant = defaults.tenant.or(before.tenant);
        wish.allowed = vec![before.integration];
        wish.reconnect = Some(before.id);
        wish.end_user = wish.end_user.or(before.end_user);
        bounded(wish)
    }
}

async fn find(tenant: &TenantStore, integration: &str, connection: &str) -> Result<Connection, ApiError> {
    let unknown = || issue(&["connection_id"], "There is no such connection of this integration");
    let integration = UniqueKey::parse(integration).map_err(|_| unknown())?;
    let connection = ConnectionId::parse(connection).map_err(|_| unknown())?;
    match tenant.find_connection(&integration, &connection).await? {
        Found::Connection(connection) => Ok(connection),
        Found::UnknownConnection | Found::UnknownIntegration => Err(unknown()),
    }
}

async fn known_integrations(tenant: &TenantStore) -> Result<BTreeSet<UniqueKey>, ApiError> {
    Ok(tenant.list_integrations().await?.into_iter().map(|integration| integration.unique_key).collect())
}

fn existing(known: &BTreeSet<UniqueKey>, key: &str, path: &[&str]) -> Result<UniqueKey, ApiError> {
    let key = UniqueKey::parse(key).ok().filter(|key| known.contains(key));
    key.ok_or_else(|| issue(path, "Integration does not exist"))
}

fn bounded(wish: Wish) -> Result<Wish, ApiError> {
    let size = serde_json::to_vec(&wish).map_err(ApiError::internal)?.len();
    if size > LARGEST_WISH {
        return Err(issue(&[], format!("a session asks for at most {LARGEST_WISH} bytes")));
    }
    Ok(wish)
}

impl Common {
    async fn check(self, known: &BTreeSet<UniqueKey>, surroundings: &Surroundings) -> Result<Wish, ApiError> {
        let organization = self.organization.map(Organization::check).transpose()?;
        let mut end_user = self.end_user.map(EndUser::check).transpose()?;
        if let (Some(user), Some(organization)) = (&mut end_user, &organization) {
            user.insert("organization".to_owned(), Value::Object(organization.clone()));
        }
        let tags = self.tags.map(Tags::parse).transpose();
        let tags = tags.map_err(|error| issue(&["tags"], error.to_string()))?;
        let mut defaults = BTreeMap::new();
        for (key, body) in self.defaults {
            let path = ["integrations_config_defaults", key.as_str()];
            let known = existing(known, &key, &path)?;
            defaults.insert(known, body.check(&key, surroundings).await?);
        }
        let mut docs = BTreeMap::new();
        for (key, body) in self.overrides {
            let known = existing(known, &key, &["overrides", &key])?;
            if let Some(url) = body.docs_connect {
                docs.insert(known, checked_link(&key, url)?);
            }
        }
        let url = match self.webhook_url_override.as_deref().map(str::trim) {
            None | Some("") => None,
            Some(text) => {
                Some(surroundings.checked_url("webhook_url_override", text).await?.as_str().to_owned())
            }
        };
        Ok(Wish {
            end_user,
            organization,
            tags: tags.map(Tags::into_map),
            defaults,
            docs,
            webhook_url_override: url,
            ..Wish::default()
        })
    }
}

impl Organization {
    fn check(self) -> Result<Map<String, Value>, ApiError> {
        let fits = |text: &str| (1..=255).contains(&text.chars().count());
        if !fits(&self.id) || !self.display_name.as_deref().is_none_or(fits) {
            return Err(issue(&["organization"], "its id and display_name have 1 to 255 characters"));
        }
        let kept = json!({ "id": self.id, "display_name": self.display_name });
        Ok(kept.as_object().cloned().unwrap_or_default())
    }
}

impl DefaultsBody {
    async fn check(self, key: &str, surroundings: &Surroundings) -> Result<Defaults, ApiError> {
        for (name, value) in &self.authorization_params {
            let path = ["integrations_config_defaults", key, "authorization_params", name];
            if !SIGN_IN_PARAMETERS.contains(&name.as_str()) {
                return Err(issue(&path, format!("one of {} is wanted", SIGN_IN_PARAMETERS.join(", "))));
            }
            if value.len() > LONGEST {
                return Err(issue(&path, format!("at most {LONGEST} bytes are wanted")));
            }
        }
        let tenant = surroundings.connector.resolve_tenant(&self.connection_config).await;
        let tenant = tenant.map_err(|problem| {
            let path = ["integrations_config_defaults", key, "connection_config", TENANT];
            issue(&path, problem.to_string())
        })?;
        Ok(Defaults {
            connection_config: self.connection_config,
            authorization_params: self.authorization_params,
            user_scopes: self.user_scopes,
            tenant,
        })
    }
}

/// A link that pages will hold: it must not be able to run anything.
fn checked_link(key: &str, text: String) -> Result<String, ApiError> {
    let parsed = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
    let fits = parsed.is_some() && text.len() <= LONGEST;
    if fits { Ok(text) } else { Err(issue(&["overrides", key, "docs_connect"], "Invalid URL")) }
}
