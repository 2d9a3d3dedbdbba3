//! PostgreSQL is killed in mid-load, and comes back; the process stays.

use std::time::Duration;

use waypost_harness::program::{PATIENCE, Program, Site, within};

use crate::estate::Estate;
use crate::load::Load;
use crate::postgres::Postgres;
use crate::processes::SETTINGS;
use crate::reckoning::reckon;
use crate::{FEW, random, rounds};

/// The longest time between a sign of life and the next kill.
const LIFE: Duration = Duration::from_millis(800);
/// So many refusals show that the process goes on answering.
const REFUSALS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_heals_unaided_when_postgresql_is_killed_and_nothing_accepted_is_lost() {
    kill_again_and_again(FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_the_process_heals_unaided_from_many_kills_of_postgresql() {
    kill_again_and_again(rounds()).await;
}

async fn kill_again_and_again(rounds: usize) {
    let mut postgres = Postgres::start().await;
    let site = Site::with(&postgres.url(), SETTINGS);
    site.migrate().await;
    let mut program = site.started().await;
    let estate = Estate::build(&program.admin(), &program.public()).await;
    let load = Load::start(program.public(), &estate.environment);
    for _ in 0..rounds {
        load.until_more_is_accepted(|| program.log_tail()).await;
        tokio::time::sleep(random(LIFE)).await;
        postgres.kill().await;
        while_it_is_away(&site, &mut program, &estate, &load).await;
        postgres.start_again().await;
        program.until_ready().await;
    }
    load.until_more_is_accepted(|| program.log_tail()).await;
    let ledger = load.stop().await;
    assert!(ledger.unavailable >= rounds * REFUSALS, "{}", ledger.summary());
    assert_eq!(
        ledger.unanswered,
        0,
        "every request is answered while the process lives: {}",
        ledger.summary()
    );
    reckon(&estate, &program, &ledger, || program.log_tail()).await;
    assert!(program.is_running(), "it is still the process that was started at first");
}

/// While PostgreSQL is away everybody is told so, soon, and when to come again.
async fn while_it_is_away(site: &Site, program: &mut Program, estate: &Estate, load: &Load) {
    program.until_readiness(503).await;
    let program = &*program;
    let notifications = async {
        let wanted = load.unavailable() + REFUSALS;
        let refused = async || (load.unavailable() >= wanted).then_some(());
        within(PATIENCE, refused, async || format!("notifications to be refused; {}", program.log_tail()))
            .await;
    };
    let reading = async {
        let answer = estate.environment.api(&program.public()).get("/events").await;
        answer.refused(503, "temporarily_unavailable");
        assert!(answer.header("retry-after").parse::<u64>().is_ok(), "{answer:?}");
    };
    let checking = async {
        let mut healthcheck = site.command(&["healthcheck"]);
        healthcheck.env("WAYPOST__SERVER__ADMIN_LISTEN", program.listen().admin.to_string());
        let output = healthcheck.output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    };
    tokio::join!(notifications, reading, checking);
}
