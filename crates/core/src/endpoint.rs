//! Endpoints: the callback URLs of the SaaS backend, and which of them want an event.

use std::fmt;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use http::HeaderName;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::connection::ConnectionRef;
use crate::event::EventKind;
use crate::filter::{Filter, Subject};
use crate::id::{ConnectionKey, EndpointId, EnvironmentId};

/// The longest URL of an endpoint, in bytes.
pub const LONGEST_URL: usize = 2048;
/// The most headers that an endpoint may add.
pub const MOST_HEADERS: usize = 50;

/// Why a URL can't be an endpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It isn't an absolute URL.
    #[error("this is not an absolute URL")]
    Malformed,
    /// It is longer than [`LONGEST_URL`].
    #[error("a URL has at most {LONGEST_URL} bytes")]
    Long,
    /// The scheme is neither `https` nor `http`.
    #[error("use https (http is only for private networks that egress.allow names)")]
    Scheme,
    /// It names a user or password.
    #[error("a URL must not hold a user or password: use the endpoint's headers")]
    UserInfo,
    /// It has a fragment, which no server ever sees.
    #[error("a URL must not have a fragment")]
    Fragment,
    /// The port is 0.
    #[error("port 0 can't be reached")]
    Port,
}

/// A callback URL that could be reached as far as its text tells. Whether its host's addresses are allowed is decided
/// by the egress guard, when it is saved and at each connect.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(Url);

impl EndpointUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`UrlError`] for the rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > LONGEST_URL {
            return Err(UrlError::Long);
        }
        let url = Url::parse(text.trim()).map_err(|_| UrlError::Malformed)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(UrlError::Scheme);
        }
        if url.host().is_none() {
            return Err(UrlError::Malformed);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        if url.port() == Some(0) {
            return Err(UrlError::Port);
        }
        Ok(Self(url))
    }

    /// The URL.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host as an address, when it is written as one (in any of the spellings that URLs allow).
    #[must_use]
    pub fn literal_address(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    /// Whether it uses TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

/// What an endpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointKind {
    /// The environment's `primary_url`.
    Primary,
    /// The environment's `secondary_url`.
    Secondary,
    /// One connection's `webhook_url_override`; signs with the secret of `primary`.
    Override,
    /// Made through `/endpoints`.
    Custom,
}

impl EndpointKind {
    /// The word on the wire and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Override => "override",
            Self::Custom => "custom",
        }
    }

    /// The kind that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Primary, Self::Secondary, Self::Override, Self::Custom]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// Whether an endpoint gets its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointStatus {
    /// It does.
    Enabled,
    /// Its deliveries are held.
    Disabled,
}

/// Why an endpoint was disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisabledReason {
    /// It answered 410.
    Gone,
    /// A person or the API did it.
    Manual,
    /// Nothing but failure for days.
    Failing,
}

impl DisabledReason {
    /// The word on the wire and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Manual => "manual",
            Self::Failing => "failing",
        }
    }

    /// The reason that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Gone, Self::Manual, Self::Failing].into_iter().find(|reason| reason.as_str() == word)
    }
}

/// Why a header can't be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not a header name.
    #[error("this is not the name of a header")]
    Name,
    /// Waypost or HTTP itself sets it.
    #[error("this header is set by Waypost or by HTTP and can't be replaced")]
    Reserved,
    /// Control characters, or too long.
    #[error("a header's value is visible text of at most 4096 bytes without line breaks")]
    Value,
}

/// Checks a header that an endpoint wants added.
///
/// # Errors
/// [`HeaderError`] for the rule that it breaks.
pub fn check_header(name: &str, value: &str) -> Result<HeaderName, HeaderError> {
    const RESERVED: [&str; 24] = [
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "cookie",
    ];
    const RESERVED_PREFIXES: [&str; 4] = ["waypost-", "x-nango-", "webhook-", "sec-"];
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::Name)?;
    let lower = parsed.as_str();
    if RESERVED.contains(&lower) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(HeaderError::Reserved);
    }
    let visible = value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    if value.len() > 4096 || !visible { Err(HeaderError::Value) } else { Ok(parsed) }
}

/// What routing must know of an endpoint.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its id.
    pub id: EndpointId,
    /// What it is for.
    pub kind: EndpointKind,
    /// The connection of an override.
    pub connection: Option<ConnectionKey>,
    /// What it wants.
    pub filter: Filter,
    /// Whether it gets its deliveries now.
    pub status: EndpointStatus,
    /// Whether older deliveries are due: fresh ones must not overtake them.
    pub backlog: bool,
}

/// An endpoint as people see it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The environment it belongs to.
    pub environment: EnvironmentId,
    /// What it is for.
    pub kind: EndpointKind,
    /// Where to; `None` for a `primary` or `secondary` that is not set.
    pub url: Option<EndpointUrl>,
    /// What people wrote about it.
    pub description: String,
    /// Names of the headers that it adds (their values are secrets).
    pub header_names: Vec<String>,
    /// What it wants.
    pub filter: Filter,
    /// Whether it gets its deliveries.
    pub status: EndpointStatus,
    /// Why not, and since when.
    pub disabled: Option<(DisabledReason, DateTime<Utc>)>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Which endpoints get an event of `connection`: the override in place of `primary` and `secondary`, the others by
/// their filters.
pub fn route<'a>(
    candidates: &'a [Candidate],
    connection: Option<&'a ConnectionRef>,
    subject: Subject<'a>,
) -> impl Iterator<Item = &'a Candidate> {
    let replaced = connection.and_then(|connection| connection.override_endpoint);
    candidates.iter().filter(move |candidate| match candidate.kind {
        EndpointKind::Primary | EndpointKind::Secondary => {
            replaced.is_none() && candidate.filter.takes(&subject)
        }
        EndpointKind::Override => replaced == Some(candidate.id),
        EndpointKind::Custom => candidate.filter.takes(&subject),
    })
}

/// Whether the switches of an environment let `kind` through to `primary` and `secondary`.
#[must_use]
pub fn switched_on(kind: EventKind, settings: &crate::account::WebhookSettings) -> bool {
    match kind {
        EventKind::AuthCreation | EventKind::AuthOverride => settings.on_auth_creation,
        EventKind::AuthRefresh => settings.on_auth_refresh_error,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ConnectionId;

    fn candidate(id: u128, kind: EndpointKind) -> Candidate {
        Candidate {
            id: EndpointId::from_uuid(uuid::Uuid::from_u128(id)),
            kind,
            connection: None,
            filter: Filter::default(),
            status: EndpointStatus::Enabled,
            backlog: false,
        }
    }

    #[test]
    fn an_override_replaces_primary_and_secondary_but_not_the_others() {
        let all = [
            candidate(1, EndpointKind::Primary),
            candidate(2, EndpointKind::Secondary),
            candidate(3, EndpointKind::Override),
            candidate(4, EndpointKind::Override),
            candidate(5, EndpointKind::Custom),
        ];
        let subject = Subject { kind: EventKind::Forward, integration: None, connection: None, items: &[] };
        let plain = ConnectionRef {
            key: ConnectionKey::from_number(1),
            id: ConnectionId::parse("a").unwrap(),
            override_endpoint: None,
        };
        let chosen: Vec<_> = route(&all, Some(&plain), subject).map(|found| found.id).collect();
        assert_eq!(chosen, [all[0].id, all[1].id, all[4].id]);
        let own = ConnectionRef { override_endpoint: Some(all[3].id), ..plain };
        let chosen: Vec<_> = route(&all, Some(&own), subject).map(|found| found.id).collect();
        assert_eq!(chosen, [all[3].id, all[4].id]);
    }

    #[test]
    fn odd_urls_are_told_apart() {
        for (text, wanted) in [
            ("ftp://example.com", UrlError::Scheme),
            ("https://u:p@example.com", UrlError::UserInfo),
            ("https://example.com/#x", UrlError::Fragment),
            ("https://example.com:0/", UrlError::Port),
            ("/relative", UrlError::Malformed),
            ("https://", UrlError::Malformed),
        ] {
            assert_eq!(EndpointUrl::parse(text).unwrap_err(), wanted, "{text}");
        }
    }

    #[test]
    fn every_spelling_of_a_literal_address_is_seen_as_one() {
        for text in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://127.1/",
        ] {
            let url = EndpointUrl::parse(text).unwrap();
            assert_eq!(url.literal_address(), Some("127.0.0.1".parse().unwrap()), "{text}");
        }
        let mapped = EndpointUrl::parse("http://[::ffff:10.0.0.1]/").unwrap();
        assert!(mapped.literal_address().is_some());
    }

    #[test]
    fn reserved_headers_and_line_breaks_are_refused() {
        assert_eq!(check_header("Host", "x"), Err(HeaderError::Reserved));
        assert_eq!(check_header("X-Nango-Signature", "x"), Err(HeaderError::Reserved));
        assert_eq!(check_header("waypost-attempt", "1"), Err(HeaderError::Reserved));
        assert_eq!(check_header("bad name", "x"), Err(HeaderError::Name));
        assert_eq!(check_header("x-a", "a\r\nb: c"), Err(HeaderError::Value));
        assert!(check_header("Authorization", "Bearer t").is_ok());
    }
}
