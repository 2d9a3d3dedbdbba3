//! The proxy: Nango's headers and errors, what goes upstream and what comes back. The provider is a recording server.

use std::net::Ipv4Addr;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use waypost_harness::{Answer, Received, Receiver, Reply, Tenant, TestApp, notification};

struct Scene {
    app: TestApp,
    tenant: Tenant,
    provider: Receiver,
}

/// A connection whose provider records what it gets.
async fn scene() -> Scene {
    let provider = Receiver::bystander().await;
    let base = provider.at("/");
    let app = TestApp::spawn_with(|settings| settings.graph.base_url = base.parse().unwrap()).await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", notification::TENANT).await;
    Scene { app, tenant, provider }
}

impl Scene {
    /// A call as the connection, with further headers and a body.
    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.call_as("conn-1", (method, path), headers, body).await
    }

    async fn call_as(
        &self,
        connection: &str,
        (method, path): (Method, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = self.tenant.api.request(method, path);
        request = request.header("Provider-Config-Key", "graph-cc").header("Connection-Id", connection);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.body(body.to_vec());
        }
        self.tenant.api.send(request).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::GET, path, headers, b"").await
    }

    fn last(&self) -> Received {
        self.provider.received().pop().unwrap()
    }
}

fn missing(header: &str) -> Value {
    json!({"code": "invalid_type", "message": "Invalid input: expected string, received undefined", "path": [header]})
}

#[tokio::test]
async fn a_call_without_a_key_or_without_the_scope_is_refused_before_anything_else() {
    let scene = scene().await;
    scene.app.public().get("/proxy/v1.0/me").await.refused(401, "missing_auth_header");
    scene.app.public().get("/proxy?x=y").await.refused(401, "missing_auth_header");
    let keys = format!("/admin/environments/{}/api-keys", scene.tenant.environment);
    let wish = json!({"display_name": "reader", "scopes": ["environment:events:read"]});
    let made = scene.app.admin().post(&keys, &wish).await.expect(201);
    let reader = scene.app.public().with_token(made["secret"].as_str().unwrap());
    reader.get("/proxy/v1.0/me").await.refused(403, "forbidden");
    assert_eq!(scene.provider.count(), 0);
}

#[tokio::test]
async fn missing_headers_are_told_as_nango_tells_them() {
    let scene = scene().await;
    let refused = scene.tenant.api.get("/proxy/v1.0/me").await.refused(400, "invalid_headers");
    assert_eq!(refused["error"]["errors"], json!([missing("provider-config-key"), missing("connection-id")]));
    let request = scene.tenant.api.request(Method::GET, "/proxy/v1.0/me").header("connection-id", "conn-1");
    let refused = scene.tenant.api.send(request).await.refused(400, "invalid_headers");
    assert_eq!(refused["error"]["errors"], json!([missing("provider-config-key")]));
}

#[tokio::test]
async fn invalid_headers_are_told_one_by_one() {
    let scene = scene().await;
    for (name, value, code, message) in [
        ("retries", "many", "invalid_type", "Invalid input: expected number, received NaN"),
        ("retry-on", "4,x", "invalid_format", "Invalid string: must match pattern /^\\d+(,\\d+)*$/"),
        ("decompress", "yes", "invalid_value", "Invalid option: expected one of \"true\"|\"false\""),
        ("base-url-override", "nowhere", "invalid_union", "Invalid input"),
    ] {
        let refused = scene.get("/proxy/x", &[(name, value)]).await.refused(400, "invalid_headers");
        let wanted = json!([{"code": code, "message": message, "path": [name]}]);
        assert_eq!(refused["error"]["errors"], wanted);
    }
    for name in ["Nango-Proxy-Host", "nango-proxy-connection", "Nango-Proxy-Transfer-Encoding"] {
        let refused = scene.get("/proxy/x", &[(name, "x")]).await.refused(400, "invalid_headers");
        assert_eq!(refused["error"]["errors"][0]["path"], json!([name.to_lowercase()]));
    }
    assert_eq!(scene.provider.count(), 0);
}

#[tokio::test]
async fn an_unknown_integration_or_connection_is_told_in_nangos_words() {
    let scene = scene().await;
    let request = scene.tenant.api.request(Method::GET, "/proxy/v1.0/me");
    let request = request.header("Provider-Config-Key", "nothing").header("Connection-Id", "conn-1");
    let unknown = scene.tenant.api.send(request).await.expect(404);
    assert_eq!(
        unknown,
        json!({"error": {
            "code": "unknown_provider_config",
            "message": "Provider config not found for the given provider config key. Please make sure the provider config \
                        exists in the Nango dashboard.",
        }})
    );
    let unknown = scene.call_as("nobody", (Method::GET, "/proxy/x"), &[], b"").await.expect(400);
    assert_eq!(unknown, json!({"error": {"code": "server_error", "message": "Failed to get connection"}}));
    let stranger = scene.app.tenant("other").await;
    let request = stranger.api.request(Method::GET, "/proxy/x");
    let request = request.header("Provider-Config-Key", "graph-cc").header("Connection-Id", "conn-1");
    stranger.api.send(request).await.refused(400, "server_error");
    assert_eq!(scene.provider.count(), 0);
}

#[tokio::test]
async fn path_query_and_token_reach_the_provider_and_nothing_else_of_the_caller_does() {
    let scene = scene().await;
    scene.provider.answer(Reply::status(200).header("content-type", "application/json").body("{\"id\":1}"));
    let headers = [
        ("Nango-Proxy-Prefer", "IdType=\"ImmutableId\""),
        ("nango-proxy-consistencylevel", "eventual"),
        ("Retries", "0"),
        ("Retry-On", "404"),
        ("Base-Url-Override", ""),
        ("Decompress", "false"),
        ("Forward-Headers-On-Redirect", "false"),
        ("Nango-Activity-Log-Id", ""),
        ("Nango-Is-Sync", "false"),
        ("Nango-Is-Dry-Run", "false"),
        ("Cookie", "a=b"),
        ("X-Mine", "no"),
    ];

    let answer = scene.get("/proxy/v1.0/users/a%2Fb?$top=1&x=a%20b", &headers).await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"id\":1}"));
    let got = scene.last();
    assert_eq!((got.method.as_str(), got.path.as_str()), ("GET", "/v1.0/users/a%2Fb?$top=1&x=a%20b"));
    assert_eq!(got.header("authorization"), "Bearer token-that-nobody-should-see");
    assert_eq!(got.header("prefer"), "IdType=\"ImmutableId\"");
    assert_eq!(got.header("consistencylevel"), "eventual");
    let mut names: Vec<&str> = got.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "authorization", "consistencylevel", "host", "prefer", "user-agent"]);
    let logs = scene.app.logs();
    assert!(logs.contains("a call was passed on"));
    for secret in ["token-that-nobody-should-see", "users/a%2Fb", "x=a%20b"] {
        assert!(!logs.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_query_alone_and_an_absolute_url_below_the_base_find_their_way() {
    let scene = scene().await;
    scene.get("/proxy?x=y", &[]).await.expect(200);
    assert_eq!(scene.last().path, "/?x=y");
    scene.get("/proxy", &[]).await.expect(200);
    assert_eq!(scene.last().path, "/");
    let next = scene.provider.at("/v1.0/users?$skiptoken=abc");
    scene.get(&format!("/proxy/{next}"), &[]).await.expect(200);
    assert_eq!(scene.last().path, "/v1.0/users?$skiptoken=abc");
    for endpoint in [
        next.replace("127.0.0.1", "127.0.0.1.evil.example"),
        next.replace("http://", "http://user@"),
        "https://evil.example/v1.0/me".to_owned(),
    ] {
        scene.get(&format!("/proxy/{endpoint}"), &[]).await.refused(400, "invalid_uri_params");
    }
    assert_eq!(scene.provider.count(), 3);
}

#[tokio::test]
async fn placeholders_are_filled_in_from_the_connection() {
    let scene = scene().await;
    let tenant = notification::TENANT;
    scene
        .get("/proxy/v1.0/${connectionConfig.tenantId}/x?t=$%7BconnectionConfig.tenantId%7D", &[])
        .await
        .expect(200);
    assert_eq!(scene.last().path, format!("/v1.0/{tenant}/x?t={tenant}"));
    scene.get("/proxy/${connectionConfig.other}", &[]).await.refused(400, "invalid_uri_params");
}

#[tokio::test]
async fn bodies_go_through_byte_for_byte_with_their_type_and_only_where_they_mean_something() {
    let scene = scene().await;
    let odd = b"{ \"big\" : 12345678901234567890.10, \"big\" : 1 }";
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        scene
            .call(method.clone(), "/proxy/x", &[("content-type", "application/json")], odd)
            .await
            .expect(200);
        let got = scene.last();
        assert_eq!((got.method.as_str(), got.body.as_slice()), (method.as_str(), odd.as_slice()));
        assert_eq!(got.header("content-type"), "application/json");
    }
    scene.call(Method::POST, "/proxy/x", &[], odd).await.expect(200);
    assert_eq!(scene.last().header("content-type"), "application/json");
    let form = "multipart/form-data; boundary=b";
    let parts =
        b"--b\r\ncontent-disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n\x00\xff\r\n--b--\r\n";
    scene.call(Method::POST, "/proxy/x", &[("content-type", form)], parts).await.expect(200);
    assert_eq!((scene.last().header("content-type"), scene.last().body.as_slice()), (form, parts.as_slice()));
    let headers = [("content-type", "application/octet-stream"), ("Nango-Proxy-Content-Type", "image/png")];
    scene.call(Method::PUT, "/proxy/x", &headers, b"\x89PNG\x00").await.expect(200);
    assert_eq!(
        (scene.last().header("content-type"), scene.last().body.as_slice()),
        ("image/png", b"\x89PNG\x00".as_slice())
    );
    scene.call(Method::POST, "/proxy/x", &[], b"").await.expect(200);
    assert_eq!(scene.last().header("content-length"), "0");
    scene.call(Method::GET, "/proxy/x", &[("content-type", "application/json")], odd).await.expect(200);
    assert!(scene.last().body.is_empty());
    let compressed = [("content-encoding", "gzip")];
    scene
        .call(Method::POST, "/proxy/x", &compressed, b"..")
        .await
        .refused(415, "unsupported_content_encoding");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_a_large_one_arrives_whole() {
    let scene = scene().await;
    let large = vec![b'x'; 3 * 1024 * 1024];
    scene
        .call(Method::PUT, "/proxy/x", &[("content-type", "application/octet-stream")], &large)
        .await
        .expect(200);
    let got = scene.last();
    assert_eq!((got.header("content-length"), got.body.len()), ("3145728", large.len()));
    let body = vec![b'x'; 64 * 1024 * 1024 + 1];
    scene.call(Method::PUT, "/proxy/x", &[], &body).await.refused(413, "payload_too_large");
    assert_eq!(scene.provider.count(), 1);
}

#[tokio::test]
async fn what_the_provider_answers_comes_back_as_it_is() {
    let scene = scene().await;
    let error = "{\"error\":{\"code\":\"ErrorItemNotFound\",\"message\":\"gone\"}}";
    for status in [200, 201, 202, 400, 403, 404, 409, 412, 500, 503, 509] {
        let reply = Reply::status(status)
            .header("content-type", "application/json; odata.metadata=minimal")
            .header("request-id", "7f2b")
            .header("retry-after", "1")
            .header("link", "<next>")
            .header("connection", "keep-alive, x-hop")
            .header("x-hop", "1")
            .header("set-cookie", "a=b")
            .header("access-control-allow-origin", "*")
            .header("strict-transport-security", "max-age=1")
            .body(error);
        scene.provider.script([reply]);
        let answer = scene.get("/proxy/x", &[]).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, error));
        assert_eq!(answer.header("content-type"), "application/json; odata.metadata=minimal");
        assert_eq!((answer.header("request-id"), answer.header("link")), ("7f2b", "<next>"));
        assert_eq!(
            (answer.header("retry-after"), answer.header("content-length")),
            ("1", error.len().to_string().as_str())
        );
        assert!(!answer.header("waypost-request-id").is_empty());
        for name in ["x-hop", "set-cookie", "access-control-allow-origin", "strict-transport-security"] {
            assert_eq!(answer.header(name), "", "{name}");
        }
    }
    scene.provider.script([Reply::status(204)]);
    let answer = scene.call(Method::DELETE, "/proxy/x", &[], b"").await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
}

#[tokio::test]
async fn other_methods_than_these_are_not_taken_and_the_admin_listener_has_no_proxy() {
    let scene = scene().await;
    for (method, answered) in [(Method::OPTIONS, 200), (Method::HEAD, 200), (Method::TRACE, 405)] {
        let answer = scene.call(method.clone(), "/proxy/v1.0/me", &[], b"").await;
        assert_eq!(answer.status, answered, "{method}");
    }
    assert_eq!(scene.provider.count(), 2);
    let mirror = format!("/admin/environments/{}/proxy/v1.0/me", scene.tenant.environment);
    scene.app.admin().get(&mirror).await.refused(404, "not_found");
}

#[tokio::test]
async fn an_authorization_of_the_callers_own_takes_the_place_of_the_token() {
    let scene = scene().await;
    scene.get("/proxy/x", &[("Nango-Proxy-Authorization", "Bearer mine")]).await.expect(200);
    let got = scene.last();
    assert_eq!(got.headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer mine"]);
    scene.provider.script([Reply::status(401)]);
    let refused = scene.get("/proxy/x", &[("Nango-Proxy-Authorization", "Bearer mine")]).await;
    assert_eq!((refused.status, scene.provider.count()), (401, 2));
}

#[tokio::test]
async fn another_host_gets_a_token_only_where_the_integration_names_it() {
    let scene = scene().await;
    let other = Receiver::bystander().await;
    let base = other.at("/base/");
    let over = [("Base-Url-Override", base.as_str())];
    scene.get("/proxy/x", &over).await.refused(400, "base_url_override_not_allowed");

    let own = [over[0], ("Nango-Proxy-Authorization", "Basic mine")];
    scene.get("/proxy/x", &own).await.expect(200);
    let got = other.received().pop().unwrap();
    assert_eq!((got.path.as_str(), got.header("authorization")), ("/base/x", "Basic mine"));

    let host = base.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let wish = json!({"integration_config": {"proxy_token_hosts": [host]}});
    let changed = scene.tenant.api.patch("/integrations/graph-cc", &wish).await.expect(200);
    assert_eq!(changed["data"]["integration_config"]["proxy_token_hosts"], json!([host]));
    scene.get("/proxy/x?y=z", &over).await.expect(200);
    let got = other.received().pop().unwrap();
    assert_eq!(
        (got.path.as_str(), got.header("authorization")),
        ("/base/x?y=z", "Bearer token-that-nobody-should-see")
    );
    let home = scene.provider.at("/");
    scene.get("/proxy/x", &[("Base-Url-Override", &home)]).await.expect(200);
    assert_eq!((scene.provider.count(), other.count()), (1, 2));
}

#[tokio::test]
async fn no_override_leads_into_a_closed_network_or_out_of_https() {
    let scene = scene().await;
    let hosts = json!({"integration_config": {"proxy_token_hosts": ["10.0.0.1", "169.254.169.254", "[::1]:1", "8.8.8.8"]}});
    scene.tenant.api.patch("/integrations/graph-cc", &hosts).await.expect(200);
    for base in
        ["https://10.0.0.1", "https://169.254.169.254", "https://[::1]:1", "http://8.8.8.8", "ftp://8.8.8.8"]
    {
        scene
            .get("/proxy/x", &[("Base-Url-Override", base)])
            .await
            .refused(400, "base_url_override_not_allowed");
    }
    let wish = json!({"integration_config": {"proxy_token_hosts": ["https://a.example/"]}});
    scene.tenant.api.patch("/integrations/graph-cc", &wish).await.refused(400, "invalid_body");
}

#[tokio::test]
async fn a_redirect_is_followed_on_the_providers_host_and_handed_back_where_it_leaves() {
    let scene = scene().await;
    let other = Receiver::bystander().await;
    let away = other.at("/content");
    scene.provider.script([Reply::redirect(302, &away)]);
    let answer = scene.get("/proxy/v1.0/file", &[]).await;
    assert_eq!((answer.status, answer.header("location")), (302, away.as_str()));
    scene.provider.script([Reply::redirect(307, "/v1.0/there"), Reply::status(200).body("there")]);
    let answer = scene.get("/proxy/v1.0/here", &[]).await;
    assert_eq!(
        (answer.status, answer.text().as_str(), scene.last().path.as_str()),
        (200, "there", "/v1.0/there")
    );
    assert_eq!(other.count(), 0);
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_provider_asks_and_a_status_is_retried_where_it_is_named() {
    let scene = scene().await;
    scene.provider.script([Reply::throttled("1"), Reply::status(200).body("done")]);
    let answer = scene.call(Method::POST, "/proxy/x", &[("Retries", "1")], b"{}").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    let got = scene.provider.received();
    assert!(got[1].at - got[0].at >= std::time::Duration::from_secs(1));
    assert_eq!((got[0].body.as_slice(), got[1].body.as_slice()), (b"{}".as_slice(), b"{}".as_slice()));

    let busy = Reply::status(409).header("retry-after", "1");
    scene.provider.script([busy.clone(), Reply::status(200)]);
    assert_eq!(scene.get("/proxy/x", &[("Retries", "2"), ("Retry-On", "409")]).await.status, 200);
    scene.provider.script([busy]);
    assert_eq!(scene.get("/proxy/x", &[("Retries", "2")]).await.status, 409);
    scene.provider.script([Reply::throttled("1")]);
    assert_eq!(scene.get("/proxy/x", &[]).await.status, 429);
    scene.provider.script([Reply::throttled("86400")]);
    assert_eq!(scene.get("/proxy/x", &[("Retries", "2")]).await.status, 429, "a day is not sat out");
    assert_eq!(scene.provider.count(), 7);
}

#[tokio::test]
async fn a_provider_out_of_reach_is_a_502() {
    let scene = scene().await;
    scene.provider.script([Reply::reset()]);
    scene.get("/proxy/x", &[]).await.refused(502, "upstream_unreachable");
    let unreachable = TestApp::spawn().await;
    let tenant = unreachable.tenant("acme").await;
    tenant.connection("conn-1", notification::TENANT).await;
    let request = tenant.api.request(Method::GET, "/proxy/x");
    let request = request.header("Provider-Config-Key", "graph-cc").header("Connection-Id", "conn-1");
    tenant.api.send(request).await.refused(502, "upstream_unreachable");
}

#[tokio::test]
async fn metrics_count_calls_by_the_providers_status_and_what_the_proxy_adds() {
    let scene = scene().await;
    scene.get("/proxy/x", &[]).await.expect(200);
    let metrics = scene.app.instance().admin().get("/metrics").await.text();
    assert!(metrics.contains("waypost_proxy_calls_total{status=\"2xx\"}"), "{metrics}");
    assert!(metrics.contains("waypost_proxy_added_seconds_bucket"), "{metrics}");
}

/// A provider that is spoken to byte by byte.
async fn by_hand(edit: impl FnOnce(&mut waypost::config::Settings)) -> (TcpListener, TestApp, Tenant) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let app = TestApp::spawn_with(|settings| {
        settings.graph.base_url = base.parse().unwrap();
        edit(settings);
    })
    .await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", notification::TENANT).await;
    (listener, app, tenant)
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream
}

fn head_of_call(tenant: &Tenant, method: &str) -> String {
    format!(
        "{method} /proxy/x HTTP/1.1\r\nhost: w\r\nauthorization: Bearer {}\r\nprovider-config-key: graph-cc\r\n\
         connection-id: conn-1\r\n",
        tenant.key
    )
}

#[tokio::test]
async fn an_answer_is_passed_on_piece_by_piece_while_it_still_comes() {
    let (listener, app, tenant) = by_hand(|_| {}).await;
    let mut caller = TcpStream::connect(app.instance().public_address()).await.unwrap();
    caller.write_all(format!("{}\r\n", head_of_call(&tenant, "GET")).as_bytes()).await.unwrap();
    let mut provider = accepted(&listener).await;
    provider.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.unwrap();

    // The provider goes on only after the caller has the first piece: nothing in between may wait for the whole.
    let mut seen = Vec::new();
    while !seen.windows(5).any(|window| window == b"first") {
        seen.push(caller.read_u8().await.unwrap());
    }
    provider.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    while !seen.ends_with(b"0\r\n\r\n") {
        seen.push(caller.read_u8().await.unwrap());
    }
    assert!(seen.windows(6).any(|window| window == b"second"));
}

#[tokio::test]
async fn a_large_body_is_passed_on_while_it_still_comes() {
    let (listener, app, tenant) = by_hand(|_| {}).await;
    let mut caller = TcpStream::connect(app.instance().public_address()).await.unwrap();
    let (half, length) = (vec![b'a'; 1024 * 1024], 2 * 1024 * 1024);
    let head = format!("{}content-length: {length}\r\n\r\n", head_of_call(&tenant, "PUT"));
    caller.write_all(head.as_bytes()).await.unwrap();
    caller.write_all(&half).await.unwrap();

    // The provider has all of the first half before the caller sends any of the second.
    let mut provider = accepted(&listener).await;
    let mut got = vec![0; half.len()];
    provider.read_exact(&mut got).await.unwrap();
    caller.write_all(&half).await.unwrap();
    provider.read_exact(&mut got).await.unwrap();
    provider.write_all(b"HTTP/1.1 201 Made\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    caller.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 201");
}

#[tokio::test]
async fn a_head_tells_the_length_that_a_get_would_have() {
    let (listener, app, tenant) = by_hand(|_| {}).await;
    let mut caller = TcpStream::connect(app.instance().public_address()).await.unwrap();
    caller
        .write_all(format!("{}connection: close\r\n\r\n", head_of_call(&tenant, "HEAD")).as_bytes())
        .await
        .unwrap();
    let mut provider = accepted(&listener).await;
    provider.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4711\r\netag: \"1\"\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("content-length: 4711\r\n") && answer.contains("etag: \"1\"\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_caller_too() {
    let (listener, app, tenant) = by_hand(|_| {}).await;
    let mut caller = TcpStream::connect(app.instance().public_address()).await.unwrap();
    caller.write_all(format!("{}\r\n", head_of_call(&tenant, "GET")).as_bytes()).await.unwrap();
    let mut provider = accepted(&listener).await;
    provider.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
    drop(provider);
    let mut answer = Vec::new();
    caller.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(b"half"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_the_call_at_the_provider() {
    let (listener, app, tenant) = by_hand(|_| {}).await;
    let mut caller = TcpStream::connect(app.instance().public_address()).await.unwrap();
    caller.write_all(format!("{}\r\n", head_of_call(&tenant, "GET")).as_bytes()).await.unwrap();
    let mut provider = accepted(&listener).await;
    drop(caller);
    // The end of the connection, seen from the provider, which has answered nothing.
    assert_eq!(provider.read(&mut [0]).await.unwrap(), 0);
}
