//! Appending: a batch is stored whole or not at all, and each row lands where it belongs.

use std::collections::BTreeSet;

use chrono::{Days, NaiveTime, TimeDelta};
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use waypost_core::delivery::{DeliveryStatus, Ending, Lease, Next, Start};
use waypost_core::event::{EventStatus, NewEvent, Routing};
use waypost_core::id::{DeliveryId, EventId};
use waypost_core::integration::UniqueKey;
use waypost_postgres::append::Batch;
use waypost_postgres::resolve::Found;
use waypost_worker::bell::Bell;
use waypost_worker::matcher::Matcher;

use crate::scene::{KEY, MAX_AGE, OpenRow, Scene, TERM, some_tenant, tried};

const STORED: &str = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM unmatched)
                           + (SELECT count(*) FROM deliveries)";

#[tokio::test]
async fn a_batch_is_stored_with_each_delivery_starting_as_it_should() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let (now, lease) = (scene.now(), Lease::starting(scene.now(), TERM));
    let (sent, later, held) = (tenant.event(), tenant.event(), tenant.event());
    let deliveries = vec![
        tenant.delivery(sent.id, endpoint, Start::Leased(lease)),
        tenant.delivery(later.id, endpoint, Start::Due(now + TimeDelta::minutes(5))),
        tenant.delivery(held.id, endpoint, Start::Held),
    ];
    let ids: Vec<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
    let events: Vec<EventId> = [&sent, &later, &held].map(|event| event.id).to_vec();

    scene.append(vec![sent, later, held], deliveries).await;

    let row = OpenRow {
        due_at: now,
        give_up_at: now + MAX_AGE,
        held_at: None,
        lease_token: None,
        lease_until: None,
        attempts: 0,
        step: 0,
    };
    let leased = OpenRow { lease_token: Some(lease.token), lease_until: Some(lease.until), ..row.clone() };
    assert_eq!(scene.db_open(ids[0]).await, Some(leased));
    assert_eq!(
        scene.db_open(ids[1]).await,
        Some(OpenRow { due_at: now + TimeDelta::minutes(5), ..row.clone() })
    );
    assert_eq!(scene.db_open(ids[2]).await, Some(OpenRow { held_at: Some(now), ..row }));
    let mut statuses = Vec::new();
    for id in events {
        statuses.push(tenant.event_status(id).await);
    }
    assert_eq!(statuses, [EventStatus::Sending, EventStatus::Pending, EventStatus::Held]);
}

#[tokio::test]
async fn a_batch_with_one_row_that_does_not_fit_leaves_nothing_behind() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let taken = scene.one_due(&tenant, endpoint).await;
    let before = scene.db_count(STORED).await;
    let good = || (tenant.event(), tenant.unmatched(Some(some_tenant())));

    // The id of a delivery that is there already.
    let (event, unmatched) = good();
    let mut twice = tenant.delivery(event.id, endpoint, Start::Due(scene.now()));
    twice.id = taken;
    let fine = tenant.delivery(event.id, endpoint, Start::Due(scene.now()));
    let batch = Batch { events: vec![event, unmatched], deliveries: vec![fine, twice] };
    let error = scene.store.append_across_environments(&batch).await.unwrap_err();
    assert!(error.breaks("deliveries_pkey"), "{error:?}");
    assert!(!error.is_passing());
    assert_eq!(scene.db_count(STORED).await, before);

    // A day that the history has no place for.
    let (event, unmatched) = good();
    let fine = tenant.delivery(event.id, endpoint, Start::Due(scene.now()));
    let far = tenant.event_at(scene.now() + TimeDelta::days(400));
    let batch = Batch { events: vec![event, unmatched, far], deliveries: vec![fine] };
    scene.store.append_across_environments(&batch).await.unwrap_err();
    assert_eq!(scene.db_count(STORED).await, before);
}

#[tokio::test]
async fn a_batch_of_several_statements_is_stored_whole_or_not_at_all() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let large = || NewEvent { body: vec![b'x'; 5 << 20].into(), ..tenant.event() };
    let events: Vec<NewEvent> = (0..8).map(|_| large()).collect();
    let due = |event: &NewEvent| tenant.delivery(event.id, endpoint, Start::Due(scene.now()));
    let deliveries: Vec<_> = events.iter().map(due).collect();
    scene.append(events, deliveries).await;
    let stored = scene.db_count(STORED).await;
    assert_eq!(stored, 16);

    // Only the last statement fails.
    let mut events: Vec<NewEvent> = (0..8).map(|_| large()).collect();
    let deliveries: Vec<_> = events.iter().map(due).collect();
    events.push(tenant.event_at(scene.now() + TimeDelta::days(400)));
    let batch = Batch { events, deliveries };
    scene.store.append_across_environments(&batch).await.unwrap_err();
    assert_eq!(scene.db_count(STORED).await, stored);
}

#[tokio::test]
async fn only_events_without_a_connection_are_written_down_as_waiting() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (waits, nameless) = (tenant.unmatched(Some(some_tenant())), tenant.unmatched(None));
    let others = [Routing::Routed, Routing::Unrouted, Routing::Quarantined].map(|routing| NewEvent {
        routing,
        tenant: Some(some_tenant()),
        ..tenant.event()
    });
    let expected = BTreeSet::from([waits.id.uuid(), nameless.id.uuid()]);

    scene.append(vec![nameless], Vec::new()).await;
    assert!(
        scene.store.newest_unmatched_across_environments().await.unwrap().is_none(),
        "without a tenant nothing can match"
    );
    scene.append(others.into_iter().chain([waits]).collect(), Vec::new()).await;

    let waiting: Vec<Uuid> =
        sqlx::query_scalar("SELECT event_id FROM unmatched").fetch_all(&scene.pool).await.unwrap();
    assert_eq!(waiting.into_iter().collect::<BTreeSet<_>>(), expected);
    assert!(scene.store.newest_unmatched_across_environments().await.unwrap().is_some());
}

#[tokio::test]
async fn environments_with_equal_keys_stay_apart() {
    let scene = Scene::start().await;
    let (acme, other) = (scene.tenant("acme").await, scene.tenant("acme").await);
    let customer = some_tenant();
    let (mine, theirs) = (acme.unmatched(Some(customer)), other.unmatched(Some(customer)));
    let (mine_id, theirs_id) = (mine.id, theirs.id);
    scene.append(vec![mine, theirs], Vec::new()).await;

    // The same integration key, connection id and tenant, in one of them.
    acme.connection("conn-1", customer).await;
    acme.endpoint().await;
    other.endpoint().await;
    let matcher = Matcher::new(scene.store.clone(), scene.clock.shared(), Bell::default(), MAX_AGE);
    assert_eq!(matcher.sweep().await.unwrap(), 1);

    assert_eq!(acme.event_status(mine_id).await, EventStatus::Pending);
    assert_eq!(other.event_status(theirs_id).await, EventStatus::Unmatched);
    assert!(acme.store.find_event(theirs_id).await.unwrap().is_none());
    let claimed = scene.claim_all().await;
    assert!(claimed.ready.iter().all(|leased| leased.environment == acme.environment()));
    assert_eq!(claimed.len(), 1);

    let key = UniqueKey::parse(KEY).unwrap();
    let named = BTreeSet::from([(acme.environment(), key.clone()), (other.environment(), key.clone())]);
    let found = scene.store.find_integrations_across_environments(&named, scene.now()).await.unwrap();
    for tenant in [&acme, &other] {
        let Found::Integration(facts) = &found[&(tenant.environment(), key.clone())] else {
            panic!("{found:?}")
        };
        assert_eq!(facts.id, tenant.integration);
    }
}

#[tokio::test]
async fn rows_made_at_the_edge_of_a_day_belong_to_their_own_day() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let today = scene.now().date_naive();
    let midnight = (today + Days::new(1)).and_time(NaiveTime::MIN).and_utc();
    let wait = midnight - scene.now() - TimeDelta::milliseconds(1);

    let mut made = Vec::new();
    for step in [wait, TimeDelta::milliseconds(1)] {
        scene.clock.advance(step);
        made.push(scene.one_due(&tenant, endpoint).await);
        for leased in scene.claim_all().await.ready {
            let delivered = tried(&leased, scene.now(), 200, Next::Ended(Ending::Delivered));
            scene.store.settle_across_environments(&[delivered], scene.now(), MAX_AGE).await.unwrap();
        }
    }

    let days = [today, today + Days::new(1)];
    for (id, day) in made.iter().zip(days) {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT e.tableoid::regclass::text FROM events e JOIN delivery_results r ON r.event_id = e.id WHERE r.delivery_id = $1
             UNION ALL SELECT tableoid::regclass::text FROM delivery_results WHERE delivery_id = $1
             UNION ALL SELECT tableoid::regclass::text FROM attempts WHERE delivery_id = $1",
        )
        .bind(id.uuid())
        .fetch_all(&scene.pool)
        .await
        .unwrap();
        let wanted = ["events", "delivery_results", "attempts"]
            .map(|table| format!("{table}_{}", day.format("%Y%m%d")));
        assert_eq!(tables, wanted);
    }

    scene.store.drop_history_across_environments(days[1]).await.unwrap();
    assert!(tenant.store.find_delivery(made[0]).await.unwrap().is_none());
    assert_eq!(tenant.status(made[1]).await, DeliveryStatus::Delivered);
}

#[tokio::test]
async fn each_event_of_a_batch_keeps_its_own_subscriptions() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let events: Vec<NewEvent> = (0..300)
        .map(|n| NewEvent { subscriptions: (0..n % 6).map(|_| Uuid::new_v4()).collect(), ..tenant.event() })
        .collect();
    let wanted: Vec<(EventId, Vec<Uuid>)> =
        events.iter().map(|event| (event.id, event.subscriptions.clone())).collect();

    scene.append(events, Vec::new()).await;

    let rows: Vec<(Uuid, Vec<Uuid>)> = sqlx::query_as("SELECT id, subscriptions FROM events ORDER BY id")
        .fetch_all(&scene.pool)
        .await
        .unwrap();
    let found: Vec<(EventId, Vec<Uuid>)> =
        rows.into_iter().map(|(id, subscriptions)| (EventId::from_uuid(id), subscriptions)).collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn what_several_processes_append_at_once_is_all_there_when_they_return() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let tasks = TaskTracker::new();
    for _ in 0..4 {
        let store = scene.another_process().await;
        let batches: Vec<Batch> = (0..10)
            .map(|_| {
                let events: Vec<NewEvent> = (0..20).map(|_| tenant.event()).collect();
                let due = |event: &NewEvent| tenant.delivery(event.id, endpoint, Start::Due(scene.now()));
                let deliveries = events.iter().map(due).collect();
                Batch { events, deliveries }
            })
            .collect();
        tasks.spawn(async move {
            for batch in batches {
                store.append_across_environments(&batch).await.unwrap();
            }
        });
    }
    tasks.close();
    tasks.wait().await;

    assert_eq!(scene.db_count("SELECT count(*) FROM events").await, 800);
    assert_eq!(scene.claim_all().await.ready.len(), 800);
}
