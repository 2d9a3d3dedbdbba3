//! The control over resources: what there is to read, and changes that are told.

use bytes::Bytes;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Control;
use crate::{
    ChangeType,
    items::{
        ChangeError, Changed, Content, ContentView,
        address::{Address, View},
        announce::announce,
        store::Entry,
    },
};

impl Control {
    /// Changes a resource as somebody of the tenant would, and tells every subscription that it reaches. A path that
    /// names a collection, drive or list gets a new item, or the one whose `id` is in the value; one that names an item
    /// means that item. An update of what is not there makes it; a deletion ignores the value.
    ///
    /// # Errors
    ///
    /// When the path or the value is none that is kept, there is nothing to delete, or the change cannot be told.
    pub fn change(
        &self,
        tenant: Uuid,
        path: &str,
        change: ChangeType,
        value: Value,
    ) -> Result<Changed, ChangeError> {
        let (view, entry) = match change {
            ChangeType::Deleted => self.take_away(tenant, path, &value)?,
            ChangeType::Created | ChangeType::Updated => self.store(tenant, path, value)?,
        };
        let deliveries = announce(&self.world, tenant, &view, &entry, change)?;
        Ok(Changed { item: entry.value, deliveries })
    }

    /// Puts or replaces a resource without a word to anybody; answers what it became. Members of an existing item
    /// that the value does not name stay.
    ///
    /// # Errors
    ///
    /// As [`Control::change`].
    pub fn put_item(&self, tenant: Uuid, path: &str, value: Value) -> Result<Value, ChangeError> {
        self.store(tenant, path, value).map(|(_, entry)| entry.value)
    }

    /// Deletes a resource without a word to anybody.
    ///
    /// # Errors
    ///
    /// As [`Control::change`].
    pub fn delete_item(&self, tenant: Uuid, path: &str) -> Result<Value, ChangeError> {
        self.take_away(tenant, path, &Value::Null).map(|(_, entry)| entry.value)
    }

    /// A resource as it is.
    #[must_use]
    pub fn item(&self, tenant: Uuid, path: &str) -> Option<Value> {
        match Address::parse(path, None)? {
            Address::Item(view, id) => self.world.items.get(tenant, &view, &id).map(|entry| entry.value),
            _ => None,
        }
    }

    /// Everything in a collection.
    #[must_use]
    pub fn items(&self, tenant: Uuid, path: &str) -> Vec<Value> {
        match Address::parse(path, None) {
            Some(Address::Collection(view) | Address::Root(view)) => {
                self.world.items.list(tenant, &view).into_iter().map(|entry| entry.value).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Puts raw bytes under a path that ends in `/$value` or `/content`.
    ///
    /// # Errors
    ///
    /// When the path does not.
    pub fn put_content(&self, tenant: Uuid, path: &str, content: Content) -> Result<(), ChangeError> {
        let Some(Address::Content(path, _)) = Address::parse(path, None) else {
            return Err(ChangeError::Path);
        };
        self.world.items.put_content(tenant, &path, content);
        Ok(())
    }

    /// Puts so many made-up bytes there.
    ///
    /// # Errors
    ///
    /// As [`Control::put_content`].
    pub fn make_up_content(&self, tenant: Uuid, path: &str, length: u64) -> Result<(), ChangeError> {
        self.put_content(tenant, path, Content::MadeUp { length })
    }

    /// The raw bytes under a path, if they were kept.
    #[must_use]
    pub fn content(&self, tenant: Uuid, path: &str) -> Option<Bytes> {
        match self.find_content(tenant, path)? {
            Content::Bytes { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// How many raw bytes are under a path, and their digest.
    #[must_use]
    pub fn content_view(&self, tenant: Uuid, path: &str) -> Option<ContentView> {
        self.find_content(tenant, path).map(|content| content.view())
    }

    /// Forgets every delta and skip token of delta queries in a tenant: the next use of one answers 410.
    pub fn expire_delta_tokens(&self, tenant: Uuid) {
        self.world.items.expire_tokens(tenant);
    }

    fn find_content(&self, tenant: Uuid, path: &str) -> Option<Content> {
        match Address::parse(path, None)? {
            Address::Content(path, _) => self.world.items.content(tenant, &path),
            _ => None,
        }
    }

    fn store(&self, tenant: Uuid, path: &str, value: Value) -> Result<(View, Entry), ChangeError> {
        let Value::Object(mut value) = value else { return Err(ChangeError::Value) };
        let (view, id) = named(path, &value)?;
        let now = self.world.clock.now();
        if let Some(id) = id {
            let members = Value::Object(value.clone());
            if let Some(entry) = self.world.items.patch(tenant, (&view, &id), &members, now) {
                return Ok((view, entry));
            }
            value.entry("id").or_insert(Value::String(id));
        }
        let (entry, _) = self.world.items.put(tenant, &view, value, now)?;
        Ok((view, entry))
    }

    fn take_away(&self, tenant: Uuid, path: &str, value: &Value) -> Result<(View, Entry), ChangeError> {
        let empty = Map::new();
        let (view, id) = named(path, value.as_object().unwrap_or(&empty))?;
        let entry = id.and_then(|id| self.world.items.remove(tenant, &view, &id));
        entry.map(|entry| (view, entry)).ok_or(ChangeError::NotFound)
    }
}

/// The collection that a path means, and the item in it: by the path, in the letters that were written, or by the value.
fn named(path: &str, value: &Map<String, Value>) -> Result<(View, Option<String>), ChangeError> {
    let (view, id) = match Address::parse(path, None) {
        Some(Address::Collection(view) | Address::Root(view)) => {
            (view, value.get("id").and_then(Value::as_str).map(str::to_owned))
        }
        Some(Address::Item(view, id)) => {
            let written = path.rsplit(['/', '(']).next().map(|last| last.trim_matches(['\'', ')']));
            (view, Some(written.map_or(id, str::to_owned)))
        }
        _ => return Err(ChangeError::Path),
    };
    if view.is_wide() { Err(ChangeError::Path) } else { Ok((view, id)) }
}
