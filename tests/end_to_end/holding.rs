//! Endpoints that can't be reached for a while, and those that go away: what is open is held, or discarded, visibly.

use serde_json::{Value, json};
use waypost_harness::notification::{TENANT, item};
use waypost_harness::{Gate, Receiver, Reply, Tenant, TestApp, wait};

async fn scene() -> (TestApp, Tenant, Receiver, String) {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    (app, tenant, receiver, endpoint)
}

async fn act(tenant: &Tenant, endpoint: &str, action: &str, body: &Value) {
    tenant.api.post(&format!("/endpoints/{endpoint}/{action}"), body).await.expect(200);
}

async fn count(tenant: &Tenant, status: &str) -> usize {
    tenant.list(&format!("/deliveries?status={status}")).await.len()
}

/// Waits until that many deliveries have the status.
async fn until(tenant: &Tenant, status: &str, wanted: usize) {
    wait::until_true(&format!("{wanted} deliveries to be {status}"), async || {
        count(tenant, status).await == wanted
    })
    .await;
}

#[tokio::test]
async fn a_disabled_endpoint_holds_its_deliveries_and_gets_them_when_it_is_enabled() {
    let (app, tenant, receiver, endpoint) = scene().await;
    act(&tenant, &endpoint, "disable", &json!({})).await;
    for _ in 0..3 {
        tenant.accept(&[item(TENANT)]).await;
    }
    until(&tenant, "held", 3).await;
    assert_eq!(tenant.list("/events?kind=forward&status=held").await.len(), 3);

    act(&tenant, &endpoint, "enable", &json!({"held": "deliver"})).await;

    receiver.wait_for(3).await;
    app.until_settled().await;
    assert_eq!(count(&tenant, "delivered").await, 3);
}

#[tokio::test]
async fn enabling_may_discard_what_was_held() {
    let (app, tenant, receiver, endpoint) = scene().await;
    act(&tenant, &endpoint, "disable", &json!({})).await;
    tenant.accept(&[item(TENANT)]).await;
    until(&tenant, "held", 1).await;

    act(&tenant, &endpoint, "enable", &json!({"held": "discard"})).await;

    until(&tenant, "discarded", 1).await;
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(1).await;
    app.until_settled().await;
    assert_eq!(count(&tenant, "delivered").await, 1);
}

#[tokio::test]
async fn what_waits_for_its_next_try_is_held_with_the_rest_and_costs_no_attempt() {
    let (app, tenant, receiver, endpoint) = scene().await;
    receiver.script([Reply::status(500)]);
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(1).await;
    app.until_settled().await;

    act(&tenant, &endpoint, "disable", &json!({})).await;
    until(&tenant, "held", 1).await;
    app.advance(chrono::TimeDelta::days(10)).await;
    act(&tenant, &endpoint, "enable", &json!({})).await;

    // Time held does not count, so it isn't too old.
    assert_eq!(receiver.wait_for(2).await[1].attempt(), 2);
    app.until_settled().await;
    assert_eq!(count(&tenant, "delivered").await, 1);
}

#[tokio::test]
async fn a_held_delivery_is_not_retried_by_hand() {
    let (app, tenant, _receiver, endpoint) = scene().await;
    app.leave_work();
    act(&tenant, &endpoint, "disable", &json!({})).await;
    tenant.accept(&[item(TENANT)]).await;
    until(&tenant, "held", 1).await;
    let id = tenant.only("/deliveries").await["id"].as_str().unwrap().to_owned();

    let answer = tenant.api.post(&format!("/deliveries/{id}/retry"), &json!({})).await;

    assert_eq!(answer.status, 409, "{}", answer.text());
}

#[tokio::test]
async fn clearing_the_primary_url_discards_what_is_open() {
    let (app, tenant, receiver, endpoint) = scene().await;
    act(&tenant, &endpoint, "disable", &json!({})).await;
    tenant.accept(&[item(TENANT)]).await;
    until(&tenant, "held", 1).await;

    tenant.api.patch("/environment/webhook-settings", &json!({"primary_url": ""})).await.expect(200);

    until(&tenant, "discarded", 1).await;
    assert_eq!(tenant.only("/events?kind=forward").await["status"], "discarded");
    app.until_settled().await;
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn deleting_an_endpoint_discards_what_is_open_and_leaves_the_history() {
    let (app, tenant, _primary, _) = scene().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver).await;
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(1).await;
    app.until_settled().await;
    receiver.answer(Reply::status(500));
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(2).await;
    app.until_settled().await;

    tenant.api.delete(&format!("/endpoints/{endpoint}")).await.expect(200);

    let of_endpoint = format!("/deliveries?endpoint_id={endpoint}");
    wait::until_true("the open one to be discarded", async || {
        let mut found: Vec<String> = tenant
            .list(&of_endpoint)
            .await
            .iter()
            .map(|one| one["status"].as_str().unwrap().to_owned())
            .collect();
        found.sort();
        found == ["delivered", "discarded"]
    })
    .await;
}

#[tokio::test]
async fn an_answer_to_a_request_in_flight_counts_although_its_endpoint_was_deleted() {
    let (app, tenant, _primary, _) = scene().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver).await;
    let gate = Gate::closed();
    receiver.script([Reply::status(200).behind(&gate)]);
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(1).await;

    tenant.api.delete(&format!("/endpoints/{endpoint}")).await.expect(200);
    gate.open();
    app.until_settled().await;

    let found = tenant.list(&format!("/deliveries?endpoint_id={endpoint}")).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(["delivered", "discarded"].contains(&found[0]["status"].as_str().unwrap()), "{found:#?}");
}

#[tokio::test]
async fn deleting_connection_integration_or_environment_discards_their_open_deliveries() {
    for what in ["connection", "integration", "environment"] {
        let (app, tenant, receiver, _) = scene().await;
        receiver.answer(Reply::status(500));
        tenant.accept(&[item(TENANT)]).await;
        receiver.wait_for(1).await;
        app.until_settled().await;

        match what {
            "connection" => tenant.api.delete("/connections/conn-1?provider_config_key=graph-cc").await,
            "integration" => tenant.api.delete("/integrations/graph-cc").await,
            _ => app.admin().delete(&format!("/admin/environments/{}", tenant.environment)).await,
        }
        .expect(200);

        let mut connection = app.db_connect().await;
        wait::until_true(&format!("open deliveries to be discarded with their {what}"), async || {
            let sql = "SELECT count(*) FROM deliveries d JOIN events e ON e.id = d.event_id WHERE e.kind = 0";
            sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await.unwrap() == 0
        })
        .await;
        app.leave_work(); // the notice of the deletion meets an endpoint that fails
    }
}

#[tokio::test]
async fn however_often_an_endpoint_is_switched_while_events_pour_in_none_is_lost() {
    let (app, tenant, receiver, endpoint) = scene().await;
    let nothing = json!({});

    for _ in 0..6 {
        let posts =
            futures_util::future::join_all((0..10).map(async |_| tenant.accept(&[item(TENANT)]).await));
        let switches = async {
            act(&tenant, &endpoint, "disable", &nothing).await;
            act(&tenant, &endpoint, "enable", &nothing).await;
            act(&tenant, &endpoint, "disable", &nothing).await;
        };
        tokio::join!(posts, switches);
    }
    act(&tenant, &endpoint, "enable", &nothing).await;

    until(&tenant, "delivered", 60).await;
    app.until_settled().await;
    receiver.wait_for(60).await;
}

#[tokio::test]
async fn an_override_that_is_changed_or_taken_away_moves_or_discards_what_is_open() {
    let (app, tenant, primary, endpoint) = scene().await;
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    for receiver in [&first, &second] {
        tenant.trusted_by(receiver, &endpoint).await;
    }
    let path = "/connections/conn-1?provider_config_key=graph-cc";
    tenant.api.patch(path, &json!({"webhook_url_override": first.url()})).await.expect(200);
    first.script([Reply::status(500)]);
    tenant.accept(&[item(TENANT)]).await;
    first.wait_for(1).await;
    app.until_settled().await;

    tenant.api.patch(path, &json!({"webhook_url_override": second.url()})).await.expect(200);
    app.advance(chrono::TimeDelta::seconds(10)).await;
    second.wait_for(1).await;
    app.until_settled().await;

    second.script([Reply::status(500)]);
    tenant.accept(&[item(TENANT)]).await;
    second.wait_for(2).await;
    app.until_settled().await;
    tenant.api.patch(path, &json!({"webhook_url_override": ""})).await.expect(200);
    until(&tenant, "discarded", 1).await;
    tenant.accept(&[item(TENANT)]).await;
    primary.wait_for(1).await;
    app.until_settled().await;
    assert_eq!((first.count(), second.count()), (1, 2));
}
