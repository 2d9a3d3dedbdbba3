//! Events, deliveries and rejections as lists: filters, cursors, bounds, and the wall between environments.

use chrono::TimeDelta;
use serde_json::{Value, json};
use waypost_harness::notification::{OTHER_TENANT, TENANT, item, item_with};
use waypost_harness::{Receiver, Reply, Tenant, TestApp};

const LISTS: [&str; 3] = ["/events", "/deliveries", "/rejections"];

fn ids(list: &[Value]) -> Vec<&str> {
    list.iter().map(|entry| entry["id"].as_str().unwrap()).collect()
}

/// A tenant with two customers, a receiver, and `events` delivered events for each of the two.
async fn busy(app: &TestApp, receiver: &Receiver, events: usize) -> Tenant {
    let tenant = app.tenant("acme").await;
    tenant.primary(receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.connection("conn-2", OTHER_TENANT).await;
    for _ in 0..events {
        tenant.accept(&[item(TENANT), item(OTHER_TENANT)]).await;
    }
    receiver.wait_for_at_least(2 * events).await;
    app.until_settled().await;
    tenant
}

#[tokio::test]
async fn lists_refuse_bounds_cursors_and_parameters_that_make_no_sense() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for list in LISTS {
        for query in [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=x",
            "cursor=nonsense",
            "cursor=",
            "colour=red",
            "limit=1&limit=2",
        ] {
            tenant.api.get(&format!("{list}?{query}")).await.refused(400, "invalid_query_params");
        }
        let page = tenant.api.get(&format!("{list}?limit=200")).await.expect(200);
        assert_eq!(page, json!({"data": [], "next_cursor": null}), "{list}");
    }
}

#[tokio::test]
async fn filters_refuse_values_that_nothing_has() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for path in [
        "/events?kind=nonsense",
        "/events?status=nonsense",
        "/events?tenant_id=contoso",
        "/events?since=yesterday",
        "/events?until=12",
        "/events?subscription_id=x",
        "/deliveries?status=nonsense",
        "/deliveries?event_id=x",
        "/deliveries?endpoint_id=evt_01jd7q3v5he8r9w0x1y2z3a4b5",
        "/deliveries?since=now",
    ] {
        tenant.api.get(path).await.refused(400, "invalid_query_params");
    }
}

#[tokio::test]
async fn events_are_filtered() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = busy(&app, &receiver, 2).await;
    let subscription = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    tenant.accept(&[item_with(TENANT, &json!({"subscriptionId": subscription}))]).await;
    receiver.wait_for_at_least(5).await;
    app.until_settled().await;

    for (query, wanted) in [
        ("kind=forward", 5),
        ("kind=auth", 2),
        ("kind=auth.creation", 2),
        ("kind=subscription.renewed", 0),
        ("connection_id=conn-1&kind=forward", 3),
        ("connection_id=nobody", 0),
        ("provider_config_key=graph-cc&kind=forward", 5),
        ("provider_config_key=other", 0),
        ("status=delivered", 5),
        ("status=unrouted", 2),
        ("status=dead", 0),
        ("subscription_id=3f2504e0-4f89-41d3-9a0c-0305e82c3301", 1),
        ("since=2020-01-01T00:00:00Z&kind=forward", 5),
        ("until=2020-01-01T00:00:00Z", 0),
    ] {
        let found = tenant.list(&format!("/events?{query}")).await;
        assert_eq!(found.len(), wanted, "{query}: {found:#?}");
    }
    let by_tenant =
        tenant.list(&format!("/events?tenant_id={}&kind=forward", OTHER_TENANT.to_uppercase())).await;
    assert_eq!(by_tenant.len(), 2, "{by_tenant:#?}");
}

#[tokio::test]
async fn a_cursor_goes_on_where_the_page_ended_whatever_arrives_meanwhile() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = busy(&app, &receiver, 3).await;
    let all = tenant.list("/events?kind=forward").await;

    let first = tenant.api.get("/events?kind=forward&limit=4").await.expect(200);
    tenant.accept(&[item(TENANT)]).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = tenant.api.get(&format!("/events?kind=forward&limit=4&cursor={cursor}")).await.expect(200);

    let (first, second) = (first["data"].as_array().unwrap(), second["data"].as_array().unwrap());
    assert_eq!(first.len(), 4);
    let paged: Vec<&str> = ids(first).into_iter().chain(ids(second)).collect();
    assert_eq!(paged, ids(&all));
}

#[tokio::test]
async fn one_event_shows_its_payload_masked_and_its_deliveries() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = busy(&app, &receiver, 1).await;
    let events = tenant.list("/events?connection_id=conn-1&kind=forward").await;
    let event = &events[0];
    for name in ["id", "kind", "status", "connection_id", "provider_config_key", "tenant_id", "received_at"] {
        assert!(event.get(name).is_some(), "{name} in {event}");
    }

    let shown = tenant.api.get(&format!("/events/{}", event["id"].as_str().unwrap())).await.expect(200);

    let item = &shown["payload"]["value"][0];
    assert_eq!(item["tenantId"], TENANT);
    assert!(!shown.to_string().contains(waypost_harness::WEBHOOK_SECRET), "{shown}");
    assert!(item.get("clientState").is_some_and(Value::is_string), "masked, not taken away: {item}");
    assert_eq!(shown["deliveries"][0]["status"], "delivered");
}

#[tokio::test]
async fn one_delivery_shows_its_attempts() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = busy(&app, &receiver, 1).await;
    let deliveries = tenant.list("/deliveries").await;
    assert_eq!(deliveries.len(), 2, "{deliveries:#?}");
    for name in
        ["id", "event_id", "endpoint_id", "status", "attempts", "next_attempt_at", "created_at", "updated_at"]
    {
        assert!(deliveries[0].get(name).is_some(), "{name} in {}", deliveries[0]);
    }

    let shown =
        tenant.api.get(&format!("/deliveries/{}", deliveries[0]["id"].as_str().unwrap())).await.expect(200);

    assert_eq!((&shown["status"], &shown["attempts"]), (&json!("delivered"), &json!(1)));
    let log = shown["attempt_log"].as_array().unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(
        (&log[0]["number"], &log[0]["status_code"], &log[0]["error"]),
        (&json!(1), &json!(200), &json!(null))
    );
    assert!(log[0]["started_at"].is_string() && log[0]["duration_ms"].is_u64(), "{log:#?}");
}

#[tokio::test]
async fn deliveries_are_filtered() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = busy(&app, &receiver, 2).await;
    let one = tenant.list("/deliveries").await[0].clone();

    for (query, wanted) in [
        (format!("event_id={}", one["event_id"].as_str().unwrap()), 1),
        (format!("endpoint_id={}", one["endpoint_id"].as_str().unwrap()), 4),
        ("status=delivered".to_owned(), 4),
        ("status=pending".to_owned(), 0),
        ("since=2020-01-01T00:00:00Z".to_owned(), 4),
        ("until=2020-01-01T00:00:00Z".to_owned(), 0),
        ("status=delivered&limit=1".to_owned(), 4),
    ] {
        let found = tenant.list(&format!("/deliveries?{query}")).await;
        assert_eq!(found.len(), wanted, "{query}: {found:#?}");
    }
}

#[tokio::test]
async fn ids_that_are_none_or_not_there_are_404() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;

    for path in [
        "/events/x",
        "/events/dlv_01jd7q3v5he8r9w0x1y2z3a4b5",
        "/events/evt_01jd7q3v5he8r9w0x1y2z3a4b5",
        "/events/evt_00000000000000000000000000",
        "/deliveries/x",
        "/deliveries/dlv_01jd7q3v5he8r9w0x1y2z3a4b5",
    ] {
        tenant.api.get(path).await.refused(404, "not_found");
    }
    let retry = "/deliveries/dlv_01jd7q3v5he8r9w0x1y2z3a4b5/retry";
    tenant.api.post(retry, &json!({})).await.refused(404, "not_found");
}

#[tokio::test]
async fn nothing_of_another_environment_is_listed_or_shown() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let acme = busy(&app, &receiver, 1).await;
    acme.accept(&[item_with(TENANT, &json!({"clientState": "wrong"}))]).await;
    let umbrella = app.tenant("umbrella").await;
    let event = acme.list("/events?kind=forward").await[0]["id"].as_str().unwrap().to_owned();
    let delivery = acme.list("/deliveries").await[0]["id"].as_str().unwrap().to_owned();

    for list in LISTS {
        assert!(umbrella.list(list).await.is_empty(), "{list}");
    }
    assert!(umbrella.list(&format!("/deliveries?event_id={event}")).await.is_empty());
    umbrella.api.get(&format!("/events/{event}")).await.refused(404, "not_found");
    umbrella.api.get(&format!("/deliveries/{delivery}")).await.refused(404, "not_found");
    umbrella.api.post(&format!("/deliveries/{delivery}/retry"), &json!({})).await.refused(404, "not_found");
}

#[tokio::test]
async fn lists_go_on_over_midnight_in_one_order() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = busy(&app, &receiver, 1).await;
    for day in 1..4 {
        app.advance(TimeDelta::days(1)).await;
        tenant.accept(&[item(TENANT)]).await;
        receiver.wait_for(2 + day).await;
        app.until_settled().await;
    }

    for list in ["/events", "/deliveries"] {
        let whole = tenant.list(&format!("{list}?limit=200")).await;
        let paged = tenant.list(&format!("{list}?limit=1")).await;
        assert_eq!(ids(&paged), ids(&whole), "{list}");
        let mut sorted = ids(&whole);
        sorted.sort_unstable_by(|one, other| other.cmp(one));
        assert_eq!(ids(&whole), sorted, "{list} begins with the newest");
    }
    assert_eq!(tenant.list("/deliveries").await.len(), 5);
}

#[tokio::test]
async fn open_and_ended_deliveries_stand_in_one_list_none_twice_and_none_left_out() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = busy(&app, &receiver, 1).await;
    for status in [200, 500, 200, 500, 500, 200] {
        receiver.script([Reply::status(status)]);
        tenant.accept(&[item(TENANT)]).await;
        app.until_settled().await;
    }

    for limit in [1, 2, 3, 200] {
        let found = tenant.list(&format!("/deliveries?limit={limit}")).await;
        let statuses: Vec<&str> = found.iter().map(|delivery| delivery["status"].as_str().unwrap()).collect();
        assert_eq!(
            statuses,
            [
                "delivered",
                "pending",
                "pending",
                "delivered",
                "pending",
                "delivered",
                "delivered",
                "delivered"
            ],
            "limit {limit}"
        );
    }
    let pending = tenant.list("/deliveries?status=pending&limit=2").await;
    assert_eq!(pending.len(), 3);
    app.leave_work();
}
