//! The control over sign-in: applications and their credentials, tenants, people, consent, tokens.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use super::Control;
use crate::{
    config::{App, Tenant, User},
    entra::{
        registration::{ClientCertificate, Registration},
        token::AccessClaims,
    },
};

impl Control {
    /// Registers an application, or replaces all its secrets by this one.
    pub fn add_app(&self, app: App) {
        let App { client_id, client_secret } = app;
        self.world.directory.register(client_id, |known| known.replace_secrets(client_secret));
    }

    /// Adds a secret to those an application has, with an end or without.
    pub fn add_secret(&self, client_id: Uuid, secret: SecretString, expires_at: Option<DateTime<Utc>>) {
        self.world.directory.register(client_id, |known| known.add_secret(secret, expires_at));
    }

    /// Takes all secrets from an application.
    pub fn remove_secrets(&self, client_id: Uuid) {
        self.world.directory.register(client_id, Registration::remove_secrets);
    }

    /// Registers a certificate (DER) that the application may sign assertions with. False if it holds no RSA key of
    /// 2048 bits or more.
    #[must_use]
    pub fn add_certificate(&self, client_id: Uuid, der: &[u8], expires_at: Option<DateTime<Utc>>) -> bool {
        let Some(certificate) = ClientCertificate::parse(der, expires_at) else { return false };
        self.world.directory.register(client_id, |known| known.add_certificate(certificate));
        true
    }

    /// Takes all certificates from an application.
    pub fn remove_certificates(&self, client_id: Uuid) {
        self.world.directory.register(client_id, Registration::remove_certificates);
    }

    /// Registers an address to which the application may let people return.
    pub fn add_redirect_uri(&self, client_id: Uuid, uri: Url) {
        self.world.directory.register(client_id, |known| known.add_redirect_uri(uri));
    }

    /// Makes an application usable in one tenant only, or in all again.
    pub fn set_single_tenant(&self, client_id: Uuid, home: Option<Uuid>) {
        self.world.directory.register(client_id, |known| known.home = home);
    }

    /// Chooses the version of the tokens that are meant for the application itself: validation tokens among them.
    pub fn set_second_token_version(&self, client_id: Uuid, second: bool) {
        self.world.directory.register(client_id, |known| known.second_version = second);
    }

    /// Turns an application off in a tenant, or on again.
    pub fn set_app_disabled(&self, client_id: Uuid, tenant: Uuid, disabled: bool) {
        self.world.directory.set_disabled(client_id, tenant, disabled);
    }

    /// Says which application permissions an application has in a tenant; all there are when nothing is said. Only new
    /// tokens show it.
    pub fn set_permissions(&self, client_id: Uuid, tenant: Uuid, permissions: Option<Vec<String>>) {
        self.world.directory.set_permissions(client_id, tenant, permissions);
    }

    /// Makes a tenant known.
    pub fn add_tenant(&self, tenant: &Tenant) {
        self.world.directory.add_tenant(tenant);
    }

    /// Adds a person, or replaces one.
    pub fn add_user(&self, user: User) {
        self.world.add_user(user);
    }

    /// Lets a person sign in, or not any more.
    pub fn set_user_enabled(&self, user: Uuid, enabled: bool) {
        self.world.directory.set_user_enabled(user, enabled);
    }

    /// Gives or revokes the consent of an application in a tenant. Without it there are no new tokens.
    pub fn set_consent(&self, client_id: Uuid, tenant: Uuid, given: bool) {
        let from = given.then(|| self.world.clock.now());
        self.world.directory.set_consent(client_id, tenant, from);
    }

    /// Gives consent that works only after so long.
    pub fn set_consent_after(&self, client_id: Uuid, tenant: Uuid, delay: Duration) {
        let delay = TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX);
        let from = self.world.clock.now().checked_add_signed(delay).unwrap_or(DateTime::<Utc>::MAX_UTC);
        self.world.directory.set_consent(client_id, tenant, Some(from));
    }

    /// Revokes every refresh token of a person, as a new password does.
    pub fn revoke_refresh_tokens(&self, user: Uuid) {
        self.world.sessions.revoke(user);
    }

    /// Lets every refresh token of a person be expired.
    pub fn expire_refresh_tokens(&self, user: Uuid) {
        self.world.sessions.expire(user);
    }

    /// Makes one access token worthless. False if it is none of the simulator's.
    #[must_use]
    pub fn revoke_access_token(&self, token: &str) -> bool {
        let Some(claims) = self.world.keys.verify::<AccessClaims>(token) else { return false };
        self.world.revoked.revoke(&claims);
        true
    }

    /// Makes all access tokens worthless that an application got in a tenant until now.
    pub fn revoke_access_tokens(&self, client_id: Uuid, tenant: Uuid) {
        self.world.revoked.revoke_all(client_id, tenant);
    }
}
