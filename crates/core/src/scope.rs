//! What an API key may do: Nango's scopes, colon paths with a `*` at the end as wildcard.

use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        /// A right that a route asks for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Scope { $($(#[$doc])* $name),+ }

        impl Scope {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The scope as it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

scopes! {
    /// List integrations.
    IntegrationsList = "environment:integrations:list";
    /// Read an integration.
    IntegrationsRead = "environment:integrations:read";
    /// Read an integration's credentials and webhook secret.
    IntegrationsReadCredentials = "environment:integrations:read_credentials";
    /// Create integrations.
    IntegrationsCreate = "environment:integrations:create";
    /// Change integrations.
    IntegrationsUpdate = "environment:integrations:update";
    /// Delete integrations.
    IntegrationsDelete = "environment:integrations:delete";
    /// List connections.
    ConnectionsList = "environment:connections:list";
    /// Read a connection.
    ConnectionsRead = "environment:connections:read";
    /// Read a connection's credentials.
    ConnectionsReadCredentials = "environment:connections:read_credentials";
    /// Create connections.
    ConnectionsCreate = "environment:connections:create";
    /// Change connections.
    ConnectionsUpdate = "environment:connections:update";
    /// Delete connections.
    ConnectionsDelete = "environment:connections:delete";
    /// Make links by which customers connect.
    ConnectSessionsWrite = "environment:connect_sessions:write";
    /// Read webhook settings and endpoints.
    WebhooksRead = "environment:webhooks:read";
    /// Change webhook settings and endpoints.
    WebhooksWrite = "environment:webhooks:write";
    /// Read endpoint secrets.
    WebhooksReadSecrets = "environment:webhooks:read_secrets";
    /// Rotate the webhook signing key.
    SigningKeyRotate = "environment:webhook_signing_key:rotate";
    /// Read certificates for encrypted notifications.
    CertificatesRead = "environment:certificates:read";
    /// Rotate certificates for encrypted notifications.
    CertificatesWrite = "environment:certificates:write";
    /// List subscriptions.
    SubscriptionsList = "environment:subscriptions:list";
    /// Read a subscription.
    SubscriptionsRead = "environment:subscriptions:read";
    /// Create and import subscriptions.
    SubscriptionsCreate = "environment:subscriptions:create";
    /// Change and renew subscriptions.
    SubscriptionsUpdate = "environment:subscriptions:update";
    /// Delete subscriptions.
    SubscriptionsDelete = "environment:subscriptions:delete";
    /// Read events, deliveries and rejections.
    EventsRead = "environment:events:read";
    /// Retry deliveries, replay events.
    EventsWrite = "environment:events:write";
    /// Call the provider through the proxy.
    Proxy = "environment:proxy";
}

impl Scope {
    /// Whether it only reads, and nothing secret: what an admin token's `viewer` may do.
    #[must_use]
    pub fn is_viewing(self) -> bool {
        let text = self.as_str();
        text.ends_with(":list") || text.ends_with(":read")
    }
}

/// A scope that was granted: exact, or a path that ends in `:*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant(String);

/// A text that grants nothing that exists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a known scope")]
pub struct UnknownScope(pub String);

impl Grant {
    /// Everything in an environment.
    #[must_use]
    pub fn everything() -> Self {
        Self("environment:*".to_owned())
    }

    /// Reads a grant.
    ///
    /// # Errors
    /// [`UnknownScope`] when no scope is named or covered by it.
    pub fn parse(text: impl Into<String>) -> Result<Self, UnknownScope> {
        let grant = Self(text.into());
        if Scope::ALL.iter().any(|scope| grant.covers(*scope)) {
            Ok(grant)
        } else {
            Err(UnknownScope(grant.0))
        }
    }

    /// Whether it covers `scope`.
    #[must_use]
    pub fn covers(&self, scope: Scope) -> bool {
        match self.0.strip_suffix('*') {
            Some(path) if path.ends_with(':') => scope.as_str().starts_with(path),
            Some(_) => false,
            None => self.0 == scope.as_str(),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Grant {
    type Error = UnknownScope;

    fn try_from(text: String) -> Result<Self, UnknownScope> {
        Self::parse(text)
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_what_is_below_it_and_nothing_beside() {
        let grant = Grant::parse("environment:connections:*").unwrap();
        assert!(grant.covers(Scope::ConnectionsReadCredentials));
        assert!(!grant.covers(Scope::IntegrationsRead));
        assert!(Grant::everything().covers(Scope::Proxy));
        assert!(Grant::parse("environment:conn*").is_err());
        assert!(Grant::parse("nonsense").is_err());
    }

    #[test]
    fn a_viewer_reads_but_never_secrets() {
        assert!(Scope::EventsRead.is_viewing());
        assert!(!Scope::ConnectionsReadCredentials.is_viewing());
        assert!(!Scope::WebhooksReadSecrets.is_viewing());
        assert!(!Scope::EventsWrite.is_viewing());
    }
}
