//! A real browser connects customers by the links that Waypost gives.
//!
//! Needs Chromium, Node and npm, and a registry for the package that `package-lock.json` names, so it is not part of
//! `make test`; `make test-all` runs it, after `scripts/setup-browser`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use url::Url;
use waypost_harness::{Tenant, TestApp};
use waypost_simulator::{DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_USERS, Simulator, SimulatorConfig};

const FILES: [&str; 3] = ["package.json", "package-lock.json", "connect.test.js"];
/// What Chromium is called here and there.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Runs a command to its end; panics with all that it said when it fails.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} can't be run ({error}): this test needs Node 20 or later with npm")
    });
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{command:?} failed:\n{}\n{}", said[0], said[1]);
    output
}

/// Where Chromium is: `WAYPOST_CHROMIUM`, or the first one on the path.
fn chromium() -> PathBuf {
    if let Some(named) = std::env::var_os("WAYPOST_CHROMIUM") {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|program| program.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "no Chromium on the path: run `scripts/setup-browser`, or set WAYPOST_CHROMIUM to the program of one"
        )
    })
}

/// A copy of the test with its package installed; gone when it is dropped.
fn installed() -> tempfile::TempDir {
    let major = run(Command::new("node").args(["--print", "process.versions.node.split('.')[0]"]));
    let major: u32 = String::from_utf8_lossy(&major.stdout).trim().parse().unwrap();
    assert!(major >= 20, "Node {major} is too old: this test needs Node 20 or later");
    let folder = tempfile::tempdir().unwrap();
    let source: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    for file in FILES {
        std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").args(install).current_dir(folder.path()));
    folder
}

async fn integration(tenant: &Tenant, key: &str, provider: &str, kind: &str) {
    let credentials = json!({"type": kind, "client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET});
    let wanted = json!({"unique_key": key, "provider": provider, "credentials": credentials, "custom": {}});
    tenant.integration_with(&wanted).await;
}

async fn link(tenant: &Tenant, integration: &str) -> Value {
    let wanted = json!({"end_user": {"id": "user-1", "display_name": "A company with a rather long name"},
        "allowed_integrations": [integration]});
    tenant.api.post("/connect/sessions", &wanted).await.expect(201)["data"]["connect_link"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium, Node, npm and a package registry: run by `make test-all`"]
async fn a_customer_connects_by_a_link_in_a_real_browser() {
    let chromium = chromium();
    let folder = tokio::task::spawn_blocking(installed).await.unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let public_url: Url = format!("http://{address}").parse().unwrap();
    let config = SimulatorConfig {
        consent_given: false,
        redirect_uris: vec![public_url.join("oauth/callback").unwrap()],
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start(config, waypost_core::clock::system()).await.unwrap();
    let app = TestApp::spawn_with(|settings| {
        settings.server.public_listen = address;
        settings.server.public_url = public_url.clone();
        settings.graph.login_url = simulator.login_url();
        settings.graph.base_url = simulator.graph_url();
    })
    .await;
    let tenant = app.tenant("acme").await;
    integration(&tenant, "graph", "microsoft-oauth2-cc", "OAUTH2_CC").await;
    integration(&tenant, "mail", "microsoft", "OAUTH2").await;
    let links = json!([
        {"name": "an organization", "device": "phone", "link": link(&tenant, "graph").await, "person": DEMO_USERS[0], "consents": true},
        {"name": "a mailbox", "device": "desk", "link": link(&tenant, "mail").await, "person": DEMO_USERS[3], "consents": false},
    ]);

    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=spec"]).current_dir(folder.path());
    node.env("WAYPOST_LINKS", links.to_string())
        .env("WAYPOST_URL", public_url.as_str().trim_end_matches('/'))
        .env("CHROMIUM", chromium);
    let output = tokio::task::spawn_blocking(move || run(&mut node)).await.unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("pass 2") && said.contains("fail 0"), "{said}");
    let listed = tenant.api.get("/connections").await.expect(200);
    assert_eq!(listed["connections"].as_array().unwrap().len(), 2, "{listed:#}");
    drop(app);
    simulator.stop().await;
}
