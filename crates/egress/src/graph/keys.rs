//! Fetching the key sets that validation tokens are checked with.
//!
//! Asked of the sign-in host of a cloud, and of nobody whom a token names. Must not keep what it fetched, or decide when.

use std::time::Duration;

use http::StatusCode;
use url::Url;
use waypost_core::provider::graph::key_set::{Generation, KeySetError, PublishedKey};

use super::TrustedClient;
use crate::body::{self, Deadline};

const LIMIT: Duration = Duration::from_secs(10);
/// Some times what Microsoft publishes.
const LARGEST_DOCUMENT: usize = 1024 * 1024;

/// Why a key set can't be fetched.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// No answer came.
    #[error("the sign-in host can't be reached for its keys")]
    Unreachable(#[source] reqwest::Error),
    /// It answered with something else than a document.
    #[error("the sign-in host answered with status {0} instead of its keys")]
    Status(u16),
    /// Its answer broke off, didn't end in time or is far too large.
    #[error("the sign-in host's keys came incomplete")]
    Incomplete,
    /// Its answer is no key set.
    #[error("the sign-in host's answer holds no keys")]
    Document(#[source] KeySetError),
}

/// Where the sign-in host at `login_url` publishes the keys of a generation of tokens.
#[must_use]
pub fn key_set_url(login_url: &Url, generation: Generation) -> Url {
    let mut url = login_url.clone();
    // A sign-in host is http or https, so it has a path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["common", "discovery"]);
        match generation {
            Generation::V1 => path.push("keys"),
            Generation::V2 => path.extend(["v2.0", "keys"]),
        };
    }
    url
}

impl TrustedClient {
    /// The keys at `url`. A redirect is followed within the host alone.
    ///
    /// # Errors
    /// [`KeysError`]; all of them may pass by themselves.
    pub async fn fetch_keys(&self, url: &Url) -> Result<Vec<PublishedKey>, KeysError> {
        let deadline = Deadline::after(LIMIT);
        let request = self.http.get(url.clone()).timeout(LIMIT);
        let answer = request.send().await.map_err(|error| KeysError::Unreachable(error.without_url()))?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(KeysError::Status(status.as_u16()));
        }
        let body = body::read(answer, LARGEST_DOCUMENT, deadline).await;
        if body.cut {
            return Err(KeysError::Incomplete);
        }
        PublishedKey::read_set(&body.bytes).map_err(KeysError::Document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_server::Server;

    const SET: &str = r#"{"keys":[{"kty":"RSA","use":"sig","kid":"a","n":"AQAB","e":"AQAB"}]}"#;

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
    }

    async fn fetch(server: &Server) -> Result<Vec<PublishedKey>, KeysError> {
        let login = Url::parse(&format!("http://{}/", server.address())).unwrap();
        TrustedClient::new(&[]).unwrap().fetch_keys(&key_set_url(&login, Generation::V1)).await
    }

    #[test]
    fn each_generation_has_its_own_set_below_the_sign_in_host() {
        let at = |base: &str, generation| key_set_url(&Url::parse(base).unwrap(), generation).to_string();
        let microsoft = "https://login.microsoftonline.com";
        assert_eq!(at(microsoft, Generation::V1), format!("{microsoft}/common/discovery/keys"));
        assert_eq!(at(microsoft, Generation::V2), format!("{microsoft}/common/discovery/v2.0/keys"));
        assert_eq!(
            at("http://127.0.0.1:9/login/", Generation::V2),
            "http://127.0.0.1:9/login/common/discovery/v2.0/keys"
        );
    }

    #[tokio::test]
    async fn keys_are_fetched() {
        let server = Server::answering(answer("200 OK", "", SET));
        assert_eq!(fetch(&server).await.unwrap()[0].kid, "a");
        assert_eq!(server.request().line, "GET /common/discovery/keys HTTP/1.1");
    }

    #[tokio::test]
    async fn what_is_no_key_set_is_told_apart() {
        let refused = fetch(&Server::answering(answer("503 Service Unavailable", "", SET))).await;
        assert!(matches!(refused, Err(KeysError::Status(503))));
        let page = fetch(&Server::answering(answer("200 OK", "", "<html></html>"))).await;
        assert!(matches!(page, Err(KeysError::Document(_))));
        let huge = " ".repeat(LARGEST_DOCUMENT + 1);
        let cut = fetch(&Server::answering(answer("200 OK", "", &huge))).await;
        assert!(matches!(cut, Err(KeysError::Incomplete)));
    }

    #[tokio::test]
    async fn a_redirect_to_another_host_is_not_followed() {
        let elsewhere = Server::answering(answer("200 OK", "", SET));
        let location = format!("location: http://{}/keys\r\n", elsewhere.address());
        let server = Server::answering(answer("302 Found", &location, ""));
        assert!(matches!(fetch(&server).await, Err(KeysError::Status(302))));
        assert!(elsewhere.requests().is_empty());
    }
}
