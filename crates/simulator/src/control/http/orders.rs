//! Orders to the services behind the notifications: sign-in, resources, behaviour. One route takes any order.
//!
//! Must not do more than [`Control`] does.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Bytes, Data, Query, ServiceConfig, get, post, put, resource},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::{control, failed, refuse, with_body};
use crate::{
    ChangeType, Control,
    behaviour::Behaviour,
    config::{App, Tenant, User},
    items::{ChangeError, Content},
    world::World,
};

/// One order, told by its `do`.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Order {
    AddApp {
        client_id: Uuid,
        secret: SecretString,
    },
    AddSecret {
        client_id: Uuid,
        secret: SecretString,
        expires_at: Option<DateTime<Utc>>,
    },
    RemoveSecrets {
        client_id: Uuid,
    },
    /// The certificate is base64 of DER.
    AddCertificate {
        client_id: Uuid,
        certificate: String,
        expires_at: Option<DateTime<Utc>>,
    },
    RemoveCertificates {
        client_id: Uuid,
    },
    AddRedirectUri {
        client_id: Uuid,
        uri: Url,
    },
    SetSingleTenant {
        client_id: Uuid,
        home: Option<Uuid>,
    },
    SetSecondTokenVersion {
        client_id: Uuid,
        second: bool,
    },
    SetAppDisabled {
        client_id: Uuid,
        tenant: Uuid,
        disabled: bool,
    },
    SetPermissions {
        client_id: Uuid,
        tenant: Uuid,
        permissions: Option<Vec<String>>,
    },
    SetConsent {
        client_id: Uuid,
        tenant: Uuid,
        given: bool,
        delay_seconds: Option<u32>,
    },
    AddTenant {
        id: Uuid,
        domain: String,
    },
    AddUser {
        user: User,
    },
    SetUserEnabled {
        user: Uuid,
        enabled: bool,
    },
    RevokeRefreshTokens {
        user: Uuid,
    },
    ExpireRefreshTokens {
        user: Uuid,
    },
    RevokeAccessToken {
        token: String,
    },
    RevokeAccessTokens {
        client_id: Uuid,
        tenant: Uuid,
    },
    SetAccessTokenLifetime {
        seconds: u32,
    },
    MakeGhost {
        subscription: Uuid,
    },
    ExpireDeltaTokens {
        tenant: Uuid,
    },
    /// So many made-up bytes, or those of a base64 text.
    PutContent {
        tenant: Uuid,
        path: String,
        length: Option<u64>,
        bytes: Option<String>,
    },
}

/// A change of a resource.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Change {
    tenant: Uuid,
    path: String,
    #[serde(rename = "changeType")]
    kind: ChangeType,
    #[serde(default)]
    value: Value,
    /// Nobody is told.
    #[serde(default)]
    silent: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    tenant: Uuid,
    path: String,
}

/// Why an order was not carried out.
enum Refusal {
    Value(&'static str),
    Change(ChangeError),
}

pub(super) fn routes(routes: &mut ServiceConfig) {
    routes
        .route("/orders", post().to(order))
        .route("/change", post().to(change))
        .route("/items", get().to(items))
        .route("/calls", get().to(calls))
        .service(resource("/behaviour").route(put().to(set_behaviour)).route(get().to(behaviour)));
}

async fn order(world: Data<World>, body: Bytes) -> HttpResponse {
    with_body(&body, |order: Order| match carry_out(&control(world), order) {
        Ok(()) => HttpResponse::Ok().json(json!({"success": true})),
        Err(Refusal::Value(what)) => refuse(StatusCode::BAD_REQUEST, "invalid_value", what),
        Err(Refusal::Change(error)) => not_changed(&error),
    })
}

async fn change(world: Data<World>, body: Bytes) -> HttpResponse {
    with_body(&body, |change: Change| {
        let (control, Change { tenant, path, kind, value, silent }) = (control(world), change);
        let outcome = match (silent, kind) {
            (false, _) => control
                .change(tenant, &path, kind, value)
                .map(|changed| json!({"item": changed.item, "deliveries": changed.deliveries})),
            (true, ChangeType::Deleted) => {
                control.delete_item(tenant, &path).map(|item| json!({"item": item}))
            }
            (true, _) => control.put_item(tenant, &path, value).map(|item| json!({"item": item})),
        };
        match outcome {
            Ok(answer) => HttpResponse::Ok().json(answer),
            Err(error) => not_changed(&error),
        }
    })
}

async fn items(world: Data<World>, place: Query<Place>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"data": control(world).items(place.tenant, &place.path)}))
}

async fn calls(world: Data<World>) -> HttpResponse {
    let control = control(world);
    HttpResponse::Ok().json(json!({"counts": control.call_counts(), "last": control.call_log()}))
}

async fn behaviour(world: Data<World>) -> HttpResponse {
    HttpResponse::Ok().json(control(world).behaviour())
}

async fn set_behaviour(world: Data<World>, body: Bytes) -> HttpResponse {
    with_body(&body, |wanted: Behaviour| {
        let control = control(world);
        control.behave(|behaviour| *behaviour = wanted);
        HttpResponse::Ok().json(control.behaviour())
    })
}

fn carry_out(control: &Control, order: Order) -> Result<(), Refusal> {
    match order {
        Order::AddApp { client_id, secret } => control.add_app(App { client_id, client_secret: secret }),
        Order::AddSecret { client_id, secret, expires_at } => {
            control.add_secret(client_id, secret, expires_at);
        }
        Order::RemoveSecrets { client_id } => control.remove_secrets(client_id),
        Order::AddCertificate { client_id, certificate, expires_at } => {
            let der =
                STANDARD.decode(certificate).map_err(|_| Refusal::Value("the certificate is no base64"))?;
            if !control.add_certificate(client_id, &der, expires_at) {
                return Err(Refusal::Value("the certificate holds no RSA key of 2048 bits or more"));
            }
        }
        Order::RemoveCertificates { client_id } => control.remove_certificates(client_id),
        Order::AddRedirectUri { client_id, uri } => control.add_redirect_uri(client_id, uri),
        Order::SetSingleTenant { client_id, home } => control.set_single_tenant(client_id, home),
        Order::SetSecondTokenVersion { client_id, second } => {
            control.set_second_token_version(client_id, second);
        }
        Order::SetAppDisabled { client_id, tenant, disabled } => {
            control.set_app_disabled(client_id, tenant, disabled);
        }
        Order::SetPermissions { client_id, tenant, permissions } => {
            control.set_permissions(client_id, tenant, permissions);
        }
        Order::SetConsent { client_id, tenant, given: true, delay_seconds: Some(seconds) } => {
            control.set_consent_after(client_id, tenant, Duration::from_secs(seconds.into()));
        }
        Order::SetConsent { client_id, tenant, given, .. } => control.set_consent(client_id, tenant, given),
        Order::RevokeAccessTokens { client_id, tenant } => control.revoke_access_tokens(client_id, tenant),
        other => return carry_out_of_tenant(control, other),
    }
    Ok(())
}

/// The orders that are about a tenant rather than an application.
fn carry_out_of_tenant(control: &Control, order: Order) -> Result<(), Refusal> {
    match order {
        Order::AddTenant { id, domain } => control.add_tenant(&Tenant { id, domain }),
        Order::AddUser { user } => control.add_user(user),
        Order::SetUserEnabled { user, enabled } => control.set_user_enabled(user, enabled),
        Order::RevokeRefreshTokens { user } => control.revoke_refresh_tokens(user),
        Order::ExpireRefreshTokens { user } => control.expire_refresh_tokens(user),
        Order::RevokeAccessToken { token } => {
            if !control.revoke_access_token(&token) {
                return Err(Refusal::Value("the token is none of this simulator's"));
            }
        }
        Order::SetAccessTokenLifetime { seconds } => {
            control.set_access_token_lifetime(Duration::from_secs(seconds.into()));
        }
        Order::MakeGhost { subscription } => {
            let made = control.make_ghost(subscription);
            made.map_err(|_| Refusal::Value("there is no such subscription"))?;
        }
        Order::ExpireDeltaTokens { tenant } => control.expire_delta_tokens(tenant),
        Order::PutContent { tenant, path, length: Some(length), bytes: None } => {
            control.make_up_content(tenant, &path, length).map_err(Refusal::Change)?;
        }
        Order::PutContent { tenant, path, length: None, bytes: Some(bytes) } => {
            let bytes = STANDARD.decode(bytes).map_err(|_| Refusal::Value("the bytes are no base64"))?;
            let content_type = "application/octet-stream".to_owned();
            let content = Content::Bytes { bytes: bytes.into(), content_type };
            control.put_content(tenant, &path, content).map_err(Refusal::Change)?;
        }
        _ => return Err(Refusal::Value("exactly one of length and bytes must be there")),
    }
    Ok(())
}

fn not_changed(error: &ChangeError) -> HttpResponse {
    let (status, code) = match error {
        ChangeError::Path => (StatusCode::BAD_REQUEST, "invalid_path"),
        ChangeError::Value => (StatusCode::BAD_REQUEST, "invalid_value"),
        ChangeError::NotFound => (StatusCode::NOT_FOUND, "unknown_item"),
        ChangeError::Full => (StatusCode::INSUFFICIENT_STORAGE, "too_many_items"),
        ChangeError::Notify(error) => return failed(error),
    };
    refuse(status, code, &error.to_string())
}
