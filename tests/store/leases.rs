//! Leases that run out or are given back, and when there is work next.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use uuid::Uuid;
use waypost_core::delivery::{DeliveryStatus, Lease, Start};
use waypost_core::id::DeliveryId;

use crate::scene::{MAX_AGE, OpenRow, Scene, TERM, ids};

#[tokio::test]
async fn a_lease_that_has_run_out_is_taken_back_and_no_other() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let due_at = scene.now();
    let id = scene.one_due(&tenant, endpoint).await;
    scene.claim_all().await;

    // To the microsecond: at its end it still holds.
    scene.clock.advance(TERM);
    assert_eq!(scene.store.take_back_expired_across_environments(scene.now()).await.unwrap(), 0);
    assert_eq!(tenant.status(id).await, DeliveryStatus::Sending);
    scene.clock.advance(TimeDelta::microseconds(1));
    let other = scene.one_due(&tenant, endpoint).await;
    scene.claim_all().await;
    assert_eq!(scene.store.take_back_expired_across_environments(scene.now()).await.unwrap(), 1);

    let free = OpenRow {
        due_at,
        give_up_at: due_at + MAX_AGE,
        held_at: None,
        lease_token: None,
        lease_until: None,
        attempts: 0,
        step: 0,
    };
    assert_eq!(scene.db_open(id).await, Some(free));
    assert_eq!(tenant.status(other).await, DeliveryStatus::Sending);
    assert_eq!(ids(&scene.claim_all().await), BTreeSet::from([id]));
}

#[tokio::test]
async fn two_processes_take_every_expired_lease_back_once() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    scene.starting(&tenant, endpoint, 2500, Start::Leased(Lease::starting(scene.now(), TERM))).await;
    scene.clock.advance(TERM * 2);
    let (other, now) = (scene.another_process().await, scene.now());

    let mut back = 0;
    loop {
        let (first, second) = tokio::join!(
            scene.store.take_back_expired_across_environments(now),
            other.take_back_expired_across_environments(now),
        );
        let round = first.unwrap() + second.unwrap();
        if round == 0 {
            break;
        }
        back += round;
    }

    assert_eq!(back, 2500);
    assert_eq!(scene.claim_all().await.ready.len(), 2500);
}

#[tokio::test]
async fn a_lease_that_is_given_back_can_be_claimed_at_once_and_cost_nothing() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let due = scene.due(&tenant, endpoint, 3).await;
    let before = scene.db_open(due[0]).await;
    let claimed = scene.claim_all().await;
    let mut leases: Vec<(DeliveryId, Uuid)> =
        claimed.ready.iter().map(|leased| (leased.id, leased.lease.token)).collect();
    leases[2].1 = Uuid::new_v4();

    assert_eq!(scene.store.give_back_across_environments(&leases).await.unwrap(), 2);

    let kept = leases[2].0;
    assert_eq!(tenant.status(kept).await, DeliveryStatus::Sending, "another's lease can't be given back");
    assert_eq!(scene.db_open(due[0]).await.unwrap().attempts, 0);
    if kept != due[0] {
        assert_eq!(scene.db_open(due[0]).await, before);
    }
    let again = ids(&scene.claim_all().await);
    assert_eq!(again, due.into_iter().filter(|id| *id != kept).collect());
    assert_eq!(
        scene.store.give_back_across_environments(&leases).await.unwrap(),
        0,
        "it is no longer theirs"
    );
}

#[tokio::test]
async fn the_next_work_is_the_earliest_that_nobody_has() {
    let scene = Scene::start().await;
    let next = async || scene.store.next_due_across_environments().await.unwrap();
    let (acme, umbrella) = (scene.tenant("acme").await, scene.tenant("umbrella").await);
    let (first, second) = (acme.endpoint().await, umbrella.endpoint().await);
    assert_eq!(next().await, None);

    scene.starting(&acme, first, 1, Start::Held).await;
    let lease = Lease::starting(scene.now(), TERM);
    scene.starting(&acme, first, 1, Start::Leased(lease)).await;
    assert_eq!(next().await, None, "held and leased ones wake nobody");

    let at = |minutes| scene.now() + TimeDelta::minutes(minutes);
    scene.starting(&acme, first, 1, Start::Due(at(20))).await;
    assert_eq!(next().await, Some(at(20)));
    scene.starting(&umbrella, second, 1, Start::Due(at(10))).await;
    scene.starting(&umbrella, second, 1, Start::Due(at(30))).await;
    assert_eq!(next().await, Some(at(10)));

    let began = scene.now();
    scene.clock.advance(TERM + TimeDelta::seconds(1));
    scene.store.take_back_expired_across_environments(scene.now()).await.unwrap();
    assert_eq!(next().await, Some(began), "what was taken back is overdue");
}
