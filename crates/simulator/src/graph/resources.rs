//! What can be subscribed to, as data: paths, change types, ceilings, and whether contents can be sent along.
//!
//! Must not hold judgement beyond finding the row: `rules` reads it.

use uuid::Uuid;

use super::ChangeType::{self, Created as C, Deleted as D, Updated as U};

/// Whether notifications can carry the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rich {
    /// Never.
    No,
    /// The whole object, without `$select`.
    Whole,
    /// The properties of an obligatory `$select`; the ceiling is lower then.
    Selected { ceiling: u32 },
    /// Only so.
    Always,
}

/// A row: a kind of resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The service behind it, as error texts name it.
    pub(crate) workload: &'static str,
    /// Segments between slashes; `{}` stands for any one. Key forms count as two segments.
    paths: &'static [&'static str],
    pub(crate) change_types: &'static [ChangeType],
    pub(crate) rich: Rich,
    /// Minutes.
    pub(crate) ceiling: u32,
    pub(crate) family: Family,
}

/// What a kind has in common with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Nothing.
    Plain,
    /// Teams and Copilot: a lifecycle URL past an hour, and one subscription per application and path.
    Teams,
    /// One subscription per application and path.
    Single,
    /// Offered to delegated callers only.
    Delegated,
}

impl Family {
    pub(crate) fn one_per_app(self) -> bool {
        matches!(self, Self::Teams | Self::Single)
    }
}

/// What shares a quota with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pool {
    None,
    Mailbox,
    Directory,
    Teams,
}

impl Kind {
    pub(crate) fn pool(&self) -> Pool {
        match (self.name, self.family) {
            ("message" | "event" | "contact", _) => Pool::Mailbox,
            ("user" | "group", _) => Pool::Directory,
            (_, Family::Teams) => Pool::Teams,
            _ => Pool::None,
        }
    }

    /// The first words of the permissions that suffice; none where no table is kept.
    pub(crate) fn areas(&self) -> &'static [&'static str] {
        match self.name {
            "message" => &["Mail"],
            "event" => &["Calendars"],
            "contact" => &["Contacts"],
            "driveItem" => &["Files", "Sites"],
            "list" => &["Sites"],
            "user" => &["User", "Directory"],
            "group" => &["Group", "GroupMember", "Directory"],
            "chatMessage" => &["Chat", "ChatMessage", "ChannelMessage"],
            "callRecord" => &["CallRecords"],
            "presence" => &["Presence"],
            "todoTask" => &["Tasks"],
            _ => &[],
        }
    }
}

const OUTLOOK: Rich = Rich::Selected { ceiling: 1_440 };
const CUD: &[ChangeType] = &[C, U, D];

const fn outlook(name: &'static str, paths: &'static [&'static str]) -> Kind {
    // The documentation says 10,080; the service refuses beyond 10,070.
    let (workload, ceiling) = ("Microsoft Exchange", 10_070);
    Kind { name, workload, paths, change_types: CUD, rich: OUTLOOK, ceiling, family: Family::Plain }
}

const fn teams(
    name: &'static str,
    change_types: &'static [ChangeType],
    paths: &'static [&'static str],
) -> Kind {
    let workload = "Microsoft Teams";
    Kind { name, workload, paths, change_types, rich: Rich::Whole, ceiling: 4_320, family: Family::Teams }
}

const fn plain(
    name: &'static str,
    workload: &'static str,
    change_types: &'static [ChangeType],
    ceiling: u32,
    paths: &'static [&'static str],
) -> Kind {
    Kind { name, workload, paths, change_types, rich: Rich::No, ceiling, family: Family::Plain }
}

const fn of(family: Family, kind: Kind) -> Kind {
    Kind { family, ..kind }
}

const DIRECTORY: &str = "Azure Active Directory";
const SHAREPOINT: &str = "Microsoft SharePoint";
const CALLING: &str = "Microsoft Communications";
const PRINT: &str = "Universal Print";

static KINDS: &[Kind] = &[
    outlook("message", &["users/{}/messages", "users/{}/mailfolders/{}/messages"]),
    outlook("event", &["users/{}/events"]),
    outlook("contact", &["users/{}/contacts", "users/{}/contactfolders/{}/contacts"]),
    plain(
        "driveItem",
        SHAREPOINT,
        &[U],
        42_300,
        &["drives/{}/root", "users/{}/drive/root", "groups/{}/drive/root", "sites/{}/drive/root"],
    ),
    plain("list", SHAREPOINT, &[U], 42_300, &["sites/{}/lists/{}"]),
    plain("user", DIRECTORY, &[U, D], 41_760, &["users", "users/{}"]),
    plain(
        "group",
        DIRECTORY,
        &[U, D],
        41_760,
        &["groups", "groups/{}", "groups/{}/owners", "groups/{}/members"],
    ),
    of(
        Family::Delegated,
        plain("conversation", "Microsoft Exchange", CUD, 4_230, &["groups/{}/conversations"]),
    ),
    teams(
        "chatMessage",
        CUD,
        &[
            "chats/{}/messages",
            "chats/getallmessages",
            "users/{}/chats/getallmessages",
            "teams/{}/channels/{}/messages",
            "teams/getallmessages",
            "appcatalogs/teamsapps/{}/installedtochats/getallmessages",
        ],
    ),
    teams("chat", &[C, U], &["chats", "chats/{}"]),
    teams("installedChat", CUD, &["appcatalogs/teamsapps/{}/installedtochats"]),
    teams("channel", CUD, &["teams/getallchannels", "teams/{}/channels"]),
    teams("team", CUD, &["teams", "teams/{}"]),
    teams(
        "conversationMember",
        CUD,
        &[
            "teams/{}/members",
            "teams/getallmembers",
            "chats/{}/members",
            "chats/getallmembers",
            "appcatalogs/teamsapps/{}/installedtochats/getallmembers",
        ],
    ),
    of(
        Family::Teams,
        plain("channelMember", "Microsoft Teams", CUD, 4_320, &["teams/{}/channels/getallmembers"]),
    ),
    teams("teamsAppInstallation", CUD, &["appcatalogs/teamsapps/{}/installations"]),
    plain("callRecord", CALLING, &[C, U], 4_230, &["communications/callrecords"]),
    teams(
        "callRecording",
        &[C],
        &[
            "communications/onlinemeetings/getallrecordings",
            "communications/onlinemeetings/{}/recordings",
            "users/{}/onlinemeetings/getallrecordings",
            "users/{}/onlinemeetings/{}/recordings",
        ],
    ),
    teams(
        "callTranscript",
        &[C],
        &[
            "communications/onlinemeetings/getalltranscripts",
            "communications/onlinemeetings/{}/transcripts",
            "users/{}/onlinemeetings/getalltranscripts",
            "users/{}/onlinemeetings/{}/transcripts",
        ],
    ),
    teams("onlineMeeting", &[U], &["communications/onlinemeetings/{}/meetingcallevents"]),
    Kind {
        rich: Rich::Always,
        ..of(
            Family::Delegated,
            plain(
                "presence",
                CALLING,
                &[U],
                60,
                &["communications/presences", "communications/presences/{}"],
            ),
        )
    },
    of(
        Family::Delegated,
        plain("todoTask", "Microsoft To Do", CUD, 4_230, &["users/{}/todo/lists/{}/tasks"]),
    ),
    plain("alert", "Microsoft Security", &[U], 43_200, &["security/alerts"]),
    plain("printer", PRINT, &[U], 4_230, &["print/printers/{}/jobs"]),
    plain("printTaskDefinition", PRINT, &[C], 4_230, &["print/taskdefinitions/{}/tasks"]),
    of(
        Family::Single,
        plain(
            "shift",
            "Microsoft Shifts",
            CUD,
            360,
            &[
                "teams/{}/schedule/shifts",
                "teams/{}/schedule/offershiftrequests",
                "teams/{}/schedule/openshiftchangerequests",
                "teams/{}/schedule/swapshiftschangerequests",
                "teams/{}/schedule/timeoffrequests",
            ],
        ),
    ),
    teams(
        "aiInteraction",
        CUD,
        &[
            "copilot/users/{}/interactionhistory/getallenterpriseinteractions",
            "copilot/interactionhistory/getallenterpriseinteractions",
        ],
    ),
    plain("healthAlert", DIRECTORY, &[C, U], 42_300, &["reports/healthmonitoring/alerts"]),
    of(Family::Single, plain("virtualEvent", CALLING, &[C], 1_440, &["solutions/virtualevents/events"])),
    plain("virtualEventWebinar", CALLING, &[U], 1_440, &["solutions/virtualevents/webinars/{}"]),
    plain(
        "virtualEventSession",
        CALLING,
        &[C, U],
        1_440,
        &[
            "solutions/virtualevents/webinars/{}/sessions",
            "solutions/virtualevents/webinars/{}/registrations",
        ],
    ),
    plain(
        "attendanceReport",
        CALLING,
        &[C],
        1_440,
        &["solutions/virtualevents/webinars/{}/getattendancereports"],
    ),
    of(
        Family::Delegated,
        plain("approvalItem", "Microsoft Approvals", CUD, 43_200, &["solutions/approval/approvalitems"]),
    ),
];

/// How the paths begin that are offered to applications only.
const FOR_APPLICATIONS: [&str; 8] = [
    "chats/getallmessages",
    "chats/getallmembers",
    "teams/getall",
    "appcatalogs/",
    "communications/callrecords",
    "print/",
    "solutions/virtualevents/events",
    "copilot/interactionhistory",
];

/// A resource taken apart.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) kind: &'static Kind,
    /// The path in lower case with slashes only: equal for equal targets.
    pub(crate) path: String,
    /// What follows the question mark.
    pub(crate) query: Option<String>,
    /// Whether it began with `me`.
    pub(crate) personal: bool,
}

impl Resource {
    /// Finds the row that a `resource` value belongs to.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let (mut segments, query) = segments(text)?;
        let personal = segments.first().is_some_and(|first| first == "me");
        if personal {
            segments.splice(0..1, ["users".to_owned(), "me".to_owned()]);
        }
        let matching = KINDS.iter().flat_map(|kind| kind.paths.iter().map(move |path| (kind, *path)));
        // `chats/getAllMessages` fits `chats/{}` too: the row that says most wins.
        let (kind, _) = matching
            .filter(|(_, pattern)| fits(pattern, &segments))
            .min_by_key(|(_, pattern)| pattern.matches("{}").count())?;
        Some(Self { kind, path: segments.join("/"), query: query.map(str::to_owned), personal })
    }

    /// Whether no person's permission suffices: what runs through a whole tenant, and a few more.
    pub(crate) fn is_for_applications(&self) -> bool {
        FOR_APPLICATIONS.iter().any(|start| self.path.starts_with(start))
    }

    /// The same with the person's own id in the place of `me`.
    pub(crate) fn owned_by(self, user: Uuid) -> Self {
        match self.path.strip_prefix("users/me").filter(|_| self.personal) {
            Some(rest) => Self { path: format!("users/{user}{rest}"), ..self },
            None => self,
        }
    }

    pub(crate) fn selects(&self) -> bool {
        self.query.as_deref().is_some_and(|query| query.to_ascii_lowercase().contains("$select="))
    }
}

fn fits(pattern: &str, segments: &[String]) -> bool {
    let mut expected = pattern.split('/');
    let all =
        segments.iter().all(|segment| expected.next().is_some_and(|want| want == "{}" || want == segment));
    all && expected.next().is_none()
}

/// Splits a path at its slashes and its keys: `chats('a/b')/messages` is `chats`, `a/b`, `messages`, in lower case.
pub(crate) fn segments(text: &str) -> Option<(Vec<String>, Option<&str>)> {
    let mut segments = Vec::new();
    let mut current = String::new();
    let (mut quoted, mut depth) = (false, 0_u32);
    for (at, letter) in text.char_indices() {
        match letter {
            '\'' if depth > 0 => quoted = !quoted,
            _ if quoted => current.extend(letter.to_lowercase()),
            '(' => {
                depth += 1;
                segments.push(std::mem::take(&mut current));
            }
            ')' => depth = depth.checked_sub(1)?,
            '?' if depth == 0 => {
                segments.push(current);
                return closed(segments, quoted, depth).map(|segments| (segments, Some(&text[at + 1..])));
            }
            '/' if depth == 0 => segments.push(std::mem::take(&mut current)),
            _ => current.extend(letter.to_lowercase()),
        }
    }
    segments.push(current);
    closed(segments, quoted, depth).map(|segments| (segments, None))
}

fn closed(segments: Vec<String>, quoted: bool, depth: u32) -> Option<Vec<String>> {
    let whole = !quoted && depth == 0 && segments.iter().all(|segment| !segment.is_empty());
    whole.then_some(segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(text: &str) -> Option<&'static str> {
        Resource::parse(text).map(|resource| resource.kind.name)
    }

    #[test]
    fn resources_are_found_in_both_path_forms_and_any_letter_case() {
        for (text, expected) in [
            ("users/1/messages", Some("message")),
            ("/Users/1/mailFolders('inbox')/Messages?$select=subject", Some("message")),
            ("me/events", Some("event")),
            ("chats('19:a/b@thread.v2')/messages", Some("chatMessage")),
            ("chats/getAllMessages", Some("chatMessage")),
            ("chats/19:x", Some("chat")),
            ("teams/getAllChannels", Some("channel")),
            (
                "communications/onlineMeetings(joinWebUrl='https://a/b?c')/meetingCallEvents",
                Some("onlineMeeting"),
            ),
            ("communications/presences?$filter=id in ('a','b')", Some("presence")),
            ("users", Some("user")),
            ("users/1/photos", None),
            ("users//messages", None),
            ("chats('open/messages", None),
            ("https://graph.microsoft.com/v1.0/users", None),
            ("", None),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn every_pattern_of_the_table_finds_its_own_row() {
        for row in KINDS {
            for path in row.paths {
                assert_eq!(kind(&path.replace("{}", "some-id")), Some(row.name), "{path}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_resource_text_makes_the_reader_panic(text in "\\PC{0,80}") {
            Resource::parse(&text);
        }
    }
}
