//! Reading resources, alone and in a batch, from a server that answers as told.

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use secrecy::SecretString;
use waypost_core::provider::graph::error::Meaning;

use super::*;
use crate::test_server::Server;

const LIMIT: Duration = Duration::from_secs(10);

fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 12, 0, 0).unwrap()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn target(resource: &str) -> Target {
    Target::parse(resource, None).unwrap()
}

async fn read(server: &Server, resource: &str, select: Option<&str>) -> Answer {
    let graph = Url::parse(&format!("http://{}/graph/", server.address())).unwrap();
    let (token, select) = (SecretString::from("t0ken"), select.map(|list| Select::parse(list).unwrap()));
    let at = At { graph: &graph, token: &token, now: noon() };
    TrustedClient::new(&[]).unwrap().read_resource(at, &target(resource), select.as_ref(), LIMIT).await
}

async fn read_batch(server: &Server, resources: &[&str]) -> Option<Vec<Answer>> {
    let graph = Url::parse(&format!("http://{}/", server.address())).unwrap();
    let token = SecretString::from("t0ken");
    let at = At { graph: &graph, token: &token, now: noon() };
    let targets: Vec<Target> = resources.iter().map(|resource| target(resource)).collect();
    let targets: Vec<&Target> = targets.iter().collect();
    TrustedClient::new(&[]).unwrap().read_resources(at, &targets, None, LIMIT).await
}

fn text(answer: &Answer) -> &str {
    match answer {
        Answer::Found(content) => std::str::from_utf8(content.bytes()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_resource_is_read_with_the_token_and_what_it_needs() {
    let server = Server::answering(answer("200 OK", "", r#"{"subject":"x"}"#));
    assert_eq!(text(&read(&server, "Users/1/Messages/a=", Some("subject")).await), r#"{"subject":"x"}"#);
    read(&server, "beta/chats('1')/messages('2')", None).await;
    let requests = server.requests();
    assert_eq!(requests[0].line, "GET /graph/v1.0/Users/1/Messages/a=?$select=subject HTTP/1.1");
    assert_eq!(requests[0].values("prefer"), [IMMUTABLE_IDS]);
    assert_eq!(requests[0].values("authorization"), ["Bearer t0ken"]);
    assert_eq!(requests[1].line, "GET /graph/beta/chats('1')/messages('2') HTTP/1.1");
    assert!(requests[1].values("prefer").is_empty());
}

#[tokio::test]
async fn refusals_keep_graphs_words_and_its_wait() {
    let gone = r#"{"error":{"code":"ErrorItemNotFound","message":"Gone."}}"#;
    let Answer::Refused(trouble) =
        read(&Server::answering(answer("404 Not Found", "", gone)), "users/1", None).await
    else {
        panic!("it is refused")
    };
    assert_eq!((trouble.said.status, trouble.said.code.as_str()), (404, "ErrorItemNotFound"));
    let busy = Server::answering(answer("429 Too Many Requests", "retry-after: 7\r\n", "{}"));
    let Answer::Refused(trouble) = read(&busy, "users/1", None).await else { panic!("it is refused") };
    assert_eq!(trouble.meaning, Meaning::Throttled(TimeDelta::seconds(7)));
}

#[tokio::test]
async fn a_large_a_broken_and_an_absent_answer_are_told_apart() {
    let fits = format!("\"{}\"", "x".repeat(LARGEST_RESOURCE - 2));
    assert!(matches!(
        read(&Server::answering(answer("200 OK", "", &fits)), "users/1", None).await,
        Answer::Found(_)
    ));
    let more = format!("{fits} ");
    assert!(matches!(
        read(&Server::answering(answer("200 OK", "", &more)), "users/1", None).await,
        Answer::TooLarge
    ));
    let broken = Server::start(|stream, _| {
        std::io::Write::write_all(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{").unwrap();
        false
    });
    assert!(matches!(read(&broken, "users/1", None).await, Answer::None));
    let silent = Server::start(|_, _| false);
    assert!(matches!(read(&silent, "users/1", None).await, Answer::None));
}

#[tokio::test]
async fn a_batch_answers_each_part_by_itself() {
    let body = json!({"responses": [
        {"id": "2", "status": 429, "headers": {"Retry-After": "9"}, "body": {"error": {"code": "TooManyRequests"}}},
        {"id": "0", "status": 200, "headers": {}, "body": {"b": 1, "a": "\u{e9}"}},
        {"id": "1", "status": 404, "body": {"error": {"code": "ErrorItemNotFound", "message": "Gone."}}},
    ]});
    let server = Server::answering(answer("200 OK", "", &body.to_string()));
    let answers =
        read_batch(&server, &["users/1/messages/2", "users/2", "users/3", "users/4"]).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(text(&answers[0])).unwrap(), json!({"a": "\u{e9}", "b": 1}));
    assert!(matches!(&answers[1], Answer::Refused(trouble) if trouble.said.code == "ErrorItemNotFound"));
    assert!(
        matches!(&answers[2], Answer::Refused(trouble) if trouble.meaning == Meaning::Throttled(TimeDelta::seconds(9)))
    );
    assert!(matches!(&answers[3], Answer::None), "a part without an answer");
    let request = server.request();
    assert_eq!(request.line, "POST /v1.0/$batch HTTP/1.1");
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(sent["requests"][0]["headers"]["Prefer"], IMMUTABLE_IDS);
    assert_eq!(sent["requests"][3], json!({"id": "3", "method": "GET", "url": "/users/4"}));
}

#[tokio::test]
async fn a_batch_that_fails_fails_for_all_and_one_that_is_too_large_says_so() {
    let busy = Server::answering(answer("429 Too Many Requests", "retry-after: 3\r\n", "{}"));
    let answers = read_batch(&busy, &["users/1", "users/2"]).await.unwrap();
    assert!(
        answers.iter().all(|answer| matches!(answer, Answer::Refused(trouble) if trouble.said.status == 429))
    );
    let huge = format!("\"{}\"", "x".repeat(LARGEST_BATCH));
    assert!(read_batch(&Server::answering(answer("200 OK", "", &huge)), &["users/1"]).await.is_none());
    let page = Server::answering(answer("200 OK", "", "<html>"));
    assert!(matches!(read_batch(&page, &["users/1"]).await.unwrap()[..], [Answer::None]));
}

#[test]
fn an_address_that_would_not_be_graphs_is_none() {
    let graph = Url::parse("https://graph.example/base/").unwrap();
    let address = below(&graph, Version::V1, "/users/1").unwrap();
    assert_eq!(address.as_str(), "https://graph.example/base/v1.0/users/1");
    for path in ["/../users", "/users/../x", "/a\\b", "/a b"] {
        assert_eq!(below(&graph, Version::V1, path), None, "{path}");
    }
}
