//! Retention over simulated days: what is still open is announced, ends, and leaves; what is to come has its place.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};
use waypost_core::delivery::{DeliveryStatus, Ending, Lease, Next, Start};
use waypost_core::event::{EventKind, EventStatus};
use waypost_core::filter::FilterSpec;
use waypost_core::id::{DeliveryId, EventId};
use waypost_core::page::Page;
use waypost_core::rejection::Reason;
use waypost_postgres::Store;
use waypost_postgres::event::{EventDetail, EventFilter};
use waypost_postgres::rejection::RejectionCount;
use waypost_postgres::retention::EndedByAge;
use waypost_worker::bell::Bell;
use waypost_worker::retention::{Config, Retention};

use crate::scene::{MAX_AGE, Scene, Tenant, some_tenant, tried};

/// Kept for two days: announced on the second day after, ended on the third, dropped on the fourth.
const KEPT: Config = Config { events: TimeDelta::days(2), max_age: MAX_AGE };

fn retention(store: &Store, scene: &Scene) -> Retention {
    Retention::new(store.clone(), scene.clock.shared(), Bell::default(), KEPT)
}

async fn warnings(tenant: &Tenant) -> Vec<EventDetail> {
    let filter =
        EventFilter { kinds: Some(vec![EventKind::EndpointRetentionWarning]), ..EventFilter::default() };
    let mut found = Vec::new();
    for row in tenant.store.list_events(&filter, &Page::default()).await.unwrap().rows {
        found.push(tenant.store.find_event(row.id).await.unwrap().unwrap());
    }
    found
}

async fn db_days(scene: &Scene, table: &str) -> Vec<NaiveDate> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = $1::regclass ORDER BY c.relname",
    )
    .bind(table)
    .fetch_all(&scene.pool)
    .await
    .unwrap();
    let day = |name: &String| NaiveDate::parse_from_str(name.rsplit('_').next().unwrap(), "%Y%m%d").unwrap();
    names.iter().map(day).collect()
}

#[tokio::test]
async fn what_is_still_open_is_announced_then_dies_then_leaves_with_its_day() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let stuck = tenant.endpoint().await;
    let told = tenant
        .endpoint_wanting(FilterSpec { event_types: vec!["endpoint".to_owned()], ..FilterSpec::default() })
        .await;
    let far = scene.now() + TimeDelta::days(30);
    let open = [
        scene.starting(&tenant, stuck, 1, Start::Due(far)).await[0],
        scene.starting(&tenant, stuck, 1, Start::Held).await[0],
        scene
            .starting(&tenant, stuck, 1, Start::Leased(Lease::starting(scene.now(), TimeDelta::days(30))))
            .await[0],
    ];
    let event = tenant.find(open[0]).await.event;
    let other = scene.another_process().await;
    let (mine, theirs) = (retention(&scene.store, &scene), retention(&other, &scene));

    let mut seen = Vec::new();
    for _ in 0..5 {
        // Twice at once, and once more later that day.
        let (first, second) = tokio::join!(mine.sweep(), theirs.sweep());
        first.and(second).unwrap();
        mine.sweep().await.unwrap();
        for leased in scene.claim_all().await.ready {
            assert_eq!(leased.target.endpoint, told, "an endpoint is not told of itself");
            let delivered = tried(&leased, scene.now(), 200, Next::Ended(Ending::Delivered));
            scene.store.settle_across_environments(&[delivered], scene.now(), MAX_AGE).await.unwrap();
        }
        let mut endings = Vec::new();
        for id in open {
            endings.push(tenant.store.find_delivery(id).await.unwrap().map(|found| found.ending));
        }
        let status = tenant.store.find_event(event).await.unwrap().map(|found| found.event.status);
        seen.push((endings, status, warnings(&tenant).await.len()));
        scene.clock.advance(TimeDelta::days(1));
    }

    let still_open = || vec![Some(None); 3];
    let dead = vec![Some(Some(Ending::Retention)); 3];
    assert_eq!(
        seen,
        [
            (still_open(), Some(EventStatus::Pending), 0),
            (still_open(), Some(EventStatus::Pending), 0),
            (still_open(), Some(EventStatus::Pending), 1),
            (dead, Some(EventStatus::Dead), 1),
            (vec![None; 3], None, 1),
        ]
    );
    let warning = &warnings(&tenant).await[0];
    let payload: Value = serde_json::from_str(warning.payload.get()).unwrap();
    let expected = json!({
        "endpoint": {"id": stuck, "url": "https://receiver.example/hook"},
        "from": "waypost", "operation": "retention_warning", "reason": "retention", "type": "endpoint",
    });
    assert_eq!(payload, expected);
    let deliveries: Vec<_> = warning.deliveries.iter().map(|one| (one.endpoint, one.status)).collect();
    assert_eq!(deliveries, [(told, DeliveryStatus::Delivered)]);
}

#[tokio::test]
async fn an_endpoint_is_warned_once_for_each_day_that_is_about_to_leave() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let stuck = tenant.endpoint().await;
    let sweeper = retention(&scene.store, &scene);
    for _ in 0..3 {
        sweeper.sweep().await.unwrap();
        scene.starting(&tenant, stuck, 2, Start::Held).await;
        scene.clock.advance(TimeDelta::days(1));
    }
    let mut counts = vec![warnings(&tenant).await.len()];
    for _ in 0..3 {
        for _ in 0..3 {
            sweeper.sweep().await.unwrap();
            scene.clock.advance(TimeDelta::hours(1));
        }
        counts.push(warnings(&tenant).await.len());
        scene.clock.advance(TimeDelta::hours(21));
    }
    // The first day was announced on the third, when its deliveries were two days old.
    assert_eq!(counts, [1, 2, 3, 3]);
}

#[tokio::test]
async fn what_was_delivered_leaves_without_a_word() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let id = scene.one_due(&tenant, tenant.endpoint().await).await;
    for leased in scene.claim_all().await.ready {
        let delivered = tried(&leased, scene.now(), 200, Next::Ended(Ending::Delivered));
        scene.store.settle_across_environments(&[delivered], scene.now(), MAX_AGE).await.unwrap();
    }
    let sweeper = retention(&scene.store, &scene);
    let mut there = Vec::new();
    for _ in 0..5 {
        sweeper.sweep().await.unwrap();
        there.push(tenant.store.find_delivery(id).await.unwrap().is_some());
        scene.clock.advance(TimeDelta::days(1));
    }
    assert_eq!(there, [true, true, true, true, false]);
    assert!(warnings(&tenant).await.is_empty());
    assert_eq!(scene.db_count("SELECT count(*) FROM attempts").await, 0);
}

#[tokio::test]
async fn every_day_has_its_partitions_a_week_ahead() {
    let scene = Scene::start().await;
    let sweeper = retention(&scene.store, &scene);
    for _ in 0..6 {
        sweeper.sweep().await.unwrap();
        let today = scene.now().date_naive();
        for table in ["events", "delivery_results", "attempts"] {
            let days = db_days(&scene, table).await;
            let last = today + Days::new(7);
            assert!(days.first().is_some_and(|first| *first >= today - Days::new(3)), "{table} {days:?}");
            assert_eq!(days.last(), Some(&last), "{table}");
            assert!(days.windows(2).all(|pair| pair[0] + Days::new(1) == pair[1]), "{table} {days:?}");
        }
        assert!(scene.store.missing_partitions().await.unwrap().is_empty());
        scene.clock.advance(TimeDelta::days(1));
    }
}

#[tokio::test]
async fn an_event_waits_for_its_connection_until_its_day_is_due_to_leave() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let waiting = tenant.unmatched(Some(some_tenant()));
    let id = waiting.id;
    scene.append(vec![waiting], Vec::new()).await;
    let sweeper = retention(&scene.store, &scene);
    let mut seen = Vec::new();
    for _ in 0..5 {
        sweeper.sweep().await.unwrap();
        let status = tenant.store.find_event(id).await.unwrap().map(|found| found.event.status);
        seen.push((scene.db_count("SELECT count(*) FROM unmatched").await, status));
        scene.clock.advance(TimeDelta::days(1));
    }
    let unmatched = Some(EventStatus::Unmatched);
    assert_eq!(seen, [(1, unmatched), (1, unmatched), (1, unmatched), (0, unmatched), (0, None)]);
}

#[tokio::test]
async fn refusals_and_replaced_secrets_are_forgotten_in_time() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let secrets = "SELECT count(*) FROM endpoint_secrets";
    let before = scene.db_count(secrets).await;
    tenant.store.rotate_endpoint_secret(endpoint, TimeDelta::hours(24)).await.unwrap();
    let minute: DateTime<Utc> = scene.now();
    let refused = RejectionCount {
        environment: tenant.environment(),
        integration: tenant.integration,
        minute,
        reason: Reason::InvalidJson,
        count: 3,
        samples: Vec::new(),
    };
    scene.store.count_rejections_across_environments(&[refused]).await.unwrap();
    let sweeper = retention(&scene.store, &scene);
    let mut seen = Vec::new();
    for wait in [24, 24, 1] {
        sweeper.sweep().await.unwrap();
        seen.push((
            scene.db_count("SELECT count(*) FROM rejections").await,
            scene.db_count(secrets).await - before,
        ));
        scene.clock.advance(TimeDelta::hours(wait));
    }
    sweeper.sweep().await.unwrap();
    seen.push((
        scene.db_count("SELECT count(*) FROM rejections").await,
        scene.db_count(secrets).await - before,
    ));
    // To the moment: what is exactly as old as permitted stays.
    assert_eq!(seen, [(1, 1), (1, 1), (1, 0), (0, 0)]);
}

#[tokio::test]
async fn what_was_ended_by_its_age_can_not_be_settled_any_more() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let id = scene.one_due(&tenant, tenant.endpoint().await).await;
    let leased = scene.claim_all().await.ready.remove(0);
    scene.clock.advance(TimeDelta::days(3));
    retention(&scene.store, &scene).sweep().await.unwrap();

    let late = tried(&leased, scene.now(), 200, Next::Ended(Ending::Delivered));
    assert_eq!(scene.store.settle_across_environments(&[late], scene.now(), MAX_AGE).await.unwrap().lost, 1);

    let found = tenant.find(id).await;
    assert_eq!((found.status, found.ending), (DeliveryStatus::Dead, Some(Ending::Retention)));
}

#[tokio::test]
async fn an_open_delivery_whose_own_day_has_left_keeps_no_other_from_ending() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let sweeper = retention(&scene.store, &scene);
    // One that nobody ended in time: its day has no place any more for how it ended.
    let event = tenant.event();
    let mut homeless = tenant.delivery(event.id, endpoint, Start::Held);
    let old = scene.now() - TimeDelta::days(30);
    (homeless.id, homeless.event) = (DeliveryId::at(old), EventId::at(old));
    let id = homeless.id;
    scene.append(vec![event], vec![homeless]).await;
    let ending = scene.starting(&tenant, endpoint, 3, Start::Held).await;
    scene.clock.advance(TimeDelta::days(3));

    let cutoff = scene.now().date_naive();
    let ended = scene.store.end_old_deliveries_across_environments(cutoff).await.unwrap();
    sweeper.sweep().await.unwrap();

    assert_eq!(ended, EndedByAge { dead: 3, lost: 1 });
    for id in ending {
        assert_eq!(tenant.find(id).await.ending, Some(Ending::Retention));
    }
    assert_eq!(tenant.store.find_delivery(id).await.unwrap(), None);
    assert_eq!(scene.db_open_count().await, 0);
}
