//! Ingress in the document. Its handlers are no ordinary routes (they answer every method, and read a path before anything
//! else), so their operations are described here, and a test of the suite holds them against what is served.

use utoipa::OpenApi;

use crate::error::ErrorBody;

/// Take notifications
///
/// A `validationToken` in the query is answered with its text, on any well-formed path; nothing is stored then. Otherwise the
/// body is a notification as the integration's provider sends it; 202 means that the accepted part is on disk. Items that
/// are refused are counted as rejections, and the sender is told nothing of them.
#[utoipa::path(
    post,
    path = "/webhook/{environment}/{unique_key}",
    tag = "Ingress",
    security(()),
    params(
        ("environment" = Uuid, Path, description = "The environment's uuid"),
        ("unique_key" = String, Path, description = "The integration's unique key"),
        ("validationToken" = Option<String>, Query, description = "A handshake: the text to answer with"),
    ),
    request_body(content = Object, description = "For Graph: a collection of change notifications"),
    responses(
        (status = 200, description = "The text of the handshake", body = String, content_type = "text/plain"),
        (status = 202, description = "What was accepted is on disk"),
        (status = 400, description = "The path, token or body is malformed", body = ErrorBody),
        (status = 401, description = "The integration has no webhook secret, or the signature is wrong", body = ErrorBody),
        (status = 404, description = "Unknown environment or integration", body = ErrorBody),
        (status = 405, description = "Not a POST", body = ErrorBody),
        (status = 408, description = "The body took too long", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is compressed", body = ErrorBody),
        (status = 429, description = "Over the rate limit; see `Retry-After`", body = ErrorBody),
        (status = 503, description = "Not now; see `Retry-After`", body = ErrorBody),
    )
)]
#[expect(dead_code, reason = "it only carries the description")]
const fn receive_notifications() {}

/// Take lifecycle notifications
///
/// The same as without `/lifecycle`: items are told apart by their fields.
#[utoipa::path(
    post,
    path = "/webhook/{environment}/{unique_key}/lifecycle",
    tag = "Ingress",
    security(()),
    params(
        ("environment" = Uuid, Path, description = "The environment's uuid"),
        ("unique_key" = String, Path, description = "The integration's unique key"),
        ("validationToken" = Option<String>, Query, description = "A handshake: the text to answer with"),
    ),
    request_body(content = Object, description = "For Graph: a collection of lifecycle notifications"),
    responses(
        (status = 200, description = "The text of the handshake", body = String, content_type = "text/plain"),
        (status = 202, description = "What was accepted is on disk"),
        (status = 400, description = "The path, token or body is malformed", body = ErrorBody),
        (status = 401, description = "The integration has no webhook secret, or the signature is wrong", body = ErrorBody),
        (status = 404, description = "Unknown environment or integration", body = ErrorBody),
        (status = 503, description = "Not now; see `Retry-After`", body = ErrorBody),
    )
)]
#[expect(dead_code, reason = "it only carries the description")]
const fn receive_lifecycle_notifications() {}

#[derive(OpenApi)]
#[openapi(paths(receive_notifications, receive_lifecycle_notifications))]
struct Documented;

pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Documented::openapi()
}
