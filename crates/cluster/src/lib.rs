//! A private PostgreSQL: its own data, its own socket, gone when its owner is gone.
//!
//! `waypost dev` and the tests run on it, so that nobody has to set up a database by hand. A [`Cluster`]
//! lives in a folder that carries Waypost's marker, listens on a Unix socket in a directory that only its
//! owner may enter, and never on TCP. It must not touch any other cluster of the machine, and knows no
//! other part of Waypost: it has to build when the store does not, because the store's queries are checked
//! against a database that it starts.
//!
//! All calls block; from asynchronous code use a blocking thread.

mod account;
mod binaries;
mod error;
mod folder;
mod postmaster;
mod process;

pub use binaries::Binaries;
pub use error::ClusterError;

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use account::Account;
use folder::Folder;
use postmaster::Postmaster;

/// The superuser of every private cluster.
const SUPERUSER: &str = "waypost";
/// Names the socket's file; nothing listens on a port.
const PORT: u16 = 5432;
/// What every private cluster is given to run with.
const MAX_CONNECTIONS: u16 = 300;
/// A socket's path must fit into 104 bytes on some systems, file name and terminator included.
const LONGEST_SOCKET_DIRECTORY: usize = 85;

/// How a cluster treats what is committed to it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// `true` keeps PostgreSQL's defaults: what is committed is on disk. `false` never waits for the disk,
    /// for tests of correctness: a server that is killed then forgets its last commits.
    pub durable: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { durable: true }
    }
}

/// A PostgreSQL of our own, started and stopped with this value.
#[derive(Debug)]
pub struct Cluster {
    folder: Folder,
    binaries: Binaries,
    account: Account,
    options: Options,
    socket: PathBuf,
    postmaster: Option<Postmaster>,
}

impl Cluster {
    /// Takes the folder `directory` for a cluster: makes one where there is none, or reuses the one that
    /// an earlier run left there. Does not start it.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] when no usable PostgreSQL is installed, when the folder holds something else, or
    /// when another process is using it.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, ClusterError> {
        let account = Account::for_postgres()?;
        let folder = Folder::claim(directory.as_ref(), &account)?;
        let binaries = match folder.version()? {
            None => {
                let newest = Binaries::newest()?;
                folder.initialise(&newest, &account, options.durable)?;
                newest
            }
            Some(version) => Binaries::of_version(version, folder.data())?,
        };
        folder.recover()?;
        let socket = socket_directory(&account)?;
        Ok(Self { folder, binaries, account, options, socket, postmaster: None })
    }

    /// Starts the server and waits until it takes connections. Nothing happens when it already runs.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Start`] with the end of the server's log when it does not come up.
    pub fn start(&mut self) -> Result<(), ClusterError> {
        if self.is_running() {
            return Ok(());
        }
        self.postmaster = None;
        let settings = self.server_settings();
        let started = Postmaster::start(&self.binaries, &self.account, &self.folder, &settings)?;
        self.postmaster = Some(started);
        Ok(())
    }

    /// Whether the server is up. `false` after it died by itself.
    pub fn is_running(&mut self) -> bool {
        self.postmaster.as_mut().is_some_and(Postmaster::is_running)
    }

    /// Where clients connect, as the superuser. The same over stops, kills and starts of this value.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let socket = self.socket.display();
        format!("postgres://{SUPERUSER}@localhost:{PORT}/{database}?host={socket}&sslmode=disable")
    }

    /// The programs that this cluster runs on.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Shuts the server down in good order: sessions are cut, everything is written out.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Io`] when the operating system refuses to signal or wait.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        match self.postmaster.take() {
            Some(postmaster) => postmaster.stop(),
            None => Ok(()),
        }
    }

    /// Ends the server and all its sessions with SIGKILL, as a crash would. [`Cluster::start`] recovers.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Io`] when the operating system refuses to signal or wait.
    pub fn kill(&mut self) -> Result<(), ClusterError> {
        match self.postmaster.take() {
            Some(postmaster) => postmaster.kill(),
            None => Ok(()),
        }
    }

    /// Stops the server and deletes its folder.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Io`] when stopping or deleting fails.
    pub fn destroy(mut self) -> Result<(), ClusterError> {
        self.stop()?;
        self.folder.delete()
    }

    fn server_settings(&self) -> Vec<String> {
        let mut settings = vec![
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={}", self.socket.display()),
            "unix_socket_permissions=0700".to_owned(),
            format!("port={PORT}"),
            format!("max_connections={MAX_CONNECTIONS}"),
            "cluster_name=waypost".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
        ];
        if !self.options.durable {
            settings
                .extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
        }
        settings
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "the private PostgreSQL was not stopped in good order");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.socket) {
            tracing::debug!(%error, "the socket directory was left behind");
        }
    }
}

/// A fresh directory for the socket with a short path, that nobody but the server's account may enter.
fn socket_directory(account: &Account) -> Result<PathBuf, ClusterError> {
    let wanted = std::env::temp_dir();
    let fits = wanted.as_os_str().len() + "/waypost-000000".len() <= LONGEST_SOCKET_DIRECTORY;
    let plain = wanted.to_str().is_some_and(|path| path.bytes().all(is_plain));
    let parent = if fits && plain && account.can_enter(&wanted) { wanted } else { PathBuf::from("/tmp") };
    let made = tempfile::Builder::new()
        .prefix("waypost-")
        .make_in(&parent, |path| DirBuilder::new().mode(0o700).create(path))
        .map_err(ClusterError::io("create a socket directory in", &parent))?;
    let ((), path) = made.into_parts();
    let path = path.keep().map_err(|error| ClusterError::io("keep", &parent)(error.error))?;
    account.own(&path)?;
    Ok(path)
}

/// Whether a byte of a path stands for itself in a URL's query and in a list of PostgreSQL's settings.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte)
}
