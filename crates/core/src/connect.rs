//! Connecting in a browser: what a session asks for, how long its parts live, and where browsers are sent.
//!
//! A session is known by two secrets that don't give each other away: its *token*, for the SaaS company's own programs,
//! and its *link*, which the customer opens. A person who leaves for the sign-in host takes a *state* along, which counts
//! once, and only in the browser that left with it. Must not: talk to anybody; times and randomness come in.

pub mod id_token;
pub mod permissions;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use url::Url;
use uuid::Uuid;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::cloud::Cloud;
use crate::connection::ConnectionId;
use crate::id::{EnvironmentId, TenantId};
use crate::integration::UniqueKey;

/// How long a session lives.
pub const SESSION_LIFE: TimeDelta = TimeDelta::minutes(30);
/// How long a person may take at the sign-in host.
pub const STATE_LIFE: TimeDelta = TimeDelta::minutes(15);
/// How long a consent is waited for to take effect.
pub const PROOF_LIFE: TimeDelta = TimeDelta::minutes(5);
/// The least time between two tries of a consent.
pub const PROOF_EVERY: TimeDelta = TimeDelta::seconds(2);
/// The most sessions of an environment that are open at a time.
pub const MOST_SESSIONS: i64 = 5_000;
/// The most sign-ins of a session that are open at a time; the oldest go first.
pub const MOST_STATES: i64 = 10;
/// What the token of a session begins with.
pub const TOKEN_PREFIX: &str = "nango_connect_session_";
/// Parameters of a sign-in page that a session may set.
pub const SIGN_IN_PARAMETERS: &[&str] = &["domain_hint", "login_hint", "prompt"];
/// The scopes that tell who signed in.
pub const WHO: &str = "openid profile";
/// Whose sign-in page people of an unknown organization use; it turns personal accounts away.
const ORGANIZATIONS: &str = "organizations";
/// The tenant that all personal accounts share.
const PERSONAL: Uuid = Uuid::from_u128(0x9188_040d_6c67_4c5b_b112_36a3_04b6_6dad);

/// Whether `tenant` is the one that personal accounts share.
#[must_use]
pub fn is_personal(tenant: TenantId) -> bool {
    tenant.uuid() == PERSONAL
}

/// What a session asks for. Holds no secrets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Whom the connection will belong to.
    pub end_user: Option<Map<String, Value>>,
    /// The organization of the end user, where it was given beside it.
    pub organization: Option<Map<String, Value>>,
    /// Labels of the connection.
    pub tags: Option<Map<String, Value>>,
    /// The integrations to choose from; all when empty.
    pub allowed: Vec<UniqueKey>,
    /// What is set beforehand, by integration.
    pub defaults: BTreeMap<UniqueKey, Defaults>,
    /// Where the SaaS company explains an integration.
    pub docs: BTreeMap<UniqueKey, String>,
    /// Where events of the connection go in place of the environment's endpoints.
    pub webhook_url_override: Option<String>,
    /// The connection that is signed in again; a new one is made without.
    pub reconnect: Option<ConnectionId>,
}

/// What a session sets beforehand for one integration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Parts of the connection's configuration.
    pub connection_config: Map<String, Value>,
    /// Parameters for the sign-in page, out of [`SIGN_IN_PARAMETERS`].
    pub authorization_params: BTreeMap<String, String>,
    /// Nango's `user_scopes`, of no meaning here; shown again as it was given.
    pub user_scopes: Option<String>,
    /// The only tenant that may connect, where the configuration or the connection to renew names one.
    pub tenant: Option<TenantId>,
}

impl Wish {
    /// What is set beforehand for an integration.
    #[must_use]
    pub fn defaults_of(&self, integration: &UniqueKey) -> Defaults {
        self.defaults.get(integration).cloned().unwrap_or_default()
    }

    /// Whether an integration may be chosen.
    #[must_use]
    pub fn allows(&self, integration: &UniqueKey) -> bool {
        self.allowed.is_empty() || self.allowed.contains(integration)
    }

    /// Whom the connection is for, as people would say it.
    #[must_use]
    pub fn end_user_name(&self) -> Option<&str> {
        let user = self.end_user.as_ref()?;
        ["display_name", "email", "id"].iter().find_map(|name| user.get(*name)?.as_str())
    }

    /// The id of the end user.
    #[must_use]
    pub fn end_user_id(&self) -> Option<&str> {
        self.end_user.as_ref()?.get("id")?.as_str()
    }
}

/// A session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// Where its connection will be.
    pub environment: EnvironmentId,
    /// The last part of its link.
    pub link: SecretString,
    /// What it asks for.
    pub wish: Wish,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// When it was used up.
    pub connected_at: Option<DateTime<Utc>>,
}

/// What a browser takes to the sign-in host, as it was left with.
#[derive(Debug, Clone)]
pub struct State {
    /// The integration that is being connected.
    pub integration: UniqueKey,
    /// How far it has come.
    pub step: Step,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// How far a person has come.
#[derive(Debug, Clone)]
pub enum Step {
    /// Is signing in.
    SignIn(SignInSecrets),
    /// Signed in with an account of this tenant; an administrator decides.
    Consent(TenantId),
    /// An administrator said yes; whether that is so is being tried out.
    Proof(TenantId),
}

/// What ties an answer of the sign-in host to the request before it.
#[derive(Debug, Clone, Deserialize)]
pub struct SignInSecrets {
    /// The PKCE verifier.
    pub verifier: SecretString,
    /// What the ID token has to repeat.
    pub nonce: SecretString,
}

impl SignInSecrets {
    /// What the sign-in page is told of the verifier.
    #[must_use]
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.expose_secret().as_bytes()))
    }
}

/// A visit to the sign-in page.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// The cloud.
    pub cloud: &'a Cloud,
    /// The app.
    pub client_id: &'a str,
    /// Where the browser comes back.
    pub redirect_uri: &'a Url,
    /// What it brings back.
    pub state: &'a SecretString,
}

/// The name that an authority has in a path: the tenant's id, or that of all organizations.
#[must_use]
pub fn authority(tenant: Option<TenantId>) -> String {
    tenant.map_or_else(|| ORGANIZATIONS.to_owned(), |tenant| tenant.to_string())
}

/// The page on which a person signs in, and allows `scope`.
#[must_use]
pub fn sign_in_page(visit: Visit<'_>, secrets: &SignInSecrets, scope: &str, defaults: &Defaults) -> Url {
    let mut url =
        below(&visit.cloud.login_url, &[&authority(defaults.tenant), "oauth2", "v2.0", "authorize"]);
    url.query_pairs_mut()
        .append_pair("client_id", visit.client_id)
        .append_pair("response_type", "code")
        .append_pair("redirect_uri", visit.redirect_uri.as_str())
        .append_pair("response_mode", "query")
        .append_pair("scope", scope)
        .append_pair("state", visit.state.expose_secret())
        .append_pair("nonce", secrets.nonce.expose_secret())
        .append_pair("code_challenge", &secrets.challenge())
        .append_pair("code_challenge_method", "S256");
    for (name, value) in &defaults.authorization_params {
        url.query_pairs_mut().append_pair(name, value);
    }
    // Who is signed in to several accounts should see which one connects.
    if !defaults.authorization_params.contains_key("prompt") {
        url.query_pairs_mut().append_pair("prompt", "select_account");
    }
    url
}

/// The page on which an administrator of `tenant` lets the app in.
#[must_use]
pub fn consent_page(visit: Visit<'_>, tenant: TenantId) -> Url {
    let mut url = below(&visit.cloud.login_url, &[&tenant.to_string(), "v2.0", "adminconsent"]);
    url.query_pairs_mut()
        .append_pair("client_id", visit.client_id)
        .append_pair("redirect_uri", visit.redirect_uri.as_str())
        .append_pair("scope", &visit.cloud.scope)
        .append_pair("state", visit.state.expose_secret());
    url
}

fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// The scopes to ask a person for: those of the app registration, who it is, and a refresh token.
#[must_use]
pub fn delegated_scope(scopes: Option<&str>) -> String {
    let wanted = scopes.unwrap_or_default().split([',', ' ']).filter(|part| !part.is_empty());
    let mut all: Vec<&str> = Vec::new();
    for scope in wanted.chain(WHO.split(' ')).chain(["offline_access"]) {
        if !all.contains(&scope) {
            all.push(scope);
        }
    }
    all.join(" ")
}

/// The number in a description such as `AADSTS65004: User declined …`.
#[must_use]
pub fn error_number(description: &str) -> Option<i64> {
    let (_, rest) = description.split_once("AADSTS")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).take(9).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::{CloudName, Clouds};

    fn parameters(url: &Url) -> BTreeMap<String, String> {
        url.query_pairs().into_owned().collect()
    }

    fn visited(work: impl FnOnce(Visit<'_>) -> Url) -> Url {
        let cloud = Clouds::default().named(CloudName::Global);
        let (redirect_uri, state) = (
            Url::parse("https://waypost.example/oauth/callback").unwrap(),
            SecretString::from("state & more"),
        );
        work(Visit { cloud: &cloud, client_id: "app", redirect_uri: &redirect_uri, state: &state })
    }

    #[test]
    fn the_sign_in_page_gets_a_challenge_and_never_the_verifier() {
        // The example of RFC 7636.
        let secrets = SignInSecrets {
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into(),
            nonce: "nonce-1".into(),
        };
        let url = visited(|visit| sign_in_page(visit, &secrets, "openid", &Defaults::default()));

        assert!(
            url.as_str()
                .starts_with("https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize?")
        );
        let found = parameters(&url);
        assert_eq!(found["code_challenge"], "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(found["code_challenge_method"], "S256");
        assert_eq!((found["state"].as_str(), found["nonce"].as_str()), ("state & more", "nonce-1"));
        assert_eq!(found["prompt"], "select_account");
        assert!(!url.as_str().contains("dBjft"));
    }

    #[test]
    fn a_known_tenant_signs_in_at_its_own_page_with_what_the_session_sets() {
        let secrets = SignInSecrets { verifier: "v".into(), nonce: "n".into() };
        let tenant: TenantId = "11111111-2222-4333-8444-555555555555".parse().unwrap();
        let defaults = Defaults {
            tenant: Some(tenant),
            authorization_params: BTreeMap::from([
                ("prompt".to_owned(), "login".to_owned()),
                ("login_hint".to_owned(), "a&b@contoso.example".to_owned()),
            ]),
            ..Defaults::default()
        };
        let url = visited(|visit| sign_in_page(visit, &secrets, "openid", &defaults));

        assert!(url.path().starts_with("/11111111-2222-4333-8444-555555555555/"));
        let found = parameters(&url);
        assert_eq!(found["login_hint"], "a&b@contoso.example");
        assert_eq!(url.query_pairs().filter(|(name, _)| name == "prompt").count(), 1);
        assert_eq!(found["prompt"], "login");
    }

    #[test]
    fn consent_is_asked_of_one_tenant_for_all_that_the_app_is_registered_for() {
        let tenant: TenantId = "11111111-2222-4333-8444-555555555555".parse().unwrap();
        let url = visited(|visit| consent_page(visit, tenant));
        assert_eq!(url.path(), "/11111111-2222-4333-8444-555555555555/v2.0/adminconsent");
        assert_eq!(parameters(&url)["scope"], "https://graph.microsoft.com/.default");
    }

    #[test]
    fn scopes_are_asked_for_once_each() {
        assert_eq!(delegated_scope(None), "openid profile offline_access");
        assert_eq!(
            delegated_scope(Some("Mail.Read, offline_access,Mail.Read")),
            "Mail.Read offline_access openid profile"
        );
    }

    #[test]
    fn the_number_of_an_error_is_found_in_its_text() {
        assert_eq!(error_number("AADSTS65004: User declined to consent."), Some(65_004));
        assert_eq!(error_number("odd AADSTS99999999999999: x"), Some(999_999_999));
        assert_eq!(error_number("AADSTS: x"), None);
        assert_eq!(error_number("<script>"), None);
    }

    #[test]
    fn personal_accounts_are_known_by_their_tenant() {
        assert!(is_personal("9188040D-6c67-4c5b-b112-36a304b66dad".parse().unwrap()));
        assert!(!is_personal("11111111-2222-4333-8444-555555555555".parse().unwrap()));
    }
}
