//! History leaves with its day. What is still open by then is announced a day before, and ends visibly.

use chrono::TimeDelta;
use serde_json::{Value, json};
use waypost_harness::notification::{TENANT, item};
use waypost_harness::{Receiver, Tenant, TestApp, wait};

/// Moves the clock on by days and starts again, which begins with a look at the days.
async fn days_later(app: &mut TestApp, days: i64) {
    app.stop().await;
    app.clock().advance(TimeDelta::days(days));
    app.restart().await;
}

async fn delivery(tenant: &Tenant) -> Value {
    tenant.only("/deliveries?limit=200").await
}

#[tokio::test]
async fn an_open_delivery_is_announced_then_dead_then_gone() {
    let mut app = TestApp::spawn().await;
    let (receiver, warned) = (Receiver::start().await, Receiver::start().await);
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.endpoint_with(&warned, &json!({"filter": {"event_types": ["endpoint.retention_warning"]}})).await;
    tenant.api.post(&format!("/endpoints/{endpoint}/disable"), &json!({})).await.expect(200);
    tenant.accept(&[item(TENANT)]).await;
    assert_eq!(delivery(&tenant).await["status"], "held");
    let event = tenant.only("/events?kind=forward").await["id"].as_str().unwrap().to_owned();

    days_later(&mut app, 14).await;
    let tenant = tenant.moved_to(&app);
    let notice = warned.wait_for(1).await[0].json();
    assert_eq!(
        (&notice["operation"], &notice["endpoint"]["id"]),
        (&json!("retention_warning"), &json!(endpoint))
    );

    days_later(&mut app, 1).await;
    let tenant = tenant.moved_to(&app);
    let of_endpoint = format!("/deliveries?endpoint_id={endpoint}");
    let dead = wait::until("the held delivery to end", async || {
        let found = tenant.only(&of_endpoint).await;
        (found["status"] == "dead").then_some(found)
    })
    .await;
    assert_eq!(dead["reason"], "retention", "{dead}");

    days_later(&mut app, 2).await;
    let tenant = tenant.moved_to(&app);
    wait::until_true("the day to leave", async || {
        tenant.api.get(&format!("/events/{event}")).await.status == 404
            && tenant.list(&of_endpoint).await.is_empty()
    })
    .await;
    app.until_settled().await;
}

#[tokio::test]
async fn days_are_made_ahead_so_that_work_goes_on_whatever_the_date() {
    let mut app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;

    days_later(&mut app, 400).await;
    let tenant = tenant.moved_to(&app);

    // The days are made in the background when it starts.
    wait::until_true("a notification to be taken", async || {
        tenant.post_notification(&tenant.notification(TENANT)).await.status == 202
    })
    .await;
    receiver.wait_for_at_least(1).await;
    app.until_settled().await;
}
