//! A host beside the provider's own that may get a connection's token, since the integration says so.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

/// The most of them that an integration may name.
pub const MOST_TOKEN_HOSTS: usize = 20;

/// The longest that one may be: a name of 253 characters and a port.
const LONGEST: usize = 260;

/// A host name or address, with a port where it isn't the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHost(String);

/// A text that isn't a [`TokenHost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a host is wanted, as \"graph.example.com\" or \"graph.example.com:8443\"")]
pub struct TokenHostError;

impl TokenHost {
    /// Reads a host; letters become small and names of other scripts are written as DNS has them.
    ///
    /// # Errors
    /// [`TokenHostError`] when it holds anything but a host and a port.
    pub fn parse(text: &str) -> Result<Self, TokenHostError> {
        let plain = !text.contains(['/', '\\', '@', '?', '#', '*']) && (1..=LONGEST).contains(&text.len());
        let url = Url::parse(&format!("https://{text}/")).ok().filter(|_| plain).ok_or(TokenHostError)?;
        let host = url.host_str().ok_or(TokenHostError)?;
        Ok(Self(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `url` is on this host and port.
    #[must_use]
    pub fn is_of(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        match url.port() {
            None => self.0 == host,
            Some(port) => self.0.strip_prefix(host) == Some(&format!(":{port}")),
        }
    }
}

impl TryFrom<String> for TokenHost {
    type Error = TokenHostError;

    fn try_from(text: String) -> Result<Self, TokenHostError> {
        Self::parse(&text)
    }
}

impl From<TokenHost> for String {
    fn from(host: TokenHost) -> Self {
        host.0
    }
}

impl fmt::Display for TokenHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(host: &str, url: &str) -> bool {
        TokenHost::parse(host).unwrap().is_of(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_host_names_itself_on_its_port_and_nothing_else() {
        for url in ["https://graph.example.com/x", "https://GRAPH.example.com:443"] {
            assert!(names("Graph.Example.com", url), "{url}");
        }
        for url in [
            "https://graph.example.com:8443/",
            "https://graph.example.com.evil.example/",
            "https://evil.graph.example.com/",
            "https://example.com/",
        ] {
            assert!(!names("graph.example.com", url), "{url}");
        }
        assert!(names("127.0.0.1:4711", "http://127.0.0.1:4711/x"));
        assert!(names("[::1]:4711", "http://[::1]:4711/x"));
        assert!(!names("127.0.0.1:4711", "http://127.0.0.1:47112/x"));
    }

    #[test]
    fn what_is_more_or_less_than_a_host_is_refused() {
        let long = "a".repeat(300);
        for text in
            ["", " ", "https://h.example", "h.example/x", "u@h.example", "*.example", "h.example?x", &long]
        {
            assert!(TokenHost::parse(text).is_err(), "{text}");
        }
    }
}
