//! The program: configuration, commands, and the assembly of the parts.
//!
//! Everything that runs is built here and nowhere else; the parts themselves know nothing of settings,
//! signals or the command line. `main.rs` only calls [`cli::run`].

pub mod application;
pub mod cli;
pub mod config;
pub mod dev;
pub mod output;
pub mod roles;
pub mod shutdown;
pub mod telemetry;

/// The private PostgreSQL of `waypost dev` and of the tests.
pub use waypost_cluster as cluster;
