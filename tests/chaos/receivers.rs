//! Receivers that are away or never answer: what is for them waits, and what is for others doesn't.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use uuid::Uuid;
use waypost_harness::program::{Environment, Program, Site, within};
use waypost_harness::{Client, Received, Receiver, Reply};

use crate::door::Door;
use crate::postgres::Postgres;

const SCHEDULE: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(2),
    Duration::from_secs(2),
    Duration::from_secs(2),
];
/// A deadline that no test waits for: who is delayed by it is delayed for good.
const SETTINGS: &[(&str, &str)] = &[
    ("delivery.timeout", "30s"),
    ("delivery.schedule", "0s,500ms,1s,2s,2s,2s,2s"),
    ("delivery.max_in_flight_per_endpoint", "4"),
];
const NOTIFICATIONS: usize = 60;
/// The pause between two notifications.
const PACE: Duration = Duration::from_millis(10);
/// What a loaded machine may add to any time that is measured.
const SLACK: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(30);

/// An environment with two connections, each with an endpoint of its own.
struct Two {
    program: Program,
    environment: Environment,
    tenants: [Uuid; 2],
    _site: Site,
    _postgres: Postgres,
}

impl Two {
    /// `urls` are the endpoints', each before a receiver.
    async fn build(urls: [String; 2], receivers: [&Receiver; 2]) -> Self {
        let postgres = Postgres::start().await;
        let site = Site::with(&postgres.url(), SETTINGS);
        site.migrate().await;
        let program = site.started().await;
        let public = program.public();
        let environment = Environment::create(&program.admin(), &public).await;
        let tenants = [Uuid::new_v4(), Uuid::new_v4()];
        for (number, (url, receiver)) in urls.iter().zip(receivers).enumerate() {
            let connection = format!("conn-{number}");
            environment.connection(&public, &connection, tenants[number]).await;
            environment.endpoint(&public, url, &connection, receiver).await;
        }
        Self { program, environment, tenants, _site: site, _postgres: postgres }
    }

    /// Posts a notification for one of the two, and gives the time of the answer.
    async fn post(&self, number: usize) -> Instant {
        let body = self.environment.notification(self.tenants[number], Uuid::new_v4());
        self.program.public().post(&self.environment.ingress(), &body).await.expect(202);
        Instant::now()
    }

    fn api(&self) -> Client {
        self.environment.api(&self.program.public())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_was_down_gets_everything_on_schedule_and_delays_nobody_else() {
    let (away, steady) = (Receiver::start().await, Receiver::start().await);
    let address = away.url().trim_start_matches("http://").trim_end_matches("/hook").parse().unwrap();
    let mut door = Door::to(address).await;
    let two = Two::build([format!("http://{}/hook", door.address()), steady.url()], [&away, &steady]).await;

    door.close().await;
    let mut accepted = Vec::new();
    for _ in 0..NOTIFICATIONS {
        two.post(0).await;
        accepted.push(two.post(1).await);
        tokio::time::sleep(PACE).await;
    }
    let arrived = steady.wait_for(NOTIFICATIONS).await;
    let waits: Vec<Duration> = arrived
        .iter()
        .zip(&accepted)
        .map(|(request, accepted)| request.at.saturating_duration_since(*accepted))
        .collect();
    assert!(waits.iter().all(|wait| *wait < SLACK), "the steady receiver was kept waiting: {waits:?}");

    until_tried_twice(&two).await;
    assert_eq!(away.count(), 0);
    door.open().await;
    let arrived = async || (away.count() >= NOTIFICATIONS).then_some(());
    within(PATIENCE, arrived, async || format!("{} arrived; {}", away.count(), two.program.log_tail())).await;
    away.wait_for(NOTIFICATIONS).await;
    for delivery in until_delivered(&two).await {
        assert_on_schedule(&delivery);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_never_answers_delays_no_retry_of_another() {
    let (silent, steady) = (Receiver::start().await, Receiver::start().await);
    silent.answer(Reply::hang());
    let two = Two::build([silent.url(), steady.url()], [&silent, &steady]).await;
    for _ in 0..NOTIFICATIONS {
        two.post(0).await;
    }
    silent.wait_for_at_least(4).await;

    steady.script([Reply::status(500), Reply::status(500)]);
    two.post(1).await;

    let tries = steady.wait_for(3).await;
    for (number, pair) in tries.windows(2).enumerate() {
        let wait = pair[1].at - pair[0].at;
        let wanted = SCHEDULE[number + 1];
        assert!(
            wait >= wanted && wait < wanted * 6 / 5 + SLACK,
            "{wait:?} between two tries, not {wanted:?}"
        );
    }
    assert_eq!(silent.count(), 4, "an endpoint gets no more at once than it may");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_in_time_when_nothing_else_wakes_the_process() {
    let (quiet, steady) = (Receiver::start().await, Receiver::start().await);
    let two = Two::build([quiet.url(), steady.url()], [&quiet, &steady]).await;
    steady.script([Reply::status(500), Reply::status(500)]);

    two.post(1).await;

    assert_spaced(&steady.wait_for(3).await);
}

/// Asserts that the tries of a delivery came on schedule.
fn assert_spaced(tries: &[Received]) {
    for (number, pair) in tries.windows(2).enumerate() {
        let wait = pair[1].at - pair[0].at;
        let wanted = SCHEDULE[number + 1];
        assert!(
            wait >= wanted && wait < wanted * 6 / 5 + SLACK,
            "{wait:?} between two tries, not {wanted:?}"
        );
    }
}

/// Waits until every delivery that is not delivered has been tried at least twice.
async fn until_tried_twice(two: &Two) {
    let tries = async || {
        let open = two.environment.list(&two.program.public(), "/deliveries?status=pending&limit=200").await;
        open.iter().map(|delivery| delivery["attempts"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let enough = async || {
        let tries = tries().await;
        (tries.len() == NOTIFICATIONS && tries.iter().all(|tries| *tries >= 2)).then_some(())
    };
    within(PATIENCE, enough, async || format!("tries: {:?}; {}", tries().await, two.program.log_tail()))
        .await;
}

/// Waits until everything is delivered; gives each delivery with its attempts.
async fn until_delivered(two: &Two) -> Vec<Value> {
    let public = two.program.public();
    let delivered = async || {
        let delivered = two.environment.list(&public, "/deliveries?status=delivered&limit=200").await;
        (delivered.len() == 2 * NOTIFICATIONS).then_some(delivered)
    };
    let list = within(PATIENCE, delivered, async || two.program.log_tail()).await;
    let mut whole = Vec::new();
    for delivery in list {
        let path = format!("/deliveries/{}", delivery["id"].as_str().unwrap());
        whole.push(two.api().get(&path).await.expect(200));
    }
    whole
}

fn assert_on_schedule(delivery: &Value) {
    let mut began: Vec<(i64, DateTime<Utc>)> = delivery["attempt_log"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| {
            (attempt["number"].as_i64().unwrap(), attempt["started_at"].as_str().unwrap().parse().unwrap())
        })
        .collect();
    began.sort_unstable();
    assert_eq!(Some(began.len() as u64), delivery["attempts"].as_u64(), "{delivery:#}");
    for (number, pair) in began.windows(2).enumerate() {
        let wait = pair[1].1 - pair[0].1;
        let wanted = SCHEDULE[number + 1];
        let latest = TimeDelta::from_std(wanted * 6 / 5 + SLACK).unwrap();
        let in_time = wait >= TimeDelta::from_std(wanted).unwrap() && wait < latest;
        assert!(in_time, "{wait} before attempt {}, not {wanted:?}: {delivery:#}", number + 2);
    }
}
