//! Processes of Waypost end in mid-load, with SIGKILL or in good order, and come back.

use std::time::Duration;

use nix::sys::signal::Signal;
use waypost_harness::program::{Listen, Program, Site};

use crate::estate::Estate;
use crate::load::Load;
use crate::postgres::Postgres;
use crate::reckoning::reckon;
use crate::{FEW, random, rounds};

/// The longest time between a sign of life and the next kill.
const LIFE: Duration = Duration::from_millis(800);
/// All roles in one process.
const ONE: &[&[&str]] = &[&[]];
/// A process for each way that work takes. The API comes last.
const SPLIT: &[&[&str]] = &[&["ingress"], &["relay"], &["scheduler", "api"]];

/// So that leases of a killed process end soon, and what fails is tried again soon.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("delivery.timeout", "2s"),
    ("delivery.connect_timeout", "1s"),
    ("delivery.schedule", "0s,300ms,500ms,1s,1s,2s"),
    ("ingress.ack_deadline", "1500ms"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_accepted_is_lost_when_the_process_is_killed_again_and_again() {
    kill_again_and_again(ONE, FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_accepted_is_lost_when_ingress_relay_and_api_are_killed_in_turn() {
    kill_again_and_again(SPLIT, FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_nothing_accepted_is_lost_in_many_kills_of_the_process() {
    kill_again_and_again(ONE, rounds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_nothing_accepted_is_lost_in_many_kills_of_ingress_relay_and_api() {
    kill_again_and_again(SPLIT, rounds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_repeated_when_processes_are_replaced_in_good_order() {
    let repeated = end_again_and_again(SPLIT, FEW, Signal::SIGTERM).await;
    assert_eq!(repeated, 0, "attempts were made a second time");
}

async fn kill_again_and_again(roles: &[&[&str]], rounds: usize) {
    end_again_and_again(roles, rounds, Signal::SIGKILL).await;
}

/// Ends one process after the other in mid-load, and starts it anew. Returns how many attempts were repeated.
async fn end_again_and_again(roles: &[&[&str]], rounds: usize, signal: Signal) -> usize {
    let postgres = Postgres::start().await;
    let site = Site::with(&postgres.url(), SETTINGS);
    site.migrate().await;
    let mut fleet = Vec::new();
    for roles in roles {
        fleet.push(start(&site, roles, Listen::free()).await);
    }
    let api = roles.len() - 1;
    let estate = Estate::build(&fleet[api].admin(), &fleet[api].public()).await;
    let load = Load::start(fleet[0].public(), &estate.environment);
    for round in 0..rounds {
        load.until_more_is_accepted(|| logs(&fleet)).await;
        tokio::time::sleep(random(LIFE)).await;
        let turn = round % fleet.len();
        let victim = &mut fleet[turn];
        victim.signal(signal);
        let status = victim.ended().await;
        assert!(signal == Signal::SIGKILL || status.success(), "{status}: {}", victim.log_tail());
        *victim = start(&site, roles[turn], victim.listen()).await;
    }
    load.until_more_is_accepted(|| logs(&fleet)).await;
    let ledger = load.stop().await;
    reckon(&estate, &fleet[api], &ledger, || logs(&fleet)).await
}

async fn start(site: &Site, roles: &[&str], listen: Listen) -> Program {
    let name = if roles.is_empty() { "waypost".to_owned() } else { roles.join("-") };
    let mut program = site.start(&name, listen, roles).await;
    program.until_ready().await;
    program
}

fn logs(fleet: &[Program]) -> String {
    fleet.iter().map(Program::log_tail).collect::<Vec<_>>().join("\n")
}
