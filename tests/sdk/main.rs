//! Nango's published client, unmodified, against a running Waypost: every method of its proxy.
//!
//! Needs Node and npm, and a registry for the packages that `package-lock.json` names, so it is not part of `make test`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use waypost_harness::{Receiver, Reply, TestApp, notification};

const FILES: [&str; 3] = ["package.json", "package-lock.json", "proxy.test.js"];
const TOKEN: &str = "token-that-nobody-should-see";

/// Runs a command to its end; panics with all that it said when it fails.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} can't be run ({error}): this test needs Node 20 or later with npm")
    });
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{command:?} failed:\n{}\n{}", said[0], said[1]);
    output
}

/// A copy of the client's tests with its packages installed; gone when it is dropped.
fn installed() -> tempfile::TempDir {
    let major = run(Command::new("node").args(["--print", "process.versions.node.split('.')[0]"]));
    let major: u32 = String::from_utf8_lossy(&major.stdout).trim().parse().unwrap();
    assert!(major >= 20, "Node {major} is too old: this test needs Node 20 or later");
    let folder = tempfile::tempdir().unwrap();
    let source: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk");
    for file in FILES {
        std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").args(install).current_dir(folder.path()));
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node, npm and a package registry: run by `make test-all`"]
async fn the_published_client_calls_the_provider_by_every_method() {
    let folder = tokio::task::spawn_blocking(installed).await.unwrap();
    let provider = Receiver::bystander().await;
    let answer = Reply::status(200).header("content-type", "application/json");
    provider.answer(answer.body("{\"value\":\"from the provider\"}"));
    let base = provider.at("/");
    let app = TestApp::spawn_with(|settings| settings.graph.base_url = base.parse().unwrap()).await;
    let tenant = app.tenant("acme").await;
    tenant.connection("conn-1", notification::TENANT).await;

    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=spec"]).current_dir(folder.path());
    node.env("WAYPOST_URL", app.public().url("")).env("WAYPOST_KEY", &tenant.key).env("WAYPOST_TOKEN", TOKEN);
    let output = tokio::task::spawn_blocking(move || run(&mut node)).await.unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("pass 14") && said.contains("fail 0"), "{said}");
    assert_eq!(provider.count(), 1);
}
