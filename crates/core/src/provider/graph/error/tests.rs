//! Every row of Graph's errors: what it means, and what happens next.

use chrono::TimeZone as _;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const ID: &str = "7f105c7d-2dc5-4530-97cd-4e7ae6534c07";

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).unwrap()
}

fn of(status: u16, code: &str, message: &str) -> Trouble {
    let inner = json!({"date": "2026-01-01T00:00:00", "request-id": ID, "client-request-id": "mine"});
    let body = json!({"error": {"code": code, "message": message, "innerError": inner}});
    classify(status, None, body.to_string().as_bytes(), now())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, as long as there are rows")]
fn every_row_means_something_and_has_its_remedy() {
    let minutes = |count| Meaning::OverCeiling(Some(TimeDelta::minutes(count)));
    let exists = Meaning::Exists(Some(ID.parse().unwrap()));
    let rows = [
        (
            400,
            "ValidationError",
            "Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request.",
            Meaning::Handshake,
            Remedy::TestOurselves,
        ),
        (
            400,
            "InvalidRequest",
            "Subscription validation request failed. HTTP status code is 'Forbidden'.",
            Meaning::Handshake,
            Remedy::TestOurselves,
        ),
        (
            400,
            "InvalidRequest",
            "Subscription validation request failed. Response must exactly match validationToken query parameter.",
            Meaning::Handshake,
            Remedy::TestOurselves,
        ),
        (
            400,
            "ValidationError",
            "Subscription validation request timed out.",
            Meaning::Handshake,
            Remedy::TestOurselves,
        ),
        (
            400,
            "InvalidRequest",
            "Subscription validation request failed. HttpRequestException: Could not create SSL/TLS secure channel.",
            Meaning::Handshake,
            Remedy::TestOurselves,
        ),
        (
            400,
            "InvalidRequest",
            "NotificationUrl scheme='http' is not supported.",
            Meaning::Url,
            Remedy::Tell,
        ),
        (
            400,
            "InvalidRequest",
            "expirationDateTime is a required property for subscription creation",
            Meaning::Malformed,
            Remedy::Tell,
        ),
        (
            400,
            "InvalidRequest",
            "Could not process subscription creation payload. Are all property names spelled and camelCased properly?",
            Meaning::Malformed,
            Remedy::Tell,
        ),
        (
            400,
            "InvalidRequest",
            "lifecycleNotificationUrl is a required property for subscription creation on this resource when the expirationDateTime value is set to greater than 1 hour",
            Meaning::LifecycleUrlMissing,
            Remedy::Tell,
        ),
        (
            400,
            "ExtensionError",
            "Subscription expiration can only be 10070 minutes in the future.",
            minutes(10_070),
            Remedy::AskForLess,
        ),
        (
            400,
            "ExtensionError",
            "Operation: Create; Exception: [Status Code: BadRequest; Reason: Expiration time '2026' ('4' from now) is beyond allowed max '3.00:00:00'.]",
            minutes(3 * 1_440),
            Remedy::AskForLess,
        ),
        (
            400,
            "ExtensionError",
            "Reason: Expiration time is beyond allowed max '01:00:00'.",
            minutes(60),
            Remedy::AskForLess,
        ),
        (
            400,
            "ExtensionError",
            "Subscription expiration can only be a while",
            Meaning::OverCeiling(None),
            Remedy::AskForLess,
        ),
        (
            400,
            "InvalidRequest",
            "Certificate validation error: the key is too small",
            Meaning::Certificate,
            Remedy::Tell,
        ),
        (
            400,
            "InvalidRequest",
            "Azure Active Directory workload is not enabled for rich notifications.",
            Meaning::NotRich,
            Remedy::Tell,
        ),
        (
            400,
            "InvalidRequest",
            "vapidPublicKey is not supported on this subscription.",
            Meaning::WrongChannel,
            Remedy::Tell,
        ),
        (400, "BadRequest", "Something new.", Meaning::Refused, Remedy::Tell),
        (401, "InvalidAuthenticationToken", "Access token has expired.", Meaning::Token, Remedy::FreshToken),
        (
            403,
            "Authorization_RequestDenied",
            "Insufficient privileges.",
            Meaning::NoPermission,
            Remedy::AskAdministrator,
        ),
        (403, "AccessDenied", "Access denied.", Meaning::NoPermission, Remedy::AskAdministrator),
        (
            403,
            "ErrorAccessDenied",
            "Access is denied. Check credentials and try again.",
            Meaning::NoPermission,
            Remedy::AskAdministrator,
        ),
        (
            403,
            "Forbidden",
            "App '24d3' has reached its limit of '1' 'CHATS/GETALLMESSAGES' subscription on tenant '84bd'",
            Meaning::Quota,
            Remedy::ListAndAdopt,
        ),
        (
            403,
            "ExtensionError",
            "Operation: Create; Exception: [Status Code: Forbidden; Reason: App '2' has reached its limit of '1' 'X' subscription on tenant '3']",
            Meaning::Quota,
            Remedy::ListAndAdopt,
        ),
        (
            429,
            "ExtensionError",
            "[Status Code: 429; Reason: Resource 'SubscriptionCountReached' has reached limit of '1000'. Please retry after '12/31/9999 11:59:59 PM']",
            Meaning::Quota,
            Remedy::ListAndAdopt,
        ),
        (
            403,
            "ExtensionError",
            "[Status Code: 429; Reason: Resource 'SubscriptionCountReached' has reached limit of '1000'.]",
            Meaning::Quota,
            Remedy::ListAndAdopt,
        ),
        (404, "ResourceNotFound", "The object was not found.", Meaning::Gone, Remedy::Recreate),
        (404, "ExtensionError", "The mailbox is not there.", Meaning::TargetMissing, Remedy::Tell),
        (
            404,
            "ErrorItemNotFound",
            "The specified object was not found in the store.",
            Meaning::TargetMissing,
            Remedy::Tell,
        ),
        (
            404,
            "MailboxNotEnabledForRESTAPI",
            "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
            Meaning::TargetMissing,
            Remedy::Tell,
        ),
        (
            409,
            "Conflict",
            "Subscription Id <7f105c7d-2dc5-4530-97cd-4e7ae6534c07> already exists for the requested combination",
            exists,
            Remedy::ListAndAdopt,
        ),
        (409, "Conflict", "There is one.", Meaning::Exists(None), Remedy::ListAndAdopt),
        (429, "TooManyRequests", "Too many requests.", Meaning::Throttled(USUAL_WAIT), Remedy::Wait),
        (
            429,
            "ApplicationThrottled",
            "Application is over its MailboxConcurrency limit.",
            Meaning::Throttled(USUAL_WAIT),
            Remedy::Wait,
        ),
        (509, "BandwidthLimitExceeded", "", Meaning::Throttled(USUAL_WAIT), Remedy::Wait),
        (500, "InternalServerError", "backend 'Unknown'", Meaning::Outage(None), Remedy::ListBeforeRetry),
        (502, "", "", Meaning::Outage(None), Remedy::ListBeforeRetry),
        (
            503,
            "ServiceUnavailable",
            "Request has been quarantined by condition.",
            Meaning::Outage(None),
            Remedy::ListBeforeRetry,
        ),
        (504, "UnknownError", "", Meaning::Outage(None), Remedy::ListBeforeRetry),
        (500, "ExtensionError", "Mailbox info is stale", Meaning::StaleMailbox, Remedy::ListBeforeRetry),
        (
            500,
            "ExtensionError",
            "[Status Code: Forbidden; Reason: no]",
            Meaning::NoPermission,
            Remedy::AskAdministrator,
        ),
        (
            400,
            "ExtensionError",
            "[Status Code: ServiceUnavailable; Reason: later]",
            Meaning::Outage(None),
            Remedy::ListBeforeRetry,
        ),
        (
            400,
            "ExtensionError",
            "[Status Code: 404; Reason: no mailbox]",
            Meaning::TargetMissing,
            Remedy::Tell,
        ),
        (418, "Teapot", "", Meaning::Refused, Remedy::Tell),
    ];
    for (status, code, message, meaning, remedy) in rows {
        let trouble = of(status, code, message);
        assert_eq!(trouble.meaning, meaning, "{status} {code} {message}");
        assert_eq!(trouble.meaning.remedy(), remedy, "{status} {code} {message}");
    }
}

#[test]
fn graphs_own_words_are_kept() {
    let said = of(403, "AccessDenied", "Access denied.").said;
    assert_eq!(
        (said.status, said.code.as_str(), said.message.as_str()),
        (403, "AccessDenied", "Access denied.")
    );
    assert_eq!((said.request_id.as_deref(), said.date.as_deref()), (Some(ID), Some("2026-01-01T00:00:00")));
    let older = json!({"error": {"code": "x", "message": "y", "innererror": {"request-id": ID}}}).to_string();
    assert_eq!(classify(400, None, older.as_bytes(), now()).said.request_id.as_deref(), Some(ID));
    let page = classify(502, None, b"<html>Bad gateway</html>", now());
    assert_eq!((page.said.code.as_str(), page.meaning), ("", Meaning::Outage(None)));
}

#[test]
fn how_long_to_wait_is_read_and_clamped() {
    let seconds = |count| Some(TimeDelta::seconds(count));
    for (text, expected) in [
        ("12", seconds(12)),
        (" 0 ", seconds(0)),
        ("99999999999", Some(LONGEST_WAIT)),
        ("999999999999999999999999999", Some(LONGEST_WAIT)),
        ("Thu, 01 Jan 2026 12:01:30 GMT", seconds(90)),
        ("Thu, 01 Jan 2026 11:00:00 GMT", seconds(0)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(LONGEST_WAIT)),
        ("soon", None),
        ("-5", None),
        ("", None),
    ] {
        assert_eq!(wait(Some(text), now()), expected, "{text:?}");
    }
    assert_eq!(wait(None, now()), None);
    let throttled = |header| classify(429, header, b"{}", now()).meaning;
    assert_eq!(throttled(Some("7")), Meaning::Throttled(TimeDelta::seconds(7)));
    assert_eq!(throttled(Some("nonsense")), Meaning::Throttled(USUAL_WAIT));
    assert_eq!(classify(503, Some("7"), b"", now()).meaning, Meaning::Outage(Some(TimeDelta::seconds(7))));
}

#[test]
fn only_what_graph_did_not_finish_leaves_it_unclear() {
    assert!(of(503, "", "").meaning.leaves_unclear());
    assert!(!of(429, "", "").meaning.leaves_unclear() && of(429, "", "").meaning.may_pass());
    assert!(!of(403, "", "").meaning.may_pass());
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(status in 300_u16..600, header in ".{0,40}", message in ".{0,80}", body: Vec<u8>) {
        let _read = classify(status, Some(&header), &body, now());
        let told = of(status, "ExtensionError", &format!("expiration can only be {message} beyond allowed max '{message}' [Status Code: {message}"));
        prop_assert!(told.meaning.wait().is_none_or(|wait| wait <= LONGEST_WAIT && wait >= TimeDelta::zero()));
    }
}
