//! The table of answers, a row for each variant.

use actix_web::body::MessageBody as _;
use serde_json::json;

use super::*;

/// Status, body and `Retry-After` of an answer.
fn answer(error: &ApiError) -> (u16, Value, Option<String>) {
    let response = error.error_response();
    let pause = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    let body = response.into_body().try_into_bytes().unwrap();
    (status, serde_json::from_slice(&body).unwrap(), pause)
}

fn plain(code: &str, message: &str) -> Value {
    json!({ "error": { "code": code, "message": message } })
}

fn refused() -> std::io::Error {
    std::io::Error::other("postgres://user:hunter2@db is away")
}

#[test]
fn nangos_authentication_errors_are_exact() {
    for (reason, code, message) in [
        (
            Unauthorized::MissingHeader,
            "missing_auth_header",
            "Authentication failed. The request is missing the Authorization header.",
        ),
        (
            Unauthorized::MalformedHeader,
            "malformed_auth_header",
            "Authentication failed. The Authorization header is malformed.",
        ),
        (
            Unauthorized::NotAKey,
            "invalid_secret_key_format",
            "Authentication failed. The provided secret key is not a UUID v4.",
        ),
        (
            Unauthorized::UnknownKey,
            "unknown_account",
            "Authentication failed. The provided authorization header does not match any account.",
        ),
    ] {
        let expected = json!({ "error": { "message": message, "code": code, "payload": {} } });
        assert_eq!(answer(&reason.into()), (401, expected, None));
    }
}

#[test]
fn admins_are_told_which_setting_lets_them_in() {
    let (status, body, _) = answer(&Unauthorized::NotConfigured.into());
    assert_eq!(status, 401);
    assert!(body["error"]["message"].as_str().unwrap().contains("admin.jwt_secret"));
    assert_eq!(answer(&Unauthorized::InvalidToken.into()).1["error"]["code"], "invalid_token");
    assert_eq!(answer(&Unauthorized::MetricsToken.into()).1["error"]["code"], "invalid_metrics_token");
}

fn assert_answers(table: impl IntoIterator<Item = (ApiError, u16, Value)>) {
    for (error, status, body) in table {
        let (found_status, found_body, _) = answer(&error);
        assert_eq!((found_status, found_body), (status, body), "{error:?}");
    }
}

#[test]
fn every_refusal_of_an_input_has_its_status_and_code() {
    let issue = Issue::at(&["filter", "0"], "invalid_value", "no");
    let invalid = json!({ "error": { "code": "invalid_body", "message": "filter.0: no",
        "errors": [{ "code": "invalid_value", "message": "no", "path": ["filter", "0"] }] } });
    assert_answers([
        (ApiError::bad_request("invalid_json", "no"), 400, plain("invalid_json", "no")),
        (ApiError::invalid_body(vec![issue]), 400, invalid),
        (ApiError::conflict("name_taken", "no"), 409, plain("name_taken", "no")),
        (
            ApiError::Unprocessable { code: "other_body", message: "no".to_owned() },
            422,
            plain("other_body", "no"),
        ),
        (
            ApiError::PayloadTooLarge { limit: 7 },
            413,
            plain("payload_too_large", "The body is larger than 7 bytes"),
        ),
        (
            ApiError::UnsupportedMediaType,
            415,
            plain("invalid_content_type", "Content-Type header must be application/json"),
        ),
        (
            ApiError::CompressedBody,
            415,
            plain("unsupported_content_encoding", "Send the body as it is, without Content-Encoding"),
        ),
        (ApiError::RequestTimeout, 408, plain("request_timeout", "The body took too long to arrive")),
    ]);
}

#[test]
fn every_other_refusal_has_its_status_and_code() {
    let too_many =
        json!({ "error": { "code": "too_many_request", "method": "GET", "path": "/connections" } });
    let credentials = json!({ "error": { "code": "invalid_credentials", "message": "no", "payload": { "connection": {} } } });
    assert_answers([
        (
            ApiError::insufficient_scope(Scope::Proxy),
            403,
            plain("forbidden", "Insufficient scope. Required: environment:proxy"),
        ),
        (ApiError::not_found("gone"), 404, plain("not_found", "gone")),
        (
            ApiError::MethodNotAllowed { allowed: "GET, POST".to_owned() },
            405,
            plain("method_not_allowed", "This path takes GET, POST"),
        ),
        (
            ApiError::TooManyRequests {
                method: "GET".to_owned(),
                path: "/connections".to_owned(),
                retry_after: Duration::from_secs(9),
            },
            429,
            too_many,
        ),
        (
            ApiError::TooManyNotifications { retry_after: Duration::from_secs(9) },
            429,
            plain(
                "too_many_request",
                "This integration is sent more than ingress.rate_limit_per_minute; come back later",
            ),
        ),
        (
            ApiError::InvalidCredentials {
                code: "invalid_credentials",
                refused: true,
                message: "no".to_owned(),
                payload: json!({ "connection": {} }),
            },
            400,
            credentials,
        ),
        (
            ApiError::InvalidCredentials {
                code: "connection_refresh_backoff",
                refused: false,
                message: "no".to_owned(),
                payload: json!({}),
            },
            424,
            json!({"error": {"message": "no", "code": "connection_refresh_backoff", "payload": {}}}),
        ),
        (
            ApiError::BadGateway { code: "upstream_unreachable", message: "no".to_owned() },
            502,
            plain("upstream_unreachable", "no"),
        ),
    ]);
}

#[test]
fn a_notification_that_nothing_vouches_for_is_a_401_with_its_own_code() {
    let error = ApiError::Unverified { code: "webhook_secret_not_configured", message: "no" };
    assert_eq!(answer(&error), (401, plain("webhook_secret_not_configured", "no"), None));
}

/// The error of a database that hangs up.
async fn away() -> StoreError {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/none?sslmode=disable", listener.local_addr().unwrap());
    let hangs_up = std::thread::spawn(move || drop(listener.accept()));
    let config = waypost_postgres::Config { url: url.into(), max_connections: 4 };
    let ring = waypost_crypto::seal::KeyRing::parse(&format!("k:{}=", "A".repeat(43)).into()).unwrap();
    let error =
        waypost_postgres::Store::connect(config, ring, waypost_core::clock::system()).await.unwrap_err();
    hangs_up.join().unwrap();
    error
}

#[actix_web::test]
async fn a_store_that_is_away_asks_to_come_again() {
    let (status, body, pause) = answer(&away().await.into());
    assert_eq!((status, pause.as_deref()), (503, Some("2")));
    assert_eq!(body["error"]["code"], "temporarily_unavailable");
    let error = ApiError::TemporarilyUnavailable { retry_after: Duration::from_millis(10) };
    assert_eq!(answer(&error).2.as_deref(), Some("1"));
}

#[test]
fn a_store_that_holds_nonsense_is_a_500() {
    let error = StoreError::Inconsistent { table: "environments", column: "name", row: "7".to_owned() };
    let (status, body, _) = answer(&error.into());
    assert_eq!((status, &body["error"]["code"]), (500, &json!("server_error")));
    assert!(!body.to_string().contains("environments"));
}

#[test]
fn what_went_wrong_inside_is_in_the_log_and_not_in_the_answer() {
    let error = ApiError::internal(refused());
    let (status, body, _) = answer(&error);
    assert_eq!((status, &body["error"]["code"]), (500, &json!("server_error")));
    assert!(!body.to_string().contains("hunter2"));
    assert_eq!(chain(&error), "the request failed: postgres://user:hunter2@db is away");
}

#[test]
fn a_limit_tells_when_to_come_back_and_a_wrong_method_which_are_right() {
    let limited = ApiError::TooManyRequests {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        retry_after: Duration::from_secs(9),
    };
    assert_eq!(answer(&limited).2.as_deref(), Some("9"));
    let response = ApiError::MethodNotAllowed { allowed: "GET, POST".to_owned() }.error_response();
    assert_eq!(response.headers().get(ALLOW).unwrap(), "GET, POST");
}
