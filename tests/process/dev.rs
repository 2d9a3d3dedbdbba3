//! `waypost dev --once`: everything on this machine, and an exit code that says whether it worked.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use waypost_harness::program::Site;

/// It starts a PostgreSQL and waits for redeliveries.
const PATIENCE: Duration = Duration::from_secs(150);

#[tokio::test]
async fn the_demonstration_ends_with_0_and_leaves_nothing_running() {
    let folder = tempfile::tempdir().unwrap();
    // PostgreSQL's account, which may not be ours, has to pass through.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    let site = Site::new("postgres://unused/unused");
    let mut command = site.command(&["dev", "--once", "--data-dir", data.to_str().unwrap()]);

    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();

    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!data.join("postgres/data/postmaster.pid").exists(), "PostgreSQL still runs");
}
