//! Realistic items of every looks, for any subscription: what a receiver must be able to take.
//!
//! Pure. Must not depend on a running simulator; `waypost dev` and tests post these through whatever they like.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    ChangeType,
    notify::{ExpirationStyle, LifecycleEvent, Shape},
};

/// Whose items they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The subscription they name.
    pub subscription_id: Uuid,
    /// The tenant they name.
    pub tenant_id: Uuid,
    /// The state they carry.
    pub client_state: Option<String>,
    /// When the subscription ends.
    pub expires_at: DateTime<Utc>,
}

/// An item and what is particular about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// In a few words.
    pub name: &'static str,
    /// As it stands in `value`.
    pub item: Value,
}

/// One item of every shape, the three lifecycle events, and each way to write an expiry.
#[must_use]
pub fn samples(target: &Target) -> Vec<Sample> {
    use ChangeType::{Created, Deleted, Updated};
    use ExpirationStyle::{India, Pacific, Utc};

    let change = |name, shape, change_type, style| Sample {
        name,
        item: change_item(target, shape, change_type, style),
    };
    let lifecycle = |name, event, style| Sample { name, item: lifecycle_item(target, event, style) };
    vec![
        change("Outlook message, expiry at -08:00", Shape::OutlookMessage, Created, Pacific),
        change("Outlook event, expiry at +05:30", Shape::OutlookEvent, Updated, India),
        change("Outlook contact", Shape::OutlookContact, Deleted, Utc),
        change("drive, resourceData null, no id", Shape::DriveItem, Updated, Utc),
        change("SharePoint list, type only", Shape::List, Updated, Utc),
        change("user with a sequence number", Shape::User, Updated, Pacific),
        change("group with members@delta", Shape::Group, Updated, India),
        change("chat message in OData key form", Shape::ChatMessage, Created, Utc),
        change("to-do task, no id", Shape::TodoTask, Created, Utc),
        change("call record", Shape::CallRecord, Created, Pacific),
        change("presence", Shape::Presence, Updated, Utc),
        lifecycle("reauthorizationRequired", LifecycleEvent::ReauthorizationRequired, Pacific),
        lifecycle("missed", LifecycleEvent::Missed, Utc),
        lifecycle("subscriptionRemoved", LifecycleEvent::SubscriptionRemoved, India),
    ]
}

/// An item about a change, of any shape.
#[must_use]
pub fn change_item(target: &Target, shape: Shape, change_type: ChangeType, style: ExpirationStyle) -> Value {
    let look = shape.look(target.tenant_id, None, target.expires_at);
    let mut item = envelope(target, style);
    if look.has_id {
        item.insert("id".to_owned(), json!(Uuid::new_v4().simple().to_string()));
    }
    item.insert("changeType".to_owned(), json!(change_type));
    item.insert("resource".to_owned(), json!(look.resource));
    item.insert("resourceData".to_owned(), look.resource_data);
    Value::Object(item)
}

/// An item about the subscription itself.
#[must_use]
pub fn lifecycle_item(target: &Target, event: LifecycleEvent, style: ExpirationStyle) -> Value {
    let mut item = envelope(target, style);
    item.insert("lifecycleEvent".to_owned(), json!(event));
    Value::Object(item)
}

/// The body that holds these items.
#[must_use]
pub fn collection(items: impl IntoIterator<Item = Value>) -> Value {
    json!({"value": items.into_iter().collect::<Vec<_>>()})
}

fn envelope(target: &Target, style: ExpirationStyle) -> Map<String, Value> {
    let mut item = Map::new();
    item.insert("subscriptionId".to_owned(), json!(target.subscription_id));
    item.insert("subscriptionExpirationDateTime".to_owned(), json!(style.write(target.expires_at)));
    item.insert("tenantId".to_owned(), json!(target.tenant_id));
    if let Some(state) = &target.client_state {
        item.insert("clientState".to_owned(), json!(state));
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_cover_every_shape_every_lifecycle_event_and_a_missing_id() {
        let target = Target {
            subscription_id: Uuid::from_u128(1),
            tenant_id: Uuid::from_u128(2),
            client_state: Some("secret".to_owned()),
            expires_at: DateTime::UNIX_EPOCH,
        };
        let samples = samples(&target);
        let changes = samples.iter().filter(|sample| sample.item.get("changeType").is_some()).count();
        assert_eq!(changes, Shape::ALL.len());
        assert_eq!(samples.len() - changes, 3);
        assert!(
            samples
                .iter()
                .any(|sample| { sample.item.get("changeType").is_some() && sample.item.get("id").is_none() })
        );
        assert!(samples.iter().any(|sample| sample.item.get("resourceData") == Some(&Value::Null)));
        assert!(samples.iter().all(|sample| sample.item["clientState"] == "secret"));
    }
}
