//! `make bench`: how fast Waypost is on this machine, and how close to what the machine can do.
//!
//! One run measures, on one machine and one after the other: (a) a bare web server, (b) bare inserts, (c) what the
//! ingress accepts, (d) what arrives at the customers' backend, at saturation and at fixed rates. Everything is real:
//! the release executable as a process of its own, a durable database, HTTP over loopback, every setting at its
//! default. `waypost-bench proxy` measures what the proxy adds to a call,
//! `waypost-bench rich` how many encrypted notifications a core opens. Each notification is accounted for: the benchmark fails when one that was accepted did not arrive.

mod bare;
mod database;
mod figures;
mod http;
mod insert;
mod ledger;
mod load;
mod machine;
mod measure;
mod notification;
mod proxy;
mod receiver;
mod relay;
mod report;
mod rich;
mod seed;
mod session;
mod settings;

use std::{env, fs, os::unix::fs::PermissionsExt, path::PathBuf, process::ExitCode};

use anyhow::Context;

use session::Session;
use settings::{Settings, Wish};

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        report::failure(&error);
        ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<ExitCode> {
    match settings::read()? {
        Wish::BareServer(workers) => {
            bare::serve(workers)?;
            Ok(ExitCode::SUCCESS)
        }
        Wish::Measure(settings) => runtime()?.block_on(measure(settings)),
        Wish::Rich(settings) => {
            rich::measure(&settings)?;
            Ok(ExitCode::SUCCESS)
        }
        Wish::Proxy(settings) => {
            runtime()?.block_on(proxy::measure(&settings, &results()?))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

async fn measure(settings: Settings) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        settings.program.is_file(),
        "there is no {}; build it: cargo build --release -p waypost",
        settings.program.display()
    );
    let directory = results()?;
    let mut session = Session::new(settings, directory.clone());
    let result = tokio::select! {
        result = session.run() => result,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err(anyhow::anyhow!("interrupted"))
        }
    };
    let ended = session.end().await;
    let report = result?;
    ended?;
    report.print();
    let file = report.write(&directory)?;
    report::progress(&format!("\nwritten to {}", file.display()));
    let faults: Vec<String> = report.measurements.iter().flat_map(report::Measurement::faults).collect();
    for fault in &faults {
        report::progress(&format!("FAULT {fault}"));
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where results go, and the database meanwhile: the disk that was built on, which is a real one.
fn results() -> anyhow::Result<PathBuf> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).context("this program is not in a target folder")?;
    let directory = target.join("bench");
    fs::create_dir_all(&directory)?;
    // The database's account passes through.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}
