//! The executable with a database: how it begins, what each role serves, and how it ends.
//!
//! What needs no database is tested beside the executable itself.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod at_rest;
mod commands;
mod database;
mod dev;
mod migrations;
mod roles;
mod shutdown;

use std::process::Output;

/// The one line that a command says when it fails.
#[track_caller]
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("waypost: ")).collect();
    assert_eq!(lines.len(), 1, "not one line: {text}");
    lines[0].to_owned()
}
