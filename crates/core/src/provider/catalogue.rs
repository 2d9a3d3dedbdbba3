//! The catalogue of providers: data, so that one more is one more entry.

use std::fmt;

/// How a provider's notifications are read and judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Microsoft Graph's change notifications.
    Graph,
}

impl Dialect {
    /// Whether judging needs the webhook secret itself, as to check a signature, and not just its hash.
    #[must_use]
    pub const fn signs_bodies(self) -> bool {
        match self {
            Self::Graph => false,
        }
    }
}

/// How connections of a provider sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// OAuth 2.0 client credentials.
    ClientCredentials,
}

impl AuthMode {
    /// The word on Nango's wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "OAUTH2_CC",
        }
    }
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    display_name: &'static str,
    auth_mode: AuthMode,
    dialect: Dialect,
}

const ENTRIES: &[Entry] = &[Entry {
    name: "microsoft-oauth2-cc",
    display_name: "Microsoft (Client Credentials)",
    auth_mode: AuthMode::ClientCredentials,
    dialect: Dialect::Graph,
}];

/// A provider of the catalogue.
#[derive(Clone, Copy)]
pub struct Provider(&'static Entry);

impl Provider {
    /// The provider of that name (`microsoft-oauth2-cc`, …).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ENTRIES.iter().find(|entry| entry.name == name).map(Self)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        ENTRIES.iter().map(Self)
    }

    /// Its name on the wire; `from` of the envelopes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// What people call it.
    #[must_use]
    pub const fn display_name(self) -> &'static str {
        self.0.display_name
    }

    /// How its connections sign in.
    #[must_use]
    pub const fn auth_mode(self) -> AuthMode {
        self.0.auth_mode
    }

    /// How its notifications are read.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        self.0.dialect
    }
}

impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Provider {}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}
