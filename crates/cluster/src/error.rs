//! What can go wrong with a private cluster, each with its cure. Must not hold more than one cause.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a private PostgreSQL could not be opened, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// Nothing usable is installed.
    #[error(
        "no PostgreSQL server programs (initdb and postgres, version 14 or later) were found; `make setup` \
         installs them, or set WAYPOST_PG_BIN to the folder they are in"
    )]
    NoBinaries,
    /// `WAYPOST_PG_BIN` is set and of no use.
    #[error(
        "WAYPOST_PG_BIN is {folder}, which does not hold initdb and postgres of version 14 or later; correct \
         it or unset it"
    )]
    WrongBinaries {
        /// What the variable says.
        folder: PathBuf,
    },
    /// The data was made by a version that is not installed any more.
    #[error(
        "the data in {data} was made by PostgreSQL {version}, which is not installed; install it, or delete \
         the folder to start over"
    )]
    OtherVersion {
        /// Where the data is.
        data: PathBuf,
        /// The major version that made it.
        version: u32,
    },
    /// Root cannot run PostgreSQL, and there is nobody to run it instead.
    #[error(
        "PostgreSQL refuses to run as root, and neither a user `postgres` nor `nobody` exists to run it; \
         create one, or run Waypost as an ordinary user"
    )]
    NoAccount,
    /// The folder holds something that Waypost did not put there.
    #[error("{folder} is not empty and was not made by Waypost; choose another folder")]
    NotOurs {
        /// The folder.
        folder: PathBuf,
    },
    /// Somebody else is using the folder.
    #[error("{folder} is in use by another process{}; stop it or choose another folder", named(*pid))]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process, where it is known.
        pid: Option<i32>,
    },
    /// The data could not be made.
    #[error("initdb failed: {output}")]
    Initialise {
        /// What initdb said.
        output: String,
    },
    /// The server did not come up.
    #[error("PostgreSQL did not start; its log is {}, which ends: {ending}", log.display())]
    Start {
        /// The server's log.
        log: PathBuf,
        /// Its last lines.
        ending: String,
    },
    /// The operating system refused something.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
}

impl ClusterError {
    /// Adds to an error of the operating system what was tried, and on what.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

fn named(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
