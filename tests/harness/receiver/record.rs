//! A request as a customer's backend got it, and the checks that a careful one makes.

use std::time::Instant;

use chrono::TimeDelta;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use standardwebhooks::Webhook;
use waypost_core::clock::Clock as _;

use crate::clock::TestClock;

/// How far a signature's time may be from the clock's.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// When its last byte arrived.
    pub at: Instant,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// What a receiver knows of a sender: enough to tell that a request is his.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The environment's webhook signing key.
    pub signing_key: String,
    /// The endpoint's secret, `whsec_…`.
    pub secret: String,
    /// The sender's clock.
    pub clock: TestClock,
}

impl Received {
    /// A header's value; panics when it isn't there.
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("{}: no header {name}", self.summary()));
        value.to_str().unwrap()
    }

    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The items of a forwarded notification.
    #[must_use]
    #[track_caller]
    pub fn items(&self) -> Vec<Value> {
        self.json()["payload"]["value"].as_array().expect("the body is a forwarded collection").clone()
    }

    /// The connection that it is for.
    #[must_use]
    #[track_caller]
    pub fn connection(&self) -> String {
        self.json()["connectionId"].as_str().expect("the body names a connection").to_owned()
    }

    /// The event's id.
    #[must_use]
    #[track_caller]
    pub fn event(&self) -> &str {
        self.header("webhook-id")
    }

    /// The number of the attempt.
    #[must_use]
    #[track_caller]
    pub fn attempt(&self) -> u32 {
        self.header("waypost-attempt").parse().unwrap()
    }

    /// One line about it.
    #[must_use]
    pub fn summary(&self) -> String {
        let text = self.text();
        let short: String = text.chars().take(300).collect();
        format!("{} {} {short}", self.method, self.path)
    }

    /// Panics unless one of `trusted` signed it, in all three ways.
    #[track_caller]
    pub(super) fn verify(&self, trusted: &[Trust]) {
        let found: Vec<Result<(), String>> = trusted.iter().map(|trust| self.verify_as(trust)).collect();
        assert!(
            found.iter().any(Result::is_ok),
            "nobody whom the receiver trusts signed {}: {found:?}, {:?}",
            self.summary(),
            self.headers
        );
    }

    fn verify_as(&self, trust: &Trust) -> Result<(), String> {
        let key = trust.signing_key.as_bytes();
        let digest = Sha256::new().chain_update(key).chain_update(&self.body).finalize();
        if self.value("x-nango-signature")? != hex::encode(digest) {
            return Err("X-Nango-Signature is wrong".to_owned());
        }
        let mac = Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(&self.body).finalize();
        if self.value("x-nango-hmac-sha256")? != hex::encode(mac.into_bytes()) {
            return Err("X-Nango-Hmac-Sha256 is wrong".to_owned());
        }
        self.verify_standard(trust)
    }

    fn verify_standard(&self, trust: &Trust) -> Result<(), String> {
        let webhook = Webhook::new(&trust.secret).map_err(|error| error.to_string())?;
        let stated: i64 =
            self.value("webhook-timestamp")?.parse().map_err(|_| "webhook-timestamp is no number")?;
        // The official verification knows the machine's clock only. A test's clock may be ahead of it, so the time is
        // checked here, and the signature against what the official crate signs.
        if (trust.clock.now().timestamp() - stated).abs() > TOLERANCE.num_seconds() {
            return Err("webhook-timestamp is not now".to_owned());
        }
        let wanted =
            webhook.sign(self.value("webhook-id")?, stated, &self.body).map_err(|error| error.to_string())?;
        if !self.value("webhook-signature")?.split(' ').any(|entry| entry == wanted) {
            return Err("webhook-signature is wrong".to_owned());
        }
        Ok(())
    }

    fn value(&self, name: &str) -> Result<&str, String> {
        let value = self.headers.get(name).ok_or_else(|| format!("there is no {name}"))?;
        value.to_str().map_err(|_| format!("{name} is no text"))
    }
}
