//! Where a call goes: base, path and query become one URL that can't lead to another host.
//!
//! The base decides scheme, host, port and where paths begin. What a caller writes behind it, and what a connection's
//! configuration holds, only ever fills in path and query: a host that merely looks like the base's, a user before an
//! `@`, a second slash, a backslash or dots lead nowhere else.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use url::Url;

/// What a placeholder for a member of `connection_config` begins with, as it is written and as URLs escape it.
const OPENINGS: [&str; 3] = ["${connectionConfig.", "$%7BconnectionConfig.", "$%7bconnectionConfig."];
const CLOSINGS: [&str; 3] = ["}", "%7D", "%7d"];

/// Why there is no base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// Not an absolute URL of `https` or `http` without user, query and fragment.
    #[error("the base URL is not an https URL without user, query and fragment")]
    Malformed,
    /// A placeholder that stands for nothing.
    #[error(transparent)]
    Placeholder(#[from] Unfilled),
}

/// Why there is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// An absolute URL that isn't below the base.
    #[error("the endpoint names another host than the base URL")]
    Elsewhere,
    /// It leaves the base, by dots or otherwise.
    #[error("the endpoint leads out of the base URL")]
    Escapes,
    /// No URL comes of it.
    #[error("the endpoint can't be part of a URL")]
    Malformed,
    /// A placeholder of the path that would make a segment of dots.
    #[error(
        "a placeholder of the endpoint makes a part of the path \".\" or \"..\", which would lead elsewhere"
    )]
    Dots,
    /// A placeholder that stands for nothing.
    #[error(transparent)]
    Placeholder(#[from] Unfilled),
}

/// A placeholder that names no text or number of the connection's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connection_config has no text or number called \"{0}\", which the URL asks for")]
pub struct Unfilled(String);

/// What every URL of a call begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base(Url);

impl Base {
    /// A base from a text that may hold placeholders for members of `config`.
    ///
    /// # Errors
    /// [`BaseError`] when it is none.
    pub fn parse(text: &str, config: &Map<String, Value>) -> Result<Self, BaseError> {
        let filled = fill(text, config, |value| value)?;
        let url = Url::parse(&filled).map_err(|_| BaseError::Malformed)?;
        Self::from_url(url).ok_or(BaseError::Malformed)
    }

    /// A base that is a URL already; `None` where that can't be one.
    #[must_use]
    pub fn from_url(url: Url) -> Option<Self> {
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let reachable = matches!(url.scheme(), "https" | "http") && url.host().is_some();
        (bare && reachable).then_some(Self(url))
    }

    /// The URL.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// Whether `other` is on the same host, scheme and port.
    #[must_use]
    pub fn shares_origin(&self, other: &Url) -> bool {
        self.0.origin() == other.origin()
    }

    /// The URL of `endpoint`: path and query as the caller wrote them, escapes included, or an absolute URL below this
    /// base, such as the `@odata.nextLink` of a page.
    ///
    /// # Errors
    /// [`TargetError`] when it isn't below this base.
    pub fn target(&self, endpoint: &str, config: &Map<String, Value>) -> Result<Url, TargetError> {
        let filled = fill(endpoint, config, encoded)?;
        if dotted(&filled) > dotted(endpoint) {
            return Err(TargetError::Dots);
        }
        let relative = filled.trim_start_matches(['/', '\\']);
        let url = if is_absolute(relative) {
            Url::parse(relative).map_err(|_| TargetError::Malformed)?
        } else {
            let base = self.0.as_str().trim_end_matches('/');
            let joint = if relative.is_empty() || relative.starts_with('?') { "" } else { "/" };
            Url::parse(&format!("{base}{joint}{relative}")).map_err(|_| TargetError::Malformed)?
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        if !self.shares_origin(&url) || has_user || url.fragment().is_some() {
            return Err(TargetError::Elsewhere);
        }
        let prefix = self.0.path().trim_end_matches('/');
        match url.path().strip_prefix(prefix) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(url),
            _ => Err(TargetError::Escapes),
        }
    }
}

/// Whether a text names a host of its own.
fn is_absolute(text: &str) -> bool {
    ["http:", "https:"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme))
            && text[scheme.len()..].starts_with(['/', '\\'])
    })
}

/// How many segments of a path mean another directory, as they are written or as URLs escape them.
fn dotted(endpoint: &str) -> usize {
    let path = endpoint.split(['?', '#']).next().unwrap_or_default();
    let is_dotted =
        |segment: &&str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    path.split(['/', '\\']).filter(is_dotted).count()
}

/// Puts the configuration's values in place of the placeholders; other text stays.
fn fill(
    text: &str,
    config: &Map<String, Value>,
    write: impl Fn(String) -> String,
) -> Result<String, Unfilled> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, name, after)) = placeholder(rest) {
        filled.push_str(before);
        filled.push_str(&write(value(config, name).ok_or_else(|| Unfilled(name.to_owned()))?));
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The first placeholder: what stands before it, its name, and what follows.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let (start, opening) =
        OPENINGS.iter().filter_map(|opening| Some((text.find(opening)?, opening))).min()?;
    let inner = &text[start + opening.len()..];
    let (end, closing) = CLOSINGS.iter().filter_map(|closing| Some((inner.find(closing)?, closing))).min()?;
    Some((&text[..start], &inner[..end], &inner[end + closing.len()..]))
}

fn value(config: &Map<String, Value>, name: &str) -> Option<String> {
    match config.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Escapes all that could be more than a part of one segment or of one value of a query.
fn encoded(text: String) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.into_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn config() -> Map<String, Value> {
        let config = json!({"tenantId": "t-1", "odd": "a/../b?c#d e", "number": 7, "host": "graph.example", "deep": {}});
        config.as_object().unwrap().clone()
    }

    fn target(base: &str, endpoint: &str) -> Result<String, TargetError> {
        let base = Base::parse(base, &config()).unwrap();
        base.target(endpoint, &config()).map(String::from)
    }

    const GRAPH: &str = "https://graph.microsoft.com";

    #[test]
    fn base_path_and_query_are_joined_by_one_slash() {
        for (base, endpoint, wanted) in [
            (GRAPH, "/v1.0/me?$top=1", "https://graph.microsoft.com/v1.0/me?$top=1"),
            ("https://graph.microsoft.com/", "v1.0/me", "https://graph.microsoft.com/v1.0/me"),
            (GRAPH, "///v1.0/me", "https://graph.microsoft.com/v1.0/me"),
            (GRAPH, "?x=y", "https://graph.microsoft.com/?x=y"),
            (GRAPH, "", "https://graph.microsoft.com/"),
            ("https://h.example/base/", "/a%2Fb/c%20d", "https://h.example/base/a%2Fb/c%20d"),
            ("https://h.example/base", "?x=y", "https://h.example/base?x=y"),
            (
                GRAPH,
                "/v1.0/sites/h.example:/sites/x",
                "https://graph.microsoft.com/v1.0/sites/h.example:/sites/x",
            ),
            (GRAPH, "/v1.0/a/https://x", "https://graph.microsoft.com/v1.0/a/https://x"),
        ] {
            assert_eq!(target(base, endpoint).as_deref(), Ok(wanted), "{endpoint}");
        }
    }

    #[test]
    fn an_absolute_endpoint_below_the_base_is_taken_and_a_look_alike_refused() {
        let next = "https://graph.microsoft.com/v1.0/users?$skiptoken=abc";
        assert_eq!(target(GRAPH, &format!("/{next}")).as_deref(), Ok(next));
        assert_eq!(target(GRAPH, next).as_deref(), Ok(next));
        assert_eq!(
            target(GRAPH, "/https:/graph.microsoft.com/v1.0/me").as_deref(),
            Ok("https://graph.microsoft.com/v1.0/me")
        );
        for endpoint in [
            "/https://graph.microsoft.com.evil.example/v1.0/me",
            "/https://graph.microsoft.com@evil.example/v1.0/me",
            "/https://user@graph.microsoft.com/v1.0/me",
            "/http://graph.microsoft.com/v1.0/me",
            "/https://graph.microsoft.com:8443/v1.0/me",
            "/HTTPS:\\\\evil.example\\v1.0",
            "/https:///evil.example/",
        ] {
            assert_eq!(target(GRAPH, endpoint), Err(TargetError::Elsewhere), "{endpoint}");
        }
        assert_eq!(target("https://h.example/base", "/https://h.example/based/x"), Err(TargetError::Escapes));
    }

    #[test]
    fn nothing_behind_the_base_leads_to_another_host_or_out_of_its_path() {
        for (endpoint, wanted) in [
            ("//evil.example/x", "https://graph.microsoft.com/evil.example/x"),
            ("/\\evil.example/x", "https://graph.microsoft.com/evil.example/x"),
            ("/@evil.example/x", "https://graph.microsoft.com/@evil.example/x"),
            ("/:8443/x", "https://graph.microsoft.com/:8443/x"),
            ("/../../x", "https://graph.microsoft.com/x"),
        ] {
            assert_eq!(target(GRAPH, endpoint).as_deref(), Ok(wanted), "{endpoint}");
        }
        for endpoint in ["/../x", "/a/../../x", "/%2e%2e/x", "/a/..\\..\\x", "/https://h.example/base/../x"] {
            assert_eq!(target("https://h.example/base", endpoint), Err(TargetError::Escapes), "{endpoint}");
        }
    }

    #[test]
    fn placeholders_are_filled_from_the_connections_configuration_and_escaped() {
        for (endpoint, wanted) in [
            ("/v1.0/${connectionConfig.tenantId}/x", "https://graph.microsoft.com/v1.0/t-1/x"),
            ("/v1.0/$%7BconnectionConfig.number%7D", "https://graph.microsoft.com/v1.0/7"),
            (
                "/a?q=${connectionConfig.odd}&r=1",
                "https://graph.microsoft.com/a?q=a%2F..%2Fb%3Fc%23d%20e&r=1",
            ),
            ("/a/${connectionConfig.odd}/b", "https://graph.microsoft.com/a/a%2F..%2Fb%3Fc%23d%20e/b"),
            ("/${credentials.token}", "https://graph.microsoft.com/$%7Bcredentials.token%7D"),
        ] {
            assert_eq!(target(GRAPH, endpoint).as_deref(), Ok(wanted), "{endpoint}");
        }
        assert_eq!(
            target("https://${connectionConfig.host}", "/x").as_deref(),
            Ok("https://graph.example/x")
        );
        for name in ["nothing", "deep", "credentials.token"] {
            let unfilled = Unfilled(name.to_owned());
            let endpoint = format!("/${{connectionConfig.{name}}}");
            assert_eq!(target(GRAPH, &endpoint), Err(TargetError::Placeholder(unfilled)), "{name}");
        }
    }

    #[test]
    fn a_placeholder_makes_no_segment_of_dots() {
        let config = json!({"dot": ".", "dots": "..", "escaped": "%2e", "number": 7, "none": ""});
        let config = config.as_object().unwrap();
        let base = Base::parse(GRAPH, config).unwrap();
        for endpoint in [
            "/v1.0/users/${connectionConfig.dots}/messages",
            "/v1.0/users/${connectionConfig.dot}",
            "/v1.0/users/.${connectionConfig.dot}/messages",
            "/v1.0/users/%2E${connectionConfig.dot}?a=b",
            "/v1.0/users/${connectionConfig.dot}%2e/messages",
            "/v1.0/users/${connectionConfig.dot}${connectionConfig.dot}/messages",
            "/v1.0/users/${connectionConfig.none}./messages",
            "/v1.0/users/$%7BconnectionConfig.dots%7D/messages",
            "/v1.0/users\\${connectionConfig.dots}",
            "https://graph.microsoft.com/v1.0/${connectionConfig.dots}",
        ] {
            assert_eq!(base.target(endpoint, config), Err(TargetError::Dots), "{endpoint}");
        }
        for (endpoint, wanted) in [
            ("/v1.0/x.${connectionConfig.dots}", "https://graph.microsoft.com/v1.0/x..."),
            ("/v1.0/${connectionConfig.escaped}", "https://graph.microsoft.com/v1.0/%252e"),
            ("/v1.0/me?next=${connectionConfig.dots}", "https://graph.microsoft.com/v1.0/me?next=.."),
            ("/v1.0/a/../${connectionConfig.number}", "https://graph.microsoft.com/v1.0/7"),
        ] {
            assert_eq!(base.target(endpoint, config).map(String::from).as_deref(), Ok(wanted), "{endpoint}");
        }
    }

    #[test]
    fn a_base_is_a_bare_url() {
        for text in [
            "graph.microsoft.com",
            "ftp://h.example",
            "https://u:p@h.example",
            "https://h.example/?a=b",
            "https://h.example/#f",
        ] {
            assert_eq!(Base::parse(text, &Map::new()), Err(BaseError::Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_stays_on_the_host_and_below_the_base(endpoint in "[ -~]{0,60}", filling in "\\PC{0,20}") {
            let config = json!({"x": filling}).as_object().unwrap().clone();
            let base = Base::parse("https://h.example/base", &config).unwrap();
            for endpoint in [endpoint.clone(), format!("/{endpoint}${{connectionConfig.x}}")] {
                if let Ok(url) = base.target(&endpoint, &config) {
                    prop_assert_eq!(url.host_str(), Some("h.example"));
                    prop_assert_eq!(url.port(), None);
                    prop_assert!(url.path() == "/base" || url.path().starts_with("/base/"), "{}", url);
                    prop_assert!(url.username().is_empty());
                }
            }
        }
    }
}
