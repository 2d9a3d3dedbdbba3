//! Microsoft Graph's change notifications as a test wants them.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::tenant::WEBHOOK_SECRET;

/// The Entra tenant of a test's first customer.
pub const TENANT: &str = "11111111-aaaa-4000-8000-000000000001";
/// The Entra tenant of a test's second customer.
pub const OTHER_TENANT: &str = "22222222-bbbb-4000-8000-000000000002";

/// An item of `tenant`, vouched for by the webhook secret that every test's integration has.
#[must_use]
pub fn item(tenant: &str) -> Value {
    json!({
        "changeType": "updated",
        "clientState": WEBHOOK_SECRET,
        "resource": format!("users/{}", Uuid::new_v4()),
        "resourceData": {"@odata.type": "#Microsoft.Graph.User", "id": Uuid::new_v4()},
        "subscriptionExpirationDateTime": "2030-01-01T00:00:00.0000000Z",
        "subscriptionId": Uuid::new_v4(),
        "tenantId": tenant,
    })
}

/// An item of `tenant` with some members replaced or added.
#[must_use]
pub fn item_with(tenant: &str, members: &Value) -> Value {
    let mut item = item(tenant);
    for (name, value) in members.as_object().expect("members to replace") {
        item[name] = value.clone();
    }
    item
}

/// A collection of items.
#[must_use]
pub fn collection(items: &[Value]) -> Value {
    json!({ "value": items })
}
