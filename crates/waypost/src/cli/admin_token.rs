//! `waypost admin token`: a token for the admin API. Must not talk to a running Waypost: who knows the
//! secret may make tokens.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use jsonwebtoken::{EncodingKey, Header, encode};
use secrecy::ExposeSecret;
use serde::Serialize;
use waypost_api::auth::admin::{LONGEST_SUBJECT, is_subject};
use waypost_core::clock::Clock;

use crate::config::{Admin, ConfigError};

/// A token can't be taken back, short of another secret for everybody.
const LONGEST_TTL: Duration = Duration::from_hours(365 * 24);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What its bearer may do
    #[arg(long)]
    role: AdminRole,
    /// How long it is valid, such as 15m, 8h or 7d; at most 365d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = lifetime, allow_hyphen_values = true)]
    ttl: Duration,
    /// Whom the audit log names
    #[arg(long, value_name = "NAME", default_value = "cli", value_parser = subject)]
    subject: String,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum AdminRole {
    /// Everything
    Operator,
    /// Reading, but no credentials
    Viewer,
}

/// What a token says.
#[derive(Debug, Serialize)]
struct Claims<'a> {
    sub: &'a str,
    role: AdminRole,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

/// A token for an operator, valid for an hour: what `waypost dev` works with.
pub(crate) fn for_operator(settings: &Admin, subject: &str, clock: &dyn Clock) -> anyhow::Result<String> {
    let wanted =
        Arguments { role: AdminRole::Operator, ttl: Duration::from_hours(1), subject: subject.to_owned() };
    make(settings, &wanted, clock)
}

/// Makes a token that is valid from now on.
pub(super) fn make(settings: &Admin, wanted: &Arguments, clock: &dyn Clock) -> anyhow::Result<String> {
    let secret = settings.jwt_secret.as_ref().ok_or(ConfigError::missing(
        "admin.jwt_secret",
        "to the secret that the running Waypost has, 32 bytes or more",
    ))?;
    let now = clock.now().timestamp();
    let ttl = i64::try_from(wanted.ttl.as_secs()).context("--ttl is too long")?;
    let exp = now.checked_add(ttl).context("--ttl is too long")?;
    let claims = Claims { sub: &wanted.subject, role: wanted.role, aud: &settings.audience, iat: now, exp };
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    encode(&Header::default(), &claims, &key).context("the token cannot be signed")
}

fn subject(text: &str) -> Result<String, String> {
    if is_subject(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("write a name of 1 to {LONGEST_SUBJECT} bytes without control characters"))
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(ttl) if ttl.as_secs() > 0 && ttl <= LONGEST_TTL => Ok(ttl),
        _ => Err("write a duration from a second to 365d, such as 15m, 8h or 7d".to_owned()),
    }
}
