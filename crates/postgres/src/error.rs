//! What can go wrong between Waypost and its store.
//!
//! Absence is not an error: look-ups answer `None`. A named constraint that a caller expects becomes his own error by
//! [`StoreError::breaks`].

use std::fmt;

use waypost_crypto::seal::OpenError;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached at the start.
    #[error(
        "the database of database.url can't be reached: is PostgreSQL running there, and is the URL right?"
    )]
    Unreachable(#[source] sqlx::Error),
    /// It can't be reached, is full, is shutting down, or took too long: worth another try.
    #[error("the store is not available")]
    Unavailable(#[source] sqlx::Error),
    /// It didn't answer in time, as when its machine is gone without a word: worth another try.
    #[error("the store did not answer in time")]
    Silent,
    /// The database undid the change because it and another waited for each other, or had read what the other wrote:
    /// worth another try, from its beginning.
    #[error("the change met another one and was undone")]
    Conflict(#[source] sqlx::Error),
    /// A constraint refused the change.
    #[error("the constraint `{constraint}` refused the change")]
    Constraint {
        /// Its name.
        constraint: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The statement failed in a way that another try won't mend.
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
    /// A migration failed.
    #[error("the migrations could not be applied")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The database has no Waypost schema, or an older or newer one.
    #[error("the database's schema is {found}, this executable needs {wanted}: run `waypost migrate`")]
    Schema {
        /// The newest migration that the database has.
        found: String,
        /// The newest that the executable knows.
        wanted: i64,
    },
    /// A sealed value can't be opened.
    #[error("a sealed value of {table}.{column} can't be opened: is its key in security.encryption_keys?")]
    Sealed {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// A row holds what no version of Waypost writes.
    #[error("{table}.{column} of row {row} holds a value that can't be right")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
    },
}

impl StoreError {
    /// Whether it is the refusal of the constraint `name`.
    #[must_use]
    pub fn breaks(&self, name: &str) -> bool {
        matches!(self, Self::Constraint { constraint, .. } if constraint == name)
    }

    /// Whether another try may help.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unavailable(_) | Self::Silent | Self::Conflict(_))
    }

    /// A row that can't be right.
    pub(crate) fn inconsistent(table: &'static str, column: &'static str, row: impl fmt::Display) -> Self {
        Self::Inconsistent { table, column, row: row.to_string() }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
                _ => Self::Statement(error),
            };
        };
        if let Some(constraint) = database.constraint() {
            return Self::Constraint { constraint: constraint.to_owned(), source: error };
        }
        let is_of = |classes: &[&str]| {
            database.code().is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
        };
        // Serialization failure and deadlock.
        if is_of(&["40001", "40P01"]) {
            return Self::Conflict(error);
        }
        // Class 08 connection, 40 rollback, 53 resources, 55P03 lock, 57 operator intervention (shutdown, cancelled by a
        // time-out), 58 system.
        let passing = is_of(&["08", "40", "53", "55P03", "57", "58"]);
        if passing { Self::Unavailable(error) } else { Self::Statement(error) }
    }
}
