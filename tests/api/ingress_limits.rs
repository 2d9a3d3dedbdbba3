//! The bounds of the ingress: bytes, encodings, rate, and the time until it must be on disk.

use std::io;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::stream;
use reqwest::{Body, Method};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use waypost::config::ByteSize;
use waypost_harness::notification::{TENANT, collection, item};
use waypost_harness::{Tenant, TestApp, wait};

const LIMIT: usize = 4096;

/// A body whose length is not told beforehand.
fn chunks(bytes: &[u8]) -> Body {
    let pieces: Vec<Result<Vec<u8>, io::Error>> = bytes.chunks(100).map(|piece| Ok(piece.to_vec())).collect();
    Body::wrap_stream(stream::iter(pieces))
}

async fn limited() -> (TestApp, Tenant) {
    let app = TestApp::spawn_with(|settings| settings.ingress.max_body_bytes = ByteSize(LIMIT as u64)).await;
    let tenant = app.tenant("acme").await;
    (app, tenant)
}

/// A collection of one item in exactly that many bytes.
fn sized(bytes: usize) -> Vec<u8> {
    let mut body = collection(&[item(TENANT)]).to_string().into_bytes();
    body.resize(bytes, b' ');
    body
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit_and_not_a_byte_larger() {
    let (app, tenant) = limited().await;

    app.public().post_bytes(&tenant.ingress(), sized(LIMIT)).await.expect(202);
    app.public().post_bytes(&tenant.ingress(), sized(LIMIT + 1)).await.refused(413, "payload_too_large");

    assert_eq!(tenant.list("/events").await.len(), 1);
}

#[tokio::test]
async fn the_limit_counts_bytes_also_where_no_length_is_told() {
    let (app, tenant) = limited().await;

    app.public().post_bytes(&tenant.ingress(), chunks(&sized(LIMIT))).await.expect(202);
    app.public()
        .post_bytes(&tenant.ingress(), chunks(&sized(LIMIT + 1)))
        .await
        .refused(413, "payload_too_large");

    assert_eq!(tenant.list("/events").await.len(), 1);
}

/// Sends these very bytes and gives the first line of the answer; nothing when the connection is closed without one.
async fn raw(app: &TestApp, bytes: &[u8], then_close: bool) -> Option<String> {
    let mut stream = TcpStream::connect(app.instance().public_address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    if then_close {
        stream.shutdown().await.unwrap();
    }
    let mut lines = BufReader::new(stream).lines();
    timeout(Duration::from_secs(20), lines.next_line()).await.expect("an answer, or the end").ok().flatten()
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_the_body_comes() {
    let (app, tenant) = limited().await;
    let head =
        format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", tenant.ingress(), LIMIT + 1);

    let answer = raw(&app, head.as_bytes(), false).await;

    assert!(answer.is_some_and(|line| line.contains(" 413 ")));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_accepted() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let path = tenant.ingress();
    let body = String::from_utf8(sized(2000)).unwrap();

    for head in ["content-length: 5000", "transfer-encoding: chunked"] {
        let piece = if head.starts_with("transfer") { format!("7d0\r\n{body}\r\n") } else { body.clone() };
        let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{piece}");
        let answer = raw(&app, request.as_bytes(), true).await;
        assert!(answer.as_ref().is_none_or(|line| line.contains(" 400 ")), "{head}: {answer:?}");
    }

    assert!(tenant.list("/events").await.is_empty());
    tenant.accept(&[item(TENANT)]).await;
}

#[tokio::test]
async fn compressed_bodies_are_refused() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for encoding in ["gzip", "br", "deflate", "zstd", "identity, gzip"] {
        let request = app.public().request(Method::POST, &tenant.ingress());
        let request = request.header("content-encoding", encoding).body(Body::from(sized(2000)));

        assert_eq!(app.public().send(request).await.status, 415, "{encoding}");
    }
    let request =
        app.public().request(Method::POST, &tenant.ingress()).header("content-encoding", "identity");
    app.public().send(request.body(Body::from(sized(2000)))).await.expect(202);

    assert_eq!(tenant.list("/events").await.len(), 1);
}

#[tokio::test]
async fn an_integration_may_not_be_sent_more_than_its_rate() {
    let app = TestApp::spawn_with(|settings| settings.ingress.rate_limit_per_minute = 2).await;
    let tenant = app.tenant("acme").await;
    let other = app.tenant("umbrella").await;
    let body = tenant.notification(TENANT);

    tenant.post_notification(&body).await.expect(202);
    tenant.post_notification(&body).await.expect(202);
    let refused = tenant.post_notification(&body).await;

    let told = refused.refused(429, "too_many_request");
    let names: Vec<&String> = told["error"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["code", "message"], "{told}");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    other.post_notification(&body).await.expect(202);
    app.clock().advance(TimeDelta::seconds(60));
    tenant.post_notification(&body).await.expect(202);
    assert_eq!(tenant.list("/events").await.len(), 3);
}

#[tokio::test]
async fn a_handshake_is_answered_however_often() {
    let app = TestApp::spawn_with(|settings| settings.ingress.rate_limit_per_minute = 1).await;
    let tenant = app.tenant("acme").await;
    let path = format!("{}?validationToken=t", tenant.ingress());

    for _ in 0..5 {
        app.public().send(app.public().request(Method::POST, &path)).await;
        assert_eq!(app.public().send(app.public().request(Method::POST, &path)).await.status, 200);
    }
}

#[tokio::test]
async fn what_is_not_on_disk_in_time_is_answered_503_with_a_time_to_come_back() {
    let app =
        TestApp::spawn_with(|settings| settings.ingress.ack_deadline = Duration::from_millis(200)).await;
    app.leave_work();
    let tenant = app.tenant("acme").await;
    let mut blocking = app.db_connect().await;
    sqlx::query("BEGIN").execute(&mut blocking).await.unwrap();
    sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut blocking).await.unwrap();

    let refused = tenant.post_notification(&tenant.notification(TENANT)).await;

    refused.refused(503, "temporarily_unavailable");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
    sqlx::query("ROLLBACK").execute(&mut blocking).await.unwrap();
    // The repeat that Graph would send is taken.
    wait::until_true("the ingress to take it again", async || {
        tenant.post_notification(&tenant.notification(TENANT)).await.status == 202
    })
    .await;
}
