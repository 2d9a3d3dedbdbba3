//! Why a configuration is refused: one line that names the setting and the cure. Must not show a secret.

use std::path::PathBuf;

use crate::config::source::variable_of;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read ({reason}); correct --config or WAYPOST_CONFIG")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        reason: String,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} is not TOML: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// Nobody knows the key.
    #[error("{name} is not a setting; {cure}")]
    Unknown {
        /// As it was written: a variable, or a key and its file.
        name: String,
        /// What would be one.
        cure: String,
    },
    /// The value breaks a rule.
    #[error("{name}: {reason}")]
    Invalid {
        /// As it was written: a variable, a key and its file, or the key alone.
        name: String,
        /// The rule and the cure.
        reason: String,
    },
    /// What was asked for needs a setting that has no value.
    #[error("{setting} is not set; set it in the configuration file or as {} {cure}", variable_of(setting))]
    Missing {
        /// The key.
        setting: &'static str,
        /// To what it may be set.
        cure: &'static str,
    },
}

impl ConfigError {
    /// A value that breaks a rule.
    pub fn invalid(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { name: name.into(), reason: reason.into() }
    }

    /// A setting that is required here.
    #[must_use]
    pub fn missing(setting: &'static str, cure: &'static str) -> Self {
        Self::Missing { setting, cure }
    }
}
