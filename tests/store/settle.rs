//! Settling: what attempts brought, written once, by whoever has the lease.

use chrono::TimeDelta;
use tokio_util::task::TaskTracker;
use waypost_core::delivery::{DeliveryStatus, Ending, Failure, Leased, Next, Outcome, Response, Settlement};
use waypost_core::endpoint::EndpointStatus;
use waypost_core::event::EventKind;
use waypost_core::id::{DeliveryId, EventId, uuid_floor};
use waypost_core::page::Page;
use waypost_postgres::endpoint::Held;
use waypost_postgres::event::EventFilter;
use waypost_postgres::lease::ClaimLimits;

use crate::scene::{EVERYTHING, MAX_AGE, Scene, TERM, answered, attempt, settlement, tried};

const DELIVERED: Next = Next::Ended(Ending::Delivered);

/// Settles a batch, and tells how many of it were applied, and how many lost.
async fn settle(scene: &Scene, batch: &[Settlement]) -> (u64, u64) {
    let settled = scene.settle(batch).await;
    (settled.applied, settled.lost)
}

/// The attempts of a delivery: their numbers, and whether each came too late.
async fn db_attempts(scene: &Scene, id: DeliveryId) -> Vec<(i32, bool)> {
    sqlx::query_as("SELECT number, lease_lost FROM attempts WHERE delivery_id = $1 ORDER BY id")
        .bind(id.uuid())
        .fetch_all(&scene.pool)
        .await
        .unwrap()
}

/// Lets the leases run out and claims again.
async fn retake(scene: &Scene) -> Vec<Leased> {
    scene.clock.advance(TERM + TimeDelta::seconds(1));
    scene.store.take_back_expired_across_environments(scene.now()).await.unwrap();
    scene.claim_all().await.ready
}

#[tokio::test]
async fn each_settlement_of_a_mixed_batch_lands_where_it_belongs() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let due = scene.due(&tenant, tenant.endpoint().await, 7).await;
    let mut claimed = scene.claim_all().await.ready;
    claimed.sort_by_key(|leased| leased.id);
    let now = scene.now();
    let (soon, later) = (now + TimeDelta::seconds(5), now + TimeDelta::minutes(5));
    let broken = attempt(&claimed[5], now, Outcome::Failed(Failure::Timeout));
    let batch = vec![
        tried(&claimed[0], now, 204, DELIVERED),
        tried(&claimed[1], now, 500, Next::Retry { due_at: soon, step: 1 }),
        tried(&claimed[2], now, 429, Next::Retry { due_at: later, step: 0 }),
        settlement(&claimed[3], None, Next::Held),
        tried(&claimed[4], now, 404, Next::Ended(Ending::Exhausted)),
        settlement(&claimed[5], Some(broken), Next::Ended(Ending::TooOld)),
        settlement(&claimed[6], None, Next::Retry { due_at: now, step: 0 }),
    ];

    assert_eq!(settle(&scene, &batch).await, (7, 0));

    let mut found = Vec::new();
    for id in &due {
        let delivery = tenant.find(*id).await;
        found.push((delivery.status, delivery.ending, delivery.attempts, delivery.next_attempt_at));
    }
    let (pending, dead) = (DeliveryStatus::Pending, DeliveryStatus::Dead);
    assert_eq!(
        found,
        [
            (DeliveryStatus::Delivered, Some(Ending::Delivered), 1, None),
            (pending, None, 1, Some(soon)),
            (pending, None, 1, Some(later)),
            (DeliveryStatus::Held, None, 0, None),
            (dead, Some(Ending::Exhausted), 1, None),
            (dead, Some(Ending::TooOld), 1, None),
            (pending, None, 0, Some(now)),
        ]
    );
    let steps = [scene.db_open(due[1]).await, scene.db_open(due[2]).await].map(|row| row.unwrap().step);
    assert_eq!(steps, [1, 0], "a throttled attempt spends no step");
    assert_eq!(scene.db_open(due[3]).await.unwrap().held_at, Some(now));
    assert_eq!(scene.db_count("SELECT count(*) FROM deliveries WHERE lease_token IS NOT NULL").await, 0);
    assert_eq!(scene.db_count("SELECT count(*) FROM attempts").await, 5);
    let timed_out = tenant.store.list_attempts(due[5]).await.unwrap().remove(0);
    assert_eq!((timed_out.status_code, timed_out.error.as_deref()), (None, Some("timeout")));
    assert_eq!((timed_out.response, timed_out.duration_ms, timed_out.started_at), (None, 250, now));
}

#[tokio::test]
async fn a_late_settlement_changes_nothing_once_another_has_the_lease() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let id = scene.one_due(&tenant, tenant.endpoint().await).await;
    let slow = scene.claim_all().await.ready.remove(0);
    let fast = retake(&scene).await.remove(0);
    assert_ne!(slow.lease.token, fast.lease.token);
    let before = scene.db_open(id).await;

    // Whatever it says.
    let now = scene.now();
    for next in [
        DELIVERED,
        Next::Ended(Ending::Exhausted),
        Next::Retry { due_at: now + TimeDelta::hours(1), step: 7 },
        Next::Held,
    ] {
        assert_eq!(settle(&scene, &[tried(&slow, now, 200, next)]).await, (0, 1));
        assert_eq!(scene.db_open(id).await, before);
    }

    assert_eq!(settle(&scene, &[tried(&fast, now, 200, DELIVERED)]).await, (1, 0));
    let ended = tenant.find(id).await;
    assert_eq!((ended.status, ended.attempts), (DeliveryStatus::Delivered, 1), "late ones don't count");
    assert_eq!(db_attempts(&scene, id).await, [(1, true), (1, true), (1, true), (1, true), (1, false)]);
}

#[tokio::test]
async fn a_late_settlement_changes_nothing_once_the_delivery_has_ended() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let id = scene.one_due(&tenant, endpoint).await;
    let slow = scene.claim_all().await.ready.remove(0);
    scene.clock.advance(TERM + TimeDelta::seconds(1));
    tenant.store.delete_endpoint(endpoint).await.unwrap();
    assert_eq!(tenant.status(id).await, DeliveryStatus::Discarded);

    let late = tried(&slow, scene.now(), 200, DELIVERED);
    assert_eq!(settle(&scene, &[late]).await, (0, 1));

    assert_eq!(tenant.status(id).await, DeliveryStatus::Discarded, "nothing is delivered after its discard");
    assert_eq!(db_attempts(&scene, id).await, [(1, true)]);
    assert_eq!(scene.db_count("SELECT count(*) FROM delivery_results").await, 1);
}

#[tokio::test]
async fn a_late_settlement_counts_as_long_as_nobody_else_has_the_lease() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let id = scene.one_due(&tenant, tenant.endpoint().await).await;
    let slow = scene.claim_all().await.ready.remove(0);
    scene.clock.advance(TERM * 10);

    assert_eq!(settle(&scene, &[tried(&slow, scene.now(), 200, DELIVERED)]).await, (1, 0));

    assert_eq!(tenant.status(id).await, DeliveryStatus::Delivered);
    assert_eq!(db_attempts(&scene, id).await, [(1, false)]);
}

#[tokio::test]
async fn settling_again_changes_nothing_more() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let due = scene.due(&tenant, tenant.endpoint().await, 3).await;
    let mut claimed = scene.claim_all().await.ready;
    claimed.sort_by_key(|leased| leased.id);
    let now = scene.now();
    let batch = [
        tried(&claimed[0], now, 200, DELIVERED),
        tried(&claimed[1], now, 500, Next::Retry { due_at: now, step: 1 }),
        settlement(&claimed[2], None, Next::Held),
    ];
    assert_eq!(settle(&scene, &batch).await, (3, 0));
    let mut before = Vec::new();
    for id in &due {
        before.push(tenant.find(*id).await);
    }

    // As after a commit whose answer was lost.
    scene.clock.advance(TimeDelta::seconds(2));
    assert_eq!(settle(&scene, &batch).await, (0, 3));

    for (id, before) in due.iter().zip(before) {
        assert_eq!(tenant.find(*id).await, before);
    }
    assert_eq!(db_attempts(&scene, due[0]).await, [(1, false)]);
    assert_eq!(db_attempts(&scene, due[1]).await, [(1, false)]);
    // The retry that it made is claimed by somebody: the old token doesn't fit that lease either.
    let again = scene.claim_all().await.ready;
    assert_eq!(again.len(), 1);
    assert_eq!(settle(&scene, &batch).await, (0, 3));
    assert_eq!(tenant.status(due[1]).await, DeliveryStatus::Sending);
}

#[tokio::test]
async fn an_endpoint_that_says_410_is_disabled_once() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (gone, sound) = (tenant.endpoint().await, tenant.endpoint().await);
    let due = scene.due(&tenant, gone, 3).await;
    scene.one_due(&tenant, sound).await;
    let claimed = scene.claim_all().await.ready;
    let (of_gone, of_sound): (Vec<_>, Vec<_>) =
        claimed.into_iter().partition(|leased| leased.target.endpoint == gone);
    let first = scene.now();
    let held = |leased| tried(leased, first, 410, Next::Held);

    let batch = [held(&of_gone[0]), held(&of_gone[1]), tried(&of_sound[0], first, 200, DELIVERED)];
    settle(&scene, &batch).await;
    scene.clock.advance(TimeDelta::seconds(3));
    settle(&scene, &[held(&of_gone[2])]).await;

    assert_eq!(tenant.endpoint_status(gone).await, (EndpointStatus::Disabled, Some(first)));
    assert_eq!(tenant.endpoint_status(sound).await, (EndpointStatus::Enabled, None));
    for id in due {
        let delivery = tenant.find(id).await;
        assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Held, 1));
    }
    let told = EventFilter { kinds: Some(vec![EventKind::EndpointDisabled]), ..EventFilter::default() };
    assert_eq!(tenant.store.list_events(&told, &Page::default()).await.unwrap().rows.len(), 1);
    assert_eq!(scene.db_count("SELECT count(*) FROM audit_log WHERE action = 'endpoint.disable'").await, 1);
}

#[tokio::test]
async fn a_410_that_is_written_a_second_time_leaves_an_endpoint_enabled_that_was_enabled_since() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    scene.one_due(&tenant, endpoint).await;
    let leased = scene.claim_all().await.ready.remove(0);
    let gone = [tried(&leased, scene.now(), 410, Next::Held)];
    settle(&scene, &gone).await;
    assert_eq!(tenant.endpoint_status(endpoint).await.0, EndpointStatus::Disabled);
    tenant.store.enable_endpoint(endpoint, Held::Deliver).await.unwrap();

    // As after a commit whose answer was lost.
    assert_eq!(settle(&scene, &gone).await, (0, 1));

    assert_eq!(tenant.endpoint_status(endpoint).await, (EndpointStatus::Enabled, None));
    let told = EventFilter { kinds: Some(vec![EventKind::EndpointDisabled]), ..EventFilter::default() };
    assert_eq!(tenant.store.list_events(&told, &Page::default()).await.unwrap().rows.len(), 1);
    // When it says so again, it means it.
    let again = scene.claim_all().await.ready.remove(0);
    settle(&scene, &[tried(&again, scene.now(), 410, Next::Held)]).await;
    assert_eq!(tenant.endpoint_status(endpoint).await.0, EndpointStatus::Disabled);
}

#[tokio::test]
async fn attempts_are_counted_and_numbered_one_by_one() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let id = scene.one_due(&tenant, tenant.endpoint().await).await;
    let again = Next::Retry { due_at: scene.now(), step: 1 };
    let mut told = Vec::new();
    for status in [Some(500), None, Some(503), None, None, Some(429), Some(200)] {
        let leased = scene.claim_all().await.ready.remove(0);
        let next = if status == Some(200) { DELIVERED } else { again };
        let one = match status {
            Some(status) => tried(&leased, scene.now(), status, next),
            None => settlement(&leased, None, next),
        };
        settle(&scene, &[one]).await;
        told.push(tenant.find(id).await.attempts);
    }

    assert_eq!(told, [1, 1, 2, 2, 2, 3, 4], "only requests count");
    let kept = tenant.store.list_attempts(id).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|one| (one.number, one.status_code)).collect();
    assert_eq!(kept, [(1, Some(500)), (2, Some(503)), (3, Some(429)), (4, Some(200))]);
}

#[tokio::test]
async fn an_answer_is_kept_sealed_and_opens_as_it_came() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let id = scene.one_due(&tenant, tenant.endpoint().await).await;
    let leased = scene.claim_all().await.ready.remove(0);
    let response = Response {
        headers: vec![("via".to_owned(), b"caf\xe9".to_vec()), ("via".to_owned(), b"twice".to_vec())],
        body: [b"in the clear \x00\xff".as_slice(), &[b'x'; 16_000]].concat(),
        truncated: true,
    };
    let outcome = Outcome::Answered { status: 502, retry_after: None, response: response.clone() };
    let failed = attempt(&leased, scene.now(), outcome);
    settle(&scene, &[settlement(&leased, Some(failed), Next::Retry { due_at: scene.now(), step: 1 })]).await;

    let kept = tenant.store.list_attempts(id).await.unwrap().remove(0);
    assert_eq!((kept.status_code, kept.response), (Some(502), Some(response)));
    let sealed: Vec<u8> =
        sqlx::query_scalar("SELECT response FROM attempts").fetch_one(&scene.pool).await.unwrap();
    assert!(!sealed.windows(4).any(|window| window == b"body" || window == b"xxxx"));
    // Bound to its attempt: on another row it opens for nobody.
    scene.db_run("UPDATE attempts SET id = gen_random_uuid()").await;
    tenant.store.list_attempts(id).await.unwrap_err();
}

#[tokio::test]
async fn a_batch_that_can_not_be_written_leaves_nothing_behind() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let due = scene.due(&tenant, tenant.endpoint().await, 2).await;
    let claimed = scene.claim_all().await.ready;
    let mut batch =
        [tried(&claimed[0], scene.now(), 200, DELIVERED), tried(&claimed[1], scene.now(), 410, Next::Held)];
    // A delivery of a day that has no place in the history.
    batch[1].delivery = DeliveryId::from_uuid(uuid_floor(scene.now() - TimeDelta::days(400)));

    let error = scene.store.settle_across_environments(&batch, scene.now(), MAX_AGE).await.unwrap_err();

    assert!(!error.is_passing(), "{error:?}: another try would not mend it");
    for id in due {
        assert_eq!(tenant.status(id).await, DeliveryStatus::Sending);
    }
    assert_eq!(scene.db_count("SELECT count(*) FROM attempts").await, 0);
    assert_eq!(scene.db_count("SELECT count(*) FROM endpoints WHERE status = 'disabled'").await, 0);
}

#[tokio::test]
async fn a_settlement_for_a_delivery_that_never_was_is_kept_as_a_late_attempt() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    scene.one_due(&tenant, tenant.endpoint().await).await;
    let leased = scene.claim_all().await.ready.remove(0);
    let now = scene.now();
    let unknown = Settlement {
        delivery: DeliveryId::at(now),
        event: EventId::at(now),
        ..tried(&leased, now, 200, DELIVERED)
    };
    let id = unknown.delivery;

    assert_eq!(settle(&scene, &[unknown]).await, (0, 1));

    assert_eq!(db_attempts(&scene, id).await, [(1, true)]);
    assert_eq!(scene.db_count("SELECT count(*) FROM delivery_results").await, 0);
}

#[tokio::test]
async fn processes_that_settle_at_once_do_not_get_in_each_others_way() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    scene.due(&tenant, tenant.endpoint().await, 400).await;
    let (tasks, now) = (TaskTracker::new(), scene.now());
    let mut results = Vec::new();
    for next in [DELIVERED, Next::Held, DELIVERED, Next::Held] {
        let store = scene.another_process().await;
        let claimed = scene.claim(&ClaimLimits { total: 100, ..EVERYTHING }).await.ready;
        results.push(tasks.spawn(async move {
            let mut applied = 0;
            for leased in &claimed {
                let one = settlement(leased, Some(attempt(leased, now, answered(200))), next);
                applied += store.settle_across_environments(&[one], now, MAX_AGE).await.unwrap().applied;
            }
            applied
        }));
    }
    let mut applied = 0;
    for result in results {
        applied += result.await.unwrap();
    }

    assert_eq!(applied, 400);
    assert_eq!(scene.db_count("SELECT count(*) FROM delivery_results").await, 200);
    assert_eq!(scene.db_count("SELECT count(*) FROM deliveries WHERE held_at IS NOT NULL").await, 200);
    assert_eq!(scene.db_count("SELECT count(*) FROM attempts WHERE NOT lease_lost").await, 400);
}
