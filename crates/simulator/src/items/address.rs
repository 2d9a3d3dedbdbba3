//! What a path below `/v1.0` means: a collection, an item of one, the raw content of something, an action.
//!
//! Pure. Must not look whether it exists.

use uuid::Uuid;

use crate::graph::resources::segments;

/// What the items of a collection have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Mail, events, contacts: etags, immutable ids.
    Outlook,
    /// Files below one root.
    Drive,
    /// People and groups.
    Directory,
    /// Messages of chats and channels.
    Chat,
    /// Nothing in particular.
    Plain,
}

/// A row: a path that leads to items.
#[derive(Debug, Clone, Copy)]
struct Row {
    pattern: &'static str,
    /// Where the items are kept; `{0}` is the first variable segment. A `{}` stands for every one there is.
    kept_in: &'static str,
    /// The member whose value must be the second variable segment.
    within: Option<&'static str>,
    flavour: Flavour,
    /// The last segment of a notification's resource, and the type of it.
    noun: (&'static str, &'static str),
    areas: &'static [&'static str],
}

const fn row(
    pattern: &'static str,
    flavour: Flavour,
    noun: (&'static str, &'static str),
    areas: &'static [&'static str],
) -> Row {
    Row { pattern, kept_in: "", within: None, flavour, noun, areas }
}

const fn kept(kept_in: &'static str, row: Row) -> Row {
    Row { kept_in, ..row }
}

const fn within(member: &'static str, kept_in: &'static str, row: Row) -> Row {
    Row { within: Some(member), kept_in, ..row }
}

const MESSAGE: (&str, &str) = ("Messages", "Message");
const EVENT: (&str, &str) = ("Events", "Event");
const CONTACT: (&str, &str) = ("Contacts", "Contact");
const CHAT_MESSAGE: (&str, &str) = ("messages", "chatMessage");
const DRIVE_ITEM: (&str, &str) = ("items", "driveItem");
const MAIL: &[&str] = &["Mail"];
const CALENDARS: &[&str] = &["Calendars"];
const CONTACTS: &[&str] = &["Contacts"];
const FILES: &[&str] = &["Files", "Sites"];
const CHATS: &[&str] = &["Chat", "ChatMessage", "ChannelMessage"];
const TEAMS: &[&str] = &["Team", "TeamMember", "Channel", "Group"];

use Flavour::{Chat, Directory, Drive, Outlook, Plain};

static ROWS: &[Row] = &[
    row("users", Directory, ("Users", "User"), &["User", "Directory"]),
    row("groups", Directory, ("Groups", "Group"), &["Group", "Directory"]),
    row(
        "groups/{}/members",
        Directory,
        ("members", "directoryObject"),
        &["Group", "GroupMember", "Directory"],
    ),
    row("users/{}/messages", Outlook, MESSAGE, MAIL),
    row("users/{}/mailfolders", Outlook, ("MailFolders", "MailFolder"), MAIL),
    within(
        "parentFolderId",
        "users/{0}/messages",
        row("users/{}/mailfolders/{}/messages", Outlook, MESSAGE, MAIL),
    ),
    row("users/{}/events", Outlook, EVENT, CALENDARS),
    kept("users/{0}/events", row("users/{}/calendar/events", Outlook, EVENT, CALENDARS)),
    kept("users/{0}/events", row("users/{}/calendarview", Outlook, EVENT, CALENDARS)),
    row("users/{}/contacts", Outlook, CONTACT, CONTACTS),
    within(
        "parentFolderId",
        "users/{0}/contacts",
        row("users/{}/contactfolders/{}/contacts", Outlook, CONTACT, CONTACTS),
    ),
    kept("drives/{0}/items", row("drives/{}/items", Drive, DRIVE_ITEM, FILES)),
    within("parentId", "drives/{0}/items", row("drives/{}/items/{}/children", Drive, DRIVE_ITEM, FILES)),
    row("sites/{}/lists/{}/items", Plain, ("items", "listItem"), &["Sites"]),
    row("chats", Plain, ("chats", "chat"), CHATS),
    row("chats/{}/messages", Chat, CHAT_MESSAGE, CHATS),
    row("chats/{}/members", Plain, ("members", "conversationMember"), &["Chat", "ChatMember"]),
    kept("chats/{}/messages", row("chats/getallmessages", Chat, CHAT_MESSAGE, CHATS)),
    kept("chats/{}/messages", row("users/{}/chats/getallmessages", Chat, CHAT_MESSAGE, CHATS)),
    row("teams", Plain, ("teams", "team"), TEAMS),
    row("teams/{}/members", Plain, ("members", "conversationMember"), TEAMS),
    row("teams/{}/channels", Plain, ("channels", "channel"), TEAMS),
    kept("teams/{}/channels", row("teams/getallchannels", Plain, ("channels", "channel"), TEAMS)),
    row("teams/{}/channels/{}/messages", Chat, CHAT_MESSAGE, CHATS),
    kept("teams/{}/channels/{}/messages", row("teams/getallmessages", Chat, CHAT_MESSAGE, CHATS)),
    row("users/{}/todo/lists/{}/tasks", Plain, ("tasks", "todoTask"), &["Tasks"]),
    row("communications/callrecords", Plain, ("callRecords", "callrecord"), &["CallRecords"]),
    row("communications/presences", Plain, ("presences", "presence"), &["Presence"]),
    row("security/alerts", Plain, ("alerts", "alert"), &["SecurityEvents", "SecurityAlert"]),
];

/// A collection as it is seen through one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Where the items are kept; a `{}` segment stands for every one there is.
    pub(crate) kept_in: String,
    /// A member of the items and the value that it must have, in lower case.
    pub(crate) within: Option<(&'static str, String)>,
    pub(crate) flavour: Flavour,
    pub(crate) noun: (&'static str, &'static str),
    pub(crate) areas: &'static [&'static str],
}

impl View {
    /// Whether it runs through several collections, so that nothing can be put into it.
    pub(crate) fn is_wide(&self) -> bool {
        self.kept_in.contains("{}")
    }

    /// Whether it includes the items that are kept there.
    pub(crate) fn covers(&self, kept_in: &str) -> bool {
        let mut want = self.kept_in.split('/');
        kept_in.split('/').all(|segment| want.next().is_some_and(|want| want == "{}" || want == segment))
            && want.next().is_none()
    }
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Collection(View),
    Delta(View),
    Item(View, String),
    /// The root of a drive, or a list: one thing that stands for all below it.
    Root(View),
    /// Raw bytes, kept under this path.
    Content(String, &'static [&'static str]),
    /// Something is done to an item.
    Act(View, String, Action),
    /// Something is sent by a person.
    Send(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Move,
}

impl Address {
    /// Finds the meaning of a path without query; `me` is the person named, and nobody for an application.
    pub(crate) fn parse(path: &str, me: Option<Uuid>) -> Option<Self> {
        let (mut segments, _) = segments(path.trim_start_matches('/'))?;
        if segments.first().is_some_and(|first| first == "me") {
            segments
                .splice(0..1, ["users".to_owned(), me.map_or_else(|| "me".to_owned(), |id| id.to_string())]);
        }
        let segments = with_drive(segments);
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [rest @ .., "delta"] => Some(Self::Delta(seen(rest).or_else(|| below(rest))?)),
            [rest @ .., "$value" | "content"] => Some(Self::Content(rest.join("/"), areas_of(rest)?)),
            [rest @ .., id, "move"] => Some(Self::Act(seen(rest)?, (*id).to_owned(), Action::Move)),
            ["users", user, "sendmail"] => Some(Self::Send((*user).to_owned())),
            ["drives", drive, "root", "children"] => {
                seen(&["drives", drive, "items", "root", "children"]).map(Self::Collection)
            }
            whole => {
                seen(whole).map(Self::Collection).or_else(|| below(whole).map(Self::Root)).or_else(|| {
                    let (id, rest) = whole.split_last()?;
                    Some(Self::Item(seen(rest).filter(|view| !view.is_wide())?, (*id).to_owned()))
                })
            }
        }
    }

    pub(crate) fn areas(&self) -> &'static [&'static str] {
        match self {
            Self::Collection(view)
            | Self::Delta(view)
            | Self::Item(view, _)
            | Self::Root(view)
            | Self::Act(view, _, _) => view.areas,
            Self::Content(_, areas) => areas,
            Self::Send(_) => MAIL,
        }
    }
}

/// Puts the drive of a person, group or site into the place of a drive with the owner's id.
fn with_drive(mut segments: Vec<String>) -> Vec<String> {
    let owned = matches!(segments.first().map(String::as_str), Some("users" | "groups" | "sites"));
    if owned && segments.get(2).is_some_and(|third| third == "drive") {
        segments.remove(2);
        "drives".clone_into(&mut segments[0]);
    }
    segments
}

/// What stands for all that is below it: the root of a drive, a list.
fn below(parts: &[&str]) -> Option<View> {
    match parts {
        ["drives", drive, "root"] => seen(&["drives", drive, "items"]),
        ["sites", _, "lists", _] => seen(&[parts, &["items"]].concat()),
        _ => None,
    }
}

/// Whose permissions raw content needs: those of what it belongs to.
fn areas_of(owner: &[&str]) -> Option<&'static [&'static str]> {
    match owner {
        ["users", _, "photo"] => Some(&["User", "Directory", "ProfilePhoto"]),
        [rest @ .., _id] => {
            (0..=rest.len()).rev().find_map(|length| seen(&rest[..length])).map(|view| view.areas)
        }
        [] => None,
    }
}

fn seen(parts: &[&str]) -> Option<View> {
    let rows = ROWS.iter().filter(|row| fits(row.pattern, parts));
    let row = rows.min_by_key(|row| row.pattern.matches("{}").count())?;
    let variables: Vec<&str> =
        row.pattern.split('/').zip(parts).filter(|(want, _)| *want == "{}").map(|(_, part)| *part).collect();
    let kept_in = match row.kept_in {
        "" => parts.join("/"),
        template => template.replace("{0}", variables.first().copied().unwrap_or_default()),
    };
    let within = row.within.zip(variables.get(1).map(|value| (*value).to_owned()));
    Some(View { kept_in, within, flavour: row.flavour, noun: row.noun, areas: row.areas })
}

fn fits(pattern: &str, parts: &[&str]) -> bool {
    let mut expected = pattern.split('/');
    let all = parts.iter().all(|part| expected.next().is_some_and(|want| want == "{}" || want == *part));
    all && expected.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(path: &str) -> String {
        match Address::parse(path, Some(Uuid::nil())) {
            None => "nothing".to_owned(),
            Some(Address::Collection(view)) => match view.within {
                None => format!("all of {}", view.kept_in),
                Some((member, value)) => format!("{} with {member} {value}", view.kept_in),
            },
            Some(Address::Delta(view)) => format!("changes of {}", view.kept_in),
            Some(Address::Item(view, id)) => format!("{id} of {}", view.kept_in),
            Some(Address::Root(view)) => format!("root of {}", view.kept_in),
            Some(Address::Content(path, _)) => format!("bytes of {path}"),
            Some(Address::Act(view, id, Action::Move)) => format!("move {id} of {}", view.kept_in),
            Some(Address::Send(user)) => format!("send as {user}"),
        }
    }

    #[test]
    fn paths_lead_to_where_the_items_are_kept() {
        let me = Uuid::nil();
        for (path, expected) in [
            ("/users/A/messages", "all of users/a/messages".to_owned()),
            (
                "users/a/mailFolders('Inbox')/messages",
                "users/a/messages with parentFolderId inbox".to_owned(),
            ),
            ("users/a/mailFolders/inbox/messages/m", "m of users/a/messages".to_owned()),
            ("me/calendar/events/e", format!("e of users/{me}/events")),
            ("users/a/messages/delta", "changes of users/a/messages".to_owned()),
            ("users/a/messages/m/move", "move m of users/a/messages".to_owned()),
            ("users/a/drive/root", "root of drives/a/items".to_owned()),
            ("drives/d/root/delta", "changes of drives/d/items".to_owned()),
            ("drives/d/root/children", "drives/d/items with parentId root".to_owned()),
            ("drives/d/items/i/content", "bytes of drives/d/items/i".to_owned()),
            ("users/a/photo/$value", "bytes of users/a/photo".to_owned()),
            ("chats/getAllMessages", "all of chats/{}/messages".to_owned()),
            ("chats('19:x')/messages('1')", "1 of chats/19:x/messages".to_owned()),
            ("sites/s/lists/l", "root of sites/s/lists/l/items".to_owned()),
            ("users/a", "a of users".to_owned()),
            ("users/a/sendMail", "send as a".to_owned()),
            ("nothing", "nothing".to_owned()),
            ("users/a/b/c/d", "nothing".to_owned()),
            ("", "nothing".to_owned()),
        ] {
            assert_eq!(told(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_the_reader_panic(path in "\\PC{0,80}") {
            Address::parse(&path, None);
        }

        #[test]
        fn paths_out_of_known_words_do_not_either(words in proptest::collection::vec(
            prop_oneof!["users", "drives", "drive", "root", "delta", "move", "content", "messages", "x"], 0..7,
        )) {
            Address::parse(&words.join("/"), None);
        }
    }
}
