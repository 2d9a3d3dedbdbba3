//! The tool `with-postgres` as make sees it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn with_postgres(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_with-postgres"));
    command.args(arguments);
    command
}

fn said(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// The directory of the server's socket, from the address in the command's environment.
fn socket_of(url: &str) -> PathBuf {
    let (_, rest) = url.split_once("host=").unwrap();
    rest.split('&').next().unwrap().into()
}

#[test]
fn it_ends_with_the_code_of_the_command() {
    let status =
        with_postgres(&["--", "sh", "-c", "test -n \"$WAYPOST_TEST_POSTGRES\" && exit 7"]).status().unwrap();

    assert_eq!(status.code(), Some(7));
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&[][..], &["--"], &["--fast", "--", "true"], &["true"]] {
        assert_eq!(with_postgres(arguments).output().unwrap().status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_command_that_does_not_exist_ends_with_1() {
    assert_eq!(with_postgres(&["--", "/nowhere/command"]).output().unwrap().status.code(), Some(1));
}

#[test]
fn a_termination_is_passed_on_to_the_command() {
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = with_postgres(&["--", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(said(&mut child), "ready");

    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();

    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn the_server_goes_when_its_owner_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The command outlives its parent here; it ends when we close its standard input.
    let script = "echo \"$WAYPOST_TEST_POSTGRES\"; read -r line";
    let mut child = with_postgres(&["--", "sh", "-c", script])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let socket = socket_of(&said(&mut child)).join(".s.PGSQL.5432");
    assert!(socket.starts_with(folder.path()) && socket.exists());

    child.kill().unwrap();
    child.wait().unwrap();

    let patience = Instant::now() + PATIENCE;
    while socket.exists() {
        assert!(Instant::now() < patience, "the server is still there");
        thread::yield_now();
    }
}
