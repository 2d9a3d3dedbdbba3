//! Against a real socket on loopback that answers as a token endpoint does.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use waypost_core::provider::graph::sign_in::Class;

use super::*;
use crate::test_server::{Forbidden, Server};

const SECRET: &str = "s3cret/that+nobody=should see";

fn answer(status: &str, extra: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{extra}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn ask_at(url: &str) -> Result<Granted, Trouble> {
    let url = Url::parse(url).unwrap();
    let form = [("client_id", "app"), ("client_secret", SECRET), ("grant_type", "client_credentials")];
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    TrustedClient::new(&[]).unwrap().token(TokenRequest { url: &url, form: &form, id: "r-1", now }).await
}

async fn ask(server: &Server) -> Result<Granted, Trouble> {
    ask_at(&server.url()).await
}

async fn refused(server: &Server) -> Refusal {
    match ask(server).await {
        Err(Trouble::Refused(refusal)) => *refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_asked_for_by_form_and_read() {
    let server = Server::answering(answer(
        "200 OK",
        "",
        r#"{"access_token":"t0k","expires_in":3599,"token_type":"Bearer"}"#,
    ));
    let granted = ask(&server).await.unwrap();
    assert_eq!(granted.access_token.expose_secret(), "t0k");
    let request = server.request();
    assert_eq!(request.line, "POST /hook HTTP/1.1");
    assert_eq!(request.values("content-type"), ["application/x-www-form-urlencoded"]);
    assert_eq!(request.values("client-request-id"), ["r-1"]);
    let body = String::from_utf8(request.body).unwrap();
    assert_eq!(
        body,
        "client_id=app&client_secret=s3cret%2Fthat%2Bnobody%3Dshould+see&grant_type=client_credentials"
    );
}

#[tokio::test]
async fn a_refusal_keeps_its_numbers_and_ids_and_loses_the_secret() {
    let body = format!(
        r#"{{"error":"invalid_client","error_description":"AADSTS7000215: {SECRET} is wrong","error_codes":[7000215],"trace_id":"t-1"}}"#
    );
    let server =
        Server::answering(answer("401 Unauthorized", "Retry-After: 7\r\nx-ms-request-id: x-1\r\n", &body));
    let refusal = refused(&server).await;
    assert_eq!(refusal.codes, [7_000_215]);
    assert_eq!(refusal.description, "AADSTS7000215: *** is wrong");
    assert_eq!(refusal.trace_id.as_deref(), Some("t-1"));
    assert_eq!(refusal.correlation_id.as_deref(), Some("r-1"));
    assert_eq!(refusal.retry_after, Some(TimeDelta::seconds(7)));
    assert_eq!(refusal.verdict().class, Class::Operator);
}

#[tokio::test]
async fn an_answer_that_is_none_of_entras_passes() {
    for status in ["500 Internal Server Error", "404 Not Found", "302 Found"] {
        let server = Server::answering(answer(status, "x-ms-request-id: x-1\r\n", "<html>"));
        let refusal = refused(&server).await;
        assert_eq!(refusal.verdict().class, Class::Transient, "{status}");
        assert_eq!(refusal.trace_id.as_deref(), Some("x-1"));
    }
}

#[tokio::test]
async fn an_answer_without_a_token_is_no_answer_and_is_not_quoted() {
    let huge = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(LARGEST_ANSWER));
    for body in ["", "[]", r#"{"access_token":7}"#, r#"{"refresh_token":"r-secret"}"#, &huge] {
        let server = Server::answering(answer("200 OK", "", body));
        let Err(Trouble::Unreachable(words)) = ask(&server).await else { panic!("{body:.30}") };
        assert!(!words.contains("r-secret"));
    }
}

#[tokio::test]
async fn a_host_that_is_not_there_or_hangs_up_is_told_in_words() {
    let closed = Forbidden::listen(IpAddr::V4(Ipv4Addr::LOCALHOST)).port();
    let Err(Trouble::Unreachable(words)) = ask_at(&format!("http://127.0.0.1:{closed}/")).await else {
        panic!("somebody answered")
    };
    assert!(words.contains("can't be reached"), "{words}");
    let server = Server::start(|stream, _| {
        let _written = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le");
        false
    });
    assert!(matches!(ask(&server).await, Err(Trouble::Unreachable(_))));
}

#[tokio::test]
async fn a_host_that_never_answers_is_given_up() {
    tokio::time::pause();
    let server = Server::start(|_, end| {
        end.wait();
        false
    });
    let Err(Trouble::Unreachable(words)) = ask(&server).await else { panic!("it answered") };
    assert!(words.contains("in time"), "{words}");
}
