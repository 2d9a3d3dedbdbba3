//! Finds the server programs of PostgreSQL. Must not install anything: `make setup` does that.

use std::{
    cmp::Reverse,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::ClusterError;

/// The oldest version that Waypost supports.
const OLDEST: u32 = 14;
/// Names the folder to use, and no other.
const VARIABLE: &str = "WAYPOST_PG_BIN";
/// Where distributions and Homebrew put versions beside each other: parent, start of the name, the rest.
const PLACES: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/usr/local", "pgsql", "bin"),
];

/// A folder with `initdb` and `postgres` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
    version: u32,
}

impl Binaries {
    /// The newest version that is installed, or what `WAYPOST_PG_BIN` names.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoBinaries`] or [`ClusterError::WrongBinaries`].
    pub fn newest() -> Result<Self, ClusterError> {
        installed()?.into_iter().next().ok_or(ClusterError::NoBinaries)
    }

    /// The programs that can read data of a major version.
    pub(crate) fn of_version(version: u32, data: &Path) -> Result<Self, ClusterError> {
        installed()?
            .into_iter()
            .find(|found| found.version == version)
            .ok_or_else(|| ClusterError::OtherVersion { data: data.to_owned(), version })
    }

    /// The major version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The path of one of the programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Looks into one folder.
    fn look(folder: &Path) -> Option<Self> {
        if !folder.join("initdb").is_file() {
            return None;
        }
        let answer = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let version = major_version(&String::from_utf8_lossy(&answer.stdout))?;
        (version >= OLDEST).then(|| Self { folder: folder.to_owned(), version })
    }
}

/// What is installed, the newest first; the path's own before the distribution's.
fn installed() -> Result<Vec<Binaries>, ClusterError> {
    if let Some(folder) = env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        let folder = PathBuf::from(folder);
        return match Binaries::look(&folder) {
            Some(found) => Ok(vec![found]),
            None => Err(ClusterError::WrongBinaries { folder }),
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<Binaries> = env::split_paths(&path)
        .chain(PLACES.iter().flat_map(|(parent, start, rest)| versions_beside(parent, start, rest)))
        .filter_map(|folder| Binaries::look(&folder))
        .collect();
    found.sort_by_key(|binaries| Reverse(binaries.version));
    Ok(found)
}

fn versions_beside(parent: &str, start: &str, rest: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path().join(rest))
        .collect()
}

/// The major version in what `postgres --version` says.
fn major_version(answer: &str) -> Option<u32> {
    let number =
        answer.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major_version;

    #[test]
    fn the_major_version_is_read_from_what_the_distributions_answer() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta2\n"), Some(18));
        assert_eq!(major_version("postgres (PostgreSQL) 14.9\n"), Some(14));
        assert_eq!(major_version("command not found"), None);
    }
}
