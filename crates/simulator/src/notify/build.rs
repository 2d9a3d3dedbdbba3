//! From items to bodies: each item is written for its subscription, and those for one URL share one collection.
//!
//! Must not send; what it makes can be looked at, changed and sent as prepared bytes.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use super::{
    Item, MAX_ITEMS, Notification, NotifyError, Tokens,
    rich::{encrypted_content, tamper, validation_token},
    shapes::{Look, Shape},
};
use crate::{
    graph::{call::Caller, store::Subscription},
    server::MAX_BODY,
    world::World,
};

/// A body that is ready to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Where to.
    pub url: Url,
    /// JSON.
    pub body: Bytes,
    /// Whom it tells something; a delivery ends when none of them lives any more. Empty: it never ends so.
    pub subscriptions: Vec<Uuid>,
    /// How many items it holds.
    pub items: usize,
}

/// A collection in the making.
struct Batch {
    url: Url,
    items: Vec<Value>,
    subscriptions: Vec<Uuid>,
    /// Owners of rich items, each once: Graph sends one token per application and tenant.
    rich_owners: Vec<Caller>,
}

/// Writes the bodies of a notification, in the order of their first items.
pub(crate) fn build(world: &World, notification: &Notification) -> Result<Vec<Prepared>, NotifyError> {
    if notification.items.len() > MAX_ITEMS {
        return Err(NotifyError::TooManyItems);
    }
    let now = world.clock.now();
    let mut batches: Vec<Batch> = Vec::new();
    for item in &notification.items {
        let subscription = world
            .subscriptions
            .get(item.subscription_id, now)
            .ok_or(NotifyError::UnknownSubscription(item.subscription_id))?;
        let (url, written) = write(item, &subscription, now)?;
        let at = batches.iter().position(|batch| batch.url == *url).unwrap_or_else(|| {
            let (items, subscriptions, rich_owners) = (Vec::new(), Vec::new(), Vec::new());
            batches.push(Batch { url: url.clone(), items, subscriptions, rich_owners });
            batches.len() - 1
        });
        let batch = &mut batches[at];
        // A token is for the application, whoever asked for the subscription.
        let owner = Caller { user: None, ..subscription.owner };
        if written.get("encryptedContent").is_some() && !batch.rich_owners.contains(&owner) {
            batch.rich_owners.push(owner);
        }
        if !batch.subscriptions.contains(&subscription.id) {
            batch.subscriptions.push(subscription.id);
        }
        batch.items.push(written);
    }
    batches.into_iter().map(|batch| finish(world, batch, notification.tokens)).collect()
}

fn finish(world: &World, batch: Batch, kind: Tokens) -> Result<Prepared, NotifyError> {
    let items = batch.items.len();
    let mut body = json!({"value": batch.items});
    if !batch.rich_owners.is_empty() {
        body["validationTokens"] = match kind {
            Tokens::Missing => Value::Null,
            kind => {
                let skipped = usize::from(kind == Tokens::FirstMissing);
                let owners = batch.rich_owners.iter().skip(skipped);
                let tokens = owners.map(|owner| validation_token(world, *owner, kind));
                json!(tokens.collect::<Result<Vec<_>, _>>()?)
            }
        };
    }
    let body = Bytes::from(body.to_string());
    if body.len() > MAX_BODY {
        return Err(NotifyError::TooLarge);
    }
    Ok(Prepared { url: batch.url, body, subscriptions: batch.subscriptions, items })
}

/// The JSON of an item and the URL it goes to.
fn write<'a>(
    item: &Item,
    subscription: &'a Subscription,
    now: DateTime<Utc>,
) -> Result<(&'a Url, Value), NotifyError> {
    let mut written = Map::new();
    written.insert("subscriptionId".to_owned(), json!(subscription.id));
    let expiry = item.expiration_style.write(subscription.expires_at);
    written.insert("subscriptionExpirationDateTime".to_owned(), json!(expiry));
    if let Some(state) = &subscription.client_state {
        written.insert("clientState".to_owned(), json!(state));
    }
    written.insert("tenantId".to_owned(), json!(subscription.owner.tenant));
    let url = match (item.change_type, item.lifecycle_event) {
        (Some(change_type), None) => {
            written.insert("changeType".to_owned(), json!(change_type));
            write_change(item, subscription, now, &mut written)?;
            &subscription.notification_url
        }
        (None, Some(event)) => {
            written.insert("lifecycleEvent".to_owned(), json!(event));
            subscription.lifecycle_url.as_ref().ok_or(NotifyError::NoLifecycleUrl(subscription.id))?
        }
        _ => return Err(NotifyError::AmbiguousItem),
    };
    let mut written = Value::Object(written);
    if let Some(patch) = &item.patch {
        merge(&mut written, patch);
    }
    Ok((url, written))
}

fn write_change(
    item: &Item,
    subscription: &Subscription,
    now: DateTime<Utc>,
    written: &mut Map<String, Value>,
) -> Result<(), NotifyError> {
    let shape = item.shape.or_else(|| Shape::of_kind(subscription.kind.name));
    let look = look(item, shape, subscription, now);
    if look.has_id {
        written.insert("id".to_owned(), json!(Uuid::new_v4().simple().to_string()));
    }
    if let (true, Some(certificate), Some(id)) =
        (subscription.rich, &subscription.certificate, &subscription.certificate_id)
    {
        let content = item.content.clone().unwrap_or_else(|| Shape::content(shape, &look));
        let mut encrypted = encrypted_content(certificate, id, &content)?;
        if let Some(how) = item.tamper {
            tamper(&mut encrypted, how);
        }
        written.insert("encryptedContent".to_owned(), encrypted);
    }
    written.insert("resource".to_owned(), json!(look.resource));
    written.insert("resourceData".to_owned(), look.resource_data);
    Ok(())
}

fn look(item: &Item, shape: Option<Shape>, subscription: &Subscription, now: DateTime<Utc>) -> Look {
    let subscribed = subscription.resource.split('?').next().unwrap_or_default().trim_start_matches('/');
    let Some(shape) = shape else { return Look::plain(subscribed) };
    let mut segments = subscription.path.split('/');
    let owner = match segments.next() {
        Some("users" | "chats") => segments.next().filter(|_| segments.next().is_some()),
        _ => None,
    };
    let mut look = shape.look(subscription.owner.tenant, owner, now);
    // A drive or list is named as it was subscribed to, since no item is named at all.
    if item.shape.is_none() && matches!(shape, Shape::DriveItem | Shape::List) {
        subscribed.clone_into(&mut look.resource);
    }
    look
}

/// JSON merge patch, RFC 7396.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, change) in patch {
        if change.is_null() {
            if let Some(object) = target.as_object_mut() {
                object.remove(name);
            }
        } else {
            merge(&mut target[name.as_str()], change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_replaces_adds_and_removes_at_any_depth() {
        let mut item = json!({"clientState": "a", "resourceData": {"id": 1, "etag": "x"}});
        merge(&mut item, &json!({"clientState": null, "resourceData": {"id": 2}, "new": {"a": [null]}}));
        assert_eq!(item, json!({"resourceData": {"id": 2, "etag": "x"}, "new": {"a": [null]}}));
    }
}
