//! What a refusal of the sign-in host (Entra) means: a table by error number, and by `error` where no number is known.
//!
//! The text of a refusal is for people and never decides anything.

use std::fmt;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// Who must act before a refused sign-in can work, or that time alone will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Whoever keeps the app registration: its secret, its certificate, its settings.
    Operator,
    /// An administrator of the customer's tenant: consent, policies.
    Tenant,
    /// The user, who must sign in again.
    User,
    /// Whoever configured the connection: the wrong tenant, or the wrong cloud.
    Configuration,
    /// Nobody: the sign-in host asks for patience.
    Throttled,
    /// Nobody: it passes by itself.
    Transient,
    /// Nobody: no answer came.
    Unreachable,
    /// Waypost, or the scopes that it was told to ask for.
    Defect,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Operator,
        Self::Tenant,
        Self::User,
        Self::Configuration,
        Self::Throttled,
        Self::Transient,
        Self::Unreachable,
        Self::Defect,
    ];

    /// The word for it on the wire, in the store and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Configuration => "configuration",
            Self::Throttled => "throttled",
            Self::Transient => "transient",
            Self::Unreachable => "unreachable",
            Self::Defect => "defect",
        }
    }

    /// The class of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// Whether it passes without anybody's help.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Throttled | Self::Transient | Self::Unreachable)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a refusal means, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Who must act.
    pub class: Class,
    /// What to do, for people.
    pub words: &'static str,
    /// Whether asking again soon would make it worse.
    pub stop: bool,
}

/// The numbers that Entra gives in `error_codes`. The first one of a refusal that stands here decides.
const CODES: &[(i64, Class, &str)] = {
    use Class::{Configuration, Defect, Operator, Tenant, Throttled, Transient, User};
    &[
        (7_000_215, Operator, "the client secret is wrong: store its value, not its id"),
        (7_000_222, Operator, "the client secret has expired: make a new one and store it"),
        (700_027, Operator, "the client certificate is not registered with the app, or its key is another"),
        (70_002, Operator, "the app's credentials are refused: check its client id and secret"),
        (700_016, Tenant, "the app is not in this tenant: an administrator there must consent to it"),
        (700_011, Tenant, "the app is not in this tenant: an administrator there must consent to it"),
        (7_000_112, Operator, "the app is disabled: enable it where it is registered, or in the tenant"),
        (70_001, Operator, "the app is not authorized: check its registration, and its state in the tenant"),
        (90_002, Configuration, "there is no such tenant: check the connection's tenantId"),
        (
            50_194,
            Operator,
            "the app is not multi-tenant: allow accounts of any organization in its registration",
        ),
        (
            500_011,
            Tenant,
            "Microsoft Graph is not set up in this tenant: an administrator there must consent",
        ),
        (65_001, Tenant, "consent is missing: an administrator of the tenant must consent to the app"),
        (
            53_003,
            Tenant,
            "a conditional access policy of the tenant blocks the app: its administrator must allow it",
        ),
        (
            70_011,
            Defect,
            "the scope is not valid: check oauth_scopes of the connection and scopes of the integration",
        ),
        (
            28_002,
            Defect,
            "the scope is not valid: check oauth_scopes of the connection and scopes of the integration",
        ),
        (90_038, Configuration, "the tenant lives in another cloud: use the provider of that cloud"),
        (900_382, Configuration, "the tenant lives in another cloud: use the provider of that cloud"),
        (900_432, Configuration, "the app lives in another cloud: use the provider of that cloud"),
        (90_055, Throttled, "the tenant is asked for too many tokens: it is tried again later"),
        (50_196, Defect, "the app asks for the same token over and over: it is stopped for a while"),
        (90_033, Transient, "the sign-in service is in trouble: it is tried again"),
        (50_033, Transient, "the sign-in service is in trouble: it is tried again"),
        (90_006, Transient, "the sign-in service is in trouble: it is tried again"),
        (90_024, Transient, "the sign-in service is in trouble: it is tried again"),
        (90_090, Transient, "the sign-in service is in trouble: it is tried again"),
        (700_082, User, "the refresh token expired because it was not used: the user must sign in again"),
        (70_008, User, "the refresh token has expired: the user must sign in again"),
        (70_043, User, "the sign-in frequency of the tenant demands it: the user must sign in again"),
        (50_173, User, "the tokens were revoked, as by a new password: the user must sign in again"),
        (50_076, User, "another factor is demanded: the user must sign in again"),
        (50_079, User, "another factor must be enrolled: the user must sign in and do so"),
        (50_057, User, "the user's account is disabled: an administrator of the tenant must enable it"),
        (54_005, Defect, "the authorization code was used before: the sign-in must be done again"),
    ]
};

/// Sign-ins that would be tried in a loop: asked again, they are refused for longer.
const STOP: &[i64] = &[50_196];

/// Whether one of these numbers says that asking again soon would make it worse.
#[must_use]
pub fn asks_to_stop(codes: &[i64]) -> bool {
    codes.iter().any(|code| STOP.contains(code))
}

/// What `error` says where no number is known.
const ERRORS: &[(&str, Class, &str)] = {
    use Class::{Configuration, Defect, Operator, Tenant, Throttled, Transient, User};
    &[
        ("invalid_client", Operator, "the app's credentials are refused: check its client id and secret"),
        (
            "unauthorized_client",
            Tenant,
            "the app may not sign in to this tenant: an administrator must consent",
        ),
        ("access_denied", Tenant, "the tenant denies the app access: an administrator must allow it"),
        (
            "consent_required",
            Tenant,
            "consent is missing: an administrator of the tenant must consent to the app",
        ),
        ("invalid_grant", User, "the grant is no longer valid: the sign-in must be done again"),
        ("interaction_required", User, "the user must sign in again"),
        ("login_required", User, "the user must sign in again"),
        (
            "invalid_resource",
            Tenant,
            "Microsoft Graph is not set up in this tenant: an administrator must consent",
        ),
        ("invalid_tenant", Configuration, "there is no such tenant: check the connection's tenantId"),
        ("invalid_scope", Defect, "the scope is not valid: check oauth_scopes and scopes"),
        ("invalid_request", Defect, "the sign-in host did not understand the request"),
        ("unsupported_grant_type", Defect, "the sign-in host did not understand the request"),
        ("temporarily_unavailable", Transient, "the sign-in service is busy: it is tried again"),
        ("server_error", Transient, "the sign-in service is in trouble: it is tried again"),
        ("slow_down", Throttled, "too many tokens are asked for: it is tried again later"),
    ]
};

/// A refusal, as the sign-in host wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status line.
    pub status: u16,
    /// `error`; empty when the body was none of Entra's.
    pub error: String,
    /// `error_codes`.
    pub codes: Vec<i64>,
    /// `error_description`.
    pub description: String,
    /// `trace_id`, which Microsoft's support asks for.
    pub trace_id: Option<String>,
    /// `correlation_id`, likewise.
    pub correlation_id: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<TimeDelta>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    error: String,
    error_description: String,
    error_codes: Vec<i64>,
    trace_id: Option<String>,
    correlation_id: Option<String>,
}

/// The longest text of a refusal that is kept.
const LONGEST_TEXT: usize = 1000;
const LONGEST_ID: usize = 64;
/// The most numbers of a refusal that are kept.
const MOST_CODES: usize = 16;

impl Refusal {
    /// Reads an answer that was not 200. What can't be read stays empty.
    #[must_use]
    pub fn read(status: u16, body: &[u8], retry_after: Option<TimeDelta>) -> Self {
        let mut read: Body = serde_json::from_slice(body).unwrap_or_default();
        read.error_codes.truncate(MOST_CODES);
        let id = |text: Option<String>| text.map(|text| plain(&text, LONGEST_ID));
        Self {
            status,
            error: plain(&read.error, LONGEST_ID),
            codes: read.error_codes,
            description: plain(&read.error_description, LONGEST_TEXT),
            trace_id: id(read.trace_id),
            correlation_id: id(read.correlation_id),
            retry_after,
        }
    }

    /// What it means.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let stop = asks_to_stop(&self.codes);
        let of = |(class, words)| Verdict { class, words, stop };
        let known = |code: &i64| CODES.iter().find(|row| row.0 == *code).map(|row| (row.1, row.2));
        if let Some(found) = self.codes.iter().find_map(known) {
            return of(found);
        }
        if self.status == 429 {
            return of((Class::Throttled, "too many tokens are asked for: it is tried again later"));
        }
        if self.status < 500
            && let Some(row) = ERRORS.iter().find(|row| row.0 == self.error)
        {
            return of((row.1, row.2));
        }
        if self.status >= 500 || self.error.is_empty() {
            return of((Class::Transient, "the sign-in service gave no usable answer: it is tried again"));
        }
        of((Class::Operator, "the sign-in host refuses the app: check its registration"))
    }

    /// Takes `secrets` out of what it says, should the sign-in host have repeated one.
    #[must_use]
    pub fn without(mut self, secrets: &[&str]) -> Self {
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            self.description = self.description.replace(secret, "***");
            self.error = self.error.replace(secret, "***");
        }
        self
    }
}

/// A text of somebody else's, made fit to be shown: on one line, and not too long.
fn plain(text: &str, longest: usize) -> String {
    let spaced = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let whole: String = spaced.take(longest).collect();
    whole.trim().to_owned()
}

/// The body of a token endpoint that says yes.
#[derive(Deserialize)]
pub struct Granted {
    /// The token.
    pub access_token: secrecy::SecretString,
    /// `Bearer`.
    #[serde(default)]
    pub token_type: String,
    /// How many seconds it lives; an hour less a minute where it doesn't say.
    #[serde(default = "usual_life", deserialize_with = "seconds")]
    pub expires_in: i64,
    /// How many seconds it lives when the sign-in service is down.
    #[serde(default, deserialize_with = "optional_seconds")]
    pub ext_expires_in: Option<i64>,
    /// The next refresh token, in place of the one before.
    #[serde(default)]
    pub refresh_token: Option<secrecy::SecretString>,
    /// What was granted.
    #[serde(default)]
    pub scope: Option<String>,
    /// Who signed in; only after a person did.
    #[serde(default)]
    pub id_token: Option<secrecy::SecretString>,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

const fn usual_life() -> i64 {
    3540
}

/// Seconds; some sign-in hosts write them as text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(i64),
    Text(String),
}

impl Seconds {
    fn count<E: serde::de::Error>(self) -> Result<i64, E> {
        match self {
            Self::Number(count) => Ok(count),
            Self::Text(text) => text.parse().map_err(E::custom),
        }
    }
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Seconds::deserialize(deserializer)?.count()
}

fn optional_seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Option::<Seconds>::deserialize(deserializer)?.map(Seconds::count).transpose()
}

#[cfg(test)]
mod tests;
