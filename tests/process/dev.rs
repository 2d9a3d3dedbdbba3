//! `waypost dev`: everything on this machine, and an exit code that says whether it worked.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use waypost_harness::program::Site;
use waypost_simulator::DEMO_CLIENT_SECRET;

use crate::at_rest::{PRIVATE_KEY, Search, TOKENS};

/// It starts a PostgreSQL and waits for redeliveries.
const PATIENCE: Duration = Duration::from_secs(150);

/// What the demonstration's messages hold.
const CONTENTS: [&str; 4] =
    ["Confidential for ", "Quarterly figures", "Not for everybody.", "An invoice of March"];

/// A folder that PostgreSQL's account, which may not be ours, can pass through.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Runs it to its end, with more settings, in a folder.
async fn demonstrate(folder: &Path, settings: &[(&str, &str)]) -> Output {
    let data = folder.join("data");
    let site = Site::with("postgres://unused/unused", settings);
    let mut command = site.command(&["dev", "--once", "--data-dir", data.to_str().unwrap()]);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    assert!(!data.join("postgres/data/postmaster.pid").exists(), "PostgreSQL still runs");
    output
}

fn told(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

#[tokio::test]
async fn the_demonstration_ends_with_0_twice_and_leaves_nothing_running_and_nothing_in_the_clear() {
    let folder = folder();
    for earlier_environments in [0, 1] {
        let output = demonstrate(folder.path(), &[]).await;
        let told = told(&output);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert_eq!(told.matches("the environment of an earlier run").count(), earlier_environments, "{told}");
        for shown in [
            "by link",
            "by template",
            "filled in and adopted",
            "2 opened",
            "1 fetched",
            "one item quarantined",
        ] {
            assert!(told.contains(shown), "{shown}: {told}");
        }
        assert!(!told.contains('\u{1b}'), "colours are for terminals: {told}");
    }
    let wanted = CONTENTS.into_iter().chain(TOKENS).chain([DEMO_CLIENT_SECRET]);
    let wanted = wanted.map(|text| (text, text.as_bytes())).chain([("a private key", &PRIVATE_KEY[..])]);
    let hits = Search::new(wanted).below(&folder.path().join("data"));
    assert!(hits.is_empty(), "{hits:#?}");
}

#[tokio::test]
async fn the_demonstration_ends_with_1_when_encrypted_notifications_do_not_arrive() {
    let folder = folder();
    // Graph's tokens name another publisher than Waypost is told to trust: no encrypted item passes.
    let publisher = ("graph.publisher_app_id", "3d5a2c1e-0000-4000-8000-00000000dead");
    let output = demonstrate(folder.path(), &[publisher]).await;
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("got 0 deliveries with its 1 item"), "{told}");
}

#[tokio::test]
async fn what_goes_into_a_file_tells_how_to_get_a_token_and_holds_none() {
    let folder = folder();
    let data = folder.path().join("data");
    let any = "127.0.0.1:0";
    let arguments =
        ["dev", "--public-listen", any, "--admin-listen", any, "--data-dir", data.to_str().unwrap()];
    let site = Site::new("postgres://unused/unused");
    let mut command = site.command(&arguments);
    let mut running = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();

    let mut told = String::new();
    let telling = async {
        while !told.contains("/health/ready") {
            told.push_str(&lines.next_line().await.unwrap().expect("it goes on"));
            told.push('\n');
        }
    };
    tokio::time::timeout(PATIENCE, telling).await.expect("it tells where to go on");
    kill(Pid::from_raw(running.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let status = tokio::time::timeout(PATIENCE, running.wait()).await.expect("it ends").unwrap();

    assert_eq!(status.code(), Some(0), "{told}");
    assert!(told.contains("waypost admin token --role operator"), "{told}");
    // A token of this kind is JSON in base64.
    assert!(!told.contains("eyJ"), "{told}");
}
