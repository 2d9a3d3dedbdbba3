//! The items of every tenant, in memory, each change numbered so that it can be followed.
//!
//! Must not announce what it does, nor judge who may do it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    ChangeError,
    address::{Flavour, View},
    content::Content,
};
use crate::notify::build::merge;

/// Items and remembered deletions of one tenant; more are refused, or the oldest deletions forgotten.
const MAX_ITEMS: usize = 100_000;

/// An item and what is known of it beside its members.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    /// The id that survives a move, for Outlook's items.
    pub(crate) immutable_id: Option<String>,
    /// Where it is kept.
    pub(crate) kept_in: String,
    change: u64,
}

impl Entry {
    /// The item under the kind of id that the caller prefers.
    pub(crate) fn told(&self, immutable: bool) -> Value {
        let mut value = self.value.clone();
        if let (true, Some(id)) = (immutable, &self.immutable_id) {
            value["id"] = json!(id);
        }
        value
    }

    pub(crate) fn id(&self, immutable: bool) -> &str {
        let own = self.value["id"].as_str().unwrap_or_default();
        if immutable { self.immutable_id.as_deref().unwrap_or(own) } else { own }
    }

    /// Whether the view shows it.
    pub(crate) fn is_in(&self, view: &View) -> bool {
        view.covers(&self.kept_in)
            && view.within.as_ref().is_none_or(|(member, wanted)| {
                let found = if *member == "parentId" {
                    &self.value["parentReference"]["id"]
                } else {
                    &self.value[*member]
                };
                found.as_str().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
            })
    }
}

/// One step of what happened in a view.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) number: u64,
    pub(crate) entry: Entry,
    pub(crate) gone: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Items {
    tenants: Mutex<HashMap<Uuid, Holdings>>,
}

#[derive(Debug, Default)]
struct Holdings {
    /// The number of the last change.
    last: u64,
    /// Delta tokens of earlier generations are not known any more.
    generation: u32,
    /// By where it is kept and the id in lower case.
    entries: BTreeMap<(String, String), Entry>,
    /// What went, by the number of that change.
    gone: BTreeMap<u64, Entry>,
    contents: BTreeMap<String, Content>,
}

impl Items {
    /// Puts an item into a collection, new or in the place of one with its id; true if it is new.
    pub(crate) fn put(
        &self,
        tenant: Uuid,
        view: &View,
        value: Map<String, Value>,
        now: DateTime<Utc>,
    ) -> Result<(Entry, bool), ChangeError> {
        if view.is_wide() {
            return Err(ChangeError::Path);
        }
        let mut value = Value::Object(value);
        let id = match &value["id"] {
            Value::String(id) if !id.is_empty() => id.clone(),
            Value::Null => new_id(view.flavour, now),
            _ => return Err(ChangeError::Value),
        };
        value["id"] = json!(id);
        let key = (view.kept_in.clone(), id.to_lowercase());
        self.with(tenant, |held| {
            let known = held.entries.get(&key);
            if known.is_none() && held.entries.len() >= MAX_ITEMS {
                return Err(ChangeError::Full);
            }
            let outlook = view.flavour == Flavour::Outlook;
            let immutable_id = known.map_or_else(
                || outlook.then(|| format!("AAkALg{}", Uuid::new_v4().simple())),
                |known| known.immutable_id.clone(),
            );
            let fresh = known.is_none();
            fill_in(&mut value, view, now);
            held.last += 1;
            stamp(&mut value, held.last, now);
            let entry = Entry { value, immutable_id, kept_in: view.kept_in.clone(), change: held.last };
            held.entries.insert(key, entry.clone());
            Ok((entry, fresh))
        })
    }

    /// Changes members of an item (RFC 7396).
    pub(crate) fn patch(
        &self,
        tenant: Uuid,
        (view, id): (&View, &str),
        patch: &Value,
        now: DateTime<Utc>,
    ) -> Option<Entry> {
        self.with(tenant, |held| {
            let key = held.find(view, id)?;
            held.last += 1;
            let last = held.last;
            let entry = held.entries.get_mut(&key)?;
            let own = entry.value["id"].clone();
            merge(&mut entry.value, patch);
            entry.value["id"] = own;
            stamp(&mut entry.value, last, now);
            entry.change = last;
            Some(entry.clone())
        })
    }

    /// Moves an Outlook item to another folder: it gets another id, and keeps the immutable one. Gives back what it
    /// was and what it is.
    pub(crate) fn relocate(
        &self,
        tenant: Uuid,
        (view, id): (&View, &str),
        folder: &str,
        now: DateTime<Utc>,
    ) -> Option<(Entry, Entry)> {
        self.with(tenant, |held| {
            let key = held.find(view, id)?;
            let old = held.entries.remove(&key)?;
            held.bury(old.clone());
            held.last += 1;
            let id = new_id(Flavour::Outlook, now);
            let mut new = Entry { change: held.last, ..old.clone() };
            new.value["parentFolderId"] = json!(folder);
            new.value["id"] = json!(id);
            stamp(&mut new.value, held.last, now);
            held.entries.insert((key.0, id.to_lowercase()), new.clone());
            Some((old, new))
        })
    }

    pub(crate) fn remove(&self, tenant: Uuid, view: &View, id: &str) -> Option<Entry> {
        self.with(tenant, |held| {
            let key = held.find(view, id)?;
            let entry = held.entries.remove(&key)?;
            held.bury(entry.clone());
            Some(entry)
        })
    }

    pub(crate) fn get(&self, tenant: Uuid, view: &View, id: &str) -> Option<Entry> {
        self.with(tenant, |held| held.find(view, id).and_then(|key| held.entries.get(&key).cloned()))
    }

    /// Everything in a view, in the order in which it came or last changed.
    pub(crate) fn list(&self, tenant: Uuid, view: &View) -> Vec<Entry> {
        self.with(tenant, |held| {
            let mut found: Vec<_> =
                held.entries.values().filter(|entry| entry.is_in(view)).cloned().collect();
            found.sort_by_key(|entry| entry.change);
            found
        })
    }

    /// What happened in a view after one change and up to another, in order, at most so many steps.
    pub(crate) fn steps(&self, tenant: Uuid, view: &View, range: (u64, u64), limit: usize) -> Vec<Step> {
        let (after, up_to) = range;
        let within = |number: u64| number > after && number <= up_to;
        self.with(tenant, |held| {
            let present = held.entries.values().filter(|entry| within(entry.change) && entry.is_in(view));
            let present =
                present.map(|entry| Step { number: entry.change, entry: entry.clone(), gone: false });
            let gone = held.gone.iter().filter(|(number, entry)| within(**number) && entry.is_in(view));
            let gone = gone.map(|(number, entry)| Step { number: *number, entry: entry.clone(), gone: true });
            let mut steps: Vec<_> = present.chain(gone).collect();
            steps.sort_by_key(|step| step.number);
            steps.truncate(limit);
            steps
        })
    }

    /// The number of the last change, and the generation of delta tokens.
    pub(crate) fn position(&self, tenant: Uuid) -> (u64, u32) {
        self.with(tenant, |held| (held.last, held.generation))
    }

    /// Forgets every delta token that was given out.
    pub(crate) fn expire_tokens(&self, tenant: Uuid) {
        self.with(tenant, |held| held.generation += 1);
    }

    pub(crate) fn put_content(&self, tenant: Uuid, path: &str, content: Content) {
        self.with(tenant, |held| {
            if held.contents.len() < MAX_ITEMS || held.contents.contains_key(path) {
                held.contents.insert(path.to_owned(), content);
            }
        });
    }

    pub(crate) fn content(&self, tenant: Uuid, path: &str) -> Option<Content> {
        self.with(tenant, |held| held.contents.get(path).cloned())
    }

    fn with<T>(&self, tenant: Uuid, work: impl FnOnce(&mut Holdings) -> T) -> T {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        work(tenants.entry(tenant).or_default())
    }
}

impl Holdings {
    /// The key of an item that the view shows, by either of its ids.
    fn find(&self, view: &View, id: &str) -> Option<(String, String)> {
        let key = (view.kept_in.clone(), id.to_lowercase());
        if self.entries.get(&key).is_some_and(|entry| entry.is_in(view)) {
            return Some(key);
        }
        let immutable =
            |entry: &Entry| entry.immutable_id.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(id));
        let mut all = self.entries.iter();
        all.find(|(_, entry)| immutable(entry) && entry.is_in(view)).map(|(key, _)| key.clone())
    }

    fn bury(&mut self, entry: Entry) {
        self.last += 1;
        self.gone.insert(self.last, entry);
        if self.gone.len() > MAX_ITEMS {
            self.gone.pop_first();
        }
    }
}

/// Ids as the services write them.
fn new_id(flavour: Flavour, now: DateTime<Utc>) -> String {
    let random = Uuid::new_v4();
    match flavour {
        Flavour::Outlook => format!("AAMkAG{}{}AAA=", random.simple(), Uuid::new_v4().simple()),
        Flavour::Drive => format!("01{}", random.simple().to_string().to_uppercase()),
        // Milliseconds alone would collide.
        Flavour::Chat => format!("{}{:03}", now.timestamp_millis(), random.as_u128() % 1000),
        Flavour::Directory | Flavour::Plain => random.to_string(),
    }
}

/// The members that a service gives a new item.
fn fill_in(value: &mut Value, view: &View, now: DateTime<Utc>) {
    let at = json!(now.to_rfc3339_opts(SecondsFormat::Secs, true));
    let mut default = |name: &str, given: Value| {
        if value[name].is_null() {
            value[name] = given;
        }
    };
    default("createdDateTime", at.clone());
    match view.noun.1 {
        "Message" => {
            default("receivedDateTime", at);
            default("parentFolderId", folder(view, "inbox"));
        }
        "Contact" => default("parentFolderId", folder(view, "contacts")),
        "driveItem" => {
            let drive = view.kept_in.split('/').nth(1).unwrap_or_default();
            let parent = view.within.as_ref().map_or("root", |(_, parent)| parent);
            default("parentReference", json!({"driveId": drive, "id": parent}));
        }
        _ => {}
    }
}

fn folder(view: &View, otherwise: &str) -> Value {
    json!(view.within.as_ref().map_or(otherwise, |(_, folder)| folder))
}

/// The members that change with every change.
fn stamp(value: &mut Value, number: u64, now: DateTime<Utc>) {
    value["@odata.etag"] = json!(format!("W/\"{number:08}\""));
    value["lastModifiedDateTime"] = json!(now.to_rfc3339_opts(SecondsFormat::Millis, true));
}
