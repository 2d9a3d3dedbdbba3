//! The handlers behind a real server, with the queue's other end in the tests' hands.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::rt;
use actix_web::{App, HttpServer};
use serde_json::Value;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use waypost_core::clock;
use waypost_core::provider::Answer;

use super::*;
use crate::ingress::body::Budget;
use crate::ingress::intake::queue::{Bounds, Lane, Queue};
use crate::ingress::rate_limit::RateLimit;

const PATH: &str = "/webhook/6f9619ff-8b86-4d01-b42d-00cf4fc964ff/graph-cc";
const MOST_BODY: usize = 100_000;
const ALL: Bounds = Bounds { requests: 500, bytes: 8 << 20 };

struct Server {
    address: SocketAddr,
    handle: ServerHandle,
    queue: Arc<Queue>,
}

/// An answer, taken apart.
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        body["error"]["code"].as_str().expect("a code").to_owned()
    }
}

impl Server {
    fn start(ack_deadline: Duration, rate_limit_per_minute: u32) -> Self {
        let queue = Arc::new(Queue::new(Bounds { requests: 3, bytes: 1 << 20 }));
        let ingress = web::Data::new(Ingress {
            max_body_bytes: MOST_BODY,
            ack_deadline,
            rate_limit: RateLimit::new(rate_limit_per_minute),
            reading: Budget::new(1 << 20),
            queue: Arc::clone(&queue),
            clock: clock::system(),
        });
        let server = HttpServer::new(move || App::new().app_data(ingress.clone()).configure(configure))
            .workers(1)
            .disable_signals()
            .bind("127.0.0.1:0")
            .expect("a port");
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        rt::spawn(server);
        Self { address, handle, queue }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    async fn send(&self, head: &str, body: &[u8]) -> Response {
        let mut stream = self.connect().await;
        let head = format!("{head}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("the head");
        stream.write_all(body).await.expect("the body");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        Response::of(&String::from_utf8(answer).expect("text"))
    }

    async fn post(&self, path: &str, headers: &str, body: &[u8]) -> Response {
        let head = format!("POST {path} HTTP/1.1\r\ncontent-length: {}{headers}", body.len());
        self.send(&head, body).await
    }

    /// Answers the next request as `answer`, and returns what was taken.
    async fn take(&self, answer: Answer) -> Request {
        let mut batch =
            self.queue.take(Lane::All, Bounds { requests: 1, ..ALL }).await.expect("an open queue");
        let taken = batch.pop().expect("a request");
        taken.reply.send(answer);
        taken.request
    }
}

fn patient() -> Server {
    Server::start(Duration::from_secs(30), 0)
}

#[actix_web::test]
async fn only_post_is_taken() {
    let server = patient();
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in [PATH.to_owned(), format!("{PATH}?validationToken=x"), "/webhook/nonsense/key".to_owned()]
        {
            let response = server.send(&format!("{method} {path} HTTP/1.1"), b"").await;
            assert_eq!(
                (response.status, response.code()),
                (405, "method_not_allowed".to_owned()),
                "{method} {path}"
            );
            assert!(response.head.contains("\r\nallow: post"), "{}", response.head);
        }
    }
    server.handle.stop(true).await;
}

#[actix_web::test]
async fn a_wrong_path_is_told_with_the_parts_that_are_wrong() {
    let server = patient();
    let response = server.post("/webhook/nonsense/a%2Fb?validationToken=x", "", b"{}").await;
    let body: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!((response.status, response.code()), (400, "invalid_uri_params".to_owned()));
    assert_eq!(body["error"]["errors"][0]["path"], serde_json::json!(["environmentUuid"]));
    assert_eq!(body["error"]["errors"][1]["path"], serde_json::json!(["providerConfigKey"]));
    server.handle.stop(true).await;
}

#[actix_web::test]
async fn a_handshake_is_answered_from_the_url_alone() {
    let server = patient();
    server.queue.close();
    for path in
        [PATH.to_owned(), format!("{PATH}/"), format!("{PATH}/lifecycle"), format!("{PATH}/lifecycle/")]
    {
        let path = format!("{path}?a=1&validationToken=Validation%3a+Testing+%3Cb%3E+Request-Id%3a+1");
        let response = server.post(&path, "\r\ncontent-encoding: gzip", b"not read").await;
        assert_eq!((response.status, response.body.as_str()), (200, "Validation: Testing <b> Request-Id: 1"));
        assert!(response.head.contains("\r\ncontent-type: text/plain; charset=utf-8"), "{}", response.head);
        assert!(response.head.contains("\r\nx-content-type-options: nosniff"), "{}", response.head);
    }
    let response = server.post(&format!("{PATH}?validationToken="), "", b"").await;
    assert_eq!((response.status, response.code()), (400, "invalid_validation_token".to_owned()));
    server.handle.stop(true).await;
}

#[actix_web::test]
async fn a_compressed_body_is_refused() {
    let server = patient();
    let response = server.post(PATH, "\r\ncontent-encoding: gzip", b"{}").await;
    assert_eq!((response.status, response.code()), (415, "unsupported_content_encoding".to_owned()));
    server.handle.stop(true).await;
}

#[actix_web::test]
async fn a_body_is_taken_byte_for_byte_whatever_its_type() {
    let server = patient();
    let chunked = b"3\r\n{\"v\r\n8\r\nalue\":[]\r\n1\r\n}\r\n0\r\n\r\n";
    let head = format!("POST {PATH}/lifecycle/?x=%20y HTTP/1.1\r\ntransfer-encoding: chunked");
    let (response, request) = tokio::join!(server.send(&head, chunked), server.take(Answer::Accepted));
    assert_eq!((response.status, response.body.as_str()), (202, ""));
    assert_eq!(request.body, &b"{\"value\":[]}"[..]);
    assert_eq!((request.unique_key.as_str(), request.query.as_ref()), ("graph-cc", "x=%20y"));

    let (response, request) = tokio::join!(
        server.post(PATH, "\r\ncontent-type: image/png", b" {} "),
        server.take(Answer::Accepted)
    );
    assert_eq!(response.status, 202);
    assert_eq!(request.body, &b" {} "[..]);
    server.handle.stop(true).await;
}

#[actix_web::test]
async fn a_body_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let server = patient();
    let body = vec![b'x'; MOST_BODY + 1];
    let (response, request) = tokio::join!(server.post(PATH, "", &body[1..]), server.take(Answer::Accepted));
    assert_eq!((response.status, request.body.len()), (202, MOST_BODY));
    let response = server.post(PATH, "", &body).await;
    assert_eq!((response.status, response.code()), (413, "payload_too_large".to_owned()));
    assert!(response.head.contains("\r\nconnection: close"), "{}", response.head);

    let head = format!("POST {PATH} HTTP/1.1\r\ntransfer-encoding: chunked");
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", body.len(), "x".repeat(body.len()));
    let response = server.send(&head, chunk.as_bytes()).await;
    assert_eq!((response.status, response.code()), (413, "payload_too_large".to_owned()));
    server.handle.stop(true).await;
}

#[actix_web::test]
async fn a_body_without_end_is_refused_and_its_connection_closed() {
    let server = patient();
    let mut stream = server.connect().await;
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    // Ends only when the server closes.
    let writing = async { while writer.write_all(chunk.as_bytes()).await.is_ok() {} };
    let mut answer = vec![0; 4096];
    let reading = async { reader.read(&mut answer).await.unwrap() };
    let both = async { tokio::join!(writing, reading).1 };
    let length = tokio::time::timeout(Duration::from_secs(20), both).await.expect("the server closes");
    let response = Response::of(std::str::from_utf8(&answer[..length]).unwrap());
    assert_eq!(response.status, 413);
    server.handle.stop(true).await;
}

#[actix_web::test]
async fn what_is_not_on_disk_in_time_is_told_to_come_again() {
    let server = Server::start(Duration::from_millis(50), 0);
    let response = server.post(PATH, "", b"{}").await;
    assert_eq!((response.status, response.code()), (503, "temporarily_unavailable".to_owned()));
    assert!(response.head.contains("\r\nretry-after: "), "{}", response.head);
    server.handle.stop(true).await;
}

#[actix_web::test]
async fn a_full_or_closed_queue_refuses_at_once() {
    let server = patient();
    let fill = || Request {
        environment: waypost_core::id::EnvironmentId::from_uuid(uuid::Uuid::nil()),
        unique_key: waypost_core::integration::UniqueKey::parse("graph").unwrap(),
        query: "".into(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        received_at: chrono::DateTime::UNIX_EPOCH,
    };
    let receipts: Vec<_> = (0..3).map(|_| server.queue.put(fill()).unwrap()).collect();
    assert_eq!(server.post(PATH, "", b"{}").await.status, 503);
    drop(receipts);
    server.queue.close();
    assert_eq!(server.post(PATH, "", b"{}").await.status, 503);
    server.handle.stop(true).await;
}

#[actix_web::test]
async fn a_flood_is_told_when_to_come_again_but_a_handshake_passes() {
    let server = Server::start(Duration::from_secs(30), 1);
    let (response, _taken) = tokio::join!(server.post(PATH, "", b"{}"), server.take(Answer::Accepted));
    assert_eq!(response.status, 202);
    let response = server.post(PATH, "", b"{}").await;
    assert_eq!((response.status, response.code()), (429, "too_many_request".to_owned()));
    assert!(response.head.contains("\r\nretry-after: "), "{}", response.head);
    assert_eq!(server.post(&format!("{PATH}?validationToken=x"), "", b"").await.status, 200);
    server.handle.stop(true).await;
}

#[actix_web::test]
async fn every_verdict_has_its_answer() {
    let server = patient();
    for (verdict, status, code) in [
        (Answer::InvalidJson("at line 1".to_owned()), 400, "invalid_json"),
        (Answer::InvalidPayload("`value` must be an array"), 400, "invalid_payload"),
        (Answer::InvalidSignature, 401, "invalid_signature"),
        (Answer::SecretNotConfigured, 401, "webhook_secret_not_configured"),
        (Answer::UnknownEnvironment, 404, "unknown_environment"),
        (Answer::UnknownIntegration, 404, "unknown_provider_config"),
    ] {
        let (response, _taken) = tokio::join!(server.post(PATH, "", b"{}"), server.take(verdict));
        assert_eq!((response.status, response.code()), (status, code.to_owned()));
    }
    let (response, _taken) =
        tokio::join!(server.post(PATH, "", b"{}"), server.take(Answer::Challenge("word".to_owned())));
    assert_eq!((response.status, response.body.as_str()), (200, "word"));
    server.handle.stop(true).await;
}

fn headers(pairs: &[(&'static str, &'static str)]) -> ActixHeaders {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

#[test]
fn only_the_identity_is_no_compression() {
    for (pairs, compressed) in [
        (&[][..], false),
        (&[("content-encoding", "identity")], false),
        (&[("content-encoding", "IDENTITY, identity")], false),
        (&[("content-encoding", "")], false),
        (&[("content-encoding", "gzip")], true),
        (&[("content-encoding", "identity"), ("content-encoding", "br")], true),
    ] {
        assert_eq!(is_compressed(&headers(pairs)), compressed, "{pairs:?}");
    }
}

#[test]
fn a_provider_sees_vendors_headers_but_no_credentials() {
    let given = headers(&[
        ("x-hub-signature", "a"),
        ("stripe-signature", "b"),
        ("webhook-id", "c"),
        ("authorization", "Bearer d"),
        ("cookie", "e"),
    ]);
    let mut kept: Vec<_> = kept_headers(&given).keys().map(ToString::to_string).collect();
    kept.sort();
    assert_eq!(kept, ["stripe-signature", "webhook-id", "x-hub-signature"]);
}
