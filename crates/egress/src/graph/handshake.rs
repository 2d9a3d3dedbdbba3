//! Graph's validation handshake, made by ourselves against our own public URL.
//!
//! As Graph does it: a POST without body, `User-Agent` and `Referer`, a token that a careless decoder breaks, no redirect
//! followed. Must not be given a URL that a customer wrote.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response};
use url::Url;
use url::form_urlencoded;

use super::TrustedClient;
use crate::body::{self, Deadline};

/// An honest answer is far shorter.
const LONGEST_ANSWER: usize = 4 * 1024;

/// What was wrong with the answer, or that there was none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The name has no address.
    #[error("the name of its host can't be resolved")]
    Name,
    /// No TLS session came about.
    #[error("its TLS certificate or protocol is not accepted")]
    Tls,
    /// No connection came about, or it broke.
    #[error("nothing can be reached there")]
    Connect,
    /// No answer in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// It leads elsewhere.
    #[error("it redirects to {0}")]
    Redirect(String),
    /// Another status than 200.
    #[error("it answered {0} in place of 200")]
    Status(u16),
    /// Another content type than text/plain.
    #[error("its answer is not text/plain")]
    ContentType,
    /// Something else than the token.
    #[error("its answer is not the validation text that was sent")]
    Body,
}

/// Makes the handshake. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handshake {
    http: Client,
}

impl TrustedClient {
    /// What makes handshakes with our own URL.
    #[must_use]
    pub fn handshake(&self) -> Handshake {
        Handshake { http: self.anonymous.clone() }
    }
}

impl Handshake {
    /// Asks `url` for the echo of a token, within `limit`.
    ///
    /// # Errors
    /// [`Failure`] when anything differs from what Graph wants.
    pub async fn prove(&self, url: &Url, limit: Duration) -> Result<(), Failure> {
        let deadline = Deadline::after(limit);
        let token = token();
        let mut asked = url.clone();
        let encoded = encoded(&token);
        asked.set_query(Some(&match url.query() {
            Some(query) => format!("{query}&validationToken={encoded}"),
            None => format!("validationToken={encoded}"),
        }));
        let request = self.http.post(asked).header(CONTENT_TYPE, "text/plain; charset=utf-8").timeout(limit);
        let answer = request.send().await.map_err(|error| failure_of(&error))?;
        judge(answer, &token, deadline).await
    }
}

async fn judge(answer: Response, token: &str, deadline: Deadline) -> Result<(), Failure> {
    let status = answer.status();
    if status.is_redirection() {
        let to = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("elsewhere");
        return Err(Failure::Redirect(to.chars().take(200).collect()));
    }
    if status.as_u16() != 200 {
        return Err(Failure::Status(status.as_u16()));
    }
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/plain") {
        return Err(Failure::ContentType);
    }
    let read = body::read(answer, LONGEST_ANSWER, deadline).await;
    if !read.cut && read.bytes == token.as_bytes() { Ok(()) } else { Err(Failure::Body) }
}

/// What careless decoders and proxies break: spaces, a plus, a percent sign, colons.
fn token() -> String {
    let unique = waypost_core::id::EnvironmentId::generate();
    format!("Validation: Testing Waypost's own public URL, 100% + all: {unique}")
}

/// As Graph's .NET writes it: `+` for a space, hex digits in lower case.
fn encoded(token: &str) -> String {
    let mut text = String::new();
    for byte in token.bytes() {
        match byte {
            b' ' => text.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) => text.push(char::from(byte)),
            // Writing to a String can't fail.
            byte => write!(text, "%{byte:02x}").unwrap_or_default(),
        }
    }
    debug_assert!(form_urlencoded::parse(text.as_bytes()).next().is_some_and(|(name, _)| name == token));
    text
}

fn failure_of(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::TimedOut;
    }
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(cause) = source {
        if cause.is::<rustls::Error>() {
            return Failure::Tls;
        }
        let text = cause.to_string();
        if text.contains("dns error") || text.contains("lookup address") {
            return Failure::Name;
        }
        source = cause.source();
    }
    Failure::Connect
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_server::Server;

    async fn prove(server: &Server) -> Result<(), Failure> {
        let url = Url::parse(&server.url()).unwrap();
        TrustedClient::new(&[]).unwrap().handshake().prove(&url, Duration::from_secs(2)).await
    }

    fn answering(head: &str, body: &str) -> Server {
        Server::answering(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    #[tokio::test]
    async fn it_asks_as_graph_does() {
        let server = answering("200 OK\r\ncontent-type: text/plain", "something else");
        assert_eq!(prove(&server).await, Err(Failure::Body));
        let request = server.request();
        assert!(
            request.line.starts_with("POST /hook?validationToken=Validation%3a+Testing"),
            "{}",
            request.line
        );
        assert!(request.line.contains("100%25+%2b+all"), "{}", request.line);
        assert!(request.values("user-agent").is_empty() && request.values("referer").is_empty());
        assert!(request.body.is_empty());
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_apart() {
        for (head, expected) in [
            ("202 Accepted", Failure::Status(202)),
            ("403 Forbidden", Failure::Status(403)),
            (
                "302 Found\r\nlocation: https://login.example/",
                Failure::Redirect("https://login.example/".to_owned()),
            ),
            ("200 OK\r\ncontent-type: text/html", Failure::ContentType),
        ] {
            assert_eq!(prove(&answering(head, "x")).await, Err(expected), "{head}");
        }
        let client = TrustedClient::new(&[]).unwrap().handshake();
        let nobody = Url::parse("http://127.0.0.1:9/hook").unwrap();
        assert_eq!(client.prove(&nobody, Duration::from_secs(2)).await, Err(Failure::Connect));
        let nameless = Url::parse("https://nobody.invalid/hook").unwrap();
        assert_eq!(client.prove(&nameless, Duration::from_secs(5)).await, Err(Failure::Name));
    }

    #[tokio::test]
    async fn silence_is_over_at_the_limit() {
        let server = Server::start(|_, end| {
            end.wait();
            false
        });
        let url = Url::parse(&server.url()).unwrap();
        let client = TrustedClient::new(&[]).unwrap().handshake();
        assert_eq!(client.prove(&url, Duration::from_millis(200)).await, Err(Failure::TimedOut));
    }
}
