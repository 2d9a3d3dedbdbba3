//! The API document: OpenAPI 3.1, made from the code of the handlers.
//!
//! The environment API stands in it once, at its public paths; prose tells of its mirror under `/admin`.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Components, InfoBuilder, OpenApi, OpenApiBuilder, Paths, ServerBuilder};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::error::{ErrorBody, ErrorContent, Issue};
use crate::{connect, health, metrics, routes};

const DESCRIPTION: &str = "\
A self-hosted relay for Microsoft Graph change notifications, with Nango's wire format.

**Environment API.** Paths outside `/admin` are served on the public listener, with an environment's API key as bearer \
token. The same paths are served below `/admin/environments/{environment}` on the admin listener for people with an admin \
token (the proxy excepted): a viewer may call what only reads and shows no secret, an operator everything.

**Lists** answer `{\"data\": […], \"next_cursor\": …}` and take `limit` (1 to 200) and `cursor`.

**Errors** answer `{\"error\": {\"code\", \"message\"}}`; invalid input adds `errors`, each with the `path` of the field. Unknown \
fields and query parameters are refused, and so is the header `Idempotency-Key` of a POST, which this version can't honour yet \
(`idempotency_key_not_available`). Every response has a `request-id`, which the audit log names too.";

const TAGS: &[(&str, &str)] = &[
    ("Integrations", "Providers and their settings in an environment."),
    ("Connections", "Customers' authorizations at a provider."),
    ("Connect", "Links by which customers connect in a browser, and the pages behind them."),
    (
        "Subscriptions",
        "Graph's change-notification subscriptions, and the templates that new connections get theirs from.",
    ),
    ("Certificates", "What rich notifications are encrypted for."),
    ("Proxy", "Calls to the provider with a connection's token."),
    ("Webhook settings", "The environment's switches, its primary and secondary URL, its signing key."),
    ("Endpoints", "Callback URLs of your backend."),
    ("Events", "What was accepted, and what became of it."),
    ("Deliveries", "Events on their way to an endpoint."),
    ("Rejections", "What ingress refused, and why."),
    ("Ingress", "Where providers send notifications: no credentials; items are vouched for one by one."),
    ("Health", "Whether the process lives and can work."),
    ("Accounts", "Accounts and their environments. Admin listener."),
    ("API keys", "Keys of an environment. Admin listener."),
    ("Operation", "What happened and what is waiting. Admin listener."),
];

/// The document as `openapi.yaml` holds it.
///
/// # Errors
/// When it can't be written as YAML, which would be a mistake in a schema.
pub fn document() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    Ok(build().to_yaml()?)
}

/// The document.
pub(crate) fn build() -> OpenApi {
    let mut document = OpenApiBuilder::new()
        .info(info())
        .servers(Some([ServerBuilder::new()
            .url("http://localhost:8080")
            .description(Some("The public listener"))
            .build()]))
        .paths(Paths::new())
        .components(Some(components()))
        .tags(Some(
            TAGS.iter().map(|(name, text)| TagBuilder::new().name(*name).description(Some(*text)).build()),
        ))
        .build();
    let own = [
        routes::proxy::document(),
        routes::connect_session::document(),
        connect::document(),
        ingress::document(),
        health::document(),
        metrics::document(),
        own_document(),
    ];
    let parts = routes::document_environment().chain(routes::document_admin()).chain(own);
    parts.for_each(|part| document.merge(part));
    document
}

mod ingress;

mod own {
    //! The route of the document itself.

    use actix_web::{HttpResponse, get};

    use crate::routes::routes;

    /// This document
    ///
    /// As JSON, on the admin listener.
    #[utoipa::path(
        tag = "Operation",
        security(()),
        responses((status = 200, description = "The document", body = Object))
    )]
    #[get("/openapi.json")]
    async fn show_document() -> HttpResponse {
        HttpResponse::Ok().json(super::build())
    }

    routes![show_document];
}
pub(crate) use own::{configure, document as own_document};

fn info() -> utoipa::openapi::Info {
    InfoBuilder::new()
        .title("Waypost")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build()
}

fn components() -> Components {
    let mut components = Components::new();
    let api_key = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An environment's API key, a UUID v4."));
    let admin = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("An admin token, as `waypost admin token` makes it."));
    let connect_session =
        Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("The token of a connect session."));
    components.add_security_scheme("connect_session", SecurityScheme::Http(connect_session.build()));
    components.add_security_scheme("api_key", SecurityScheme::Http(api_key.build()));
    let metrics = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The token of `admin.metrics_token`."));
    components.add_security_scheme("admin", SecurityScheme::Http(admin.build()));
    components.add_security_scheme("metrics", SecurityScheme::Http(metrics.build()));
    for (name, schema) in [
        (ErrorBody::name(), ErrorBody::schema()),
        (ErrorContent::name(), ErrorContent::schema()),
        (Issue::name(), Issue::schema()),
    ] {
        components.schemas.insert(name.into_owned(), schema);
    }
    components
}
