//! What every new connection gets by itself.

use chrono::TimeDelta;
use serde_json::json;
use waypost_harness::wait;
use waypost_simulator::{Fault, Operation, Rules};

use super::scene::Scene;

const PATH: &str = "/integrations/graph-cc/subscription-templates";

#[tokio::test]
async fn a_new_connection_gets_them_and_one_that_was_there_does_not() {
    let scene = Scene::start().await;
    let wanted = json!([
        {"name": "people", "resource": "users", "change_type": "updated"},
        {"resource": "chats/getAllMessages", "change_type": "created", "lifetime": "1d", "auto_renew": false},
    ]);
    let put = scene.put(PATH, &wanted).await.expect(200);
    assert_eq!(put["data"][0]["name"], "people");
    assert_eq!(put["data"][1]["lifetime"], "1d");
    assert_eq!(scene.tenant.api.get(PATH).await.expect(200), put);
    scene.put(PATH, &put).await.expect(200);

    scene.connect("conn-2").await;
    wait::until_true("both to be active", async || {
        scene.tenant.list("/subscriptions?connection_id=conn-2&status=active").await.len() == 2
    })
    .await;
    assert_eq!(scene.at_graph().len(), 2);
    assert!(scene.tenant.list("/subscriptions?connection_id=conn-1").await.is_empty());

    scene.connect("conn-3").await;
    wait::until_true("the third to join", async || {
        let joined = scene.tenant.list("/subscriptions?connection_id=conn-3&status=active").await;
        joined.len() == 2 && joined.iter().all(|one| one["connection_ids"] == json!(["conn-2", "conn-3"]))
    })
    .await;
    assert_eq!(scene.at_graph().len(), 2);
    scene.end().await;
}

#[tokio::test]
async fn what_graph_refuses_is_shown_and_tried_again() {
    let scene = Scene::with(Rules::default(), |_| {}).await;
    scene.put(PATH, &json!([{"resource": "users", "change_type": "updated"}])).await.expect(200);
    scene.graph().set_fault([Fault::answer(
        Operation::CreateSubscription,
        1,
        403,
        "Authorization_RequestDenied",
    )]);
    scene.connect("conn-1").await;
    let id = scene.tenant.only("/subscriptions").await["id"].as_str().unwrap().to_owned();
    let pending = scene.until(&id, "the refusal to be shown", |shown| !shown["last_error"].is_null()).await;
    assert_eq!(pending["status"], "pending");
    assert_eq!(pending["last_error"]["graph"]["code"], "Authorization_RequestDenied");

    scene.app.advance(TimeDelta::minutes(6)).await;
    scene.until(&id, "it to be granted", |shown| shown["status"] == "active").await;
    scene.end().await;
}

#[tokio::test]
async fn templates_that_can_not_be_are_refused_with_their_place() {
    let scene = Scene::start().await;
    let wrong = json!([{"resource": "users", "change_type": "updated"}, {"resource": "users", "change_type": "moved"}]);
    let refused = scene.put(PATH, &wrong).await.refused(400, "invalid_body");
    assert_eq!(refused["error"]["errors"][0]["path"], json!(["1", "change_type"]));
    let rich_mail = json!([{"resource": "users/a@b.example/messages", "change_type": "updated", "include_resource_data": true}]);
    let refused = scene.put(PATH, &rich_mail).await.refused(400, "invalid_body");
    assert_eq!(refused["error"]["errors"][0]["path"], json!(["0", "resource"]));
    let twice = json!([{"resource": "users", "change_type": "updated"}, {"resource": "/Users", "change_type": "updated"}]);
    let refused = scene.put(PATH, &twice).await.refused(400, "invalid_body");
    assert_eq!(refused["error"]["errors"][0]["path"], json!(["1", "resource"]));
    scene.put(PATH, &json!([{"resource": "users"}])).await.refused(400, "invalid_body");
    scene.put("/integrations/other/subscription-templates", &json!([])).await.expect(404);
    assert_eq!(scene.put(PATH, &json!([])).await.expect(200)["data"], json!([]));
    scene.end().await;
}
