//! What a customer's backend receives: bytes, headers, and which connection gets which items.

use serde_json::{Value, json};
use uuid::Uuid;
use waypost_harness::notification::{OTHER_TENANT, TENANT, collection, item, item_with};
use waypost_harness::{Received, Receiver, Tenant, TestApp, WEBHOOK_SECRET};

/// A tenant with a primary and one connection.
async fn connected(app: &TestApp, receiver: &Receiver) -> Tenant {
    let tenant = app.tenant("acme").await;
    tenant.primary(receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant
}

/// The ids of the items' resources, in the order of the body.
fn resources(received: &Received) -> Vec<String> {
    received.items().iter().map(|item| item["resourceData"]["id"].as_str().unwrap().to_owned()).collect()
}

fn marked(tenant: &str, mark: &str) -> Value {
    item_with(tenant, &json!({"resourceData": {"id": mark}}))
}

#[tokio::test]
async fn a_notification_arrives_in_nangos_envelope_byte_for_byte() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;
    let body = format!(
        r##"{{ "value": [ {{
            "subscriptionId": "7f1e2d3c-0000-4000-8000-000000000005",
            "clientState": "{WEBHOOK_SECRET}",
            "changeType": "updated",
            "tenantId": "{TENANT}",
            "resource": "users/u1",
            "resourceData": {{ "id": "u1", "@odata.type": "#Microsoft.Graph.User" }}
        }} ] }}"##
    );

    app.public().post_bytes(&tenant.ingress(), body).await.expect(202);

    let received = receiver.wait_for(1).await;
    let wanted = format!(
        r##"{{"connectionId":"conn-1","from":"microsoft-oauth2-cc","payload":{{"value":[{{"changeType":"updated","clientState":"{WEBHOOK_SECRET}","resource":"users/u1","resourceData":{{"@odata.type":"#Microsoft.Graph.User","id":"u1"}},"subscriptionId":"7f1e2d3c-0000-4000-8000-000000000005","tenantId":"{TENANT}"}}]}},"providerConfigKey":"graph-cc","type":"forward"}}"##
    );
    assert_eq!(received[0].text(), wanted);
}

#[tokio::test]
async fn values_arrive_as_javascript_would_write_them_and_exact_numbers_stay_exact() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;
    let start = format!(r#""clientState":"{WEBHOOK_SECRET}","tenantId":"{TENANT}""#);
    let odd = r#""b":1.0,"a":1e2,"big":12345678901234567890,"small":0.1,"u":"\u00e9\u2028\/\ud83d\ude00\u0007","10":1,"9":2,"dup":1,"dup":2,"n":-0"#;

    app.public()
        .post_bytes(&tenant.ingress(), format!(r#"{{"value":[{{{start},{odd}}}]}}"#))
        .await
        .expect(202);

    let received = receiver.wait_for(1).await;
    let text = received[0].text();
    let item = text.split_once(r#""value":["#).unwrap().1.split_once("]}").unwrap().0;
    let wanted = format!(
        "{{\"9\":2,\"10\":1,\"a\":100,\"b\":1,\"big\":12345678901234567890,\"clientState\":\"{WEBHOOK_SECRET}\",\"dup\":2,\
         \"n\":0,\"small\":0.1,\"tenantId\":\"{TENANT}\",\"u\":\"é\u{2028}/😀\\u0007\"}}"
    );
    assert_eq!(item, wanted);
}

#[tokio::test]
async fn every_request_has_the_headers_that_are_promised() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;

    tenant.accept(&[item(TENANT), item(TENANT)]).await;

    let received = receiver.wait_for(1).await;
    let request = &received[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook"));
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("user-agent"), format!("waypost/{}", env!("CARGO_PKG_VERSION")));
    assert!(request.header("webhook-id").starts_with("evt_"));
    assert!(request.header("waypost-delivery-id").starts_with("dlv_"));
    assert_eq!(request.attempt(), 1);
    assert_eq!(request.header("waypost-item-keys").split(',').count(), 2);
    assert_eq!(request.header("content-length"), request.body.len().to_string());
    assert_eq!(request.header("webhook-signature").split(' ').count(), 1);
}

#[tokio::test]
async fn a_repeat_by_graph_has_the_same_item_key_and_another_change_another() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;
    let (one, other) = (item(TENANT), item(TENANT));

    for body in [&one, &other, &one] {
        tenant.accept(std::slice::from_ref(body)).await;
    }

    let received = receiver.wait_for(3).await;
    let key = |item: &Value| {
        let found = received.iter().filter(|request| request.items()[0]["resource"] == item["resource"]);
        let keys: Vec<&str> = found.map(|request| request.header("waypost-item-keys")).collect();
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{keys:?}");
        keys[0].to_owned()
    };
    assert_ne!(key(&one), key(&other));
    let events: std::collections::BTreeSet<&str> = received.iter().map(Received::event).collect();
    assert_eq!(events.len(), 3);
}

#[tokio::test]
async fn a_batch_of_two_tenants_is_split_and_each_connection_gets_its_own_items() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;
    tenant.connection("conn-2", OTHER_TENANT).await;

    tenant
        .accept(&[
            marked(TENANT, "a"),
            marked(OTHER_TENANT, "b"),
            marked(TENANT, "c"),
            marked(OTHER_TENANT, "d"),
        ])
        .await;

    let mut received = receiver.wait_for(2).await;
    received.sort_by_key(Received::connection);
    assert_eq!(
        (received[0].connection().as_str(), resources(&received[0])),
        ("conn-1", vec!["a".to_owned(), "c".to_owned()])
    );
    assert_eq!(
        (received[1].connection().as_str(), resources(&received[1])),
        ("conn-2", vec!["b".to_owned(), "d".to_owned()])
    );
}

#[tokio::test]
async fn two_connections_of_one_tenant_each_get_the_item() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;
    tenant.connection("conn-2", &TENANT.to_uppercase()).await;

    tenant.accept(&[marked(&TENANT.to_uppercase(), "a")]).await;

    let mut received = receiver.wait_for(2).await;
    received.sort_by_key(Received::connection);
    let got: Vec<(String, Vec<String>)> =
        received.iter().map(|one| (one.connection(), resources(one))).collect();
    assert_eq!(
        got,
        [("conn-1".to_owned(), vec!["a".to_owned()]), ("conn-2".to_owned(), vec!["a".to_owned()])]
    );
    assert_ne!(received[0].event(), received[1].event());
}

#[tokio::test]
async fn connections_of_another_integration_get_nothing() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;
    tenant.integration_with(&json!({"unique_key": "second"})).await;
    tenant.connection_with(&json!({"connection_id": "other", "provider_config_key": "second"})).await;

    tenant.accept(&[item(TENANT)]).await;

    assert_eq!(receiver.wait_for(1).await[0].connection(), "conn-1");
    app.until_settled().await;
    receiver.wait_for(1).await;
}

#[tokio::test]
async fn an_item_with_a_wrong_client_state_is_taken_out_and_shown_as_a_rejection() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;
    let wrong = item_with(TENANT, &json!({"clientState": "a guess", "resourceData": {"id": "forged"}}));

    tenant.accept(&[marked(TENANT, "a"), wrong, marked(TENANT, "b")]).await;

    assert_eq!(resources(&receiver.wait_for(1).await[0]), ["a", "b"]);
    let rejection =
        waypost_harness::wait::until("the rejection", async || tenant.list("/rejections").await.pop()).await;
    assert_eq!((&rejection["reason"], &rejection["count"]), (&json!("client_state_mismatch"), &json!(1)));
}

#[tokio::test]
async fn an_event_without_an_endpoint_is_kept_as_unrouted() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;

    tenant.accept(&[item(TENANT)]).await;

    let event = tenant.only("/events?kind=forward").await;
    assert_eq!((&event["status"], &event["connection_id"]), (&json!("unrouted"), &json!("conn-1")));
    assert!(tenant.list("/deliveries").await.is_empty());
}

#[tokio::test]
async fn primary_secondary_and_endpoints_each_get_every_event() {
    let app = TestApp::spawn().await;
    let receivers = [Receiver::start().await, Receiver::start().await, Receiver::start().await];
    let tenant = connected(&app, &receivers[0]).await;
    tenant.secondary(&receivers[1]).await;
    tenant.endpoint(&receivers[2]).await;

    tenant.accept(&[item(TENANT)]).await;

    let mut requests = Vec::new();
    for receiver in &receivers {
        requests.extend(receiver.wait_for(1).await);
    }
    assert!(
        requests.windows(2).all(|pair| pair[0].event() == pair[1].event() && pair[0].body == pair[1].body)
    );
    let deliveries: std::collections::BTreeSet<&str> =
        requests.iter().map(|request| request.header("waypost-delivery-id")).collect();
    assert_eq!(deliveries.len(), 3);
    app.until_settled().await;
    assert_eq!(tenant.only("/events?kind=forward").await["status"], "delivered");
}

#[tokio::test]
async fn an_override_replaces_primary_and_secondary_for_its_connection_only() {
    let app = TestApp::spawn().await;
    let (primary, secondary, own) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let custom = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.primary(&primary).await;
    tenant.secondary(&secondary).await;
    tenant.endpoint(&custom).await;
    tenant.trusted_by(&own, &endpoint).await;
    tenant.connection("conn-1", TENANT).await;
    let config = json!({"tenantId": OTHER_TENANT});
    let override_url = own.at("/override");
    tenant
        .connection_with(&json!({
            "connection_id": "conn-2", "connection_config": config, "webhook_url_override": override_url,
        }))
        .await;
    own.wait_for_at_least(1).await; // the notice of its creation

    tenant.accept(&[item(TENANT), item(OTHER_TENANT)]).await;

    assert_eq!(primary.wait_for(1).await[0].connection(), "conn-1");
    assert_eq!(secondary.wait_for(1).await[0].connection(), "conn-1");
    let received = own.wait_for(2).await;
    assert_eq!((received[1].connection().as_str(), received[1].path.as_str()), ("conn-2", "/override"));
    assert_eq!(custom.wait_for(2).await.len(), 2);

    let path = "/connections/conn-2?provider_config_key=graph-cc";
    tenant.api.patch(path, &json!({"webhook_url_override": ""})).await.expect(200);
    tenant.accept(&[item(OTHER_TENANT)]).await;
    assert_eq!(primary.wait_for(2).await[1].connection(), "conn-2");
    secondary.wait_for(2).await;
    custom.wait_for(3).await;
    app.until_settled().await;
    own.wait_for(2).await;
}

#[tokio::test]
async fn an_integration_that_does_not_forward_keeps_its_events_as_unrouted() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;
    tenant.api.patch("/integrations/graph-cc", &json!({"forward_webhooks": false})).await.expect(200);

    tenant.accept(&[item(TENANT)]).await;
    assert_eq!(tenant.only("/events?kind=forward").await["status"], "unrouted");

    tenant.api.patch("/integrations/graph-cc", &json!({"forward_webhooks": true})).await.expect(200);
    tenant.accept(&[marked(TENANT, "second")]).await;
    assert_eq!(resources(&receiver.wait_for(1).await[0]), ["second"]);
}

#[tokio::test]
async fn client_state_is_forwarded_as_nango_does_or_left_out_where_that_is_set() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;

    tenant.accept(&[item(TENANT)]).await;
    assert_eq!(receiver.wait_for(1).await[0].items()[0]["clientState"], WEBHOOK_SECRET);

    let settings = json!({"forward_client_state": false});
    tenant.api.patch("/environment/webhook-settings", &settings).await.expect(200);
    tenant.accept(&[item(TENANT)]).await;
    let received = receiver.wait_for(2).await;
    assert!(received[1].items()[0].get("clientState").is_none());
    assert!(!received[1].text().contains(WEBHOOK_SECRET));
}

#[tokio::test]
async fn nothing_that_the_sender_put_around_the_body_travels_on() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;
    let request = app.public().request(reqwest::Method::POST, &tenant.ingress());
    let request = request
        .header("x-own", "travels?")
        .header("x-nango-signature", "forged")
        .header("cookie", "a=b")
        .json(&json!({"value": [item(TENANT)], "extra": "member"}));

    app.public().send(request).await.expect(202);

    let received = receiver.wait_for(1).await;
    assert!(received[0].headers.get("x-own").is_none() && received[0].headers.get("cookie").is_none());
    assert_ne!(received[0].header("x-nango-signature"), "forged");
    assert!(!received[0].text().contains("extra"));
}

#[tokio::test]
async fn an_endpoints_own_headers_are_added() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    tenant
        .endpoint_with(&receiver, &json!({"headers": {"Authorization": "Bearer theirs", "X-Own": "v"}}))
        .await;

    tenant.accept(&[item(TENANT)]).await;

    let received = receiver.wait_for(1).await;
    assert_eq!((received[0].header("authorization"), received[0].header("x-own")), ("Bearer theirs", "v"));
}

#[tokio::test]
async fn a_large_notification_arrives_whole() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = connected(&app, &receiver).await;
    let items: Vec<Value> = (0..1000).map(|n| marked(TENANT, &format!("{n}-{}", Uuid::new_v4()))).collect();

    let answer = tenant.post_notification(&collection(&items)).await;

    answer.expect(202);
    let wanted: Vec<&str> = items.iter().map(|item| item["resourceData"]["id"].as_str().unwrap()).collect();
    assert_eq!(resources(&receiver.wait_for(1).await[0]), wanted);
}
