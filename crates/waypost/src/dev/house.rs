//! What `waypost dev` stands on: a private PostgreSQL, secrets of its own, and the simulator.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;
use waypost_cluster::{Cluster, Options as ClusterOptions};
use waypost_core::clock;
use waypost_crypto::seal::KeyRing;
use waypost_crypto::token::random_secret;
use waypost_simulator::{DeliveryPolicy, Simulator, SimulatorConfig};

use super::Options;
use super::report::Report;
use crate::{application, config::Settings};

const DATABASE: &str = "waypost";

/// The private PostgreSQL, the simulator, and settings that lead to both.
#[derive(Debug)]
pub(super) struct House {
    pub(super) settings: Settings,
    pub(super) simulator: Option<Simulator>,
    cluster: Option<Cluster>,
}

/// Made at the first start and kept, so that data of an earlier run can be read again.
#[derive(Serialize, Deserialize)]
struct OwnSecrets {
    encryption_keys: String,
    jwt_secret: String,
}

impl House {
    pub(super) async fn build(
        mut settings: Settings,
        options: &Options,
        report: Report,
    ) -> anyhow::Result<Self> {
        let folder = options.data_dir.join("postgres");
        fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("can't make {}", options.data_dir.display()))?;
        let cluster = tokio::task::spawn_blocking(move || {
            let mut cluster = Cluster::open(&folder, ClusterOptions { durable: true })?;
            cluster.start()?;
            Ok::<_, waypost_cluster::ClusterError>(cluster)
        })
        .await??;
        report.started(
            "PostgreSQL",
            &format!(
                "private, version {}, data in {}",
                cluster.binaries().version(),
                options.data_dir.display()
            ),
        );

        // A demonstration that ends by itself must not mind what else runs on this machine.
        let port = |usual: u16| if options.once { 0 } else { usual };
        let public =
            fixed(options.public_listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port(8080)).into()))?;
        let public_url = browsable(public)?;
        let simulator = Simulator::start(simulator_config(&public_url)?, clock::system()).await?;
        report.started("simulator", &format!("Graph and Entra on {}", simulator.base_url()));

        let secrets = own_secrets(&options.data_dir)?;
        settings.database.url = Some(SecretString::from(cluster.url(DATABASE)));
        settings.security.encryption_keys =
            Some(KeyRing::parse(&SecretString::from(secrets.encryption_keys))?);
        settings.admin.jwt_secret = Some(SecretString::from(secrets.jwt_secret));
        settings.graph.base_url = simulator.graph_url();
        settings.graph.login_url = simulator.login_url();
        settings.egress.allow.push("127.0.0.0/8".parse()?);
        settings.server.public_listen = public;
        settings.server.public_url = public_url;
        settings.server.admin_listen =
            options.admin_listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port(8081)).into());
        application::create_and_migrate(&settings).await?;
        Ok(Self { settings, simulator: Some(simulator), cluster: Some(cluster) })
    }

    /// Stops the simulator and the private PostgreSQL.
    pub(super) async fn leave(&mut self) -> anyhow::Result<()> {
        if let Some(simulator) = self.simulator.take() {
            simulator.stop().await;
        }
        if let Some(mut cluster) = self.cluster.take() {
            tokio::task::spawn_blocking(move || cluster.stop()).await??;
        }
        Ok(())
    }

    pub(super) fn simulator(&self) -> anyhow::Result<&Simulator> {
        self.simulator.as_ref().context("the simulator has stopped")
    }
}

/// Nobody has consented to anything yet, so that connecting by a link has something to ask for.
fn simulator_config(public_url: &Url) -> anyhow::Result<SimulatorConfig> {
    Ok(SimulatorConfig {
        notification_http_allowed: true,
        consent_given: false,
        redirect_uris: vec![public_url.join("oauth/callback")?],
        delivery: DeliveryPolicy::default().faster(20),
        ..SimulatorConfig::default()
    })
}

/// The address with a port of its own where any would do: Graph and browsers are told it before anybody listens.
fn fixed(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    if address.port() != 0 {
        return Ok(address);
    }
    Ok(TcpListener::bind(address).and_then(|listener| listener.local_addr())?)
}

/// How this machine's browsers, and the simulator, get there.
fn browsable(address: SocketAddr) -> anyhow::Result<Url> {
    let host = if address.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
    } else {
        address
    };
    Ok(Url::parse(&format!("http://{host}"))?)
}

fn own_secrets(folder: &Path) -> anyhow::Result<OwnSecrets> {
    let path = folder.join("secrets.json");
    if let Ok(text) = fs::read_to_string(&path) {
        return serde_json::from_str(&text)
            .with_context(|| format!("{} can't be read; delete it and the data beside it", path.display()));
    }
    let secrets = OwnSecrets {
        encryption_keys: KeyRing::generate_text("dev").expose_secret().to_owned(),
        jwt_secret: random_secret().expose_secret().to_owned(),
    };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(&serde_json::to_vec_pretty(&secrets)?)?;
    Ok(secrets)
}
