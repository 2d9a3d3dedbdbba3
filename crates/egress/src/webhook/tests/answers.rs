//! What answers do, good, odd and hostile, and what is kept of them.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Instant;

use super::*;
use crate::test_server::{Forbidden, Server, TestEnd};

fn whole(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[tokio::test]
async fn the_status_decides_and_the_answer_is_kept_as_it_came() {
    for status in [
        "200 OK",
        "201 Created",
        "202 Accepted",
        "204 No Content",
        "205 Reset Content",
        "299 Odd",
        "400 Bad",
        "401 No",
        "408 Late",
        "410 Gone",
        "413 Large",
        "425 Early",
        "429 Many",
        "500 Oops",
        "503 Busy",
        "599 Odd",
        "999 Odder",
    ] {
        let server = Server::answering(whole(status, "x-odd: caf\u{e9}\r\nset-cookie: a=b\r\n", b""));
        let (found, response) = answered(send(&client(&Config::default()), &server.url()).await);
        assert!(status.starts_with(&found.to_string()), "{status}");
        assert!(!response.truncated, "{status}");
        let odd = ("x-odd".to_owned(), "caf\u{e9}".as_bytes().to_vec());
        assert!(response.headers.contains(&odd));
        assert!(!response.headers.iter().any(|(name, _)| name == "set-cookie"));
    }
}

#[tokio::test]
async fn bodies_and_headers_that_are_no_text_are_kept_byte_by_byte() {
    let body = [0, 0xff, 0xfe, b'a', 0];
    let mut answer =
        b"HTTP/1.1 200 OK\r\nx-raw: \xff\xfe\r\nbad header: x\r\ncontent-length: 5\r\n\r\n".to_vec();
    answer.extend_from_slice(&body);
    let server = Server::answering(answer);
    let (status, response) = answered(send(&client(&Config::default()), &server.url()).await);
    assert_eq!((status, response.body.as_slice()), (200, &body[..]));
    assert!(response.headers.contains(&("x-raw".to_owned(), vec![0xff, 0xfe])));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_never_followed() {
    for status in ["301 Moved", "302 Found", "303 Other", "307 Temporary", "308 Permanent"] {
        let elsewhere = Forbidden::listen(LOOPBACK);
        let location = format!("location: http://127.0.0.1:{}/\r\n", elsewhere.port());
        let server = Server::answering(whole(status, &location, b""));
        let (found, _) = answered(send(&client(&Config::default()), &server.url()).await);
        assert!(status.starts_with(&found.to_string()));
        assert_eq!(server.requests().len(), 1);
        elsewhere.assert_untouched();
    }
}

#[tokio::test]
async fn a_body_is_kept_up_to_its_bound() {
    for (size, kept, truncated) in [
        (0, 0, false),
        (KEPT_BODY, KEPT_BODY, false),
        (KEPT_BODY + 1, KEPT_BODY, true),
        (1 << 20, KEPT_BODY, true),
    ] {
        let server = Server::answering(whole("200 OK", "", &vec![b'x'; size]));
        let (status, response) = answered(send(&client(&Config::default()), &server.url()).await);
        assert_eq!((status, response.body.len(), response.truncated), (200, kept, truncated), "{size} bytes");
    }
}

#[tokio::test]
async fn a_compressed_body_is_not_unpacked() {
    // What gzip makes of nothing.
    let packed = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let server = Server::answering(whole("200 OK", "content-encoding: gzip\r\n", &packed));
    let (_, response) = answered(send(&client(&Config::default()), &server.url()).await);
    assert_eq!(response.body, packed);
    assert!(response.headers.contains(&("content-encoding".to_owned(), b"gzip".to_vec())));
}

#[tokio::test]
async fn headers_are_kept_up_to_their_bounds() {
    for (count, length, kept) in [(200, 1, KEPT_HEADERS), (20, 3000, 5)] {
        let header = |number| format!("x-{number}: {}\r\n", "v".repeat(length));
        let headers: String = (0..count).map(header).collect();
        let server = Server::answering(whole("200 OK", &headers, b""));
        let (_, response) = answered(send(&client(&Config::default()), &server.url()).await);
        assert_eq!(response.headers.len(), kept);
    }
}

/// A 200 whose body does what `body` does must be a success, cut, after no less and not much more than `at_least`.
async fn cut(body: impl Fn(&mut TcpStream, &TestEnd) + Send + 'static, at_least: Duration) -> Response {
    let server = Server::start(move |stream, end| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\npart").unwrap();
        body(stream, end);
        false
    });
    let started = Instant::now();
    let (status, response) = answered(send(&client(&short()), &server.url()).await);
    assert!(
        started.elapsed() >= at_least && started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(status, 200);
    assert!(response.truncated && response.body.starts_with(b"part"));
    response
}

#[tokio::test]
async fn a_success_whose_body_never_ends_is_cut_at_the_deadline() {
    let response = cut(|_, end| end.wait(), short().timeout).await;
    assert_eq!(response.body, b"part");
}

#[tokio::test]
async fn a_success_whose_body_drips_is_cut_at_the_one_deadline() {
    let drip = |stream: &mut TcpStream, end: &TestEnd| {
        while end.pause(Duration::from_millis(10)) && stream.write_all(b".").is_ok() {}
    };
    let response = cut(drip, short().timeout).await;
    assert!(response.body.len() > 4);
}

#[tokio::test]
async fn a_success_whose_connection_breaks_off_is_a_success() {
    let response = cut(|_, _| {}, Duration::ZERO).await;
    assert_eq!(response.body, b"part");
}

#[tokio::test]
async fn a_success_with_broken_chunks_is_a_success() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\nnonsense\r\n";
    let server = Server::answering(answer);
    let (status, response) = answered(send(&client(&short()), &server.url()).await);
    assert_eq!((status, response.body.as_slice(), response.truncated), (200, &b"part"[..], true));
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "v".repeat(1 << 20));
    let many = "x-a: v\r\n".repeat(5000);
    for answer in [
        "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
        "{\"ok\":true}\r\n\r\n".to_owned(),
        "HTTP/1.1 abc\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
        huge,
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
    ] {
        let server = Server::answering(answer.clone());
        let outcome = send(&client(&short()), &server.url()).await;
        let start = answer.lines().next();
        assert_eq!(
            outcome,
            Outcome::Failed(Failure::Protocol),
            "{:?}",
            start.map(|line| &line[..line.len().min(40)])
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_status_line_is_a_reset() {
    for start in ["", "HTT", "HTTP/1.1 200 OK\r\nx-a: "] {
        let server = Server::start(move |stream, _| {
            stream.write_all(start.as_bytes()).unwrap();
            false
        });
        let outcome = send(&client(&Config::default()), &server.url()).await;
        assert_eq!(outcome, Outcome::Failed(Failure::Reset), "{start:?}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_left_at_the_deadline() {
    for start in ["", "HTTP/1.1 200 OK\r\nx-a: b\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let server = Server::start(move |stream, end| {
            stream.write_all(start.as_bytes()).unwrap();
            end.wait();
            false
        });
        let started = Instant::now();
        let outcome = send(&client(&short()), &server.url()).await;
        assert_eq!(outcome, Outcome::Failed(Failure::Timeout), "{start:?}");
        assert!(started.elapsed() >= short().timeout && started.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn a_closed_port_is_a_connect_failure() {
    let port = Forbidden::listen(LOOPBACK).port();
    let outcome = send(&client(&short()), &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(outcome, Outcome::Failed(Failure::Connect));
}

#[tokio::test]
async fn the_first_usable_retry_after_is_read() {
    for (headers, wanted) in [
        ("retry-after: 120\r\n", Some(120)),
        ("retry-after: soon\r\nretry-after: 7\r\n", Some(7)),
        ("retry-after: 99999999\r\n", Some(3600)),
        ("retry-after: \u{e9}\r\n", None),
        ("", None),
    ] {
        let server = Server::answering(whole("503 Busy", headers, b""));
        let outcome = send(&client(&Config::default()), &server.url()).await;
        let Outcome::Answered { status: 503, retry_after, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(retry_after, wanted.map(TimeDelta::seconds), "{headers:?}");
    }
}

#[tokio::test]
async fn two_attempts_share_a_connection() {
    let server = Server::answering(whole("200 OK", "", b"fine"));
    let client = client(&Config::default());
    for _ in 0..2 {
        assert_eq!(answered(send(&client, &server.url()).await).0, 200);
    }
    let connections: Vec<_> = server.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0]);
}
