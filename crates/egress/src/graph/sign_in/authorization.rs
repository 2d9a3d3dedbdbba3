//! Exchanging the code that a person's sign-in gave for tokens.
//!
//! The code and the verifier are secrets as long as the code lives: both go into the form and nowhere else.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use waypost_core::provider::graph::sign_in::Granted;
use waypost_core::token::Trouble;

use super::{TokenRequest, TrustedClient};

/// A code, with all that must be shown for it.
#[derive(Debug, Clone, Copy)]
pub struct CodeExchange<'a> {
    /// Where codes are exchanged.
    pub url: &'a Url,
    /// By what the app proves who it is: its id, and a secret or an assertion.
    pub app: &'a [(&'static str, SecretString)],
    /// The code.
    pub code: &'a SecretString,
    /// Where the browser brought it, exactly as the sign-in page was told.
    pub redirect_uri: &'a Url,
    /// The PKCE verifier.
    pub verifier: &'a SecretString,
    /// The scopes that the person was asked for.
    pub scope: &'a str,
    /// What both sides call this request in their logs.
    pub id: &'a str,
    /// The time.
    pub now: DateTime<Utc>,
}

impl TrustedClient {
    /// Exchanges a code for tokens.
    ///
    /// # Errors
    /// As [`Self::token`].
    pub async fn exchange_code(&self, exchange: CodeExchange<'_>) -> Result<Granted, Trouble> {
        let mut form: Vec<(&'static str, &str)> =
            exchange.app.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
        form.extend([
            ("grant_type", "authorization_code"),
            ("code", exchange.code.expose_secret()),
            ("redirect_uri", exchange.redirect_uri.as_str()),
            ("code_verifier", exchange.verifier.expose_secret()),
            ("scope", exchange.scope),
        ]);
        self.token(TokenRequest { url: exchange.url, form: &form, id: exchange.id, now: exchange.now }).await
    }
}
