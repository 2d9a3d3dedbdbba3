//! What is asked of integrations, and whether it can be.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;
use waypost_core::account::Name;
use waypost_core::integration::{AppCredentials, UniqueKey};
use waypost_core::provider::Provider;
use waypost_core::provider::catalogue::AuthMode;
use waypost_core::provider::graph::fetch::Select;
use waypost_core::proxy::{MOST_TOKEN_HOSTS, TokenHost};
use waypost_postgres::integration::{IntegrationChanges, NewIntegration};

use crate::credentials;
use crate::error::{ApiError, Issue};
use crate::extract::{as_object, given, given_object};
use crate::nango::not_built;

/// The longest `clientState` that Graph takes, in characters.
const LONGEST_SECRET: usize = 128;
/// The longest client id, client secret, or list of scopes.
const LONGEST_CREDENTIAL: usize = 4096;
/// The longest that a replaced secret may stay valid.
const LONGEST_GRACE: TimeDelta = TimeDelta::days(30);

/// A new integration.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IntegrationCreate)]
pub(super) struct Wanted {
    #[schema(example = "microsoft-oauth2-cc")]
    provider: String,
    /// 1 to 255 characters out of `a-zA-Z0-9~:.@ _-`.
    #[schema(value_type = String, example = "graph-cc")]
    unique_key: UniqueKey,
    /// The provider's name when absent.
    #[schema(value_type = Option<String>)]
    display_name: Option<Name>,
    #[serde(default, deserialize_with = "as_object")]
    credentials: Option<AppRegistration>,
    /// True when absent.
    forward_webhooks: Option<bool>,
    /// Whether the changed resource is read at each delivery, with the connection's token, where a notification brings
    /// no data: the item gains `fetchedContent`, or `fetchError`. False when absent.
    fetch_resource: Option<bool>,
    /// The properties to ask for then, separated by commas; all when absent.
    #[schema(value_type = Option<String>, example = "subject,from,receivedDateTime")]
    fetch_select: Option<Select>,
    #[serde(default, deserialize_with = "as_object")]
    integration_config: Option<Config>,
    #[serde(default, deserialize_with = "as_object")]
    custom: Option<Custom>,
    /// Not available in this version.
    dedupe_window: Option<String>,
}

/// What shall change of an integration; what is absent stays, and null is refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IntegrationChange)]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String)]
    unique_key: Option<UniqueKey>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String)]
    display_name: Option<Name>,
    #[serde(default, deserialize_with = "given_object")]
    #[schema(value_type = AppRegistration)]
    credentials: Option<AppRegistration>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    forward_webhooks: Option<bool>,
    /// Whether the changed resource is read at each delivery where a notification brings no data.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    fetch_resource: Option<bool>,
    /// The properties to ask for then; an empty text asks for all.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, example = "subject,from,receivedDateTime")]
    fetch_select: Option<String>,
    #[serde(default, deserialize_with = "given_object")]
    #[schema(value_type = Config)]
    integration_config: Option<Config>,
    #[serde(default, deserialize_with = "given_object")]
    #[schema(value_type = Custom)]
    custom: Option<Custom>,
    /// Not available in this version.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String)]
    dedupe_window: Option<String>,
}

/// The app registration that connections without credentials of their own sign in with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AppRegistration {
    #[serde(rename = "type")]
    #[schema(example = "OAUTH2_CC")]
    kind: String,
    client_id: String,
    /// Unless there is a certificate.
    #[schema(value_type = Option<String>)]
    client_secret: Option<SecretString>,
    /// When the client secret ends, to be warned 30 and 7 days ahead.
    client_secret_expires_at: Option<DateTime<Utc>>,
    /// A certificate that is registered with the app (PEM), in place of the secret.
    client_certificate: Option<String>,
    /// Its private key (PEM, without a password). Never shown again.
    #[schema(value_type = Option<String>)]
    client_private_key: Option<SecretString>,
    /// Separated by commas.
    scopes: Option<String>,
}

/// Settings that Nango keeps under `custom`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IntegrationCustom)]
struct Custom {
    /// 1 to 128 characters; an empty text takes the secret away.
    #[serde(rename = "webhookSecret", default, deserialize_with = "given")]
    #[schema(value_type = String)]
    webhook_secret: Option<SecretString>,
}

/// Settings of the provider and of calls to it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IntegrationConfig)]
struct Config {
    /// Hosts beside the provider's own (with a port where it isn't 443) that a proxied call's `Base-Url-Override` may
    /// name with the connection's token going along; at most 20, in place of all before. One in a private network is
    /// taken here, but called only where the operator's `egress.allow` permits it.
    #[schema(value_type = Option<Vec<String>>, example = json!(["graph.example.com"]))]
    proxy_token_hosts: Option<Vec<TokenHost>>,
    /// Whether anybody who signs in with an account of an organization that let the app in before may connect it by a
    /// connect link. False when absent: then only administrators may, who are known by the optional claim `wids` of the ID
    /// token, or by a consent that nobody had given before. Only for apps that act by themselves.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    connect_without_admin_proof: Option<bool>,
}

/// How a webhook secret is rotated.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookSecretRotation)]
pub(super) struct Rotate {
    /// The new secret, 1 to 128 characters; made up when absent.
    #[schema(value_type = Option<String>)]
    secret: Option<SecretString>,
    /// How long the one before stays valid, up to 30 days.
    #[schema(example = "24h")]
    grace: Option<String>,
}

impl Wanted {
    pub(super) fn check(self) -> Result<NewIntegration, ApiError> {
        let provider = Provider::named(&self.provider).ok_or_else(|| {
            let message = format!("Provider \"{}\" does not exist", self.provider);
            ApiError::invalid_body(vec![Issue::at(&["provider"], "invalid_string", message)])
        })?;
        let config = self.integration_config.unwrap_or_default();
        refuse_dedupe_window(self.dedupe_window.as_deref())?;
        let webhook_secret = webhook_secret(self.custom)?.filter(|secret| !secret.expose_secret().is_empty());
        let own_name = || Name::parse(provider.display_name()).map_err(ApiError::internal);
        Ok(NewIntegration {
            unique_key: self.unique_key,
            provider,
            display_name: self.display_name.map_or_else(own_name, Ok)?,
            forward_webhooks: self.forward_webhooks.unwrap_or(true),
            credentials: self.credentials.map(|app| app.check(&[provider.auth_mode()])).transpose()?,
            webhook_secret,
            connect_without_admin_proof: config.connect_without_admin_proof.unwrap_or_default(),
            proxy_token_hosts: config.check()?.unwrap_or_default(),
            fetch_resource: fetches(provider, self.fetch_resource)?,
            fetch_select: self.fetch_select,
        })
    }
}

impl Changes {
    pub(super) fn check(self) -> Result<IntegrationChanges, ApiError> {
        let config = self.integration_config.unwrap_or_default();
        refuse_dedupe_window(self.dedupe_window.as_deref())?;
        Ok(IntegrationChanges {
            unique_key: self.unique_key,
            display_name: self.display_name,
            forward_webhooks: self.forward_webhooks,
            credentials: self.credentials.map(|app| app.check(&AuthMode::ALL)).transpose()?,
            webhook_secret: webhook_secret(self.custom)?,
            connect_without_admin_proof: config.connect_without_admin_proof,
            proxy_token_hosts: config.check()?,
            fetch_resource: self.fetch_resource,
            fetch_select: self.fetch_select.as_deref().map(select).transpose()?,
        })
    }
}

impl AppRegistration {
    /// The registration, if it is of a type that signs in by one of `modes`.
    fn check(self, modes: &[AuthMode]) -> Result<AppCredentials, ApiError> {
        if !modes.iter().any(|mode| credentials::fits(&self.kind, *mode)) {
            let wanted: Vec<&str> = modes.iter().map(|mode| mode.as_str()).collect();
            let wanted = wanted.join(" or ");
            return Err(ApiError::invalid_field(
                &["credentials", "type"],
                format!("incompatible credentials auth type and provider auth: {wanted} is wanted"),
            ));
        }
        let fits = |text: &str| (1..=LONGEST_CREDENTIAL).contains(&text.len());
        let parts = [
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.client_secret.as_ref().map_or("-", SecretString::expose_secret)),
            ("scopes", self.scopes.as_deref().unwrap_or("-")),
        ];
        if let Some((name, _)) = parts.into_iter().find(|(_, text)| !fits(text)) {
            let message = format!("1 to {LONGEST_CREDENTIAL} bytes are wanted");
            return Err(ApiError::invalid_field(&["credentials", name], message));
        }
        let certificate = credentials::certificate(self.client_certificate, self.client_private_key)?;
        if self.client_secret.is_none() && certificate.is_none() {
            let message = "a client secret is wanted, or a certificate with its private key";
            return Err(ApiError::invalid_field(&["credentials", "client_secret"], message));
        }
        Ok(AppCredentials {
            client_id: self.client_id,
            client_secret: self.client_secret,
            client_secret_expires_at: self.client_secret_expires_at,
            certificate,
            scopes: self.scopes,
        })
    }
}

impl Config {
    fn check(self) -> Result<Option<Vec<TokenHost>>, ApiError> {
        let hosts = self.proxy_token_hosts;
        if hosts.as_ref().is_some_and(|hosts| hosts.len() > MOST_TOKEN_HOSTS) {
            let message = format!("at most {MOST_TOKEN_HOSTS} hosts are wanted");
            return Err(ApiError::invalid_field(&["integration_config", "proxy_token_hosts"], message));
        }
        Ok(hosts)
    }
}

/// Whether changed resources are read, where the provider has any.
fn fetches(provider: Provider, wanted: Option<bool>) -> Result<bool, ApiError> {
    if wanted == Some(true) && !provider.dialect().has_resources() {
        return Err(ApiError::invalid_field(&["fetch_resource"], "this provider has no resources to read"));
    }
    Ok(wanted.unwrap_or_default())
}

/// The properties to ask for from now on; `None` for all.
fn select(text: &str) -> Result<Option<Select>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    Select::parse(text)
        .map(Some)
        .map_err(|error| ApiError::invalid_field(&["fetch_select"], error.to_string()))
}

impl Rotate {
    /// The secret, if one is given, and the grace of the one before.
    pub(super) fn check(self, default: TimeDelta) -> Result<(Option<SecretString>, TimeDelta), ApiError> {
        if let Some(secret) = &self.secret {
            check_secret(&["secret"], secret)?;
        }
        let Some(text) = self.grace else { return Ok((self.secret, default)) };
        let grace = humantime::parse_duration(&text).ok().and_then(|grace| TimeDelta::from_std(grace).ok());
        let grace = grace.filter(|grace| *grace <= LONGEST_GRACE);
        let refused =
            || ApiError::invalid_field(&["grace"], "a duration of up to 30 days is wanted, as \"24h\"");
        Ok((self.secret, grace.ok_or_else(refused)?))
    }
}

fn webhook_secret(custom: Option<Custom>) -> Result<Option<SecretString>, ApiError> {
    let secret = custom.and_then(|custom| custom.webhook_secret);
    match &secret {
        Some(text) if !text.expose_secret().is_empty() => check_secret(&["custom", "webhookSecret"], text)?,
        _ => {}
    }
    Ok(secret)
}

fn check_secret(path: &[&str], secret: &SecretString) -> Result<(), ApiError> {
    if (1..=LONGEST_SECRET).contains(&secret.expose_secret().chars().count()) {
        return Ok(());
    }
    Err(ApiError::invalid_field(
        path,
        format!("1 to {LONGEST_SECRET} characters are wanted: Graph takes no more"),
    ))
}

fn refuse_dedupe_window(window: Option<&str>) -> Result<(), ApiError> {
    window.map_or(Ok(()), |_| Err(not_built(&["dedupe_window"], "dedupe_window")))
}

/// What `include` asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Include {
    /// Anything at all: then the webhook URL is shown, since clients drop all but the last of several.
    pub(super) any: bool,
    /// The credentials.
    pub(super) credentials: bool,
}

impl Include {
    pub(super) fn parse(query: &[(String, String)]) -> Result<Self, ApiError> {
        let mut include = Self::default();
        for (name, value) in query {
            match (name.as_str(), value.as_str()) {
                ("include" | "include[]", "webhook") => {}
                ("include" | "include[]", "credentials") => include.credentials = true,
                ("include" | "include[]", _) => {
                    return Err(ApiError::invalid_query(vec![Issue::at(
                        &["include"],
                        "invalid_union",
                        "Invalid input",
                    )]));
                }
                (other, _) => {
                    let message = format!("Unrecognized key: \"{other}\"");
                    return Err(ApiError::invalid_query(vec![Issue::at(
                        &[other],
                        "unrecognized_keys",
                        message,
                    )]));
                }
            }
            include.any = true;
        }
        Ok(include)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn include(pairs: &[(&str, &str)]) -> Result<Include, ApiError> {
        let pairs: Vec<_> = pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Include::parse(&pairs)
    }

    #[test]
    fn an_include_may_be_given_once_repeated_or_in_brackets() {
        let both = Include { any: true, credentials: true };
        assert_eq!(include(&[]).unwrap(), Include::default());
        assert_eq!(include(&[("include", "webhook")]).unwrap(), Include { any: true, credentials: false });
        assert_eq!(include(&[("include", "webhook"), ("include", "credentials")]).unwrap(), both);
        assert_eq!(include(&[("include[]", "credentials")]).unwrap(), both);
        for refused in [("include", "bogus"), ("include", ""), ("limit", "1")] {
            assert_eq!(include(&[refused]).unwrap_err().code(), "invalid_query_params", "{refused:?}");
        }
    }

    #[test]
    fn a_webhook_secret_has_at_most_128_characters() {
        let rotate =
            |secret: &str| Rotate { secret: Some(secret.into()), grace: None }.check(TimeDelta::zero());
        assert!(rotate(&"ä".repeat(128)).is_ok());
        assert!(rotate(&"a".repeat(129)).is_err());
        assert!(rotate("").is_err());
    }

    #[test]
    fn a_grace_is_a_duration_of_up_to_thirty_days() {
        let rotate =
            |grace: &str| Rotate { secret: None, grace: Some(grace.to_owned()) }.check(TimeDelta::hours(1));
        assert_eq!(rotate("90m").unwrap().1, TimeDelta::minutes(90));
        assert_eq!(rotate("0s").unwrap().1, TimeDelta::zero());
        for refused in ["31d", "-1h", "soon", "", "5"] {
            assert!(rotate(refused).is_err(), "{refused}");
        }
    }
}
