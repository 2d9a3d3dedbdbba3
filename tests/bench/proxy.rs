//! What the proxy adds to a call: the same requests straight to a bare server, and to it through Waypost, one after the
//! other in the same run. As fast as the answers come, where both compete with the load for the cores, and at a fixed
//! rate, which is what a caller feels.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use chrono::SecondsFormat;
use waypost_core::clock::{Clock, SystemClock};

use crate::{
    bare::{self, BareServer},
    database::Database,
    figures::{self, Latency},
    load::{self, Pace, Plan, Source},
    machine,
    notification::INTEGRATION,
    relay::Relay,
    report, seed,
    settings::Settings,
};

const CONNECTIONS: usize = 64;
const RATE: u32 = 200;
const WARM_UP: Duration = Duration::from_secs(1);
const BODY_BYTES: usize = 1_000;

/// The same request again and again.
#[derive(Debug, Clone)]
struct Fixed(Arc<[u8]>);

impl Source for Fixed {
    fn next(&mut self, _due: Instant) -> Option<&[u8]> {
        Some(&self.0)
    }

    fn answered(&mut self, _status: u16) {}
}

/// One way to the bare server.
struct Way {
    name: &'static str,
    address: SocketAddr,
    request: Fixed,
}

/// What was found at one pace.
#[derive(Debug, serde::Serialize)]
struct Comparison {
    pace: String,
    direct: Found,
    proxied: Found,
    added_p50_ms: f64,
    added_p99_ms: f64,
}

/// One way at one pace.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Found {
    calls_per_second: f64,
    latency: Latency,
}

/// Measures, prints and writes a file into `directory`.
pub(crate) async fn measure(settings: &Settings, directory: &Path) -> anyhow::Result<()> {
    let bare = BareServer::start(bare::WORKERS.min(machine::cores()))?;
    let work = tempfile::Builder::new().prefix("waypost-bench-").tempdir()?;
    let folder = directory.join(format!("cluster-{}", std::process::id()));
    let database = Database::start(&folder).await?;
    let graph = format!("[graph]\nbase_url = \"http://{}\"\n", bare.address);
    let relay = Relay::start_with(&settings.program, work.path(), &database.url(), &graph).await;
    let result = match relay {
        Ok(relay) => {
            let result = compare(settings, &bare, &relay).await;
            relay.stop().and(result)
        }
        Err(error) => Err(error),
    };
    database.destroy()?;
    let comparisons = result?;
    print(settings, &comparisons);
    let at = SystemClock.now().to_rfc3339_opts(SecondsFormat::Secs, true).replace(':', "");
    let file = directory.join(format!("proxy-{at}.json"));
    fs::write(&file, serde_json::to_string_pretty(&comparisons)? + "\n")?;
    report::progress(&format!("\nwritten to {}", file.display()));
    Ok(())
}

async fn compare(settings: &Settings, bare: &BareServer, relay: &Relay) -> anyhow::Result<Vec<Comparison>> {
    let key = seed::customer(relay).await?;
    let ways = [
        Way { name: "direct", address: bare.address, request: request("/v1.0/x", "") },
        Way { name: "proxied", address: relay.public, request: request("/proxy/v1.0/x", &headers(&key)) },
    ];
    let mut comparisons = Vec::new();
    for (pace, words) in [
        (Pace::Closed, "as fast as answers come".to_owned()),
        (Pace::Rate(RATE), format!("{RATE} calls a second")),
    ] {
        let mut found = [Vec::new(), Vec::new()];
        for _ in 0..settings.runs {
            // In turns, so that what disturbs the machine disturbs both.
            for (way, found) in ways.iter().zip(&mut found) {
                report::progress(&format!("{words}: {}", way.name));
                found.push(run(way, pace, Duration::from_secs(settings.seconds)).await?);
            }
        }
        let [direct, proxied] = found.map(|runs| figures::median_by(runs, |run: &Found| run.latency.p50_ms));
        let direct = direct.context("nothing was measured")?;
        let proxied = proxied.context("nothing was measured")?;
        comparisons.push(Comparison {
            pace: words,
            direct,
            proxied,
            added_p50_ms: proxied.latency.p50_ms - direct.latency.p50_ms,
            added_p99_ms: proxied.latency.p99_ms - direct.latency.p99_ms,
        });
    }
    Ok(comparisons)
}

async fn run(way: &Way, pace: Pace, measured: Duration) -> anyhow::Result<Found> {
    let plan = Plan { address: way.address, connections: CONNECTIONS, pace, warm_up: WARM_UP, measured };
    let request = way.request.clone();
    let load = move || load::run(plan, Instant::now(), |_| Ok(request.clone()));
    let outcome = tokio::task::spawn_blocking(load).await??;
    anyhow::ensure!(
        outcome.refused.is_empty() && outcome.errors == 0,
        "{}: {:?} refused, {} broken",
        way.name,
        outcome.refused,
        outcome.errors
    );
    let calls_per_second = figures::float(outcome.accepted_in_window) / measured.as_secs_f64();
    Ok(Found { calls_per_second, latency: outcome.latency })
}

fn request(path: &str, headers: &str) -> Fixed {
    let body = format!("{{\"subject\":\"{}\"}}", "x".repeat(BODY_BYTES));
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    Fixed(text.into_bytes().into())
}

fn headers(key: &str) -> String {
    let connection = seed::customer_name(0);
    format!(
        "authorization: Bearer {key}\r\nprovider-config-key: {INTEGRATION}\r\nconnection-id: {connection}\r\n"
    )
}

fn print(settings: &Settings, comparisons: &[Comparison]) {
    let (runs, seconds) = (settings.runs, settings.seconds);
    report::progress(&format!(
        "\nPOST of 1 kB over {CONNECTIONS} connections · median of {runs} × {seconds} s after 1 s of warm-up · bare server, \
         load, Waypost and PostgreSQL on the same cores\n"
    ));
    report::progress(&format!("{:<40} {:>8} {:>8} {:>8}", "", "calls/s", "p50 ms", "p99 ms"));
    for found in comparisons {
        for (name, way) in [("direct", found.direct), ("through Waypost", found.proxied)] {
            let label = format!("{}, {name}", found.pace);
            let latency = way.latency;
            report::progress(&format!(
                "{label:<40} {:>8.0} {:>8.2} {:>8.2}",
                way.calls_per_second, latency.p50_ms, latency.p99_ms
            ));
        }
        let added = format!("{}, added", found.pace);
        report::progress(&format!("{added:<49} {:>8.2} {:>8.2}", found.added_p50_ms, found.added_p99_ms));
    }
}
