//! HEAD, which is answered as GET is, on both listeners; and queries that nobody reads.

use reqwest::Method;
use waypost_harness::{Client, TestApp};

use crate::openapi::{document, operations};

async fn head(client: &Client, path: &str) -> waypost_harness::Answer {
    client.send(client.request(Method::HEAD, path)).await
}

#[tokio::test]
async fn head_is_answered_as_get_is_without_the_body() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let below = app.admin().below(&format!("/admin/environments/{}", tenant.environment));

    for (client, path) in [
        (&app.public(), "/health/live"),
        (&app.instance().admin(), "/health/ready"),
        (&tenant.api, "/endpoints"),
        (&tenant.api, "/integrations/graph-cc"),
        (&tenant.api, "/integrations/nothing"),
        (&tenant.api, "/events?limit=0"),
        (&app.public(), "/endpoints"),
        (&app.admin(), "/admin/queue"),
        (&below, "/connections"),
    ] {
        let (got, headed) = (client.get(path).await, head(client, path).await);
        assert_eq!(headed.status, got.status, "{path}");
        assert_eq!(headed.header("content-type"), got.header("content-type"), "{path}");
        assert_eq!(headed.header("content-length"), got.body.len().to_string(), "{path}");
        assert!(headed.body.is_empty() && !headed.header("request-id").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn head_is_refused_where_get_is() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    let rotation = head(&tenant.api, "/environment/webhook-signing-key/rotate").await;
    assert_eq!((rotation.status, rotation.header("allow")), (405, "POST"));
    let ingress = head(&app.public(), &format!("/webhook/{}/graph-cc", tenant.environment)).await;
    assert_eq!((ingress.status, ingress.header("allow")), (405, "POST"));
    assert_eq!(head(&tenant.api, "/nothing").await.status, 404);
    let put = tenant.api.send(tenant.api.request(Method::PUT, "/events")).await;
    put.refused(405, "method_not_allowed");
    assert_eq!(put.header("allow"), "GET, HEAD");
}

#[tokio::test]
async fn an_unknown_query_parameter_is_refused_by_every_operation() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    // What is proxied has the query of its target; the session of a link is asked for with a token of its own.
    let other = |path: &str| path.starts_with("/proxy") || path == "/connect/session";
    let all = operations(&document(&app).await);
    for operation in all.iter().filter(|operation| !operation.open && !other(&operation.path)) {
        let client = if operation.is_admin() { app.admin() } else { tenant.api.clone() };
        let path = operation.path.replace("{environment}", &tenant.environment);
        let path = path.replace("{id}", "nothing").replace("{unique_key}", "nothing");
        let path = path.replace("{connection_id}", "nothing").replace("{key}", "nothing");
        let method: Method = operation.method.parse().unwrap();
        let request = client.request(method, &format!("{path}?colour=red"));

        let answer = client.send(request).await;

        // An id that can't be one is unknown before anything else is read.
        if answer.status != 404 || !operation.path.contains("{id}") {
            let refused = answer.refused(400, "invalid_query_params");
            assert_eq!(refused["error"]["errors"][0]["path"][0], "colour", "{operation:?}: {refused}");
        }
    }
}
