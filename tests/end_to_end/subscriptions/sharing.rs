//! One subscription of Graph's, wanted by several or wanted again: nobody takes it from anybody, or has it deleted under
//! them.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use waypost_harness::{Answer, Receiver, Tenant, wait};
use waypost_simulator::{DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, Fault, Operation, Rules};

use super::scene::Scene;

fn graph_fails_to_delete(times: u32) -> [Fault; 1] {
    [Fault::answer(Operation::DeleteSubscription, times, 503, "ServiceUnavailable")]
}

/// A connection of the first demo tenant and app, of another integration or environment.
async fn connect(tenant: &Tenant, integration: &str, id: &str) {
    let members = json!({
        "provider_config_key": integration,
        "connection_id": id,
        "connection_config": {"tenantId": DEMO_TENANTS[0]},
        "credentials": {"type": "OAUTH2_CC", "client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET},
    });
    tenant.connection_with(&members).await;
}

async fn proxied(scene: &Scene, connection: &str, method: Method, id: &Value, body: &Value) -> Answer {
    let api = &scene.tenant.api;
    let request = api.request(method, &format!("/proxy/v1.0/subscriptions/{}", id.as_str().unwrap()));
    let request = request.header("Provider-Config-Key", "graph-cc").header("Connection-Id", connection);
    api.send(if body.is_null() { request } else { request.json(body) }).await
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("a time in place of {value}")).parse().unwrap()
}

#[tokio::test]
async fn what_is_wanted_again_before_it_is_deleted_at_graph_stays() {
    let scene = Scene::start().await;
    let made = scene.wish(&json!({})).await.expect(201);
    scene.graph().set_fault(graph_fails_to_delete(1));
    scene.tenant.api.delete(&format!("/subscriptions/{}", made["id"].as_str().unwrap())).await.expect(200);

    let again = scene.wish(&json!({})).await.expect(201);

    assert_eq!(again["graph_id"], made["graph_id"], "Graph has it still");
    let deletes = scene.graph().calls(Operation::DeleteSubscription);
    scene.app.advance(TimeDelta::hours(2)).await;
    scene.app.until_settled().await;
    assert_eq!(scene.graph().calls(Operation::DeleteSubscription), deletes);
    assert_eq!(json!(scene.only_at_graph().id), again["graph_id"]);
    scene.end().await;
}

#[tokio::test]
async fn a_customer_who_is_connected_anew_at_once_keeps_what_is_wished_for_then() {
    let scene = Scene::start().await;
    scene.wish(&json!({})).await.expect(201);
    scene.tenant.api.delete("/connections/conn-1?provider_config_key=graph-cc").await.expect(200);
    scene.connect("conn-1").await;

    let again = scene.wish(&json!({})).await.expect(201);

    let mut rows = scene.app.db_connect().await;
    wait::until_true("no note to be left", async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM graph_deletions")
            .fetch_one(&mut rows)
            .await
            .unwrap()
            == 0
    })
    .await;
    assert_eq!(json!(scene.only_at_graph().id), again["graph_id"]);
    scene.end().await;
}

#[tokio::test]
async fn nobody_takes_a_subscription_from_another_environment() {
    let scene = Scene::start().await;
    let made = scene.wish(&json!({})).await.expect(201);
    let other = scene.app.tenant("umbrella").await;
    connect(&other, "graph-cc", "theirs").await;
    let body = json!({"provider_config_key": "graph-cc", "connection_id": "theirs"});

    let mut wish = body.clone();
    (wish["resource"], wish["change_type"]) = (json!("users"), json!("updated"));
    let refused =
        other.api.post("/subscriptions", &wish).await.refused(409, "subscription_tracked_elsewhere");
    assert!(!refused.to_string().contains("acme"), "{refused}");
    assert_eq!(other.api.post("/subscriptions/import", &body).await.expect(200)["data"], json!([]));
    let mut named = body.clone();
    named["ids"] = json!([made["graph_id"]]);
    let imported = other.api.post("/subscriptions/import", &named).await.expect(200);
    assert_eq!(imported["data"][0]["error"]["code"], "subscription_tracked_elsewhere");

    assert!(other.list("/subscriptions").await.is_empty());
    let graph = scene.only_at_graph();
    assert_eq!(graph.notification_url.as_str(), scene.app.public().url(&scene.tenant.ingress()));
    assert_eq!(graph.updates, 0);
    scene.end().await;
}

#[tokio::test]
async fn another_integration_is_told_whose_it_is() {
    let scene = Scene::start().await;
    scene.wish(&json!({})).await.expect(201);
    scene.tenant.integration_with(&json!({"unique_key": "graph-two"})).await;
    connect(&scene.tenant, "graph-two", "conn-1").await;
    let wish = json!({"provider_config_key": "graph-two"});
    let refused = scene.wish(&wish).await.refused(409, "subscription_tracked_elsewhere");
    assert!(refused["error"]["message"].as_str().unwrap().contains("\"graph-cc\""), "{refused}");
    assert_eq!(scene.only_at_graph().updates, 0);
    scene.end().await;
}

#[tokio::test]
async fn a_wish_for_content_is_not_answered_with_one_that_has_none() {
    let scene = Scene::start().await;
    let (basic, rich) = (
        json!({"resource": "chats/getAllMessages"}),
        json!({"resource": "chats/getAllMessages", "include_resource_data": true}),
    );
    let made = scene.wish(&basic).await.expect(201);
    scene.wish(&rich).await.refused(409, "graph_error");
    scene.tenant.api.delete(&format!("/subscriptions/{}", made["id"].as_str().unwrap())).await.expect(200);
    scene.wish(&rich).await.expect(201);
    scene.wish(&basic).await.refused(409, "graph_error");
    assert_eq!(scene.tenant.only("/subscriptions").await["include_resource_data"], true);
    scene.end().await;
}

#[tokio::test]
async fn a_renewal_moves_it_to_the_new_certificate() {
    let scene = Scene::start().await;
    let wish = json!({"resource": "chats/getAllMessages", "include_resource_data": true});
    let made = scene.wish(&wish).await.expect(201);
    let before = scene.only_at_graph().encryption_certificate_id;
    scene.tenant.api.post("/integrations/graph-cc/certificates", &json!({})).await.expect(201);

    let renew = format!("/subscriptions/{}/renew", made["id"].as_str().unwrap());
    scene.tenant.api.post(&renew, &json!({})).await.expect(200);

    let after = scene.only_at_graph().encryption_certificate_id;
    assert!(after.is_some() && after != before, "{after:?}");
    let mut rows = scene.app.db_connect().await;
    let kept: Option<String> =
        sqlx::query_scalar("SELECT certificate_label FROM subscriptions").fetch_one(&mut rows).await.unwrap();
    assert_eq!(kept, after);
    scene.end().await;
}

#[tokio::test]
async fn one_of_two_that_deletes_it_through_the_proxy_leaves_it_to_the_other() {
    let scene = Scene::start().await;
    scene.connect("conn-2").await;
    let made = scene.wish(&json!({})).await.expect(201);
    scene.wish(&json!({"connection_id": "conn-2"})).await.expect(200);
    let id = &made["graph_id"];

    let left = proxied(&scene, "conn-2", Method::DELETE, id, &Value::Null).await;
    assert_eq!(left.status, 204, "{}", left.text());
    assert_eq!(scene.graph().calls(Operation::DeleteSubscription), 0);
    assert_eq!(scene.tenant.only("/subscriptions").await["connection_ids"], json!(["conn-1"]));
    let again = proxied(&scene, "conn-2", Method::DELETE, id, &Value::Null).await;
    assert_eq!(again.status, 404, "a repeat must not delete it for the other: {}", again.text());

    let last = proxied(&scene, "conn-1", Method::DELETE, id, &Value::Null).await;
    assert_eq!(last.status, 204, "{}", last.text());
    assert!(scene.at_graph().is_empty());
    assert!(scene.tenant.list("/subscriptions").await.is_empty());
    scene.end().await;
}

#[tokio::test]
async fn whoever_joins_and_wants_more_gets_it_and_whoever_wants_less_takes_nothing_away() {
    let scene = Scene::start().await;
    scene.connect("conn-2").await;
    let made = scene.wish(&json!({"lifetime": "1h", "auto_renew": false})).await.expect(201);
    let end = time(&made["expires_at"]);

    let more = json!({"connection_id": "conn-2", "lifetime": "1d"});
    let joined = scene.wish(&more).await.expect(200);

    assert_eq!((&joined["auto_renew"], &joined["lifetime"]), (&json!(true), &json!("1d")));
    assert!(time(&joined["expires_at"]) > end + TimeDelta::hours(20), "{joined}");
    assert_eq!(time(&joined["expires_at"]), scene.only_at_graph().expires_at);
    assert!(!joined["renew_at"].is_null());
    let less = scene.wish(&json!({"lifetime": "1h", "auto_renew": false})).await.expect(200);
    assert_eq!((&less["auto_renew"], &less["lifetime"]), (&json!(true), &json!("1d")));
    scene.end().await;
}

#[tokio::test]
async fn one_that_is_led_elsewhere_through_the_proxy_is_ours_no_more_and_that_is_told() {
    let scene = Scene::start().await;
    let notices = Receiver::start().await;
    let wants = json!({"filter": {"event_types": ["subscription.removed"]}});
    scene.tenant.endpoint_with(&notices, &wants).await;
    let made = scene.wish(&json!({})).await.expect(201);
    // Another address of ours stands for somebody else: it answers the handshake as well.
    let elsewhere = scene.app.public().url(&format!("/webhook/{}/elsewhere", uuid::Uuid::new_v4()));

    let body = json!({"notificationUrl": elsewhere});
    proxied(&scene, "conn-1", Method::PATCH, &made["graph_id"], &body).await.expect(200);

    assert_eq!(scene.tenant.only("/subscriptions").await["status"], "removed");
    assert_eq!(notices.wait_for(1).await[0].json()["subscription"]["id"], made["id"]);
    scene.end().await;
}

#[tokio::test]
async fn what_a_proxied_call_did_is_found_out_where_its_answer_does_not_tell() {
    let scene = Scene::start().await;
    let made = scene.wish(&json!({"lifetime": "1h"})).await.expect(201);
    let fault = |operation| {
        let fault = Fault::answer(operation, 1, 503, "ServiceUnavailable");
        [Fault { after_effect: true, ..fault }]
    };
    let end = time(&made["expires_at"]) + TimeDelta::hours(3);
    scene.graph().set_fault(fault(Operation::UpdateSubscription));
    let body = json!({"expirationDateTime": end.to_rfc3339()});
    let unclear = proxied(&scene, "conn-1", Method::PATCH, &made["graph_id"], &body).await;
    assert_eq!(unclear.status, 503, "{}", unclear.text());
    assert_eq!(
        time(&scene.tenant.only("/subscriptions").await["expires_at"]),
        scene.only_at_graph().expires_at
    );

    scene.graph().set_fault(fault(Operation::DeleteSubscription));
    let unclear = proxied(&scene, "conn-1", Method::DELETE, &made["graph_id"], &Value::Null).await;
    assert_eq!(unclear.status, 503, "{}", unclear.text());
    assert!(scene.tenant.list("/subscriptions").await.is_empty());
    scene.end().await;
}

#[tokio::test]
async fn an_empty_client_state_through_the_proxy_is_filled_in() {
    let scene = Scene::with(Rules::default(), |_| {}).await;
    scene.connect("conn-1").await;
    let api = &scene.tenant.api;
    let body =
        json!({"resource": "users", "changeType": "updated", "clientState": "", "notificationUrl": ""});
    let request = api.request(Method::POST, "/proxy/v1.0/subscriptions").json(&body);
    let request = request.header("Provider-Config-Key", "graph-cc").header("Connection-Id", "conn-1");
    api.send(request).await.expect(201);
    assert_eq!(scene.only_at_graph().client_state.unwrap().len(), 43);
    assert_eq!(scene.tenant.only("/subscriptions").await["status"], "active");
    scene.end().await;
}
