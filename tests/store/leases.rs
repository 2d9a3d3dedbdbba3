//! Leases that run out or are given back, and when there is work next.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use waypost_core::delivery::{DeliveryStatus, Lease, Start};
use waypost_postgres::lease::TakenBack;

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
    assert_eq!(scene.store.take_back_expired_across_environments(scene.now()).await.unwrap().count, 0);
    assert_eq!(tenant.status(id).await, DeliveryStatus::Sending);
    scene.clock.advance(TimeDelta::microseconds(1));
    let other = scene.one_due(&tenant, endpoint).await;
    scene.claim_all().await;
    assert_eq!(scene.store.take_back_expired_across_environments(scene.now()).await.unwrap().count, 1);

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
        let round = first.unwrap().count + second.unwrap().count;
        if round == 0 {
            break;
        }
        back += round;
    }

    assert_eq!(back, 2500);
    assert_eq!(scene.claim_all().await.ready.len(), 2500);
}

#[tokio::test]
async fn taking_back_tells_when_the_next_lease_runs_out() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let look = async || scene.store.take_back_expired_across_environments(scene.now()).await.unwrap();
    assert_eq!(look().await, TakenBack { count: 0, next: None });

    let began = scene.now();
    for seconds in [50, 20, 90] {
        let lease = Lease::starting(began, TimeDelta::seconds(seconds));
        scene.starting(&tenant, endpoint, 1, Start::Leased(lease)).await;
    }
    let at = |seconds| Some(began + TimeDelta::seconds(seconds));
    assert_eq!(look().await, TakenBack { count: 0, next: at(20) });
    scene.clock.advance(TimeDelta::seconds(60));
    assert_eq!(look().await, TakenBack { count: 2, next: at(90) });

    // More than one look takes: the rest is there at once.
    let short = Lease::starting(scene.now(), TimeDelta::seconds(1));
    scene.starting(&tenant, endpoint, 1001, Start::Leased(short)).await;
    scene.clock.advance(TimeDelta::seconds(2));
    assert_eq!(look().await, TakenBack { count: 1000, next: Some(scene.now()) });
    assert_eq!(look().await, TakenBack { count: 1, next: at(90) });
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
