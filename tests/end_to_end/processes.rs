//! Several processes on one database, and one that ends: work is shared, given back, and taken over.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use waypost::roles::Role;
use waypost_harness::notification::{TENANT, collection, item};
use waypost_harness::{Gate, Received, Receiver, Reply, TestApp, wait};

fn events(received: &[Received]) -> BTreeSet<String> {
    received.iter().map(|request| request.event().to_owned()).collect()
}

#[tokio::test]
async fn two_processes_share_the_work_and_send_each_event_once() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    let other = app.another(&[], |_| {}).await;

    for _ in 0..40 {
        app.public().post(&tenant.ingress(), &collection(&[item(TENANT)])).await.expect(202);
        other.public().post(&tenant.ingress(), &collection(&[item(TENANT)])).await.expect(202);
    }

    let received = receiver.wait_for(80).await;
    assert_eq!(events(&received).len(), 80);
    app.until_settled().await;
    receiver.wait_for(80).await;
    let delivered = tenant.list("/deliveries?status=delivered").await;
    assert_eq!(delivered.len(), 80);
    assert!(delivered.iter().all(|delivery| delivery["attempts"] == 1), "{delivered:#?}");
}

#[tokio::test]
async fn a_backlog_is_shared_without_sending_anything_twice() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    let endpoint = tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    let other = app.another(&[Role::Relay], |_| {}).await;
    tenant.api.post(&format!("/endpoints/{endpoint}/disable"), &json!({})).await.expect(200);
    for _ in 0..100 {
        tenant.accept(&[item(TENANT)]).await;
    }

    tenant.api.post(&format!("/endpoints/{endpoint}/enable"), &json!({})).await.expect(200);

    assert_eq!(events(&receiver.wait_for(100).await).len(), 100);
    app.until_settled().await;
    receiver.wait_for(100).await;
    drop(other);
}

#[tokio::test]
async fn what_one_process_takes_in_another_sends() {
    let app = TestApp::spawn_as(&[Role::Api, Role::Ingress], |_| {}).await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.accept(&[item(TENANT)]).await;
    assert_eq!(tenant.only("/deliveries").await["status"], "pending");

    let _relay = app.another(&[Role::Relay], |_| {}).await;
    receiver.wait_for(1).await;
    // The second one is sent because the relay is told, not because it looks by itself every few seconds.
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(2).await;
    app.until_settled().await;
}

#[tokio::test]
async fn a_connection_that_one_process_makes_is_matched_by_another() {
    let app = TestApp::spawn_as(&[Role::Api, Role::Ingress], |_| {}).await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    let _others = app.another(&[Role::Relay, Role::Scheduler], |_| {}).await;

    tenant.accept(&[item(TENANT)]).await;
    tenant.connection("conn-1", TENANT).await;

    assert_eq!(receiver.wait_for(1).await[0].connection(), "conn-1");
    app.until_settled().await;
}

#[tokio::test]
async fn what_a_killed_process_had_in_flight_is_sent_again_when_its_lease_runs_out() {
    let mut app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    let gate = Gate::closed();
    receiver.script([Reply::status(200).behind(&gate)]);
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(1).await;

    app.kill().await;
    gate.open();
    app.clock().advance(TimeDelta::hours(1));
    app.restart().await;

    let received = receiver.wait_for(2).await;
    assert_eq!(received[0].event(), received[1].event());
    assert_eq!(received[0].body, received[1].body);
    app.until_settled().await;
}

#[tokio::test]
async fn a_lease_that_has_not_run_out_is_left_alone() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    let gate = Gate::closed();
    receiver.script([Reply::status(200).behind(&gate)]);
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(1).await;

    let other = app.another(&[Role::Relay], |_| {}).await;
    other.admin().get("/health/ready").await.expect(200);
    app.db_wake_workers().await;
    // A second event shows that the other process is at work.
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(2).await;
    gate.open();

    app.until_settled().await;
    assert_eq!(events(&receiver.wait_for(2).await).len(), 2);
}

#[tokio::test]
async fn a_process_that_is_asked_to_end_finishes_what_is_in_flight() {
    let mut app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    let gate = Gate::closed();
    receiver.answer(Reply::status(200).behind(&gate));
    for _ in 0..10 {
        tenant.accept(&[item(TENANT)]).await;
    }
    receiver.wait_for(10).await;

    app.instance().request_stop();
    gate.open();
    app.stop().await;

    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM deliveries")
        .fetch_one(&mut app.db_connect().await)
        .await
        .unwrap();
    assert_eq!(open, 0);
    receiver.wait_for(10).await;
}

#[tokio::test]
async fn a_process_that_ends_gives_back_what_it_has_not_begun() {
    let mut app = TestApp::spawn_with(|settings| {
        settings.delivery.max_in_flight = 4;
        settings.delivery.max_in_flight_per_endpoint = 2;
        settings.delivery.timeout = Duration::from_secs(2);
    })
    .await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    let gate = Gate::closed();
    receiver.answer(Reply::status(200).behind(&gate));
    for _ in 0..20 {
        tenant.accept(&[item(TENANT)]).await;
    }
    receiver.wait_for_at_least(2).await;

    app.instance().request_stop();
    gate.open();
    app.stop().await;
    let leased = "SELECT count(*) FROM deliveries WHERE lease_token IS NOT NULL";
    let leased: i64 = sqlx::query_scalar(leased).fetch_one(&mut app.db_connect().await).await.unwrap();
    assert_eq!(leased, 0);
    app.restart().await;

    receiver.wait_for(20).await;
    app.until_settled().await;
}

#[tokio::test]
async fn never_more_requests_are_in_flight_than_an_endpoint_may_have() {
    let app = TestApp::spawn_with(|settings| settings.delivery.max_in_flight_per_endpoint = 3).await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    let gate = Gate::closed();
    receiver.answer(Reply::status(200).behind(&gate));
    for _ in 0..15 {
        tenant.accept(&[item(TENANT)]).await;
    }

    receiver.wait_for(3).await;
    assert_eq!(tenant.list("/deliveries?status=sending").await.len(), 3);
    assert_eq!(tenant.list("/deliveries?status=pending").await.len(), 12);
    gate.open();

    receiver.wait_for(15).await;
    app.until_settled().await;
}

#[tokio::test]
async fn a_database_that_cuts_every_connection_stops_nothing_for_long() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let tenant = app.tenant("acme").await;
    tenant.primary(&receiver).await;
    tenant.connection("conn-1", TENANT).await;
    tenant.accept(&[item(TENANT)]).await;
    receiver.wait_for(1).await;

    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(cut).execute(&mut app.db_connect().await).await.unwrap();

    wait::until_true("a notification to be taken again", async || {
        tenant.post_notification(&tenant.notification(TENANT)).await.status == 202
    })
    .await;
    receiver.wait_for_at_least(2).await;
    wait::until_true("the API to answer again", async || tenant.api.get("/events").await.status == 200).await;
    app.until_settled().await;
}
