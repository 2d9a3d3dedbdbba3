//! Graph's handshake: the token comes back as plain text, whatever else the request holds, and nothing is stored.

use reqwest::Method;
use waypost_harness::{Answer, TestApp};

const ENVIRONMENT: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

async fn ask(app: &TestApp, query: &str) -> Answer {
    let path = format!("/webhook/{ENVIRONMENT}/graph-cc?{query}");
    app.public().send(app.public().request(Method::POST, &path)).await
}

fn assert_echo(answer: &Answer, token: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text(), token);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn the_token_comes_back_decoded_as_a_form_decodes_it() {
    let app = TestApp::spawn().await;

    for (query, token) in [
        ("validationToken=plain", "plain"),
        (
            "validationToken=Validation%3a+Testing+client+application",
            "Validation: Testing client application",
        ),
        ("validationToken=a%20b%2Bc", "a b+c"),
        ("other=1&validationToken=x&more=2", "x"),
        ("validationToken=%C3%A9%E2%82%AC", "é€"),
        ("validationToken=100%", "100%"),
    ] {
        assert_echo(&ask(&app, query).await, token);
    }
}

#[tokio::test]
async fn a_token_with_html_comes_back_as_text_that_no_browser_runs() {
    let app = TestApp::spawn().await;

    let answer = ask(&app, "validationToken=%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;

    assert_echo(&answer, "<script>alert(1)</script>");
}

#[tokio::test]
async fn a_token_may_have_two_kibibytes_and_no_more() {
    let app = TestApp::spawn().await;
    let longest = "t".repeat(2048);

    assert_echo(&ask(&app, &format!("validationToken={longest}")).await, &longest);
    ask(&app, &format!("validationToken={longest}t")).await.refused(400, "invalid_validation_token");
}

#[tokio::test]
async fn the_limit_counts_the_decoded_token() {
    let app = TestApp::spawn().await;

    let answer = ask(&app, &format!("validationToken={}", "%3a".repeat(2048))).await;

    assert_echo(&answer, &":".repeat(2048));
}

#[tokio::test]
async fn an_empty_or_repeated_token_is_refused() {
    let app = TestApp::spawn().await;

    for query in ["validationToken=", "validationToken", "validationToken=a&validationToken=b"] {
        ask(&app, query).await.refused(400, "invalid_validation_token");
    }
}

#[tokio::test]
async fn no_environment_or_integration_has_to_exist() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for path in
        [tenant.ingress(), tenant.ingress_of("unknown"), format!("/webhook/{ENVIRONMENT}/graph-cc/lifecycle")]
    {
        let request = app.public().request(Method::POST, &format!("{path}?validationToken=t"));
        assert_echo(&app.public().send(request).await, "t");
    }
}

#[tokio::test]
async fn a_path_that_names_no_environment_is_refused_even_with_a_token() {
    let app = TestApp::spawn().await;

    let request = app.public().request(Method::POST, "/webhook/not-a-uuid/graph-cc?validationToken=t");

    app.public().send(request).await.refused(400, "invalid_uri_params");
}

#[tokio::test]
async fn the_body_of_a_handshake_is_neither_read_nor_stored() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let path = format!("{}?validationToken=t", tenant.ingress());
    let body = tenant.notification(waypost_harness::notification::TENANT);

    assert_echo(&app.public().post(&path, &body).await, "t");
    assert_echo(&app.public().post_bytes(&path, "not { JSON").await, "t");

    assert!(tenant.list("/events").await.is_empty());
    assert!(tenant.list("/rejections").await.is_empty());
}

#[tokio::test]
async fn a_get_is_no_handshake() {
    let app = TestApp::spawn().await;

    let answer = app.public().get(&format!("/webhook/{ENVIRONMENT}/graph-cc?validationToken=t")).await;

    answer.refused(405, "method_not_allowed");
}
