//! Another try by hand: what may be retried, and what becomes of it.

use chrono::{NaiveTime, TimeDelta};
use waypost_core::delivery::{DeliveryStatus, Ending, Leased, Next, Start};
use waypost_core::id::{DeliveryId, EndpointId};
use waypost_postgres::delivery::Retry;
use waypost_postgres::endpoint::Held;

use crate::scene::{MAX_AGE, RETRY, Scene, Tenant, tried};

async fn retry(tenant: &Tenant, id: DeliveryId) -> Option<Retry> {
    tenant.store.retry_delivery(id, RETRY).await.unwrap()
}

async fn claim_one(scene: &Scene) -> Leased {
    let mut claimed = scene.claim_all().await.ready;
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)
}

async fn settle(scene: &Scene, leased: &Leased, status: u16, next: Next) {
    let one = tried(leased, scene.now(), status, next);
    assert_eq!(
        scene.store.settle_across_environments(&[one], scene.now(), MAX_AGE).await.unwrap().applied,
        1
    );
}

/// A delivery that died.
async fn dead(scene: &Scene, tenant: &Tenant, endpoint: EndpointId) -> DeliveryId {
    let id = scene.one_due(tenant, endpoint).await;
    let leased = claim_one(scene).await;
    settle(scene, &leased, 500, Next::Ended(Ending::Exhausted)).await;
    id
}

#[tokio::test]
async fn a_dead_delivery_begins_anew_under_its_id_and_its_attempts_count_on() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let id = dead(&scene, &tenant, tenant.endpoint().await).await;
    scene.clock.advance(TimeDelta::days(8));

    let Some(Retry::Begun(begun)) = retry(&tenant, id).await else { panic!("it may be retried") };

    assert_eq!((begun.id, begun.status, begun.attempts), (id, DeliveryStatus::Pending, 1));
    assert_eq!((begun.ending, begun.next_attempt_at), (None, Some(scene.now())));
    let row = scene.db_open(id).await.unwrap();
    assert_eq!((row.step, row.give_up_at), (0, scene.now() + MAX_AGE));
    let leased = claim_one(&scene).await;
    assert_eq!(leased.progress.attempts, 1);
    settle(&scene, &leased, 200, Next::Ended(Ending::Delivered)).await;
    let ended = tenant.find(id).await;
    assert_eq!((ended.status, ended.attempts), (DeliveryStatus::Delivered, 2));
    let numbers: Vec<u32> =
        tenant.store.list_attempts(id).await.unwrap().iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(retry(&tenant, id).await, Some(Retry::Refused(DeliveryStatus::Delivered)));
    assert_eq!(scene.db_count("SELECT count(*) FROM audit_log WHERE action = 'delivery.retry'").await, 1);
}

#[tokio::test]
async fn a_delivery_can_die_and_be_retried_again_and_again() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let id = dead(&scene, &tenant, tenant.endpoint().await).await;
    for (round, ending) in [Ending::TooOld, Ending::Retention, Ending::Exhausted].into_iter().enumerate() {
        assert!(matches!(retry(&tenant, id).await, Some(Retry::Begun(_))));
        let leased = claim_one(&scene).await;
        settle(&scene, &leased, 500, Next::Ended(ending)).await;
        let found = tenant.find(id).await;
        assert_eq!((found.status, found.ending), (DeliveryStatus::Dead, Some(ending)));
        assert_eq!(usize::try_from(found.attempts).unwrap(), round + 2);
    }
}

#[tokio::test]
async fn a_pending_delivery_becomes_due_at_once_and_keeps_its_place_in_the_schedule() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let id = scene.one_due(&tenant, endpoint).await;
    let leased = claim_one(&scene).await;
    settle(&scene, &leased, 500, Next::Retry { due_at: scene.now() + TimeDelta::hours(5), step: 4 }).await;
    let before = scene.db_open(id).await.unwrap();

    let Some(Retry::Begun(begun)) = retry(&tenant, id).await else { panic!("it may be retried") };

    assert_eq!(begun.next_attempt_at, Some(scene.now()));
    let after = scene.db_open(id).await.unwrap();
    assert_eq!((after.step, after.give_up_at, after.attempts), (4, before.give_up_at, 1));
    // Asked twice, or when it is overdue anyway, it is not put off.
    scene.clock.advance(TimeDelta::minutes(1));
    assert!(matches!(retry(&tenant, id).await, Some(Retry::Begun(_))));
    assert_eq!(scene.db_open(id).await.unwrap().due_at, after.due_at);
    assert_eq!(claim_one(&scene).await.id, id, "there is still one of it");
}

#[tokio::test]
async fn what_is_on_its_way_or_held_or_over_is_not_retried() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let sending = scene.one_due(&tenant, endpoint).await;
    claim_one(&scene).await;
    let held = scene.starting(&tenant, endpoint, 1, Start::Held).await[0];
    let deleted = tenant.endpoint().await;
    let discarded = scene.one_due(&tenant, deleted).await;
    tenant.store.delete_endpoint(deleted).await.unwrap();

    for (id, status) in [
        (sending, DeliveryStatus::Sending),
        (held, DeliveryStatus::Held),
        (discarded, DeliveryStatus::Discarded),
    ] {
        assert_eq!(retry(&tenant, id).await, Some(Retry::Refused(status)));
        assert_eq!(tenant.status(id).await, status);
    }
    assert_eq!(retry(&tenant, DeliveryId::at(scene.now())).await, None);
    assert_eq!(scene.db_count("SELECT count(*) FROM audit_log WHERE action = 'delivery.retry'").await, 0);
}

#[tokio::test]
async fn a_dead_delivery_of_a_disabled_endpoint_waits_for_it() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let id = dead(&scene, &tenant, endpoint).await;
    tenant.store.disable_endpoint(endpoint, MAX_AGE).await.unwrap();

    let Some(Retry::Begun(begun)) = retry(&tenant, id).await else { panic!("it may be retried") };
    assert_eq!(begun.status, DeliveryStatus::Held);
    assert!(scene.claim_all().await.is_empty());

    tenant.store.enable_endpoint(endpoint, Held::Deliver).await.unwrap();
    assert_eq!(claim_one(&scene).await.id, id);
}

#[tokio::test]
async fn without_its_endpoint_or_its_event_a_dead_delivery_stays_dead() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (deleted, cleared, kept) = (tenant.endpoint().await, tenant.primary().await, tenant.endpoint().await);
    let of_deleted = dead(&scene, &tenant, deleted).await;
    let of_cleared = dead(&scene, &tenant, cleared).await;
    let without_event = dead(&scene, &tenant, kept).await;
    tenant.store.delete_endpoint(deleted).await.unwrap();
    tenant.clear_primary().await;
    let event = tenant.find(without_event).await.event;
    sqlx::query("DELETE FROM events WHERE id = $1").bind(event.uuid()).execute(&scene.pool).await.unwrap();

    assert_eq!(retry(&tenant, of_deleted).await, Some(Retry::NoEndpoint));
    assert_eq!(retry(&tenant, of_cleared).await, Some(Retry::NoEndpoint));
    assert_eq!(retry(&tenant, without_event).await, Some(Retry::NoEvent));
    for id in [of_deleted, of_cleared, without_event] {
        assert_eq!(tenant.status(id).await, DeliveryStatus::Dead);
    }
    assert_eq!(scene.db_open_count().await, 0);
}

#[tokio::test]
async fn a_dead_delivery_whose_day_is_due_to_leave_stays_dead() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let id = dead(&scene, &tenant, tenant.endpoint().await).await;
    let midnight = (scene.now() + TimeDelta::days(15)).date_naive().and_time(NaiveTime::MIN).and_utc();

    scene.clock.advance(midnight - scene.now());
    assert_eq!(retry(&tenant, id).await, Some(Retry::Leaving));
    assert_eq!(tenant.status(id).await, DeliveryStatus::Dead);
    assert_eq!(scene.db_open_count().await, 0);

    // To the microsecond.
    scene.clock.advance(TimeDelta::microseconds(-1));
    assert!(matches!(retry(&tenant, id).await, Some(Retry::Begun(_))));
}

#[tokio::test]
async fn two_who_retry_at_once_make_one_delivery_of_it() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    for _ in 0..5 {
        let id = dead(&scene, &tenant, endpoint).await;
        let (first, second) = tokio::join!(retry(&tenant, id), retry(&tenant, id));
        for result in [first, second] {
            assert!(matches!(result, Some(Retry::Begun(_))), "{result:?}");
        }
        let leased = claim_one(&scene).await;
        assert_eq!(leased.id, id);
        settle(&scene, &leased, 200, Next::Ended(Ending::Delivered)).await;
    }
    assert_eq!(scene.db_count("SELECT count(*) FROM delivery_results").await, 5);
}

#[tokio::test]
async fn another_environment_can_not_retry_it() {
    let scene = Scene::start().await;
    let (tenant, other) = (scene.tenant("acme").await, scene.tenant("umbrella").await);
    let id = dead(&scene, &tenant, tenant.endpoint().await).await;

    assert_eq!(retry(&other, id).await, None);
    assert_eq!(tenant.status(id).await, DeliveryStatus::Dead);
}
