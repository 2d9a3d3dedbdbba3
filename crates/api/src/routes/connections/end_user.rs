//! End users: whom a connection belongs to at the SaaS company.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use waypost_core::tags::is_email;

use crate::error::{ApiError, Issue};
use crate::extract::as_object;

/// The longest id or name.
const LONGEST: usize = 255;

/// An end user, as it is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndUser {
    id: String,
    email: Option<String>,
    display_name: Option<String>,
    #[schema(value_type = Option<Object>)]
    tags: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "as_object")]
    organization: Option<Organization>,
}

/// The organization of an end user.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Organization {
    id: String,
    display_name: Option<String>,
}

/// An end user, as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndUserView)]
pub(super) struct EndUserView {
    #[schema(value_type = String)]
    id: Value,
    #[schema(value_type = Option<String>, required)]
    display_name: Value,
    #[schema(value_type = Option<String>, required)]
    email: Value,
    #[schema(value_type = Object)]
    tags: Value,
    #[schema(value_type = Option<Organization>, required)]
    organization: Value,
}

impl EndUser {
    /// The end user as it is kept.
    pub(crate) fn check(self) -> Result<Map<String, Value>, ApiError> {
        let refused = |field: &str, message: &str| {
            Err(ApiError::invalid_body(vec![Issue::at(&["end_user", field], "custom", message)]))
        };
        let fits = |text: &str| (1..=LONGEST).contains(&text.chars().count());
        if !fits(&self.id) {
            return refused("id", "1 to 255 characters are wanted");
        }
        if self.email.as_deref().is_some_and(|email| !is_email(email)) {
            return refused("email", "Invalid email");
        }
        if self.display_name.as_deref().is_some_and(|name| !fits(name)) {
            return refused("display_name", "1 to 255 characters are wanted");
        }
        let tags = self.tags.unwrap_or_default();
        if !tags.values().all(Value::is_string) {
            return refused("tags", "each tag is a text");
        }
        if self.organization.as_ref().is_some_and(|organization| !fits(&organization.id)) {
            return refused("organization", "its id has 1 to 255 characters");
        }
        let kept = json!({
            "id": self.id,
            "email": self.email,
            "display_name": self.display_name,
            "tags": tags,
            "organization": self.organization,
        });
        Ok(kept.as_object().cloned().unwrap_or_default())
    }
}

/// An end user as Nango shows it.
pub(super) fn show(kept: &Map<String, Value>) -> EndUserView {
    let part = |name| kept.get(name).cloned().unwrap_or_default();
    EndUserView {
        id: part("id"),
        display_name: part("display_name"),
        email: part("email"),
        tags: part("tags"),
        organization: part("organization"),
    }
}
