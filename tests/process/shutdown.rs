//! SIGTERM and SIGINT: what is in flight is finished, what was not begun is left to others, and then the process ends.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use uuid::Uuid;
use waypost_harness::program::{Environment, PATIENCE, Program, Site, within};
use waypost_harness::{Gate, Receiver, Reply};

use crate::database::Database;

/// How many deliveries one endpoint may have in flight, by default.
const IN_FLIGHT: usize = 32;
/// How soon a process has to end that was told twice.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A process with an endpoint.
struct Running {
    site: Site,
    program: Program,
    environment: Environment,
    tenant: Uuid,
    receiver: Receiver,
    _database: Database,
}

impl Running {
    async fn start() -> Self {
        Self::with(Database::create().await, &[]).await
    }

    async fn with(database: Database, settings: &[(&str, &str)]) -> Self {
        let site = database.site_with(settings);
        site.migrate().await;
        let (program, receiver, tenant) = (site.started().await, Receiver::start().await, Uuid::new_v4());
        let public = program.public();
        let environment = Environment::create(&program.admin(), &public).await;
        environment.connection(&public, "conn-1", tenant).await;
        environment.endpoint(&public, &receiver.url(), "conn-1", &receiver).await;
        Self { site, program, environment, tenant, receiver, _database: database }
    }

    async fn post(&self, count: usize) {
        for _ in 0..count {
            let body = self.environment.notification(self.tenant, Uuid::new_v4());
            self.program.public().post(&self.environment.ingress(), &body).await.expect(202);
        }
    }

    /// Waits until it takes no new connection.
    async fn until_closed(&self) {
        let address = self.program.listen().public;
        let closed = async || TcpStream::connect(address).await.err();
        within(PATIENCE, closed, async || self.program.log_tail()).await;
    }

    /// Every delivery, as a process that is started now shows it.
    async fn deliveries(&mut self) -> Vec<serde_json::Value> {
        self.program = self.site.started().await;
        self.environment.list(&self.program.public(), "/deliveries?limit=200").await
    }
}

#[tokio::test]
async fn a_signal_lets_slow_deliveries_finish_and_then_ends_the_process_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut running = Running::start().await;
        running.receiver.answer(Reply::status(200).after(Duration::from_secs(1)));
        running.post(20).await;
        running.receiver.wait_for_at_least(1).await;

        running.program.signal(signal);

        let status = running.program.ended().await;
        assert_eq!(status.code(), Some(0), "{}", running.program.log_tail());
        running.receiver.wait_for(20).await;
        for delivery in running.deliveries().await {
            assert_eq!(
                (&delivery["status"], &delivery["attempts"]),
                (&"delivered".into(), &1.into()),
                "{delivery}"
            );
        }
        assert_eq!(running.receiver.count(), 20, "nothing is delivered twice");
        let log = running.program.log();
        assert!(log.contains("everything in flight is finished"), "{log}");
        for word in ["WARN", "ERROR"] {
            assert!(!log.contains(word), "an end in good order is nothing to warn of: {log}");
        }
    }
}

#[tokio::test]
async fn an_end_that_takes_longer_than_its_grace_does_not_say_that_everything_is_finished() {
    let database = Database::create().await;
    let mut running = Running::with(database, &[("server.shutdown_grace", "1s")]).await;
    running.receiver.answer(Reply::hang());
    running.post(1).await;
    running.receiver.wait_for(1).await;

    running.program.signal(Signal::SIGTERM);

    assert_eq!(running.program.ended().await.code(), Some(0), "{}", running.program.log_tail());
    let log = running.program.log();
    assert!(log.contains("work in flight is cut off") && log.contains("was given back"), "{log}");
    assert!(!log.contains("everything in flight is finished"), "{log}");
}

#[tokio::test]
async fn what_was_not_begun_at_a_signal_is_sent_by_the_next_process_without_waiting_for_a_lease() {
    let mut running = Running::start().await;
    let gate = Gate::closed();
    running.receiver.answer(Reply::status(200).behind(&gate));
    running.post(IN_FLIGHT + 10).await;
    running.receiver.wait_for(IN_FLIGHT).await;

    running.program.signal(Signal::SIGTERM);
    running.until_closed().await;
    assert!(running.program.is_running(), "it waits for what is in flight");
    gate.open();

    assert_eq!(running.program.ended().await.code(), Some(0), "{}", running.program.log_tail());
    running.receiver.wait_for(IN_FLIGHT).await;
    running.program = running.site.started().await;
    // The receiver waits less long than a lease would last.
    running.receiver.wait_for(IN_FLIGHT + 10).await;
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once_and_loses_nothing() {
    let mut running = Running::start().await;
    running.receiver.answer(Reply::hang());
    running.post(5).await;
    running.receiver.wait_for(5).await;

    running.program.signal(Signal::SIGTERM);
    running.until_closed().await;
    assert!(running.program.is_running(), "it waits for what is in flight");
    let told = Instant::now();
    running.program.signal(Signal::SIGTERM);

    let status = running.program.ended().await;
    assert!(told.elapsed() < AT_ONCE, "it took {:?}", told.elapsed());
    assert_eq!(status.code(), Some(1), "{}", running.program.log_tail());
    assert!(running.program.log().contains("a second signal"), "{}", running.program.log_tail());
    let deliveries = running.deliveries().await;
    assert_eq!(deliveries.len(), 5);
    for delivery in deliveries {
        let status = delivery["status"].as_str().unwrap();
        assert!(["pending", "sending"].contains(&status), "{delivery}");
    }
}
