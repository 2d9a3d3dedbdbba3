//! What Waypost makes of a customer's answers: success, another try, patience, or the end. Time is moved, not waited for.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use waypost_harness::notification::{TENANT, item};
use waypost_harness::{Received, Receiver, Reply, Tenant, TestApp};

struct Scene {
    app: TestApp,
    tenant: Tenant,
    receiver: Receiver,
    endpoint: String,
}

async fn scene() -> Scene {
    scene_with(&["0s", "5s", "5m", "30m"]).await
}

/// A tenant with a primary, a connection, and that schedule.
async fn scene_with(schedule: &[&str]) -> Scene {
    let waits = schedule.iter().map(|wait| humantime::parse_duration(wait).unwrap()).collect();
    let app = TestApp::spawn_with(|settings| {
        settings.delivery.schedule = waits;
        settings.delivery.timeout = Duration::from_secs(1);
        settings.delivery.connect_timeout = Duration::from_millis(500);
    })
    .await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    Scene { app, tenant, receiver, endpoint }
}

impl Scene {
    /// Accepts an item and waits until its first attempt is settled.
    async fn attempted(&self) {
        self.tenant.accept(&[item(TENANT)]).await;
        self.receiver.wait_for_at_least(1).await;
        self.app.until_settled().await;
    }

    /// Moves the clock and waits until there were that many attempts, all settled.
    async fn after(&self, wait: TimeDelta, attempts: usize) -> Vec<Received> {
        self.app.advance(wait).await;
        let received = self.receiver.wait_for(attempts).await;
        self.app.until_settled().await;
        received
    }

    async fn delivery(&self) -> Value {
        let listed = self.tenant.only("/deliveries").await;
        self.tenant.api.get(&format!("/deliveries/{}", listed["id"].as_str().unwrap())).await.expect(200)
    }

    async fn endpoint(&self) -> Value {
        self.tenant.api.get(&format!("/endpoints/{}", self.endpoint)).await.expect(200)
    }
}

fn statuses(delivery: &Value) -> Vec<Value> {
    delivery["attempt_log"].as_array().unwrap().iter().map(|attempt| attempt["status_code"].clone()).collect()
}

#[tokio::test]
async fn a_failed_delivery_is_tried_again_on_the_schedule_until_it_succeeds() {
    let scene = scene().await;
    scene.receiver.script([Reply::status(500), Reply::status(404)]);
    scene.attempted().await;
    let waiting = scene.delivery().await;
    assert_eq!((&waiting["status"], &waiting["attempts"]), (&json!("pending"), &json!(1)));
    assert!(waiting["next_attempt_at"].is_string(), "{waiting}");

    scene.after(TimeDelta::seconds(7), 2).await;
    let received = scene.after(TimeDelta::minutes(7), 3).await;

    let attempts: Vec<u32> = received.iter().map(Received::attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert!(
        received.windows(2).all(|pair| pair[0].event() == pair[1].event() && pair[0].body == pair[1].body)
    );
    let delivery = scene.delivery().await;
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("delivered"), &json!(3)));
    assert_eq!(statuses(&delivery), [json!(500), json!(404), json!(200)]);
}

#[tokio::test]
async fn a_schedule_may_wait_before_the_first_attempt_as_well() {
    let scene = scene_with(&["10m", "20m"]).await;
    scene.tenant.accept(&[item(TENANT)]).await;
    scene.app.leave_work();

    scene.app.advance(TimeDelta::minutes(9)).await;
    assert_eq!(scene.receiver.count(), 0);

    let received = scene.after(TimeDelta::minutes(4), 1).await;
    assert_eq!(received[0].attempt(), 1);
}

#[tokio::test]
async fn a_try_is_not_made_before_its_time() {
    let scene = scene().await;
    scene.receiver.script([Reply::status(500)]);
    scene.attempted().await;

    scene.app.advance(TimeDelta::seconds(4)).await;
    let due = scene.delivery().await["next_attempt_at"]
        .as_str()
        .unwrap()
        .parse::<chrono::DateTime<chrono::Utc>>()
        .unwrap();
    let made = scene.delivery().await["created_at"]
        .as_str()
        .unwrap()
        .parse::<chrono::DateTime<chrono::Utc>>()
        .unwrap();

    let wait = (due - made).num_milliseconds();
    assert!((5000..=7000).contains(&wait), "5 s and up to a fifth more after the attempt: {wait} ms");
    assert_eq!(scene.receiver.count(), 1);
    scene.after(TimeDelta::seconds(3), 2).await;
}

#[tokio::test]
async fn every_try_is_signed_anew_with_its_own_time() {
    let scene = scene().await;
    scene.receiver.script([Reply::status(503)]);
    scene.attempted().await;

    let received = scene.after(TimeDelta::minutes(10), 2).await;

    let time = |request: &Received| request.header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(time(&received[1]) - time(&received[0]) >= 600);
    assert_ne!(received[0].header("webhook-signature"), received[1].header("webhook-signature"));
    assert_eq!(received[0].header("x-nango-hmac-sha256"), received[1].header("x-nango-hmac-sha256"));
    assert_eq!(received[0].header("waypost-delivery-id"), received[1].header("waypost-delivery-id"));
}

#[tokio::test]
async fn every_2xx_is_a_success_and_nothing_else_is() {
    let scene = scene_with(&["0s"]).await;
    let answers = [200, 201, 202, 204, 205, 299, 300, 304, 400, 401, 403, 404, 408, 413, 425, 500, 502, 504];
    for status in answers {
        scene.receiver.script([Reply::status(status)]);
        scene.tenant.accept(&[item(TENANT)]).await;
        scene.receiver.wait_for_at_least(1).await;
        scene.app.until_settled().await;
    }

    let received = scene.receiver.wait_for(answers.len()).await;
    for (request, status) in received.iter().zip(answers) {
        let path = format!("/deliveries/{}", request.header("waypost-delivery-id"));
        let delivery = scene.tenant.api.get(&path).await.expect(200);
        let wanted = if (200..300).contains(&status) { "delivered" } else { "dead" };
        assert_eq!(delivery["status"], wanted, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_never_followed() {
    let scene = scene_with(&["0s"]).await;
    let elsewhere = Receiver::bystander().await;
    for status in [301, 302, 303, 307, 308] {
        scene.receiver.script([Reply::redirect(status, &elsewhere.at("/there"))]);
        scene.tenant.accept(&[item(TENANT)]).await;
    }
    scene.receiver.wait_for(5).await;
    scene.app.until_settled().await;

    assert_eq!(scene.tenant.list("/deliveries?status=dead").await.len(), 5);
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn throttling_moves_the_time_and_spends_no_step_of_the_schedule() {
    let scene = scene_with(&["0s", "5s"]).await;
    scene.receiver.script([
        Reply::throttled("30"),
        Reply::status(503).header("retry-after", "30"),
        Reply::throttled("nonsense"),
        Reply::throttled("30"),
        Reply::status(500),
    ]);
    scene.attempted().await;

    for attempts in 2..=5 {
        scene.after(TimeDelta::seconds(80), attempts).await;
    }
    // The first failure that counts is the first step: the second one is still to come.
    let received = scene.after(TimeDelta::seconds(10), 6).await;

    assert_eq!(received[5].attempt(), 6);
    assert_eq!(scene.delivery().await["status"], "delivered");
}

#[tokio::test]
async fn a_retry_after_is_kept_and_goes_no_further_than_an_hour() {
    let scene = scene_with(&["0s", "5s"]).await;
    scene.receiver.script([Reply::throttled("100000")]);
    scene.attempted().await;

    scene.app.advance(TimeDelta::minutes(50)).await;
    scene.app.until_settled().await;
    assert_eq!(scene.receiver.count(), 1);
    scene.after(TimeDelta::minutes(11), 2).await;

    assert_eq!(scene.delivery().await["status"], "delivered");
}

#[tokio::test]
async fn a_503_without_a_retry_after_is_an_ordinary_failure() {
    let scene = scene_with(&["0s"]).await;
    scene.receiver.script([Reply::status(503)]);

    scene.attempted().await;

    assert_eq!(scene.delivery().await["status"], "dead");
}

#[tokio::test]
async fn after_the_schedule_a_delivery_is_dead_and_can_be_retried_by_hand() {
    let scene = scene_with(&["0s", "5s"]).await;
    scene.receiver.answer(Reply::status(500));
    scene.attempted().await;
    scene.after(TimeDelta::seconds(10), 2).await;
    let dead = scene.delivery().await;
    assert_eq!((&dead["status"], &dead["next_attempt_at"]), (&json!("dead"), &json!(null)));
    assert_eq!(scene.tenant.only("/events?kind=forward").await["status"], "dead");
    scene.app.advance(TimeDelta::hours(1)).await;
    assert_eq!(scene.receiver.count(), 2);

    scene.receiver.answer(Reply::status(200));
    let retry = format!("/deliveries/{}/retry", dead["id"].as_str().unwrap());
    let begun = scene.tenant.api.post(&retry, &json!({})).await.expect(202);
    assert_eq!(begun["id"], dead["id"]);
    let received = scene.receiver.wait_for(3).await;
    scene.app.until_settled().await;

    assert_eq!(received[2].event(), received[0].event());
    assert_eq!(received[2].body, received[0].body);
    assert_eq!(scene.delivery().await["status"], "delivered");
    assert_eq!(scene.tenant.api.post(&retry, &json!({})).await.status, 409);
}

#[tokio::test]
async fn a_waiting_delivery_is_sent_at_once_where_somebody_asks_for_it() {
    let scene = scene().await;
    scene.receiver.script([Reply::status(500)]);
    scene.attempted().await;

    let retry = format!("/deliveries/{}/retry", scene.delivery().await["id"].as_str().unwrap());
    scene.tenant.api.post(&retry, &json!({})).await.expect(202);

    scene.receiver.wait_for(2).await;
    scene.app.until_settled().await;
    assert_eq!(scene.delivery().await["status"], "delivered");
}

#[tokio::test]
async fn a_delivery_that_is_too_old_is_dead_however_often_it_was_throttled() {
    let scene = scene().await;
    scene.receiver.answer(Reply::throttled("3600"));
    scene.attempted().await;

    scene.after(TimeDelta::days(7), 2).await;

    assert_eq!(scene.delivery().await["status"], "dead");
}

#[tokio::test]
async fn gone_disables_the_endpoint_holds_what_is_open_and_enabling_sends_it() {
    let scene = scene().await;
    scene.receiver.script([Reply::status(410)]);
    scene.attempted().await;

    let delivery = scene.delivery().await;
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("held"), &json!(1)));
    let endpoint = scene.endpoint().await;
    assert_eq!((&endpoint["status"], &endpoint["disabled_reason"]), (&json!("disabled"), &json!("gone")));
    scene.tenant.accept(&[item(TENANT)]).await;
    assert_eq!(scene.tenant.list("/deliveries?status=held").await.len(), 2);
    assert_eq!(scene.receiver.count(), 1);

    let enable = format!("/endpoints/{}/enable", scene.endpoint);
    scene.tenant.api.post(&enable, &json!({})).await.expect(200);

    scene.receiver.wait_for(3).await;
    scene.app.until_settled().await;
    assert_eq!(scene.tenant.list("/deliveries?status=delivered").await.len(), 2);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_failure() {
    let scene = scene().await;
    scene.receiver.script([Reply::hang()]);
    scene.attempted().await;

    let delivery = scene.delivery().await;

    let attempt = &delivery["attempt_log"][0];
    assert_eq!((&attempt["status_code"], &attempt["error"]), (&json!(null), &json!("timeout")));
    assert!((900..5000).contains(&attempt["duration_ms"].as_u64().unwrap()), "{attempt}");
    scene.after(TimeDelta::seconds(10), 2).await;
    assert_eq!(scene.delivery().await["status"], "delivered");
}

#[tokio::test]
async fn a_connection_that_is_reset_or_refused_is_a_failure() {
    let scene = scene_with(&["0s"]).await;
    scene.receiver.script([Reply::reset()]);
    scene.attempted().await;
    assert_eq!(scene.delivery().await["attempt_log"][0]["error"], "reset");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = json!({"primary_url": format!("http://{nobody}/")});
    scene.tenant.api.patch("/environment/webhook-settings", &settings).await.expect(200);
    scene.tenant.accept(&[item(TENANT)]).await;
    scene.app.until_settled().await;
    let newest = scene.tenant.list("/deliveries").await[0]["id"].as_str().unwrap().to_owned();
    let delivery = scene.tenant.api.get(&format!("/deliveries/{newest}")).await.expect(200);
    assert_eq!(delivery["attempt_log"][0]["error"], "connect");
}

#[tokio::test]
async fn a_2xx_is_a_success_whatever_becomes_of_its_body() {
    let scene = scene().await;
    scene.receiver.script([Reply::endless(), Reply::cut_off(), Reply::status(200).body(vec![b'x'; 1 << 20])]);

    for _ in 0..3 {
        scene.tenant.accept(&[item(TENANT)]).await;
    }
    scene.receiver.wait_for(3).await;
    scene.app.until_settled().await;

    let delivered = scene.tenant.list("/deliveries?status=delivered").await;
    assert_eq!(delivered.len(), 3);
    for delivery in &delivered {
        let shown = scene
            .tenant
            .api
            .get(&format!("/deliveries/{}", delivery["id"].as_str().unwrap()))
            .await
            .expect(200);
        let kept = shown["attempt_log"][0]["response_body"].as_str().unwrap_or_default().len();
        assert!(kept <= 16 * 1024, "{kept}");
    }
}

#[tokio::test]
async fn a_slow_endpoint_delays_nobody_else() {
    let scene = scene().await;
    let other = Receiver::start().await;
    let umbrella = scene.app.tenant("umbrella").await;
    umbrella.primary(&other).await;
    umbrella.connection("conn-1", TENANT).await;
    scene.receiver.answer(Reply::hang());
    scene.app.leave_work();

    for _ in 0..50 {
        scene.tenant.accept(&[item(TENANT)]).await;
    }
    for _ in 0..20 {
        umbrella.accept(&[item(TENANT)]).await;
    }

    other.wait_for(20).await;
    scene.receiver.answer(Reply::status(200));
}

#[tokio::test]
async fn what_waits_goes_to_the_new_url_when_that_is_changed() {
    let scene = scene().await;
    scene.receiver.script([Reply::status(500)]);
    scene.attempted().await;
    let new = Receiver::start().await;
    scene.tenant.trusted_by(&new, &scene.endpoint).await;

    let settings = json!({"primary_url": new.url()});
    scene.tenant.api.patch("/environment/webhook-settings", &settings).await.expect(200);
    scene.app.advance(TimeDelta::seconds(10)).await;

    assert_eq!(new.wait_for(1).await[0].attempt(), 2);
    scene.app.until_settled().await;
    assert_eq!(scene.receiver.count(), 1);
}

#[tokio::test]
async fn an_event_is_as_bad_as_the_worst_of_its_deliveries() {
    let scene = scene_with(&["0s"]).await;
    let other = Receiver::start().await;
    scene.tenant.secondary(&other).await;
    other.script([Reply::status(500)]);

    scene.tenant.accept(&[item(TENANT)]).await;
    scene.receiver.wait_for(1).await;
    other.wait_for(1).await;
    scene.app.until_settled().await;

    assert_eq!(scene.tenant.only("/events?kind=forward").await["status"], "dead");
    assert_eq!(scene.tenant.list("/deliveries?status=delivered").await.len(), 1);
    assert_eq!(scene.tenant.list("/deliveries?status=dead").await.len(), 1);
}

#[tokio::test]
async fn asking_for_a_retry_many_times_at_once_sends_it_once() {
    let scene = scene_with(&["0s"]).await;
    scene.receiver.script([Reply::status(500)]);
    scene.attempted().await;
    let retry = format!("/deliveries/{}/retry", scene.delivery().await["id"].as_str().unwrap());

    let nothing = json!({});
    let asked = (0..8).map(|_| scene.tenant.api.post(&retry, &nothing));
    let answers = futures_util::future::join_all(asked).await;

    assert!(answers.iter().any(|answer| answer.status == 202));
    assert!(answers.iter().all(|answer| [202, 409].contains(&answer.status)), "{answers:#?}");
    scene.receiver.wait_for(2).await;
    scene.app.until_settled().await;
    scene.receiver.wait_for(2).await;
    assert_eq!(scene.delivery().await["status"], "delivered");
}
