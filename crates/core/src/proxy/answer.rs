//! Which headers of an answer go on to the caller.

use http::header::{CONNECTION, HeaderMap};

/// What belongs to one connection, or would speak of Waypost's own host: framing, cookies, and what browsers take as
/// the rules of a host.
const KEPT_BACK: [&str; 14] = [
    "alt-svc",
    "clear-site-data",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "public-key-pins",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const KEPT_BACK_PREFIX: &str = "access-control-";

/// The headers of an answer without those that are nobody's business behind the proxy. `content-length` stays: who
/// sends the body on knows whether it still holds.
#[must_use]
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let nominated: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let stays = |name: &str| {
        KEPT_BACK.contains(&name)
            || name.starts_with(KEPT_BACK_PREFIX)
            || nominated.iter().any(|nominated| nominated == name)
    };
    let mut passed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !stays(name.as_str()) {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn what_speaks_of_one_connection_or_of_the_host_stays_behind() {
        let passed = passed_on(&headers(&[
            ("content-type", "application/json"),
            ("request-id", "r-1"),
            ("retry-after", "7"),
            ("link", "<a>"),
            ("link", "<b>"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=b"),
            ("strict-transport-security", "max-age=1"),
            ("access-control-allow-origin", "*"),
        ]));
        assert_eq!(
            passed,
            headers(&[
                ("content-type", "application/json"),
                ("request-id", "r-1"),
                ("retry-after", "7"),
                ("link", "<a>"),
                ("link", "<b>")
            ])
        );
    }
}
