//! What items of the different workloads look like: path form, `resourceData`, whether there is an `id`.
//!
//! Must not know subscriptions or senders; `build` and `sample` put these parts into items.

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// The looks of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Shape {
    /// A message of a mailbox, with an etag.
    OutlookMessage,
    /// A calendar event, with an etag.
    OutlookEvent,
    /// A contact, with an etag.
    OutlookContact,
    /// A drive: never says which item, `resourceData` is null.
    DriveItem,
    /// A `SharePoint` list: only the type.
    List,
    /// A user, with a sequence number.
    User,
    /// A group whose members changed.
    Group,
    /// A message of a chat, in `OData` key form.
    ChatMessage,
    /// A to-do task; no notification id.
    TodoTask,
    /// A call record.
    CallRecord,
    /// Somebody's presence.
    Presence,
}

/// The parts of an item that its shape decides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Look {
    pub(crate) resource: String,
    pub(crate) resource_data: Value,
    pub(crate) has_id: bool,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::OutlookMessage,
        Self::OutlookEvent,
        Self::OutlookContact,
        Self::DriveItem,
        Self::List,
        Self::User,
        Self::Group,
        Self::ChatMessage,
        Self::TodoTask,
        Self::CallRecord,
        Self::Presence,
    ];

    /// The shape that notifications about a kind of resource have.
    /// Nothing for the rarer kinds, which have no looks of their own here.
    pub(crate) fn of_kind(kind: &str) -> Option<Self> {
        Some(match kind {
            "message" => Self::OutlookMessage,
            "event" => Self::OutlookEvent,
            "contact" => Self::OutlookContact,
            "driveItem" => Self::DriveItem,
            "list" => Self::List,
            "user" => Self::User,
            "group" => Self::Group,
            "chatMessage" => Self::ChatMessage,
            "todoTask" => Self::TodoTask,
            "callRecord" => Self::CallRecord,
            "presence" => Self::Presence,
            _ => return None,
        })
    }

    /// A fresh item of this shape. `owner` is the user or chat it belongs to, where the caller knows one.
    pub(crate) fn look(self, tenant: Uuid, owner: Option<&str>, at: DateTime<Utc>) -> Look {
        let chat = owner;
        let owner = owner.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        match self {
            Self::OutlookMessage => outlook("Message", "Messages", &owner, "CQAAABYAAAD"),
            Self::OutlookEvent => outlook("Event", "Events", &owner, "DwAAABYAAAC"),
            Self::OutlookContact => outlook("Contact", "Contacts", &owner, "EQAAABYAAAB"),
            Self::DriveItem => Look {
                resource: format!("drives/b!{}/root", Uuid::new_v4().simple()),
                resource_data: Value::Null,
                has_id: false,
            },
            Self::List => Look {
                resource: format!("sites/{}/lists/{}", Uuid::new_v4(), Uuid::new_v4()),
                resource_data: json!({"@odata.type": "#Microsoft.Graph.ListItem"}),
                has_id: false,
            },
            Self::User => directory("User", "Users", tenant, at),
            Self::Group => {
                let mut look = directory("Group", "Groups", tenant, at);
                look.resource_data["members@delta"] = json!([{"id": Uuid::new_v4()}]);
                look
            }
            Self::ChatMessage => chat_message(chat, at),
            Self::TodoTask => {
                let (list, task) = (outlook_id(), outlook_id());
                Look {
                    resource: format!("me/todo/lists/{list}/tasks/{task}"),
                    resource_data: json!({"@odata.type": "#Microsoft.Graph.todoTask", "id": task}),
                    has_id: false,
                }
            }
            Self::CallRecord => call_record(),
            Self::Presence => presence(&owner, tenant),
        }
    }

    /// A resource as a rich item would carry it.
    pub(crate) fn content(shape: Option<Self>, look: &Look) -> Value {
        let id = &look.resource_data["id"];
        match shape {
            Some(Self::ChatMessage) => json!({
                "@odata.context": "https://graph.microsoft.com/$metadata#chats/messages/$entity",
                "id": id,
                "etag": id,
                "messageType": "message",
                "body": {"contentType": "text", "content": "Grüße aus Köln — 12 × 3 = 36 ✓"},
            }),
            Some(Self::Presence) => json!({"id": id, "availability": "Busy", "activity": "InAMeeting"}),
            _ => json!({
                "@odata.etag": look.resource_data["@odata.etag"],
                "id": id,
                "subject": "Quarterly review — \"final\" draft",
            }),
        }
    }
}

impl Look {
    /// The look of what has no shape of its own.
    pub(crate) fn plain(resource: &str) -> Self {
        let id = Uuid::new_v4();
        let resource = format!("{resource}/{id}");
        let resource_data = json!({"@odata.id": resource, "id": id});
        Self { resource, resource_data, has_id: true }
    }
}

/// How a subscription's expiry is written in an item: services differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpirationStyle {
    /// `2026-01-08T17:53:11Z`
    #[default]
    Utc,
    /// `2026-01-08T09:53:11.2340000-08:00`
    Pacific,
    /// `2026-01-08T23:23:11.2340000+05:30`
    India,
}

impl ExpirationStyle {
    pub(crate) fn write(self, at: DateTime<Utc>) -> String {
        match self {
            Self::Utc => at.to_rfc3339_opts(SecondsFormat::Secs, true),
            Self::Pacific => seven_digits(at, -8 * 3600),
            Self::India => seven_digits(at, 5 * 3600 + 1800),
        }
    }
}

/// With seven fractional digits, as .NET counts time, at an offset in seconds.
fn seven_digits(at: DateTime<Utc>, offset: i32) -> String {
    let ticks = at.timestamp_subsec_nanos() / 100;
    let Some(offset) = FixedOffset::east_opt(offset) else { return at.to_rfc3339() };
    let local = at.with_timezone(&offset);
    format!("{}.{ticks:07}{}", local.format("%Y-%m-%dT%H:%M:%S"), local.format("%:z"))
}

fn outlook(kind: &str, collection: &str, owner: &str, etag: &str) -> Look {
    let id = outlook_id();
    let resource = format!("Users/{owner}/{collection}/{id}");
    let resource_data = json!({
        "@odata.type": format!("#Microsoft.Graph.{kind}"),
        "@odata.id": resource,
        "@odata.etag": format!("W/\"{etag}{}\"", Uuid::new_v4().simple()),
        "id": id,
    });
    Look { resource, resource_data, has_id: true }
}

/// Mailbox ids are long base64 with a tail of `=`.
fn outlook_id() -> String {
    format!("AAMkAG{}{}AAA=", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

fn directory(kind: &str, collection: &str, tenant: Uuid, at: DateTime<Utc>) -> Look {
    let id = Uuid::new_v4();
    let resource = format!("{collection}/{id}");
    let resource_data = json!({
        "@odata.type": format!("#Microsoft.Graph.{kind}"),
        "@odata.id": resource,
        "id": id,
        "organizationId": tenant,
        "eventTime": seven_digits(at, 0),
        // Larger than a double holds exactly: readers must not round it.
        "sequenceNumber": 636_965_947_000_000_001_i64 + at.timestamp(),
    });
    Look { resource, resource_data, has_id: true }
}

fn chat_message(chat: Option<&str>, at: DateTime<Utc>) -> Look {
    let message = at.timestamp_millis().to_string();
    let chat = chat.map_or_else(|| format!("19:{}@thread.v2", Uuid::new_v4().simple()), str::to_owned);
    let resource = format!("chats('{chat}')/messages('{message}')");
    let resource_data =
        json!({"id": message, "@odata.type": "#Microsoft.Graph.chatMessage", "@odata.id": resource});
    Look { resource, resource_data, has_id: true }
}

fn call_record() -> Look {
    let id = Uuid::new_v4();
    let resource = format!("communications/callRecords/{id}");
    let resource_data =
        json!({"@odata.type": "#microsoft.graph.callrecord", "@odata.id": resource, "id": id});
    Look { resource, resource_data, has_id: true }
}

fn presence(owner: &str, tenant: Uuid) -> Look {
    let resource = format!("communications/presences('{owner}')");
    let resource_data = json!({
        "@odata.type": "#Microsoft.Graph.presence", "@odata.id": resource, "id": owner, "organizationId": tenant,
    });
    Look { resource, resource_data, has_id: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_are_written_with_offsets_and_seven_digits_and_mean_the_same_moment() {
        let at = DateTime::parse_from_rfc3339("2026-01-08T17:53:11.234Z").unwrap().to_utc();
        assert_eq!(ExpirationStyle::Utc.write(at), "2026-01-08T17:53:11Z");
        assert_eq!(ExpirationStyle::Pacific.write(at), "2026-01-08T09:53:11.2340000-08:00");
        assert_eq!(ExpirationStyle::India.write(at), "2026-01-08T23:23:11.2340000+05:30");
    }
}
