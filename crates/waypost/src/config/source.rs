//! Puts the sources together and says, when a value is refused, where it was written.

use std::{env, fs, path::Path};

use config::{Config, Environment, File, FileFormat};
use serde::de::DeserializeOwned;

use crate::config::ConfigError;

/// Every variable that starts so is a setting.
pub const ENVIRONMENT_PREFIX: &str = "WAYPOST__";
const SEPARATOR: &str = "__";

/// The variables of this process that are ours.
pub(super) fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ConfigError::invalid(name, "is not UTF-8; write plain text")),
        })
        .collect()
}

/// The variable that sets `key`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.replace('.', SEPARATOR).to_uppercase())
}

/// Merges the sources and reads `T` from them. An empty variable is a value as any other: no list, no optional setting, and
/// wrong where something is wanted.
pub(super) fn read<T: DeserializeOwned>(
    file: Option<&Path>,
    environment: &[(String, String)],
) -> Result<T, ConfigError> {
    let ours: Vec<&(String, String)> =
        environment.iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
    ours.iter().try_for_each(|(name, _)| check_name(name))?;
    let mut builder = Config::builder();
    if let Some(path) = file {
        builder = builder.add_source(File::from_str(&text_of(path)?, FileFormat::Toml));
    }
    let variables = ours.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let environment = Environment::with_prefix(ENVIRONMENT_PREFIX.trim_end_matches('_'))
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .source(Some(variables));
    let merged = builder.add_source(environment).build().map_err(|error| unparsed(file, &error))?;
    serde_path_to_error::deserialize(merged).map_err(|error| {
        let key = error.path().to_string();
        refused(&written(&key, &ours, file), &reason_of(error.inner()))
    })
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}

/// A section and a key: everything else names nothing, and must not reach a parser of paths.
fn check_name(name: &str) -> Result<(), ConfigError> {
    let parts: Vec<&str> = name[ENVIRONMENT_PREFIX.len()..].split(SEPARATOR).collect();
    let plain = |part: &&str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    if parts.len() == 2 && parts.iter().all(plain) {
        return Ok(());
    }
    Err(ConfigError::Unknown {
        name: name.to_owned(),
        cure: "write WAYPOST__SECTION__KEY in capitals, such as WAYPOST__DATABASE__URL".to_owned(),
    })
}

/// The file does not parse; the environment always does.
fn unparsed(file: Option<&Path>, error: &config::ConfigError) -> ConfigError {
    let reason = match error {
        config::ConfigError::FileParse { cause, .. } => one_line(&cause.to_string()),
        other => one_line(&other.to_string()),
    };
    ConfigError::Syntax { path: file.unwrap_or(Path::new("")).to_owned(), reason }
}

/// The place in a parser's report and its last line, without the drawing between them.
fn one_line(report: &str) -> String {
    let lines: Vec<&str> = report.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        [first, .., last] => format!("{first}: {last}"),
        [only] => (*only).to_owned(),
        [] => String::new(),
    }
}

/// How the user wrote `key`.
fn written(key: &str, environment: &[&(String, String)], file: Option<&Path>) -> String {
    let variable = variable_of(key);
    let section = format!("{variable}{SEPARATOR}");
    let found = environment.iter().find(|(name, _)| *name == variable || name.starts_with(&section));
    match (found, file) {
        (Some((name, _)), _) => name.clone(),
        (None, Some(path)) => format!("{key} in {}", path.display()),
        (None, None) => key.to_owned(),
    }
}

fn refused(name: &str, reason: &str) -> ConfigError {
    match reason.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, ")) {
        Some((_, expected)) => ConfigError::Unknown {
            name: name.to_owned(),
            cure: format!("there it may be: {}", names(expected)),
        },
        None => ConfigError::invalid(name, reason),
    }
}

/// The names in serde's "expected one of `a`, `b`".
fn names(expected: &str) -> String {
    let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    names.join(", ")
}

/// What the innermost error says, without the places that were wrapped around it.
fn reason_of(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::At { error, .. } => reason_of(error),
        config::ConfigError::Type { expected, .. } => format!("is not {expected}"),
        config::ConfigError::Message(message) => message.clone(),
        other => one_line(&other.to_string()),
    }
}
