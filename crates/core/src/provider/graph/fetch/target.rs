//! What an item's `resource` may name, and the path that is read for it.
//!
//! The text comes from outside and is read with a customer's token, so nothing of it is passed on as it stands: it is
//! taken apart into segments, each is decoded and judged, and a path is written anew from them. What isn't plainly the
//! path of one resource below a known root is refused: other hosts, steps upwards, queries, actions and `$batch`.

use std::fmt::Write as _;

use percent::decoded;

use super::select::Select;

/// The longest `resource` that is read.
const LONGEST: usize = 2_048;
/// The most segments of a path.
const MOST_SEGMENTS: usize = 16;
/// Where resources begin that can be watched.
const ROOTS: [&str; 14] = [
    "users",
    "me",
    "groups",
    "drives",
    "sites",
    "chats",
    "teams",
    "appcatalogs",
    "communications",
    "security",
    "print",
    "copilot",
    "reports",
    "solutions",
];
/// Collections of a mailbox, whose items have ids that can survive a move.
const OUTLOOK: [&str; 8] = [
    "messages",
    "mailfolders",
    "events",
    "calendar",
    "calendars",
    "calendarview",
    "contacts",
    "contactfolders",
];

/// Which version of Graph's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// The stable one.
    V1,
    /// The one that may change.
    Beta,
}

/// A resource that may be read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    version: Version,
    /// Encoded, with a slash before each segment.
    path: String,
    immutable_ids: bool,
}

/// A text that names no resource that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no path of a resource")]
pub struct TargetError;

impl Version {
    /// As it stands in paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1.0",
            Self::Beta => "beta",
        }
    }
}

impl Target {
    /// Reads an item's `resource`; `odata_id` is the `@odata.id` of its data, which may name the version.
    ///
    /// # Errors
    /// [`TargetError`] when it isn't plainly the path of one resource.
    pub fn parse(resource: &str, odata_id: Option<&str>) -> Result<Self, TargetError> {
        if resource.len() > LONGEST {
            return Err(TargetError);
        }
        let resource = resource.strip_prefix('/').unwrap_or(resource);
        let (stated, rest) = versioned(resource);
        let version = stated.or_else(|| odata_id.and_then(version_of_id)).unwrap_or(Version::V1);
        let mut path = String::with_capacity(rest.len() + 16);
        let mut names = Vec::new();
        for raw in outside_quotes(rest) {
            let segment = decoded(raw).ok_or(TargetError)?;
            let (name, key) = checked(&segment)?;
            names.push(name.to_ascii_lowercase());
            names.extend(key.map(str::to_owned));
            path.push('/');
            encode(&segment, &mut path);
        }
        // A root alone would be a list of everybody.
        let is_one = (2..=MOST_SEGMENTS).contains(&names.len());
        if !is_one || !ROOTS.contains(&names[0].as_str()) {
            return Err(TargetError);
        }
        Ok(Self { version, path, immutable_ids: is_outlook(&names) })
    }

    /// The version of the API that it is read with.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Path and query below the version, with a leading slash: nothing in it needs encoding or leads elsewhere.
    #[must_use]
    pub fn path_and_query(&self, select: Option<&Select>) -> String {
        match select {
            Some(select) => format!("{}?$select={}", self.path, select.as_str()),
            None => self.path.clone(),
        }
    }

    /// Whether to ask for ids that survive a move to another folder.
    #[must_use]
    pub const fn wants_immutable_ids(&self) -> bool {
        self.immutable_ids
    }
}

/// The version that a path begins with, and the rest.
fn versioned(path: &str) -> (Option<Version>, &str) {
    for version in [Version::V1, Version::Beta] {
        let (start, end) = match path.split_once('/') {
            Some(parts) => parts,
            None => (path, ""),
        };
        if start.eq_ignore_ascii_case(version.as_str()) {
            return (Some(version), end);
        }
    }
    (None, path)
}

/// The version in a resource's own address, which is a whole URL at times. Nothing else of it is used.
fn version_of_id(id: &str) -> Option<Version> {
    let path = match id.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => id.trim_start_matches(['.', '/']),
    };
    versioned(path).0
}

/// A segment's name, and the key in it: `messages`, `chats('x')`.
fn checked(segment: &str) -> Result<(&str, Option<&str>), TargetError> {
    let steps = segment.split('/').any(|part| part == "." || part == "..");
    if steps
        || segment.is_empty()
        || segment.starts_with('$')
        || segment.contains('\\')
        || segment.chars().any(char::is_control)
    {
        return Err(TargetError);
    }
    let plain = |text: &str| !text.contains(['/', '?', '#', '%', '\'', '"', '(', ')', '<', '>', '&']);
    let Some((name, rest)) = segment.split_once('(') else {
        return if plain(segment) { Ok((segment, None)) } else { Err(TargetError) };
    };
    let key = rest.strip_suffix(')').ok_or(TargetError)?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name && is_key(key) { Ok((name, Some(key))) } else { Err(TargetError) }
}

/// `'text'`, `name='text'`, or a bare number or id.
fn is_key(key: &str) -> bool {
    let bare = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte));
    match key.split_once('\'') {
        None => !key.is_empty() && bare(key),
        Some((before, rest)) => {
            let text = rest.strip_suffix('\'').unwrap_or_default();
            bare(before) && !text.is_empty() && !text.contains('\'')
        }
    }
}

/// Whether it is of a mailbox: `users/{id}/messages/…` and the like.
fn is_outlook(names: &[String]) -> bool {
    let collection = match names[0].as_str() {
        "me" => names.get(1),
        "users" | "groups" => names.get(2),
        _ => None,
    };
    collection.is_some_and(|name| OUTLOOK.contains(&name.as_str()))
}

/// Splits at slashes that don't stand between single quotes.
fn outside_quotes(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |found: char| {
        if found == '\'' {
            quoted = !quoted;
        }
        found == '/' && !quoted
    })
}

/// Writes a segment so that it is one segment, whatever is in it.
fn encode(segment: &str, out: &mut String) {
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~!*'(),:=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string doesn't fail.
            let _written = write!(out, "%{byte:02X}");
        }
    }
}

mod percent {
    //! Undoing percent-encoding, once.

    /// The text without its percent signs; `None` when one is not followed by two digits, or it isn't UTF-8 then.
    pub(super) fn decoded(text: &str) -> Option<String> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if *first != b'%' {
                bytes.push(*first);
                rest = after;
                continue;
            }
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        }
        String::from_utf8(bytes).ok()
    }
}
