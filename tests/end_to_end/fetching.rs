//! Notifications that bring no data, with what changed read on the way out: against the simulator's mailboxes, with
//! tokens that Waypost gets by itself.

use chrono::TimeDelta;
use serde_json::{Value, json};
use waypost_harness::notification::item_with;
use waypost_harness::{Received, Receiver, Reply, Tenant, TestApp, wait};
use waypost_simulator::{
    Control, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, DEMO_USERS, Fault, Operation, Simulator,
    SimulatorConfig,
};

/// How long what can't be read is waited for.
const PATIENCE: TimeDelta = TimeDelta::minutes(15);

struct Scene {
    app: TestApp,
    tenant: Tenant,
    receiver: Receiver,
    simulator: Simulator,
}

/// A tenant whose integration wants what changed; its connection is a demo tenant of the simulator.
async fn scene() -> Scene {
    let simulator =
        Simulator::start(SimulatorConfig::default(), waypost_core::clock::system()).await.unwrap();
    let app = TestApp::spawn_with(|settings| {
        settings.graph.login_url = simulator.login_url();
        settings.graph.base_url = simulator.graph_url();
    })
    .await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant
        .connection_with(&json!({
            "connection_id": "conn-1",
            "connection_config": {"tenantId": DEMO_TENANTS[0]},
            "credentials": {
                "type": "OAUTH2_CC", "client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET,
            },
        }))
        .await;
    let scene = Scene { app, tenant, receiver, simulator };
    scene.set(&json!({"fetch_resource": true})).await;
    scene
}

fn path(id: &str) -> String {
    format!("Users/{}/Messages/{id}", DEMO_USERS[0])
}

fn changed(resource: &str) -> Value {
    item_with(&DEMO_TENANTS[0].to_string(), &json!({"resource": resource}))
}

impl Scene {
    fn control(&self) -> Control {
        self.simulator.control()
    }

    async fn set(&self, settings: &Value) {
        self.tenant.api.patch("/integrations/graph-cc", settings).await.expect(200);
    }

    fn put(&self, id: &str, subject: &str) {
        let value = json!({"subject": subject, "importance": "low"});
        self.control().put_item(DEMO_TENANTS[0], &path(id), value).unwrap();
    }

    /// Posts what tells of changes to these messages, in one request.
    async fn tell(&self, ids: &[&str]) {
        let items: Vec<Value> = ids.iter().map(|id| changed(&path(id))).collect();
        self.tenant.accept(&items).await;
    }

    /// The one request that arrives.
    async fn arrived(&self) -> Received {
        self.receiver.wait_for(1).await.remove(0)
    }

    /// The only delivery, with its attempts.
    async fn delivery(&self) -> Value {
        let id = self.tenant.only("/deliveries").await["id"].as_str().unwrap().to_owned();
        self.tenant.api.get(&format!("/deliveries/{id}")).await.expect(200)
    }

    /// Waits until the only delivery went back without an attempt.
    async fn waiting(&self) {
        wait::until_true("the delivery to wait", async || {
            let delivery = self.tenant.only("/deliveries").await;
            delivery["status"] == "pending"
                && delivery["next_attempt_at"].as_str() > delivery["created_at"].as_str()
        })
        .await;
        assert_eq!(self.tenant.only("/deliveries").await["attempts"], 0);
        assert_eq!(self.receiver.count(), 0);
    }

    async fn end(self) {
        self.app.until_settled().await;
        drop(self.app);
        self.simulator.stop().await;
    }
}

#[tokio::test]
async fn what_changed_goes_along_and_answers_to_it_are_not_kept() {
    let scene = scene().await;
    scene.put("m1", "Grüße");
    scene.receiver.answer(Reply::status(200).body("an answer that may repeat it"));

    scene.tell(&["m1"]).await;

    let item = &scene.arrived().await.items()[0];
    assert_eq!(item["fetchedContent"]["subject"], "Grüße", "{item:#}");
    assert_eq!(item["fetchedContent"]["importance"], "low");
    assert!(item.get("fetchError").is_none());
    let call =
        scene.control().call_log().into_iter().find(|call| call.operation == Operation::GetItem).unwrap();
    assert_eq!(call.headers["prefer"], "IdType=\"ImmutableId\"");
    scene.app.until_settled().await;
    let kept = scene.delivery().await["attempt_log"][0]["response_body"].clone();
    assert!(kept.as_str().unwrap_or_default().is_empty(), "{kept}");
    scene.end().await;
}

#[tokio::test]
async fn only_the_selected_properties_are_asked_for() {
    let scene = scene().await;
    scene.put("m1", "picked");
    scene.set(&json!({"fetch_select": "subject, id"})).await;

    scene.tell(&["m1"]).await;

    let content = scene.arrived().await.items()[0]["fetchedContent"].clone();
    assert_eq!((&content["subject"], content.get("importance")), (&json!("picked"), None));
    let call =
        scene.control().call_log().into_iter().find(|call| call.operation == Operation::GetItem).unwrap();
    assert!(call.target.ends_with("?$select=subject,id"), "{}", call.target);
    scene.end().await;
}

#[tokio::test]
async fn nothing_is_read_where_nobody_asks_for_it_nor_for_what_is_deleted_or_no_resource() {
    let scene = scene().await;
    scene.put("m1", "x");
    let deleted = json!({"resource": path("m1"), "changeType": "deleted"});
    let tenant = DEMO_TENANTS[0].to_string();
    let evil = format!("{}/../../groups/1", path("m1"));
    scene
        .tenant
        .accept(&[
            item_with(&tenant, &deleted),
            changed("https://evil.example/users/1"),
            changed(&evil),
            changed("users/1/messages/2/$value"),
        ])
        .await;
    let items = scene.arrived().await.items();
    assert!(items.iter().all(|item| item.get("fetchedContent").is_none()), "{items:#?}");
    assert_eq!(items[0]["fetchError"]["code"], "deleted", "{items:#?}");
    for refused in &items[1..] {
        assert_eq!(refused["fetchError"]["code"], "resourceRefused", "{items:#?}");
    }

    scene.set(&json!({"fetch_resource": false})).await;
    scene.tell(&["m1"]).await;
    let item = scene.receiver.wait_for(2).await[1].items()[0].clone();
    assert!(item.get("fetchedContent").is_none() && item.get("fetchError").is_none(), "{item:#}");
    assert_eq!(scene.control().calls(Operation::GetItem) + scene.control().calls(Operation::Batch), 0);
    scene.end().await;
}

#[tokio::test]
async fn what_is_gone_or_forbidden_is_told_at_once() {
    let scene = scene().await;
    scene.put("m2", "x");
    let forbidden = Fault::answer(Operation::GetItem, 1, 403, "ErrorAccessDenied").where_target("m2");
    scene.control().set_fault([forbidden]);

    scene.tell(&["m1", "m2"]).await;

    let items = scene.arrived().await.items();
    assert_eq!(items[0]["fetchError"]["status"], 404, "{items:#?}");
    assert!(!items[0]["fetchError"]["message"].as_str().unwrap().is_empty());
    assert_eq!(
        (&items[1]["fetchError"]["status"], &items[1]["fetchError"]["code"]),
        (&json!(403), &json!("ErrorAccessDenied"))
    );
    scene.app.until_settled().await;
    assert_eq!(scene.delivery().await["attempts"], 1);
    scene.end().await;
}

#[tokio::test]
async fn a_resource_that_several_items_name_is_read_once_and_many_in_one_batch() {
    let scene = scene().await;
    for id in ["m1", "m2", "m3"] {
        scene.put(id, id);
    }
    scene.tell(&["m1", "m1", "m1"]).await;
    let items = scene.arrived().await.items();
    assert!(items.iter().all(|item| item["fetchedContent"]["subject"] == "m1"), "{items:#?}");
    assert_eq!(scene.control().calls(Operation::GetItem), 1);

    scene.tell(&["m1", "m2", "gone", "m2", "m3"]).await;
    let items = scene.receiver.wait_for(2).await[1].items();
    let subjects: Vec<_> = items.iter().map(|item| item["fetchedContent"]["subject"].as_str()).collect();
    assert_eq!(subjects, [Some("m1"), Some("m2"), None, Some("m2"), Some("m3")]);
    assert_eq!(items[2]["fetchError"]["status"], 404);
    assert_eq!(scene.control().calls(Operation::Batch), 1);
    assert_eq!(scene.control().calls(Operation::GetItem), 1 + 4, "the batch makes a call of each part");
    scene.end().await;
}

#[tokio::test]
async fn each_attempt_reads_anew() {
    let scene = scene().await;
    scene.put("m1", "before");
    scene.receiver.script([Reply::status(500)]);
    scene.tell(&["m1"]).await;
    assert_eq!(scene.arrived().await.items()[0]["fetchedContent"]["subject"], "before");
    scene.app.until_settled().await;
    scene.put("m1", "after");

    scene.app.advance(TimeDelta::seconds(10)).await;

    let second = &scene.receiver.wait_for(2).await[1];
    assert_eq!((second.attempt(), &second.items()[0]["fetchedContent"]["subject"]), (2, &json!("after")));
    assert_eq!(scene.control().calls(Operation::GetItem), 2);
    scene.end().await;
}

#[tokio::test]
async fn throttling_puts_a_delivery_off_and_spends_no_attempt() {
    for operation in [Operation::GetItem, Operation::Batch] {
        let scene = scene().await;
        let ids: &[&str] = if operation == Operation::Batch { &["m1", "m2", "m3"] } else { &["m1"] };
        for id in ids {
            scene.put(id, "late");
        }
        scene.control().set_fault([Fault::throttled(operation, 1, 40)]);
        scene.tell(ids).await;
        scene.waiting().await;

        scene.app.advance(TimeDelta::seconds(50)).await;

        let arrived = scene.arrived().await;
        assert_eq!(
            (arrived.attempt(), &arrived.items()[0]["fetchedContent"]["subject"]),
            (1, &json!("late"))
        );
        scene.end().await;
    }
}

#[tokio::test]
async fn a_part_of_a_batch_that_is_throttled_puts_all_of_it_off() {
    let scene = scene().await;
    for id in ["m1", "m2", "m3"] {
        scene.put(id, "late");
    }
    scene.control().set_fault([Fault::throttled(Operation::GetItem, 1, 40).where_target("m2")]);
    scene.tell(&["m1", "m2", "m3"]).await;
    scene.waiting().await;

    scene.app.advance(TimeDelta::seconds(50)).await;

    let items = scene.arrived().await.items();
    assert!(items.iter().all(|item| item["fetchedContent"]["subject"] == "late"), "{items:#?}");
    scene.end().await;
}

/// A fault that stays.
fn always(fault: Fault) -> Fault {
    Fault { times: None, ..fault }
}

/// What can't be read is waited for, and after a quarter of an hour the event goes out with this code.
async fn goes_out_late(fault: Fault, code: &str) {
    let scene = scene().await;
    // What else is told of a failing sign-in is not this test's business.
    let quiet = json!({"on_auth_refresh_error": false});
    scene.tenant.api.patch("/environment/webhook-settings", &quiet).await.expect(200);
    scene.put("m1", "never");
    scene.control().set_fault([always(fault)]);
    scene.control().revoke_access_tokens(DEMO_CLIENT_ID, DEMO_TENANTS[0]);
    scene.tell(&["m1"]).await;
    scene.waiting().await;

    scene.app.advance(PATIENCE).await;

    let arrived = scene.arrived().await;
    let item = &arrived.items()[0];
    assert_eq!((arrived.attempt(), &item["fetchError"]["code"]), (1, &json!(code)), "{item:#}");
    scene.end().await;
}

#[tokio::test]
async fn throttling_that_does_not_end_goes_out_as_an_error() {
    goes_out_late(Fault::throttled(Operation::GetItem, 1, 40), "TooManyRequests").await;
}

#[tokio::test]
async fn an_outage_that_does_not_end_goes_out_as_an_error() {
    goes_out_late(Fault::answer(Operation::GetItem, 1, 500, "generalException"), "generalException").await;
}

#[tokio::test]
async fn a_provider_that_can_not_be_reached_goes_out_as_an_error() {
    goes_out_late(Fault::unreachable(Operation::GetItem, 1), "unreachable").await;
}

#[tokio::test]
async fn a_token_that_is_never_believed_goes_out_as_an_error() {
    goes_out_late(Fault::unauthorized(Operation::GetItem, 1), "unauthorized").await;
}

#[tokio::test]
async fn a_sign_in_that_fails_goes_out_as_an_error() {
    goes_out_late(Fault::sign_in(1, 7_000_215), "notSignedIn").await;
}

#[tokio::test]
async fn a_token_that_was_withdrawn_is_replaced_once() {
    let scene = scene().await;
    scene.put("m1", "first");
    scene.tell(&["m1"]).await;
    scene.arrived().await;
    scene.control().revoke_access_tokens(DEMO_CLIENT_ID, DEMO_TENANTS[0]);

    scene.tell(&["m1"]).await;

    let second = &scene.receiver.wait_for(2).await[1];
    assert_eq!((second.attempt(), &second.items()[0]["fetchedContent"]["subject"]), (1, &json!("first")));
    scene.end().await;
}

#[tokio::test]
async fn what_is_read_is_neither_stored_nor_logged() {
    const MARKER: &str = "marker-of-what-was-fetched-4c1e";
    let scene = scene().await;
    scene.put("m1", MARKER);
    scene.receiver.script([Reply::status(500).body(MARKER)]);
    scene.tell(&["m1"]).await;
    scene.arrived().await;
    scene.app.until_settled().await;
    scene.app.advance(TimeDelta::seconds(10)).await;
    let received = scene.receiver.wait_for(2).await;
    assert!(received.iter().all(|request| request.text().contains(MARKER)), "both attempts held it");
    scene.app.until_settled().await;

    let rows = super::secrets::everything(&mut scene.app.db_connect().await).await;
    assert!(rows.iter().any(|(table, _)| table.starts_with("attempts")), "something was written");
    let written = hex::encode(MARKER);
    for (table, row) in &rows {
        assert!(!row.contains(MARKER) && !row.contains(&written), "{table}");
    }
    // Answers are sealed, so a search can't find them: that of the failed attempt must not have been kept at all.
    let log = scene.delivery().await["attempt_log"].clone();
    assert!(log.as_array().unwrap().iter().all(|attempt| !attempt.to_string().contains(MARKER)), "{log:#}");
    assert!(!scene.app.logs().contains(MARKER));
    scene.end().await;
}
