//! The executable. Must not hold any logic: see [`waypost::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    waypost::cli::run(std::env::args_os())
}
