//! What nobody wants any more is deleted at Graph, also when its connection and credentials are gone.

use chrono::TimeDelta;
use serde_json::json;
use waypost_harness::wait;
use waypost_simulator::{Fault, Operation};

use super::scene::Scene;

impl Scene {
    async fn db_notes(&self) -> i64 {
        let mut connection = self.app.db_connect().await;
        sqlx::query_scalar("SELECT count(*) FROM graph_deletions").fetch_one(&mut connection).await.unwrap()
    }

    async fn until_clean(&self) {
        self.until_at_graph(0).await;
        wait::until_true("no note to be left", async || self.db_notes().await == 0).await;
    }
}

#[tokio::test]
async fn deleting_one_deletes_it_at_graph_at_once() {
    let scene = Scene::start().await;
    let made = scene.wish(&json!({})).await.expect(201);
    let path = format!("/subscriptions/{}", made["id"].as_str().unwrap());
    scene.tenant.api.delete(&path).await.expect(200);
    assert!(scene.at_graph().is_empty());
    scene.tenant.api.delete(&path).await.expect(404);
    assert_eq!(scene.db_notes().await, 0);
    scene.end().await;
}

#[tokio::test]
async fn what_graph_can_not_delete_now_is_deleted_later() {
    let scene = Scene::start().await;
    let made = scene.wish(&json!({})).await.expect(201);
    scene.graph().set_fault([Fault::answer(Operation::DeleteSubscription, 1, 503, "ServiceUnavailable")]);
    scene.tenant.api.delete(&format!("/subscriptions/{}", made["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(scene.at_graph().len(), 1);
    scene.app.advance(TimeDelta::minutes(1)).await;
    scene.until_clean().await;
    scene.end().await;
}

#[tokio::test]
async fn a_connection_that_is_deleted_takes_its_subscriptions_along_with_the_credentials_it_had() {
    let scene = Scene::start().await;
    scene.wish(&json!({})).await.expect(201);
    scene.wish(&json!({"resource": "groups"})).await.expect(201);
    scene.graph().set_fault([Fault::answer(Operation::DeleteSubscription, 1, 503, "ServiceUnavailable")]);
    scene.tenant.api.delete("/connections/conn-1?provider_config_key=graph-cc").await.expect(200);
    assert!(scene.tenant.list("/subscriptions").await.is_empty());
    wait::until_true("the first to be deleted", async || scene.at_graph().len() == 1).await;
    scene.app.advance(TimeDelta::minutes(1)).await;
    scene.until_clean().await;
    scene.end().await;
}

#[tokio::test]
async fn an_integration_and_an_environment_that_are_deleted_clean_up_as_well() {
    let scene = Scene::start().await;
    scene.wish(&json!({})).await.expect(201);
    scene.tenant.api.delete("/integrations/graph-cc").await.expect(200);
    scene.until_clean().await;

    scene.tenant.integration().await;
    scene.connect("conn-1").await;
    scene.wish(&json!({})).await.expect(201);
    scene.app.admin().delete(&format!("/admin/environments/{}", scene.tenant.environment)).await.expect(200);
    scene.until_clean().await;
    scene.end().await;
}

#[tokio::test]
async fn a_create_that_was_in_flight_when_its_connection_went_is_found_and_deleted() {
    let scene = Scene::start().await;
    scene.graph().set_fault([
        Fault::unclear(Operation::CreateSubscription, 1),
        Fault::answer(Operation::ListSubscriptions, 1, 503, "ServiceUnavailable"),
    ]);
    scene.wish(&json!({})).await.refused(502, "outcome_unclear");
    assert_eq!(scene.at_graph().len(), 1);
    scene.tenant.api.delete("/connections/conn-1?provider_config_key=graph-cc").await.expect(200);
    scene.until_clean().await;
    scene.end().await;
}

#[tokio::test]
async fn every_change_stands_in_the_audit_log() {
    let scene = Scene::start().await;
    scene.connect("conn-2").await;
    let made = scene.wish(&json!({})).await.expect(201);
    scene.wish(&json!({"connection_id": "conn-2"})).await.expect(200);
    let id = made["id"].as_str().unwrap();
    scene.tenant.api.patch(&format!("/subscriptions/{id}"), &json!({"auto_renew": false})).await.expect(200);
    scene.tenant.api.post(&format!("/subscriptions/{id}/renew"), &json!({})).await.expect(200);
    scene.tenant.api.delete(&format!("/subscriptions/{id}")).await.expect(200);
    let path = format!("/admin/audit-log?environment={}", scene.tenant.environment);
    let log = scene.app.admin().get(&path).await.expect(200);
    let actions: Vec<&str> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["object"] == id)
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "subscription.delete",
            "subscription.renew",
            "subscription.update",
            "subscription.join",
            "subscription.create"
        ]
    );
    scene.end().await;
}
