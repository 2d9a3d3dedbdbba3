//! Where the executable is, built anew when it is older than what it is made of.
//!
//! Cargo builds it for a run of the whole workspace's tests, but not for one of this package alone; a test must not judge
//! what an older source said.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

static EXECUTABLE: LazyLock<PathBuf> = LazyLock::new(find);

/// The path of `waypost`.
#[must_use]
pub fn executable() -> &'static Path {
    &EXECUTABLE
}

fn find() -> PathBuf {
    let test = env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    // Tests are in `deps` below the folder of the profile, other executables in that folder itself.
    let profile = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder };
    let executable = profile.join("waypost");
    if !is_current(&executable) {
        build(profile);
    }
    assert!(executable.is_file(), "{} was not built", executable.display());
    executable
}

/// Whether it is there and no older than any of its sources, which cargo lists beside it.
fn is_current(executable: &Path) -> bool {
    let Some(built) = modified(executable) else { return false };
    let Ok(list) = fs::read_to_string(executable.with_extension("d")) else { return false };
    let Some((_, sources)) = list.split_once(": ") else { return false };
    let mut paths = sources.trim_end().replace("\\ ", "\0");
    paths.retain(|character| character != '\n');
    paths.split(' ').all(|path| modified(Path::new(&path.replace('\0', " "))).is_some_and(|at| at <= built))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn build(profile: &Path) {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells a test of its package would make it build other packages anew.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"]
            .iter()
            .any(|own| text.starts_with(own))
        {
            cargo.env_remove(&name);
        }
    }
    cargo.args(["build", "--quiet", "--package", "waypost", "--bin", "waypost", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    cargo.arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().unwrap_or_else(|error| panic!("cargo can't be run: {error}"));
    assert!(status.success(), "the executable could not be built");
}
