//! The deliverer on the store, with nothing that it could send: what it does with the rest.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use waypost_core::cloud::Clouds;
use waypost_core::delivery::{DeliveryStatus, Start};
use waypost_core::id::{DeliveryId, EndpointId, uuid_floor};
use waypost_core::retry::Schedule;
use waypost_egress::graph::TrustedClient;
use waypost_egress::guard::{Guard, Policy};
use waypost_egress::webhook::{self, WebhookClient};
use waypost_harness::wait;
use waypost_upstream::fetch::Fetcher;
use waypost_upstream::key_sets::KeyBook;
use waypost_upstream::proofs::{self, Prover};
use waypost_upstream::tokens::{self, Tokens};
use waypost_worker::bell::Bell;
use waypost_worker::deliverer::{Config, Deliverer, Parts};

use crate::scene::{MAX_AGE, Scene, Tenant};

/// A deliverer that runs until it is told to stop.
struct Delivering {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Delivering {
    fn start(scene: &Scene) -> Self {
        let times = Duration::from_secs(5);
        let client = webhook::Config {
            timeout: times,
            connect_timeout: times,
            idle_timeout: times,
            extra_roots: Vec::new(),
        };
        let parts = Parts {
            store: scene.store.clone(),
            client: WebhookClient::new(Guard::new(Policy::default()), &client).unwrap(),
            clock: scene.clock.shared(),
            bell: Bell::default(),
            prover: prover(scene),
            fetcher: fetcher(scene),
        };
        let config = Config {
            schedule: Schedule::default(),
            timeout: times,
            max_in_flight: 16,
            max_in_flight_per_endpoint: 4,
            max_age: MAX_AGE,
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (_deliverer, running) = Deliverer::new(config, parts, stop.clone());
        tasks.spawn(running.run(stop.clone()));
        tasks.close();
        Self { stop, tasks }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Nobody answers there: what is delivered here needs neither Graph nor Entra.
fn clouds() -> Clouds {
    let nobody = Url::parse("http://127.0.0.1:1/").unwrap();
    Clouds::new(nobody.clone(), nobody)
}

fn prover(scene: &Scene) -> Prover {
    let keys = KeyBook::new(scene.store.clone(), TrustedClient::new(&[]).unwrap(), scene.clock.shared());
    let config = proofs::Config { publisher: "publisher".to_owned(), clouds: clouds(), max_age: MAX_AGE };
    Prover::new(scene.store.clone(), keys, scene.clock.shared(), config)
}

fn fetcher(scene: &Scene) -> Fetcher {
    let tokens = Tokens::new(tokens::Parts {
        store: scene.store.clone(),
        client: TrustedClient::new(&[]).unwrap(),
        clouds: clouds(),
        clock: scene.clock.shared(),
        hand_off: Arc::new(Bell::default()),
        max_age: MAX_AGE,
    });
    Fetcher::new(tokens, TrustedClient::new(&[]).unwrap(), scene.clock.shared())
}

async fn until(tenant: &Tenant, id: DeliveryId, wanted: DeliveryStatus) {
    wait::until_true(&format!("{id} to be {}", wanted.as_str()), async || tenant.status(id).await == wanted)
        .await;
}

#[tokio::test]
async fn what_can_not_be_sent_is_held_discarded_or_put_off_without_an_attempt() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let (disabled, deleted, broken) =
        (tenant.endpoint().await, tenant.endpoint().await, tenant.endpoint().await);
    tenant.store.disable_endpoint(disabled, MAX_AGE).await.unwrap();
    tenant.store.delete_endpoint(deleted).await.unwrap();
    sqlx::query("UPDATE endpoint_secrets SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE endpoint_id = $1")
        .bind(broken.uuid())
        .execute(&scene.pool)
        .await
        .unwrap();
    let to_hold = scene.one_due(&tenant, disabled).await;
    let to_discard = scene.one_due(&tenant, deleted).await;
    let to_put_off = scene.one_due(&tenant, broken).await;

    let delivering = Delivering::start(&scene);
    until(&tenant, to_hold, DeliveryStatus::Held).await;
    until(&tenant, to_discard, DeliveryStatus::Discarded).await;
    let later = scene.now() + TimeDelta::minutes(1);
    wait::until_true("the third to be put off", async || {
        tenant.find(to_put_off).await.next_attempt_at == Some(later)
    })
    .await;
    delivering.stop().await;

    assert_eq!(tenant.find(to_put_off).await.attempts, 0);
    assert_eq!(scene.db_count("SELECT count(*) FROM attempts").await, 0);
}

#[tokio::test]
async fn one_result_that_can_not_be_written_does_not_keep_the_others_from_it() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let deleted = tenant.endpoint().await;
    tenant.store.delete_endpoint(deleted).await.unwrap();
    let event = tenant.event();
    let due = Start::Due(scene.now());
    let mut deliveries: Vec<_> = (0..10).map(|_| tenant.delivery(event.id, deleted, due)).collect();
    // Its day has no place in the history, so that it can't end.
    deliveries[5].id = DeliveryId::from_uuid(uuid_floor(scene.now() - TimeDelta::days(400)));
    let ids: Vec<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
    scene.append(vec![event], deliveries).await;

    let delivering = Delivering::start(&scene);
    for id in ids.iter().filter(|id| **id != ids[5]) {
        until(&tenant, *id, DeliveryStatus::Discarded).await;
    }
    delivering.stop().await;

    assert_eq!(tenant.status(ids[5]).await, DeliveryStatus::Sending, "its lease will run out");
}

#[tokio::test]
async fn work_is_found_behind_hundreds_of_endpoints_that_wait_for_their_retries() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let event = tenant.event();
    let later = Start::Due(scene.now() + TimeDelta::hours(1));
    let endpoints = (0..1200).map(|_| EndpointId::at(scene.now()));
    let waiting = endpoints.map(|endpoint| tenant.delivery(event.id, endpoint, later)).collect();
    scene.append(vec![event], waiting).await;
    let behind = tenant.endpoint().await;
    tenant.store.disable_endpoint(behind, MAX_AGE).await.unwrap();
    let due = scene.one_due(&tenant, behind).await;

    let delivering = Delivering::start(&scene);
    until(&tenant, due, DeliveryStatus::Held).await;
    delivering.stop().await;

    assert_eq!(scene.db_count("SELECT count(*) FROM deliveries WHERE lease_token IS NOT NULL").await, 0);
}

#[tokio::test]
async fn leases_of_a_process_that_died_are_taken_over() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let endpoint = tenant.endpoint().await;
    let ids = scene.due(&tenant, endpoint, 5).await;
    // Claimed by one that is never heard of again, while the endpoint was still enabled.
    assert_eq!(scene.claim_all().await.ready.len(), 5);
    tenant.store.disable_endpoint(endpoint, MAX_AGE).await.unwrap();
    scene.clock.advance(TimeDelta::minutes(1));

    let delivering = Delivering::start(&scene);
    for id in ids {
        until(&tenant, id, DeliveryStatus::Held).await;
    }
    delivering.stop().await;
}
