//! The calls over real sockets: what is sent, and what is made of answers.

use std::io::Write as _;

use chrono::TimeZone as _;
use waypost_core::provider::graph::error::Meaning;

use super::*;
use crate::test_server::Server;

const ID: &str = "7f105c7d-2dc5-4530-97cd-4e7ae6534c07";
const ENTITY: &str = r#"{"id":"7f105c7d-2dc5-4530-97cd-4e7ae6534c07","resource":"users","changeType":"updated",
    "expirationDateTime":"2026-01-08T10:00:00.0000000Z","clientState":"s","newProperty":{"a":1}}"#;

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

struct Calls {
    client: TrustedClient,
    graph: Url,
    token: SecretString,
}

impl Calls {
    fn to(server: &Server) -> Self {
        let graph = Url::parse(&format!("http://{}", server.address())).unwrap();
        Self { client: TrustedClient::new(&[]).unwrap(), graph, token: "t0k".into() }
    }

    fn at(&self) -> At<'_> {
        At { graph: &self.graph, token: &self.token, now: Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap() }
    }

    async fn create(&self) -> Result<GraphSubscription, CallError> {
        let body = json!({"resource": "users"});
        let prefer = [r#"IdType="ImmutableId""#.to_owned()];
        self.client.create_subscription(self.at(), body.as_object().unwrap(), &prefer).await
    }
}

#[tokio::test]
async fn a_create_carries_token_body_preference_and_an_id_of_ours() {
    let server = Server::answering(response("201 Created", "", ENTITY));
    let made = Calls::to(&server).create().await.unwrap();
    assert_eq!((made.id.to_string().as_str(), made.change_type.as_deref()), (ID, Some("updated")));
    assert_eq!(made.expires_at, Utc.with_ymd_and_hms(2026, 1, 8, 10, 0, 0).unwrap());
    let request = server.request();
    assert_eq!(request.line, "POST /v1.0/subscriptions HTTP/1.1");
    assert_eq!(request.values("authorization"), ["Bearer t0k"]);
    assert_eq!(request.values("prefer"), [r#"IdType="ImmutableId""#]);
    assert!(Uuid::parse_str(request.values("client-request-id")[0]).is_ok());
    assert_eq!(request.body, br#"{"resource":"users"}"#);
}

#[tokio::test]
async fn a_refusal_is_told_in_graphs_words() {
    let body = r#"{"error":{"code":"TooManyRequests","message":"Slow down."}}"#;
    let server = Server::answering(response("429 Too Many", "retry-after: 9\r\nrequest-id: r1\r\n", body));
    let error = Calls::to(&server).create().await.unwrap_err();
    assert!(!error.leaves_unclear());
    let CallError::Refused(trouble) = error else { panic!("{error:?}") };
    assert_eq!(trouble.meaning, Meaning::Throttled(chrono::TimeDelta::seconds(9)));
    assert_eq!(
        (trouble.said.message.as_str(), trouble.said.request_id.as_deref()),
        ("Slow down.", Some("r1"))
    );
}

#[tokio::test]
async fn what_may_have_been_done_is_told_from_what_was_not() {
    let cut = Server::start(|stream, _| {
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 900\r\n\r\n{").unwrap();
        false
    });
    let closed = Server::start(|_, _| false);
    let nonsense = Server::answering(response("201 Created", "", "<html>"));
    let failing = Server::answering(response("502 Bad Gateway", "", ""));
    for server in [&cut, &closed, &nonsense, &failing] {
        assert!(Calls::to(server).create().await.unwrap_err().leaves_unclear());
    }
    let mut calls = Calls::to(&closed);
    calls.graph = Url::parse("http://127.0.0.1:9").unwrap();
    let error = calls.create().await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)) && !error.leaves_unclear(), "{error:?}");
}

#[tokio::test]
async fn a_list_is_read_to_its_end_and_never_elsewhere() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let elsewhere = format!(r#"{{"value":[],"@odata.nextLink":"http://{address}/next"}}"#);
    let server = Server::answering(response("200 OK", "", &elsewhere));
    let calls = Calls::to(&server);
    let error = calls.client.list_subscriptions(calls.at()).await.unwrap_err();
    assert!(matches!(error, CallError::Unclear(None)), "{error:?}");

    let pages = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |stream, _| {
        let own = stream.local_addr().unwrap();
        let body = match pages.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            // An empty first page with more behind it occurs.
            0 => {
                format!(r#"{{"value":[],"@odata.nextLink":"http://{own}/v1.0/subscriptions?$skiptoken=a"}}"#)
            }
            _ => format!(r#"{{"value":[{ENTITY}]}}"#),
        };
        stream.write_all(response("200 OK", "", &body).as_bytes()).is_ok()
    });
    let calls = Calls::to(&server);
    let found = calls.client.list_subscriptions(calls.at()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(server.requests()[1].line, "GET /v1.0/subscriptions?$skiptoken=a HTTP/1.1");
}

#[tokio::test]
async fn a_change_sends_what_changes_and_a_deletion_nothing() {
    let server = Server::answering(response("200 OK", "", ENTITY));
    let calls = Calls::to(&server);
    let end = Utc.with_ymd_and_hms(2026, 1, 8, 10, 0, 0).unwrap();
    let patch = Patch { expires_at: Some(end), ..Patch::default() };
    calls.client.patch_subscription(calls.at(), ID.parse().unwrap(), &patch).await.unwrap();
    assert_eq!(server.request().body, br#"{"expirationDateTime":"2026-01-08T10:00:00Z"}"#);

    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let calls = Calls::to(&server);
    calls.client.delete_subscription(calls.at(), ID.parse().unwrap()).await.unwrap();
    calls.client.reauthorize_subscription(calls.at(), ID.parse().unwrap()).await.unwrap();
    let lines: Vec<String> = server.requests().into_iter().map(|request| request.line).collect();
    assert_eq!(lines[0], format!("DELETE /v1.0/subscriptions/{ID} HTTP/1.1"));
    assert_eq!(lines[1], format!("POST /v1.0/subscriptions/{ID}/reauthorize HTTP/1.1"));
}
