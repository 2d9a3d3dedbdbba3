//! Encrypted items, sent by the simulator as Graph sends them: opened on the way out when they are proven, kept from
//! everybody when they are not, and waiting as long as neither can be told.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;
use waypost_core::clock::Clock as _;
use waypost_crypto::certificate::{CertifiedKey, KeySize, Saying};
use waypost_harness::notification::item;
use waypost_harness::{Client, Receiver, Tenant, TestApp, WEBHOOK_SECRET, wait};
use waypost_simulator::{
    App, ChangeType, Control, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, Fault, Item, Notification,
    Operation, Simulator, SimulatorConfig, Tamper, Tokens,
};

/// Stands in every resource that is sent: must be met by the receiver and nowhere else.
const MARKER: &str = "plaintext-marker-6b1f";
const CERTIFICATES: &str = "/integrations/graph-cc/certificates";

struct Scene {
    app: TestApp,
    tenant: Tenant,
    receiver: Receiver,
    endpoint: String,
    simulator: Simulator,
    graph: Client,
}

async fn scene() -> Scene {
    let config = SimulatorConfig { notification_http_allowed: true, ..SimulatorConfig::default() };
    let simulator = Simulator::start(config, waypost_core::clock::system()).await.unwrap();
    let app = TestApp::spawn_with(|settings| {
        settings.graph.login_url = simulator.login_url();
        settings.graph.base_url = simulator.graph_url();
    })
    .await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.primary(&receiver).await;
    let graph = Client::new(simulator.base_url().as_str().trim_end_matches('/').to_owned());
    Scene { app, tenant, receiver, endpoint, simulator, graph }
}

/// A scene with one connection and one subscription, whose certificate Waypost made.
async fn subscribed() -> (Scene, Uuid) {
    let scene = scene().await;
    scene.connect("conn-1", DEMO_TENANTS[0], DEMO_CLIENT_ID).await;
    let certificate = scene.rotate(&json!({})).await;
    let subscription =
        scene.subscribe(DEMO_TENANTS[0], (DEMO_CLIENT_ID, DEMO_CLIENT_SECRET), &certificate).await;
    (scene, subscription)
}

impl Scene {
    fn control(&self) -> Control {
        self.simulator.control()
    }

    async fn connect(&self, id: &str, entra: Uuid, app: Uuid) {
        let members = json!({
            "connection_id": id,
            "connection_config": {"tenantId": entra},
            "credentials": {"type": "OAUTH2_CC", "client_id": app, "client_secret": DEMO_CLIENT_SECRET,
                            "token": "brought-along", "expires_at": "2099-01-01T00:00:00Z"},
        });
        self.tenant.connection_with(&members).await;
    }

    /// Makes another certificate the current one.
    async fn rotate(&self, body: &Value) -> Value {
        self.tenant.api.post(CERTIFICATES, body).await.expect(201)
    }

    /// The path of a URL of the simulator.
    fn path(&self, base: &Url, rest: &str) -> String {
        let whole = format!("{}/{rest}", base.as_str().trim_end_matches('/'));
        whole.strip_prefix(&self.graph.url("")).unwrap().to_owned()
    }

    /// Signs in as an app and subscribes to messages with their content, encrypted for a certificate.
    async fn subscribe(&self, entra: Uuid, app: (Uuid, &str), certificate: &Value) -> Uuid {
        self.subscribe_to("chats/getAllMessages", entra, app, certificate).await
    }

    async fn subscribe_to(
        &self,
        resource: &str,
        entra: Uuid,
        (app, secret): (Uuid, &str),
        certificate: &Value,
    ) -> Uuid {
        let form = [
            ("client_id", app.to_string()),
            ("client_secret", secret.to_owned()),
            ("scope", "https://graph.microsoft.com/.default".to_owned()),
            ("grant_type", "client_credentials".to_owned()),
        ];
        let path = self.path(&self.simulator.login_url(), &format!("{entra}/oauth2/v2.0/token"));
        let answer = self.graph.send(self.graph.request(Method::POST, &path).form(&form)).await.expect(200);
        let url = self.app.public().url(&self.tenant.ingress());
        let expires = self.app.clock().now() + TimeDelta::hours(48);
        let wish = json!({
            "changeType": "created,updated",
            "resource": resource,
            "notificationUrl": url,
            "lifecycleNotificationUrl": format!("{url}/lifecycle"),
            "expirationDateTime": expires.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "clientState": WEBHOOK_SECRET,
            "includeResourceData": true,
            "encryptionCertificate": certificate["certificate"],
            "encryptionCertificateId": certificate["encryption_certificate_id"],
        });
        let path = self.path(&self.simulator.graph_url(), "v1.0/subscriptions");
        let token = answer["access_token"].as_str().unwrap();
        let made = self.graph.with_token(token).post(&path, &wish).await.expect(201);
        made["id"].as_str().unwrap().parse().unwrap()
    }

    /// Lets the simulator send these items, and waits until they are accepted.
    async fn notify(&self, items: impl IntoIterator<Item = Item>, tokens: Tokens) {
        self.control().notify(&Notification { items: items.into_iter().collect(), tokens }).unwrap();
        self.control().wait_settled().await;
    }

    /// Waits until the only event stands so, and shows it.
    async fn until_event(&self, status: &str) -> Value {
        let mut shown = Value::Null;
        wait::until_true(&format!("the event to be {status}"), async || {
            let events = self.tenant.list("/events?kind=forward").await;
            let Some(id) = events.first().and_then(|event| event["id"].as_str()) else { return false };
            shown = self.tenant.api.get(&format!("/events/{id}")).await.expect(200);
            shown["status"] == status
        })
        .await;
        shown
    }

    async fn until_proof(&self, status: &str, reason: Option<&str>) -> Value {
        let mut shown = Value::Null;
        wait::until_true(&format!("the item to be {status}"), async || {
            let events = self.tenant.list("/events?kind=forward").await;
            let Some(id) = events.first().and_then(|event| event["id"].as_str()) else { return false };
            shown = self.tenant.api.get(&format!("/events/{id}")).await.expect(200);
            shown["proofs"][0]["status"] == status && shown["proofs"][0]["reason"].as_str() == reason
        })
        .await;
        shown
    }

    async fn end(self) {
        drop(self.app);
        self.simulator.stop().await;
    }
}

fn message(subscription: Uuid, number: u32) -> Item {
    let content = json!({"id": number.to_string(), "body": {"content": format!("{MARKER} {number} — ✓")}});
    Item::change(subscription, ChangeType::Created).holding(content)
}

fn tampered(subscription: Uuid, tamper: Tamper) -> Item {
    Item { tamper: Some(tamper), ..message(subscription, 0) }
}

#[tokio::test]
async fn an_item_arrives_opened_and_its_content_is_nowhere_else() {
    let (scene, subscription) = subscribed().await;
    // The answer repeats what it got; it must not be kept.
    scene.receiver.answer(waypost_harness::Reply::status(200).body(format!("echo {MARKER}")));
    scene.notify([message(subscription, 1), message(subscription, 2)], Tokens::Right).await;

    let received = scene.receiver.wait_for(1).await;
    let items = received[0].items();
    assert_eq!(items.len(), 2);
    assert_eq!(
        items[0]["decryptedContent"],
        json!({"id": "1", "body": {"content": format!("{MARKER} 1 — ✓")}})
    );
    assert!(items.iter().all(|item| item.get("encryptedContent").is_none()));
    assert_eq!(received[0].header("waypost-item-keys").split(',').count(), 2);

    let event = scene.until_event("delivered").await;
    assert_eq!(event["proofs"].as_array().unwrap().len(), 2);
    assert!(event["proofs"].as_array().unwrap().iter().all(|proof| proof["status"] == "proven"));
    assert!(event["payload"]["value"][0]["encryptedContent"]["data"].is_string(), "shown as it came");
    let delivery = event["deliveries"][0]["id"].as_str().unwrap();
    let delivery = scene.tenant.api.get(&format!("/deliveries/{delivery}")).await.expect(200);
    assert_eq!(delivery["attempt_log"][0]["status_code"], 200);
    for (what, text) in [("event", event), ("delivery", delivery)] {
        assert!(!text.to_string().contains(MARKER), "{what}: {text}");
    }
    assert!(!scene.app.logs().contains(MARKER));
    scene.end().await;
}

#[tokio::test]
async fn a_retry_opens_the_item_again_and_sends_the_same_bytes() {
    let (scene, subscription) = subscribed().await;
    scene.receiver.script([waypost_harness::Reply::status(500)]);
    scene.notify([message(subscription, 1)], Tokens::V2).await;
    scene.receiver.wait_for(1).await;
    scene.app.until_settled().await;
    scene.app.advance(TimeDelta::seconds(10)).await;
    let received = scene.receiver.wait_for(2).await;
    assert_eq!(received[0].text(), received[1].text());
    assert_eq!(received[1].attempt(), 2);
    scene.app.until_settled().await;
    scene.end().await;
}

#[tokio::test]
async fn a_tampered_item_is_quarantined_whatever_part_was_changed_and_all_look_alike() {
    for tamper in [Tamper::Data, Tamper::Signature, Tamper::Key] {
        let (scene, subscription) = subscribed().await;
        scene.notify([tampered(subscription, tamper)], Tokens::Right).await;

        let event = scene.until_event("quarantined").await;
        assert_eq!(event["proofs"][0]["status"], "quarantined", "{tamper:?}");
        assert_eq!(event["proofs"][0]["reason"], "tampered", "{tamper:?}");
        assert!(event["payload"]["value"][0]["encryptedContent"].is_object());
        scene.app.until_settled().await;
        assert_eq!(scene.tenant.only("/deliveries").await["status"], "discarded");
        assert_eq!(scene.tenant.list("/events?status=quarantined").await.len(), 1);
        assert!(scene.tenant.list("/events?status=discarded").await.is_empty());
        assert_eq!(scene.receiver.count(), 0);
        scene.end().await;
    }
}

#[tokio::test]
async fn what_is_left_of_a_mixed_event_goes_out_with_its_keys_in_step() {
    let (scene, subscription) = subscribed().await;
    let items = [message(subscription, 1), tampered(subscription, Tamper::Data), message(subscription, 3)];
    scene.notify(items, Tokens::Right).await;

    let received = scene.receiver.wait_for(1).await;
    let contents: Vec<Value> =
        received[0].items().iter().map(|item| item["decryptedContent"]["id"].clone()).collect();
    assert_eq!(contents, [json!("1"), json!("3")]);
    let event = scene.until_event("delivered").await;
    let proofs = event["proofs"].as_array().unwrap();
    let statuses: Vec<&str> = proofs.iter().map(|proof| proof["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["proven", "quarantined", "proven"]);
    let left = [0, 2].map(|index: usize| proofs[index]["item_key"].as_str().unwrap());
    assert_eq!(received[0].header("waypost-item-keys"), left.join(","));
    scene.end().await;
}

#[tokio::test]
async fn a_forged_token_quarantines_and_basic_items_of_the_same_post_go_out() {
    for (tokens, reason) in [
        (Tokens::Forged, "signature"),
        (Tokens::WrongPublisher, "publisher"),
        (Tokens::WrongIssuer, "issuer"),
        (Tokens::WrongAudience, "no_token_for_app"),
        (Tokens::WrongTenant, "no_token_for_tenant"),
        (Tokens::Expired, "not_valid_then"),
        (Tokens::Missing, "no_tokens"),
    ] {
        let (scene, subscription) = subscribed().await;
        let notification = Notification { items: vec![message(subscription, 1)], tokens };
        let prepared = scene.control().prepare(&notification).unwrap();
        let mut body: Value = serde_json::from_slice(&prepared[0].body).unwrap();
        body["value"].as_array_mut().unwrap().push(item(&DEMO_TENANTS[0].to_string()));
        scene.tenant.post_notification(&body).await.expect(202);

        let received = scene.receiver.wait_for(1).await;
        assert_eq!(received[0].items().len(), 1, "{tokens:?}");
        assert!(received[0].items()[0].get("decryptedContent").is_none());
        let event = scene.until_event("delivered").await;
        assert_eq!(event["proofs"][0]["status"], "quarantined", "{tokens:?}");
        assert_eq!(event["proofs"][0]["reason"], reason, "{tokens:?}");
        assert!(event["proofs"][0]["message"].as_str().is_some_and(|message| !message.is_empty()));
        scene.end().await;
    }
}

#[tokio::test]
async fn an_event_of_forged_items_alone_is_quarantined_even_while_its_endpoint_is_disabled() {
    let (scene, subscription) = subscribed().await;
    scene.tenant.api.post(&format!("/endpoints/{}/disable", scene.endpoint), &json!({})).await.expect(200);
    scene.notify([message(subscription, 1)], Tokens::Forged).await;
    let event = scene.until_event("quarantined").await;
    assert_eq!(event["deliveries"][0]["status"], "discarded");
    scene.end().await;
}

#[tokio::test]
async fn an_item_waits_for_its_certificate_and_is_dead_when_none_comes() {
    let (scene, subscription) = subscribed().await;
    scene.notify([tampered(subscription, Tamper::CertificateId)], Tokens::Right).await;
    scene.until_proof("pending", Some("unknown_certificate")).await;
    scene.until_event("pending").await;
    scene.app.until_settled().await;
    assert_eq!(scene.tenant.only("/deliveries").await["attempts"], 0);

    scene.app.advance(TimeDelta::days(8)).await;
    scene.until_event("dead").await;
    assert_eq!(scene.receiver.count(), 0);
    scene.end().await;
}

#[tokio::test]
async fn an_item_without_certificate_holds_the_others_up_for_a_quarter_of_an_hour_at_most() {
    let (scene, subscription) = subscribed().await;
    let items = [tampered(subscription, Tamper::CertificateId), message(subscription, 2)];
    scene.notify(items, Tokens::Right).await;
    scene.until_proof("pending", Some("unknown_certificate")).await;
    scene.app.until_settled().await;
    scene.app.advance(TimeDelta::minutes(14)).await;
    scene.app.until_settled().await;
    assert_eq!(scene.receiver.count(), 0);

    scene.app.advance(TimeDelta::minutes(2)).await;
    let received = scene.receiver.wait_for(1).await;
    assert_eq!(received[0].items().len(), 1);
    assert_eq!(received[0].items()[0]["decryptedContent"]["id"], "2");
    assert_eq!(received[0].attempt(), 1);
    let event = scene.until_event("delivered").await;
    let proofs = event["proofs"].as_array().unwrap();
    assert_eq!((&proofs[0]["status"], &proofs[1]["status"]), (&json!("unopened"), &json!("proven")));
    assert_eq!(proofs[0]["reason"], "unknown_certificate");
    assert_eq!(received[0].header("waypost-item-keys"), proofs[1]["item_key"].as_str().unwrap());
    scene.end().await;
}

#[tokio::test]
async fn what_went_out_without_an_item_brings_it_when_it_is_retried_after_the_certificate_came() {
    let scene = scene().await;
    scene.connect("conn-1", DEMO_TENANTS[0], DEMO_CLIENT_ID).await;
    let saying = Saying { common_name: "customer", not_before: 0, not_after: 4_000_000_000 };
    let own = CertifiedKey::make(KeySize::Rsa2048, saying).unwrap();
    let named = json!({"certificate": own.certificate().base64(), "encryption_certificate_id": "late"});
    let app = (DEMO_CLIENT_ID, DEMO_CLIENT_SECRET);
    let late = scene.subscribe(DEMO_TENANTS[0], app, &named).await;
    let certificate = scene.rotate(&json!({})).await;
    let early = scene.subscribe_to("teams/getAllMessages", DEMO_TENANTS[0], app, &certificate).await;
    scene.receiver.script([waypost_harness::Reply::status(500)]);
    scene.notify([message(late, 1), message(early, 2)], Tokens::Right).await;
    scene.until_proof("pending", Some("unknown_certificate")).await;
    scene.app.until_settled().await;
    scene.app.advance(TimeDelta::minutes(16)).await;
    assert_eq!(scene.receiver.wait_for(1).await[0].items().len(), 1);
    scene.app.until_settled().await;

    let mut brought = named.clone();
    brought["private_key"] = json!(base64(&own.key().to_pkcs8().unwrap()));
    scene.rotate(&brought).await;
    scene.app.advance(TimeDelta::seconds(10)).await;
    assert_eq!(scene.receiver.wait_for(2).await[1].items().len(), 2);
    let event = scene.until_event("delivered").await;
    assert!(event["proofs"].as_array().unwrap().iter().all(|proof| proof["status"] == "proven"), "{event:#}");
    scene.end().await;
}

#[tokio::test]
async fn a_certificate_that_is_brought_later_opens_what_waited_for_it() {
    let scene = scene().await;
    scene.connect("conn-1", DEMO_TENANTS[0], DEMO_CLIENT_ID).await;
    let saying = Saying { common_name: "customer", not_before: 0, not_after: 4_000_000_000 };
    let own = CertifiedKey::make(KeySize::Rsa2048, saying).unwrap();
    let named =
        json!({"certificate": own.certificate().base64(), "encryption_certificate_id": "customer/2026"});
    let app = (DEMO_CLIENT_ID, DEMO_CLIENT_SECRET);
    let subscription = scene.subscribe(DEMO_TENANTS[0], app, &named).await;
    // Another environment that has the key opens nothing of this one.
    let mut brought = named.clone();
    brought["private_key"] = json!(base64(&own.key().to_pkcs8().unwrap()));
    let stranger = scene.app.tenant("umbrella").await;
    stranger.api.post(CERTIFICATES, &brought).await.expect(201);

    scene.notify([message(subscription, 1)], Tokens::Right).await;
    scene.until_proof("pending", Some("unknown_certificate")).await;
    scene.app.until_settled().await;
    assert_eq!(scene.receiver.count(), 0);

    scene.rotate(&brought).await;
    scene.app.advance(TimeDelta::minutes(6)).await;
    assert_eq!(scene.receiver.wait_for(1).await[0].items()[0]["decryptedContent"]["id"], "1");
    let event = scene.until_event("delivered").await;
    assert_eq!(event["proofs"][0]["status"], "proven");
    scene.end().await;
}

#[tokio::test]
async fn two_apps_and_two_tenants_in_one_post_are_each_held_against_their_own_token() {
    let scene = scene().await;
    let second = Uuid::new_v4();
    scene.control().add_app(App { client_id: second, client_secret: "second-secret".into() });
    for tenant in DEMO_TENANTS {
        scene.control().set_consent(second, tenant, true);
    }
    scene.connect("conn-1", DEMO_TENANTS[0], DEMO_CLIENT_ID).await;
    scene.connect("conn-2", DEMO_TENANTS[1], second).await;
    let certificate = scene.rotate(&json!({"bits": 3072})).await;
    let demo = (DEMO_CLIENT_ID, DEMO_CLIENT_SECRET);
    let first = scene.subscribe(DEMO_TENANTS[0], demo, &certificate).await;
    let other = scene.subscribe(DEMO_TENANTS[1], (second, "second-secret"), &certificate).await;

    scene.notify([message(first, 1), message(other, 2)], Tokens::Right).await;
    let mut received = scene.receiver.wait_for(2).await;
    received.sort_by_key(waypost_harness::Received::connection);
    for (request, number) in received.iter().zip(["1", "2"]) {
        assert_eq!(request.items()[0]["decryptedContent"]["id"], number);
    }
    scene.app.until_settled().await;

    // Without the first one's token only the second one's item is believed.
    scene.notify([message(first, 3), message(other, 4)], Tokens::FirstMissing).await;
    assert_eq!(scene.receiver.wait_for(3).await[2].items()[0]["decryptedContent"]["id"], "4");
    wait::until_true("the other to be quarantined", async || {
        scene.tenant.list("/events?status=quarantined").await.len() == 1
    })
    .await;
    scene.end().await;
}

#[tokio::test]
async fn keys_that_roll_between_receipt_and_delivery_do_no_harm() {
    let (scene, subscription) = subscribed().await;
    scene.tenant.api.post(&format!("/endpoints/{}/disable", scene.endpoint), &json!({})).await.expect(200);
    scene.notify([message(subscription, 1)], Tokens::Right).await;
    scene.until_proof("proven", None).await;

    scene.control().roll_keys(true).unwrap();
    scene.app.advance(TimeDelta::hours(30)).await;
    let enable = format!("/endpoints/{}/enable", scene.endpoint);
    scene.tenant.api.post(&enable, &json!({"held": "deliver"})).await.expect(200);
    assert_eq!(scene.receiver.wait_for(1).await[0].items()[0]["decryptedContent"]["id"], "1");
    scene.app.until_settled().await;
    scene.end().await;
}

#[tokio::test]
async fn a_token_is_checked_before_there_is_a_connection_since_keys_roll() {
    let scene = scene().await;
    let certificate = scene.rotate(&json!({})).await;
    let app = (DEMO_CLIENT_ID, DEMO_CLIENT_SECRET);
    let subscription = scene.subscribe(DEMO_TENANTS[0], app, &certificate).await;
    scene.notify([message(subscription, 1)], Tokens::Right).await;
    scene.until_proof("pending", Some("no_client_id")).await;
    scene.control().roll_keys(true).unwrap();
    scene.app.advance(TimeDelta::hours(30)).await;

    // Two of them: each gets an event of its own, and neither can be proven anew.
    scene.connect("conn-1", DEMO_TENANTS[0], DEMO_CLIENT_ID).await;
    scene.connect("conn-2", DEMO_TENANTS[0], DEMO_CLIENT_ID).await;
    let received = scene.receiver.wait_for_at_least(1).await;
    assert!(received.iter().all(|request| request.items()[0]["decryptedContent"]["id"] == "1"));
    scene.app.until_settled().await;
    scene.end().await;
}

#[tokio::test]
async fn as_long_as_keys_are_out_of_reach_items_wait() {
    let (scene, subscription) = subscribed().await;
    scene.control().set_fault([Fault { status: Some(503), ..Fault::on(Operation::Keys) }]);
    scene.notify([message(subscription, 1)], Tokens::Right).await;
    scene.until_proof("pending", Some("keys_unavailable")).await;
    scene.app.until_settled().await;
    assert_eq!(scene.receiver.count(), 0);

    scene.control().set_fault([]);
    scene.app.advance(TimeDelta::minutes(2)).await;
    scene.receiver.wait_for(1).await;
    scene.app.until_settled().await;
    scene.end().await;
}

#[tokio::test]
async fn a_token_signed_by_an_unknown_key_waits_for_newer_sets_and_a_rolled_key_is_found() {
    let (scene, subscription) = subscribed().await;
    scene.notify([message(subscription, 1)], Tokens::Right).await;
    scene.receiver.wait_for(1).await;
    scene.app.until_settled().await;

    scene.control().roll_keys(false).unwrap();
    scene.app.advance(TimeDelta::minutes(6)).await;
    scene.notify([message(subscription, 2)], Tokens::Right).await;
    assert_eq!(scene.receiver.wait_for(2).await[1].items()[0]["decryptedContent"]["id"], "2");
    scene.app.until_settled().await;

    scene.notify([message(subscription, 3)], Tokens::UnknownKey).await;
    scene.until_proof("pending", Some("unknown_signing_key")).await;
    scene.app.until_settled().await;

    // The sets of some minutes later don't hold it either: nobody published it.
    scene.app.advance(TimeDelta::minutes(6)).await;
    scene.until_proof("quarantined", Some("no_such_signing_key")).await;
    scene.until_event("quarantined").await;
    scene.app.until_settled().await;
    assert_eq!(scene.receiver.count(), 2);
    scene.end().await;
}

#[tokio::test]
async fn a_replaced_certificate_goes_on_opening() {
    let (scene, subscription) = subscribed().await;
    let second = scene.rotate(&json!({"bits": 2048})).await;
    let app = (DEMO_CLIENT_ID, DEMO_CLIENT_SECRET);
    let newer = scene.subscribe_to("teams/getAllMessages", DEMO_TENANTS[0], app, &second).await;
    scene.notify([message(subscription, 1), message(newer, 2)], Tokens::Right).await;
    let received = scene.receiver.wait_for(1).await;
    let ids: Vec<Value> =
        received[0].items().iter().map(|item| item["decryptedContent"]["id"].clone()).collect();
    assert_eq!(ids, [json!("1"), json!("2")]);
    scene.app.until_settled().await;
    scene.end().await;
}

#[tokio::test]
async fn a_member_that_only_waypost_adds_does_not_pass_when_a_sender_wrote_it() {
    let scene = scene().await;
    scene.connect("conn-1", DEMO_TENANTS[0], DEMO_CLIENT_ID).await;
    let mut forged = item(&DEMO_TENANTS[0].to_string());
    forged["decryptedContent"] = json!({"id": "forged"});
    scene.tenant.accept(&[forged]).await;
    let received = scene.receiver.wait_for(1).await;
    assert!(received[0].items()[0].get("decryptedContent").is_none());
    scene.app.until_settled().await;
    scene.end().await;
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
