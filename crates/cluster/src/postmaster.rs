//! A running server: started, watched, ended. Must not know what it serves.

use std::{
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Binaries, ClusterError, account::Account, folder::Folder, process};

/// Recovery after a crash may take a while on a slow disk.
const START_PATIENCE: Duration = Duration::from_mins(1);
/// A shutdown in good order writes out what is in memory.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const LAST_PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
/// How much of the server's log an error shows.
const SHOWN_LINES: usize = 6;
const SHELL: &str = "/bin/sh";
/// Waits until our end of its standard input closes, which the kernel does however we end, and then asks
/// the server to shut down.
const WATCH: &str = r#"read -r line; kill -INT "$1" 2>/dev/null"#;

/// A server and the process that ends it should we be killed.
#[derive(Debug)]
pub(crate) struct Postmaster {
    server: Child,
    watchdog: Child,
    log: PathBuf,
}

impl Postmaster {
    /// Starts a server and waits until it takes connections.
    pub(crate) fn start(
        binaries: &Binaries,
        account: &Account,
        folder: &Folder,
        settings: &[String],
    ) -> Result<Self, ClusterError> {
        let log = folder.log().to_owned();
        let output = File::create(&log).map_err(ClusterError::io("create", &log))?;
        let errors = output.try_clone().map_err(ClusterError::io("open", &log))?;
        let program = binaries.program("postgres");
        let mut command = account.command(&program);
        command.arg("-D").arg(folder.data());
        for setting in settings {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let mut server = command.spawn().map_err(ClusterError::io("run", &program))?;
        let watchdog = match watch(account, &server) {
            Ok(watchdog) => watchdog,
            Err(error) => {
                server.kill().map_err(ClusterError::io("stop", &program))?;
                return Err(ClusterError::io("run", Path::new(SHELL))(error));
            }
        };
        let mut postmaster = Self { server, watchdog, log };
        match postmaster.wait_until_ready(folder.data()) {
            Ok(()) => Ok(postmaster),
            Err(error) => {
                postmaster.kill()?;
                Err(error)
            }
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.ended(), Ok(None))
    }

    /// Shuts down in good order, with more force when that takes too long.
    pub(crate) fn stop(mut self) -> Result<(), ClusterError> {
        for (how, patience) in [(Signal::SIGINT, STOP_PATIENCE), (Signal::SIGQUIT, LAST_PATIENCE)] {
            self.signal(how)?;
            if self.wait_for_end(patience)?.is_some() {
                return Ok(());
            }
        }
        self.kill()
    }

    /// Ends the server and its sessions as a crash would, and waits until none of them is left, so that
    /// the next start does not find their shared memory in use.
    pub(crate) fn kill(mut self) -> Result<(), ClusterError> {
        // Stopped first, so that it makes no session between the listing and the end.
        self.signal(Signal::SIGSTOP)?;
        let sessions = if self.is_running() { process::children(pid_of(&self.server)) } else { Vec::new() };
        self.signal(Signal::SIGKILL)?;
        for session in &sessions {
            send(*session, Signal::SIGKILL).map_err(ClusterError::io("end a session of", &self.log))?;
        }
        self.wait_for_end(LAST_PATIENCE)?;
        let patience = Instant::now() + LAST_PATIENCE;
        while sessions.iter().any(|pid| process::is_alive(*pid)) && Instant::now() < patience {
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The server says on the eighth line of its note that it takes connections.
    fn wait_until_ready(&mut self, data: &Path) -> Result<(), ClusterError> {
        let note = data.join("postmaster.pid");
        let own = self.server.id().to_string();
        let patience = Instant::now() + START_PATIENCE;
        while Instant::now() < patience {
            if let Some(status) = self.ended()? {
                return Err(self.failure(&describe(status)));
            }
            let text = fs::read_to_string(&note).unwrap_or_default();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            if lines.first() == Some(&own.as_str()) && lines.get(7) == Some(&"ready") {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        Err(self.failure("it took too long"))
    }

    fn wait_for_end(&mut self, patience: Duration) -> Result<Option<ExitStatus>, ClusterError> {
        let patience = Instant::now() + patience;
        loop {
            let status = self.ended()?;
            if status.is_some() || Instant::now() > patience {
                return Ok(status);
            }
            thread::sleep(PAUSE);
        }
    }

    /// How the server ended, if it has. The watchdog goes with it: from now on its process id may be
    /// somebody else's.
    fn ended(&mut self) -> Result<Option<ExitStatus>, ClusterError> {
        let status = self.server.try_wait().map_err(ClusterError::io("wait for the server of", &self.log))?;
        if status.is_some() {
            let dismissed = self.watchdog.kill().and_then(|()| self.watchdog.wait());
            dismissed.map_err(ClusterError::io("end the watchdog of", &self.log))?;
        }
        Ok(status)
    }

    fn signal(&mut self, signal: Signal) -> Result<(), ClusterError> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        send(pid_of(&self.server), signal).map_err(ClusterError::io("signal the server of", &self.log))
    }

    fn failure(&self, reason: &str) -> ClusterError {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("; ");
        let ending = if shown.is_empty() { reason.to_owned() } else { shown };
        ClusterError::Start { log: self.log.clone(), ending }
    }
}

fn watch(account: &Account, server: &Child) -> io::Result<Child> {
    let mut command = account.command(SHELL);
    command.args(["-c", WATCH, "waypost-watchdog", &server.id().to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// The id of a child that has not been waited for.
fn pid_of(child: &Child) -> i32 {
    child.id().cast_signed()
}

/// Sends a signal; a process that is gone needs none.
fn send(pid: i32, signal: Signal) -> io::Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with code {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended".to_owned(),
    }
}
