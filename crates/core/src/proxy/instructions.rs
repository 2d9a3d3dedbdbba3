//! The headers that tell the proxy what to do. Names, rules and the wording of faults are Nango's.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::connection::ConnectionId;
use crate::integration::UniqueKey;

/// The most extra attempts that a call may ask for; more are taken as this many.
pub const MOST_RETRIES: u32 = 10;

/// What a header begins with that goes upstream without it.
const FORWARDED: &str = "nango-proxy-";
/// The most headers that go upstream, and the most bytes that they may have together.
const MOST_FORWARDED: usize = 64;
const MOST_FORWARDED_BYTES: usize = 32 * 1024;
/// What belongs to one connection or to the framing of a message, and so never goes from one to the next.
const NEVER_FORWARDED: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// What a caller wants of the proxy, read from the headers of the call.
#[derive(Debug, Clone)]
pub struct Instructions {
    /// `Provider-Config-Key`.
    pub integration: UniqueKey,
    /// `Connection-Id`.
    pub connection: ConnectionId,
    /// `Retries`: extra attempts, at most [`MOST_RETRIES`].
    pub retries: u32,
    /// `Retry-On`: statuses that are tried again beside the usual ones.
    pub retry_on: Vec<u16>,
    /// `Base-Url-Override`, as written; nothing where it is empty.
    pub base_url_override: Option<String>,
    /// `Decompress`.
    pub decompress: bool,
    /// What goes upstream: the headers that were written as `Nango-Proxy-<Name>`. Values are marked as sensitive.
    pub headers: HeaderMap,
}

/// What is wrong with a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The header's name in lower case.
    pub header: String,
    /// The kind of mistake.
    pub code: &'static str,
    /// The mistake, for people.
    pub message: String,
}

impl Fault {
    fn new(header: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self { header: header.to_owned(), code, message: message.into() }
    }
}

impl Instructions {
    /// Reads the headers of a call; names in any letter case.
    ///
    /// # Errors
    /// Every [`Fault`] that there is.
    pub fn read<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader { headers, faults: Vec::new() };
        let integration = reader.required("provider-config-key", UniqueKey::parse, UNIQUE_KEY);
        let connection = reader.required("connection-id", ConnectionId::parse, CONNECTION_ID);
        let retries = reader.retries();
        let retry_on = reader.retry_on();
        let base_url_override = reader.base_url_override();
        let decompress = reader.switch("decompress");
        // Redirects stay within the provider's hosts here, so there is nothing that it could decide.
        reader.switch("forward-headers-on-redirect");
        let headers = reader.forwarded();
        match (integration, connection) {
            (Some(integration), Some(connection)) if reader.faults.is_empty() => Ok(Self {
                integration,
                connection,
                retries,
                retry_on,
                base_url_override,
                decompress,
                headers,
            }),
            _ => Err(reader.faults),
        }
    }

    /// Whether the caller brings an authorization: then no token of the connection may go along.
    #[must_use]
    pub fn authorizes_itself(&self) -> bool {
        self.headers.contains_key(http::header::AUTHORIZATION)
    }
}

const UNIQUE_KEY: &str = "Invalid string: must match pattern /^[a-zA-Z0-9~:.@ _-]+$/";
const CONNECTION_ID: &str = "Invalid string: must match pattern /^[a-zA-Z0-9,.;:=+~[\\]|@${}\"'\\\\/_ -]+$/";

/// Reads one header after the other and gathers what is wrong.
struct Reader<I> {
    headers: I,
    faults: Vec<Fault>,
}

impl<'a, I: Iterator<Item = (&'a str, &'a [u8])> + Clone> Reader<I> {
    /// The first header of that name; one that isn't text fits no rule, so it reads as a character that none allows.
    fn text(&self, wanted: &str) -> Option<&'a str> {
        let mut headers = self.headers.clone();
        let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(std::str::from_utf8(value).map_or("\u{fffd}", str::trim))
    }

    fn fault(&mut self, header: &str, code: &'static str, message: &str) {
        self.faults.push(Fault::new(header, code, message));
    }

    fn required<T, E>(
        &mut self,
        name: &str,
        parse: impl Fn(&'a str) -> Result<T, E>,
        pattern: &str,
    ) -> Option<T> {
        let Some(text) = self.text(name) else {
            self.fault(name, "invalid_type", "Invalid input: expected string, received undefined");
            return None;
        };
        if text.len() > 255 {
            self.fault(name, "too_big", "Too big: expected string to have <=255 characters");
            return None;
        }
        let parsed = parse(text).ok();
        if parsed.is_none() {
            self.fault(name, "invalid_format", pattern);
        }
        parsed
    }

    fn retries(&mut self) -> u32 {
        let Some(text) = self.text("retries").filter(|text| !text.is_empty()) else { return 0 };
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            // What is larger than any number here is more than the most, too.
            return text.parse().map_or(MOST_RETRIES, |number: u32| number.min(MOST_RETRIES));
        }
        let (code, message) = match text.parse::<f64>() {
            Ok(number) if number < 0.0 => ("too_small", "Too small: expected number to be >=0"),
            Ok(number) if number.is_finite() => {
                ("invalid_type", "Invalid input: expected int, received number")
            }
            _ => ("invalid_type", "Invalid input: expected number, received NaN"),
        };
        self.fault("retries", code, message);
        0
    }

    fn retry_on(&mut self) -> Vec<u16> {
        let Some(text) = self.text("retry-on") else { return Vec::new() };
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !text.split(',').all(is_number) {
            self.fault("retry-on", "invalid_format", "Invalid string: must match pattern /^\\d+(,\\d+)*$/");
            return Vec::new();
        }
        // A number that is no status never occurs.
        text.split(',').filter_map(|part| part.parse().ok()).collect()
    }

    fn base_url_override(&mut self) -> Option<String> {
        const NAME: &str = "base-url-override";
        let text = self.text(NAME).filter(|text| !text.is_empty())?;
        // A placeholder may stand for the host, which can't be parsed yet.
        if !text.contains("${") && url::Url::parse(text).is_err() {
            self.fault(NAME, "invalid_union", "Invalid input");
        }
        Some(text.to_owned())
    }

    fn switch(&mut self, name: &str) -> bool {
        match self.text(name) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                let message = "Invalid option: expected one of \"true\"|\"false\"";
                self.fault(name, "invalid_value", message);
                false
            }
        }
    }

    fn forwarded(&mut self) -> HeaderMap {
        let mut forwarded = HeaderMap::new();
        let mut bytes = 0;
        for (full, value) in self.headers.clone() {
            let Some(name) = strip_prefix_ignoring_case(full, FORWARDED) else { continue };
            let full = full.to_ascii_lowercase();
            if NEVER_FORWARDED.iter().any(|never| never.eq_ignore_ascii_case(name)) {
                self.fault(&full, "custom", "This header belongs to one connection and can't be forwarded");
                continue;
            }
            bytes += name.len() + value.len();
            let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value));
            let (Ok(name), Ok(mut value)) = parsed else {
                self.fault(&full, "custom", "This is not a header that can be forwarded");
                continue;
            };
            value.set_sensitive(true);
            forwarded.append(name, value);
            if forwarded.len() > MOST_FORWARDED || bytes > MOST_FORWARDED_BYTES {
                self.fault(&full, "too_big", "At most 64 headers of together 32 KiB are forwarded");
                break;
            }
        }
        forwarded
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [(&str, &str); 2] = [("Provider-Config-Key", "graph-cc"), ("Connection-Id", "conn-1")];

    fn read(more: &[(&str, &str)]) -> Result<Instructions, Vec<Fault>> {
        let all: Vec<_> = NEEDED.iter().chain(more).collect();
        Instructions::read(all.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    fn fault(name: &str, value: &str) -> (String, &'static str, String) {
        let [fault] = read(&[(name, value)]).unwrap_err().try_into().unwrap();
        (fault.header, fault.code, fault.message)
    }

    #[test]
    fn what_is_absent_has_its_default() {
        let read = read(&[]).unwrap();
        assert_eq!((read.integration.as_str(), read.connection.as_str()), ("graph-cc", "conn-1"));
        assert_eq!((read.retries, read.retry_on.len(), read.decompress), (0, 0, false));
        assert!(read.base_url_override.is_none() && read.headers.is_empty());
    }

    #[test]
    fn the_two_needed_headers_are_missed_in_nangos_words() {
        let faults = Instructions::read(std::iter::empty()).unwrap_err();
        let message = "Invalid input: expected string, received undefined";
        assert_eq!(
            faults,
            [
                Fault::new("provider-config-key", "invalid_type", message),
                Fault::new("connection-id", "invalid_type", message)
            ]
        );
    }

    #[test]
    fn every_header_of_nangos_client_is_taken() {
        let read = read(&[
            ("Retries", "3"),
            ("Retry-On", "404,409,99999999"),
            ("Base-Url-Override", ""),
            ("Decompress", "true"),
            ("Forward-Headers-On-Redirect", "false"),
            ("Nango-Activity-Log-Id", ""),
            ("Nango-Is-Sync", "false"),
            ("Nango-Is-Dry-Run", "false"),
        ])
        .unwrap();
        assert_eq!((read.retries, read.decompress), (3, true));
        assert_eq!(read.retry_on, [404, 409]);
        assert_eq!(read.base_url_override, None);
    }

    #[test]
    fn retries_are_a_whole_number_and_at_most_ten() {
        for (text, wanted) in [("0", 0), ("2", 2), ("11", 10), ("99999999999", 10), ("", 0)] {
            assert_eq!(read(&[("Retries", text)]).unwrap().retries, wanted, "{text}");
        }
        let message = "Invalid input: expected number, received NaN".to_owned();
        for text in ["many", "NaN", "inf"] {
            assert_eq!(fault("Retries", text), ("retries".to_owned(), "invalid_type", message.clone()));
        }
        for (text, code) in
            [("-1", "too_small"), ("-inf", "too_small"), ("1.5", "invalid_type"), ("1e3", "invalid_type")]
        {
            assert_eq!(fault("Retries", text).1, code, "{text}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_told_by_its_header() {
        for (name, value, code) in [
            ("Retry-On", "404,", "invalid_format"),
            ("Retry-On", "", "invalid_format"),
            ("Decompress", "yes", "invalid_value"),
            ("Forward-Headers-On-Redirect", "1", "invalid_value"),
            ("Base-Url-Override", "not a url", "invalid_union"),
            ("Nango-Proxy-Host", "evil.example", "custom"),
            ("nango-proxy-Transfer-Encoding", "chunked", "custom"),
            ("Nango-Proxy-", "x", "custom"),
        ] {
            let (header, found, _) = fault(name, value);
            assert_eq!((header, found), (name.to_ascii_lowercase(), code), "{value}");
        }
        let long = "x".repeat(256);
        let faults = Instructions::read(
            [("provider-config-key", "a/b".as_bytes()), ("connection-id", long.as_bytes())].into_iter(),
        )
        .unwrap_err();
        assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["invalid_format", "too_big"]);
    }

    #[test]
    fn only_prefixed_headers_go_upstream_in_either_letter_case_and_all_of_them() {
        let read = read(&[
            ("Authorization", "Bearer the-key-of-waypost"),
            ("Cookie", "a=b"),
            ("Nango-Proxy-Prefer", "IdType=\"ImmutableId\""),
            ("nango-proxy-prefer", "odata.maxpagesize=10"),
            ("NANGO-PROXY-ConsistencyLevel", "eventual"),
        ])
        .unwrap();
        assert_eq!(read.headers.len(), 3);
        assert_eq!(read.headers.get_all("prefer").iter().count(), 2);
        assert_eq!(read.headers["consistencylevel"], "eventual");
        assert!(!read.authorizes_itself());
        assert!(!format!("{read:?}").contains("ImmutableId"), "values are not shown");
    }

    #[test]
    fn the_headers_that_go_upstream_are_bounded() {
        let names: Vec<String> = (0..65).map(|number| format!("Nango-Proxy-X-{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
        assert_eq!(read(&many).unwrap_err()[0].code, "too_big");
        let large = "x".repeat(MOST_FORWARDED_BYTES);
        assert_eq!(fault("Nango-Proxy-X", &large).1, "too_big");
    }
}
