//! Creates whose answer never came: found by Graph's list, and never made twice.

use chrono::TimeDelta;
use serde_json::{Value, json};
use waypost_harness::{Receiver, wait};
use waypost_simulator::{ChangeType, Fault, Item, Notification, Operation};

use super::scene::Scene;

#[tokio::test]
async fn a_create_without_an_answer_is_found_in_the_list_and_adopted() {
    let scene = Scene::start().await;
    scene.graph().set_fault([Fault::unclear(Operation::CreateSubscription, 1)]);
    let made = scene.wish(&json!({})).await.expect(201);
    assert_eq!(made["graph_id"], json!(scene.only_at_graph().id));
    assert_eq!(scene.graph().calls(Operation::CreateSubscription), 1);
    scene.end().await;
}

#[tokio::test]
async fn a_failing_graph_that_did_create_it_is_not_asked_twice() {
    let scene = Scene::start().await;
    let fault = Fault::answer(Operation::CreateSubscription, 1, 503, "ServiceUnavailable");
    scene.graph().set_fault([Fault { after_effect: true, ..fault }]);
    let made = scene.wish(&json!({})).await.expect(201);
    assert_eq!(made["graph_id"], json!(scene.only_at_graph().id));
    scene.end().await;
}

/// A create that Graph carried out, whose answer was lost and that the list doesn't show yet.
async fn lost(scene: &Scene) -> Value {
    scene.graph().set_fault([
        Fault::unclear(Operation::CreateSubscription, 1),
        Fault::answer(Operation::ListSubscriptions, 1, 503, "ServiceUnavailable"),
    ]);
    scene.wish(&json!({})).await.refused(502, "outcome_unclear");
    let pending = scene.tenant.only("/subscriptions").await;
    assert_eq!((&pending["status"], &pending["graph_id"]), (&json!("pending"), &Value::Null));
    assert_eq!(pending["last_error"]["code"], "outcome_unclear");
    pending
}

#[tokio::test]
async fn what_can_not_be_found_now_is_found_later_and_told_then() {
    let scene = Scene::start().await;
    let notices = Receiver::start().await;
    let wants = json!({"filter": {"event_types": ["subscription.created"]}});
    scene.tenant.endpoint_with(&notices, &wants).await;
    let pending = lost(&scene).await;

    scene.app.advance(TimeDelta::minutes(2)).await;
    let active = scene
        .until(pending["id"].as_str().unwrap(), "the create to be found", |shown| shown["status"] == "active")
        .await;
    assert_eq!(active["graph_id"], json!(scene.only_at_graph().id));
    assert_eq!(active["last_error"], Value::Null);
    assert_eq!(scene.graph().calls(Operation::CreateSubscription), 1);
    assert_eq!(notices.wait_for(1).await[0].json()["subscription"]["id"], pending["id"]);
    scene.end().await;
}

#[tokio::test]
async fn a_notification_that_comes_before_its_id_is_known_is_accepted_by_its_state() {
    let scene = Scene::start().await;
    let receiver = Receiver::start().await;
    scene.tenant.endpoint(&receiver).await;
    lost(&scene).await;
    let id = scene.only_at_graph().id;
    scene.graph().notify(&Notification::of([Item::change(id, ChangeType::Updated)])).unwrap();
    assert_eq!(receiver.wait_for(1).await[0].items()[0]["subscriptionId"], json!(id));
    scene.end().await;
}

#[tokio::test]
async fn a_process_that_died_between_intent_and_answer_leaves_what_another_one_settles() {
    let mut scene = Scene::start().await;
    scene.graph().set_fault([Fault {
        after_effect: true,
        ..Fault::slow(Operation::CreateSubscription, 1, 3_600_000)
    }]);
    let (api, body) = (
        scene.tenant.api.clone(),
        json!({"provider_config_key": "graph-cc", "connection_id": "conn-1", "resource": "users", "change_type": "updated"}),
    );
    let asking = async move { api.post("/subscriptions", &body).await };
    let mut connection = scene.app.db_connect().await;
    let written = wait::until("the intent to be written", async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM subscriptions WHERE posted_at IS NOT NULL")
            .fetch_one(&mut connection)
            .await
            .ok()
            .filter(|count| *count == 1)
    });
    tokio::select! {
        answer = asking => panic!("answered {}", answer.text()),
        _one = written => {}
    }
    scene.app.kill().await;
    scene.graph().set_fault([]);
    scene.app.restart().await;
    scene.app.advance(TimeDelta::minutes(6)).await;

    // Graph never had it, and nobody waits for it: it is looked for a few times, and forgotten.
    for _ in 0..3 {
        scene.app.advance(TimeDelta::minutes(10)).await;
        let looked = scene.graph().calls(Operation::ListSubscriptions);
        let mut rows = scene.app.db_connect().await;
        wait::until_true("it to be looked for", async || {
            let left: i64 =
                sqlx::query_scalar("SELECT count(*) FROM subscriptions").fetch_one(&mut rows).await.unwrap();
            left == 0 || scene.graph().calls(Operation::ListSubscriptions) > looked
        })
        .await;
    }
    let mut rows = scene.app.db_connect().await;
    wait::until_true("it to be forgotten", async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM subscriptions").fetch_one(&mut rows).await.unwrap()
            == 0
    })
    .await;
    assert!(scene.at_graph().is_empty());
    scene.end().await;
}
