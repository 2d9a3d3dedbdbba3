//! `waypost simulate`: the simulator as a program of its own. Must not know anything of the relay.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;
use secrecy::ExposeSecret as _;
use uuid::Uuid;
use waypost_simulator::{App, DEMO_CLIENT_SECRET, Simulator, SimulatorConfig, Tenant};

use crate::{output, shutdown::Shutdown};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// An application it knows; repeat it for several [default: one for demonstrations]
    #[arg(long = "app", value_name = "CLIENT_ID:SECRET", value_parser = app)]
    apps: Vec<App>,
    /// A tenant it knows, with its domain; repeat it for several [default: two for demonstrations]
    #[arg(long = "tenant", value_name = "ID[=DOMAIN]", value_parser = tenant)]
    tenants: Vec<Tenant>,
    /// Also accept notification URLs with http, on this machine
    #[arg(long)]
    allow_http: bool,
}

/// Runs the simulator until the process is asked to end.
pub(super) async fn run(arguments: Arguments, shutdown: Shutdown) -> anyhow::Result<()> {
    let Arguments { listen, apps, tenants, allow_http } = arguments;
    let mut config =
        SimulatorConfig { listen, notification_http_allowed: allow_http, ..SimulatorConfig::default() };
    if !apps.is_empty() {
        config.apps = apps;
    }
    if !tenants.is_empty() {
        config.tenants = tenants;
    }
    let known = describe(&config);
    let simulator = Simulator::start(config, waypost_core::clock::system())
        .await
        .context("the simulator cannot start")?;
    output::tell(&format!("graph.base_url   {}", simulator.graph_url()));
    output::tell(&format!("graph.login_url  {}", simulator.login_url()));
    output::tell(known.trim_end());
    shutdown.soft().cancelled().await;
    simulator.stop().await;
    Ok(())
}

/// Whom the simulator knows. Of the secrets only the one that is in every copy of this program is told: the caller knows the
/// others.
fn describe(config: &SimulatorConfig) -> String {
    let apps = config.apps.iter().map(|app| match app.client_secret.expose_secret() {
        DEMO_CLIENT_SECRET => format!("application      {} secret {DEMO_CLIENT_SECRET}\n", app.client_id),
        _ => format!("application      {}\n", app.client_id),
    });
    let tenants =
        config.tenants.iter().map(|tenant| format!("tenant           {} {}\n", tenant.id, tenant.domain));
    apps.chain(tenants).collect()
}

fn app(text: &str) -> Result<App, String> {
    let parts = text.split_once(':').and_then(|(id, secret)| Some((id.parse().ok()?, secret)));
    match parts {
        Some((client_id, secret)) if !secret.is_empty() => {
            Ok(App { client_id, client_secret: secret.into() })
        }
        _ => Err("write CLIENT_ID:SECRET, the first a UUID".to_owned()),
    }
}

fn tenant(text: &str) -> Result<Tenant, String> {
    let (id, domain) = text.split_once('=').unwrap_or((text, ""));
    let id: Uuid = id.parse().map_err(|_| "write ID or ID=DOMAIN, the first a UUID".to_owned())?;
    let domain = if domain.is_empty() { format!("{id}.example") } else { domain.to_owned() };
    Ok(Tenant { id, domain })
}
