//! Where the program's own lines go: standard error, for people or for machines. Must not hold settings of
//! its own beyond the filter, which is an environment variable so that it can be turned up anywhere.

use std::{
    backtrace::Backtrace,
    env,
    io::{self, IsTerminal},
    panic,
};

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogFormat, Telemetry};

/// What is logged; the first that is set counts.
const FILTERS: [&str; 2] = ["WAYPOST_LOG", "RUST_LOG"];
/// For a service. The web server tells of each of its threads, and of every stranger who doesn't speak HTTP; PostgreSQL
/// of every table that a migration found in place: that is nobody's concern.
pub(crate) const SERVICE: &str = "info,actix_server=warn,actix_http::h1=off,sqlx::postgres::notice=warn";
/// For a command whose results people read as they come.
pub(crate) const QUIET: &str = "warn";

/// Starts logging, for the life of the process: by `usual` where no variable names a filter.
///
/// # Errors
///
/// [`ConfigError`] when the filter cannot be read.
pub fn init(settings: &Telemetry, usual: &str) -> Result<(), ConfigError> {
    let chosen = FILTERS.iter().find_map(|name| Some((*name, env::var(name).ok()?)));
    let (name, filter) = chosen.filter(|(_, text)| !text.is_empty()).unwrap_or(("", usual.to_owned()));
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        ConfigError::invalid(
            name,
            format!("is not a filter ({error}); write one such as info or waypost=debug,info"),
        )
    })?;
    let terminal = io::stderr().is_terminal();
    let format = settings.log_format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json });
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Pretty => lines.with_ansi(terminal).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // Already started is fine: tests run several commands in one process.
    if started.is_ok() {
        log_panics();
    }
    Ok(())
}

/// A panic is a line like any other, so that it reaches whoever collects the logs.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let backtrace = Backtrace::capture();
        tracing::error!(panic.location = place, panic.backtrace = %backtrace, "panicked: {message}");
    }));
}
