//! Who runs the server. PostgreSQL refuses root, so root hands it to an account without rights.

use std::{
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use nix::unistd::{User, geteuid};

use crate::ClusterError;

/// The accounts that root may hand the server to, the best first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The account that the server and its data belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// The one that this process runs as.
    Own,
    /// Another one, because this process is root.
    Other {
        /// Its user id.
        uid: u32,
        /// Its group id.
        gid: u32,
    },
}

impl Account {
    pub(crate) fn for_postgres() -> Result<Self, ClusterError> {
        if !geteuid().is_root() {
            return Ok(Self::Own);
        }
        UNPRIVILEGED
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .filter(|user| !user.uid.is_root())
            .map(|user| Self::Other { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
            .ok_or(ClusterError::NoAccount)
    }

    /// A command that runs as this account, undisturbed by the caller's terminal, folder and settings.
    pub(crate) fn command(self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").current_dir("/").process_group(0);
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives `path` to this account.
    pub(crate) fn own(self, path: &Path) -> Result<(), ClusterError> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid } => chown(path, Some(uid), Some(gid))
                .map_err(ClusterError::io("give to the server's account", path)),
        }
    }

    /// Whether this account may pass through `directory` and everything above it.
    pub(crate) fn can_enter(self, directory: &Path) -> bool {
        let Self::Other { uid, gid } = self else {
            return true;
        };
        directory.ancestors().all(|folder| {
            folder.metadata().is_ok_and(|about| {
                let bit = match (about.uid() == uid, about.gid() == gid) {
                    (true, _) => 0o100,
                    (false, true) => 0o010,
                    (false, false) => 0o001,
                };
                about.mode() & bit != 0
            })
        })
    }
}
