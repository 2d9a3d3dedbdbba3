//! Notices: the bodies of the events that Waypost itself sends.
//!
//! A notice is stored as an event and routed like any other; here stands only what its bytes are. They are canonical
//! like everything that is signed.

use serde_json::{Map, Value, json};

use crate::account::Name;
use crate::canonical;
use crate::connection::ConnectionId;
use crate::event::EventKind;
use crate::integration::UniqueKey;
use crate::provider::Provider;

/// What happened to a connection's authorization: Nango's `auth` webhook.
#[derive(Debug, Clone, Copy)]
pub struct AuthNotice<'a> {
    /// What happened; one of the `auth.…` kinds.
    pub kind: EventKind,
    /// The name of the environment.
    pub environment: &'a Name,
    /// The integration of the connection.
    pub integration: &'a UniqueKey,
    /// Its provider.
    pub provider: Provider,
    /// The connection.
    pub connection: &'a ConnectionId,
    /// Whom the connection belongs to, as it was given.
    pub end_user: Option<&'a Map<String, Value>>,
    /// The connection's labels.
    pub tags: &'a Map<String, Value>,
}

impl AuthNotice<'_> {
    /// The bytes to send.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut body = json!({
            "authMode": self.provider.auth_mode().as_str(),
            "connectionId": self.connection,
            "environment": self.environment,
            "from": "nango",
            "operation": self.kind.operation(),
            "provider": self.provider.name(),
            "providerConfigKey": self.integration,
            "success": true,
            "tags": self.tags,
            "type": self.kind.wire_type(),
        });
        if let (Some(end_user), Value::Object(members)) = (self.end_user, &mut body) {
            members.insert("endUser".to_owned(), wire_end_user(end_user));
        }
        let text = body.to_string().into_bytes();
        // Only nesting deeper than the canonicalizer goes can fail here, and end users and tags are flat.
        canonical::canonical(&text).unwrap_or(text)
    }
}

/// An end user in the spelling of Nango's webhooks. What is absent is left out, the address excepted.
fn wire_end_user(end_user: &Map<String, Value>) -> Value {
    let mut wire = Map::new();
    wire.insert("endUserId".to_owned(), end_user.get("id").cloned().unwrap_or_default());
    wire.insert("endUserEmail".to_owned(), end_user.get("email").cloned().unwrap_or_default());
    wire.insert("tags".to_owned(), end_user.get("tags").cloned().unwrap_or_else(|| json!({})));
    if let Some(organization) = end_user.get("organization").and_then(|organization| organization.get("id")) {
        wire.insert("organizationId".to_owned(), organization.clone());
    }
    Value::Object(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(end_user: Option<&Value>, tags: &Value) -> String {
        let notice = AuthNotice {
            kind: EventKind::AuthCreation,
            environment: &Name::parse("dev").unwrap(),
            integration: &UniqueKey::parse("ms-nosec").unwrap(),
            provider: Provider::named("microsoft-oauth2-cc").unwrap(),
            connection: &ConnectionId::parse("ns-1").unwrap(),
            end_user: end_user.and_then(Value::as_object),
            tags: tags.as_object().unwrap(),
        };
        String::from_utf8(notice.body()).unwrap()
    }

    #[test]
    fn an_auth_notice_is_byte_for_byte_nangos() {
        assert_eq!(
            body(None, &json!({})),
            r#"{"authMode":"OAUTH2_CC","connectionId":"ns-1","environment":"dev","from":"nango","operation":"creation","provider":"microsoft-oauth2-cc","providerConfigKey":"ms-nosec","success":true,"tags":{},"type":"auth"}"#
        );
    }

    #[test]
    fn an_end_user_is_told_in_the_spelling_of_the_webhooks() {
        let end_user = json!({"id": "u1", "email": "a@b.c", "display_name": "A", "tags": {"z": "1", "a": "2"}, "organization": {"id": "o1"}});
        assert_eq!(
            body(Some(&end_user), &json!({"end_user_id": "u1"})),
            r#"{"authMode":"OAUTH2_CC","connectionId":"ns-1","endUser":{"endUserEmail":"a@b.c","endUserId":"u1","organizationId":"o1","tags":{"a":"2","z":"1"}},"environment":"dev","from":"nango","operation":"creation","provider":"microsoft-oauth2-cc","providerConfigKey":"ms-nosec","success":true,"tags":{"end_user_id":"u1"},"type":"auth"}"#
        );
    }
}
