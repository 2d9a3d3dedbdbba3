//! Against a real socket on loopback that answers as a sign-in host does.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::test_server::{Forbidden, Server};

const TENANT: &str = "11111111-2222-4333-8444-555555555555";

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn resolve(server: &Server, name: &str) -> Result<TenantId, TenantError> {
    let client = TrustedClient::new(&[]).unwrap();
    let login = Url::parse(&format!("http://{}/", server.address())).unwrap();
    client.resolve_tenant(&login, name).await
}

#[tokio::test]
async fn a_domain_is_resolved_to_the_guid_in_its_issuer() {
    let document = format!(r#"{{"issuer":"https://login.example/{}/v2.0"}}"#, TENANT.to_uppercase());
    let server = Server::answering(answer("200 OK", &document));
    assert_eq!(resolve(&server, "Contoso.onmicrosoft.com").await.unwrap().to_string(), TENANT);
    let line = server.request().line;
    assert_eq!(line, "GET /Contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration HTTP/1.1");
}

#[tokio::test]
async fn the_token_endpoint_names_the_tenant_when_the_issuer_does_not() {
    let document = format!(
        r#"{{"issuer":"https://login.example/{{tenantid}}/v2.0","token_endpoint":"https://login.example/{TENANT}/oauth2/v2.0/token"}}"#
    );
    let server = Server::answering(answer("200 OK", &document));
    assert_eq!(resolve(&server, "contoso.com").await.unwrap().to_string(), TENANT);
}

#[tokio::test]
async fn a_guid_and_a_name_that_is_no_domain_need_no_call() {
    let server = Server::answering("");
    assert_eq!(resolve(&server, TENANT).await.unwrap().to_string(), TENANT);
    for name in [
        "",
        "common",
        "a..b",
        "../x.y",
        "a.b/c",
        "a.b?c",
        "contoso.com#",
        "ä.com",
        "a.b%2f",
        &"a.".repeat(200),
    ] {
        assert!(matches!(resolve(&server, name).await, Err(TenantError::Name)), "{name}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn an_unknown_tenant_is_told_apart_from_a_host_in_trouble() {
    let refusal =
        answer("400 Bad Request", r#"{"error":"invalid_tenant","error_description":"AADSTS90002"}"#);
    let server = Server::answering(refusal);
    assert!(matches!(resolve(&server, "nobody.example").await, Err(TenantError::Unknown)));
    for (status, body) in
        [("400 Bad Request", "<html>"), ("503 Service Unavailable", "{}"), ("404 Not Found", "{}")]
    {
        let server = Server::answering(answer(status, body));
        let found = resolve(&server, "contoso.com").await;
        assert!(
            matches!(found, Err(TenantError::Status(code)) if status.starts_with(&code.to_string())),
            "{status}"
        );
    }
    let closed = Forbidden::listen(IpAddr::V4(Ipv4Addr::LOCALHOST)).port();
    let login = Url::parse(&format!("http://127.0.0.1:{closed}/")).unwrap();
    let found = TrustedClient::new(&[]).unwrap().resolve_tenant(&login, "contoso.com").await;
    assert!(matches!(found, Err(TenantError::Unreachable(_))));
}

#[tokio::test]
async fn an_answer_without_a_tenant_or_without_an_end_is_refused() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"issuer":7}"#,
        r#"{"issuer":"nonsense"}"#,
        r#"{"issuer":"https://x/common/v2.0"}"#,
    ] {
        let server = Server::answering(answer("200 OK", body));
        assert!(matches!(resolve(&server, "contoso.com").await, Err(TenantError::Answer)), "{body}");
    }
    let huge = format!(r#"{{"issuer":"https://x/{TENANT}/v2.0","x":"{}"}}"#, "x".repeat(LARGEST_DOCUMENT));
    let server = Server::answering(answer("200 OK", &huge));
    assert!(matches!(resolve(&server, "contoso.com").await, Err(TenantError::Incomplete)));
}

#[tokio::test]
async fn a_redirect_within_the_host_is_followed_but_not_for_ever() {
    let document = answer("200 OK", &format!(r#"{{"issuer":"https://x/{TENANT}/v2.0"}}"#));
    let hop = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    for (hops, resolved) in [(1, true), (3, true), (4, false)] {
        let (document, left) = (document.clone(), AtomicUsize::new(hops));
        let server = Server::start(move |stream, _| {
            let done = left.load(Ordering::SeqCst) == 0;
            left.fetch_sub(usize::from(!done), Ordering::SeqCst);
            stream.write_all(if done { document.as_bytes() } else { hop.as_bytes() }).is_ok()
        });
        assert_eq!(resolve(&server, "contoso.com").await.is_ok(), resolved, "{hops} hops");
    }
}

#[tokio::test]
async fn a_redirect_off_the_host_is_not_followed() {
    let elsewhere = Forbidden::listen(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = elsewhere.port();
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{port}/x\r\ncontent-length: 0\r\n\r\n");
    let server = Server::answering(redirect);
    assert!(matches!(resolve(&server, "contoso.com").await, Err(TenantError::Status(302))));
    elsewhere.assert_untouched();
}
