//! Claiming: what is due goes to one process at a time, and what can't be sent is told apart.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use tokio_util::task::TaskTracker;
use waypost_core::clock::Clock as _;
use waypost_core::delivery::{Lease, Next, Start};
use waypost_core::event::NewEvent;
use waypost_core::id::{DeliveryId, EndpointId, EnvironmentId};
use waypost_postgres::Store;
use waypost_postgres::endpoint::Rotation;
use waypost_postgres::lease::ClaimLimits;

use crate::scene::{EVERYTHING, MAX_AGE, ManualClock, Scene, TERM, Tenant, actor, ids, some_tenant, tried};

/// Claims by fifty until nothing is left.
async fn claim_by_fifty(store: Store, clock: ManualClock) -> Vec<DeliveryId> {
    let mut taken = Vec::new();
    let mut after = None;
    loop {
        let limits = ClaimLimits {
            total: 50,
            per_endpoint: 50,
            endpoints: &[],
            per_environment: 20_000,
            environments: &[],
            after,
        };
        let claimed = store.claim_across_environments(&limits, clock.now(), TERM).await.unwrap();
        if claimed.is_empty() && claimed.last.is_none() {
            return taken;
        }
        taken.extend(ids(&claimed));
        after = claimed.last;
    }
}

#[tokio::test]
async fn claims_of_two_processes_never_overlap_and_leave_nothing() {
    let scene = Scene::start().await;
    let mut due = BTreeSet::new();
    for name in ["acme", "umbrella"] {
        let tenant = scene.tenant(name).await;
        for _ in 0..3 {
            due.extend(scene.due(&tenant, tenant.endpoint().await, 150).await);
        }
    }
    let other = scene.another_process().await;

    let (tasks, mut results) = (TaskTracker::new(), Vec::new());
    for store in [scene.store.clone(), other.clone(), scene.store.clone(), other] {
        results.push(tasks.spawn(claim_by_fifty(store, scene.clock.clone())));
    }
    let mut taken = Vec::new();
    for result in results {
        taken.extend(result.await.unwrap());
    }
    // What one had locked while the other looked may be left over; it is there for the next look.
    taken.extend(claim_by_fifty(scene.store.clone(), scene.clock.clone()).await);

    assert_eq!(taken.len(), 900);
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), due);
}

#[tokio::test]
async fn nothing_is_claimed_before_it_is_due() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let moment = scene.now() + TimeDelta::seconds(5);
    let id = scene.starting(&tenant, endpoint, 1, Start::Due(moment)).await[0];

    scene.clock.advance(TimeDelta::microseconds(4_999_999));
    assert!(scene.claim_all().await.is_empty());
    scene.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(ids(&scene.claim_all().await), BTreeSet::from([id]));
}

#[tokio::test]
async fn held_and_leased_deliveries_are_never_claimed() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let lease = Lease::starting(scene.now(), TERM);
    scene.starting(&tenant, endpoint, 3, Start::Held).await;
    scene.starting(&tenant, endpoint, 3, Start::Leased(lease)).await;
    let due = scene.due(&tenant, endpoint, 3).await;

    assert_eq!(ids(&scene.claim_all().await), due.into_iter().collect());
    // Not even when the lease has run out: first it is taken back.
    scene.clock.advance(TERM * 2);
    assert!(scene.claim_all().await.is_empty());
}

#[tokio::test]
async fn an_endpoint_gets_no_more_than_it_has_room_for() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let mut endpoints = Vec::new();
    for _ in 0..3 {
        endpoints.push(tenant.endpoint().await);
        scene.due(&tenant, endpoints[endpoints.len() - 1], 10).await;
    }
    let left = [(endpoints[0], 1), (endpoints[1], 0)];

    let claimed = scene.claim(&ClaimLimits { per_endpoint: 4, endpoints: &left, ..EVERYTHING }).await;

    let mut counts: BTreeMap<EndpointId, usize> = BTreeMap::new();
    for leased in &claimed.ready {
        *counts.entry(leased.target.endpoint).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from([(endpoints[0], 1), (endpoints[2], 4)]));
}

#[tokio::test]
async fn an_environment_gets_no_more_than_it_has_room_for() {
    let scene = Scene::start().await;
    let tenants = [scene.tenant("a").await, scene.tenant("b").await, scene.tenant("c").await];
    for tenant in &tenants {
        for _ in 0..2 {
            scene.due(tenant, tenant.endpoint().await, 10).await;
        }
    }
    let [first, second, third] = tenants.each_ref().map(Tenant::environment);
    let left = [(first, 1), (second, 0)];

    let claimed = scene.claim(&ClaimLimits { per_environment: 4, environments: &left, ..EVERYTHING }).await;

    let mut counts: BTreeMap<EnvironmentId, usize> = BTreeMap::new();
    for leased in &claimed.ready {
        *counts.entry(leased.environment).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from([(first, 1), (third, 4)]));
}

#[tokio::test]
async fn the_longest_due_of_an_endpoint_goes_first() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let mut by_due = Vec::new();
    for minutes in [3, 9, 1, 7, 5] {
        let due_at = scene.now() - TimeDelta::minutes(minutes);
        let id = scene.starting(&tenant, endpoint, 1, Start::Due(due_at)).await[0];
        by_due.push((due_at, id));
    }
    by_due.sort();

    for (_, expected) in by_due {
        let claimed = scene.claim(&ClaimLimits { total: 1, ..EVERYTHING }).await;
        assert_eq!(ids(&claimed), BTreeSet::from([expected]));
    }
}

#[tokio::test]
async fn a_claim_brings_all_that_sending_needs() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.primary().await;
    let before = tenant.store.endpoint_secret(endpoint).await.unwrap().unwrap();
    let Rotation::Done(rotated) =
        tenant.store.rotate_endpoint_secret(endpoint, TimeDelta::hours(1)).await.unwrap()
    else {
        panic!("primary has a secret of its own")
    };
    let id = scene.one_due(&tenant, endpoint).await;

    let claimed = scene.claim_all().await;

    let leased = &claimed.ready[0];
    let row = scene.db_open(id).await.unwrap();
    assert_eq!((leased.id, leased.environment), (id, tenant.environment()));
    assert_eq!((Some(leased.lease.token), Some(leased.lease.until)), (row.lease_token, row.lease_until));
    assert_eq!(leased.lease.until, scene.now() + TERM);
    assert_eq!((leased.progress.attempts, leased.progress.step), (0, 0));
    assert_eq!(leased.progress.give_up_at, scene.now() + MAX_AGE);
    let event = tenant.event();
    assert_eq!(
        (&leased.message.body, leased.message.item_keys.as_ref()),
        (&event.body, event.item_keys.as_str())
    );
    assert_eq!(leased.message.event, tenant.find(id).await.event);
    assert_eq!(leased.target.url.as_str(), "https://primary.example/hook");
    let secrets: Vec<String> =
        leased.target.secrets.iter().map(|secret| secret.to_text().expose_secret().to_owned()).collect();
    assert_eq!(secrets, [rotated.secret.expose_secret(), before.expose_secret()], "the newest first");
}

#[tokio::test]
async fn an_endpoint_that_can_not_be_opened_puts_off_its_own_deliveries_only() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (broken, sound) = (tenant.endpoint().await, tenant.endpoint().await);
    let stuck: BTreeSet<DeliveryId> = scene.due(&tenant, broken, 3).await.into_iter().collect();
    let sent: BTreeSet<DeliveryId> = scene.due(&tenant, sound, 3).await.into_iter().collect();
    sqlx::query("UPDATE endpoint_secrets SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE endpoint_id = $1")
        .bind(broken.uuid())
        .execute(&scene.pool)
        .await
        .unwrap();

    let claimed = scene.claim_all().await;

    assert_eq!(ids(&claimed), sent);
    assert_eq!(claimed.to_put_off.iter().map(|row| row.delivery).collect::<BTreeSet<_>>(), stuck);
    assert!(claimed.to_put_off.iter().all(|row| row.endpoint == broken && row.step == 0));
    assert!(claimed.to_hold.is_empty() && claimed.to_discard.is_empty());
}

#[tokio::test]
async fn an_event_that_can_not_be_opened_puts_off_its_own_delivery_only() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let due = scene.due(&tenant, endpoint, 3).await;
    let broken = tenant.find(due[1]).await.event;
    sqlx::query("UPDATE events SET body = 'no sealed value' WHERE id = $1")
        .bind(broken.uuid())
        .execute(&scene.pool)
        .await
        .unwrap();

    let claimed = scene.claim_all().await;

    assert_eq!(ids(&claimed), BTreeSet::from([due[0], due[2]]));
    assert_eq!(
        claimed.to_put_off.iter().map(|row| (row.delivery, row.event)).collect::<Vec<_>>(),
        [(due[1], broken)]
    );
}

#[tokio::test]
async fn what_has_nowhere_to_go_any_more_is_to_be_held_or_discarded() {
    let scene = Scene::start().await;
    let (tenant, closed) = (scene.tenant("acme").await, scene.tenant("closed").await);
    let (disabled, deleted) = (tenant.endpoint().await, tenant.endpoint().await);
    let (cleared, of_closed) = (tenant.primary().await, closed.endpoint().await);
    let sound = tenant.endpoint().await;
    let gone = tenant.connection("gone", some_tenant()).await;
    tenant.store.disable_endpoint(disabled, MAX_AGE).await.unwrap();
    tenant.store.delete_endpoint(deleted).await.unwrap();
    tenant.clear_primary().await;
    tenant.delete_connection("gone").await;
    scene.store.delete_environment(closed.environment(), &actor()).await.unwrap();
    // Accepted in the very moment of those changes.
    let to_hold = scene.one_due(&tenant, disabled).await;
    let mut to_discard = BTreeSet::from([
        scene.one_due(&tenant, deleted).await,
        scene.one_due(&tenant, cleared).await,
        scene.one_due(&closed, of_closed).await,
    ]);
    let due = Start::Due(scene.now());
    let of_gone = NewEvent { connection: Some(gone), ..tenant.event() };
    let orphans =
        vec![tenant.delivery(of_gone.id, sound, due), tenant.delivery(tenant.event().id, sound, due)];
    to_discard.extend(orphans.iter().map(|delivery| delivery.id));
    scene.append(vec![of_gone], orphans).await;
    let ready = scene.one_due(&tenant, sound).await;

    let claimed = scene.claim_all().await;

    assert_eq!(ids(&claimed), BTreeSet::from([ready]));
    assert_eq!(claimed.to_hold.iter().map(|row| row.delivery).collect::<Vec<_>>(), [to_hold]);
    assert_eq!(claimed.to_discard.iter().map(|row| row.delivery).collect::<BTreeSet<_>>(), to_discard);
    assert!(claimed.to_put_off.is_empty());
}

#[tokio::test]
async fn a_delivery_that_was_tried_before_comes_with_its_progress() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let id = scene.one_due(&tenant, tenant.endpoint().await).await;

    for attempts in 0..4_u16 {
        let claimed = scene.claim_all().await;
        let leased = &claimed.ready[0];
        let progress = (leased.progress.attempts, leased.progress.step);
        assert_eq!((leased.id, progress), (id, (u32::from(attempts), attempts * 2)));
        let next = Next::Retry { due_at: scene.now(), step: attempts * 2 + 2 };
        let failed = tried(leased, scene.now(), 500, next);
        assert_eq!(
            scene.store.settle_across_environments(&[failed], scene.now(), MAX_AGE).await.unwrap().applied,
            1
        );
    }
}
