//! What can be watched at Graph: the resources of its documentation as data, and when two ways of writing one are the same.
//!
//! The table advises (how long a subscription may live, what it needs), it never forbids: a resource that isn't in it is
//! let through with a careful ceiling, for Graph to decide. Must not know a subscription or a connection.

mod path;
mod table;

use std::fmt;

use chrono::TimeDelta;

use path::Path;
use table::Rule;

/// The longest text of a resource: a filter over hundreds of people fits, a flood doesn't.
pub const LONGEST: usize = 32 * 1024;
/// Below this a margin would eat up what little there is, and is left out.
const LEAST_LIFE: TimeDelta = TimeDelta::minutes(60);
/// The least margin below a ceiling.
const LEAST_MARGIN: TimeDelta = TimeDelta::minutes(15);

/// What a subscription watches.
#[derive(Clone)]
pub struct Resource {
    sent: String,
    key: String,
    path: Path,
    rule: &'static Rule,
}

/// A text that names no resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a resource is a path of Microsoft Graph, as users/{{id}}/messages, of at most {LONGEST} bytes")]
pub struct ResourceError;

impl Resource {
    /// Reads a resource as people write it: with or without a leading slash, or as a whole URL.
    ///
    /// # Errors
    /// [`ResourceError`] when nothing is left of it, or it is too long, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, ResourceError> {
        let sent = path::relative(text.trim());
        if sent.is_empty() || sent.len() > LONGEST || sent.chars().any(char::is_control) {
            return Err(ResourceError);
        }
        let path = Path::read(sent);
        if path.segments.is_empty() {
            return Err(ResourceError);
        }
        let rule = table::find(&path.segments);
        Ok(Self { sent: sent.to_owned(), key: path.key(), path, rule })
    }

    /// The text to send: relative to the version, without a leading slash, else as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.sent
    }

    /// The one spelling of all texts that name the same: equal keys are the same wish.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What kind of thing it is (`message`, `chatMessage`, …); `unknown` for what isn't in the table.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.rule.kind
    }

    /// The most that Graph grants.
    #[must_use]
    pub fn ceiling(&self, rich: bool) -> TimeDelta {
        let minutes = if rich { self.rule.rich.unwrap_or(self.rule.basic) } else { self.rule.basic };
        TimeDelta::minutes(i64::from(minutes))
    }

    /// The most to ask for: the ceiling less a margin, so that a clock that differs a little makes no error.
    #[must_use]
    pub fn longest(&self, rich: bool) -> TimeDelta {
        less_margin(self.ceiling(rich))
    }

    /// Whether its notifications can hold the resource; `None` when the table doesn't know.
    #[must_use]
    pub const fn can_be_rich(&self) -> Option<bool> {
        if self.is_known() { Some(self.rule.rich.is_some()) } else { None }
    }

    /// Whether a rich subscription needs a `$select`, and there is none.
    #[must_use]
    pub fn lacks_select(&self, rich: bool) -> bool {
        rich && self.rule.needs_select && !self.path.selects()
    }

    /// Whether to ask for ids that survive a move to another folder.
    #[must_use]
    pub const fn wants_immutable_ids(&self) -> bool {
        self.rule.immutable_ids
    }

    /// Whether a `lifecycleNotificationUrl` is required for more than an hour.
    #[must_use]
    pub const fn requires_lifecycle_url(&self) -> bool {
        self.rule.lifecycle_url
    }

    /// Whether Graph grants one per app and path, whatever the change types.
    #[must_use]
    pub const fn is_one_per_app(&self) -> bool {
        self.rule.one_per_app
    }

    /// Where changes since a point in time are read; `{folder}` in it stands for each folder.
    #[must_use]
    pub fn delta_path(&self) -> Option<String> {
        let owner = self.path.owner();
        self.rule.delta.map(|hint| hint.replace("{path}", &self.path.text()).replace("{owner}", &owner))
    }

    /// Whether the table knows it.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !self.rule.paths.is_empty()
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("key", &self.key)
            .field("kind", &self.rule.kind)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Resource {}

/// A ceiling less max(15 min, 1 %); as it is where that would leave less than the hour below which Graph treats
/// subscriptions differently.
#[must_use]
pub fn less_margin(ceiling: TimeDelta) -> TimeDelta {
    if ceiling <= LEAST_LIFE {
        // Anything shorter than 45 minutes is raised to that, so some minutes are to be had.
        return (ceiling - TimeDelta::minutes(2)).max(TimeDelta::minutes(1));
    }
    ceiling - LEAST_MARGIN.max(ceiling / 100)
}

#[cfg(test)]
mod tests;
