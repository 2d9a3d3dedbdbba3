//! What an error of Graph means, and what to do about it.
//!
//! The status and the code decide, the text of the message only where Graph says it nowhere else. A status that a back
//! end hides inside an `ExtensionError` counts before the one of the answer. Graph's own words are kept, to be shown.
//!
//! Must not: decide when something is tried again, or know whom a subscription belongs to.

mod text;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The longest wait that a `Retry-After` can ask for.
pub const LONGEST_WAIT: TimeDelta = TimeDelta::hours(1);
/// The wait where a throttled answer names none that can be read.
pub const USUAL_WAIT: TimeDelta = TimeDelta::seconds(30);
/// How much of Graph's text is kept, in characters.
const LONGEST_TEXT: usize = 2_000;

/// An error of Graph: its own words, and what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What Graph said.
    pub said: Said,
    /// What it means.
    pub meaning: Meaning,
}

/// An error in Graph's own words: what Microsoft's support asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The status of the answer.
    pub status: u16,
    /// `error.code`; empty where there was none.
    pub code: String,
    /// `error.message`; empty where there was none.
    pub message: String,
    /// The id that Graph gave the request.
    #[serde(default)]
    pub request_id: Option<String>,
    /// When, by Graph's clock.
    #[serde(default)]
    pub date: Option<String>,
}

/// What an error means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Graph could not validate our endpoint.
    Handshake,
    /// The URL of the wish can't be used, whatever is tried.
    Url,
    /// The request is malformed: a mistake of whoever wrote it.
    Malformed,
    /// The resource wants a `lifecycleNotificationUrl`.
    LifecycleUrlMissing,
    /// More life than Graph grants; the ceiling where it was told.
    OverCeiling(Option<TimeDelta>),
    /// The encryption certificate is refused.
    Certificate,
    /// The resource has no rich form.
    NotRich,
    /// Properties of another channel on a webhook.
    WrongChannel,
    /// The token is refused.
    Token,
    /// A permission or a consent is missing.
    NoPermission,
    /// As many subscriptions as are allowed exist already.
    Quota,
    /// The subscription doesn't exist, or is another identity's.
    Gone,
    /// What should be watched doesn't exist.
    TargetMissing,
    /// There is one already; its id where it was told.
    Exists(Option<Uuid>),
    /// Too many calls: wait so long.
    Throttled(TimeDelta),
    /// The mailbox is named in a way that Graph can't follow just now.
    StaleMailbox,
    /// Graph is in trouble itself. What it was asked to do may have been done.
    Outage(Option<TimeDelta>),
    /// Some other refusal.
    Refused,
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing that Waypost could do: tell it, with Graph's words.
    Tell,
    /// Ours to mend: test our own URL, then try again slowly.
    TestOurselves,
    /// Ask for less life, at once.
    AskForLess,
    /// Get another token, once.
    FreshToken,
    /// An administrator must act: stop and show it.
    AskAdministrator,
    /// Look at what exists; adopt the one that is ours. Never on a timer.
    ListAndAdopt,
    /// Look at what exists before anything is sent again.
    ListBeforeRetry,
    /// It is gone: make it anew, or be content when it was to be deleted.
    Recreate,
    /// Wait as told, then try again.
    Wait,
}

/// The envelope: both spellings of the inner key occur.
#[derive(Debug, Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    error: Content,
}

#[derive(Debug, Default, Deserialize)]
struct Content {
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: Value,
    #[serde(default, rename = "innerError", alias = "innererror")]
    inner: Value,
}

/// What an answer that is no success means. `retry_after` is that header's value, `now` what a date in it is compared
/// with.
#[must_use]
pub fn classify(status: u16, retry_after: Option<&str>, body: &[u8], now: DateTime<Utc>) -> Trouble {
    let envelope: Envelope = serde_json::from_slice(body).unwrap_or_default();
    let content = envelope.error;
    let said = Said {
        status,
        code: kept(content.code.as_str()),
        message: kept(content.message.as_str()),
        request_id: content.inner.get("request-id").and_then(Value::as_str).map(|text| kept(Some(text))),
        date: content.inner.get("date").and_then(Value::as_str).map(|text| kept(Some(text))),
    };
    let meaning = meaning(&said, retry_after, now);
    Trouble { said, meaning }
}

fn meaning(said: &Said, retry_after: Option<&str>, now: DateTime<Utc>) -> Meaning {
    let message = said.message.as_str();
    // Wherever they occur, with whatever status: they are told in the message alone.
    if text::is_quota(message) {
        return Meaning::Quota;
    }
    if let Some(over) = text::over_ceiling(message) {
        return over;
    }
    if text::is_stale_mailbox(message) {
        return Meaning::StaleMailbox;
    }
    let wait = || wait(retry_after, now);
    match text::inner_status(message).unwrap_or(said.status) {
        400 => text::bad_request(message),
        401 => Meaning::Token,
        403 => Meaning::NoPermission,
        404 if said.code == "ResourceNotFound" || said.code.is_empty() => Meaning::Gone,
        404 => Meaning::TargetMissing,
        409 => Meaning::Exists(text::named_id(message)),
        429 | 509 => Meaning::Throttled(wait().unwrap_or(USUAL_WAIT)),
        503 if retry_after.is_some() => Meaning::Outage(Some(wait().unwrap_or(USUAL_WAIT))),
        408 | 500..=599 => Meaning::Outage(wait()),
        _ => Meaning::Refused,
    }
}

impl Meaning {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Handshake => Remedy::TestOurselves,
            Self::OverCeiling(_) => Remedy::AskForLess,
            Self::Token => Remedy::FreshToken,
            Self::NoPermission => Remedy::AskAdministrator,
            Self::Quota | Self::Exists(_) => Remedy::ListAndAdopt,
            Self::Gone => Remedy::Recreate,
            Self::Throttled(_) => Remedy::Wait,
            Self::StaleMailbox | Self::Outage(_) => Remedy::ListBeforeRetry,
            Self::Url
            | Self::Malformed
            | Self::LifecycleUrlMissing
            | Self::Certificate
            | Self::NotRich
            | Self::WrongChannel
            | Self::TargetMissing
            | Self::Refused => Remedy::Tell,
        }
    }

    /// Whether a request that was answered so may have been carried out all the same.
    #[must_use]
    pub const fn leaves_unclear(&self) -> bool {
        matches!(self, Self::Outage(_) | Self::StaleMailbox)
    }

    /// Whether the same request may succeed later without anybody's doing.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Outage(_) | Self::StaleMailbox | Self::Throttled(_) | Self::Handshake | Self::Token
        )
    }

    /// How long to wait, where that was said.
    #[must_use]
    pub const fn wait(&self) -> Option<TimeDelta> {
        match self {
            Self::Throttled(wait) => Some(*wait),
            Self::Outage(wait) => *wait,
            _ => None,
        }
    }

    /// What helps, in words for people; empty where Graph's own words say all.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Handshake => {
                "Microsoft Graph must reach server.public_url from the internet and get its validation text back unchanged"
            }
            Self::Url => "the notification URL must be an https URL",
            Self::Malformed => {
                "Graph could not read the request: check the names and values of its properties"
            }
            Self::LifecycleUrlMissing => "this resource needs a lifecycleNotificationUrl",
            Self::OverCeiling(_) => "ask for a shorter lifetime",
            Self::Certificate => "the encryption certificate must be an RSA certificate of 2048 to 4096 bits",
            Self::NotRich => {
                "this resource has no notifications with resource data: leave include_resource_data out"
            }
            Self::WrongChannel => "properties of the web push channel can't stand on a webhook",
            Self::Token => "Graph refused the access token: check the app registration of this connection",
            Self::NoPermission => {
                "an administrator of the customer must grant the app the permission to read this resource (or the application access policy of the mailbox must let the app in)"
            }
            Self::Quota => {
                "Graph allows no more subscriptions of this kind: delete or import an existing one. What was deleted a short time ago may count for a few hours more"
            }
            Self::Gone => "the subscription doesn't exist at Graph, or was made by another identity",
            Self::TargetMissing => "what should be watched doesn't exist, or has no mailbox",
            Self::Exists(_) => "Graph holds an equal subscription already: import it",
            Self::Throttled(_) => "Graph asks to wait",
            Self::StaleMailbox => "name the mailbox by the user's object id in place of an address",
            Self::Outage(_) => "Graph is in trouble; it is tried again",
            Self::Refused => "",
        }
    }
}

/// What a `Retry-After` asks for: seconds, a date, or nonsense; clamped.
#[must_use]
pub fn wait(retry_after: Option<&str>, now: DateTime<Utc>) -> Option<TimeDelta> {
    let text = retry_after?.trim();
    let asked = match text.parse::<u64>() {
        Ok(seconds) => i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds).unwrap_or(LONGEST_WAIT),
        // A number that doesn't fit is a very long time.
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => LONGEST_WAIT,
        Err(_) => DateTime::<Utc>::from(httpdate::parse_http_date(text).ok()?) - now,
    };
    Some(asked.clamp(TimeDelta::zero(), LONGEST_WAIT))
}

fn kept(text: Option<&str>) -> String {
    text.unwrap_or_default().chars().filter(|found| !found.is_control()).take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests;
