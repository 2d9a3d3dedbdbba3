//! Which endpoints want what.

use serde_json::{Value, json};
use waypost_harness::notification::{OTHER_TENANT, TENANT, item, item_with};
use waypost_harness::{Receiver, Tenant, TestApp};

/// A tenant with two connections, and an endpoint of that filter.
async fn filtered(app: &TestApp, receiver: &Receiver, filter: &Value) -> Tenant {
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", TENANT).await;
    tenant.connection("conn-2", OTHER_TENANT).await;
    tenant.endpoint_with(receiver, &json!({"filter": filter})).await;
    tenant
}

async fn marks_of(app: &TestApp, filter: Value, items: &[Value]) -> Vec<String> {
    let receiver = Receiver::start().await;
    let tenant = filtered(app, &receiver, &filter).await;
    for item in items {
        tenant.accept(std::slice::from_ref(item)).await;
    }
    app.until_settled().await;
    let received = receiver.received();
    let mut marks: Vec<String> =
        received.iter().map(|request| request.items()[0]["mark"].as_str().unwrap().to_owned()).collect();
    marks.sort();
    marks
}

fn change(mark: &str, change_type: &str, resource: &str) -> Value {
    item_with(TENANT, &json!({"mark": mark, "changeType": change_type, "resource": resource}))
}

#[tokio::test]
async fn an_endpoint_gets_the_changes_that_its_filter_names() {
    let app = TestApp::spawn().await;
    let items = [
        change("a", "created", "Users/u1/Messages/m1"),
        change("b", "updated", "users('u1')/messages('m1')"),
        change("c", "deleted", "Users/u1/Events/e1"),
    ];

    let all = marks_of(&app, json!({}), &items).await;
    let created = marks_of(&app, json!({"change_types": ["created", "deleted"]}), &items).await;
    let messages = marks_of(&app, json!({"resources": ["users/*/MESSAGES/*"]}), &items).await;
    let both =
        marks_of(&app, json!({"change_types": ["deleted"], "resources": ["users/*/messages/*"]}), &items)
            .await;

    assert_eq!(all, ["a", "b", "c"]);
    assert_eq!(created, ["a", "c"]);
    assert!(messages.contains(&"a".to_owned()) && !messages.contains(&"c".to_owned()), "{messages:?}");
    assert!(both.is_empty(), "{both:?}");
}

#[tokio::test]
async fn an_endpoint_gets_the_connections_and_integrations_that_its_filter_names() {
    let app = TestApp::spawn().await;
    let items =
        [item_with(TENANT, &json!({"mark": "one"})), item_with(OTHER_TENANT, &json!({"mark": "two"}))];

    assert_eq!(marks_of(&app, json!({"connections": ["conn-2"]}), &items).await, ["two"]);
    assert_eq!(marks_of(&app, json!({"integrations": ["graph-cc"]}), &items).await, ["one", "two"]);
    assert!(marks_of(&app, json!({"integrations": ["other"]}), &items).await.is_empty());
}

#[tokio::test]
async fn a_filter_by_event_type_takes_notices_or_forwards() {
    let app = TestApp::spawn().await;
    let (forwards, notices) = (Receiver::start().await, Receiver::start().await);
    let tenant = app.tenant("acme").await;
    tenant.endpoint_with(&forwards, &json!({"filter": {"event_types": ["forward"]}})).await;
    tenant
        .endpoint_with(&notices, &json!({"filter": {"event_types": ["auth.creation", "subscription"]}}))
        .await;

    tenant.connection("conn-1", TENANT).await;
    tenant.accept(&[item(TENANT)]).await;
    tenant.connection("conn-1", TENANT).await; // an override, which nobody asked for

    assert_eq!(forwards.wait_for(1).await[0].json()["type"], "forward");
    assert_eq!(notices.wait_for(1).await[0].json()["operation"], "creation");
    app.until_settled().await;
    forwards.wait_for(1).await;
    notices.wait_for(1).await;
}

#[tokio::test]
async fn an_event_that_no_filter_takes_is_unrouted() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = filtered(&app, &receiver, &json!({"change_types": ["deleted"]})).await;

    tenant.accept(&[item(TENANT)]).await;

    assert_eq!(tenant.only("/events?kind=forward").await["status"], "unrouted");
    assert_eq!(receiver.count(), 0);
}
