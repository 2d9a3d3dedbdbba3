//! What an endpoint wants to get: its filter.
//!
//! Each list that is not empty must be met; within a list one entry is enough. An event that holds several items goes
//! out whole when any one of its items meets the filter, so that all receivers of an event get the same bytes.

use std::borrow::Cow;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use crate::event::{EventKind, ItemFacts};

/// The most entries that one list of a filter may hold.
pub const MAX_ENTRIES: usize = 200;

/// A filter as it stands on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilterSpec {
    /// Unique keys of integrations.
    pub integrations: Vec<String>,
    /// Connection ids.
    pub connections: Vec<String>,
    /// `created`, `updated`, `deleted`.
    pub change_types: Vec<String>,
    /// Globs over the resource path, as `Users/*/Messages/*`; letter case doesn't matter, and a key means the same in both
    /// of Graph's forms: `chats('19:x')` is `chats/19:x`.
    pub resources: Vec<String>,
    /// Wire types (`forward`, `auth`, …) or `type.operation`.
    pub event_types: Vec<String>,
}

/// Which entry of a filter is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A list is too long.
    #[error("`{list}` holds more than {MAX_ENTRIES} entries")]
    TooMany {
        /// The list's name.
        list: &'static str,
    },
    /// An entry is not one of the known words.
    #[error("`{value}` is not a known value of `{list}`")]
    Unknown {
        /// The list's name.
        list: &'static str,
        /// The entry.
        value: String,
    },
    /// A resource pattern can't be read.
    #[error("`{value}` is not a pattern: use `*` for one part of a path and `**` for any number")]
    Pattern {
        /// The entry.
        value: String,
    },
}

impl FilterError {
    /// The list that the error is about.
    #[must_use]
    pub const fn list(&self) -> &'static str {
        match self {
            Self::TooMany { list } | Self::Unknown { list, .. } => list,
            Self::Pattern { .. } => "resources",
        }
    }
}

/// A filter, checked and ready to match.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    spec: FilterSpec,
    resources: Vec<GlobMatcher>,
}

/// What a filter looks at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The kind of event.
    pub kind: EventKind,
    /// The integration's unique key; `None` for events of no integration.
    pub integration: Option<&'a str>,
    /// The connection's id; `None` for events of no connection.
    pub connection: Option<&'a str>,
    /// The items, for `forward` events.
    pub items: &'a [ItemFacts],
}

impl Filter {
    /// Checks a filter.
    ///
    /// # Errors
    /// [`FilterError`] for the first entry that can't be right.
    pub fn parse(spec: FilterSpec) -> Result<Self, FilterError> {
        let lists = [
            ("integrations", &spec.integrations),
            ("connections", &spec.connections),
            ("change_types", &spec.change_types),
            ("resources", &spec.resources),
            ("event_types", &spec.event_types),
        ];
        for (list, entries) in lists {
            if entries.len() > MAX_ENTRIES {
                return Err(FilterError::TooMany { list });
            }
        }
        if let Some(value) = spec.change_types.iter().find(|value| !is_change_type(value)) {
            return Err(FilterError::Unknown { list: "change_types", value: value.clone() });
        }
        if let Some(value) = spec.event_types.iter().find(|value| !EventKind::is_type_or_kind(value)) {
            return Err(FilterError::Unknown { list: "event_types", value: value.clone() });
        }
        let resources = spec.resources.iter().map(|value| glob(value)).collect::<Result<_, _>>()?;
        Ok(Self { spec, resources })
    }

    /// The filter as it stands on the wire.
    #[must_use]
    pub const fn spec(&self) -> &FilterSpec {
        &self.spec
    }

    /// Whether `subject` is wanted.
    #[must_use]
    pub fn takes(&self, subject: &Subject<'_>) -> bool {
        let named = |list: &[String], value: Option<&str>| {
            list.is_empty() || value.is_some_and(|value| list.iter().any(|entry| entry == value))
        };
        named(&self.spec.integrations, subject.integration)
            && named(&self.spec.connections, subject.connection)
            && self.takes_kind(subject.kind)
            && self.takes_items(subject.items)
    }

    fn takes_kind(&self, kind: EventKind) -> bool {
        if self.spec.event_types.is_empty() {
            return !kind.only_on_request();
        }
        self.spec
            .event_types
            .iter()
            .any(|entry| entry == kind.as_str() || (entry == kind.wire_type() && !kind.only_on_request()))
    }

    fn takes_items(&self, items: &[ItemFacts]) -> bool {
        let no_wish = self.spec.change_types.is_empty() && self.resources.is_empty();
        no_wish || items.iter().any(|item| self.takes_item(item))
    }

    fn takes_item(&self, item: &ItemFacts) -> bool {
        let change = self.spec.change_types.is_empty()
            || item
                .change_type
                .as_deref()
                .is_some_and(|found| self.spec.change_types.iter().any(|entry| entry == found));
        let resource = self.resources.is_empty()
            || item.resource.as_deref().is_some_and(|found| {
                let path = key_parts(found.trim_start_matches('/'));
                self.resources.iter().any(|glob| glob.is_match(path.as_ref()))
            });
        change && resource
    }
}

fn is_change_type(value: &str) -> bool {
    matches!(value, "created" | "updated" | "deleted")
}

fn glob(value: &str) -> Result<GlobMatcher, FilterError> {
    let refused = || FilterError::Pattern { value: value.to_owned() };
    if value.is_empty() || value.len() > 512 {
        return Err(refused());
    }
    GlobBuilder::new(&key_parts(value.trim_start_matches('/')))
        .case_insensitive(true)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|_| refused())
}

/// Graph's own paths are far shorter; what isn't is compared as it is.
const LONGEST_PATH: usize = 4096;

/// A resource path with each key in a part of its own: `chats('19:x')/messages('1')` becomes `chats/19:x/messages/1`. A
/// slash inside a key is no separator, and two quotes there stand for one. Calls, as `delta()`, stay what they are.
fn key_parts(path: &str) -> Cow<'_, str> {
    if path.len() > LONGEST_PATH || !path.contains("('") {
        return Cow::Borrowed(path);
    }
    let mut parts = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((name, key, after)) = next_key(rest) {
        parts.push_str(name);
        parts.push('/');
        parts.push_str(&key.replace("''", "'").replace('/', "%2F"));
        rest = after;
    }
    parts.push_str(rest);
    Cow::Owned(parts)
}

/// What stands before the next `('key')` that ends a part of `path`, the key, and what follows.
fn next_key(path: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + path[from..].find("('")?;
        let inside = &path[open + 2..];
        let key = inside.match_indices("')").map(|(end, _)| end).find(|end| {
            let quotes = inside[..*end].bytes().rev().take_while(|byte| *byte == b'\'').count();
            quotes % 2 == 0 && matches!(inside.as_bytes().get(end + 2), None | Some(b'/'))
        });
        match key {
            Some(end) if end > 0 && open > 0 && !path[..open].ends_with('/') => {
                return Some((&path[..open], &inside[..end], &inside[end + 2..]));
            }
            _ => from = open + 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(change: &str, resource: &str) -> ItemFacts {
        ItemFacts { change_type: Some(change.into()), resource: Some(resource.into()) }
    }

    fn subject(items: &[ItemFacts]) -> Subject<'_> {
        Subject { kind: EventKind::Forward, integration: Some("graph-cc"), connection: Some("conn-1"), items }
    }

    #[test]
    fn an_empty_filter_takes_all_but_what_must_be_asked_for() {
        let filter = Filter::default();
        assert!(filter.takes(&subject(&[item("created", "Users/u/Messages/m")])));
        let renewed = Subject { kind: EventKind::SubscriptionRenewed, ..subject(&[]) };
        assert!(!filter.takes(&renewed));
        let asked = Filter::parse(FilterSpec {
            event_types: vec!["subscription.renewed".into()],
            ..FilterSpec::default()
        })
        .unwrap();
        assert!(asked.takes(&renewed));
    }

    #[test]
    fn a_resource_pattern_ignores_letter_case_and_keeps_to_path_parts() {
        let spec = FilterSpec { resources: vec!["users/*/messages/*".into()], ..FilterSpec::default() };
        let filter = Filter::parse(spec).unwrap();
        assert!(filter.takes(&subject(&[item("created", "Users/u1/Messages/m1")])));
        assert!(!filter.takes(&subject(&[item("created", "Users/u1/Events/e1")])));
        assert!(!filter.takes(&subject(&[item("created", "Users/u1/Messages/m1/Attachments/a")])));
    }

    #[test]
    fn a_key_means_the_same_in_both_of_graphs_forms() {
        let takes = |pattern: &str, resource: &str| {
            let spec = FilterSpec { resources: vec![pattern.into()], ..FilterSpec::default() };
            Filter::parse(spec).unwrap().takes(&subject(&[item("created", resource)]))
        };
        for (pattern, resource) in [
            ("chats/*/messages/*", "chats('19:x@thread.v2')/messages('1')"),
            ("chats('*')/messages('*')", "Chats/19:x/Messages/1"),
            ("chats('19:x')/messages/*", "chats('19:x')/messages('1')"),
            (
                "/teams/*/channels/*/messages/*/replies/*",
                "teams('t')/channels('c')/messages('1')/replies('2')",
            ),
            ("users/*/messages/*", "users('o''neill')/messages('a/b=')"),
            ("users('a/b')", "users('a/b')"),
            ("users/*/messages/delta()", "users('u')/messages/delta()"),
            ("users/*/call(x='1')/y/*", "users('u')/call(x='1')/y('z')"),
        ] {
            assert!(takes(pattern, resource), "{pattern} {resource}");
        }
        assert!(!takes("chats/*", "chats('19:x')/messages('1')"));
        assert!(!takes("chats('1')/messages/*", "chats('2')/messages('1')"));
        assert!(!takes("users/*/messages/*", "users('u')/messages('1')/attachments('2')"));
    }

    proptest::proptest! {
        #[test]
        fn no_path_upsets_the_reading_of_keys(path in "[a('/)é]{0,24}") {
            let once = key_parts(&path).into_owned();
            proptest::prop_assert!(path.contains("('") || once == path);
        }
    }

    #[test]
    fn every_list_must_be_met_by_the_same_item() {
        let spec = FilterSpec {
            change_types: vec!["deleted".into()],
            resources: vec!["Users/**".into()],
            ..FilterSpec::default()
        };
        let filter = Filter::parse(spec).unwrap();
        assert!(filter.takes(&subject(&[item("created", "Groups/g"), item("deleted", "Users/u")])));
        assert!(!filter.takes(&subject(&[item("created", "Users/u"), item("deleted", "Groups/g")])));
    }

    #[test]
    fn unknown_words_are_refused_when_saved() {
        let change = FilterSpec { change_types: vec!["moved".into()], ..FilterSpec::default() };
        assert_eq!(Filter::parse(change).unwrap_err().list(), "change_types");
        let kind = FilterSpec { event_types: vec!["auth.nonsense".into()], ..FilterSpec::default() };
        assert_eq!(Filter::parse(kind).unwrap_err().list(), "event_types");
        let glob = FilterSpec { resources: vec!["users/[".into()], ..FilterSpec::default() };
        assert_eq!(Filter::parse(glob).unwrap_err().list(), "resources");
    }
}
