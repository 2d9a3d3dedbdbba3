//! Holding: what is open follows its endpoint, at once where somebody changes it and by reconciling where nobody did.

use chrono::TimeDelta;
use waypost_core::delivery::{DeliveryStatus, Ending, Lease, Next, Start};
use waypost_core::id::{DeliveryId, EndpointId};
use waypost_postgres::endpoint::Held;
use waypost_postgres::holding::Moved;

use crate::scene::{MAX_AGE, Scene, TERM, Tenant, actor, tried};

/// Changes an endpoint's own row and nothing else, as a process that died half-way leaves it.
async fn db_disable(scene: &Scene, endpoint: EndpointId) {
    let statement = "UPDATE endpoints SET status = 'disabled', disabled_reason = 'manual', disabled_at = now() WHERE id = $1";
    sqlx::query(statement).bind(endpoint.uuid()).execute(&scene.pool).await.unwrap();
}

async fn db_enable(scene: &Scene, endpoint: EndpointId) {
    let statement =
        "UPDATE endpoints SET status = 'enabled', disabled_reason = NULL, disabled_at = NULL WHERE id = $1";
    sqlx::query(statement).bind(endpoint.uuid()).execute(&scene.pool).await.unwrap();
}

async fn reconcile(scene: &Scene) -> Moved {
    scene.store.reconcile_held_across_environments().await.unwrap()
}

async fn statuses(tenant: &Tenant, ids: &[DeliveryId]) -> Vec<DeliveryStatus> {
    let mut found = Vec::new();
    for id in ids {
        found.push(tenant.status(*id).await);
    }
    found
}

#[tokio::test]
async fn all_that_waits_for_an_endpoint_is_held_however_much_it_is() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (endpoint, other) = (tenant.endpoint().await, tenant.endpoint().await);
    scene.due(&tenant, endpoint, 1500).await;
    let later = Start::Due(scene.now() + TimeDelta::hours(1));
    scene.starting(&tenant, endpoint, 1000, later).await;
    let sending =
        scene.starting(&tenant, endpoint, 1, Start::Leased(Lease::starting(scene.now(), TERM))).await;
    let others = scene.due(&tenant, other, 2).await;

    assert_eq!(tenant.store.hold_deliveries(endpoint).await.unwrap(), 2500);

    let held = "SELECT count(*) FROM deliveries WHERE held_at IS NOT NULL";
    assert_eq!(scene.db_count(held).await, 2500);
    assert_eq!(tenant.status(sending[0]).await, DeliveryStatus::Sending);
    assert_eq!(statuses(&tenant, &others).await, [DeliveryStatus::Pending; 2]);
    assert_eq!(tenant.store.hold_deliveries(endpoint).await.unwrap(), 0);
    scene.clock.advance(TimeDelta::hours(2));
    assert_eq!(scene.claim_all().await.ready.len(), 2, "nothing held is claimed");
}

#[tokio::test]
async fn the_time_that_a_delivery_was_held_does_not_count() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let began = scene.now();
    let first = scene.one_due(&tenant, endpoint).await;
    tenant.store.disable_endpoint(endpoint, MAX_AGE).await.unwrap();
    scene.clock.advance(TimeDelta::days(3));
    let second = scene.starting(&tenant, endpoint, 1, Start::Held).await[0];
    scene.clock.advance(TimeDelta::days(6));

    tenant.store.enable_endpoint(endpoint, Held::Deliver).await.unwrap();

    let [first, second] = [scene.db_open(first).await.unwrap(), scene.db_open(second).await.unwrap()];
    assert_eq!(first.give_up_at, began + MAX_AGE + TimeDelta::days(9));
    assert_eq!(second.give_up_at, began + TimeDelta::days(3) + MAX_AGE + TimeDelta::days(6));
    assert!(first.held_at.is_none() && second.held_at.is_none());
    assert_eq!(scene.claim_all().await.ready.len(), 1, "the oldest goes at once");
}

#[tokio::test]
async fn a_released_backlog_goes_out_in_order_over_half_a_minute() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let ids = scene.starting(&tenant, endpoint, 1000, Start::Held).await;
    scene.clock.advance(TimeDelta::hours(1));

    assert_eq!(tenant.store.release_deliveries(endpoint).await.unwrap(), 1000);

    let now = scene.now();
    for (place, index) in [(0, 0), (1, 1), (500, 500), (999, 999)] {
        let due_at = scene.db_open(ids[index]).await.unwrap().due_at;
        assert_eq!(due_at, now + TimeDelta::milliseconds(30 * place), "{index}");
    }
    scene.clock.advance(TimeDelta::seconds(3));
    assert_eq!(scene.claim_all().await.ready.len(), 101);
    scene.clock.advance(TimeDelta::seconds(27));
    assert_eq!(scene.claim_all().await.ready.len(), 899);
}

#[tokio::test]
async fn discarding_ends_all_but_what_is_being_sent() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (endpoint, other) = (tenant.endpoint().await, tenant.endpoint().await);
    let lost =
        scene.starting(&tenant, endpoint, 1, Start::Leased(Lease::starting(scene.now(), TERM))).await[0];
    scene.clock.advance(TERM + TimeDelta::seconds(1));
    let sending =
        scene.starting(&tenant, endpoint, 1, Start::Leased(Lease::starting(scene.now(), TERM))).await[0];
    let due = scene.one_due(&tenant, endpoint).await;
    let held = scene.starting(&tenant, endpoint, 1, Start::Held).await[0];
    let others = scene.one_due(&tenant, other).await;

    assert_eq!(tenant.store.discard_deliveries(endpoint).await.unwrap(), 3);

    let gone = DeliveryStatus::Discarded;
    assert_eq!(statuses(&tenant, &[lost, due, held]).await, [gone, gone, gone]);
    assert_eq!(tenant.find(due).await.ending, Some(Ending::Discarded));
    assert_eq!(
        statuses(&tenant, &[sending, others]).await,
        [DeliveryStatus::Sending, DeliveryStatus::Pending]
    );
}

#[tokio::test]
async fn enabling_may_end_what_was_held_instead() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let open =
        [scene.due(&tenant, endpoint, 2).await, scene.starting(&tenant, endpoint, 2, Start::Held).await]
            .concat();
    tenant.store.disable_endpoint(endpoint, MAX_AGE).await.unwrap();

    tenant.store.enable_endpoint(endpoint, Held::Discard).await.unwrap();

    assert_eq!(statuses(&tenant, &open).await, [DeliveryStatus::Discarded; 4]);
    assert_eq!(scene.db_open_count().await, 0);
}

#[tokio::test]
async fn reconciling_brings_deliveries_in_line_with_their_endpoints_both_ways() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (down, up, fine) = (tenant.endpoint().await, tenant.endpoint().await, tenant.endpoint().await);
    let to_hold = scene.due(&tenant, down, 3).await;
    let to_release = scene.starting(&tenant, up, 2, Start::Held).await;
    let untouched = scene.due(&tenant, fine, 2).await;
    db_disable(&scene, down).await;
    db_disable(&scene, up).await;
    db_enable(&scene, up).await;

    assert_eq!(reconcile(&scene).await, Moved { held: 3, released: 2, discarded: 0 });
    assert_eq!(statuses(&tenant, &to_hold).await, [DeliveryStatus::Held; 3]);
    assert_eq!(statuses(&tenant, &to_release).await, [DeliveryStatus::Pending; 2]);
    assert_eq!(statuses(&tenant, &untouched).await, [DeliveryStatus::Pending; 2]);
    assert_eq!(reconcile(&scene).await.total(), 0, "then all is as it should be");

    db_enable(&scene, down).await;
    assert_eq!(reconcile(&scene).await, Moved { held: 0, released: 3, discarded: 0 });
}

#[tokio::test]
async fn reconciling_ends_what_has_nowhere_to_go() {
    let scene = Scene::start().await;
    let (tenant, closed) = (scene.tenant("acme").await, scene.tenant("closed").await);
    let (cleared, deleted, of_closed) =
        (tenant.primary().await, tenant.endpoint().await, closed.endpoint().await);
    tenant.clear_primary().await;
    tenant.store.delete_endpoint(deleted).await.unwrap();
    scene.store.delete_environment(closed.environment(), &actor()).await.unwrap();
    // Appended in that very moment.
    let open = [
        scene.one_due(&tenant, cleared).await,
        scene.starting(&tenant, cleared, 1, Start::Held).await[0],
        scene.one_due(&tenant, deleted).await,
        scene.starting(&tenant, deleted, 1, Start::Held).await[0],
    ];
    scene.one_due(&closed, of_closed).await;

    let moved = reconcile(&scene).await;

    assert_eq!(moved, Moved { held: 0, released: 0, discarded: 5 });
    assert_eq!(statuses(&tenant, &open).await, [DeliveryStatus::Discarded; 4]);
    assert_eq!(scene.db_open_count().await, 0);
}

#[tokio::test]
async fn two_that_reconcile_at_once_move_each_delivery_once() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let mut endpoints = Vec::new();
    for _ in 0..4 {
        endpoints.push(tenant.endpoint().await);
        scene.due(&tenant, endpoints[endpoints.len() - 1], 300).await;
    }
    for endpoint in &endpoints {
        db_disable(&scene, *endpoint).await;
    }
    let other = scene.another_process().await;

    let (first, second) = tokio::join!(
        scene.store.reconcile_held_across_environments(),
        other.reconcile_held_across_environments()
    );
    let left = reconcile(&scene).await;

    assert_eq!(first.unwrap().held + second.unwrap().held + left.held, 1200);
    assert_eq!(scene.db_count("SELECT count(*) FROM deliveries WHERE held_at IS NOT NULL").await, 1200);
}

#[tokio::test]
async fn what_was_being_sent_while_its_endpoint_was_disabled_is_held_when_it_comes_back() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let id = scene.one_due(&tenant, endpoint).await;
    let leased = scene.claim_all().await.ready.remove(0);
    tenant.store.disable_endpoint(endpoint, MAX_AGE).await.unwrap();
    assert_eq!(tenant.status(id).await, DeliveryStatus::Sending);
    let again = scene.now() + TimeDelta::seconds(5);
    let failed = tried(&leased, scene.now(), 500, Next::Retry { due_at: again, step: 1 });
    scene.store.settle_across_environments(&[failed], scene.now(), MAX_AGE).await.unwrap();

    assert_eq!(reconcile(&scene).await, Moved { held: 1, released: 0, discarded: 0 });

    let row = scene.db_open(id).await.unwrap();
    assert_eq!((row.held_at, row.attempts, row.step), (Some(scene.now()), 1, 1));
}

#[tokio::test]
async fn being_held_again_and_again_gives_back_exactly_the_time_held() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let id = scene.one_due(&tenant, endpoint).await;
    let give_up_at = scene.db_open(id).await.unwrap().give_up_at;
    for minutes in 1..=4 {
        tenant.store.disable_endpoint(endpoint, MAX_AGE).await.unwrap();
        scene.clock.advance(TimeDelta::minutes(minutes));
        tenant.store.enable_endpoint(endpoint, Held::Deliver).await.unwrap();
        scene.clock.advance(TimeDelta::hours(1));
    }
    assert_eq!(scene.db_open(id).await.unwrap().give_up_at, give_up_at + TimeDelta::minutes(10));
}
