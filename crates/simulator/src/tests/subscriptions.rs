//! The subscriptions API: what it keeps, what it refuses, and when a subscription ends.

use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Stage, error};
use crate::{ChangeType, DEMO_TENANTS, Item, Notification, NotifyError};

#[tokio::test]
async fn a_subscription_can_be_read_renewed_reauthorized_and_deleted_by_its_owner_only() {
    let stage = Stage::set().await;
    let (status, created) = stage.graph("POST", "", Some(stage.wish("a"))).await;
    assert_eq!(status, 201);
    let path = format!("/{}", created["id"].as_str().unwrap());
    assert_eq!(created["clientState"], "a shared secret");
    let (_, read) = stage.graph("GET", &path, None).await;
    assert_eq!(read, created);
    let (_, listed) = stage.graph("GET", "", None).await;
    assert_eq!(listed["value"][0]["id"], created["id"]);
    assert_eq!(listed["value"][0]["clientState"], Value::Null);
    let renewal = json!({"expirationDateTime": "2026-03-07T12:00:00+02:00"});
    let (status, renewed) = stage.graph("PATCH", &path, Some(renewal)).await;
    assert_eq!((status, &renewed["expirationDateTime"]), (200, &json!("2026-03-07T10:00:00Z")));
    assert_eq!(stage.graph("POST", &format!("{path}/reauthorize"), None).await.0, 204);
    let view = &stage.control.subscriptions()[0];
    assert_eq!((view.updates, view.reauthorizations), (1, 1));

    let stranger = DEMO_TENANTS[1];
    for (method, path, body) in [
        ("GET", path.clone(), None),
        ("PATCH", path.clone(), Some(json!({"expirationDateTime": stage.minutes(60)}))),
        ("DELETE", path.clone(), None),
        ("POST", format!("{path}/reauthorize"), None),
    ] {
        let (status, body) = stage.graph_in(stranger, method, &path, body).await;
        assert_eq!((status, error(&body).0), (404, "ResourceNotFound"), "{method}");
    }
    assert_eq!(stage.graph_in(stranger, "GET", "", None).await.1["value"], json!([]));

    assert_eq!(stage.graph("DELETE", &path, None).await.0, 204);
    assert_eq!(stage.graph("DELETE", &path, None).await.0, 404);
    stage.strike().await;
}

#[tokio::test]
async fn what_graph_refuses_is_refused_with_its_code_and_text() {
    let stage = Stage::set().await;
    let http_elsewhere = "http://relay.example/in";
    let too_long = "x".repeat(129);
    let cases = [
        ("changeType", json!(null), "InvalidRequest", "changeType is a required property"),
        ("resource", json!(null), "InvalidRequest", "resource is a required property"),
        ("notificationUrl", json!(null), "InvalidRequest", "notificationUrl is a required property"),
        ("expirationDateTime", json!(null), "InvalidRequest", "expirationDateTime is a required property"),
        ("expirationDateTime", json!("2026-03-02 10:00"), "InvalidRequest", "Could not process"),
        ("expirationDateTime", json!(7), "InvalidRequest", "Could not process"),
        ("expirationDateTime", json!(stage.minutes(-1)), "InvalidRequest", "must be in the future"),
        ("ChangeType", json!("created"), "InvalidRequest", "spelled and camelCased"),
        ("id", json!(Uuid::nil()), "InvalidRequest", "Could not process"),
        ("vapidPublicKey", json!("x"), "InvalidRequest", "web push"),
        ("notificationUrl", json!(http_elsewhere), "InvalidRequest", "scheme='http' is not supported"),
        ("notificationUrl", json!("EventHub:x"), "InvalidRequest", "scheme='eventhub' is not supported"),
        (
            "lifecycleNotificationUrl",
            json!(http_elsewhere),
            "InvalidRequest",
            "scheme='http' is not supported",
        ),
        ("notificationUrl", json!("/in"), "InvalidRequest", "not a valid absolute URL"),
        ("changeType", json!("created,moved"), "InvalidRequest", "changeType"),
        ("resource", json!("users/a/photos"), "InvalidRequest", "not supported"),
        ("resource", json!("me/messages"), "BadRequest", "delegated authentication flow"),
        ("clientState", json!(too_long), "InvalidRequest", "clientState"),
        ("latestSupportedTlsVersion", json!("v1_4"), "InvalidRequest", "latestSupportedTlsVersion"),
        ("includeResourceData", json!(true), "InvalidRequest", "$select"),
        ("includeResourceData", json!("yes"), "InvalidRequest", "Could not process"),
    ];
    for (property, value, code, text) in cases {
        let mut wish = stage.wish("a");
        wish[property] = value;
        let (status, body) = stage.graph("POST", "", Some(wish)).await;
        let (got, message) = error(&body);
        assert_eq!((status, got), (400, code), "{property}: {message}");
        assert!(message.contains(text), "{property}: {message}");
    }
    assert!(stage.receiver.all().is_empty(), "no endpoint is asked about a wish that is refused anyway");
    stage.strike().await;
}

#[tokio::test]
async fn each_resource_has_its_ceiling_and_its_change_types() {
    let stage = Stage::set_with(|config| config.rules.delegated_resources_allowed = true).await;
    for (resource, change_type, minutes, rejected_change) in [
        ("users/a/messages", "created", 10_070, None),
        ("users/a", "updated", 41_760, Some("created")),
        ("drives/d/root", "updated", 42_300, Some("deleted")),
        ("chats/getAllMessages", "created", 4_320, None),
        ("communications/callRecords", "created", 4_230, Some("deleted")),
        ("security/alerts?$filter=x", "updated", 43_200, Some("created")),
        ("teams/t/schedule/shifts", "created", 360, None),
        ("me/todo/lists/l/tasks", "created", 4_230, None),
    ] {
        let mut wish = stage.wish("a");
        wish["resource"] = json!(resource);
        wish["changeType"] = json!(change_type);
        wish["expirationDateTime"] = json!(stage.minutes(minutes + 1));
        let (status, body) = stage.graph("POST", "", Some(wish.clone())).await;
        let expected = format!("Subscription expiration can only be {minutes} minutes in the future.");
        assert_eq!((status, error(&body)), (400, ("ExtensionError", expected.as_str())), "{resource}");
        if let Some(rejected) = rejected_change {
            let mut wish = wish.clone();
            wish["changeType"] = json!(format!("{change_type},{rejected}"));
            assert_eq!(stage.graph("POST", "", Some(wish)).await.0, 400, "{resource}");
        }
        wish["expirationDateTime"] = json!(stage.minutes(minutes));
        assert_eq!(stage.graph("POST", "", Some(wish)).await.0, 201, "{resource}");
    }
    stage.strike().await;
}

#[tokio::test]
async fn short_lives_are_raised_and_a_teams_resource_needs_a_lifecycle_url_past_an_hour() {
    let stage = Stage::set().await;
    let mut wish = stage.wish("a");
    wish["expirationDateTime"] = json!(stage.minutes(1));
    let (_, created) = stage.graph("POST", "", Some(wish)).await;
    assert_eq!(created["expirationDateTime"], json!(stage.minutes(45)));
    let mut wish = stage.wish("a");
    wish["resource"] = json!("/chats/getAllMessages");
    wish["lifecycleNotificationUrl"] = Value::Null;
    wish["expirationDateTime"] = json!(stage.minutes(61));
    let (status, body) = stage.graph("POST", "", Some(wish.clone())).await;
    assert_eq!(status, 400);
    assert!(error(&body).1.starts_with("lifecycleNotificationUrl is a required property"));
    wish["expirationDateTime"] = json!(stage.minutes(60));
    assert_eq!(stage.graph("POST", "", Some(wish)).await.0, 201);
    stage.strike().await;
}

#[tokio::test]
async fn delegated_resources_are_forbidden_to_an_app_only_token() {
    let stage = Stage::set().await;
    let mut wish = stage.wish("a");
    wish["resource"] = json!("communications/presences/a");
    wish["changeType"] = json!("updated");
    let (status, body) = stage.graph("POST", "", Some(wish)).await;
    assert_eq!((status, error(&body).0), (403, "Authorization_RequestDenied"));
    stage.strike().await;
}

#[tokio::test]
async fn duplicates_conflict_and_quotas_are_forbidden() {
    let stage = Stage::set_with(|config| config.rules.quota_per_app_and_tenant = 3).await;
    let first = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    let mut twin = stage.wish("A");
    twin["changeType"] = json!("updated,created");
    let (status, body) = stage.graph("POST", "", Some(twin)).await;
    let expected = format!("Subscription Id <{first}> already exists for the requested combination");
    assert_eq!((status, error(&body)), (409, ("Conflict", expected.as_str())));

    let mut chats = stage.wish("a");
    chats["resource"] = json!("chats/getAllMessages");
    stage.subscribe(DEMO_TENANTS[0], chats.clone()).await;
    chats["changeType"] = json!("deleted");
    let (status, body) = stage.graph("POST", "", Some(chats)).await;
    assert_eq!(status, 403);
    assert!(error(&body).1.contains("limit of '1' 'CHATS/GETALLMESSAGES' subscription on tenant"), "{body}");

    stage.subscribe(DEMO_TENANTS[0], stage.wish("b")).await;
    let (status, body) = stage.graph("POST", "", Some(stage.wish("c"))).await;
    assert_eq!((status, error(&body).0), (403, "ExtensionError"));
    stage.subscribe(DEMO_TENANTS[1], stage.wish("c")).await;
    stage.strike().await;
}

#[tokio::test]
async fn a_subscription_ends_when_the_clock_says_so() {
    let stage = Stage::set().await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    stage.clock.advance(TimeDelta::days(1) - TimeDelta::seconds(1));
    assert_eq!(stage.graph("GET", &format!("/{id}"), None).await.0, 200);
    stage.clock.advance(TimeDelta::seconds(1));
    assert_eq!(stage.graph("GET", &format!("/{id}"), None).await.0, 404);
    let renewal = json!({"expirationDateTime": stage.minutes(60)});
    assert_eq!(stage.graph("PATCH", &format!("/{id}"), Some(renewal)).await.0, 404);
    assert_eq!(stage.graph("GET", "", None).await.1["value"], json!([]));
    let notification = Notification::of([Item::change(id, ChangeType::Created)]);
    assert_eq!(stage.control.notify(&notification), Err(NotifyError::UnknownSubscription(id)));
    stage.strike().await;
}

#[tokio::test]
async fn the_list_is_paged_and_takes_no_query_options() {
    let stage = Stage::set_with(|config| config.rules.list_page_size = 2).await;
    let mut expected = Vec::new();
    for mailbox in ["a", "b", "c", "d", "e"] {
        expected.push(stage.subscribe(DEMO_TENANTS[0], stage.wish(mailbox)).await.to_string());
    }
    let token = stage.token(DEMO_TENANTS[0]).await;
    let mut next = Some(format!("{}v1.0/subscriptions", stage.simulator.graph_url()));
    let (mut found, mut pages) = (Vec::new(), 0);
    while let Some(url) = next {
        let (_, page) = super::answer(stage.client.get(url).bearer_auth(&token)).await;
        let ids = page["value"].as_array().unwrap().iter();
        found.extend(ids.map(|one| one["id"].as_str().unwrap().to_owned()));
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
        pages += 1;
    }
    expected.sort();
    assert_eq!((pages, found), (3, expected));
    assert_eq!(stage.graph("GET", "?$top=1", None).await.0, 400);
    stage.strike().await;
}

#[tokio::test]
async fn an_update_takes_what_can_change_and_nothing_else() {
    let stage = Stage::set().await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    for body in [
        json!({}),
        json!({"clientState": "other"}),
        json!({"lifecycleNotificationUrl": format!("{}/life", stage.receiver_url)}),
        json!({"expirationDateTime": stage.minutes(10_071)}),
        json!({"encryptionCertificateId": "only the label"}),
    ] {
        let (status, answer) = stage.graph("PATCH", &format!("/{id}"), Some(body.clone())).await;
        assert_eq!(status, 400, "{body} {answer}");
    }
    stage.strike().await;
}

#[tokio::test]
async fn a_body_over_the_cap_and_a_path_of_no_resource_are_told_in_graphs_shape() {
    let stage = Stage::set().await;
    let mut wish = stage.wish("a");
    wish["clientState"] = json!("x".repeat(5 << 20));
    let (status, body) = stage.graph("POST", "", Some(wish)).await;
    assert_eq!((status, error(&body).0), (413, "BadRequest"));
    let (status, body) = stage.graph("PUT", "", None).await;
    assert_eq!((status, error(&body).0), (405, "BadRequest"));
    let (status, body) = stage.graph("GET", "/../nothing", None).await;
    assert_eq!((status, error(&body).1), (400, "Resource not found for the segment 'nothing'."));
    stage.strike().await;
}
