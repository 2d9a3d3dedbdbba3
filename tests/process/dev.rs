//! `waypost dev`: everything on this machine, and an exit code that says whether it worked.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use waypost_harness::program::Site;

/// It starts a PostgreSQL and waits for redeliveries.
const PATIENCE: Duration = Duration::from_secs(150);

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    // PostgreSQL's account, which may not be ours, has to pass through.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

#[tokio::test]
async fn the_demonstration_ends_with_0_and_leaves_nothing_running() {
    let folder = folder();
    let data = folder.path().join("data");
    let site = Site::new("postgres://unused/unused");
    let mut command = site.command(&["dev", "--once", "--data-dir", data.to_str().unwrap()]);

    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();

    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!data.join("postgres/data/postmaster.pid").exists(), "PostgreSQL still runs");
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
