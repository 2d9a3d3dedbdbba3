//! The resources themselves: mailboxes, calendars, drives, people, chats, for reading, writing and catching up.
//!
//! `address` finds what a path means, `store` keeps it, `query` reads the options, `delta` follows changes, `content`
//! streams raw bytes, `batch` takes many calls at once, `announce` turns a change into notifications, `routes` joins
//! them. Must not know what is in an item beyond the few members that Graph itself maintains.

pub(crate) mod address;
pub(crate) mod announce;
pub(crate) mod batch;
pub(crate) mod content;
pub(crate) mod delta;
mod query;
pub(crate) mod routes;
pub(crate) mod store;

pub use self::content::{Content, ContentView};

use serde_json::Value;

use crate::notify::NotifyError;

/// What became of an ordered change.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The item as it is now, or as it was when it went.
    pub item: Value,
    /// The deliveries that tell of it.
    pub deliveries: Vec<u64>,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The path is none that the simulator keeps.
    #[error("the simulator keeps nothing at this path")]
    Path,
    /// The value must be an object, the identifier in it a text.
    #[error("the value must be an object whose id, if any, is a text")]
    Value,
    /// There is nothing to change or delete.
    #[error("there is no such item")]
    NotFound,
    /// The tenant holds as much as it may.
    #[error("the tenant holds no more items")]
    Full,
    /// The change was made, but not told.
    #[error("the change was made, but could not be told")]
    Notify(#[from] NotifyError),
}
