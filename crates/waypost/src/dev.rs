//! `waypost dev`: everything on one machine with nothing to configure.
//!
//! A private PostgreSQL, all roles in this process, the simulator of Graph and Entra, and a receiver that plays the
//! customer's backend. A demonstration connects customers, creates subscriptions, sends notifications of every shape,
//! encrypted ones among them, and compares what arrived with what should have. Must not do anything that a user of the
//! real thing couldn't: it talks to Waypost over HTTP alone.

mod api;
mod browser;
mod customers;
mod house;
mod provision;
mod receiver;
mod report;
mod scenario;
mod step;
mod steps;
mod ways;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use waypost_core::clock;

use crate::{application::Application, config::Settings, roles::Roles, shutdown::Shutdown};
use house::House;
use receiver::Receiver;
use report::Report;

/// What `waypost dev` was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// End after the demonstration's notifications.
    pub once: bool,
    /// Where the private PostgreSQL keeps its data.
    pub data_dir: PathBuf,
    /// Where ingress and environment API listen, if that was said.
    pub public_listen: Option<SocketAddr>,
    /// Where admin API and metrics listen, if that was said.
    pub admin_listen: Option<SocketAddr>,
}

/// Runs everything until the shutdown is finished or, with `once`, the demonstration is over.
///
/// # Errors
///
/// When something cannot be started, or a notification did not arrive intact.
pub async fn run(settings: Settings, options: Options, shutdown: Shutdown) -> anyhow::Result<()> {
    let report = Report::new();
    report.title("Waypost, everything on this machine");
    let mut house = House::build(settings, &options, report).await?;
    let grace = house.settings.server.shutdown_grace;
    let application = Application::build(house.settings.clone(), Roles::all(), clock::system()).await?;
    let public = application.public_address().context("this process has no public listener")?;
    let addresses = provision::Addresses { public, admin: application.admin_address() };
    report.started(
        "relay",
        &format!("all roles; ingress and API on http://{public}, admin on http://{}", addresses.admin),
    );
    application.start(&shutdown);

    let receiver = Receiver::start(&shutdown)?;
    report.started("receiver", &format!("the customer's backend, on {}", receiver.url()));
    let demonstrated = tokio::select! {
        outcome = demonstrate(&house, &receiver, addresses, report) => outcome,
        () = shutdown.soft().cancelled() => Ok(None),
    };
    match &demonstrated {
        Ok(Some(demo)) if !options.once => {
            report.staying(&ways::of(&house, demo, addresses, &options.data_dir).await?);
        }
        _ => shutdown.request(),
    }
    let finished = shutdown.finished(grace).await;
    house.leave().await?;
    demonstrated?;
    finished.context("the end was not clean")
}

async fn demonstrate(
    house: &House,
    receiver: &Receiver,
    addresses: provision::Addresses,
    report: Report,
) -> anyhow::Result<Option<provision::Demo>> {
    let demo = provision::Demo::make(house, receiver, addresses, report).await?;
    let scenario = scenario::Scenario::prepare(house, &demo).await?;
    scenario.play(house, receiver, &demo, report).await?;
    Ok(Some(demo))
}
