//! `/integrations/{unique_key}/subscription-templates`: what every new connection gets by itself.

use actix_web::{HttpResponse, get, put};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waypost_core::account::Name;
use waypost_core::integration::UniqueKey;
use waypost_core::subscription::Template;
use waypost_upstream::subscriptions::{self, SubscriptionError};

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{ListBody, Path, Query};
use crate::page::{Listed, NoFilters};
use crate::routes::routes;
use crate::routes::subscriptions::{check_wish, lifetime, lifetime_text};

/// The most templates of an integration.
const MOST: usize = 50;

/// Names an integration.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct Address {
    /// The integration's unique key.
    unique_key: String,
}

impl Address {
    fn key(&self) -> Result<UniqueKey, ApiError> {
        UniqueKey::parse(self.unique_key.as_str()).map_err(|_| self.unknown())
    }

    fn unknown(&self) -> ApiError {
        ApiError::not_found(format!("Integration \"{}\" does not exist", self.unique_key))
    }
}

/// A template: as a subscription is wished for, but for its connection.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionTemplate)]
struct TemplateBody {
    /// What people call it.
    #[schema(required = false)]
    name: Option<String>,
    /// What to watch: a path of Graph that means something in every tenant, as `users` or `chats/getAllMessages`.
    #[schema(example = "users")]
    resource: String,
    /// Out of `created`, `updated` and `deleted`, separated by commas.
    #[schema(example = "updated")]
    change_type: String,
    /// Whether notifications hold the changed resource; false when absent.
    #[serde(default)]
    #[schema(required = false)]
    include_resource_data: bool,
    /// How long it lives between renewals, 45 minutes to 90 days; as long as Graph grants when absent.
    #[schema(required = false, example = "3d")]
    lifetime: Option<String>,
    /// Whether Waypost renews it; true when absent.
    #[serde(default = "yes")]
    #[schema(required = false)]
    auto_renew: bool,
}

/// The templates of an integration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Templates {
    data: Vec<TemplateBody>,
    /// As lists are given: there is no further page.
    #[serde(default)]
    next_cursor: Option<String>,
}

const fn yes() -> bool {
    true
}

impl Templates {
    fn check(self) -> Result<Vec<Template>, ApiError> {
        if self.next_cursor.is_some() {
            return Err(ApiError::invalid_field(&["next_cursor"], "all templates are wanted at once"));
        }
        if self.data.len() > MOST {
            return Err(ApiError::invalid_field(
                &["data"],
                format!("an integration has at most {MOST} templates"),
            ));
        }
        let mut templates: Vec<Template> = Vec::with_capacity(self.data.len());
        for (place, body) in self.data.into_iter().enumerate() {
            let place = place.to_string();
            let template = body.check(&place)?;
            if templates.iter().any(|other| other.wish.watches_the_same(&template.wish)) {
                let message = "another template wants the same: Graph has one of it";
                return Err(ApiError::invalid_field(&[&place, "resource"], message));
            }
            templates.push(template);
        }
        Ok(templates)
    }
}

impl TemplateBody {
    fn check(self, place: &str) -> Result<Template, ApiError> {
        let mut wish = check_wish(&[place], &self.resource, &self.change_type)?;
        wish.include_resource_data = self.include_resource_data;
        wish.lifetime = self.lifetime.map(|text| lifetime(&[place, "lifetime"], &text)).transpose()?;
        wish.auto_renew = self.auto_renew;
        if let Err(SubscriptionError::Invalid { field, message }) = subscriptions::check(&wish) {
            return Err(ApiError::invalid_field(&[place, field], message));
        }
        let name = self.name.map(Name::parse).transpose();
        let name = name.map_err(|error| ApiError::invalid_field(&[place, "name"], error.to_string()))?;
        Ok(Template { name: name.map(|name| name.as_str().to_owned()), wish })
    }
}

impl From<Template> for TemplateBody {
    fn from(template: Template) -> Self {
        let wish = template.wish;
        Self {
            name: template.name,
            resource: wish.resource.as_str().to_owned(),
            change_type: wish.change_types.to_string(),
            include_resource_data: wish.include_resource_data,
            lifetime: wish.lifetime.map(lifetime_text),
            auto_renew: wish.auto_renew,
        }
    }
}

fn shown(templates: Vec<Template>) -> HttpResponse {
    let data = templates.into_iter().map(TemplateBody::from).collect();
    HttpResponse::Ok().json(Listed { data, next_cursor: None })
}

/// List an integration's subscription templates
///
/// All of them, in their order.
#[utoipa::path(
    tag = "Subscriptions",
    security(("api_key" = [])),
    params(Address),
    responses(
        (status = 200, description = "The templates", body = Listed<TemplateBody>),
        (status = 400, description = "Unknown query parameter", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:integrations:read`", body = ErrorBody),
        (status = 404, description = "No such integration", body = ErrorBody),
    )
)]
#[get("/integrations/{unique_key}/subscription-templates")]
async fn list_subscription_templates(
    authorized: Authorized<scope::IntegrationsRead>,
    address: Path<Address>,
    _no_filters: Query<NoFilters>,
) -> Result<HttpResponse, ApiError> {
    let found = authorized.tenant.subscription_templates(&address.0.key()?).await?;
    Ok(shown(found.ok_or_else(|| address.0.unknown())?))
}

/// Put an integration's subscription templates
///
/// In place of those before. Each connection that is made from then on, with a tenant, gets a subscription of each;
/// what can't be created at once is tried again, and tells in its `last_error` why. Connections that are there already
/// get nothing: create their subscriptions.
#[utoipa::path(
    tag = "Subscriptions",
    security(("api_key" = [])),
    params(Address),
    request_body = Vec<TemplateBody>,
    responses(
        (status = 200, description = "The templates", body = Listed<TemplateBody>),
        (status = 400, description = "The body is invalid", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:integrations:update`", body = ErrorBody),
        (status = 404, description = "No such integration", body = ErrorBody),
    )
)]
#[put("/integrations/{unique_key}/subscription-templates")]
async fn put_subscription_templates(
    authorized: Authorized<scope::IntegrationsUpdate>,
    address: Path<Address>,
    templates: ListBody<Templates>,
) -> Result<HttpResponse, ApiError> {
    let templates = templates.0.check()?;
    if !authorized.tenant.put_subscription_templates(&address.0.key()?, &templates).await? {
        return Err(address.0.unknown());
    }
    Ok(shown(templates))
}

routes![list_subscription_templates, put_subscription_templates];
