//! Notices: the bodies of the events that Waypost itself sends.
//!
//! A notice is stored as an event and routed like any other; here stands only what its bytes are. They are canonical
//! like everything that is signed.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::account::Name;
use crate::canonical;
use crate::connection::ConnectionId;
use crate::event::EventKind;
use crate::integration::UniqueKey;
use crate::provider::Provider;
use crate::subscription::Subscription;
use crate::token::Failure;

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
    /// Whether it went well.
    pub outcome: AuthOutcome<'a>,
}

/// How what happened to an authorization went.
#[derive(Debug, Clone, Copy)]
pub enum AuthOutcome<'a> {
    /// Well.
    Success,
    /// There is no new token: Nango's `error`, and more.
    Failure(&'a Failure),
    /// Well so far, but what the connection signs in with ends at that time, so many days ahead.
    Ending {
        /// When.
        ends_at: DateTime<Utc>,
        /// How many whole days that is from now; 0 when it has ended.
        days: i64,
    },
}

impl AuthOutcome<'_> {
    const fn is_success(&self) -> bool {
        !matches!(self, Self::Failure(_))
    }

    /// The member that says more.
    fn detail(&self) -> Option<(&'static str, Value)> {
        match self {
            Self::Success => None,
            Self::Failure(failure) => {
                let error = json!({
                    "type": format!("refresh_{}", failure.class),
                    "description": failure.description,
                    "error": failure.error,
                    "codes": failure.codes,
                });
                Some(("error", error))
            }
            Self::Ending { ends_at, days } => {
                let warning = json!({
                    "type": "credentials_ending",
                    "description": format!(
                        "the client secret or certificate ends in {days} days: store a new one before that"
                    ),
                    "days": days,
                    "endsAt": ends_at.to_rfc3339_opts(SecondsFormat::Secs, true),
                });
                Some(("warning", warning))
            }
        }
    }
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
            "success": self.outcome.is_success(),
            "tags": self.tags,
            "type": self.kind.wire_type(),
        });
        if let (Some(end_user), Value::Object(members)) = (self.end_user, &mut body) {
            members.insert("endUser".to_owned(), wire_end_user(end_user));
        }
        if let (Some((name, detail)), Value::Object(members)) = (self.outcome.detail(), &mut body) {
            members.insert(name.to_owned(), detail);
        }
        let text = body.to_string().into_bytes();
        // Only nesting deeper than the canonicalizer goes can fail here, and end users and tags are flat.
        canonical::canonical(&text).unwrap_or(text)
    }
}

/// What happened to a subscription, told to a connection that it serves.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionNotice<'a> {
    /// What happened; one of the `subscription.…` kinds.
    pub kind: EventKind,
    /// The connection.
    pub connection: &'a ConnectionId,
    /// The subscription, as it stands now.
    pub subscription: &'a Subscription,
}

impl SubscriptionNotice<'_> {
    /// The bytes to send.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let body = json!({
            "connectionId": self.connection,
            "from": "waypost",
            "operation": self.kind.operation(),
            "providerConfigKey": self.subscription.integration,
            "subscription": {
                "expiresAt": self.subscription.expires_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
                "graphId": self.subscription.graph_id,
                "id": self.subscription.id,
                "resource": self.subscription.resource,
            },
            "type": self.kind.wire_type(),
        });
        let text = body.to_string().into_bytes();
        // Nesting is what the canonicalizer can refuse, and here is none.
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
    use crate::provider::graph::sign_in::Class;

    fn body(end_user: Option<&Value>, tags: &Value) -> String {
        told(EventKind::AuthCreation, AuthOutcome::Success, end_user, tags)
    }

    fn told(kind: EventKind, outcome: AuthOutcome<'_>, end_user: Option<&Value>, tags: &Value) -> String {
        let notice = AuthNotice {
            kind,
            environment: &Name::parse("dev").unwrap(),
            integration: &UniqueKey::parse("ms-nosec").unwrap(),
            provider: Provider::named("microsoft-oauth2-cc").unwrap(),
            connection: &ConnectionId::parse("ns-1").unwrap(),
            end_user: end_user.and_then(Value::as_object),
            tags: tags.as_object().unwrap(),
            outcome,
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

    #[test]
    fn a_failure_says_what_to_do_and_a_warning_when_it_ends() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let failure = Failure {
            class: Class::Operator,
            error: "invalid_client".to_owned(),
            codes: vec![7_000_215],
            description: "words".to_owned(),
            since: at,
            count: 1,
            failed_at: at,
            next_try_at: at,
        };
        let failed = told(EventKind::AuthRefresh, AuthOutcome::Failure(&failure), None, &json!({}));
        assert_eq!(
            failed,
            r#"{"authMode":"OAUTH2_CC","connectionId":"ns-1","environment":"dev","error":{"codes":[7000215],"description":"words","error":"invalid_client","type":"refresh_operator"},"from":"nango","operation":"refresh","provider":"microsoft-oauth2-cc","providerConfigKey":"ms-nosec","success":false,"tags":{},"type":"auth"}"#
        );
        let ending =
            told(EventKind::AuthRefresh, AuthOutcome::Ending { ends_at: at, days: 7 }, None, &json!({}));
        let ending: Value = serde_json::from_str(&ending).unwrap();
        assert_eq!(ending["success"], true);
        assert_eq!(ending["warning"]["endsAt"], "2027-01-15T08:00:00Z");
        assert_eq!(ending["warning"]["days"], 7);
    }
}
