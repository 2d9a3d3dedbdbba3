//! Proxied calls over real sockets: what goes out, what comes back, and where nothing goes.

use std::io;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderName, HeaderValue};

use super::*;
use crate::guard::Policy;
use crate::test_server::{Forbidden, Server};

const LIMIT: Duration = Duration::from_secs(10);

fn client() -> ProxyClient {
    ProxyClient::new(Guard::new(Policy::default()), &[]).unwrap()
}

fn call(method: Method, url: &str) -> Call {
    let url = Url::parse(url).unwrap();
    Call { method, url, headers: HeaderMap::new(), way: Way::Provider, decompress: false }
}

async fn send(call: &Call, content: Content) -> Answer {
    client().send(call, content, LIMIT).await.unwrap()
}

async fn body(answer: Answer) -> Result<Vec<u8>, BrokenOff> {
    let pieces: Vec<Bytes> = answer.into_stream().try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn method_headers_and_bytes_go_out_as_they_were_given() {
    let server = Server::answering("HTTP/1.1 201 Made\r\ncontent-length: 2\r\nrequest-id: r-1\r\n\r\nok");
    let mut call = call(Method::PATCH, &server.url());
    let own = (HeaderName::from_static("prefer"), HeaderValue::from_static("a, b"));
    call.headers.insert(own.0, own.1);

    let answer = send(&call, Content::Whole(Bytes::from_static(b"{\"big\":12345678901234567890}"))).await;

    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["request-id"]),
        (201, &HeaderValue::from_static("r-1"))
    );
    assert_eq!(body(answer).await.unwrap(), b"ok");
    let request = server.request();
    assert_eq!(request.line, "PATCH /hook HTTP/1.1");
    assert_eq!(request.values("prefer"), ["a, b"]);
    assert_eq!(request.body, b"{\"big\":12345678901234567890}");
    assert!(request.values("accept-encoding").is_empty());
}

#[tokio::test]
async fn a_request_that_might_have_a_body_says_that_it_has_none() {
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n");
    for (method, wanted) in [(Method::POST, &["0"] as &[&str]), (Method::GET, &[])] {
        let answer = send(&call(method, &server.url()), Content::Empty).await;
        assert_eq!(answer.status(), 204);
        assert_eq!(server.requests().last().unwrap().values("content-length"), wanted);
    }
}

#[tokio::test]
async fn a_streamed_body_of_known_length_is_sent_with_that_length() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let (sender, pieces) = mpsc::channel(1);
    let sending = async {
        for piece in ["first ", "second"] {
            sender.send(Ok(Bytes::from_static(piece.as_bytes()))).await.unwrap();
        }
        drop(sender);
    };
    let call = call(Method::PUT, &server.url());
    let (answer, ()) =
        tokio::join!(send(&call, Content::Streamed(Upload { pieces, length: Some(12) })), sending);

    assert_eq!(answer.status(), 200);
    let request = server.request();
    assert_eq!(
        (request.body.as_slice(), request.values("content-length")),
        (b"first second" as &[u8], vec!["12"])
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_never_arrives_as_a_whole_one() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let (sender, pieces) = mpsc::channel(2);
    sender.send(Ok(Bytes::from_static(b"half"))).await.unwrap();
    sender.send(Err(io::ErrorKind::UnexpectedEof.into())).await.unwrap();

    let upload = Upload { pieces, length: Some(8) };
    let failed = client().send(&call(Method::PUT, &server.url()), Content::Streamed(upload), LIMIT).await;

    assert!(failed.is_err());
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn redirects_are_followed_on_the_host_and_handed_back_where_they_leave_it() {
    let elsewhere = Forbidden::listen(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let away = format!("http://127.0.0.1:{}/stolen", elsewhere.port());
    let away_answer = format!("HTTP/1.1 302 Found\r\nlocation: {away}\r\ncontent-length: 0\r\n\r\n");
    let server = Server::answering(away_answer);
    let mut leaving = call(Method::GET, &server.url());
    leaving.headers.insert("authorization", HeaderValue::from_static("Bearer t"));

    let answer = send(&leaving, Content::Empty).await;

    assert_eq!(
        (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()),
        (302, away.as_str())
    );
    elsewhere.assert_untouched();

    let first = std::sync::atomic::AtomicBool::new(true);
    let staying = Server::start(move |stream, _| {
        let answer: &[u8] = if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            b"HTTP/1.1 307 Moved\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        };
        stream.write_all(answer).is_ok()
    });
    let mut kept = call(Method::POST, &staying.url());
    kept.headers.insert("authorization", HeaderValue::from_static("Bearer t"));
    let answer = send(&kept, Content::Whole(Bytes::from_static(b"x"))).await;
    assert_eq!(answer.status(), 200);
    let requests = staying.requests();
    assert_eq!(requests[1].line, "POST /there HTTP/1.1");
    assert_eq!(
        (requests[1].values("authorization"), requests[1].body.as_slice()),
        (vec!["Bearer t"], b"x" as &[u8])
    );
}

#[tokio::test]
async fn a_customers_host_is_judged_by_the_guard_and_its_redirects_are_not_followed() {
    let inner = Forbidden::listen(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let base = format!("https://127.0.0.1:{}/", inner.port());
    let guarded = Call { way: Way::Guarded(EndpointUrl::parse(&base).unwrap()), ..call(Method::GET, &base) };

    let refused = client().send(&guarded, Content::Empty, LIMIT).await.unwrap_err();

    assert_eq!(refused.failure, Failure::Forbidden);
    inner.assert_untouched();

    let server = Server::answering("HTTP/1.1 302 Found\r\nlocation: /hook\r\ncontent-length: 0\r\n\r\n");
    let open = ProxyClient::new(Guard::new(Policy::new(["127.0.0.0/8".parse().unwrap()])), &[]).unwrap();
    let base = EndpointUrl::parse(&server.url()).unwrap();
    let guarded = Call { way: Way::Guarded(base), ..call(Method::GET, &server.url()) };
    assert_eq!(open.send(&guarded, Content::Empty, LIMIT).await.unwrap().status(), 302);
    assert_eq!(server.requests().len(), 1);
}

/// `hello` compressed by gzip.
const GZIPPED: [u8; 25] = [
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00,
    0x86, 0xa6, 0x10, 0x36, 0x05, 0x00, 0x00, 0x00,
];

#[tokio::test]
async fn a_compressed_answer_is_unpacked_only_where_that_is_asked_for() {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 25\r\n\r\n".to_vec();
    answer.extend(GZIPPED);
    let server = Server::answering(answer);
    let packed = send(&call(Method::GET, &server.url()), Content::Empty).await;
    assert_eq!(
        (&packed.headers()["content-encoding"], &packed.headers()["content-length"]),
        (&HeaderValue::from_static("gzip"), &HeaderValue::from_static("25"))
    );
    assert_eq!(body(packed).await.unwrap(), GZIPPED);

    let unpacked = send(&Call { decompress: true, ..call(Method::GET, &server.url()) }, Content::Empty).await;

    assert!(!unpacked.headers().contains_key("content-encoding"));
    assert!(!unpacked.headers().contains_key("content-length"));
    assert_eq!(body(unpacked).await.unwrap(), b"hello");
    assert_eq!(server.requests()[1].values("accept-encoding"), ["gzip,deflate"]);
}

#[tokio::test]
async fn a_body_arrives_piece_by_piece_and_its_breaking_off_is_seen() {
    let server = Server::start(|stream, _| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npiece";
        stream.write_all(head).unwrap();
        false
    });
    let answer = send(&call(Method::GET, &server.url()), Content::Empty).await;
    let mut pieces = Box::pin(answer.into_stream());

    assert_eq!(pieces.next().await.unwrap().unwrap(), "piece");
    assert!(matches!(pieces.next().await, Some(Err(BrokenOff::Broken(_)))));
    assert!(pieces.next().await.is_none());
}

#[tokio::test]
async fn silence_is_told_apart_from_a_closed_port() {
    let silent = Server::start(|_, end| {
        end.wait();
        false
    });
    let limit = Duration::from_millis(50);
    let failed = client().send(&call(Method::GET, &silent.url()), Content::Empty, limit).await.unwrap_err();
    assert_eq!(failed.failure, Failure::Timeout);
    let failed =
        client().send(&call(Method::GET, "http://127.0.0.1:9/x"), Content::Empty, LIMIT).await.unwrap_err();
    assert_eq!(failed.failure, Failure::Connect);
    assert!(!format!("{failed:?}").contains("/x"), "{failed:?}");
}
