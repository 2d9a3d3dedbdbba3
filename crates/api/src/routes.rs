//! The routes: which resources there are, where they are mounted, and which method a path takes.
//!
//! A route is declared once: its method and path stand in the handler's actix attribute, and `routes!` turns one list of
//! handlers into both what is served and what is documented. The table is read from the document, so a 405 and the
//! need for a key are decided by what is documented too. Must not hold handlers: each resource has a file of its own.

pub mod accounts;
pub mod api_keys;
pub mod audit_log;
pub mod certificates;
pub mod connect_session;
pub mod connect_sessions;
pub mod connections;
pub mod deliveries;
pub mod endpoints;
pub mod environments;
pub mod events;
pub mod integrations;
pub mod proxy;
pub mod queue;
pub mod rejections;
pub mod subscription_templates;
pub mod subscriptions;
mod table;
pub mod webhook_settings;

use actix_web::{HttpRequest, web};
use utoipa::openapi::OpenApi;

use crate::error::ApiError;

pub(crate) use table::{Renamed, Table, refuse_unread_query, routed};

/// Declares the routes of a module: handlers with an actix method attribute below a `#[utoipa::path]`.
///
/// Those after `renamed` have no attribute of actix, but method and path in their `#[utoipa::path]`: they are served and
/// documented at the old name of their path too.
macro_rules! routes {
    (renamed $renamed:ident: $($both:ident),+; $($handler:ident),+ $(,)?) => {
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($both,)+ $($handler),+))]
        struct Documented;

        /// Serves these routes.
        pub(crate) fn configure(config: &mut actix_web::web::ServiceConfig) {
            let document = <Documented as utoipa::OpenApi>::openapi();
            $($renamed.serve(config, &document, stringify!($both), &$both);)+
            $(config.service($handler);)+
        }

        /// Documents these routes.
        pub(crate) fn document() -> utoipa::openapi::OpenApi {
            let mut document = <Documented as utoipa::OpenApi>::openapi();
            $renamed.document(&mut document, &[$(stringify!($both)),+]);
            document
        }
    };
    ($($handler:ident),+ $(,)?) => {
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($handler),+))]
        struct Documented;

        /// Serves these routes.
        pub(crate) fn configure(config: &mut actix_web::web::ServiceConfig) {
            $(config.service($handler);)+
        }

        /// Documents these routes.
        pub(crate) fn document() -> utoipa::openapi::OpenApi {
            <Documented as utoipa::OpenApi>::openapi()
        }
    };
}
pub(crate) use routes;

/// One module's routes.
type Resource = (fn(&mut web::ServiceConfig), fn() -> OpenApi);

/// The environment API: served at `/` with an API key, and under `/admin/environments/{environment}` with an admin token.
const ENVIRONMENT: &[Resource] = &[
    (integrations::configure, integrations::document),
    (certificates::configure, certificates::document),
    (connections::configure, connections::document),
    (connections::old_metadata::configure, connections::old_metadata::document),
    (subscriptions::configure, subscriptions::document),
    (subscription_templates::configure, subscription_templates::document),
    (connect_sessions::configure, connect_sessions::document),
    (endpoints::configure, endpoints::document),
    (webhook_settings::configure, webhook_settings::document),
    (events::configure, events::document),
    (deliveries::configure, deliveries::document),
    (rejections::configure, rejections::document),
];

/// The admin API, but for the mirror of the environment API.
const ADMIN: &[Resource] = &[
    (accounts::configure, accounts::document),
    (environments::configure, environments::document),
    (api_keys::configure, api_keys::document),
    (audit_log::configure, audit_log::document),
    (queue::configure, queue::document),
];

pub(crate) fn configure_environment(config: &mut web::ServiceConfig) {
    for (configure, _) in ENVIRONMENT {
        configure(config);
    }
}

pub(crate) fn configure_admin(config: &mut web::ServiceConfig) {
    for (configure, _) in ADMIN {
        configure(config);
    }
}

pub(crate) fn document_environment() -> impl Iterator<Item = OpenApi> {
    ENVIRONMENT.iter().map(|(_, document)| document())
}

pub(crate) fn document_admin() -> impl Iterator<Item = OpenApi> {
    ADMIN.iter().map(|(_, document)| document())
}

/// What no route takes: 405 where another method would do, else 404.
pub(crate) async fn refuse(request: HttpRequest) -> Result<actix_web::HttpResponse, ApiError> {
    let (table, path) = (request.app_data::<std::rc::Rc<Table>>(), routed(request.match_info()));
    let methods = table.map(|table| table.methods_of(path)).unwrap_or_default();
    if methods.is_empty() {
        return Err(match not_built_yet(path) {
            Some(what) => ApiError::not_found(format!("This version of Waypost has no {what} yet")),
            None => ApiError::not_found("There is nothing at this path"),
        });
    }
    Err(ApiError::MethodNotAllowed { allowed: methods.into_iter().collect::<Vec<_>>().join(", ") })
}

/// What a path of the API to come stands for: whoever calls it should not look for a slip in the path.
fn not_built_yet(path: &str) -> Option<&'static str> {
    let below_environment =
        path.strip_prefix("/admin/environments/").and_then(|rest| rest.split_once('/')).map(|(_, rest)| rest);
    let mut segments = below_environment.unwrap_or(path).split('/').filter(|segment| !segment.is_empty());
    match segments.next()? {
        "providers" => Some("list of providers"),
        "sync" => Some("catching up on demand"),
        "replays" => Some("replays"),
        "stats" => Some("statistics"),
        "admin" if segments.next() == Some("scheduler") => Some("scheduler of subscriptions"),
        "events" if segments.nth(1) == Some("replay") => Some("replays"),
        "integrations" => match segments.nth(1)? {
            "certificates" => Some("certificates"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
