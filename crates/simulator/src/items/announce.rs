//! From a change of an item to the notifications of every subscription that it reaches.
//!
//! Must not change items or subscriptions.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    address::{Address, Flavour, View},
    query,
    store::Entry,
};
use crate::{
    ChangeType,
    graph::store::Subscription,
    notify::{Item, Notification, NotifyError, build},
    world::World,
};

/// Tells of a change; gives back the numbers of the deliveries.
pub(crate) fn announce(
    world: &World,
    tenant: Uuid,
    view: &View,
    entry: &Entry,
    change: ChangeType,
) -> Result<Vec<u64>, NotifyError> {
    let change = told_as(view.flavour, change);
    let living = world.subscriptions.living(tenant, world.clock.now());
    let reached = living
        .into_iter()
        .filter(|subscription| subscription.change_types.contains(&change) && reaches(subscription, entry));
    let items: Vec<Item> = reached.map(|subscription| item(&subscription, view, entry, change)).collect();
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let prepared = build::build(world, &Notification::of(items))?;
    prepared.into_iter().map(|one| world.sender.send(one)).collect()
}

/// Drives tell every change as an update, and so does the directory what comes into being.
fn told_as(flavour: Flavour, change: ChangeType) -> ChangeType {
    match (flavour, change) {
        (Flavour::Drive, _) | (Flavour::Directory, ChangeType::Created) => ChangeType::Updated,
        (_, change) => change,
    }
}

fn reaches(subscription: &Subscription, entry: &Entry) -> bool {
    match Address::parse(&subscription.path, subscription.owner.user) {
        Some(Address::Collection(view) | Address::Root(view)) => entry.is_in(&view),
        Some(Address::Item(view, id)) => {
            entry.is_in(&view) && entry.value["id"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(&id))
        }
        _ => false,
    }
}

fn item(subscription: &Subscription, view: &View, entry: &Entry, change: ChangeType) -> Item {
    let immutable = subscription
        .prefer
        .as_deref()
        .is_some_and(|prefer| prefer.to_ascii_lowercase().contains("immutableid"));
    let item = Item::change(subscription.id, change).holding(content(subscription, entry, immutable));
    // A drive or list never says which item it was.
    if matches!(view.flavour, Flavour::Drive) || view.noun.1 == "listItem" {
        return item;
    }
    let id = entry.id(immutable);
    let resource = resource(view, entry, id);
    let mut data = json!({
        "@odata.type": format!("#Microsoft.Graph.{}", view.noun.1), "@odata.id": resource, "id": id,
    });
    if view.flavour == Flavour::Outlook {
        data["@odata.etag"] = entry.value["@odata.etag"].clone();
    }
    item.patched(json!({"resource": resource, "resourceData": data}))
}

/// The path of the item in the words of its service.
fn resource(view: &View, entry: &Entry, id: &str) -> String {
    let segments: Vec<&str> = entry.kept_in.split('/').collect();
    match (view.flavour, segments.as_slice()) {
        (Flavour::Outlook, [_, owner, ..]) => format!("Users/{owner}/{}/{id}", view.noun.0),
        (Flavour::Chat, ["chats", chat, ..]) => format!("chats('{chat}')/messages('{id}')"),
        (Flavour::Chat, ["teams", team, _, channel, ..]) => {
            format!("teams('{team}')/channels('{channel}')/messages('{id}')")
        }
        (Flavour::Directory, [_]) => format!("{}/{id}", view.noun.0),
        _ => format!("{}/{id}", entry.kept_in),
    }
}

/// What a rich item would carry: the selected members, or all.
fn content(subscription: &Subscription, entry: &Entry, immutable: bool) -> Value {
    let options = subscription.target.split_once('?').map_or("", |(_, query)| query);
    let mut options = url::form_urlencoded::parse(options.as_bytes());
    let wanted = options.find(|(name, _)| name.eq_ignore_ascii_case("$select"));
    let wanted = wanted.map(|(_, names)| query::list(&names));
    query::select(&entry.told(immutable), wanted.as_deref())
}
