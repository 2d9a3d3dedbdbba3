//! Turns: whose deliveries a claim takes when it can't take all.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use waypost_core::delivery::Start;
use waypost_core::id::{EndpointId, EnvironmentId};
use waypost_postgres::lease::{ClaimLimits, Claimed};

use crate::scene::{EVERYTHING, Scene, Tenant};

fn by_environment(claimed: &Claimed) -> BTreeMap<EnvironmentId, usize> {
    let mut counts = BTreeMap::new();
    for leased in &claimed.ready {
        *counts.entry(leased.environment).or_default() += 1;
    }
    counts
}

fn by_endpoint(claimed: &Claimed) -> BTreeMap<EndpointId, usize> {
    let mut counts = BTreeMap::new();
    for leased in &claimed.ready {
        *counts.entry(leased.target.endpoint).or_default() += 1;
    }
    counts
}

/// One event with that many deliveries that are due now.
async fn flood(scene: &Scene, tenant: &Tenant, endpoint: EndpointId, count: usize) {
    let event = tenant.event();
    let due = Start::Due(scene.now() - TimeDelta::hours(1));
    let deliveries = (0..count).map(|_| tenant.delivery(event.id, endpoint, due)).collect();
    scene.append(vec![event], deliveries).await;
}

#[tokio::test]
async fn an_environment_with_ten_thousand_due_deliveries_does_not_delay_one_with_a_single_one() {
    let scene = Scene::start().await;
    let loud = scene.tenant("loud").await;
    flood(&scene, &loud, loud.endpoint().await, 10_000).await;
    let quiet = [scene.tenant("quiet").await, scene.tenant("still").await];
    for tenant in &quiet {
        scene.one_due(tenant, tenant.endpoint().await).await;
    }

    let claimed = scene.claim(&ClaimLimits { total: 4, ..EVERYTHING }).await;

    let counts = by_environment(&claimed);
    assert_eq!(quiet.each_ref().map(|tenant| counts.get(&tenant.environment())), [Some(&1), Some(&1)]);
    assert_eq!(counts[&loud.environment()], 2);
    // It gets the rest of the places all the same.
    assert_eq!(scene.claim(&ClaimLimits { total: 500, ..EVERYTHING }).await.ready.len(), 500);
}

#[tokio::test]
async fn an_environment_gains_nothing_by_having_many_endpoints() {
    let scene = Scene::start().await;
    let (many, one) = (scene.tenant("many").await, scene.tenant("one").await);
    for _ in 0..10 {
        flood(&scene, &many, many.endpoint().await, 20).await;
    }
    flood(&scene, &one, one.endpoint().await, 20).await;

    let claimed = scene.claim(&ClaimLimits { total: 10, ..EVERYTHING }).await;

    assert_eq!(by_environment(&claimed), BTreeMap::from([(many.environment(), 5), (one.environment(), 5)]));
    assert_eq!(by_endpoint(&claimed).len(), 6, "those of one environment take turns too: {claimed:?}");
}

#[tokio::test]
async fn each_endpoint_of_an_environment_has_one_before_any_has_two() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (long, short) = (tenant.endpoint().await, tenant.endpoint().await);
    flood(&scene, &tenant, long, 1000).await;
    scene.due(&tenant, short, 2).await;

    let claimed = scene.claim(&ClaimLimits { total: 4, ..EVERYTHING }).await;

    assert_eq!(by_endpoint(&claimed), BTreeMap::from([(long, 2), (short, 2)]));
}

#[tokio::test]
async fn with_one_place_at_a_time_nobody_is_left_out() {
    let scene = Scene::start().await;
    let mut endpoints = BTreeSet::new();
    for name in ["acme", "umbrella"] {
        let tenant = scene.tenant(name).await;
        for _ in 0..2 {
            let endpoint = tenant.endpoint().await;
            flood(&scene, &tenant, endpoint, 200).await;
            endpoints.insert(endpoint);
        }
    }

    // By lot: that one of four is not drawn in two hundred is as good as impossible.
    let mut drawn = BTreeSet::new();
    for _ in 0..200 {
        let claimed = scene.claim(&ClaimLimits { total: 1, ..EVERYTHING }).await;
        assert_eq!(claimed.len(), 1);
        drawn.insert(claimed.ready[0].target.endpoint);
        if drawn == endpoints {
            return;
        }
    }
    panic!("only {drawn:?} of {endpoints:?}");
}

/// Endpoints that need no row of their own to have deliveries.
fn imagined(scene: &Scene, count: usize) -> Vec<EndpointId> {
    (0..count).map(|_| EndpointId::at(scene.now())).collect()
}

#[tokio::test]
async fn a_turn_over_many_endpoints_goes_on_after_the_last_one_and_comes_round() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let event = tenant.event();
    let endpoints = imagined(&scene, 1200);
    let due = Start::Due(scene.now());
    let deliveries = endpoints.iter().map(|endpoint| tenant.delivery(event.id, *endpoint, due)).collect();
    scene.append(vec![event], deliveries).await;

    let (mut visited, mut after, mut claims) = (Vec::new(), None, 0);
    loop {
        let claimed = scene.claim(&ClaimLimits { after, ..EVERYTHING }).await;
        visited.extend(claimed.to_discard.iter().map(|row| row.endpoint).collect::<BTreeSet<_>>());
        (after, claims) = (claimed.last, claims + 1);
        if after.is_none() {
            break;
        }
    }

    assert_eq!(visited, endpoints, "each has its turn, one claim where the other ended");
    assert!(claims > 1, "one claim looks at a bounded number");
    scene.due(&tenant, endpoints[0], 1).await;
    let round = scene.claim(&ClaimLimits { after, ..EVERYTHING }).await;
    assert_eq!(round.to_discard.len(), 1, "then it is the first one's turn again");
}

#[tokio::test]
async fn endpoints_with_nothing_due_yet_do_not_hide_those_behind_them() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let event = tenant.event();
    let later = Start::Due(scene.now() + TimeDelta::hours(1));
    // More of them than one claim looks at.
    let endpoints = imagined(&scene, 1200);
    let waiting = endpoints.iter().map(|endpoint| tenant.delivery(event.id, *endpoint, later)).collect();
    scene.append(vec![event], waiting).await;
    let due = scene.one_due(&tenant, tenant.endpoint().await).await;

    let (mut after, mut found) = (None, Vec::new());
    loop {
        let claimed = scene.claim(&ClaimLimits { total: 100, after, ..EVERYTHING }).await;
        found.extend(claimed.ready.iter().map(|leased| leased.id));
        after = claimed.last;
        if after.is_none() {
            break;
        }
    }

    assert_eq!(found, [due]);
}
