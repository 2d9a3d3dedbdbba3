//! Notifications on their way: batches, retries, and the states of a delivery.

use std::time::{Duration, Instant};

use chrono::DateTime;
use serde_json::json;

use super::{Stage, answer, quick};
use crate::{
    ChangeType, DEMO_TENANTS, DeliveryPolicy, DeliveryState, ExpirationStyle, Item, LifecycleEvent,
    Notification, NotifyError, Outcome, Shape,
};

#[tokio::test]
async fn a_notification_is_sent_again_until_the_endpoint_takes_it() {
    let stage = Stage::set().await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    stage.receiver.answer_with([503, 404, 302]);
    let sent = stage.control.notify(&Notification::of([Item::change(id, ChangeType::Created)])).unwrap();
    stage.control.wait_settled().await;
    let record = stage.control.delivery(sent[0]).unwrap();
    assert_eq!(record.state, DeliveryState::Delivered);
    let outcomes: Vec<_> = record.tries.into_iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [503, 404, 302, 202].map(Outcome::Answered));
    let bodies = stage.receiver.notifications();
    assert_eq!(bodies.len(), 4);
    assert!(bodies.iter().all(|request| request.body == bodies[0].body && request.path == "/in"));
    assert_eq!(bodies[0].headers["content-type"], "application/json");
    let item = &bodies[0].json()["value"][0];
    assert_eq!(item["subscriptionId"], json!(id));
    assert_eq!(item["tenantId"], json!(DEMO_TENANTS[0]));
    assert_eq!(item["clientState"], "a shared secret");
    assert_eq!(item["changeType"], "created");
    assert!(item["resource"].as_str().unwrap().starts_with("Users/a/Messages/"));
    assert!(item["resourceData"]["@odata.etag"].is_string());
    stage.strike().await;
}

#[tokio::test]
async fn a_first_try_without_an_answer_is_cut_short_and_repeated() {
    let stage = Stage::set_with(|config| config.delivery.first_limit = Duration::from_millis(100)).await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    stage.receiver.answer_with([0]);
    let sent = stage.control.notify(&Notification::of([Item::change(id, ChangeType::Updated)])).unwrap();
    stage.control.wait_settled().await;
    let tries = stage.control.delivery(sent[0]).unwrap().tries;
    assert_eq!(tries[0].outcome, Outcome::TimedOut);
    assert!(tries[0].took >= Duration::from_millis(100));
    assert_eq!(tries[1].outcome, Outcome::Answered(202));
    stage.strike().await;
}

#[tokio::test]
async fn retries_end_with_the_window_and_with_the_subscription() {
    let stage = Stage::set_with(|config| config.delivery.window = Duration::from_millis(60)).await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    stage.receiver.answer_with([500; 1000]);
    let sent = stage.control.notify(&Notification::of([Item::change(id, ChangeType::Created)])).unwrap();
    stage.control.wait_settled().await;
    assert_eq!(stage.control.delivery(sent[0]).unwrap().state, DeliveryState::GivenUp);
    stage.strike().await;

    let stage = Stage::set().await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    stage.receiver.answer_with([500; 1000]);
    let sent = stage.control.notify(&Notification::of([Item::change(id, ChangeType::Created)])).unwrap();
    assert_eq!(stage.graph("DELETE", &format!("/{id}"), None).await.0, 204);
    stage.control.wait_settled().await;
    assert_eq!(stage.control.delivery(sent[0]).unwrap().state, DeliveryState::Abandoned);
    stage.strike().await;
}

#[tokio::test]
async fn items_of_several_tenants_share_a_request_and_lifecycle_events_have_their_own() {
    let stage = Stage::set().await;
    let first = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    let second = stage.subscribe(DEMO_TENANTS[1], stage.wish("b")).await;
    let wrong_state = Item::change(second, ChangeType::Updated)
        .shaped(Shape::DriveItem)
        .patched(json!({"clientState": "wrong", "tenantId": null}));
    let sent = stage
        .control
        .notify(&Notification::of([
            Item { expiration_style: ExpirationStyle::Pacific, ..Item::change(first, ChangeType::Created) },
            wrong_state,
            Item::lifecycle(first, LifecycleEvent::Missed),
        ]))
        .unwrap();
    assert_eq!(sent.len(), 2);
    stage.control.wait_settled().await;
    let requests = stage.receiver.notifications();
    let data = requests.iter().find(|request| request.path == "/in").unwrap().json();
    assert_eq!(data["value"].as_array().unwrap().len(), 2);
    assert!(data.get("validationTokens").is_none());
    let expiry = data["value"][0]["subscriptionExpirationDateTime"].as_str().unwrap();
    assert_eq!(expiry, "2026-03-02T04:00:00.0000000-08:00");
    assert!(DateTime::parse_from_rfc3339(expiry).is_ok());
    let odd = &data["value"][1];
    assert_eq!((&odd["clientState"], odd.get("tenantId")), (&json!("wrong"), None));
    assert_eq!((odd.get("resourceData"), odd.get("id")), (Some(&json!(null)), None));
    let lifecycle = requests.iter().find(|request| request.path == "/life").unwrap().json();
    assert_eq!(lifecycle["value"][0]["lifecycleEvent"], "missed");
    assert!(lifecycle["value"][0].get("changeType").is_none());
    stage.strike().await;
}

/// A stage on which two answers are enough for a judgement.
async fn impatient(retry_limit: Duration, hold: Duration) -> Stage {
    Stage::set_with(|config| {
        config.delivery = DeliveryPolicy {
            first_limit: Duration::from_millis(60),
            retry_limit,
            minimum_answers: 2,
            hold,
            ..quick()
        };
    })
    .await
}

#[tokio::test]
async fn new_notifications_for_a_slow_host_are_held_back() {
    let hold = Duration::from_millis(250);
    let stage = impatient(Duration::from_secs(10), hold).await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    let notification = Notification::of([Item::change(id, ChangeType::Created)]);
    stage.receiver.answer_with([0]);
    stage.control.notify(&notification).unwrap();
    stage.control.wait_settled().await;
    let started = Instant::now();
    let late = stage.control.notify(&notification).unwrap()[0];
    stage.control.wait_settled().await;
    assert!(started.elapsed() >= hold);
    let record = stage.control.delivery(late).unwrap();
    assert_eq!((record.state, record.tries.len()), (DeliveryState::Delivered, 1));
    stage.strike().await;
}

#[tokio::test]
async fn new_notifications_for_a_host_that_never_answers_are_lost() {
    let stage = impatient(Duration::from_millis(120), Duration::from_mins(1)).await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    let notification = Notification::of([Item::change(id, ChangeType::Created)]);
    stage.receiver.answer_with([0, 0]);
    let first = stage.control.notify(&notification).unwrap()[0];
    stage.control.wait_settled().await;
    assert_eq!(stage.control.delivery(first).unwrap().state, DeliveryState::Delivered);
    let second = stage.control.notify(&notification).unwrap()[0];
    stage.control.wait_settled().await;
    let record = stage.control.delivery(second).unwrap();
    assert_eq!((record.state, record.tries.len()), (DeliveryState::Dropped, 0));
    stage.strike().await;
}

#[tokio::test]
async fn prepared_bytes_go_out_as_they_are_but_never_off_the_machine() {
    let stage = Stage::set().await;
    let url: url::Url = format!("{}/raw", stage.receiver_url).parse().unwrap();
    stage.control.send_raw(url, "{\"value\":[1.0]}").unwrap();
    stage.control.wait_settled().await;
    assert_eq!(stage.receiver.notifications()[0].body, "{\"value\":[1.0]}");
    let elsewhere = "http://192.0.2.1/in".parse().unwrap();
    assert_eq!(stage.control.send_raw(elsewhere, "{}"), Err(NotifyError::ForbiddenTarget));
    stage.strike().await;
}

#[tokio::test]
async fn an_ambiguous_item_and_a_missing_lifecycle_url_are_refused() {
    let stage = Stage::set().await;
    let mut wish = stage.wish("a");
    wish["lifecycleNotificationUrl"] = json!(null);
    let id = stage.subscribe(DEMO_TENANTS[0], wish).await;
    let lifecycle = Item::lifecycle(id, LifecycleEvent::Missed);
    let both = Item { change_type: Some(ChangeType::Created), ..lifecycle.clone() };
    assert_eq!(stage.control.notify(&Notification::of([both])), Err(NotifyError::AmbiguousItem));
    assert_eq!(stage.control.notify(&Notification::of([lifecycle])), Err(NotifyError::NoLifecycleUrl(id)));
    stage.strike().await;
}

#[tokio::test]
async fn the_control_works_over_http_too() {
    let stage = Stage::set().await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    let control = format!("{}_control", stage.simulator.base_url());
    let post = |body| stage.client.post(format!("{control}/notify")).json(&body);
    let item = json!({"subscriptionId": id, "changeType": "created", "shape": "chatMessage"});
    let (status, body) = answer(post(json!({"items": [item]}))).await;
    assert_eq!((status, &body), (202, &json!({"deliveries": [1]})));
    assert_eq!(answer(stage.client.get(format!("{control}/settled"))).await.0, 200);
    let (_, deliveries) = answer(stage.client.get(format!("{control}/deliveries"))).await;
    assert_eq!(deliveries["data"][0]["state"], "delivered");
    assert_eq!(deliveries["data"][0]["tries"][0]["outcome"], json!({"answered": 202}));
    let (_, subscriptions) = answer(stage.client.get(format!("{control}/subscriptions"))).await;
    assert_eq!(subscriptions["data"][0]["id"], json!(id));
    let (status, body) = answer(post(json!({"items": [{"subscriptionId": uuid::Uuid::nil()}]}))).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("unknown_subscription")));
    assert_eq!(answer(post(json!({"item": []}))).await.0, 400);
    stage.strike().await;
}
