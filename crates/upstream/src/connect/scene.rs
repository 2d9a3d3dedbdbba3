//! One step of somebody's session, with all that it is done with.

use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;
use waypost_core::cloud::Cloud;
use waypost_core::connect::{self, Defaults, Session, WHO};
use waypost_core::connection::{ClientCredentials, ConnectionId};
use waypost_core::endpoint::EndpointUrl;
use waypost_core::id::{ConnectionKey, TenantId};
use waypost_core::integration::{AppCredentials, Integration};
use waypost_core::provider::catalogue::AuthMode;
use waypost_core::tags::Tags;
use waypost_core::token::Trouble;
use waypost_postgres::TenantStore;
use waypost_postgres::connection::{ConnectionChanges, Found, NewConnection};
use waypost_postgres::endpoint::UrlChange;
use waypost_postgres::grant::SignIn;

use super::TENANT;
use super::problem::{ConnectError, ConnectProblem};

/// The member of `connection_config` that names scopes.
const SCOPES: &str = "oauth_scopes";

/// A step of a session, with what it is done with.
pub(super) struct Scene<'a> {
    pub(super) session: &'a Session,
    pub(super) tenant: TenantStore,
    pub(super) integration: Integration,
    pub(super) app: AppCredentials,
    pub(super) cloud: Cloud,
    pub(super) defaults: Defaults,
    pub(super) browser: &'a SecretString,
}

impl Scene<'_> {
    /// The scopes that the sign-in page asks for.
    pub(super) fn scope(&self) -> String {
        match self.integration.provider.auth_mode() {
            AuthMode::Delegated => connect::delegated_scope(self.asked().as_deref()),
            // Only who it is: what the app may do by itself, the administrator decides.
            AuthMode::ClientCredentials | AuthMode::Certificate => WHO.to_owned(),
        }
    }

    /// Whether the connection that is signed in again is one of `tenant` already: then nothing new is let in.
    pub(super) async fn renews(&self, tenant: TenantId) -> Result<bool, ConnectError> {
        let Some(id) = &self.session.wish.reconnect else { return Ok(false) };
        let found = self.tenant.find_connection(&self.integration.unique_key, id).await?;
        Ok(matches!(found, Found::Connection(before) if before.tenant == Some(tenant)))
    }

    /// The scopes that the connection or the integration names.
    pub(super) fn asked(&self) -> Option<String> {
        let own = self.defaults.connection_config.get(SCOPES).and_then(Value::as_str);
        let text = own.or(self.app.scopes.as_deref())?;
        let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }

    /// What the connection that comes of it signs in with.
    pub(super) fn sign_in(&self, new: &NewConnection) -> SignIn {
        SignIn {
            // It may have none yet.
            connection: ConnectionKey::from_number(0),
            provider: self.integration.provider,
            tenant: new.tenant,
            config: new.config.clone(),
            credentials: new.credentials.clone(),
            app: Some(self.app.clone()),
            grant: None,
        }
    }

    /// The connection that comes of it, for the tenant that was proven.
    pub(super) async fn connection(
        &self,
        tenant: TenantId,
        credentials: ClientCredentials,
    ) -> Result<NewConnection, ConnectError> {
        let (wish, key) = (&self.session.wish, &self.integration.unique_key);
        let (id, mut config) = match &wish.reconnect {
            None => (new_id()?, serde_json::Map::new()),
            Some(id) => match self.tenant.find_connection(key, id).await? {
                Found::Connection(before) => (id.clone(), before.connection_config),
                Found::UnknownConnection | Found::UnknownIntegration => {
                    return Err(ConnectProblem::ConnectionGone.into());
                }
            },
        };
        config.extend(self.defaults.connection_config.clone());
        config.insert(TENANT.to_owned(), Value::String(tenant.to_string()));
        // Both were checked when the session was made.
        let tags = wish.tags.clone().and_then(|tags| Tags::parse(tags).ok());
        let url = wish.webhook_url_override.as_deref().and_then(|url| EndpointUrl::parse(url).ok());
        Ok(NewConnection {
            integration: key.clone(),
            id,
            tenant: Some(tenant),
            config,
            credentials,
            metadata: None,
            changes: ConnectionChanges {
                tags,
                end_user: wish.end_user.clone(),
                webhook_url_override: url.map(UrlChange::Set),
            },
        })
    }
}

fn new_id() -> Result<ConnectionId, ConnectProblem> {
    ConnectionId::parse(Uuid::new_v4().to_string()).map_err(|_| ConnectProblem::NotOffered)
}

/// What a refusal means for the person; what it means for the operator goes to the log.
pub(super) fn told(scene: &Scene<'_>, trouble: &Trouble) -> ConnectProblem {
    let problem = ConnectProblem::of_trouble(trouble);
    let (codes, words) = match trouble {
        Trouble::Refused(refusal) => (refusal.codes.as_slice(), refusal.verdict().words),
        Trouble::Unreachable(words) => (&[][..], words.as_str()),
    };
    tracing::warn!(
        environment = %scene.session.environment,
        integration = %scene.integration.unique_key,
        ?codes,
        words,
        "somebody could not connect"
    );
    problem
}
