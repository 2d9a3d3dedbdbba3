//! The folder of a cluster: whose it is, where its data is, what an earlier run left in it.
//!
//! ```text
//! <folder>/waypost-cluster   the marker; without it a folder that is not empty is left alone
//! <folder>/lock              held for as long as somebody uses the cluster
//! <base>/data                PostgreSQL's own
//! <base>/log                 what the server says
//! ```
//!
//! `base` is the folder itself. Only where root has to hand the server to an account that may not enter the
//! folder is it a place of its own below `/var/lib/waypost`, which the marker then names.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{Binaries, ClusterError, SUPERUSER, account::Account, process};

const MARKER: &str = "waypost-cluster";
const LOCK: &str = "lock";
const MARKER_TEXT: &str = "A private PostgreSQL of Waypost. Delete this folder to start over.\n";
/// Starts the line of the marker that says where the data is, if it is elsewhere.
const MARKER_BASE: &str = "data below: ";
const ELSEWHERE: &str = "/var/lib/waypost";
/// How long a server may take to go after its owner was killed.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(30);

/// A folder that this process has taken for a cluster.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    data: PathBuf,
    log: PathBuf,
    /// Where the data is, if it could not be in the folder.
    elsewhere: Option<PathBuf>,
    /// Locked while open.
    _lock: File,
}

impl Folder {
    /// Takes `folder`, which is made if it does not exist, for as long as the value lives.
    pub(crate) fn claim(folder: &Path, account: &Account) -> Result<Self, ClusterError> {
        fs::create_dir_all(folder).map_err(ClusterError::io("create", folder))?;
        let folder = folder.canonicalize().map_err(ClusterError::io("find", folder))?;
        let marker = folder.join(MARKER);
        let fresh = !marker.exists();
        if fresh && !is_empty(&folder)? {
            return Err(ClusterError::NotOurs { folder });
        }
        let lock = lock(&folder)?;
        let elsewhere = (!account.can_enter(&folder)).then(|| base_elsewhere(&folder));
        if let Some(base) = &elsewhere {
            prepare_elsewhere(base, fresh)?;
        }
        let line = elsewhere.as_ref().map(|base| format!("{MARKER_BASE}{}\n", base.display()));
        fs::write(&marker, format!("{MARKER_TEXT}{}", line.unwrap_or_default()))
            .map_err(ClusterError::io("write", &marker))?;
        let base = elsewhere.as_ref().unwrap_or(&folder);
        let (data, log) = (base.join("data"), base.join("log"));
        Ok(Self { root: folder, data, log, elsewhere, _lock: lock })
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The major version of the data, `None` before there is any.
    pub(crate) fn version(&self) -> Result<Option<u32>, ClusterError> {
        let path = self.data.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ClusterError::io("read", &path)(error)),
        }
    }

    /// Makes the data. Built under another name, so that an interrupted run leaves nothing half made.
    pub(crate) fn initialise(
        &self,
        binaries: &Binaries,
        account: &Account,
        durable: bool,
    ) -> Result<(), ClusterError> {
        let unfinished = self.data.with_extension("unfinished");
        remove(&unfinished)?;
        DirBuilder::new().mode(0o700).create(&unfinished).map_err(ClusterError::io("create", &unfinished))?;
        account.own(&unfinished)?;
        let program = binaries.program("initdb");
        let mut initdb = account.command(&program);
        initdb.arg("--pgdata").arg(&unfinished);
        initdb.args(["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        initdb.arg("--no-instructions");
        if !durable {
            initdb.arg("--no-sync");
        }
        let done = initdb.output().map_err(ClusterError::io("run", &program))?;
        if !done.status.success() {
            let output = String::from_utf8_lossy(&done.stderr).trim().replace('\n', "; ");
            return Err(ClusterError::Initialise { output });
        }
        fs::rename(&unfinished, &self.data).map_err(ClusterError::io("put in place", &self.data))
    }

    /// Makes sure that no server runs on the data. One whose owner was killed is on its way out and is
    /// waited for; the note of one that is gone is removed where PostgreSQL could mistake it.
    pub(crate) fn recover(&self) -> Result<(), ClusterError> {
        let note = self.data.join("postmaster.pid");
        let patience = Instant::now() + ORPHAN_PATIENCE;
        while let Some(pid) = noted_process(&note) {
            if !process::is_alive(pid) {
                return Ok(());
            }
            if !process::is_postgres_on(pid, &self.data) {
                tracing::info!(pid, "removed the note of a PostgreSQL that is gone");
                return remove(&note);
            }
            if Instant::now() > patience {
                return Err(ClusterError::InUse { folder: self.root.clone(), pid: Some(pid) });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Deletes all there is.
    pub(crate) fn delete(&self) -> Result<(), ClusterError> {
        self.elsewhere.as_deref().map_or(Ok(()), remove)?;
        remove(&self.root)
    }
}

/// The process that wrote `postmaster.pid`, which holds its id on the first line.
fn noted_process(note: &Path) -> Option<i32> {
    fs::read_to_string(note).ok()?.lines().next()?.trim().parse().ok()
}

fn is_empty(folder: &Path) -> Result<bool, ClusterError> {
    let entries = fs::read_dir(folder).map_err(ClusterError::io("read", folder))?;
    Ok(entries.flatten().all(|entry| entry.file_name() == LOCK))
}

fn lock(folder: &Path) -> Result<File, ClusterError> {
    let path = folder.join(LOCK);
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(ClusterError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(ClusterError::io("write", &path))?;
            write!(file, "{}", std::process::id()).map_err(ClusterError::io("write", &path))?;
            Ok(file)
        }
        Err(fs::TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            Err(ClusterError::InUse { folder: folder.to_owned(), pid })
        }
        Err(fs::TryLockError::Error(error)) => Err(ClusterError::io("lock", &path)(error)),
    }
}

/// Where the data of `folder` goes when the server's account may not enter it.
fn base_elsewhere(folder: &Path) -> PathBuf {
    let name: String = folder
        .to_string_lossy()
        .trim_start_matches('/')
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    Path::new(ELSEWHERE).join(name)
}

/// Makes the place, empty if the folder is new: who deletes the folder starts over.
fn prepare_elsewhere(base: &Path, fresh: bool) -> Result<(), ClusterError> {
    tracing::info!(base = %base.display(), "the server's account may not enter the folder; its data goes elsewhere");
    if fresh {
        remove(base)?;
    }
    fs::create_dir_all(base).map_err(ClusterError::io("create", base))?;
    for folder in [Path::new(ELSEWHERE), base] {
        fs::set_permissions(folder, Permissions::from_mode(0o755))
            .map_err(ClusterError::io("open", folder))?;
    }
    Ok(())
}

/// Removes a file or a whole folder; content with there being none.
fn remove(path: &Path) -> Result<(), ClusterError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(ClusterError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
