//! What Graph says in the text of a message and nowhere else. Hints: whoever reads them has a meaning without them too.

use chrono::TimeDelta;
use uuid::Uuid;

use super::Meaning;

/// Which mistake a 400 stands for.
pub(super) fn bad_request(message: &str) -> Meaning {
    let says = |part: &str| message.to_ascii_lowercase().contains(part);
    if says("validation request") || says("must exactly match validationtoken") {
        Meaning::Handshake
    } else if says("notificationurl scheme") || says("notificationurl is not") {
        Meaning::Url
    } else if says("lifecyclenotificationurl is a required") {
        Meaning::LifecycleUrlMissing
    } else if says("certificate validation") || says("encryptioncertificate") {
        Meaning::Certificate
    } else if says("not enabled for rich notifications") {
        Meaning::NotRich
    } else if says("vapid") || says("webpush") || says("web push") {
        Meaning::WrongChannel
    } else if says("required property") || says("spelled and camelcased") {
        Meaning::Malformed
    } else {
        Meaning::Refused
    }
}

/// The status that a back end gave, inside an `ExtensionError`: `[Status Code: BadRequest; Reason: …]`.
pub(super) fn inner_status(message: &str) -> Option<u16> {
    let word = after(message, "Status Code:")?.split([';', ']', ',']).next()?.trim();
    if let Ok(number) = word.parse() {
        return Some(number);
    }
    Some(match word {
        "BadRequest" => 400,
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "NotFound" => 404,
        "Conflict" => 409,
        "TooManyRequests" => 429,
        "InternalServerError" => 500,
        "BadGateway" => 502,
        "ServiceUnavailable" => 503,
        "GatewayTimeout" => 504,
        _ => return None,
    })
}

/// What it means when more life was asked for than is granted, with the ceiling where it can be read.
pub(super) fn over_ceiling(message: &str) -> Option<Meaning> {
    if let Some(rest) = after(message, "expiration can only be") {
        let number = rest.split_whitespace().next().and_then(|word| word.parse::<i64>().ok());
        return Some(Meaning::OverCeiling(
            number.filter(|minutes| *minutes > 0).and_then(TimeDelta::try_minutes),
        ));
    }
    let rest = after(message, "beyond allowed max")?;
    Some(Meaning::OverCeiling(time_span(rest.split('\'').nth(1).unwrap_or_default())))
}

/// `d.hh:mm:ss` or `hh:mm:ss`, as .NET writes it.
fn time_span(text: &str) -> Option<TimeDelta> {
    let (days, clock) = text.split_once('.').filter(|(days, _)| !days.contains(':')).unwrap_or(("0", text));
    let mut parts = clock.split('.').next()?.split(':').map(str::parse::<i64>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let whole = TimeDelta::try_days(days.parse().ok()?)?
        .checked_add(&TimeDelta::try_hours(hours)?)?
        .checked_add(&TimeDelta::try_minutes(minutes)?)?
        .checked_add(&TimeDelta::try_seconds(seconds)?)?;
    (whole > TimeDelta::zero()).then_some(whole)
}

/// A quota, some of which are dressed as throttling.
pub(super) fn is_quota(message: &str) -> bool {
    message.contains("has reached its limit of") || message.contains("SubscriptionCountReached")
}

pub(super) fn is_stale_mailbox(message: &str) -> bool {
    message.contains("Mailbox info is stale")
}

/// The first GUID of a message.
pub(super) fn named_id(message: &str) -> Option<Uuid> {
    message
        .split(|found: char| !(found.is_ascii_hexdigit() || found == '-'))
        .find_map(|word| Uuid::try_parse(word).ok().filter(|_| word.len() == 36))
}

fn after<'a>(message: &'a str, part: &str) -> Option<&'a str> {
    message.split_once(part).map(|(_, rest)| rest)
}
