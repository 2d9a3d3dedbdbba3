//! Questions to the operating system about processes that are not our children.
//!
//! Linux is asked through `/proc`, where the tool `ps` is often missing; other systems through `ps`.

use std::{fs, path::Path, process::Command};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

/// Whether a process exists and has not ended. One that merely waits to be collected has ended.
pub(crate) fn is_alive(pid: i32) -> bool {
    let exists = !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH));
    exists && !about(pid).is_some_and(|process| process.ended)
}

/// Whether a process is a PostgreSQL server on `data`.
pub(crate) fn is_postgres_on(pid: i32, data: &Path) -> bool {
    let line = match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).replace('\0', " "),
        Err(_) => ps(&["-o", "command=", "-p", &pid.to_string()]),
    };
    line.contains("postgres") && line.contains(&*data.to_string_lossy())
}

/// The children of a process.
pub(crate) fn children(parent: i32) -> Vec<i32> {
    let all: Vec<Process> = match fs::read_dir("/proc") {
        Ok(entries) => {
            let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            pids.filter_map(from_proc).collect()
        }
        Err(_) => ps(&["-A", "-o", "pid=,ppid=,state="]).lines().filter_map(from_ps).collect(),
    };
    all.into_iter().filter(|process| process.parent == parent).map(|process| process.pid).collect()
}

struct Process {
    pid: i32,
    parent: i32,
    ended: bool,
}

fn about(pid: i32) -> Option<Process> {
    from_proc(pid).or_else(|| from_ps(&ps(&["-o", "pid=,ppid=,state=", "-p", &pid.to_string()])))
}

/// Reads `/proc/PID/stat`: the id, the name in brackets (which may hold anything), the state, the parent.
fn from_proc(pid: i32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let ended = has_ended(fields.next()?);
    Some(Process { pid, parent: fields.next()?.parse().ok()?, ended })
}

fn from_ps(line: &str) -> Option<Process> {
    let mut fields = line.split_whitespace();
    let pid = fields.next()?.parse().ok()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process { pid, parent, ended: has_ended(fields.next()?) })
}

fn has_ended(state: &str) -> bool {
    state.starts_with(['Z', 'X'])
}

fn ps(arguments: &[&str]) -> String {
    let answer = Command::new("ps").args(arguments).output();
    answer.map(|answer| String::from_utf8_lossy(&answer.stdout).into_owned()).unwrap_or_default()
}
