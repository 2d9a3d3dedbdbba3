//! Reading the path of a resource into segments of one spelling.
//!
//! Names of segments are compared without letter case, ids with it, but for GUIDs and addresses, whose case means
//! nothing. `users('x')` and `users/x` are the same.

use url::Url;
use url::form_urlencoded;
use uuid::Uuid;

use super::table;

/// A resource, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Path {
    /// Decoded, of one spelling.
    pub(super) segments: Vec<String>,
    /// Query options, sorted, their names in lower case and with the `$`.
    options: Vec<(String, String)>,
}

/// The part of `text` that is below the version.
pub(super) fn relative(text: &str) -> &str {
    let rest = match text.split_once("://") {
        Some((_, rest)) if Url::parse(text).is_ok() => rest.split_once('/').map_or("", |(_, path)| path),
        _ => text,
    };
    let rest = rest.trim_start_matches('/');
    for version in ["v1.0/", "beta/"] {
        if rest.get(..version.len()).is_some_and(|start| start.eq_ignore_ascii_case(version)) {
            return rest[version.len()..].trim_start_matches('/');
        }
    }
    rest
}

impl Path {
    pub(super) fn read(text: &str) -> Self {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let mut segments = Vec::new();
        for piece in outside_quotes(path, '/').filter(|piece| !piece.is_empty()) {
            let (name, key) = key_form(piece);
            segments.push(one_spelling(name));
            if let Some(key) = key.filter(|key| !key.is_empty()) {
                segments.push(one_spelling(key.trim_matches('\'')));
            }
        }
        let mut options: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, value)| !(name.is_empty() && value.is_empty()))
            .map(|(name, value)| option(&name, &value))
            .collect();
        options.sort();
        Self { segments, options }
    }

    /// The whole of it as one text.
    pub(super) fn key(&self) -> String {
        let mut key = self.text();
        for (place, (name, value)) in self.options.iter().enumerate() {
            key.push(if place == 0 { '?' } else { '&' });
            key.push_str(name);
            key.push('=');
            key.push_str(value);
        }
        key
    }

    /// The path without its options.
    pub(super) fn text(&self) -> String {
        self.segments.join("/")
    }

    /// The first part: `me`, or a collection and the id in it.
    pub(super) fn owner(&self) -> String {
        let parts = if self.segments.first().is_some_and(|first| first == "me") { 1 } else { 2 };
        self.segments.iter().take(parts).map(String::as_str).collect::<Vec<_>>().join("/")
    }

    /// Whether it says which properties are wanted.
    pub(super) fn selects(&self) -> bool {
        self.options.iter().any(|(name, value)| name == "$select" && !value.trim().is_empty())
    }
}

/// `name('key')` and `name(key)` as a name and a key; `getAllMessages()` as a name.
fn key_form(piece: &str) -> (&str, Option<&str>) {
    match piece.split_once('(') {
        Some((name, rest)) if rest.ends_with(')') && !name.is_empty() => {
            (name, Some(&rest[..rest.len() - 1]))
        }
        _ => (piece, None),
    }
}

fn one_spelling(piece: &str) -> String {
    let piece = decoded(piece);
    let lower = piece.to_ascii_lowercase();
    // An address of a person; the ids of Teams hold an `@` too, and a colon.
    if table::is_name(&lower) || (piece.contains('@') && !piece.contains(':')) {
        return lower;
    }
    Uuid::try_parse(&piece).map_or(piece, |id| id.to_string())
}

/// A segment without its percent signs. A plus is a plus in a path.
fn decoded(piece: &str) -> String {
    let text = format!("={}", piece.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(text.as_bytes())
        .next()
        .map_or_else(|| piece.to_owned(), |(_, value)| value.into_owned())
}

fn option(name: &str, value: &str) -> (String, String) {
    let name = name.trim().to_ascii_lowercase();
    let name = if name.starts_with('$') { name } else { format!("${name}") };
    if name != "$select" {
        return (name, value.trim().to_owned());
    }
    let mut wanted: Vec<&str> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    (name, wanted.join(","))
}

/// Splits at `separator`, but not between single quotes.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |found: char| {
        if found == '\'' {
            quoted = !quoted;
        }
        found == separator && !quoted
    })
}
