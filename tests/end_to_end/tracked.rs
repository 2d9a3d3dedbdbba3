//! Subscriptions that Waypost tracks: their own state vouches for their items, and nothing else does.

use serde_json::{Value, json};
use uuid::Uuid;
use waypost_harness::notification::{OTHER_TENANT, TENANT, item_with};
use waypost_harness::{Receiver, Subscription, Tenant, TestApp, WEBHOOK_SECRET, wait};

const STATE: &str = "the-state-of-this-subscription-alone";

struct Scene {
    app: TestApp,
    tenant: Tenant,
    receiver: Receiver,
    graph_id: Uuid,
}

/// A tenant with two connections of one Entra tenant, and a subscription that serves the first.
async fn scene(pending: bool) -> Scene {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    let served = tenant.connection("conn-1", TENANT).await;
    tenant.connection("conn-2", TENANT).await;
    let graph_id = Uuid::new_v4();
    let subscription = Subscription {
        graph_id: (!pending).then_some(graph_id),
        tenant: TENANT.parse().unwrap(),
        client_state: STATE.to_owned(),
        connections: vec![served["id"].as_i64().unwrap()],
    };
    subscription.db_track(&app, &tenant).await;
    Scene { app, tenant, receiver, graph_id }
}

impl Scene {
    fn item(&self, state: &str) -> Value {
        item_with(TENANT, &json!({"subscriptionId": self.graph_id, "clientState": state}))
    }

    async fn reasons(&self) -> Vec<String> {
        wait::until("a rejection", async || {
            let shown = self.tenant.list("/rejections").await;
            let reasons: Vec<String> =
                shown.iter().map(|row| row["reason"].as_str().unwrap().to_owned()).collect();
            (!reasons.is_empty()).then_some(reasons)
        })
        .await
    }
}

#[tokio::test]
async fn its_own_state_vouches_and_only_its_connections_get_the_item() {
    let scene = scene(false).await;

    scene.tenant.accept(&[scene.item(STATE)]).await;

    assert_eq!(scene.receiver.wait_for(1).await[0].connection(), "conn-1");
    scene.app.until_settled().await;
    scene.receiver.wait_for(1).await;
}

#[tokio::test]
async fn the_webhook_secret_of_the_integration_does_not_vouch_for_it() {
    let scene = scene(false).await;

    scene.tenant.accept(&[scene.item(WEBHOOK_SECRET)]).await;

    assert_eq!(scene.reasons().await, ["client_state_mismatch"]);
    assert!(scene.tenant.list("/events?kind=forward").await.is_empty());
}

#[tokio::test]
async fn its_state_vouches_for_no_other_subscription() {
    let scene = scene(false).await;
    let stranger = item_with(TENANT, &json!({"clientState": STATE}));

    scene.tenant.accept(&[stranger]).await;

    assert_eq!(scene.reasons().await, ["client_state_mismatch"]);
    assert!(scene.tenant.list("/events?kind=forward").await.is_empty());
}

#[tokio::test]
async fn another_tenant_than_its_own_is_refused_and_none_is_accepted() {
    let scene = scene(false).await;
    let mut foreign = scene.item(STATE);
    foreign["tenantId"] = json!(OTHER_TENANT);
    let mut without = scene.item(STATE);
    without.as_object_mut().unwrap().remove("tenantId");

    scene.tenant.accept(&[foreign]).await;
    assert_eq!(scene.reasons().await, ["tenant_mismatch"]);
    scene.tenant.accept(&[without]).await;

    assert_eq!(scene.receiver.wait_for(1).await[0].connection(), "conn-1");
}

#[tokio::test]
async fn it_vouches_also_where_the_integration_has_no_secret() {
    let scene = scene(false).await;
    scene
        .tenant
        .api
        .patch("/integrations/graph-cc", &json!({"custom": {"webhookSecret": ""}}))
        .await
        .expect(200);

    scene.tenant.accept(&[scene.item(STATE)]).await;
    let stranger = scene.tenant.post_notification(&scene.tenant.notification(TENANT)).await;

    scene.receiver.wait_for(1).await;
    stranger.refused(401, "webhook_secret_not_configured");
}

#[tokio::test]
async fn while_its_create_is_in_flight_its_state_vouches_for_an_unknown_id() {
    let scene = scene(true).await;

    scene.tenant.accept(&[scene.item(STATE)]).await;

    assert_eq!(scene.receiver.wait_for(1).await[0].connection(), "conn-1");
}

#[tokio::test]
async fn its_lifecycle_items_are_kept_but_not_forwarded_and_those_of_others_are_forwarded() {
    let scene = scene(false).await;
    let mut own = scene.item(STATE);
    own["lifecycleEvent"] = json!("reauthorizationRequired");
    let foreign = item_with(TENANT, &json!({"lifecycleEvent": "missed"}));

    scene.tenant.accept(&[own]).await;
    scene.tenant.accept(&[foreign]).await;

    let received = scene.receiver.wait_for(2).await;
    assert!(received.iter().all(|request| request.items()[0]["lifecycleEvent"] == "missed"));
    assert_eq!(scene.tenant.list("/events?kind=forward&status=unrouted").await.len(), 1);
}

#[tokio::test]
async fn a_subscription_of_another_environment_vouches_for_nothing_here() {
    let scene = scene(false).await;
    let umbrella = scene.app.tenant("umbrella").await;
    umbrella.connection("theirs", TENANT).await;

    umbrella.accept(&[scene.item(STATE)]).await;

    assert!(umbrella.list("/events?kind=forward").await.is_empty());
    assert!(scene.tenant.list("/events?kind=forward").await.is_empty());
}
