//! How a connection signs in: from what is stored to what a token endpoint is told.
//!
//! What stands on the connection goes before what stands on its integration, and a certificate before a secret.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use uuid::Uuid;
use waypost_core::cloud::{Cloud, Clouds};
use waypost_core::connection::ClientCredentials;
use waypost_core::id::{ConnectionKey, EnvironmentId, TenantId};
use waypost_core::integration::{AppCredentials, ClientCertificate};
use waypost_core::provider::catalogue::AuthMode;
use waypost_core::provider::graph::sign_in::Refusal;
use waypost_core::token::{GrantKey, HeldToken, Lifetime, Said, TokenMark, Trouble};
use waypost_crypto::assertion::{self, Claims};
use waypost_crypto::token::HashKey;
use waypost_postgres::grant::{NewGrant, SignIn, StoredGrant};

use super::{Access, LiveCredentials, TokenError};

/// The member of `connection_config` that names scopes.
const SCOPES: &str = "oauth_scopes";
/// Whose sign-in page users of unknown tenants use.
const ANY_TENANT: &str = "common";
/// What Entra calls an assertion that is a JWT.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// By what an app proves who it is.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// A shared secret.
    Secret(SecretString),
    /// A certificate's private key.
    Certificate(ClientCertificate),
}

/// What is needed to ask for a token.
#[derive(Debug, Clone)]
pub(super) struct Means {
    /// Where it is asked for.
    pub(super) url: Url,
    /// By what the app proves who it is.
    proof: Proof,
    /// The scopes, separated by spaces; `None` leaves them to the grant.
    scope: Option<String>,
    /// The refresh token of the user's sign-in; `None` where the app signs in by itself.
    refresh_token: Option<SecretString>,
}

/// How a connection signs in.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) environment: EnvironmentId,
    pub(super) connection: ConnectionKey,
    /// The grant that it uses.
    pub(super) grant: NewGrant,
    /// How to ask for a token, or what is missing for that.
    pub(super) means: Result<Means, TokenError>,
    cloud: Cloud,
    tenant: Option<TenantId>,
}

/// The app that a connection signs in as.
struct App<'a> {
    client_id: &'a str,
    secret: Option<&'a SecretString>,
    certificate: Option<&'a ClientCertificate>,
    ends_at: Option<DateTime<Utc>>,
}

impl<'a> App<'a> {
    fn of(own: &'a ClientCredentials, shared: Option<&'a AppCredentials>) -> Option<Self> {
        if let Some(client_id) = own.client_id.as_deref() {
            return Some(Self {
                client_id,
                secret: own.client_secret.as_ref(),
                certificate: own.certificate.as_ref(),
                ends_at: own.ends_at(),
            });
        }
        shared.map(|app| Self {
            client_id: &app.client_id,
            secret: app.client_secret.as_ref(),
            certificate: app.certificate.as_ref(),
            ends_at: app.ends_at(),
        })
    }

    fn proof(&self) -> Option<Proof> {
        let certificate = self.certificate.cloned().map(Proof::Certificate);
        certificate.or_else(|| self.secret.cloned().map(Proof::Secret))
    }
}

impl Plan {
    /// How `sign_in` is done.
    ///
    /// # Errors
    /// When there is neither a way to ask for a token nor one that was brought along.
    pub(super) fn of(
        environment: EnvironmentId,
        sign_in: &SignIn,
        clouds: &Clouds,
        hash_key: &HashKey,
        now: DateTime<Utc>,
    ) -> Result<Self, TokenError> {
        let cloud = clouds.named(sign_in.provider.cloud());
        let app = App::of(&sign_in.credentials, sign_in.app.as_ref());
        let means = means(sign_in, app.as_ref(), &cloud);
        let imported = imported(&sign_in.credentials, now);
        if let (Err(lack), None) = (&means, &imported) {
            return Err(lack.clone());
        }
        let grant = NewGrant {
            key: key(hash_key, sign_in, app.as_ref(), &cloud),
            cloud: cloud.name,
            tenant: sign_in.tenant,
            client_id: app.as_ref().map_or_else(String::new, |app| app.client_id.to_owned()),
            credential_ends_at: app.and_then(|app| app.ends_at),
            imported,
        };
        let (connection, tenant) = (sign_in.connection, sign_in.tenant);
        Ok(Self { environment, connection, grant, means, cloud, tenant })
    }

    /// What is missing to ask for a token.
    pub(super) fn lack(&self) -> TokenError {
        self.means.as_ref().err().cloned().unwrap_or(TokenError::NoCredentials)
    }

    /// What a caller gets of a grant with a token.
    pub(super) fn live(&self, grant: StoredGrant) -> Result<LiveCredentials, TokenError> {
        let held = grant.token.ok_or(TokenError::NoCredentials)?;
        let access = Access {
            mark: TokenMark::of(&held.access_token),
            token: held.access_token.clone(),
            cloud: self.cloud.clone(),
            tenant: self.tenant,
            client_id: self.grant.client_id.clone(),
            expires_at: held.lifetime.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC),
        };
        Ok(LiveCredentials { access, held })
    }
}

fn means(sign_in: &SignIn, app: Option<&App<'_>>, cloud: &Cloud) -> Result<Means, TokenError> {
    let app = app.ok_or(TokenError::NoCredentials)?;
    let proof = app.proof().ok_or(TokenError::NoCredentials)?;
    let asked = scopes(sign_in);
    let tenant = sign_in.tenant.map(|tenant| tenant.to_string());
    match sign_in.provider.auth_mode() {
        AuthMode::ClientCredentials | AuthMode::Certificate => Ok(Means {
            url: cloud.token_url(&tenant.ok_or(TokenError::NoTenant)?),
            proof,
            scope: Some(asked.unwrap_or_else(|| cloud.scope.clone())),
            refresh_token: None,
        }),
        AuthMode::Delegated => {
            let first = sign_in.credentials.refresh_token.clone().ok_or(TokenError::NoCredentials)?;
            Ok(Means {
                url: cloud.token_url(tenant.as_deref().unwrap_or(ANY_TENANT)),
                proof,
                scope: asked,
                refresh_token: Some(first),
            })
        }
    }
}

/// The scopes that somebody asked for: those of the connection, else those of the integration.
fn scopes(sign_in: &SignIn) -> Option<String> {
    let own = sign_in.config.get(SCOPES).and_then(serde_json::Value::as_str);
    let text = own.or_else(|| sign_in.app.as_ref()?.scopes.as_deref())?;
    let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn imported(credentials: &ClientCredentials, now: DateTime<Utc>) -> Option<HeldToken> {
    let token = credentials.token.clone()?;
    Some(HeldToken {
        access_token: token,
        refresh_token: credentials.refresh_token.clone(),
        lifetime: Lifetime::imported(now, credentials.expires_at),
        said: Said { token_type: Some("Bearer".to_owned()), ..Said::default() },
    })
}

/// Everything that is signed in with: where one part differs, it is another grant.
fn key(hash_key: &HashKey, sign_in: &SignIn, app: Option<&App<'_>>, cloud: &Cloud) -> GrantKey {
    let exposed = |secret: Option<&SecretString>| {
        SecretString::from(secret.map_or_else(String::new, |secret| secret.expose_secret().to_owned()))
    };
    let secret = exposed(app.and_then(|app| app.secret));
    let certificate = app.and_then(|app| app.certificate);
    let private_key = exposed(certificate.map(|certificate| &certificate.private_key));
    let credentials = &sign_in.credentials;
    let (token, refresh) = (exposed(credentials.token.as_ref()), exposed(credentials.refresh_token.as_ref()));
    let time = |at: Option<DateTime<Utc>>| at.map_or_else(String::new, |at| at.to_rfc3339());
    let tenant = sign_in.tenant.map_or_else(String::new, |tenant| tenant.to_string());
    GrantKey::of(
        hash_key,
        &[
            sign_in.provider.auth_mode().as_str(),
            cloud.name.as_str(),
            &tenant,
            app.map_or("", |app| app.client_id),
            secret.expose_secret(),
            certificate.map_or("", |certificate| &certificate.certificate),
            private_key.expose_secret(),
            &time(app.and_then(|app| app.ends_at)),
            &scopes(sign_in).unwrap_or_default(),
            token.expose_secret(),
            &time(credentials.expires_at),
            refresh.expose_secret(),
        ],
    )
}

impl Means {
    /// The form to send; `newest` is the refresh token that came last.
    ///
    /// # Errors
    /// When the certificate, though it was checked when it was stored, can't be used: as if it had been refused.
    pub(super) fn form(
        &self,
        client_id: &str,
        newest: Option<&SecretString>,
        now: DateTime<Utc>,
    ) -> Result<Vec<(&'static str, SecretString)>, Trouble> {
        let mut form = vec![("client_id", SecretString::from(client_id))];
        let mut add = |name, value: &str| form.push((name, SecretString::from(value)));
        if let Some(scope) = &self.scope {
            add("scope", scope);
        }
        match &self.refresh_token {
            None => add("grant_type", "client_credentials"),
            Some(first) => {
                add("grant_type", "refresh_token");
                add("refresh_token", newest.unwrap_or(first).expose_secret());
            }
        }
        match &self.proof {
            Proof::Secret(secret) => add("client_secret", secret.expose_secret()),
            Proof::Certificate(certificate) => {
                let key = certificate.read().map_err(|error| unusable(&error))?;
                let id = Uuid::new_v4().to_string();
                let claims = Claims { client_id, audience: self.url.as_str(), id: &id, now: now.timestamp() };
                let signed = assertion::sign(&key, claims).map_err(|error| unusable(&error))?;
                add("client_assertion_type", ASSERTION_TYPE);
                add("client_assertion", signed.expose_secret());
            }
        }
        Ok(form)
    }

    /// Whether a refresh token is used up by asking.
    pub(super) const fn refreshes(&self) -> bool {
        self.refresh_token.is_some()
    }
}

/// A certificate that can't be used, in the words of a refusal.
fn unusable(error: &dyn std::error::Error) -> Trouble {
    Trouble::Refused(Box::new(Refusal {
        status: 401,
        error: "invalid_client".to_owned(),
        codes: Vec::new(),
        description: format!("the client certificate can't be used: {error}"),
        trace_id: None,
        correlation_id: None,
        retry_after: None,
    }))
}
