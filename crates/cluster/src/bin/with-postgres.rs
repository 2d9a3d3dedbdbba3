//! Runs a command beside a private PostgreSQL and ends with its exit code.
//!
//! ```text
//! with-postgres [--durable] [--migrated] -- COMMAND [ARGUMENT]…
//! ```
//!
//! The command finds the server in `WAYPOST_TEST_POSTGRES`. With `--migrated` it also finds a database with
//! the current schema in `DATABASE_URL`, made with `psql` from the files in `migrations`: the store's own
//! migrator cannot be used here, since its queries are checked against that very database when it is built.

#![expect(clippy::print_stderr, reason = "a tool of the build; its errors go to whoever runs make")]

use std::{
    ffi::OsString,
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command as Blocking, ExitCode, ExitStatus},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use waypost_cluster::{Cluster, Options};

const USAGE: &str = "usage: with-postgres [--durable] [--migrated] -- COMMAND [ARGUMENT]…";
const MIGRATIONS: &str = "migrations";
const DATABASE: &str = "waypost_dev";
/// A terminal sends its interrupt to the command as well; only a command that ignores that is told again.
const INTERRUPT_PATIENCE: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error>;

struct Wishes {
    durable: bool,
    migrated: bool,
    command: Vec<OsString>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(wishes) = Wishes::read(std::env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(wishes).await {
        Ok(code) => code,
        Err(error) => {
            let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            eprintln!("with-postgres: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

impl Wishes {
    fn read(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let (mut durable, mut migrated) = (false, false);
        loop {
            match arguments.next()?.to_str()? {
                "--durable" => durable = true,
                "--migrated" => migrated = true,
                "--" => break,
                _ => return None,
            }
        }
        let command: Vec<OsString> = arguments.collect();
        (!command.is_empty()).then_some(Self { durable, migrated, command })
    }
}

async fn run(wishes: Wishes) -> Result<ExitCode, Failure> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let folder = tempfile::Builder::new().prefix("waypost-postgres-").tempdir()?;
    // The server's account passes through; what it keeps inside is closed to others.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let mut cluster = Cluster::open(folder.path(), Options { durable: wishes.durable })?;
    cluster.start()?;
    let mut command = Command::new(&wishes.command[0]);
    command.args(&wishes.command[1..]).env("WAYPOST_TEST_POSTGRES", cluster.url("postgres"));
    if wishes.migrated {
        migrate(&cluster)?;
        command.env("DATABASE_URL", cluster.url(DATABASE));
    }
    let name = wishes.command[0].to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| format!("cannot run {name}: {error}"))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = interrupts.recv() => {
                tokio::select! {
                    status = child.wait() => break status?,
                    () = sleep(INTERRUPT_PATIENCE) => terminate(&child)?,
                }
            }
            _ = terminations.recv() => terminate(&child)?,
        }
    };
    cluster.destroy()?;
    Ok(code_of(status))
}

fn terminate(child: &Child) -> Result<(), Failure> {
    if let Some(pid) = child.id() {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
    }
    Ok(())
}

/// The command's own code, or what a shell makes of the signal that ended it.
fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn migrate(cluster: &Cluster) -> Result<(), Failure> {
    psql(cluster, "postgres", &["-c", &format!("CREATE DATABASE {DATABASE}")])?;
    let mut files: Vec<PathBuf> =
        fs::read_dir(MIGRATIONS)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    for file in files {
        apply(cluster, &file)?;
    }
    Ok(())
}

fn apply(cluster: &Cluster, file: &Path) -> Result<(), Failure> {
    let alone = fs::read_to_string(file)?.starts_with("-- no-transaction");
    let path = file.to_string_lossy();
    let arguments: &[&str] = if alone { &["-f", &path] } else { &["-1", "-f", &path] };
    psql(cluster, DATABASE, arguments)
}

fn psql(cluster: &Cluster, database: &str, arguments: &[&str]) -> Result<(), Failure> {
    let beside = cluster.binaries().program("psql");
    let program = if beside.exists() { beside } else { PathBuf::from("psql") };
    let done = Blocking::new(&program)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &cluster.url(database)])
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    if done.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&done.stderr).trim().into())
}
