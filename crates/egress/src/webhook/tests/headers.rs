//! What a receiver gets, checked as a receiver would.

use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use standardwebhooks::Webhook;
use waypost_core::clock::{Clock as _, SystemClock};

use super::*;
use crate::test_server::{Request, Server};

const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

async fn received(target: &Target, message: &Message, stamp: Stamp) -> Request {
    let server = Server::answering(OK);
    let url = EndpointUrl::parse(&server.url()).unwrap();
    let target = Target {
        url,
        headers: target.headers.clone(),
        secrets: target.secrets.clone(),
        signing_key: target.signing_key.clone(),
        ..*target
    };
    let (status, _) = answered(client(&Config::default()).send(&target, message, stamp).await.unwrap());
    assert_eq!(status, 204);
    server.request()
}

#[tokio::test]
async fn a_request_has_the_promised_headers_and_the_exact_body() {
    let (target, message, stamp) = (target("http://127.0.0.1/"), message(), stamp_at(noon()));
    let request = received(&target, &message, stamp).await;
    assert_eq!(request.line, "POST /hook HTTP/1.1");
    assert_eq!(request.body, BODY);
    for (name, wanted) in [
        ("content-type", "application/json".to_owned()),
        ("content-length", BODY.len().to_string()),
        ("user-agent", format!("waypost/{}", env!("CARGO_PKG_VERSION"))),
        ("webhook-id", message.event.to_string()),
        ("webhook-timestamp", noon().timestamp().to_string()),
        ("waypost-delivery-id", stamp.delivery.to_string()),
        ("waypost-attempt", "3".to_owned()),
        ("waypost-item-keys", "key-1,key-2".to_owned()),
    ] {
        assert_eq!(request.values(name), [wanted], "{name}");
    }
    for absent in ["referer", "cookie", "accept-encoding", "transfer-encoding", "expect"] {
        assert!(request.values(absent).is_empty(), "{absent}");
    }
}

#[tokio::test]
async fn nangos_signatures_are_those_of_the_bytes_that_came() {
    let target = target("http://127.0.0.1/");
    let request = received(&target, &message(), stamp_at(noon())).await;
    let digest =
        Sha256::new().chain_update(target.signing_key.expose()).chain_update(&request.body).finalize();
    assert_eq!(request.values("x-nango-signature"), [hex::encode(digest)]);
    assert_eq!(request.values("x-nango-hmac-sha256"), [target.signing_key.nango(&request.body).hmac_sha256]);
}

#[tokio::test]
async fn the_official_library_verifies_the_request_with_either_secret_of_a_rotation() {
    let mut target = target("http://127.0.0.1/");
    target.secrets.push(EndpointSecret::generate());
    let request = received(&target, &message(), stamp_at(SystemClock.now())).await;
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, request.values(name)[0].parse().unwrap());
    }
    for secret in &target.secrets {
        let receiver = Webhook::new(secret.to_text().expose_secret()).unwrap();
        receiver.verify(&request.body, &headers).unwrap();
        assert!(receiver.verify(b"{}", &headers).is_err());
    }
}

#[tokio::test]
async fn an_endpoints_own_headers_are_added_but_never_replace_ours_or_those_of_http() {
    let mut target = with_header(target("http://127.0.0.1/"), "authorization", "Bearer t");
    for (name, value) in [
        ("x-nango-signature", "forged"),
        ("webhook-id", "forged"),
        ("waypost-attempt", "99"),
        ("content-type", "text/plain"),
        ("user-agent", "forged"),
        ("host", "inner.example"),
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
    ] {
        target = with_header(target, name, value);
    }
    target = with_header(with_header(target, "x-mine", "a"), "x-mine", "b");
    let message = message();
    let request = received(&target, &message, stamp_at(noon())).await;
    assert_eq!(request.values("authorization"), ["Bearer t"]);
    assert_eq!(request.values("x-mine"), ["a", "b"]);
    assert_eq!(request.values("webhook-id"), [message.event.to_string()]);
    assert_eq!(request.values("waypost-attempt"), ["3"]);
    assert_eq!(request.values("content-type"), ["application/json"]);
    assert_eq!(request.values("content-length"), [BODY.len().to_string()]);
    assert!(request.values("transfer-encoding").is_empty());
    let forged =
        |(name, value): &(String, String)| value == "forged" || (name == "host" && value == "inner.example");
    assert!(!request.headers.iter().any(forged));
}

#[tokio::test]
async fn a_header_that_http_forbids_fails_the_request_before_it_is_sent() {
    let server = Server::answering(OK);
    let target = with_header(target(&server.url()), "x-mine", "a\r\nx-other: b");
    let outcome = client(&Config::default()).send(&target, &message(), stamp_at(noon())).await.unwrap();
    assert_eq!(outcome, Outcome::Failed(Failure::Request));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn item_keys_that_are_empty_too_long_or_no_header_are_left_out() {
    for (keys, sent) in [
        (String::new(), false),
        ("k".repeat(8 * 1024), true),
        ("k".repeat(8 * 1024 + 1), false),
        ("a\nb".to_owned(), false),
    ] {
        let message = Message { item_keys: keys.as_str().into(), ..message() };
        let request = received(&target("http://127.0.0.1/"), &message, stamp_at(noon())).await;
        assert_eq!(request.values("waypost-item-keys").len(), usize::from(sent), "{} bytes", keys.len());
    }
}
