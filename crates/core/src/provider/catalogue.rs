//! The catalogue of providers: data, so that one more is one more entry.

use std::fmt;

use crate::cloud::CloudName;

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

    /// Whether its notifications name resources that can be read with a connection's token.
    #[must_use]
    pub const fn has_resources(self) -> bool {
        match self {
            Self::Graph => true,
        }
    }
}

/// How connections of a provider sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// OAuth 2.0 client credentials, with a secret (or a certificate).
    ClientCredentials,
    /// OAuth 2.0 client credentials with a certificate's signed assertion in place of a secret.
    Certificate,
    /// OAuth 2.0 on behalf of a user, with a refresh token.
    Delegated,
}

impl AuthMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ClientCredentials, Self::Certificate, Self::Delegated];

    /// The word on Nango's wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "OAUTH2_CC",
            Self::Certificate => "TWO_STEP",
            Self::Delegated => "OAUTH2",
        }
    }
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    display_name: &'static str,
    auth_mode: AuthMode,
    cloud: CloudName,
    dialect: Dialect,
}

/// An entry of Microsoft Graph.
const fn graph(
    name: &'static str,
    display_name: &'static str,
    auth_mode: AuthMode,
    cloud: CloudName,
) -> Entry {
    Entry { name, display_name, auth_mode, cloud, dialect: Dialect::Graph }
}

const ENTRIES: &[Entry] = {
    use AuthMode::{Certificate, ClientCredentials, Delegated};
    use CloudName::{China, Global, UsGovernmentL4, UsGovernmentL5};
    &[
        graph("microsoft-oauth2-cc", "Microsoft (Client Credentials)", ClientCredentials, Global),
        graph("microsoft-oauth2-cc-cert", "Microsoft (Client Certificate)", Certificate, Global),
        graph("microsoft", "Microsoft", Delegated, Global),
        graph(
            "microsoft-oauth2-cc-us-l4",
            "Microsoft US Government L4 (Client Credentials)",
            ClientCredentials,
            UsGovernmentL4,
        ),
        graph(
            "microsoft-oauth2-cc-us-l5",
            "Microsoft US Government L5 (Client Credentials)",
            ClientCredentials,
            UsGovernmentL5,
        ),
        graph("microsoft-oauth2-cc-china", "Microsoft China (Client Credentials)", ClientCredentials, China),
    ]
};

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

    /// The cloud that it lives in.
    #[must_use]
    pub const fn cloud(self) -> CloudName {
        self.0.cloud
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
