//! What a token tells of an organization's consent.
//!
//! Signing in alone can bring an app into a tenant, and from then on it is given tokens there: tokens of no permissions.
//! Only permissions show that somebody consented to them. Must not be used to decide whom a token is from: no signature is
//! looked at, since it comes from the token endpoint itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    roles: Vec<String>,
}

/// Whether an app's own token holds permissions. One that can't be read may hold any.
#[must_use]
pub fn holds_permissions(token: &SecretString) -> bool {
    let claims = token.expose_secret().split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
    claims.is_none_or(|claims| !claims.roles.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn token(claims: &Value) -> SecretString {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string())).into()
    }

    #[test]
    fn only_a_token_that_tells_of_no_roles_holds_no_permissions() {
        assert!(holds_permissions(&token(&json!({"tid": "t", "roles": ["Mail.Read"]}))));
        assert!(!holds_permissions(&token(&json!({"tid": "t", "roles": []}))));
        assert!(!holds_permissions(&token(&json!({"tid": "t"}))));
        for opaque in ["", "opaque", "a.%.c", "e30.e30", "e30.bm8.x"] {
            assert_eq!(holds_permissions(&opaque.into()), opaque != "e30.e30", "{opaque}");
        }
    }
}
