//! The proxy in the API document: one operation, once for each method and for each of its two paths.

use actix_web::http::Method;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder};
use utoipa::openapi::{OpenApi, PathItem, RefOr, Required};

use crate::error::ErrorBody;

/// The methods that are passed on.
pub(super) const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];

#[derive(utoipa::OpenApi)]
#[openapi(paths(call_provider))]
struct Documented;

/// Call the provider
///
/// As one of its connections: the target is the provider's base URL (for Microsoft Graph the host, so paths begin with
/// `/v1.0` or `/beta`) with path and query behind it, or an absolute URL below it, such as an `@odata.nextLink`. Waypost
/// adds the connection's token, and a fresh one once when the provider answers 401. Placeholders
/// `${connectionConfig.name}` in path, query and base are filled in from the connection.
///
/// Status, headers and body come back as they are, streamed. Redirects are followed only within the provider's host. The body is
/// sent as it is, up to 64 MiB, with `Nango-Proxy-Content-Type` or else its own content type. Up to 1 MiB it is held in memory; a
/// larger one is streamed and sent once, whatever `Retries` says.
///
/// `POST /proxy/v1.0/subscriptions` is adopted: what is missing is filled in, and the subscription is tracked, routed and renewed.
/// Subscriptions that are made inside a JSON `$batch`, or with an authorization of your own, are not.
#[utoipa::path(
    get,
    path = "/proxy/{path}",
    tag = "Proxy",
    security(("api_key" = [])),
    params(
        ("path" = String, Path, description = "The path at the provider, with slashes; the query is passed on too"),
        ("Provider-Config-Key" = String, Header, description = "The integration's unique key"),
        ("Connection-Id" = String, Header, description = "The connection's id"),
        ("Retries" = Option<u32>, Header, description = "Extra attempts on 401, 429, 5xx and when no answer comes; 0 when absent, at \
            most 10. Waits begin with 3 s and double; `Retry-After` goes before, and one of over 12 minutes is passed on at once"),
        ("Retry-On" = Option<String>, Header, description = "Further statuses that are tried again, separated by commas"),
        ("Base-Url-Override" = Option<String>, Header, description = "Another base URL. The token goes along only to the provider's own \
            host and to those of `integration_config.proxy_token_hosts`; other hosts want a `Nango-Proxy-Authorization`. Must be https \
            and lead to no private network, unless `egress.allow` names it"),
        ("Decompress" = Option<bool>, Header, description = "Unpack a compressed answer (gzip, deflate)"),
        ("Forward-Headers-On-Redirect" = Option<bool>, Header, description = "Taken, and without effect"),
        ("Nango-Proxy-*" = Option<String>, Header, description = "Sent to the provider under the name that follows the prefix. One for \
            `Authorization` takes the place of the connection's token"),
    ),
    responses(
        (status = "default", description = "What the provider answered"),
        (status = 400, description = "A header is missing or invalid, the connection is unknown or the provider refuses its credentials, the host isn't allowed", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:proxy`", body = ErrorBody),
        (status = 404, description = "No such integration", body = ErrorBody),
        (status = 413, description = "The body is larger than 64 MiB", body = ErrorBody),
        (status = 424, description = "The provider refused the credentials a moment ago and isn't asked again yet", body = ErrorBody),
        (status = 429, description = "Too many calls are under way for this connection", body = ErrorBody),
        (status = 502, description = "`upstream_unreachable`: the provider gave no answer", body = ErrorBody),
    )
)]
#[expect(dead_code, reason = "it only carries the description, which stands for seven methods")]
fn call_provider() {}

/// Documents the proxy.
pub(crate) fn document() -> OpenApi {
    let mut document = <Documented as utoipa::OpenApi>::openapi();
    let described = document.paths.paths.remove("/proxy/{path}").and_then(|item| item.get);
    let Some(described) = described else { return document };
    for (path, suffix) in [("/proxy", "_root"), ("/proxy/{path}", "")] {
        let mut item = PathItem::default();
        for method in METHODS {
            *slot(&mut item, &method) = Some(operation(&described, &method, suffix));
        }
        document.paths.paths.insert(path.to_owned(), item);
    }
    document
}

fn slot<'a>(item: &'a mut PathItem, method: &Method) -> &'a mut Option<Operation> {
    match method.as_str() {
        "POST" => &mut item.post,
        "PUT" => &mut item.put,
        "PATCH" => &mut item.patch,
        "DELETE" => &mut item.delete,
        "HEAD" => &mut item.head,
        "OPTIONS" => &mut item.options,
        _ => &mut item.get,
    }
}

fn operation(described: &Operation, method: &Method, suffix: &str) -> Operation {
    let mut operation = described.clone();
    let verb = method.as_str().to_lowercase();
    operation.operation_id = Some(format!("proxy_{verb}{suffix}"));
    let parameters = operation.parameters.get_or_insert_default();
    if !suffix.is_empty() {
        // The path without a path: only its query is passed on.
        parameters.retain(|parameter| !matches!(parameter, RefOr::T(found) if found.name == "path"));
    }
    parameters.push(RefOr::T(any_query()));
    operation
}

/// The query is the provider's: each member of this object is one parameter.
fn any_query() -> Parameter {
    ParameterBuilder::new()
        .name("query")
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some("Whatever the provider takes, under its own names"))
        .style(Some(ParameterStyle::Form))
        .explode(Some(true))
        .schema(Some(
            ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(true))).build(),
        ))
        .build()
}
