//! Taken over from whoever made them: their own state vouches for them from then on.

use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Value, json};
use uuid::Uuid;
use waypost_core::clock::Clock as _;
use waypost_harness::{Client, Receiver};
use waypost_simulator::{
    ChangeType, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, Item, Notification, Rules,
};

use super::scene::Scene;

/// As the app itself, at Graph: creates a subscription whose notifications go to `url`.
async fn made_elsewhere(scene: &Scene, url: &str, resource: &str, state: Option<&str>) -> Uuid {
    let (login, graph) = (scene.login_url(), scene.graph_url());
    let client = Client::new(String::new());
    let form = [
        ("client_id", DEMO_CLIENT_ID.to_string()),
        ("client_secret", DEMO_CLIENT_SECRET.to_owned()),
        ("scope", "https://graph.microsoft.com/.default".to_owned()),
        ("grant_type", "client_credentials".to_owned()),
    ];
    let token_path = format!("{login}/{}/oauth2/v2.0/token", DEMO_TENANTS[0]);
    let answer =
        client.send(client.request(reqwest::Method::POST, &token_path).form(&form)).await.expect(200);
    let mut body = json!({
        "changeType": "updated",
        "resource": resource,
        "notificationUrl": url,
        "expirationDateTime": (scene.app.clock().now() + TimeDelta::hours(3)).to_rfc3339_opts(SecondsFormat::Secs, true),
    });
    if let Some(state) = state {
        body["clientState"] = json!(state);
    }
    let signed = client.with_token(answer["access_token"].as_str().unwrap());
    let made = signed.post(&format!("{graph}/v1.0/subscriptions"), &body).await.expect(201);
    made["id"].as_str().unwrap().parse().unwrap()
}

async fn import(scene: &Scene, members: &Value) -> Value {
    let mut body = json!({"provider_config_key": "graph-cc", "connection_id": "conn-1"});
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    scene.tenant.api.post("/subscriptions/import", &body).await.expect(200)
}

#[tokio::test]
async fn its_state_is_read_its_notifications_are_led_here_and_it_is_kept() {
    let scene = Scene::with(Rules::default(), |_| {}).await;
    scene.connect("conn-1").await;
    // Another receiver of ours stands for another relay: it answers the handshake as well.
    let elsewhere = scene.app.public().url(&format!("/webhook/{}/elsewhere", Uuid::new_v4()));
    let id = made_elsewhere(&scene, &elsewhere, "users", Some("state-of-another-relay")).await;
    let stateless = made_elsewhere(&scene, &elsewhere, "groups", None).await;
    let receiver = Receiver::start().await;
    scene.tenant.endpoint(&receiver).await;

    let nobody = Uuid::new_v4();
    let imported = import(&scene, &json!({"ids": [id, stateless, nobody, "nonsense"]})).await;

    let statuses: Vec<&str> =
        imported["data"].as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["adopted", "failed", "failed", "failed"], "{imported:#}");
    assert_eq!(imported["data"][0]["subscription"]["graph_id"], json!(id));
    assert!(imported["data"][1]["error"]["message"].as_str().unwrap().contains("clientState"));
    assert_eq!(imported["data"][2]["error"]["code"], "graph_error");
    let at_graph = scene.at_graph().into_iter().find(|found| found.id == id).unwrap();
    assert_eq!(at_graph.notification_url.as_str(), scene.app.public().url(&scene.tenant.ingress()));

    scene.graph().notify(&Notification::of([Item::change(id, ChangeType::Updated)])).unwrap();
    assert_eq!(receiver.wait_for(1).await[0].connection(), "conn-1");
    let again = import(&scene, &json!({"ids": [id]})).await;
    assert_eq!(again["data"][0]["status"], "adopted", "{again:#}");
    assert_eq!(scene.tenant.list("/subscriptions").await.len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn without_ids_all_that_the_app_has_is_taken_over() {
    let scene = Scene::with(Rules::default(), |_| {}).await;
    scene.connect("conn-1").await;
    let elsewhere = scene.app.public().url(&format!("/webhook/{}/elsewhere", Uuid::new_v4()));
    made_elsewhere(&scene, &elsewhere, "users", Some("one")).await;
    made_elsewhere(&scene, &elsewhere, "groups", Some("two")).await;
    let imported = import(&scene, &json!({})).await;
    assert_eq!(imported["data"].as_array().unwrap().len(), 2);
    assert_eq!(scene.tenant.list("/subscriptions?status=active").await.len(), 2);
    assert_eq!(import(&scene, &json!({})).await["data"], json!([]));
    scene.end().await;
}

#[tokio::test]
async fn one_that_notifies_somebody_else_is_left_to_them_though_it_stands_in_the_way() {
    let scene = Scene::start().await;
    let elsewhere = scene.app.public().url(&format!("/webhook/{}/elsewhere", Uuid::new_v4()));
    let id = made_elsewhere(&scene, &elsewhere, "users", Some("state-of-another-relay")).await;
    let refused = scene.wish(&json!({})).await.refused(409, "graph_error");
    assert!(refused["error"]["message"].as_str().unwrap().contains("import it"), "{refused}");
    assert_eq!(scene.only_at_graph().notification_url.as_str(), elsewhere);
    assert_eq!(import(&scene, &json!({"ids": [id]})).await["data"][0]["status"], "adopted");
    scene.wish(&json!({})).await.expect(200);
    scene.end().await;
}

#[tokio::test]
async fn one_that_notifies_us_and_stands_in_the_way_of_a_wish_is_adopted_in_its_place() {
    let scene = Scene::start().await;
    let ours = scene.app.public().url(&scene.tenant.ingress());
    let id = made_elsewhere(&scene, &ours, "users", Some("state-of-another-relay")).await;
    let made = scene.wish(&json!({})).await.expect(201);
    assert_eq!(made["graph_id"], json!(id), "Graph named it in its refusal");
    let receiver = Receiver::start().await;
    scene.tenant.endpoint(&receiver).await;
    scene.graph().notify(&Notification::of([Item::change(id, ChangeType::Updated)])).unwrap();
    receiver.wait_for(1).await;
    scene.end().await;
}
