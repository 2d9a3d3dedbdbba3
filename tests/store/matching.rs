//! The matcher: events that came before their connection.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waypost_core::connection::ConnectionId;
use waypost_core::delivery::{DeliveryStatus, Next};
use waypost_core::endpoint::EndpointKind;
use waypost_core::event::{EventStatus, NewEvent, forward_body};
use waypost_core::filter::FilterSpec;
use waypost_core::id::EventId;
use waypost_core::integration::UniqueKey;
use waypost_core::page::Page;
use waypost_core::provider::Provider;
use waypost_postgres::event::{EventDetail, EventFilter};
use waypost_worker::bell::Bell;
use waypost_worker::matcher::Matcher;

use crate::scene::{KEY, MAX_AGE, Scene, Tenant, forward_only, settlement, some_tenant};

fn matcher(scene: &Scene) -> Matcher {
    Matcher::new(scene.store.clone(), scene.clock.shared(), Bell::default(), MAX_AGE)
}

async fn event(tenant: &Tenant, id: EventId) -> EventDetail {
    tenant.store.find_event(id).await.unwrap().unwrap()
}

/// All events of a connection.
async fn events_of(tenant: &Tenant, connection: &str) -> Vec<EventDetail> {
    let filter = EventFilter {
        connection: Some(ConnectionId::parse(connection).unwrap()),
        kinds: Some(vec![waypost_core::event::EventKind::Forward]),
        ..EventFilter::default()
    };
    let page = Page { limit: 200, after: None };
    let mut found = Vec::new();
    for row in tenant.store.list_events(&filter, &page).await.unwrap().rows {
        found.push(event(tenant, row.id).await);
    }
    found
}

#[tokio::test]
async fn two_sweepers_at_once_match_each_event_once() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let customer = some_tenant();
    let waiting: Vec<NewEvent> = (0..450).map(|_| tenant.unmatched(Some(customer))).collect();
    scene.append(waiting, Vec::new()).await;
    tenant.endpoint().await;
    tenant.endpoint().await;
    let other = scene.another_process().await;
    let (mine, theirs) =
        (matcher(&scene), Matcher::new(other, scene.clock.shared(), Bell::default(), MAX_AGE));
    assert_eq!(mine.sweep().await.unwrap(), 0, "nobody is there yet");
    tenant.connection("conn-1", customer).await;

    let (first, second) = tokio::join!(mine.sweep(), theirs.sweep());
    let left = mine.sweep().await.unwrap();

    assert_eq!(first.unwrap() + second.unwrap() + left, 450);
    assert_eq!(scene.db_count("SELECT count(*) FROM unmatched").await, 0);
    let twice = "SELECT count(*) FROM (SELECT FROM deliveries GROUP BY event_id, endpoint_id HAVING count(*) > 1) twice";
    assert_eq!((scene.db_open_count().await, scene.db_count(twice).await), (900, 0));
    assert_eq!(scene.db_count("SELECT count(*) FROM events WHERE kind = 0").await, 450);
}

#[tokio::test]
async fn each_connection_of_a_tenant_gets_an_event_of_its_own() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (customer, subscription) = (some_tenant(), Uuid::new_v4());
    let (primary, custom) = (tenant.primary().await, tenant.endpoint().await);
    let waiting = NewEvent { subscriptions: vec![subscription], ..tenant.unmatched(Some(customer)) };
    let (id, received_at, payload) = (waiting.id, waiting.received_at, waiting.body.clone());
    scene.append(vec![waiting], Vec::new()).await;
    scene.clock.advance(chrono::TimeDelta::hours(1));
    tenant.connection("conn-1", customer).await;
    tenant.connection_with_override("conn-2", customer).await;
    let of_override = tenant.endpoint_of_kind(EndpointKind::Override).await;

    assert_eq!(matcher(&scene).sweep().await.unwrap(), 1);

    for (connection, endpoints) in [("conn-1", [primary, custom]), ("conn-2", [of_override, custom])] {
        let found = events_of(&tenant, connection).await;
        assert_eq!(found.len(), 1, "{connection}");
        let one = &found[0];
        assert_eq!(one.event.id == id, connection == "conn-1", "the event itself is the oldest connection's");
        assert_eq!((one.event.received_at, &one.event.subscriptions), (received_at, &vec![subscription]));
        assert_eq!((one.event.tenant, one.event.status), (Some(customer), EventStatus::Pending));
        assert_eq!(one.event.id.made_at(), received_at, "it leaves the history with the day it came");
        let sent_to: BTreeSet<_> = one.deliveries.iter().map(|delivery| delivery.endpoint).collect();
        assert_eq!(sent_to, endpoints.into_iter().collect());
        let row = scene.db_open(one.deliveries[0].id).await.unwrap();
        assert_eq!((row.due_at, row.give_up_at), (scene.now(), scene.now() + MAX_AGE));
        let expected = forward_body(
            &ConnectionId::parse(connection).unwrap(),
            Provider::named("microsoft-oauth2-cc").unwrap(),
            &UniqueKey::parse(KEY).unwrap(),
            &payload,
        );
        let claimed = scene.claim_all().await;
        let sent = claimed.ready.iter().find(|leased| leased.message.event == one.event.id);
        if let Some(sent) = sent {
            assert_eq!(sent.message.body, expected);
        }
        let again = Next::Retry { due_at: scene.now(), step: 0 };
        let back: Vec<_> = claimed.ready.iter().map(|leased| settlement(leased, None, again)).collect();
        scene.settle(&back).await;
        assert!(sent.is_some(), "{connection}");
    }
}

/// More than a round holds or writes: in several rounds, and in parts.
#[tokio::test]
async fn what_is_large_is_matched_for_all_connections_of_its_tenant() {
    const CONNECTIONS: usize = 40;
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let customer = some_tenant();
    tenant.endpoint().await;
    let long = format!(r#"{{"value":[{{"x":"{}"}}]}}"#, "y".repeat(900_000));
    let large = || NewEvent { body: long.clone().into(), ..tenant.unmatched(Some(customer)) };
    scene.append((0..3).map(|_| large()).collect(), Vec::new()).await;
    for number in 0..CONNECTIONS {
        tenant.connection(&format!("conn-{number}"), customer).await;
    }

    assert_eq!(matcher(&scene).sweep().await.unwrap(), 3);

    assert_eq!(scene.db_count("SELECT count(*) FROM unmatched").await, 0);
    let per_connection = "SELECT count(*) FROM (SELECT connection FROM events WHERE kind = 0 GROUP BY connection HAVING count(*) = 3) each";
    assert_eq!(scene.db_count(per_connection).await, i64::try_from(CONNECTIONS).unwrap());
    assert_eq!(scene.db_open_count().await, i64::try_from(3 * CONNECTIONS).unwrap());
}

#[tokio::test]
async fn a_hint_of_one_process_wakes_the_matcher_of_another() {
    let scene = Scene::start().await;
    let (here, there) = (Bell::default(), Bell::default());
    let stop = CancellationToken::new();
    let running = async {
        tokio::join!(
            here.clone().pass_on(scene.store.clone(), stop.clone()),
            there.clone().listen(scene.another_process().await, stop.clone()),
        )
    };
    let ringing = async {
        // Once when it begins to listen.
        there.matching_rung().await;
        there.rung().await;
        here.may_match().notify_one();
        here.matching_rung().await;
        there.matching_rung().await;
        assert!(there.rung().now_or_never().is_none(), "nothing is to be sent");
        stop.cancel();
    };
    let both = Box::pin(async { tokio::join!(running, ringing) });
    tokio::time::timeout(std::time::Duration::from_mins(1), both).await.expect("the hint arrives");
}

#[tokio::test]
async fn an_integration_that_does_not_forward_leaves_its_events_unrouted() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let customer = some_tenant();
    tenant.endpoint().await;
    tenant.stop_forwarding().await;
    let waiting = tenant.unmatched(Some(customer));
    let id = waiting.id;
    scene.append(vec![waiting], Vec::new()).await;
    tenant.connection("conn-1", customer).await;

    assert_eq!(matcher(&scene).sweep().await.unwrap(), 1);

    let found = event(&tenant, id).await;
    assert_eq!(found.event.status, EventStatus::Unrouted);
    assert_eq!(found.event.connection.unwrap().as_str(), "conn-1");
    assert_eq!(scene.db_open_count().await, 0);
    assert_eq!(scene.db_count("SELECT count(*) FROM unmatched").await, 0);
}

#[tokio::test]
async fn filters_look_at_what_waited_as_they_look_at_what_arrives() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let customer = some_tenant();
    let created = FilterSpec { change_types: vec!["created".to_owned()], ..forward_only() };
    let (all, changes) = (tenant.endpoint().await, tenant.endpoint_wanting(created).await);
    let change = tenant.unmatched(Some(customer));
    let lifecycle = NewEvent {
        body: br#"{"value":[{"lifecycleEvent":"missed","subscriptionId":"s"}]}"#.as_slice().into(),
        ..tenant.unmatched(Some(customer))
    };
    let ids = [change.id, lifecycle.id];
    scene.append(vec![change, lifecycle], Vec::new()).await;
    tenant.connection("conn-1", customer).await;

    assert_eq!(matcher(&scene).sweep().await.unwrap(), 2);

    for (id, wanted) in ids.into_iter().zip([BTreeSet::from([all, changes]), BTreeSet::from([all])]) {
        let found = event(&tenant, id).await;
        assert_eq!(found.deliveries.iter().map(|one| one.endpoint).collect::<BTreeSet<_>>(), wanted);
    }
}

#[tokio::test]
async fn a_matched_event_waits_for_an_endpoint_that_is_disabled() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let customer = some_tenant();
    let endpoint = tenant.endpoint().await;
    tenant.store.disable_endpoint(endpoint, MAX_AGE).await.unwrap();
    let waiting = tenant.unmatched(Some(customer));
    let id = waiting.id;
    scene.append(vec![waiting], Vec::new()).await;
    tenant.connection("conn-1", customer).await;

    matcher(&scene).sweep().await.unwrap();

    assert_eq!(event(&tenant, id).await.deliveries[0].status, DeliveryStatus::Held);
}

#[tokio::test]
async fn an_event_goes_on_waiting_while_its_own_tenant_has_no_connection() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (customer, left) = (some_tenant(), some_tenant());
    tenant.endpoint().await;
    let waiting = [tenant.unmatched(Some(customer)), tenant.unmatched(Some(left)), tenant.unmatched(None)];
    let ids = waiting.each_ref().map(|event| event.id);
    scene.append(waiting.into(), Vec::new()).await;
    tenant.connection("stranger", some_tenant()).await;
    tenant.connection("gone", left).await;
    tenant.delete_connection("gone").await;

    assert_eq!(matcher(&scene).sweep().await.unwrap(), 0);
    for id in ids {
        assert_eq!(tenant.event_status(id).await, EventStatus::Unmatched);
    }
    tenant.connection("conn-1", customer).await;
    assert_eq!(matcher(&scene).sweep().await.unwrap(), 1);
    assert_eq!(tenant.event_status(ids[0]).await, EventStatus::Pending);
    assert_eq!(scene.db_count("SELECT count(*) FROM unmatched").await, 2);
}

#[tokio::test]
async fn what_waits_for_an_event_that_has_left_the_history_is_forgotten() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let customer = some_tenant();
    let (gone, there) = (tenant.unmatched(Some(customer)), tenant.unmatched(Some(customer)));
    let (gone_id, there_id) = (gone.id, there.id);
    scene.append(vec![gone, there], Vec::new()).await;
    sqlx::query("DELETE FROM events WHERE id = $1").bind(gone_id.uuid()).execute(&scene.pool).await.unwrap();
    tenant.connection("conn-1", customer).await;

    assert_eq!(matcher(&scene).sweep().await.unwrap(), 1);

    assert_eq!(tenant.event_status(there_id).await, EventStatus::Unrouted);
    assert_eq!(scene.db_count("SELECT count(*) FROM unmatched").await, 0);
}

#[tokio::test]
async fn the_bell_rings_when_there_is_something_to_send_and_only_then() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (unwanted, wanted) = (some_tenant(), some_tenant());
    let bell = Bell::default();
    let matcher = Matcher::new(scene.store.clone(), scene.clock.shared(), bell.clone(), MAX_AGE);
    scene.append(vec![tenant.unmatched(Some(unwanted)), tenant.unmatched(Some(wanted))], Vec::new()).await;

    tenant.connection("conn-1", unwanted).await;
    assert_eq!(matcher.sweep().await.unwrap(), 1);
    assert!(bell.rung().now_or_never().is_none(), "no endpoint wanted it");
    tenant.endpoint().await;
    tenant.connection("conn-2", wanted).await;
    assert_eq!(matcher.sweep().await.unwrap(), 1);
    assert!(bell.rung().now_or_never().is_some());
}

#[tokio::test]
async fn an_event_that_can_not_be_opened_keeps_no_other_waiting() {
    let scene = Scene::start().await;
    let (tenant, other) = (scene.tenant("acme").await, scene.tenant("umbrella").await);
    let customer = some_tenant();
    let (broken, sound) = (tenant.unmatched(Some(customer)), other.unmatched(Some(customer)));
    let (broken_id, sound_id) = (broken.id, sound.id);
    scene.append(vec![broken, sound], Vec::new()).await;
    sqlx::query("UPDATE events SET body = 'no sealed value' WHERE id = $1")
        .bind(broken_id.uuid())
        .execute(&scene.pool)
        .await
        .unwrap();
    for tenant in [&tenant, &other] {
        tenant.connection("conn-1", customer).await;
    }

    assert_eq!(matcher(&scene).sweep().await.unwrap(), 1);

    assert_eq!(other.event_status(sound_id).await, EventStatus::Unrouted);
    assert_eq!(scene.db_count("SELECT count(*) FROM unmatched").await, 1, "it goes on waiting");
}

#[tokio::test]
async fn an_environment_with_an_endpoint_that_can_not_be_read_keeps_no_other_waiting() {
    let scene = Scene::start().await;
    let (tenant, other) = (scene.tenant("acme").await, scene.tenant("umbrella").await);
    let customer = some_tenant();
    let broken = tenant.endpoint().await;
    for tenant in [&tenant, &other] {
        scene.append(vec![tenant.unmatched(Some(customer))], Vec::new()).await;
        tenant.connection("conn-1", customer).await;
    }
    sqlx::query("UPDATE endpoints SET filter = '{\"unheard_of\": []}' WHERE id = $1")
        .bind(broken.uuid())
        .execute(&scene.pool)
        .await
        .unwrap();

    assert_eq!(matcher(&scene).sweep().await.unwrap(), 1);
    assert_eq!(matcher(&scene).sweep().await.unwrap(), 0, "and no sweep goes on without an end");

    assert_eq!(scene.db_count("SELECT count(*) FROM unmatched").await, 1);
}
