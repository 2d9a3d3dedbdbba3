//! Made through the API: what is filled in, what is joined, what is refused and how that is told.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use waypost_core::clock::Clock as _;
use waypost_harness::Receiver;
use waypost_simulator::{ChangeType, DEMO_TENANTS, Fault, Item, Notification, Operation, Rules};

use super::scene::Scene;

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("a time in place of {value}")).parse().unwrap()
}

#[tokio::test]
async fn everything_is_filled_in_and_its_notifications_arrive_by_its_id_and_state() {
    let scene = Scene::start().await;
    let (forwards, notices) = (Receiver::start().await, Receiver::start().await);
    scene.tenant.endpoint(&forwards).await;
    let wants_notices = json!({"filter": {"event_types": ["subscription"]}});
    scene.tenant.endpoint_with(&notices, &wants_notices).await;
    scene.connect("conn-2").await;

    let resource = "users/5a1e0b7c-93d2-4c56-a1f7-22e840b9c101/messages";
    let made = scene
        .wish(&json!({"resource": format!("/{resource}"), "change_type": "Updated,created"}))
        .await
        .expect(201);

    let graph = scene.only_at_graph();
    assert_eq!(made["status"], "active");
    assert_eq!(made["graph_id"], json!(graph.id));
    assert_eq!(made["connection_ids"], json!(["conn-1"]));
    assert_eq!(made["change_type"], "created,updated");
    assert_eq!(made["last_error"], Value::Null);
    assert_eq!(graph.resource, resource);
    assert_eq!(graph.notification_url.as_str(), scene.app.public().url(&scene.tenant.ingress()));
    assert_eq!(
        graph.lifecycle_notification_url.unwrap().as_str(),
        format!("{}/lifecycle", graph.notification_url)
    );
    assert_eq!(graph.client_state.as_ref().unwrap().len(), 43);
    assert_eq!(graph.prefer.as_deref(), Some(r#"IdType="ImmutableId""#));
    assert_eq!(time(&made["expires_at"]), graph.expires_at);
    let (now, renew_at) = (scene.app.clock().now(), time(&made["renew_at"]));
    let life = graph.expires_at - now;
    assert!(renew_at - now > life * 49 / 100 && renew_at - now < life * 67 / 100, "{renew_at}");

    scene.graph().notify(&Notification::of([Item::change(graph.id, ChangeType::Created)])).unwrap();
    let received = forwards.wait_for(1).await;
    assert_eq!(received[0].connection(), "conn-1", "conn-2 is of the same tenant, but not served");
    let notice = notices.wait_for(1).await[0].json();
    assert_eq!(notice["operation"], "created");
    assert_eq!(notice["type"], "subscription");
    assert_eq!(notice["from"], "waypost");
    assert_eq!(notice["subscription"]["id"], made["id"]);
    assert_eq!(notice["subscription"]["graphId"], json!(graph.id));
    scene.end().await;
}

#[tokio::test]
async fn an_equal_wish_joins_and_the_last_to_leave_deletes_it_at_graph() {
    let scene = Scene::start().await;
    scene.connect("conn-2").await;
    let receiver = Receiver::start().await;
    scene.tenant.endpoint(&receiver).await;
    let made = scene.wish(&json!({"resource": "/Users"})).await.expect(201);
    let joined = scene.wish(&json!({"resource": "users", "connection_id": "conn-2"})).await.expect(200);
    assert_eq!(joined["id"], made["id"]);
    assert_eq!(joined["connection_ids"], json!(["conn-1", "conn-2"]));
    assert_eq!(scene.wish(&json!({})).await.expect(200)["id"], made["id"], "a repeat finds what is there");

    let graph = scene.only_at_graph();
    scene.graph().notify(&Notification::of([Item::change(graph.id, ChangeType::Updated)])).unwrap();
    let mut served: Vec<String> =
        receiver.wait_for(2).await.iter().map(waypost_harness::Received::connection).collect();
    served.sort();
    assert_eq!(served, ["conn-1", "conn-2"]);

    scene.tenant.api.delete("/connections/conn-1?provider_config_key=graph-cc").await.expect(200);
    let path = format!("/subscriptions/{}", made["id"].as_str().unwrap());
    assert_eq!(scene.tenant.api.get(&path).await.expect(200)["connection_ids"], json!(["conn-2"]));
    assert_eq!(scene.at_graph().len(), 1);
    scene.tenant.api.delete("/connections/conn-2?provider_config_key=graph-cc").await.expect(200);
    scene.tenant.api.get(&path).await.expect(404);
    scene.until_at_graph(0).await;
    scene.end().await;
}

#[tokio::test]
async fn wishes_that_come_at_once_make_one_subscription() {
    let scene = Scene::start().await;
    scene.connect("conn-2").await;
    let second = json!({"connection_id": "conn-2"});
    let nothing = json!({});
    let (first, second, third) =
        tokio::join!(scene.wish(&nothing), scene.wish(&second), scene.wish(&nothing));
    let mut statuses = [first.status, second.status, third.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 201], "{} {} {}", first.text(), second.text(), third.text());
    assert_eq!(scene.only_at_graph().tenant, DEMO_TENANTS[0]);
    assert_eq!(scene.graph().calls(Operation::CreateSubscription), 1);
    scene.end().await;
}

#[tokio::test]
async fn what_differs_in_tenant_resource_or_changes_is_another_subscription() {
    let scene = Scene::start().await;
    scene.connect_to("conn-2", DEMO_TENANTS[1]).await;
    scene.wish(&json!({})).await.expect(201);
    scene.wish(&json!({"connection_id": "conn-2"})).await.expect(201);
    scene.wish(&json!({"resource": "groups"})).await.expect(201);
    scene.wish(&json!({"change_type": "updated,deleted"})).await.expect(201);
    assert_eq!(scene.at_graph().len(), 4);
    let listed = scene.tenant.list("/subscriptions?limit=2").await;
    assert_eq!(listed.len(), 4);
    let of_second = scene.tenant.only("/subscriptions?connection_id=conn-2&status=active").await;
    assert_eq!(of_second["resource"], "users");
    assert!(scene.tenant.list("/subscriptions?provider_config_key=other").await.is_empty());
    scene.tenant.api.get("/subscriptions?status=gone").await.refused(400, "invalid_query_params");
    scene.end().await;
}

#[tokio::test]
async fn a_refusal_is_shown_in_graphs_words_and_leaves_nothing() {
    let scene = Scene::start().await;
    let fault = Fault::answer(Operation::CreateSubscription, 1, 403, "Authorization_RequestDenied");
    scene.graph().set_fault([fault]);
    let refused = scene.wish(&json!({})).await.refused(403, "graph_error");
    let graph = &refused["error"]["graph"];
    assert_eq!(
        (graph["status"].as_u64(), graph["code"].as_str()),
        (Some(403), Some("Authorization_RequestDenied"))
    );
    assert!(graph["request_id"].is_string(), "{graph}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("administrator"), "{refused}");
    assert!(scene.tenant.list("/subscriptions").await.is_empty());
    scene.wish(&json!({})).await.expect(201);
    scene.end().await;
}

#[tokio::test]
async fn a_ceiling_that_graph_teaches_is_kept() {
    let mut rules = Rules::default();
    rules.ceilings.insert("user".to_owned(), 300);
    let scene = Scene::with(rules, |_| {}).await;
    scene.connect("conn-1").await;
    let made = scene.wish(&json!({})).await.expect(201);
    let life = time(&made["expires_at"]) - scene.app.clock().now();
    assert!(life <= TimeDelta::minutes(285) && life > TimeDelta::minutes(280), "{life}");
    assert_eq!(scene.graph().calls(Operation::CreateSubscription), 2);
    scene.end().await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let scene = Scene::start().await;
    scene.graph().set_fault([Fault::unauthorized(Operation::CreateSubscription, 1)]);
    scene.wish(&json!({})).await.expect(201);
    assert_eq!(scene.graph().calls(Operation::Token), 2);
    scene.end().await;
}

#[tokio::test]
async fn what_can_not_be_is_told_before_graph_is_asked() {
    let scene = Scene::start().await;
    for (members, field) in [
        (json!({"resource": "users/1/messages", "include_resource_data": true}), "resource"),
        (json!({"include_resource_data": true}), "include_resource_data"),
        (json!({"change_type": "moved"}), "change_type"),
        (json!({"resource": "/"}), "resource"),
        (json!({"lifetime": "1m"}), "lifetime"),
    ] {
        let refused = scene.wish(&members).await.refused(400, "invalid_body");
        assert_eq!(refused["error"]["errors"][0]["path"], json!([field]), "{refused}");
    }
    scene.wish(&json!({"connection_id": "nobody"})).await.refused(404, "unknown_connection");
    scene.wish(&json!({"provider_config_key": "other"})).await.refused(404, "unknown_connection");
    scene.wish(&json!({"other": 1})).await.refused(400, "invalid_body");
    assert_eq!(scene.graph().calls(Operation::CreateSubscription), 0);
    scene.end().await;
}

#[tokio::test]
async fn a_public_url_that_graph_could_not_use_is_told_with_its_cure() {
    let scene = Scene::with(Rules::default(), |settings| {
        settings.server.public_url = "http://127.0.0.1:9".parse().unwrap();
    })
    .await;
    scene.connect("conn-1").await;
    let refused = scene.wish(&json!({})).await.refused(502, "public_url_unreachable");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("server.public_url") && message.contains("127.0.0.1:9"), "{message}");
    assert_eq!(scene.graph().calls(Operation::CreateSubscription), 0);
    assert!(scene.tenant.list("/subscriptions").await.is_empty());
    scene.end().await;
}

#[tokio::test]
async fn a_rich_one_names_a_certificate_of_ours() {
    let scene = Scene::start().await;
    let wish =
        json!({"resource": "chats/getAllMessages", "change_type": "created", "include_resource_data": true});
    let made = scene.wish(&wish).await.expect(201);
    assert_eq!(made["include_resource_data"], true);
    let graph = scene.only_at_graph();
    assert!(graph.include_resource_data && graph.encryption_certificate_id.is_some());
    scene.end().await;
}

#[tokio::test]
async fn it_is_renewed_by_hand_but_not_twice_within_ten_minutes() {
    let scene = Scene::start().await;
    let made = scene.wish(&json!({"lifetime": "2h"})).await.expect(201);
    let path = format!("/subscriptions/{}", made["id"].as_str().unwrap());
    let longer = json!({"lifetime": "6h", "auto_renew": false});
    let changed = scene.tenant.api.patch(&path, &longer).await.expect(200);
    assert_eq!(
        (&changed["lifetime"], &changed["auto_renew"], &changed["renew_at"]),
        (&json!("6h"), &json!(false), &Value::Null)
    );
    assert_eq!(changed["expires_at"], made["expires_at"]);

    let renewed = scene.tenant.api.post(&format!("{path}/renew"), &json!({})).await.expect(200);
    assert!(time(&renewed["expires_at"]) - time(&made["expires_at"]) > TimeDelta::hours(3), "{renewed}");
    assert_eq!(scene.only_at_graph().updates, 1);
    scene.tenant.api.post(&format!("{path}/renew"), &json!({})).await.refused(409, "renewed_too_soon");
    scene.app.clock().advance(TimeDelta::minutes(11));
    scene.tenant.api.post(&format!("{path}/renew"), &json!({})).await.expect(200);
    let again =
        scene.tenant.api.patch(&path, &json!({"auto_renew": true, "lifetime": null})).await.expect(200);
    assert!(again["renew_at"].is_string() && again["lifetime"].is_null(), "{again}");
    scene.end().await;
}

#[tokio::test]
async fn one_that_graph_has_lost_is_removed_when_it_is_renewed_and_that_is_told() {
    let scene = Scene::start().await;
    let notices = Receiver::start().await;
    let wants = json!({"filter": {"event_types": ["subscription.removed"]}});
    scene.tenant.endpoint_with(&notices, &wants).await;
    let made = scene.wish(&json!({})).await.expect(201);
    scene.graph().remove_subscription(scene.only_at_graph().id).unwrap();
    let path = format!("/subscriptions/{}", made["id"].as_str().unwrap());

    scene.tenant.api.post(&format!("{path}/renew"), &json!({})).await.refused(409, "subscription_over");

    let shown = scene.tenant.api.get(&path).await.expect(200);
    assert_eq!((&shown["status"], &shown["renew_at"]), (&json!("removed"), &Value::Null));
    assert_eq!(shown["last_error"]["graph"]["code"], "ResourceNotFound");
    assert_eq!(notices.wait_for(1).await[0].json()["operation"], "removed");
    scene.tenant.api.post(&format!("{path}/renew"), &json!({})).await.refused(409, "subscription_over");
    scene.wish(&json!({})).await.expect(201);
    scene.end().await;
}
